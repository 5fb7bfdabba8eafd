/*
 * measure.h - asks sensors for their /readyz when a selector says that they are due, and tells it
 * what came: does it answer, does it take work, how long does a connection take?
 *
 * Each question is a connection of its own. Loop thread only.
 */
#ifndef CERTFERRY_FAILOVER_MEASURE_H
#define CERTFERRY_FAILOVER_MEASURE_H

#include <uv.h>

#include "failover/select.h"
#include "proxy/net/fetch.h"

enum {
    MEASURE_AT_ONCE = 8,
    MEASURE_ANSWER_MAX = 4096 /* octets */
};

struct measurer;

/*
 * `fetcher` and `selector` are borrowed until measurer_close(). `on_told` runs from the loop after
 * each measurement. Nothing is asked before measurer_wake(). Returns owned; NULL when out of
 * memory.
 */
struct measurer *measurer_create(uv_loop_t *loop, struct fetcher *fetcher,
                                 struct selector *selector, uint64_t timeout_ms,
                                 void (*on_told)(void *arg), void *arg);

/* The selector may have others to be measured than before. */
void measurer_wake(struct measurer *m);

/* No callback comes any more. Frees itself on the loop's next rounds. */
void measurer_close(struct measurer *m);

#endif

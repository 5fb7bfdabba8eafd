/*
 * deadline.h - many coarse timeouts on one loop: a hashed wheel behind a single uv_timer.
 *
 * Granularity 50 ms, never early. Putting a deadline off, which happens at each octet relayed, only
 * writes a number: the wheel notices when the old moment comes. No timer runs while no deadline is
 * set. Loop thread only.
 */
#ifndef CERTFERRY_NET_DEADLINE_H
#define CERTFERRY_NET_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/list.h"

struct deadlines; /* the wheel */

struct deadline;
typedef void (*deadline_cb)(struct deadline *d);

/* Embedded in whatever waits. */
struct deadline {
    struct list node;
    deadline_cb on_due;
    uint64_t due_tick;
    uint64_t look_tick; /* when the wheel will look at it: at due_tick or before */
};

/* Returns owned in `*out`. 0 or a negative code. */
int deadlines_create(struct deadlines **out, uv_loop_t *loop);

/* All deadlines must have been cleared. Frees itself on the loop. */
void deadlines_destroy(struct deadlines *w);

void deadline_init(struct deadline *d, deadline_cb on_due);

/* `on_due` runs once, `delay_ms` or up to 50 ms more from now, unless set anew or cleared before.
 */
void deadline_set(struct deadlines *w, struct deadline *d, uint64_t delay_ms);

void deadline_clear(struct deadlines *w, struct deadline *d);

#endif

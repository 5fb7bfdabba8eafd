/*
 * health.h - what a peer's answers to /readyz make of it: up, draining or down, with hysteresis.
 *
 * Pure: it is told of answers and knows no socket and no clock; so a clock that jumps changes
 * nothing. One answer lost on the way must not move clients about, so `fall` bad ones in a row are
 * needed to be down, and `rise` good ones to be up again. A peer that says itself that it leaves is
 * believed at once. Any thread, one at a time.
 */
#ifndef CERTFERRY_FAILOVER_HEALTH_H
#define CERTFERRY_FAILOVER_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "failover/roster.h"
#include "proxy/base/span.h"

enum health_sign {
    HEALTH_READY,     /* takes new work */
    HEALTH_NOT_READY, /* says that it does not, or something else than it should */
    HEALTH_LEAVING,   /* says that it is shutting down */
    HEALTH_SILENT     /* no whole answer in time */
};

struct health_rule {
    unsigned rise; /* good answers in a row from draining or down to up; at least 1 */
    unsigned fall; /* bad ones in a row to be down; at least 1 */
};

/* All zero but for the state is the beginning: see health_init(). */
struct health {
    enum member_state state;
    unsigned good, bad; /* in a row; one of them is 0 */
};

/* Unknown: the first good answer makes it up. */
void health_init(struct health *h);

/* Takes one more answer in. True: the state is another than before. */
bool health_note(struct health *h, const struct health_rule *rule, enum health_sign sign);

/* What a whole answer says. `body` may be any octets. */
enum health_sign health_read(unsigned status, struct span body);

/*
 * The pause until the next question: `interval_ms`, up to a fifth less after `random`, so that
 * peers that started together do not ask together for ever. Never more: a drain.notice of the same
 * length is not slept through.
 */
uint64_t health_pause_ms(uint64_t interval_ms, uint32_t random);

#endif

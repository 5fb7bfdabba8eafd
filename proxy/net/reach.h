/*
 * reach.h - is there any way out of here? What all workers' connects have come to, put together.
 *
 * Ready until proven otherwise. Only when REACH_TRIES connects in a row, over REACH_SPAN_MS at
 * least, have failed for reasons that lie on our side (no name server answers, no route, no answer
 * at all), doubt begins; and then every destination that worked before is tried once more before
 * the verdict falls. So a client that asks for dead hosts again and again makes nobody unready.
 * Where nothing has worked yet, two different hosts must have failed. The first thing that answers
 * ends it all. Pure: time is given, who tries is reach_check.c. Any thread.
 */
#ifndef CERTFERRY_NET_REACH_H
#define CERTFERRY_NET_REACH_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/outcome.h"

enum {
    REACH_TRIES = 5,
    REACH_SPAN_MS = 10000,
    REACH_GOALS = 4,         /* remembered of those that worked, and of those that did not */
    REACH_DOUBT_MS = 1000,   /* between two checks in doubt */
    REACH_CHECK_MS = 5000,   /* and when shut */
    REACH_HOST_MAX = 253 + 1 /* octets, with the NUL */
};

enum reach_state {
    REACH_OPEN,
    REACH_DOUBTED, /* still ready; destinations that worked are being tried */
    REACH_SHUT     /* not ready */
};

struct reach_goal {
    char host[REACH_HOST_MAX]; /* canonical name or address; IPv6 without brackets */
    uint16_t port;
    bool parent; /* a proxy of ours, which the egress guard lets pass */
};

struct reach;

/*
 * `on_change` runs whenever the state has become another, on the thread that told the last straw,
 * without a lock. Returns owned; NULL when out of memory.
 */
struct reach *reach_create(void (*on_change)(void *arg), void *arg);
void reach_destroy(struct reach *r);

/* A connect to `goal` has ended so. `now_ms` is of clock_ms(). */
void reach_note(struct reach *r, uint64_t now_ms, const struct reach_goal *goal,
                enum outcome outcome);

enum reach_state reach_state(const struct reach *r);

/* Why it is doubted or shut: the last failure, for a log line. */
void reach_last_failure(struct reach *r, struct reach_goal *goal, enum outcome *outcome);

/*
 * What to try next: 0 and `*goal` is to be tried now and told by reach_note(); otherwise ask again
 * after so many milliseconds. UINT64_MAX: there is nothing to try until the state changes.
 */
uint64_t reach_next_check(struct reach *r, uint64_t now_ms, struct reach_goal *goal);

/* It may not be gone to any more: as if it had never worked or failed. */
void reach_forget(struct reach *r, const struct reach_goal *goal);

#endif

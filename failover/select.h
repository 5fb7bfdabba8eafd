/*
 * select.h - which sensor an agent goes to first: a roster and what was measured -> an order of
 * preference.
 *
 * Those that work before those that have come back and are not yet stable, before those that take
 * no new work, before broken ones; then the agent's zone, priority, connect time in two classes
 * (about as fast as the fastest, or slower), and by chance in proportion to weight, the same for
 * the life of a selector. It also says who is to be measured when. Pure: the time is given (any
 * clock that only goes forward), chance comes from a seed; no sockets. One thread.
 */
#ifndef CERTFERRY_FAILOVER_SELECT_H
#define CERTFERRY_FAILOVER_SELECT_H

#include "failover/roster.h"

enum {
    SELECT_FALL = 2,    /* failures in a row that make a sensor broken */
    SELECT_WATCHED = 4, /* so many of those we would like best are measured, and the two in use */
    SELECT_SETTLING = 4 /* measurements, at least, before one that has come back is stable */
};

struct select_options {
    char zone[64];            /* "" none is near */
    uint64_t interval_ms;     /* between two measurements of one sensor, give or take a quarter */
    uint64_t retry_ms;        /* the same behind a failure, doubled up to the interval */
    uint64_t return_after_ms; /* one that has come back must have been good so long */
};

enum select_verdict {
    SELECT_GOOD,
    SELECT_BUSY, /* answers, but takes no new work */
    SELECT_DEAD
};

struct selector;

/* Returns owned; NULL when out of memory. */
struct selector *selector_create(const struct select_options *o, uint64_t seed);
void selector_destroy(struct selector *s);

/* Takes a reference. What was measured of members that stay is kept. 0, or -ENOMEM: nothing has
 * changed. */
int selector_use(struct selector *s, struct roster *r, uint64_t now_ms);

/* Borrowed; NULL before the first. */
const struct roster *selector_roster(const struct selector *s);

/* Fills `order` (of roster_count() entries) with indices, the best first; all stay in. Returns how
 * many. */
size_t selector_order(struct selector *s, size_t *order);

/* Of those that are not known to be broken, or to take no work. */
size_t selector_usable(const struct selector *s);

/* One that is to be measured now, which then counts as under way until it is told of; or NULL, and
 * in `*wait_ms` how long nothing is to be done. */
const struct member *selector_due(struct selector *s, uint64_t now_ms, uint64_t *wait_ms);

/* A measurement is over. Of somebody who has left the roster it is forgotten. */
void selector_tell(struct selector *s, const struct member *m, enum select_verdict verdict,
                   uint64_t connect_us, uint64_t now_ms);

/* A measurement that could not even begin says nothing: later. */
void selector_put_off(struct selector *s, const struct member *m, uint64_t now_ms);

/* Somebody has had trouble with it: it is measured soon. */
void selector_suspect(struct selector *s, const struct member *m, uint64_t now_ms);

#endif

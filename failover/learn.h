/*
 * learn.h - the roster as an agent learns it: from the PvD document of any sensor, refreshed before
 * it expires.
 *
 * Refreshed at a random moment of the second half of its life, as
 * draft-ietf-intarea-proxy-config says, so that agents do not ask together; when one sensor does
 * not give a good document, at once from the next. Sensors that know each other by peers= alone
 * can't tell each other's zone, priority and weight: where that matters each is asked for its own,
 * once. What is wrong is refused as a whole, told once, and the roster before stays, also behind
 * its `expires`: it says where sensors are, and whether they work is measured. RFC 8801 would have
 * us never ask again behind an error: we ask again, later and later. Nor must `identifier` be the
 * host that was asked: over plain HTTP that would prove nothing, and a sensor may be known by its
 * address; believe.h says who may be used. Loop thread only.
 */
#ifndef CERTFERRY_FAILOVER_LEARN_H
#define CERTFERRY_FAILOVER_LEARN_H

#include <time.h>
#include <uv.h>

#include "failover/believe.h"
#include "proxy/net/fetch.h"

enum {
    LEARN_GAP_MS = 10000,         /* least time between two documents */
    LEARN_LIFE_MAX_MS = 86400000, /* a document is asked for anew each day, whatever it says */
    LEARN_RETRY_MAX_MS = 300000,  /* pause when nobody gives a document, at most */
    LEARN_ASKED_MAX = 8           /* sensors asked one after the other before such a pause */
};

struct signature_trust;

struct learn_options {
    struct believe_options believe;      /* borrowed, with what it points to */
    const struct signature_trust *trust; /* borrowed; who may sign documents; NULL: nobody */
    const struct roster *kept;           /* the last good one, from the disk; borrowed for the
                                            call; NULL: none */
    uint64_t timeout_ms;                 /* for one document */
    bool zoned; /* sites matter to us: sensors of which none is told are asked themselves */
};

struct learner;

/*
 * `on_roster` runs from the loop with a roster (borrowed) that may differ from the one before.
 * `turn` tells whom to ask: the n-th sensor in order of preference, or NULL behind the last. The
 * first question is asked from the loop, soon. Returns owned; NULL when out of memory.
 */
struct learner *learner_create(uv_loop_t *loop, struct fetcher *fetcher,
                               const struct learn_options *o,
                               const struct member *(*turn)(void *arg, size_t n),
                               void (*on_roster)(void *arg, struct roster *r), void *arg);

/* What is known now, at first that of the disk, or the seeds alone. Borrowed. */
struct roster *learner_roster(const struct learner *l);

/* Unix seconds of the last good document; 0: none since the start. */
time_t learner_learned(const struct learner *l);

/* Something has become of the sensors: a new document is asked for soon. */
void learner_hurry(struct learner *l);

/* No callback comes any more. Frees itself on the loop's next rounds. */
void learner_close(struct learner *l);

/* The rule of refreshing: the pause behind a document that holds `life_ms` more. `random` is any
 * number. */
uint64_t learn_pause_ms(uint64_t life_ms, uint64_t random);

#endif

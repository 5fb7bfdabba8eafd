/*
 * authentication.h - is this the user's password? Computed by libcrypt off the loop, remembered
 * when right, slowed down when wrong.
 *
 * One object for all workers, with its own lock. A password is computed on libuv's thread pool, so
 * no loop waits for it. Right ones are remembered for a while under a keyed digest (no password is
 * kept); wrong ones delay the next answer to the same client address (IPv6: /64), doubling. All
 * tables are bounded. Creating: main thread; the rest: the loop thread of the check.
 */
#ifndef CERTFERRY_SESSION_AUTHENTICATION_H
#define CERTFERRY_SESSION_AUTHENTICATION_H

#include <stddef.h>
#include <stdint.h>

#include "allowlist/users.h"
#include "proxy/base/addr.h"
#include "proxy/base/metrics.h"
#include "proxy/base/outcome.h"
#include "proxy/net/netloop.h"
#include "proxy/wire/credentials.h"

struct authentication_options {
    uint64_t cache_ms;       /* auth.cache.ttl */
    size_t cache_entries;    /* auth.cache.entries */
    size_t pending_max;      /* auth.pending.max: checks waiting or under way */
    uint64_t failure_ms;     /* auth.failure.delay */
    uint64_t failure_max_ms; /* auth.failure.delay.max */
    size_t failure_entries;  /* auth.failure.entries */
};

struct authentication;

/* Returns owned; NULL when out of memory. */
struct authentication *authentication_create(const struct authentication_options *options);

/* New limits; what is remembered of right passwords is forgotten. Any thread. */
void authentication_reload(struct authentication *a, const struct authentication_options *options);

/* No check may be under way. */
void authentication_destroy(struct authentication *a);

/* OUTCOME_OK, OUTCOME_AUTH_FAILED (after its delay) or OUTCOME_NO_MEMORY. */
typedef void (*authentication_cb)(void *arg, enum outcome verdict);

struct authentication_request {
    const struct users *users;             /* read during the call only */
    const struct credentials *credentials; /* read during the call only */
    const struct addr *client;
    struct metrics *metrics;   /* of this worker */
    authentication_cb on_done; /* once, never before authentication_start() returns */
    void *arg;
};

struct authentication_check;

/* Checks waiting or under way, for the metrics. */
size_t authentication_pending(struct authentication *a);

/*
 * OUTCOME_OK: remembered as right, no callback comes. OUTCOME_AUTH_BUSY or OUTCOME_NO_MEMORY: no
 * callback comes. Otherwise `*check` is set, borrowed until `on_done` or authentication_cancel(),
 * and the result is OUTCOME_PENDING.
 */
enum outcome authentication_start(struct authentication *a, const struct netloop *net,
                                  const struct authentication_request *request,
                                  struct authentication_check **check);

/* No callback comes. The computation may run to its end; it keeps nothing of the caller's. */
void authentication_cancel(struct authentication_check *check);

#endif

/*
 * resolver.h - host name -> addresses, without blocking, for one loop: c-ares, a bounded cache, one
 * query in flight per name.
 *
 * Hosts file and resolv.conf as c-ares reads them. A and AAAA are asked apart: when one has
 * answered, the other is waited for 50 ms (RFC 8305 section 3) and comes too late for this caller,
 * but into the cache. Answers are kept for their TTL within bounds, failures for a short time.
 * Knows no policy. Loop thread only.
 */
#ifndef CERTFERRY_NET_RESOLVER_H
#define CERTFERRY_NET_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/net/resolved.h"

struct resolver_options {
    const char *servers; /* comma-separated "address[:port]" ([v6]:port); NULL or "": resolv.conf */
    uint64_t timeout_ms; /* one look-up in all */
    size_t cache_entries; /* 0: no cache */
    uint64_t cache_max_ms;
    uint64_t cache_failure_ms;
};

struct resolver;
struct resolver_ticket;

/* `answer` is borrowed for the call. The ticket is gone when this runs. */
typedef void (*resolver_cb)(void *arg, const struct resolved *answer);

/* Returns owned in `*out`. 0 or a negative libuv code (UV_EINVAL: bad servers). */
int resolver_create(struct resolver **out, uv_loop_t *loop, const struct resolver_options *options);

/* Cancels all look-ups (their callbacks do not run), then closes its handles and frees itself on
 * the loop. */
void resolver_destroy(struct resolver *r);

/*
 * New options and resolv.conf anew; empties the cache; look-ups under way go on, asked anew within
 * their old time. 0 or a negative libuv code: the old ones stay.
 */
int resolver_reload(struct resolver *r, const struct resolver_options *options);

/* A fresh cached answer for `name` (canonical), copied to `*answer`: true. Never starts a query. */
bool resolver_cached(struct resolver *r, const char *name, struct resolved *answer);

/*
 * Starts or joins a look-up; `cb` runs later, never before this returns. The ticket is borrowed
 * until `cb` runs or resolver_cancel(). NULL when out of memory.
 */
struct resolver_ticket *resolver_lookup(struct resolver *r, const char *name, resolver_cb cb,
                                        void *arg);

/* `cb` will not run. The query itself goes on and fills the cache. */
void resolver_cancel(struct resolver_ticket *ticket);

/* For metrics. A look-up counts once, answered by resolver_cached() or started by
 * resolver_lookup(). */
struct resolver_counters {
    uint64_t lookups, cache_hits;
    uint64_t failures,
        timeouts; /* queries, however many waited: not found or failed; no answer in time */
    size_t cached;
};
void resolver_counters(const struct resolver *r, struct resolver_counters *out);

#endif

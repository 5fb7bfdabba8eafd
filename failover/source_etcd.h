/*
 * source_etcd.h - members from etcd, and ourselves among them: registered under a lease, everybody
 * read once and then watched, over the v3 JSON gateway.
 *
 * Whatever etcd does, this only tells: members as they were heard last, and whether there is
 * trouble. A lease that was lost is taken anew; history that was compacted away is read anew; a
 * token that has expired is asked for anew; a watch that has died silently is found by a range now
 * and then; of several endpoints the next is tried, with growing pauses. Loop thread only.
 */
#ifndef CERTFERRY_FAILOVER_SOURCE_ETCD_H
#define CERTFERRY_FAILOVER_SOURCE_ETCD_H

#include <uv.h>

#include "failover/source.h"
#include "proxy/net/fetch.h"

enum { SOURCE_ETCD_ENDPOINTS_MAX = 16 };

struct source_etcd_options {
    const char *const *endpoints; /* "http://host:2379", "https://..." */
    size_t endpoint_count;
    const char *prefix;   /* ends with '/' */
    uint64_t lease_ttl_s; /* at least 1 */
    uint64_t timeout_ms;  /* of one request */
    uint64_t check_ms;    /* everybody is read anew so often: tells a dead watch from a quiet one */
    uint64_t pause_ms;    /* after a failure, doubled by each further round of endpoints */
    const char *user;     /* "" or NULL: nobody logs in */
    const char *password;
    struct fetch_tls tls;
};

struct source_etcd;

/* Everything is copied, `fetcher` borrowed until source_etcd_close(). Returns owned; NULL when out
 * of memory. */
struct source_etcd *source_etcd_create(uv_loop_t *loop, struct fetcher *fetcher,
                                       const struct source_etcd_options *options,
                                       const struct member *self,
                                       const struct source_events *events);

/* What others are to read of us from now on. */
void source_etcd_tell(struct source_etcd *s, const struct member *self);

/* Takes us out: others see it at once. `on_left` runs once, not before this returns and no later
 * than the timeout; from then on the source is silent. */
void source_etcd_leave(struct source_etcd *s, void (*on_left)(void *arg), void *arg);

/* Nothing is called any more; frees itself on the loop. Without a leave others see us until the
 * lease is over. */
void source_etcd_close(struct source_etcd *s);

#endif

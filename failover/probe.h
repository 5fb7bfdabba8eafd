/*
 * probe.h - asks each peer for its /readyz, again and again, and keeps its health.
 *
 * Each question is a connection of its own: that a peer still takes new ones is what clients need
 * to know. At most PROBE_AT_ONCE are open, spread by chance over the interval. Whatever a peer
 * sends, an answer takes no longer than the timeout and no more than PROBE_ANSWER_MAX octets. Loop
 * thread only.
 */
#ifndef CERTFERRY_FAILOVER_PROBE_H
#define CERTFERRY_FAILOVER_PROBE_H

#include <uv.h>

#include "failover/health.h"
#include "failover/roster.h"
#include "proxy/net/fetch.h"

enum {
    PROBE_AT_ONCE = 16,
    PROBE_ANSWER_MAX = 4096, /* octets */
};

struct probe_options {
    uint64_t interval_ms;    /* probe.interval */
    uint64_t timeout_ms;     /* probe.timeout */
    struct health_rule rule; /* probe.rise, probe.fall */
    const char *ca_file;     /* probe.ca, for https:// peers; "" or NULL: the system's; copied */
};

struct probes;

/*
 * `on_change` runs from the loop whenever the state of a peer has become another. `fetcher` is
 * borrowed until probes_close(). Returns owned; NULL when out of memory.
 */
struct probes *probes_create(uv_loop_t *loop, struct fetcher *fetcher,
                             const struct probe_options *options, void (*on_change)(void *arg),
                             void *arg);

/* No callback comes any more. Frees itself on the loop's next rounds. */
void probes_close(struct probes *p);

/* For a reload: what is under way ends by the old ones. 0 or -ENOMEM: the old ones stay. */
int probes_set_options(struct probes *p, const struct probe_options *options);

/*
 * From now on asks these, ourselves excepted, and no others. Who was asked before keeps its health;
 * who is new is asked within half a second. 0 or -ENOMEM: some of the new ones are not asked.
 */
int probes_watch(struct probes *p, const struct roster *roster);

/* What we know of `m`: MEMBER_UNKNOWN too for one that is not watched. */
enum member_state probes_state(const struct probes *p, const struct member *m);

#endif

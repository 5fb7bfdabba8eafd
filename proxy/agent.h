/*
 * agent.h - the control plane of certferry agent: which sensors there are, which of them works
 * best, and so in which order exchanges go to them.
 *
 * Brings together what failover/ knows: learn.h (the roster), select.h (the order), measure.h. The
 * walk of one exchange over the sensors is proxy/session/next_hop.h's. Main thread; the gauges: any
 * thread.
 */
#ifndef CERTFERRY_AGENT_H
#define CERTFERRY_AGENT_H

#include <stdatomic.h>

#include "failover/learn.h"
#include "failover/select.h"
#include "proxy/base/buf.h"
#include "proxy/net/resolver.h"
#include "proxy/session/parents.h"

/* What the configuration means for it; see snapshot_agent.h. */
struct agent_plan {
    struct roster *seeds;          /* counted */
    struct rules *hosts;           /* owned; that may be believed unsigned */
    struct signature_trust *trust; /* owned; NULL: nobody's signature counts */
    char *cache;                   /* owned; "" none */
    struct select_options select;
    uint64_t check_timeout_ms;
    uint64_t attempt_ms;
};

void agent_plan_release(struct agent_plan *plan);

/* For the pages. */
struct agent_gauges {
    atomic_size_t members;   /* of the roster */
    atomic_size_t usable;    /* of them work, as far as we know */
    _Atomic int64_t learned; /* Unix seconds of the last good document; 0: none yet */
};

struct agent_options {
    uv_loop_t *loop;
    struct resolver *resolver;     /* borrowed */
    const struct agent_plan *plan; /* borrowed */
    const struct addr *ours;       /* where we listen; borrowed */
    size_t our_count;
    void (*on_parents)(void *arg, struct parents *list); /* another order; never before
                                                            agent_create() returns */
    void *arg;
};

struct agent;

/* To be called before the thread is confined. Returns owned; NULL when out of memory. */
struct agent *agent_create(const struct agent_options *o);

/* The list in force now. Borrowed. */
struct parents *agent_parents(const struct agent *a);
const struct agent_gauges *agent_gauges(const struct agent *a);

/* 0, -ENOBUFS or -ENOMEM. */
int agent_print_gauges(struct buf *out, const struct agent_gauges *g);

/* No callback comes any more. Its handles close on the loop's next rounds; then agent_destroy(). */
void agent_close(struct agent *a);
void agent_destroy(struct agent *a);

#endif

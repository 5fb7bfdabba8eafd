/*
 * pacing.h - how many connections may be in use to one origin at once, and the queue of those who
 * wait for one.
 *
 * One object for all workers, with its own lock. An origin is a host and a port. When a connection
 * comes free the next is granted round robin over client addresses (IPv6: /64), so that a greedy
 * client waits for itself and not for others; of one client in order of arrival. A waiter that
 * leaves is dropped at once. A grant reaches its worker by a wake-up call and pacing_collect(). Any
 * thread; a ticket belongs to its worker's thread.
 */
#ifndef CERTFERRY_SESSION_PACING_H
#define CERTFERRY_SESSION_PACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/list.h"
#include "proxy/base/outcome.h"

struct pacing;

/* One for each worker; outlives its tickets. */
struct pacing_worker {
    struct list granted; /* pacing.c's own, under its lock */
    void (*wake)(
        void *arg); /* from any thread, the lock held: the worker shall call pacing_collect() */
    void *arg;
};

enum pacing_state {
    PACING_NONE,    /* holds nothing */
    PACING_WAITING, /* in the queue */
    PACING_GRANTED, /* holds a connection's place, its owner is not told yet */
    PACING_HOLDING, /* holds a connection's place */
};

/* Embedded in its owner. All zero is the initial state; the members are pacing.c's own. */
struct pacing_ticket {
    struct list node;
    enum pacing_state state;
    struct pacing_origin *origin;
    struct pacing_client *client;
    struct pacing_worker *worker;
};

/* Returns owned; NULL when out of memory. */
struct pacing *pacing_create(void);

/* Nobody may hold or wait. */
void pacing_destroy(struct pacing *p);

/* Limits for those who come and for the next grants. `per_origin` 0: no such limit (waiters are
 * granted). */
void pacing_set_limits(struct pacing *p, size_t per_origin, size_t queue_max);

/* The limit of the one that is no origin but all upstreams of the gateway: host "", port 0. */
void pacing_set_gateway_limit(struct pacing *p, size_t most);

/*
 * OUTCOME_OK: the ticket holds a place. OUTCOME_PENDING: it waits; pacing_collect() will hand it
 * out. OUTCOME_UPSTREAM_LIMIT (there is no queue), OUTCOME_QUEUE_FULL or OUTCOME_NO_MEMORY: it
 * holds nothing.
 */
enum outcome pacing_enter(struct pacing *p, struct pacing_ticket *t, struct pacing_worker *worker,
                          const char *host, uint16_t port, const struct addr *client);

/* Gives the place back, or leaves the queue; harmless for a ticket that holds nothing. */
void pacing_leave(struct pacing *p, struct pacing_ticket *t);

/* The next ticket of this worker that was granted, which holds its place now; NULL: no more. */
struct pacing_ticket *pacing_collect(struct pacing *p, struct pacing_worker *worker);

/* Requests in the queue now, for the metrics. */
size_t pacing_waiting(struct pacing *p);

#endif

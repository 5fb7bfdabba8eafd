/*
 * admission.h - how many connections there may be: in all and of one client. The one object all
 * workers share.
 *
 * A client is an IPv4 address or an IPv6 /64. One lock, held for a hash look-up. Any thread.
 */
#ifndef CERTFERRY_SESSION_ADMISSION_H
#define CERTFERRY_SESSION_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/base/outcome.h"

struct admission;

/* Returns owned; NULL when out of memory. */
struct admission *admission_create(void);

/* Everybody must have left. */
void admission_destroy(struct admission *a);

struct admission_limits {
    size_t total;       /* limit.connections */
    size_t per_client;  /* limit.connections.per.client; 0: no such limit */
    size_t turned_away; /* limit.refusals */
};

/* New limits for those who come; nobody is sent away. Without a first call there are none. */
void admission_set_limits(struct admission *a, const struct admission_limits *limits);

/*
 * A connection comes. OUTCOME_OK: it has a place. OUTCOME_CONNECTIONS_LIMIT, or
 * OUTCOME_MEMORY_LIMIT when all buffers together are at theirs: it is turned away, and stays only
 * until it has been told so. admission_leave() ends either.
 */
enum outcome admission_enter(struct admission *a);

/* One that has a place is turned away: others may have it. */
void admission_turn_away(struct admission *a);

/* `had_place`: it was not turned away. */
void admission_leave(struct admission *a, bool had_place);

/*
 * Counts it for its client, once that is known (behind a load balancer: later). OUTCOME_OK: until
 * admission_leave_client(). OUTCOME_CLIENT_LIMIT or OUTCOME_NO_MEMORY: it is not counted.
 */
enum outcome admission_enter_client(struct admission *a, const struct addr *client);
void admission_leave_client(struct admission *a, const struct addr *client);

/* Connections with a place now, for the metrics. */
size_t admission_total(struct admission *a);

/* More were turned away than may wait for their refusal: this one should hear nothing. */
bool admission_crowded(struct admission *a);

/* No place is free, and nobody more could be told so: accepting should pause. */
bool admission_overrun(struct admission *a);

#endif

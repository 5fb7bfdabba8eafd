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

/* New limits for those who come; nobody is sent away. `per_client` 0: no such limit. */
void admission_set_limits(struct admission *a, size_t total, size_t per_client);

/*
 * Counts a connection, whatever the answer, until admission_leave(): OUTCOME_OK,
 * OUTCOME_CONNECTIONS_LIMIT, or OUTCOME_MEMORY_LIMIT when all buffers together are at theirs.
 */
enum outcome admission_enter(struct admission *a);
void admission_leave(struct admission *a);

/*
 * The same for its client, once that is known (behind a load balancer: later). OUTCOME_OK,
 * OUTCOME_CLIENT_LIMIT, or OUTCOME_NO_MEMORY (then it is not counted and must not leave).
 */
enum outcome admission_enter_client(struct admission *a, const struct addr *client);
void admission_leave_client(struct admission *a, const struct addr *client);

/* Connections now, for the metrics. */
size_t admission_total(struct admission *a);

/* So many over the limit are waiting for their refusal that accepting should pause. */
bool admission_overrun(struct admission *a);

#endif

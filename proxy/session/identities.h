/*
 * identities.h - what each role, and each identity of a client certificate, does here: connections
 * now, exchanges, refusals; and their limits. One object of the process.
 *
 * Identities are names that clients bring, so how many are counted singly is bounded; roles are the
 * operator's. Knows no certificate and no policy. One lock, held for a hash look-up or a copy. Any
 * thread.
 */
#ifndef CERTFERRY_SESSION_IDENTITIES_H
#define CERTFERRY_SESSION_IDENTITIES_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/buf.h"
#include "proxy/base/outcome.h"

struct identities;

/* Returns owned; NULL when out of memory. */
struct identities *identities_create(void);

/* Everybody must have left. */
void identities_destroy(struct identities *ids);

/* limit.identities; 1 before. Nobody is sent away. */
void identities_set_limit(struct identities *ids, size_t most);

/* A connection that comes. */
struct identities_client {
    const char *role;     /* "": none */
    const char *identity; /* NULL: none */
    size_t role_max;      /* connections at once; 0: no such limit, and so below */
    size_t identity_max;
};

/* Where it is counted; all zero: nowhere. */
struct identities_place {
    struct role_count *role;
    struct identity_count *identity; /* NULL: it has none, or there is no room for it */
};

/*
 * OUTCOME_OK: until identities_leave(). OUTCOME_ROLE_LIMIT, OUTCOME_IDENTITY_LIMIT (also when its
 * connections are limited and there is no room to count them) or OUTCOME_NO_MEMORY: it is counted
 * as refused, and has no place.
 */
enum outcome identities_enter(struct identities *ids, const struct identities_client *client,
                              struct identities_place *place);
void identities_leave(struct identities *ids, struct identities_place *place); /* zeroes it */

/* Whether the place is one of that role. */
bool identities_is_of(const struct identities_place *place, const char *role);

/* One exchange has ended. `would`: it passed only because its role reports. Harmless without a
 * place. */
void identities_count(const struct identities_place *place, bool refused, bool would);

/* For /metrics. 0, -ENOBUFS or -ENOMEM. */
int identities_print(struct identities *ids, struct buf *out);

#endif

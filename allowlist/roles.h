/*
 * roles.h - identity of a client's certificate -> its role, with the role's own policy: added one
 * by one, then immutable.
 *
 * An identity is octets and nothing more: no case is folded, no escape undone, so that two readings
 * of one name cannot exist. Knows no certificate and no file. Adding: one thread. Asking: any
 * thread.
 */
#ifndef CERTFERRY_ALLOWLIST_ROLES_H
#define CERTFERRY_ALLOWLIST_ROLES_H

#include <stdbool.h>
#include <stddef.h>

#include "allowlist/policy.h"
#include "proxy/base/span.h"

enum {
    ROLE_NAME_MAX = 32,           /* octets, of [a-z0-9-] */
    ROLE_IDENTITY_MAX = 255,      /* octets, of printable ASCII */
    ROLES_MAX = 64,               /* in all, without that of strangers */
    ROLES_IDENTITIES_MAX = 100000 /* names and patterns of all roles */
};

struct roles;

/* Rules that a role has of its own; each other is the general one. */
enum role_own {
    ROLE_OWN_HOSTS = 1, /* and domains */
    ROLE_OWN_CONNECT_PORTS = 2,
    ROLE_OWN_HTTP_PORTS = 4,
    ROLE_OWN_PROTOCOLS = 8
};

struct role {
    char name[ROLE_NAME_MAX + 1]; /* "": that of strangers */
    bool stranger;                /* of identities that no role names: to be refused */
    const struct policy *policy;  /* owned by the roles; it says whether the role only reports */
    unsigned own;                 /* bits of enum role_own */
    size_t connections_max;       /* at once; 0: no such limit, and so below */
    size_t per_identity_max;
};

/* Returns owned; NULL when out of memory. */
struct roles *roles_create(void);
void roles_destroy(struct roles *r); /* NULL is fine */

/*
 * Adds a role, whose name must be right and new. `policy` is taken, also on error. 0 with its place
 * for roles_add_identity(), or -ENOMEM.
 */
int roles_add(struct roles *r, const struct role *role, struct policy *policy, size_t *place);

/* The role of identities that none names. `policy` is taken, also on error. Without this call they
 * have none. 0 or -ENOMEM. */
int roles_add_strangers(struct roles *r, struct policy *policy);

/*
 * "sensor-7", or a pattern: "*.suffix" or "prefix*". The star stands for one or more octets of
 * A-Z a-z 0-9 - . _ without an empty label, so it crosses no comma, slash, escape or at sign and
 * one name cannot imitate another's. Of all that match the exact name counts, then the longest
 * pattern. 0; -EINVAL with `*why` (static), and `*other` the role that has it or one as specific
 * already (NULL: that is not the reason); -ENOMEM.
 */
int roles_add_identity(struct roles *r, size_t place, struct span text, const char **why,
                       const struct role **other);

/* NULL: the general rules. */
const struct role *roles_of(const struct roles *r, const char *identity);

/* By name; NULL: none. */
const struct role *roles_find(const struct roles *r, const char *name);

enum { ROLE_RULE_MAX = 160 };

/*
 * Where the rule stands that policy_request() refused by, for messages: "sensors.allowed.hosts in
 * roles.properties". `connect`: it was about a port of CONNECT. Returns `out`; NULL: `why` is not
 * about a rule that a role may have.
 */
const char *role_rule(const struct role *role, enum outcome why, bool connect,
                      char out[ROLE_RULE_MAX]);

size_t roles_count(const struct roles *r);
const struct role *roles_at(const struct roles *r, size_t i);

/* [a-z0-9-]{1,32} */
bool role_name_is_valid(struct span name);

#endif

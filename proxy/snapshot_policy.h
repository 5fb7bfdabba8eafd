/*
 * snapshot_policy.h - allowed.* -> a policy: the general one, or that of a role.
 *
 * Part of building a snapshot. Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_POLICY_H
#define CERTFERRY_SNAPSHOT_POLICY_H

#include "allowlist/policy.h"

struct settings;
struct settings_errors;
struct role_settings; /* conf/roles_file.h */
struct port_list;     /* conf/setting_values.h */

/*
 * What `role` does not give is as in the general one (NULL: that is the one to make), and its
 * mistakes are told there. Returns owned, also after mistakes, so that more can be told; NULL when
 * out of memory, which is not told.
 */
struct policy *snapshot_policy(const struct settings *settings, const struct role_settings *role,
                               struct settings_errors *errors);

/* Lets nothing pass. NULL: out of memory. */
struct policy *snapshot_policy_none(void);

/* Returns owned, never of no size; NULL: out of memory. */
struct port_range *snapshot_ports(const struct port_list *list);

#endif

/*
 * snapshot_roles.h - roles.properties -> the roles of a snapshot, and which doors have one.
 *
 * Part of building a snapshot. Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_ROLES_H
#define CERTFERRY_SNAPSHOT_ROLES_H

#include "allowlist/roles.h"
#include "proxy/base/buf.h"
#include "proxy/session/door.h"

struct settings;
struct settings_errors;

/*
 * Also fills in the roles of `door`. Returns owned; NULL when there are none, or memory is out,
 * which is told as all mistakes are.
 */
struct roles *snapshot_roles(const struct settings *settings, struct door_options door[DOOR_COUNT],
                             struct settings_errors *errors);

/* "a, b": the roles that only report. Whether there are any. */
bool snapshot_roles_reporting(const struct roles *roles, struct buf *out);

#endif

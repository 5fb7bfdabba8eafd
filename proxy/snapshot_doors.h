/*
 * snapshot_doors.h - keys of the doors -> their options: who may come in, and where a pass-through
 * leads.
 *
 * Part of building a snapshot. Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_DOORS_H
#define CERTFERRY_SNAPSHOT_DOORS_H

#include <stdbool.h>

#include "allowlist/policy.h"
#include "proxy/session/door.h"

struct settings;
struct settings_errors;
struct prefix_list; /* conf/setting_values.h */

/* Copies X.clients.allow; an empty list leaves it to clients.allow. False: out of memory, told. */
bool snapshot_door_clients(struct door_options *door, const struct prefix_list *clients,
                           struct settings_errors *errors);

/* DOOR_PASSTHROUGH. `policy`: the general rules; NULL where they could not be made. */
void snapshot_passthrough(struct door_options *door, const struct settings *settings,
                          const struct policy *policy, struct settings_errors *errors);

/* What snapshot_door_clients() has copied. */
void snapshot_doors_release(struct door_options doors[DOOR_COUNT]);

#endif

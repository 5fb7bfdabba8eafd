/*
 * snapshot_fleet.h - what the configuration says of the roster: ourselves, peers=, etcd, DNS and
 * probes -> what failover/fleet.h is told.
 *
 * Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_FLEET_H
#define CERTFERRY_SNAPSHOT_FLEET_H

#include "failover/fleet.h"

struct settings;
struct settings_errors;

/* Owns what `options` points to; of which load, on_roster and arg are somebody else's. */
struct fleet_plan;

/* Where clients find us; 0: not known yet, or no such door. */
struct listen_ports {
    uint16_t proxy;
    uint16_t tls;
};

/*
 * `dir` is open on the configuration directory, `ports` are those we listen on. Mistakes are
 * told in `errors`. Returns owned; NULL when out of memory.
 */
struct fleet_plan *fleet_plan_create(const struct settings *settings, int dir,
                                     struct listen_ports ports, struct settings_errors *errors);
void fleet_plan_destroy(struct fleet_plan *plan);

/* Borrowed for the plan's life. */
const struct fleet_options *fleet_plan_options(const struct fleet_plan *plan);

#endif

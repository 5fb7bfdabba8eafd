/*
 * snapshot.h - one configuration, built and checked as a whole, then shared by all workers and
 * never changed.
 *
 * A reload builds a new one and publishes it; the last worker that leaves the old one frees it.
 * Building: main thread, or the one that builds for it (server_build.c), one at a time; so it is
 * with all that is part of that. Reading and counting: any thread.
 */
#ifndef CERTFERRY_SNAPSHOT_H
#define CERTFERRY_SNAPSHOT_H

#include <stdatomic.h>

#include "allowlist/policy.h"
#include "failover/signature.h"
#include "proxy/net/resolver.h"
#include "proxy/session/session.h"
#include "proxy/session/upstream_pool.h"
#include "proxy/snapshot_fleet.h"
#include "proxy/snapshot_gateway.h"

struct settings;
struct settings_errors;

struct snapshot {
    atomic_uint refs;
    unsigned generation;      /* 0 at start, counted up by each reload; set before it is shared */
    struct policy *policy;    /* owned; the general one */
    struct roles *roles;      /* owned; NULL: none */
    struct parents *parents;  /* counted; NULL: everything goes direct */
    struct fleet_plan *fleet; /* owned; of the roster */
    struct snapshot_gateway gateway;
    struct session_options session;
    struct upstream_pool_options pool;
    size_t pipes_max;   /* of each worker */
    size_t pipe_octets; /* of each */
    struct resolver_options resolver;
    char *resolver_servers;       /* owned */
    struct port_range *raw_ports; /* owned */
    struct prefix *balancers;     /* owned */
    struct users *users;          /* owned; NULL: no password is asked for */
    struct authentication_options authentication;
    struct signature_key *sign_key; /* owned; NULL: documents are not signed */
    char advertise_host[HOSTNAME_MAX + 1];
    char zone[64];
    unsigned roster_ttl_seconds;
    uint64_t ticket_lifetime_ms, ticket_rotate_ms; /* tls.ticket.* */
    struct admission_limits admission;
    size_t upstream_per_host_max; /* 0: no such limit */
    size_t queue_max;
    size_t identities_max;
    size_t memory_max; /* octets */
};

/*
 * Builds everything that `settings` means; what cannot be is told in `errors` with its place.
 * `dir` is open on the configuration directory, for further files that `settings` names there.
 * `ports` are those we listen on. Returns owned, with one reference; NULL when there were errors or
 * memory is out (also told).
 */
struct snapshot *snapshot_build(const struct settings *settings, int dir, struct listen_ports ports,
                                struct settings_errors *errors);

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);

/* The limits in force and what is used of them, for the metrics. 0, -ENOBUFS or -ENOMEM. */
int snapshot_print_limits(struct buf *out, const struct snapshot *s, size_t connections);

#endif

/*
 * session.h - one client connection's life: a state machine from accept to the last octet.
 *
 * Knows no configuration file and no roster: what it needs comes as options and a context. Loop
 * thread only.
 */
#ifndef CERTFERRY_SESSION_SESSION_H
#define CERTFERRY_SESSION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allowlist/policy.h"
#include "allowlist/roles.h"
#include "proxy/base/line_writer.h"
#include "proxy/base/list.h"
#include "proxy/base/metrics.h"
#include "proxy/control/control.h"
#include "proxy/net/dial.h"
#include "proxy/net/netloop.h"
#include "proxy/net/pipes.h"
#include "proxy/net/reach.h"
#include "proxy/session/admission.h"
#include "proxy/session/authentication.h"
#include "proxy/session/door.h"
#include "proxy/session/gateway.h"
#include "proxy/session/identities.h"
#include "proxy/session/loop_guard.h"
#include "proxy/session/pacing.h"
#include "proxy/session/parents.h"
#include "proxy/session/upstream_pool.h"
#include "proxy/wire/head.h"

enum session_sni { SESSION_SNI_MATCH, SESSION_SNI_STRICT, SESSION_SNI_OFF };

/* Part of a snapshot: immutable while any worker uses it. All times in milliseconds. */
struct session_options {
    const struct policy *policy; /* the general one */
    const struct roles *roles;   /* of clients with a certificate; NULL: there are none */
    struct head_limits head;
    size_t buffer_octets; /* limit.tunnel.buffer */
    uint64_t head_ms, keepalive_ms, response_ms, body_ms, hello_ms, tunnel_idle_ms, halfclosed_ms,
        linger_ms, queue_ms;
    uint64_t tunnel_lifetime_ms; /* 0: no such limit, and so below */
    uint64_t exchanges_max;      /* limit.exchanges.per.connection */
    uint64_t body_rate;          /* limit.body.rate, octets each second */
    bool paced;                  /* limit.upstream.per.host is set */
    struct dial_options dial;
    enum session_sni sni;
    const struct port_range *raw_ports; /* tunnel.raw.ports */
    size_t raw_port_count;
    const struct prefix *balancers; /* proxy.protocol.from */
    size_t balancer_count;
    const struct users *users; /* auth.file; NULL: no password is asked for */
    char realm[64];
    bool access_log;
    bool forwarded_for;
    char name[128]; /* ours in Via and Proxy-Status */
    struct door_options door[DOOR_COUNT];
    const struct gateway_options
        *gateway; /* of the gateway and its redirect; NULL: there is none */
};

struct session;
struct exchange; /* forward_impl.h */

/* One for each worker; outlives its sessions. */
struct session_context {
    struct netloop net;
    const struct session_options *options; /* of the present snapshot: never kept over a callback */
    struct metrics *metrics;
    struct line_writer *access_log;
    struct admission *admission;
    struct pacing *pacing;
    struct pacing_worker paced; /* this worker's place in it */
    struct authentication *authentication;
    struct identities *identities;
    struct loop_guard *loop_guard;
    struct reach *reach;          /* what connects have come to; NULL: nobody asks */
    struct parents_use parents;   /* next hops in force, and which of them are broken */
    struct parents_use upstreams; /* the same of the gateway */
    struct upstream_pool *pool;
    struct pipes *pipes;               /* NULL: all is copied */
    const struct control_facts *facts; /* what the own pages tell; see control.h */
    unsigned worker;
    uint64_t accepted; /* sessions so far */
    bool draining;
    struct session *spare_session; /* memory for the next ones, see session_forget_spares() */
    struct exchange *spare_exchange;
    unsigned spare_session_count, spare_exchange_count;
    char *scratch; /* for one receive, never kept over a callback */
    size_t scratch_octets;
    struct list sessions;
    void (*on_empty)(void *arg); /* the last session has ended */
    void *on_empty_arg;
};

/* Takes the non-blocking `fd`, accepted at `door`. When it cannot be served it is closed. */
void session_accept(struct session_context *ctx, enum door_kind door, int fd,
                    const struct addr *client);

/* Requests that waited have got a place: called on the loop after `paced.wake`. */
void session_collect(struct session_context *ctx);

/* The last session has ended: gives back what was kept for the next. */
void session_forget_spares(struct session_context *ctx);

/* Draining begins: idle connections end now, the others after their present exchange. `patient`:
 * those that have asked nothing yet may do so. */
void session_drain_all(struct session_context *ctx, bool patient);

/* The grace is over: everything ends. */
void session_close_all(struct session_context *ctx);

#endif

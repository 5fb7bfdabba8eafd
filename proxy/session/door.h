/*
 * door.h - the kinds of listener a client may come in by, and what each does differently.
 *
 * A value that is part of a snapshot. Any thread.
 */
#ifndef CERTFERRY_SESSION_DOOR_H
#define CERTFERRY_SESSION_DOOR_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* X(NAME, "name"): in log, metrics and the ready line. */
#define DOOR_TABLE(X)                                                                              \
    X(PROXY, "proxy")             /* heartbeatport: plain HTTP, CONNECT, our own pages */          \
    X(TLS, "tls")                 /* tls.listen: the same inside TLS of ours */                    \
    X(GATEWAY, "gateway")         /* gateway.listen: origin-form requests for fixed upstreams */   \
    X(REDIRECT, "redirect")       /* gateway.redirect.listen: points at the gateway's https */     \
    X(PASSTHROUGH, "passthrough") /* passthrough.listen: a ClientHello names the host */

enum door_kind {
#define DOOR_ENUM(name, text) DOOR_##name,
    DOOR_TABLE(DOOR_ENUM)
#undef DOOR_ENUM
        DOOR_COUNT
};

/* Static. */
const char *door_name(enum door_kind door);

struct role;       /* allowlist/roles.h */
struct tls_server; /* proxy/net/tls_server.h */

/* One kind's own rules; all zero: those of the proxy's port. Owned by the snapshot. */
struct door_options {
    struct tls_server *tls;       /* clients speak TLS to us; NULL: plain octets */
    uint64_t handshake_ms;        /* for it */
    const struct prefix *clients; /* X.clients.allow */
    size_t client_count;          /* 0: clients.allow */
    uint64_t idle_ms;             /* for timeout.keepalive, .response and .body; 0: those */
    uint64_t queue_ms;            /* for queue.timeout; 0: that */
    uint16_t port;                /* DOOR_PASSTHROUGH: where to, at the host that is named */
    const struct role *role;      /* of clients without an identity; NULL: the general rules */
};

#endif

/*
 * upstream_pool.h - idle connections to HTTP origins and upstreams, TLS and all, kept by one worker
 * for the next request.
 *
 * A connection on which anything arrives while it is idle (a FIN, or octets nobody asked for) is
 * closed at once, so no request can ever meet another's response. Knows no HTTP. Loop thread only.
 */
#ifndef CERTFERRY_SESSION_UPSTREAM_POOL_H
#define CERTFERRY_SESSION_UPSTREAM_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/net/netloop.h"
#include "proxy/net/stream.h"

struct upstream_pool_options {
    size_t most;          /* limit.upstream.idle */
    size_t most_per_host; /* limit.upstream.idle.per.host */
    uint64_t idle_ms;     /* timeout.upstream.idle */
};

struct upstream_pool;

/* Returns owned; NULL when out of memory. Borrows `net`. */
struct upstream_pool *upstream_pool_create(const struct netloop *net);
void upstream_pool_destroy(struct upstream_pool *p);

/* New limits; all idle connections are closed, as the policy that let them be made may have
 * changed. */
void upstream_pool_reload(struct upstream_pool *p, const struct upstream_pool_options *options);

/* Where an idle connection leads. */
struct upstream_key {
    const char *host; /* canonical */
    uint16_t port;
    uint64_t user; /* whose; a number that is never given again */
    bool gateway;  /* to an upstream of the gateway: never the same as any other */
    bool own; /* only one that the same user had last will do: a request that cannot be repeated
                 must not meet a connection that the server is about to close */
};

struct upstream_idle {
    struct addr address; /* that was dialled */
    bool bound;          /* its user has authenticated on it (wire/binding.h): for nobody else */
};

/*
 * Takes the open `stream` into the pool, or closes it when there is no room: the oldest goes first.
 * `stream` is not open afterwards.
 */
void upstream_pool_put(struct upstream_pool *p, const struct upstream_key *key,
                       const struct upstream_idle *what, struct stream *stream);

/*
 * Opens `stream` with an idle connection and tells what it is. False: there is none. The one that
 * the same user had last is preferred, as some servers (OpenSSL's CMP server) tie a transaction to
 * its connection; then the youngest.
 */
bool upstream_pool_take(struct upstream_pool *p, const struct upstream_key *key,
                        struct stream *stream, struct upstream_idle *what);

#endif

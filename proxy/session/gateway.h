/*
 * gateway.h - a request head at the gateway -> forward to an upstream, or refuse; and at the door
 * before it, where https is.
 *
 * Clients there know of no proxy: they ask for a path (origin form) of a host that we pretend to
 * be. Which upstream gets it, and whether the policy lets it, comes later (next_hop.c). Pure: no
 * socket, no clock, no state. Any thread.
 */
#ifndef CERTFERRY_SESSION_GATEWAY_H
#define CERTFERRY_SESSION_GATEWAY_H

#include "allowlist/hostname.h"
#include "allowlist/paths.h"
#include "proxy/session/route.h"

/* Part of a snapshot, which owns what is pointed to. */
struct gateway_options {
    struct paths *paths;
    struct hostname *names; /* that we have; none: any */
    size_t name_count;
    struct prefix *forwarded_except; /* clients that X-Forwarded-For does not name */
    size_t forwarded_except_count;
    bool forwarded_for, forwarded_proto, forwarded_port, client_cert_field;
    size_t connections_max; /* to all upstreams at once; 0: no such limit */
    uint16_t redirect_port; /* of https, for clients of the redirect */
};

/* `name` is ours in Via. As route_decide(), but `r->host` stays empty: it is the upstream's. */
void gateway_decide(struct route *r, const struct head *head, const struct gateway_options *o,
                    struct span name);

enum { GATEWAY_AUTHORITY_MAX = HOSTNAME_MAX + 16 /* "[v6]:65535", NUL included */ };

/*
 * The host that the request is for, as it may be repeated in a URL of ours: canonical, in brackets
 * where needed, and `port`; 0: with the port that the client wrote, if any. OUTCOME_OK with
 * `authority` ("" when the request names none, as HTTP/1.0 may), or why it is not ours.
 */
enum outcome gateway_authority(char authority[GATEWAY_AUTHORITY_MAX], const struct head *head,
                               const struct gateway_options *o, uint16_t port, const char **why);

#endif

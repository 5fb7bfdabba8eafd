/*
 * rewrite.h - the head sent onward: written anew from parsed values, never copied through.
 *
 * Removes hop-by-hop fields (RFC 9110 section 7.6.1: Connection and what it names, Keep-Alive,
 * Proxy-*, TE, Trailer as far as it no longer applies, Transfer-Encoding, Upgrade), writes Host
 * from the target (RFC 9112 section 3.2.2), adds Via (RFC 9110 section 7.6.3) and the framing that
 * `body` says. Names listed in Connection that would break framing or routing (Host,
 * Content-Length, ...) are not honoured as hop-by-hop. Any thread.
 */
#ifndef CERTFERRY_WIRE_REWRITE_H
#define CERTFERRY_WIRE_REWRITE_H

#include <stdbool.h>

#include "proxy/base/buf.h"
#include "proxy/wire/body.h"
#include "proxy/wire/head.h"
#include "proxy/wire/target.h"

/*
 * What a gateway adds to a request, each empty where it is not wanted. What the client says of the
 * same (X-Forwarded-*, Forwarded, Client-Cert and their like, also with underscores for hyphens) is
 * taken out in any case, and so is its trailer section: the server behind would believe it.
 */
struct rewrite_gateway {
    struct span forwarded_for, forwarded_proto, forwarded_port; /* X-Forwarded-... */
    struct span client_cert; /* RFC 9440 section 2.2: ":base64:" */
};

struct rewrite_request {
    const struct head *head;
    const struct target *target; /* absolute form; with `gateway` origin form */
    struct span host;            /* canonical; an IPv6 literal without brackets */
    const struct body *body;
    struct span via;           /* pseudonym for Via */
    struct span forwarded_for; /* client address for X-Forwarded-For; empty: leave the field be */
    bool to_proxy;             /* absolute form, for the next proxy */
    const struct rewrite_gateway *gateway; /* NULL: a forward proxy. Else Host is left out, see
                                              rewrite_address(), and `host` does not count */
};

/*
 * Request head in origin form (or absolute form), always HTTP/1.1. Says "Connection: keep-alive",
 * without which old servers (OpenSSL's CMP server) close after each response. 0, -ENOBUFS or
 * -ENOMEM.
 */
int rewrite_request(struct buf *out, const struct rewrite_request *r);

/* CONNECT to the next proxy. Of the client's head only Via goes on: it is how a loop is seen. */
struct rewrite_connect {
    const struct head *head;
    struct span host; /* canonical; an IPv6 literal without brackets */
    uint16_t port;
    struct span via; /* pseudonym for Via */
};

/* 0, -ENOBUFS or -ENOMEM. */
int rewrite_connect(struct buf *out, const struct rewrite_connect *r);

/* The whole request head `head` with a Proxy-Authorization of ours ("": none). 0, -ENOBUFS or
 * -ENOMEM. */
int rewrite_authorize(struct buf *out, struct span head, struct span authorization);

/* The whole request head `head`, which has no Host, with this one, as the first of its fields (RFC
 * 9110 section 7.2). 0, -ENOBUFS or -ENOMEM. */
int rewrite_address(struct buf *out, struct span head, struct span host);

/* https:// URLs of an upstream in Location and Content-Location, and what they become. */
struct rewrite_place {
    struct span from[2]; /* "host" or "host:port", as in gateway_fields.h; may be empty */
    struct span to;      /* "https://name:port"; empty: only path and query stay */
};

struct rewrite_response {
    const struct head *head;
    const struct body *body; /* as received; NULL for 1xx */
    unsigned client_minor;   /* of the request: an HTTP/1.0 client gets no Transfer-Encoding */
    bool close;              /* we shall close after this response: says "Connection: close" */
    bool keep_alive_1_0;     /* client is HTTP/1.0 and stays open: says "Connection: keep-alive" */
    struct span via;
    bool received_status; /* made by the next proxy: our Proxy-Status says what it answered */
    const struct rewrite_place *place; /* NULL: URLs are left alone */
};

/*
 * Response head, always HTTP/1.1. "Connection: close" is also said where nothing else can end the
 * body: a close-delimited one, and a chunked one towards an HTTP/1.0 client. 0, -ENOBUFS or
 * -ENOMEM.
 */
int rewrite_response(struct buf *out, const struct rewrite_response *r);

/* Whether a Via field of the request names `pseudonym` as a recipient: it has been here before. */
bool rewrite_loops(const struct head *request, struct span pseudonym);

/*
 * TRACE or OPTIONS whose Max-Forwards is 0, or cannot be read and so not be decremented: it is not
 * forwarded any more, the recipient answers itself (RFC 9110 section 7.6.2).
 */
bool rewrite_max_forwards_zero(const struct head *request);

#endif

/*
 * reply.h - our own short answers: refusals and pages, complete with head and body in one piece.
 *
 * OpenSSL with a timeout fails when a head arrives in two segments, so an answer is always built
 * whole. Any thread.
 */
#ifndef CERTFERRY_WIRE_REPLY_H
#define CERTFERRY_WIRE_REPLY_H

#include <stdbool.h>
#include <time.h>

#include "proxy/base/buf.h"
#include "proxy/base/outcome.h"

struct reply {
    unsigned status;
    const char *phrase;
    const char *content_type; /* NULL: no body and no Content-Type */
    struct span body;
    const char *extra; /* further complete field lines, each with CRLF, or NULL */
    bool head_only;    /* answer to HEAD: Content-Length but no body */
    bool close;        /* "Connection: close" is said */
    time_t now;        /* for Date */
};

/* 0, -ENOBUFS or -ENOMEM. */
int reply_write(struct buf *out, const struct reply *r);

struct refusal {
    enum outcome outcome;
    struct span
        detail; /* what exactly was refused; may be empty; peer input, so it is escaped here */
    const char *rule;  /* where the rule stands that refused; NULL: where the remedy says so */
    const char *name;  /* ours, in Proxy-Status */
    const char *realm; /* of the password question (407); printable ASCII without '"' and '\\' */
    bool head_only;    /* answer to HEAD */
    bool keep;         /* the connection stays open: "Connection: close" is not said */
    unsigned retry_after_s; /* Retry-After with 429 and 503; the caller spreads it, so that those
                               who were refused together do not come back together */
    time_t now;             /* for Date */
};

/*
 * The answer to an exchange that was refused: plain text naming the cause, the detail and the
 * remedy, with Proxy-Status: `name`; error=... (RFC 9209), Proxy-Authenticate with 407, Allow with
 * 405. 0, -ENOBUFS or -ENOMEM.
 */
int reply_refusal(struct buf *out, const struct refusal *r);

/* Exactly the octets that every client accepts for an open tunnel. Static. */
extern const struct span reply_connect_established;

#endif

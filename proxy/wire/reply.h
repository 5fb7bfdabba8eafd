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

/*
 * The answer to an exchange that ended with `o`: plain text naming the cause, `detail` (what
 * exactly was refused; may be empty; peer input, so it is escaped here) and the remedy, with
 * Proxy-Status: `name`; error=... (RFC 9209), Retry-After with 429 and 503, Allow with 405. Says
 * "Connection: close".
 */
int reply_outcome(struct buf *out, enum outcome o, struct span detail, const char *name,
                  bool head_only, time_t now);

/* Exactly the octets that every client accepts for an open tunnel. Static. */
extern const struct span reply_connect_established;

#endif

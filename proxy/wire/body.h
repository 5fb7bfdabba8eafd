/*
 * body.h - where a message body ends (RFC 9112 sections 6 and 7); refuses every ambiguous framing.
 *
 * Streams: octets in, payload spans out, nothing kept but a chunk line's state and the trailers.
 * http-parser has no part in this. Any thread.
 */
#ifndef CERTFERRY_WIRE_BODY_H
#define CERTFERRY_WIRE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/span.h"
#include "proxy/wire/head.h"

enum body_kind {
    BODY_NONE,        /* ends with the head */
    BODY_LENGTH,      /* Content-Length */
    BODY_CHUNKED,     /* Transfer-Encoding: chunked */
    BODY_UNTIL_CLOSE, /* responses only */
};

enum {
    BODY_CHUNK_LINE_MAX = 256,   /* octets of a chunk-size line, extensions included */
    BODY_TRAILERS_MAX = 8 * 1024 /* octets of a trailer section */
};

struct body {
    enum body_kind kind;
    uint64_t length;      /* BODY_LENGTH: the whole; payload octets */
    uint64_t remaining;   /* payload octets still to come of the body or of the current chunk */
    unsigned state;       /* body.c's own */
    unsigned line_octets; /* of the chunk line so far */
    bool ended;
    /* At BODY_END the trailer section: complete field lines with CRLF, checked and written anew,
       the forbidden ones (RFC 9110 section 6.5.1: framing, routing, authentication) left out. */
    struct buf trailers;
};

/*
 * Sets up `b` for the body that follows `request`. 0, or -EPROTO with `*why` (here and below static
 * text; may be NULL) when the framing is ambiguous, or when a CONNECT or TRACE announces content.
 */
int body_of_request(struct body *b, const struct head *request, const char **why);

/*
 * The same for a final (not 1xx) response; `request_method` decides for HEAD. CONNECT never comes
 * here.
 */
int body_of_response(struct body *b, const struct head *response, struct span request_method,
                     const char **why);

enum body_event {
    BODY_DATA, /* *payload is payload; call again with what is behind `*used` */
    BODY_MORE, /* all octets used, more are needed */
    BODY_END,  /* the body is complete; octets behind `*used` belong to the next message */
    BODY_BAD,  /* chunked coding violated, or a limit passed; `*why` says how */
};

/*
 * Looks at `len` octets of the body; `*used` says how many were taken (payload included). May be
 * called with len 0 to learn whether the body has already ended. A body that ends with the head
 * answers BODY_END at once.
 */
enum body_event body_next(struct body *b, const char *data, size_t len, size_t *used,
                          struct span *payload, const char **why);

/*
 * The connection ended: true when that is a regular end of this body (it had ended, or
 * BODY_UNTIL_CLOSE).
 */
bool body_close_ends(const struct body *b);

/* Gives the trailers' memory back; safe on a zeroed struct and twice. */
void body_release(struct body *b);

/* The message has no body octets. */
static inline bool body_is_empty(const struct body *b)
{
    return b->kind == BODY_NONE || (b->kind == BODY_LENGTH && b->length == 0);
}

#endif

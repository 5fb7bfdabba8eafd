/*
 * head.h - one HTTP/1 message head: octets -> method, target or status, and fields, under limits.
 *
 * Our own scan judges every octet first (RFC 9112 sections 2.2, 3, 5): http-parser 2.9.4 alone
 * would let bare LF, obs-fold and "Host :" through. A head that has passed is split by us and by
 * http-parser, and both must find the same. Of field values only Host (RFC 9112 section 3.2) is
 * judged here: framing is body.h's, the target target.h's concern. All spans point into the
 * caller's octets and live as long as those stay put. Any thread.
 */
#ifndef CERTFERRY_WIRE_HEAD_H
#define CERTFERRY_WIRE_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

enum {
    HEAD_FIELDS_MAX = 256,            /* the most that limit.fields may be set to */
    HEAD_CONNECTION_OPTIONS_MAX = 64, /* commas and fields counted; more is HEAD_MALFORMED */
};

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE };

struct head_field {
    struct span name;
    struct span value; /* without leading and trailing whitespace; may hold obs-text */
};

struct head {
    enum head_kind kind;
    unsigned minor;     /* HTTP/1.minor: 0 or 1; a higher one reads as 1 (RFC 9110 section 2.5) */
    struct span method; /* request */
    struct span target; /* request */
    unsigned status;    /* response: 100..599 */
    struct span reason; /* response; may be empty */
    size_t size;        /* octets of the head, its final empty line included */
    size_t field_count;
    struct head_field field[HEAD_FIELDS_MAX];
};

struct head_limits {
    size_t head_octets;         /* limit.head */
    size_t request_line_octets; /* limit.request.line, without CRLF; also of a status line */
    size_t fields;              /* limit.fields, at most HEAD_FIELDS_MAX */
};

enum head_result {
    HEAD_OK,
    HEAD_MORE,           /* fine so far, not complete */
    HEAD_MALFORMED,      /* not HTTP/1 */
    HEAD_IS_TLS,         /* request whose first octet is a TLS handshake record's (0x16) */
    HEAD_BAD_VERSION,    /* well-formed start line with another major version than HTTP/1 */
    HEAD_METHOD_UNKNOWN, /* a well-formed method that http-parser does not know */
    HEAD_LINE_TOO_LONG,  /* start line over its limit */
    HEAD_TOO_LARGE,      /* whole head over its limit */
    HEAD_TOO_MANY_FIELDS,
};

/*
 * Looks at `len` octets from the beginning of a head; `*h` is valid after HEAD_OK only. Faults are
 * told as soon as they are seen, before the head is complete; those of Host, Connection and the
 * number of fields when it is. `*scanned` (0 for a new head, kept by the caller between calls on
 * the same growing octets, which may move) saves looking twice; its value means nothing to the
 * caller, and it is 0 again after any result but HEAD_MORE. Up to one empty line (CRLF) before a
 * request line is skipped and counted in `size` (RFC 9112 section 2.2). `why` (may be NULL)
 * receives a static text that says what is wrong, for the answer and the log.
 */
enum head_result head_parse(struct head *h, enum head_kind kind, const char *data, size_t len,
                            const struct head_limits *limits, size_t *scanned, const char **why);

/* The first field of that name (any case), or NULL. */
const struct head_field *head_find(const struct head *h, struct span name);

/* How many fields have that name. */
size_t head_count(const struct head *h, struct span name);

/* Whether a comma-separated list holds that token (any case), over all fields of that name. */
bool head_list_has(const struct head *h, struct span name, struct span token);

#endif

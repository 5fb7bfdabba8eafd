/*
 * json_strict.h - whether octets are one JSON text exactly as RFC 8259 writes it, under limits.
 *
 * cJSON is lenient: it takes control characters for blanks and inside strings, "01" and "1." for
 * numbers, \u0000 for the end of a string, octets that are no UTF-8, a byte order mark, and values
 * as deep as its stack bears. What comes from a peer or a disk passes here first. Keeps nothing,
 * allocates nothing, knows no meaning; that members of an object differ is seen only where escapes
 * are undone, so it is its user's to check. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_JSON_STRICT_H
#define CERTFERRY_FAILOVER_JSON_STRICT_H

#include "proxy/base/span.h"

enum {
    JSON_STRICT_DEPTH_MAX = 32, /* the most that `depth` may be */
    JSON_STRICT_NUMBER_MAX = 32 /* octets of a number; cJSON cuts longer ones */
};

struct json_strict_limits {
    size_t octets;
    size_t values;  /* objects and arrays count, and all that is in them */
    size_t members; /* of one object */
    unsigned depth; /* objects and arrays inside each other; a lone scalar has depth 0 */
};

/* NULL, or what is wrong (static), and in `*at` the first octet that is. */
const char *json_strict_fault(struct span text, const struct json_strict_limits *limits,
                              size_t *at);

#endif

/*
 * target.h - the request target of RFC 9112 section 3.2 in its four forms.
 *
 * Splits and checks the spelling; whether the host is a name we may go to is allowlist's question,
 * so the host is handed on as it was written. Spans point into the caller's octets. Any thread.
 */
#ifndef CERTFERRY_WIRE_TARGET_H
#define CERTFERRY_WIRE_TARGET_H

#include <stdint.h>

#include "proxy/base/span.h"

enum target_form {
    TARGET_AUTHORITY, /* CONNECT host:port */
    TARGET_ABSOLUTE,  /* http://host[:port]/path?query */
    TARGET_ORIGIN,    /* /path?query: for our own pages */
    TARGET_ASTERISK,  /* OPTIONS * */
};

struct target {
    enum target_form form;
    struct span host; /* as written, with an IPv6 literal's brackets; empty if the form has none */
    uint16_t port;    /* 1..65535; 80 where absolute form names none; 0 if the form has none */
    struct span path; /* path and query; empty for absolute form without a path, and authority */
};

enum target_result {
    TARGET_OK,
    TARGET_MALFORMED,    /* userinfo, fragment, backslash, empty host, missing or odd port, ... */
    TARGET_HTTPS,        /* absolute form with https: CONNECT is needed */
    TARGET_OTHER_SCHEME, /* absolute form with any other scheme */
    TARGET_METHOD,       /* form and method do not go together: authority form and CONNECT do */
};

/* `why` (may be NULL) receives a static text that says what is wrong. */
enum target_result target_parse(struct target *t, struct span method, struct span text,
                                const char **why);

#endif

/*
 * proxy_header.h - the PROXY protocol header, version 1 (text) or 2 (binary), in front of a
 * connection's first octets.
 *
 * Strict: HAProxy's proxy-protocol.txt (2020/03/05), section 2. Whether a sender may be believed is
 * not decided here. Pure. Any thread.
 */
#ifndef CERTFERRY_WIRE_PROXY_HEADER_H
#define CERTFERRY_WIRE_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"

/* Octets within which a header must be complete: the longest of version 2 that anybody needs, with
 * its TLVs. Version 1 has at most 107. */
enum { PROXY_HEADER_MAX = 4096 };

enum proxy_header_result {
    PROXY_HEADER_OK,
    PROXY_HEADER_MORE,      /* right so far, incomplete */
    PROXY_HEADER_MALFORMED, /* `*why` says what is wrong; static text */
};

struct proxy_header {
    /* LOCAL or UNKNOWN or a family that is not IP: the sender speaks for itself, `source` is not
     * set. */
    bool local;
    struct addr source; /* the client, with its port; an IPv4-mapped address as IPv4 */
    size_t size;        /* octets of the header; what follows is the client's */
};

/* `h` is filled when the result is PROXY_HEADER_OK. */
enum proxy_header_result proxy_header_parse(struct proxy_header *h, const char *data, size_t len,
                                            const char **why);

#endif

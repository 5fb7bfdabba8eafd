/*
 * resolved.h - what a name look-up found: the value that resolver, cache and queries hand to each
 * other.
 *
 * Any thread.
 */
#ifndef CERTFERRY_NET_RESOLVED_H
#define CERTFERRY_NET_RESOLVED_H

#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/base/outcome.h"

enum { RESOLVER_ADDRESSES_MAX = 64 }; /* kept of one name */

/* What a look-up found. Addresses have port 0, IPv6 and IPv4 alternating, IPv6 first (RFC 8305
 * section 4). */
struct resolved {
    enum outcome
        outcome;  /* OUTCOME_OK, OUTCOME_DNS_NOT_FOUND, OUTCOME_DNS_FAILED, OUTCOME_DNS_TIMEOUT */
    size_t count; /* > 0 exactly when OK */
    struct addr address[RESOLVER_ADDRESSES_MAX];
};

#endif

/*
 * hostname.h - any spelling of a host -> its one canonical form, or a refusal (RFC 9110
 * section 4.2.3, RFC 5890, RFC 1123).
 *
 * A name becomes lower-case A-labels without a trailing dot; an address literal in the strict
 * spellings becomes the address. Every other spelling that some resolver would take for an address
 * (short, octal, hex, decimal IPv4; zone ids) is refused, so that no second reading of the same
 * text exists. No DNS, no policy. Any thread.
 */
#ifndef CERTFERRY_ALLOWLIST_HOSTNAME_H
#define CERTFERRY_ALLOWLIST_HOSTNAME_H

#include "proxy/base/addr.h"
#include "proxy/base/span.h"

enum { HOSTNAME_MAX = 253 }; /* octets of the canonical text, RFC 1035 section 2.3.4 */

enum host_kind { HOST_NAME, HOST_IPV4, HOST_IPV6 };

struct hostname {
    enum host_kind kind;
    char text[HOSTNAME_MAX + 1]; /* canonical; an IPv6 address without brackets, RFC 5952 */
    struct addr addr;            /* of a literal; port 0 */
};

/*
 * `raw` as it stood in a request target or in the configuration (UTF-8 allowed, an IPv6 literal in
 * brackets). 0; -EINVAL; -ENOMEM (only international names allocate). On error `*why` (may be NULL)
 * says what is wrong, static.
 */
int hostname_parse(struct hostname *h, struct span raw, const char **why);

#endif

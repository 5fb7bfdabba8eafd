/*
 * egress.h - is this address one that no request from the inside may be led to?
 *
 * Special-purpose ranges of the IANA IPv4 and IPv6 registries (RFC 6890 and successors), multicast,
 * and IPv4 addresses hidden in IPv6 (mapped, compatible, 6to4, NAT64 64:ff9b::/96 and
 * 64:ff9b:1::/48, Teredo, ISATAP): those are judged by the address inside as well. Any thread.
 */
#ifndef CERTFERRY_ALLOWLIST_EGRESS_H
#define CERTFERRY_ALLOWLIST_EGRESS_H

#include <stddef.h>

#include "proxy/base/addr.h"

/*
 * NULL when `a` is an ordinary public address; else the name of the range (static, e.g. "loopback
 * 127.0.0.0/8"). `except` are prefixes that may be reached all the same (allowed.networks); an
 * address hidden in IPv6 needs an exception for the address as it stands (the IPv6 one), not only
 * for the one inside: both, where both are special.
 */
const char *egress_special(const struct addr *a, const struct prefix *except, size_t except_count);

#endif

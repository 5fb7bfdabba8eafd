/*
 * addr.h - socket addresses and address prefixes: parse, print, compare, match.
 *
 * Only the strict spellings are known here (RFC 5952 output; dotted quad of four decimal octets
 * without leading zeros, RFC 4291 text without zone): what a host name may look like is
 * allowlist/hostname's concern. Any thread.
 */
#ifndef CERTFERRY_BASE_ADDR_H
#define CERTFERRY_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proxy/base/span.h"

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
};

/* A network prefix; the bits behind `bits` are zero. */
struct prefix {
    struct addr addr; /* port 0 */
    unsigned bits;    /* 0..32 or 0..128 */
};

#define ADDR_TEXT_MAX 64 /* "[v6]:port" and its NUL, with room */

/* "192.0.2.1", "2001:db8::1" or "[2001:db8::1]" with the given port (host order). 0 or -EINVAL. */
int addr_parse(struct addr *a, struct span text, uint16_t port);

/* Prints the address without and with its port; v6 in brackets with a port only. Returns `out`. */
const char *addr_print(const struct addr *a, char out[ADDR_TEXT_MAX]);
const char *addr_print_port(const struct addr *a, char out[ADDR_TEXT_MAX]);

uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);
socklen_t addr_len(const struct addr *a);

/* An IPv4-mapped IPv6 address (::ffff:a.b.c.d) becomes the IPv4 address; all others stay. */
void addr_unmap(struct addr *a);

/* Same family and address; the port does not count. */
bool addr_same_host(const struct addr *a, const struct addr *b);

/* "10.0.0.0/8", "fc00::/7", or a single address. 0; -EINVAL; -ERANGE when bits behind the prefix
 * are set. */
int prefix_parse(struct prefix *p, struct span text);
const char *prefix_print(const struct prefix *p, char out[ADDR_TEXT_MAX]);

/* What counts as one client: an IPv4 address, or an IPv6 /64, which one site has for itself. */
struct addr_client {
    uint64_t part[2];
};

struct addr_client addr_client_of(const struct addr *a);

static inline bool addr_client_is(const struct addr_client *a, const struct addr_client *b)
{
    return a->part[0] == b->part[0] && a->part[1] == b->part[1];
}

/* Even for addresses that somebody has chosen, as long as `seed` is not known. */
uint64_t addr_client_hash(const struct addr_client *c, uint64_t seed);
bool prefix_match(const struct prefix *p, const struct addr *a);
bool prefix_match_any(const struct prefix *list, size_t count, const struct addr *a);

#endif

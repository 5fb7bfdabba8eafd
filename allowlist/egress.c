#include "allowlist/egress.h"

#include <assert.h>
#include <stdint.h>

/*
 * The tables are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190;
 * state of 2025-10-09). The most specific entry decides by its column "Globally Reachable": true is
 * an ordinary address, false is special, and "N/A" (Teredo, 6to4, what is deprecated) is special
 * too, because nothing says that it leads outside. Multicast, 240.0.0.0/4 in full and what lies
 * outside 2000::/3 have no row there and are added.
 */

/* X(first address, prefix bits, globally reachable, name) */
#define RANGE4_TABLE(X)                                                                            \
    X(0x00000000, 8, false, "this network 0.0.0.0/8")                     /* RFC 791 */            \
    X(0x00000000, 32, false, "this host 0.0.0.0/32")                      /* RFC 1122 */           \
    X(0x0a000000, 8, false, "private 10.0.0.0/8")                         /* RFC 1918 */           \
    X(0x64400000, 10, false, "carrier-grade NAT 100.64.0.0/10")           /* RFC 6598 */           \
    X(0x7f000000, 8, false, "loopback 127.0.0.0/8")                       /* RFC 1122 */           \
    X(0xa9fe0000, 16, false, "link-local 169.254.0.0/16")                 /* RFC 3927 */           \
    X(0xac100000, 12, false, "private 172.16.0.0/12")                     /* RFC 1918 */           \
    X(0xc0000000, 24, false, "IETF protocol assignments 192.0.0.0/24")    /* RFC 6890 */           \
    X(0xc0000000, 29, false, "IPv4 service continuity 192.0.0.0/29")      /* RFC 7335 */           \
    X(0xc0000008, 32, false, "IPv4 dummy address 192.0.0.8/32")           /* RFC 7600 */           \
    X(0xc0000009, 32, true, "Port Control Protocol anycast 192.0.0.9/32") /* RFC 7723 */           \
    X(0xc000000a, 32, true, "TURN anycast 192.0.0.10/32")                 /* RFC 8155 */           \
    X(0xc00000aa, 31, false, "NAT64 discovery 192.0.0.170/31")            /* RFC 8880 */           \
    X(0xc0000200, 24, false, "documentation 192.0.2.0/24")                /* RFC 5737 */           \
    X(0xc01fc400, 24, true, "AS112 192.31.196.0/24")                      /* RFC 7535 */           \
    X(0xc034c100, 24, true, "AMT 192.52.193.0/24")                        /* RFC 7450 */           \
    X(0xc0586300, 24, false, "6to4 relay anycast 192.88.99.0/24")         /* RFC 7526 */           \
    X(0xc0586302, 32, false, "6a44 relay anycast 192.88.99.2/32")         /* RFC 6751 */           \
    X(0xc0a80000, 16, false, "private 192.168.0.0/16")                    /* RFC 1918 */           \
    X(0xc0af3000, 24, true, "AS112 192.175.48.0/24")                      /* RFC 7534 */           \
    X(0xc6120000, 15, false, "benchmarking 198.18.0.0/15")                /* RFC 2544 */           \
    X(0xc6336400, 24, false, "documentation 198.51.100.0/24")             /* RFC 5737 */           \
    X(0xcb007100, 24, false, "documentation 203.0.113.0/24")              /* RFC 5737 */           \
    X(0xe0000000, 4, false, "multicast 224.0.0.0/4")                      /* RFC 5771 */           \
    X(0xf0000000, 4, false, "reserved 240.0.0.0/4")                       /* RFC 1112 */           \
    X(0xffffffff, 32, false, "limited broadcast 255.255.255.255/32")      /* RFC 919 */

/* X(upper half, lower half, prefix bits, globally reachable, name) */
#define RANGE6_TABLE(X)                                                                            \
    X(0, 0, 128, false, "unspecified ::/128")                         /* RFC 4291 */               \
    X(0, 1, 128, false, "loopback ::1/128")                           /* RFC 4291 */               \
    X(0, 0, 96, false, "IPv4-compatible ::/96")                       /* RFC 4291 2.5.5.1 */       \
    X(0, 0xffff00000000, 96, false, "IPv4-mapped ::ffff:0:0/96")      /* RFC 4291 */               \
    X(0x0064ff9b00000000, 0, 96, true, "NAT64 64:ff9b::/96")          /* RFC 6052 */               \
    X(0x0064ff9b00010000, 0, 48, false, "local NAT64 64:ff9b:1::/48") /* RFC 8215 */               \
    X(0x0100000000000000, 0, 64, false, "discard-only 100::/64")      /* RFC 6666 */               \
    X(0x0100000000000001, 0, 64, false, "dummy 100:0:0:1::/64")       /* RFC 9780 */               \
    X(0x2001000000000000, 0, 23, false, "IETF protocol assignments 2001::/23") /* RFC 2928 */      \
    X(0x2001000000000000, 0, 32, false, "Teredo 2001::/32")                    /* RFC 4380 */      \
    X(0x2001000100000000, 1, 128, true, "Port Control Protocol anycast 2001:1::1/128")             \
    X(0x2001000100000000, 2, 128, true, "TURN anycast 2001:1::2/128")   /* RFC 8155 */             \
    X(0x2001000100000000, 3, 128, true, "DNS-SD anycast 2001:1::3/128") /* RFC 9665 */             \
    X(0x2001000200000000, 0, 48, false, "benchmarking 2001:2::/48")     /* RFC 5180 */             \
    X(0x2001000300000000, 0, 32, true, "AMT 2001:3::/32")               /* RFC 7450 */             \
    X(0x2001000401120000, 0, 48, true, "AS112 2001:4:112::/48")         /* RFC 7535 */             \
    X(0x2001001000000000, 0, 28, false, "ORCHID 2001:10::/28")          /* RFC 4843 */             \
    X(0x2001002000000000, 0, 28, true, "ORCHIDv2 2001:20::/28")         /* RFC 7343 */             \
    X(0x2001003000000000, 0, 28, true, "drone remote id 2001:30::/28")  /* RFC 9374 */             \
    X(0x20010db800000000, 0, 32, false, "documentation 2001:db8::/32")  /* RFC 3849 */             \
    X(0x2002000000000000, 0, 16, false, "6to4 2002::/16")               /* RFC 7526 */             \
    X(0x2620004f80000000, 0, 48, true, "AS112 2620:4f:8000::/48")       /* RFC 7534 */             \
    X(0x3fff000000000000, 0, 20, false, "documentation 3fff::/20")      /* RFC 9637 */             \
    X(0x5f00000000000000, 0, 16, false, "segment routing 5f00::/16")    /* RFC 9602 */             \
    X(0xfc00000000000000, 0, 7, false, "unique local fc00::/7")         /* RFC 4193 */             \
    X(0xfe80000000000000, 0, 10, false, "link-local fe80::/10")         /* RFC 4291 */             \
    X(0xfec0000000000000, 0, 10, false, "site-local fec0::/10")         /* RFC 3879 */             \
    X(0xff00000000000000, 0, 8, false, "multicast ff00::/8")            /* RFC 4291 */

/* How an IPv4 address can hide in an IPv6 one. X(name, words for the message) */
#define CARRIER_TABLE(X, range)                                                                    \
    X(range, NONE, "")                                                                             \
    X(range, MAPPED, " inside IPv4-mapped ::ffff:0:0/96")                                          \
    X(range, TRANSLATED, " inside IPv4-translated ::ffff:0:0:0/96")                                \
    X(range, COMPATIBLE, " inside IPv4-compatible ::/96")                                          \
    X(range, SIX_TO_FOUR, " inside 6to4 2002::/16")                                                \
    X(range, NAT64, " inside NAT64 64:ff9b::/96")                                                  \
    X(range, NAT64_LOCAL, " inside local NAT64 64:ff9b:1::/48")                                    \
    X(range, TEREDO_SERVER, " as server of Teredo 2001::/32")                                      \
    X(range, TEREDO_CLIENT, " as client of Teredo 2001::/32")                                      \
    X(range, ISATAP, " inside an ISATAP interface id")

enum carrier {
#define CARRIER_ENUM(range, name, text) CARRIER_##name,
    CARRIER_TABLE(CARRIER_ENUM, )
#undef CARRIER_ENUM
        CARRIER_COUNT
};

struct range4 {
    uint32_t first;
    unsigned bits;
    bool global;
    const char *name[CARRIER_COUNT]; /* the message for each way to hide it */
};

/* An IPv6 address as two numbers, and a prefix of such. */
struct halves {
    uint64_t high, low;
};

struct bits6 {
    struct halves first;
    unsigned bits;
};

struct range6 {
    struct bits6 where;
    bool global;
    const char *name;
};

static const struct range4 ranges4[] = {
#define CARRIER_NAME(range, name, text) [CARRIER_##name] = range text,
#define RANGE4_ROW(first, bits, global, name)                                                      \
    {first, bits, global, {CARRIER_TABLE(CARRIER_NAME, name)}},
    RANGE4_TABLE(RANGE4_ROW)
#undef RANGE4_ROW
#undef CARRIER_NAME
};

static const struct range6 ranges6[] = {
#define RANGE6_ROW(high, low, bits, global, name) {{{high, low}, bits}, global, name},
    RANGE6_TABLE(RANGE6_ROW)
#undef RANGE6_ROW
};

static uint64_t octets_load(const unsigned char *octet, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | octet[i];
    return value;
}

/* The special range of an IPv4 address in the words for its carrier; NULL when it is ordinary. */
static const char *range4_special(uint32_t address, enum carrier carrier)
{
    const struct range4 *best = NULL;
    for (size_t i = 0; i < sizeof ranges4 / sizeof ranges4[0]; i++) {
        const struct range4 *r = &ranges4[i];
        if ((address ^ r->first) >> (32 - r->bits) == 0 && (best == NULL || r->bits > best->bits))
            best = r;
    }
    return best == NULL || best->global ? NULL : best->name[carrier];
}

static bool bits6_hold(const struct bits6 *where, struct halves a)
{
    if (where->bits <= 64)
        return (a.high ^ where->first.high) >> (64 - where->bits) == 0;
    return a.high == where->first.high && (a.low ^ where->first.low) >> (128 - where->bits) == 0;
}

static const char *range6_special(struct halves a)
{
    const struct range6 *best = NULL;
    for (size_t i = 0; i < sizeof ranges6 / sizeof ranges6[0]; i++) {
        const struct range6 *r = &ranges6[i];
        if (bits6_hold(&r->where, a) && (best == NULL || r->where.bits > best->where.bits))
            best = r;
    }
    if (best != NULL)
        return best->global ? NULL : best->name;
    /* IANA assigns global unicast addresses from 2000::/3 alone (IPv6 address space registry). */
    return a.high >> 61 == 1 ? NULL : "reserved, outside 2000::/3";
}

/* Prefixes that carry an IPv4 address, and the octet where it begins. */
struct carrier_range {
    struct bits6 where;
    enum carrier carrier;
    unsigned octet;
};

static const struct carrier_range carriers[] = {
    {{{0, 0}, 96}, CARRIER_COMPATIBLE, 12},                     /* RFC 4291 2.5.5.1 */
    {{{0, 0xffff00000000}, 96}, CARRIER_MAPPED, 12},            /* RFC 4291 2.5.5.2 */
    {{{0, 0xffff000000000000}, 96}, CARRIER_TRANSLATED, 12},    /* RFC 2765 2.1 */
    {{{0x0064ff9b00000000, 0}, 96}, CARRIER_NAT64, 12},         /* RFC 6052 2.1 */
    {{{0x0064ff9b00010000, 0}, 48}, CARRIER_NAT64_LOCAL, 12},   /* RFC 8215 */
    {{{0x2002000000000000, 0}, 16}, CARRIER_SIX_TO_FOUR, 2},    /* RFC 3056 2 */
    {{{0x2001000000000000, 0}, 32}, CARRIER_TEREDO_SERVER, 4},  /* RFC 4380 4 */
    {{{0x2001000000000000, 0}, 32}, CARRIER_TEREDO_CLIENT, 12}, /* bits inverted */
};

struct hidden {
    enum carrier carrier;
    uint32_t address;
};

enum { HIDDEN_MAX = 3 }; /* Teredo server and client, and an interface id */

/*
 * The IPv4 address in the local-use NAT64 prefix stands where its operator's prefix length puts it
 * (RFC 6052 section 2.2: 48, 56, 64 or 96 bits, then octet 8 left out, then zeros). The zeros at
 * the end tell the length.
 */
static uint32_t nat64_local_inner(const unsigned char octet[16])
{
    if (octet[13] != 0 || octet[14] != 0 || octet[15] != 0)
        return (uint32_t)octets_load(octet + 12, 4);
    if (octet[12] != 0)
        return (uint32_t)octets_load(octet + 9, 4);
    if (octet[11] != 0)
        return (uint32_t)octet[7] << 24 | (uint32_t)octets_load(octet + 9, 3);
    return (uint32_t)(octets_load(octet + 6, 2) << 16 | octets_load(octet + 9, 2));
}

static uint32_t carrier_inner(const struct carrier_range *c, const unsigned char octet[16])
{
    uint32_t address = (uint32_t)octets_load(octet + c->octet, 4);
    if (c->carrier == CARRIER_NAT64_LOCAL)
        return nat64_local_inner(octet);
    return c->carrier == CARRIER_TEREDO_CLIENT ? ~address : address;
}

/*
 * Every IPv4 address hidden in an IPv6 one. An ISATAP interface id may follow any prefix: 000000ug
 * 00000000 5efe and the IPv4 address (RFC 5214 section 6.1).
 */
static size_t hidden_find(const unsigned char octet[16], struct halves a,
                          struct hidden out[HIDDEN_MAX])
{
    size_t count = 0;
    if (a.high == 0 && a.low <= 1) /* :: and ::1 carry nothing, RFC 4291 sections 2.5.2, 2.5.3 */
        return 0;
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
        if (bits6_hold(&carriers[i].where, a))
            out[count++] = (struct hidden){carriers[i].carrier, carrier_inner(&carriers[i], octet)};
    }
    if ((a.low >> 32 & 0xfcffffff) == 0x00005efe)
        out[count++] = (struct hidden){CARRIER_ISATAP, (uint32_t)a.low};
    assert(count <= HIDDEN_MAX);
    return count;
}

static bool inner_excepted(uint32_t address, const struct prefix *except, size_t except_count)
{
    struct addr inner = {.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)}};
    return prefix_match_any(except, except_count, &inner);
}

/*
 * 64:ff9b::/96 with a public address inside is ordinary: in a network with DNS64 (RFC 6147) every
 * CA has such an address, and the registry calls the prefix globally reachable.
 */
static const char *special6(const struct addr *a, const struct prefix *except, size_t except_count)
{
    const unsigned char *octet = a->in6.sin6_addr.s6_addr;
    struct halves whole = {octets_load(octet, 8), octets_load(octet + 8, 8)};
    bool excepted = prefix_match_any(except, except_count, a);
    struct hidden hidden[HIDDEN_MAX];
    size_t count = hidden_find(octet, whole, hidden);
    for (size_t i = 0; i < count; i++) {
        const char *name = range4_special(hidden[i].address, hidden[i].carrier);
        if (name != NULL && !(excepted && inner_excepted(hidden[i].address, except, except_count)))
            return name;
    }
    return excepted ? NULL : range6_special(whole);
}

const char *egress_special(const struct addr *a, const struct prefix *except, size_t except_count)
{
    if (a->sa.sa_family == AF_INET6)
        return special6(a, except, except_count);
    if (a->sa.sa_family != AF_INET)
        return "not an IP address";
    if (prefix_match_any(except, except_count, a))
        return NULL;
    return range4_special(ntohl(a->in.sin_addr.s_addr), CARRIER_NONE);
}

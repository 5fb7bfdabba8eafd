#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int addr_parse(struct addr *a, struct span text, uint16_t port)
{
    char copy[INET6_ADDRSTRLEN + 1];
    bool brackets = text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (brackets)
        text = (struct span){text.ptr + 1, text.len - 2};
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len) != NULL)
        return -EINVAL;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';

    /* inet_pton is strict: four decimal octets without leading zeros; IPv6 without a zone. */
    *a = (struct addr){0};
    if (!brackets && inet_pton(AF_INET, copy, &a->in.sin_addr) == 1) {
        a->in.sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, copy, &a->in6.sin6_addr) == 1) {
        a->in6.sin6_family = AF_INET6;
    } else {
        return -EINVAL;
    }
    addr_set_port(a, port);
    return 0;
}

/* By hand: it stands in each line of the log, and inet_ntop() goes by way of sprintf(). */
static void print_ipv4(const struct addr *a, char *out)
{
    unsigned char octet[4];
    memcpy(octet, &a->in.sin_addr, sizeof octet);
    for (unsigned i = 0; i < sizeof octet; i++) {
        if (octet[i] >= 100)
            *out++ = (char)('0' + octet[i] / 100);
        if (octet[i] >= 10)
            *out++ = (char)('0' + octet[i] / 10 % 10);
        *out++ = (char)('0' + octet[i] % 10);
        *out++ = '.';
    }
    out[-1] = '\0';
}

const char *addr_print(const struct addr *a, char out[ADDR_TEXT_MAX])
{
    if (a->sa.sa_family == AF_INET)
        print_ipv4(a, out);
    else if (inet_ntop(a->sa.sa_family, &a->in6.sin6_addr, out, ADDR_TEXT_MAX) == NULL)
        (void)snprintf(out, ADDR_TEXT_MAX, "?");
    return out;
}

const char *addr_print_port(const struct addr *a, char out[ADDR_TEXT_MAX])
{
    char host[ADDR_TEXT_MAX];
    const char *format = a->sa.sa_family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u";
    (void)snprintf(out, ADDR_TEXT_MAX, format, addr_print(a, host), (unsigned)addr_port(a));
    return out;
}

uint16_t addr_port(const struct addr *a)
{
    return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

void addr_set_port(struct addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
    else
        a->in.sin_port = htons(port);
}

socklen_t addr_len(const struct addr *a)
{
    return a->sa.sa_family == AF_INET6 ? (socklen_t)sizeof a->in6 : (socklen_t)sizeof a->in;
}

void addr_unmap(struct addr *a)
{
    if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        return;
    struct addr inner = {0};
    inner.in.sin_family = AF_INET;
    inner.in.sin_port = a->in6.sin6_port;
    memcpy(&inner.in.sin_addr, &a->in6.sin6_addr.s6_addr[12], 4);
    *a = inner;
}

/* The address octets and how many there are. */
static const unsigned char *addr_octets(const struct addr *a, size_t *count)
{
    if (a->sa.sa_family == AF_INET6) {
        *count = 16;
        return a->in6.sin6_addr.s6_addr;
    }
    *count = 4;
    return (const unsigned char *)&a->in.sin_addr;
}

bool addr_same_host(const struct addr *a, const struct addr *b)
{
    size_t na, nb;
    const unsigned char *oa = addr_octets(a, &na);
    const unsigned char *ob = addr_octets(b, &nb);
    return a->sa.sa_family == b->sa.sa_family && memcmp(oa, ob, na) == 0;
}

/* The number behind the slash: 1 to 3 digits, no leading zero. */
static int bits_parse(struct span text, unsigned most, unsigned *bits)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.ptr[0] == '0'))
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -EINVAL;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    if (value > most)
        return -EINVAL;
    *bits = value;
    return 0;
}

static bool bits_clear_behind(const struct prefix *p)
{
    size_t count;
    const unsigned char *octet = addr_octets(&p->addr, &count);
    for (unsigned bit = p->bits; bit < count * 8; bit++) {
        if ((octet[bit / 8] >> (7 - bit % 8)) & 1)
            return false;
    }
    return true;
}

int prefix_parse(struct prefix *p, struct span text)
{
    const char *slash = memchr(text.ptr, '/', text.len);
    struct span host = {text.ptr, slash != NULL ? (size_t)(slash - text.ptr) : text.len};
    int rc = addr_parse(&p->addr, host, 0);
    if (rc != 0)
        return rc;
    unsigned most = p->addr.sa.sa_family == AF_INET6 ? 128 : 32;
    p->bits = most;
    if (slash == NULL)
        return 0;
    rc = bits_parse((struct span){slash + 1, text.len - host.len - 1}, most, &p->bits);
    if (rc != 0)
        return rc;
    return bits_clear_behind(p) ? 0 : -ERANGE;
}

const char *prefix_print(const struct prefix *p, char out[ADDR_TEXT_MAX])
{
    char host[ADDR_TEXT_MAX];
    (void)snprintf(out, ADDR_TEXT_MAX, "%.46s/%u", addr_print(&p->addr, host), p->bits);
    return out;
}

bool prefix_match(const struct prefix *p, const struct addr *a)
{
    if (p->addr.sa.sa_family != a->sa.sa_family)
        return false;
    size_t count;
    const unsigned char *want = addr_octets(&p->addr, &count);
    const unsigned char *have = addr_octets(a, &count);
    size_t whole = p->bits / 8;
    assert(whole <= count);
    if (memcmp(want, have, whole) != 0)
        return false;
    unsigned rest = p->bits % 8;
    return rest == 0 || ((want[whole] ^ have[whole]) >> (8 - rest)) == 0;
}

bool prefix_match_any(const struct prefix *list, size_t count, const struct addr *a)
{
    for (size_t i = 0; i < count; i++) {
        if (prefix_match(&list[i], a))
            return true;
    }
    return false;
}

struct addr_client addr_client_of(const struct addr *a)
{
    struct addr_client c = {{0, a->sa.sa_family}};
    if (a->sa.sa_family == AF_INET6)
        memcpy(&c.part[0], &a->in6.sin6_addr, 8);
    else
        memcpy(&c.part[0], &a->in.sin_addr, 4);
    return c;
}

uint64_t addr_client_hash(const struct addr_client *c, uint64_t seed)
{
    uint64_t h = (c->part[0] ^ seed) * 0x9e3779b97f4a7c15U;
    h ^= h >> 29;
    h = (h + c->part[1]) * 0xbf58476d1ce4e5b9U;
    return h ^ h >> 32;
}

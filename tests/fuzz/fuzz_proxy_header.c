/*
 * fuzz_proxy_header.c - the verdict on a PROXY header must not depend on how its octets arrive, and
 * nothing of what follows it may count.
 *
 * Input: the first octets of a connection. Before the header is complete every beginning gives
 * MORE, or the verdict of the whole; behind it anything may stand. Oracle: an accepted text header
 * is, written anew from the values, the same line; an accepted binary one holds the address at its
 * fixed place, and loses its checksum when one bit is turned.
 */
#include "proxy/wire/proxy_header.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct verdict {
    enum proxy_header_result result;
    const char *why;
    struct proxy_header header;
};

/* From a copy of exactly that size, so that a sanitizer sees one octet too far. */
static struct verdict parse(const uint8_t *data, size_t size)
{
    struct verdict v = {.why = NULL};
    char *exact = malloc(size > 0 ? size : 1);
    assert(exact != NULL);
    if (size > 0)
        memcpy(exact, data, size);
    v.result = proxy_header_parse(&v.header, exact, size, &v.why);
    free(exact);
    assert((v.why != NULL) == (v.result == PROXY_HEADER_MALFORMED));
    return v;
}

static void agree(const struct verdict *a, const struct verdict *b)
{
    assert(a->result == b->result && a->why == b->why);
    if (a->result != PROXY_HEADER_OK)
        return;
    const struct proxy_header *g = &a->header, *h = &b->header;
    assert(g->size == h->size && g->local == h->local);
    assert(g->local || (addr_same_host(&g->source, &h->source) &&
                        addr_port(&g->source) == addr_port(&h->source)));
}

/* Every beginning of short inputs, some of long ones. */
static void check_beginnings(const struct verdict *whole, const uint8_t *data, size_t size)
{
    size_t step = size / 600 + 1;
    for (size_t len = 0; len < size; len += step) {
        struct verdict part = parse(data, len);
        if (part.result != PROXY_HEADER_MORE) {
            assert(part.result != PROXY_HEADER_OK || part.header.size <= len);
            agree(&part, whole);
        } else {
            assert(whole->result != PROXY_HEADER_OK || len < whole->header.size);
        }
    }
}

/* A client that goes on after its header, with a second one too, is none of the header's concern.
 */
static void check_tail(const struct verdict *whole, const uint8_t *data)
{
    static const char tail[] = "PROXY TCP4 192.0.2.66 192.0.2.67 1 2\r\n";
    size_t size = whole->header.size;
    uint8_t *longer = malloc(size + sizeof tail);
    assert(longer != NULL);
    memcpy(longer, data, size);
    memcpy(longer + size, tail, sizeof tail);
    struct verdict v = parse(longer, size + sizeof tail);
    agree(&v, whole);
    free(longer);
}

/* Another reader of version 1: sscanf() for the shape, then the line is compared with what those
 * values should look like. */
static void check_line(const struct proxy_header *h, const uint8_t *data)
{
    char line[128], source[64], destination[64], again[256];
    unsigned port, destination_port;
    char family;
    assert(h->size >= 15 && h->size <= 107 && memcmp(data + h->size - 2, "\r\n", 2) == 0);
    memcpy(line, data, h->size - 2);
    line[h->size - 2] = '\0';
    assert(strchr(line, '\r') == NULL && strchr(line, '\n') == NULL);
    if (h->local) {
        assert(strcmp(line, "PROXY UNKNOWN") == 0 || strncmp(line, "PROXY UNKNOWN ", 14) == 0);
        return;
    }
    int n = sscanf(line, "PROXY TCP%c %63s %63s %5u %5u", &family, source, destination, &port,
                   &destination_port);
    assert(n == 5 && (family == '4' || family == '6') && port <= 65535);
    (void)snprintf(again, sizeof again, "PROXY TCP%c %s %s %u %u", family, source, destination,
                   port, destination_port);
    assert(strcmp(again, line) == 0);
    assert(addr_port(&h->source) == port);
    struct addr a;
    assert(addr_parse(&a, span_of(source), (uint16_t)port) == 0);
    assert(a.sa.sa_family == (family == '4' ? AF_INET : AF_INET6));
    addr_unmap(&a);
    assert(addr_same_host(&a, &h->source));
}

/* The TLVs fill the header exactly. Returns where the checksum is, or 0. */
static size_t find_checksum(const uint8_t *data, size_t at, size_t size)
{
    size_t found = 0;
    while (at < size) {
        assert(size - at >= 3);
        size_t len = (size_t)data[at + 1] << 8 | data[at + 2];
        assert(len <= size - at - 3);
        if (data[at] == 3) {
            assert(len == 4 && found == 0);
            found = at + 3;
        }
        at += 3 + len;
    }
    assert(at == size);
    return found;
}

static void check_checksum(const struct verdict *whole, const uint8_t *data, size_t at)
{
    uint8_t *other = malloc(whole->header.size);
    assert(other != NULL);
    /* An address, a port, the checksum itself: one bit is enough. */
    const size_t places[] = {16, 24, at, at + 3};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        memcpy(other, data, whole->header.size);
        other[places[i]] ^= 0x10;
        assert(parse(other, whole->header.size).result == PROXY_HEADER_MALFORMED);
    }
    free(other);
}

static void check_binary(const struct verdict *whole, const uint8_t *data)
{
    const struct proxy_header *h = &whole->header;
    assert(h->size == 16 + ((size_t)data[14] << 8 | data[15]) && h->size <= PROXY_HEADER_MAX);
    assert((data[12] & 0xf0) == 0x20 && (data[12] & 0x0f) <= 1);
    assert(h->local == (data[12] == 0x20 || data[13] == 0));
    if (h->local)
        return;
    bool v4 = data[13] == 0x11;
    assert(v4 || data[13] == 0x21);
    struct addr a;
    memset(&a, 0, sizeof a);
    a.sa.sa_family = v4 ? AF_INET : AF_INET6;
    memcpy(v4 ? (void *)&a.in.sin_addr : (void *)&a.in6.sin6_addr, data + 16, v4 ? 4 : 16);
    addr_unmap(&a);
    assert(addr_same_host(&a, &h->source));
    size_t port = v4 ? 24 : 48;
    assert(addr_port(&h->source) == ((unsigned)data[port] << 8 | data[port + 1]));
    size_t checksum = find_checksum(data, v4 ? 28 : 52, h->size);
    if (checksum > 0)
        check_checksum(whole, data, checksum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verdict whole = parse(data, size);
    check_beginnings(&whole, data, size);
    if (whole.result != PROXY_HEADER_OK)
        return 0;
    assert(whole.header.size <= size);
    check_tail(&whole, data);
    if (data[0] == 'P')
        check_line(&whole.header, data);
    else
        check_binary(&whole, data);
    return 0;
}

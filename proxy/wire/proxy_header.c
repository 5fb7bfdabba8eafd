#include "proxy/wire/proxy_header.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

enum {
    V1_MAX = 107, /* "PROXY UNKNOWN" with two longest addresses and ports, CRLF included */
    V2_FIXED = 16,
    V2_IPV4 = 12, /* two addresses, two ports */
    V2_IPV6 = 36,
    TLV_HEAD = 3,
    TLV_CRC32C = 3,
};

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_header_result malformed(const char **why, const char *text)
{
    *why = text;
    return PROXY_HEADER_MALFORMED;
}

/* ---- version 1, a line ---- */

/* Takes the word up to the next space, or to the end, off `rest`; one space exactly. */
static struct span take_word(struct span *rest)
{
    const char *space = memchr(rest->ptr, ' ', rest->len);
    struct span word = {rest->ptr, space != NULL ? (size_t)(space - rest->ptr) : rest->len};
    size_t used = space != NULL ? word.len + 1 : word.len;
    *rest = (struct span){rest->ptr + used, rest->len - used};
    return word;
}

/* Decimal without leading zeros. */
static bool parse_port(struct span text, uint16_t *port)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

/* inet_pton() takes the strict dotted form and RFC 4291's, nothing shorter, octal or with a zone.
 */
static bool parse_address(struct addr *a, struct span text, int family)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    memset(a, 0, sizeof *a);
    a->sa.sa_family = (sa_family_t)family;
    void *to = family == AF_INET ? (void *)&a->in.sin_addr : (void *)&a->in6.sin6_addr;
    return inet_pton(family, copy, to) == 1;
}

/* "SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT" */
static bool parse_ends(struct addr *source, struct span rest, int family)
{
    struct addr destination;
    uint16_t port, destination_port;
    struct span from = take_word(&rest), to = take_word(&rest), from_port = take_word(&rest);
    if (!parse_address(source, from, family) || !parse_address(&destination, to, family) ||
        !parse_port(from_port, &port) || !parse_port(rest, &destination_port))
        return false;
    addr_set_port(source, port);
    return true;
}

static enum proxy_header_result parse_line(struct proxy_header *h, struct span line,
                                           const char **why)
{
    struct span rest = {line.ptr + 6, line.len - 6}; /* behind "PROXY " */
    struct span family = take_word(&rest);
    h->size = line.len + 2;
    h->local = span_is(family, SPAN("UNKNOWN"));
    if (h->local) /* whatever else the line holds is to be ignored */
        return PROXY_HEADER_OK;
    bool v4 = span_is(family, SPAN("TCP4"));
    if (!v4 && !span_is(family, SPAN("TCP6")))
        return malformed(why, "PROXY v1: protocol is not TCP4, TCP6 or UNKNOWN");
    if (!parse_ends(&h->source, rest, v4 ? AF_INET : AF_INET6))
        return malformed(why, "PROXY v1: addresses or ports are malformed");
    addr_unmap(&h->source);
    return PROXY_HEADER_OK;
}

static enum proxy_header_result parse_v1(struct proxy_header *h, const char *data, size_t len,
                                         const char **why)
{
    size_t most = len < V1_MAX ? len : V1_MAX;
    for (size_t i = 0; i < most; i++) {
        bool end = data[i] == '\r';
        if (end && i + 1 == len && i + 1 < V1_MAX)
            return PROXY_HEADER_MORE;
        if (end && i + 1 < most && data[i + 1] == '\n')
            return i < 6 ? malformed(why, "PROXY v1: nothing behind PROXY")
                         : parse_line(h, (struct span){data, i}, why);
        if (data[i] < ' ' || data[i] > '~')
            return malformed(why, "PROXY v1: line does not end in CRLF");
    }
    return len < V1_MAX ? PROXY_HEADER_MORE
                        : malformed(why, "PROXY v1: line longer than 107 octets");
}

/* ---- version 2, binary ---- */

static unsigned get16(const char *at)
{
    return (unsigned)((unsigned char)at[0] << 8 | (unsigned char)at[1]);
}

static uint32_t get32(const char *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* CRC32c (RFC 3720 appendix B.4) of the header, its own four octets at `hole` taken as zeros. */
static uint32_t crc32c(const char *data, size_t len, size_t hole)
{
    uint32_t crc = 0xffffffffU;
    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0 : (unsigned char)data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

/* The TLVs from `at` on must fill the header exactly; a checksum among them must be right. */
static bool tlvs_fit(const char *data, size_t at, size_t size)
{
    while (at < size) {
        if (size - at < TLV_HEAD)
            return false;
        size_t value = at + TLV_HEAD, len = get16(data + at + 1);
        if (len > size - value)
            return false;
        if (data[at] == TLV_CRC32C &&
            (len != 4 || crc32c(data, size, value) != get32(data + value)))
            return false;
        at = value + len;
    }
    return true;
}

/* The addresses of a PROXY command; returns where the TLVs begin, 0 when they do not fit. */
static size_t parse_addresses(struct proxy_header *h, const char *data, size_t size, int family)
{
    size_t octets = family == AF_INET ? V2_IPV4 : V2_IPV6;
    if (size - V2_FIXED < octets)
        return 0;
    const char *at = data + V2_FIXED;
    h->source.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        memcpy(&h->source.in.sin_addr, at, 4);
        addr_set_port(&h->source, (uint16_t)get16(at + 8));
    } else {
        memcpy(&h->source.in6.sin6_addr, at, 16);
        addr_set_port(&h->source, (uint16_t)get16(at + 32));
        addr_unmap(&h->source);
    }
    return V2_FIXED + octets;
}

static enum proxy_header_result parse_v2(struct proxy_header *h, const char *data, size_t len,
                                         const char **why)
{
    if (len > 12 && (unsigned char)data[12] != 0x20 && (unsigned char)data[12] != 0x21)
        return malformed(why, "PROXY v2: version and command are not 2 and LOCAL or PROXY");
    bool local = len > 12 && data[12] == 0x20;
    unsigned protocol = len > 13 ? (unsigned char)data[13] : 0;
    /* LOCAL: receivers must accept any protocol and ignore it. UNSPEC: the same for PROXY. */
    if (!local && protocol != 0x00 && protocol != 0x11 && protocol != 0x21)
        return malformed(why, "PROXY v2: protocol is not TCP over IPv4 or IPv6");
    if (len < V2_FIXED)
        return PROXY_HEADER_MORE;
    h->size = V2_FIXED + get16(data + 14);
    h->local = local || protocol == 0x00;
    if (h->size > PROXY_HEADER_MAX)
        return malformed(why, "PROXY v2: header longer than 4096 octets");
    if (len < h->size)
        return PROXY_HEADER_MORE;
    if (h->local)
        return PROXY_HEADER_OK;
    size_t tlvs = parse_addresses(h, data, h->size, protocol == 0x11 ? AF_INET : AF_INET6);
    if (tlvs == 0)
        return malformed(why, "PROXY v2: too short for its addresses");
    if (!tlvs_fit(data, tlvs, h->size))
        return malformed(why, "PROXY v2: TLVs do not fit, or the checksum is wrong");
    return PROXY_HEADER_OK;
}

enum proxy_header_result proxy_header_parse(struct proxy_header *h, const char *data, size_t len,
                                            const char **why)
{
    static const char v1[6] = "PROXY ";
    memset(h, 0, sizeof *h);
    if (memcmp(data, v2_signature, len < sizeof v2_signature ? len : sizeof v2_signature) == 0)
        return len < sizeof v2_signature ? PROXY_HEADER_MORE : parse_v2(h, data, len, why);
    if (memcmp(data, v1, len < sizeof v1 ? len : sizeof v1) == 0)
        return parse_v1(h, data, len, why);
    return malformed(why, "no PROXY header");
}

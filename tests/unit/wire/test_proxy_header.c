/*
 * test_proxy_header.c - PROXY protocol headers, each fed whole and in every cut; clauses are those
 * of HAProxy's proxy-protocol.txt (2020/03/05).
 */
#include "proxy/wire/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define OCTETS(literal) (literal), sizeof(literal) - 1
#define ENDS4 "\x0a\x01\x02\x03\xc0\x00\x02\x01\x03\xe8\x01\xbb"
#define TEN "0123456789"

struct row {
    const char *data;
    size_t len;
    const char *source; /* "address port", "local", or NULL: malformed */
    size_t behind;      /* octets after the header */
};

static const struct row rows[] = {
    /* section 2.1: the text form */
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443\r\n"), "10.1.2.3 1000", 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443\r\nCONNECT"), "10.1.2.3 1000", 7},
    {OCTETS("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"), "2001:db8::1 1", 0},
    {OCTETS("PROXY TCP6 ::ffff:10.1.2.3 ::1 5 6\r\n"), "10.1.2.3 5", 0},
    {OCTETS("PROXY UNKNOWN\r\n"), "local", 0},
    {OCTETS("PROXY UNKNOWN ffff::1 whatever 1 2\r\nGET"), "local", 3},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 0 0\r\n"), "10.1.2.3 0", 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443 \r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443 1\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4  10.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 01000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 65536 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 +100 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1  443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.03 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 0x0a.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 ::1 ::2 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP6 10.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP6 fe80::1%eth0 fe80::2 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP5 10.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY UDP4 10.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("proxy TCP4 10.1.2.3 192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY\r\n"), NULL, 0},
    {OCTETS("PROXY \r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443\n"), NULL, 0}, /* CRLF alone ends it */
    {OCTETS("PROXY TCP4 10.1.2.3 192.0.2.1 1000 443\r\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3\t192.0.2.1 1000 443\r\n"), NULL, 0},
    {OCTETS("PROXY TCP4 10.1.2.3\0 192.0.2.1 1000 443\r\n"), NULL, 0},
    /* 107 octets with CRLF are the most */
    {OCTETS("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "1\r\n"), "local", 0},
    {OCTETS("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "12\r\n"), NULL, 0},
    /* section 2.2: the binary form */
    {OCTETS(SIG "\x21\x11\x00\x0c" ENDS4), "10.1.2.3 1000", 0},
    {OCTETS(SIG "\x21\x11\x00\x0c" ENDS4 "GET"), "10.1.2.3 1000", 3},
    {OCTETS(SIG
            "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0"
            "\0\0\0\0\0\x02\x03\xe8\x01\xbb"),
     "2001:db8::1 1000", 0},
    {OCTETS(SIG "\x20\x00\x00\x00"), "local", 0},       /* LOCAL, a health check */
    {OCTETS(SIG "\x20\x11\x00\x0c" ENDS4), "local", 0}, /* its addresses are ignored */
    {OCTETS(SIG "\x20\xff\x00\x03xyz"), "local", 0},    /* whatever they are */
    {OCTETS(SIG "\x21\x00\x00\x00"), "local", 0},       /* UNSPEC */
    {OCTETS(SIG "\x21\x11\x00\x10" ENDS4 "\x04\x00\x01x"), "10.1.2.3 1000", 0}, /* PP2_TYPE_NOOP */
    {OCTETS(SIG "\x21\x11\x00\x0b" ENDS4), NULL, 0}, /* too short for its family */
    {OCTETS(SIG "\x21\x21\x00\x0c" ENDS4), NULL, 0},
    {OCTETS(SIG "\x21\x11\x00\x0e" ENDS4 "\x04\x00"), NULL, 0},      /* half a TLV */
    {OCTETS(SIG "\x21\x11\x00\x10" ENDS4 "\x04\x00\x02x"), NULL, 0}, /* a TLV that is longer */
    {OCTETS(SIG "\x11\x11\x00\x0c" ENDS4), NULL, 0},                 /* version 1 in binary */
    {OCTETS(SIG "\x22\x11\x00\x0c" ENDS4), NULL, 0},                 /* unassigned command */
    {OCTETS(SIG "\x21\x12\x00\x0c" ENDS4), NULL, 0},                 /* UDP over IPv4 */
    {OCTETS(SIG "\x21\x31\x00\x0c" ENDS4), NULL, 0},                 /* UNIX */
    {OCTETS(SIG "\x21\x41\x00\x0c" ENDS4), NULL, 0},                 /* unassigned family */
    {OCTETS(SIG "\x21\x11\xff\xff" ENDS4), NULL, 0}, /* longer than PROXY_HEADER_MAX */
    {OCTETS("\r\n\r\n\0\r\nQUIT\r"), NULL, 0},
    {OCTETS("CONNECT a:443 HTTP/1.1\r\n"), NULL, 0},
    {OCTETS("\x16\x03\x01"), NULL, 0},
};

/* The first `len` octets at a place of their own, exactly as long as they are. */
static enum proxy_header_result parse(struct proxy_header *h, const char *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    const char *why = NULL;
    assert_non_null(copy);
    memcpy(copy, data, len);
    enum proxy_header_result result = proxy_header_parse(h, copy, len, &why);
    if (result == PROXY_HEADER_MALFORMED)
        assert_true(why != NULL && why[0] != '\0');
    free(copy);
    return result;
}

static void check_source(const struct proxy_header *h, const struct row *r)
{
    char text[ADDR_TEXT_MAX], told[ADDR_TEXT_MAX + 8] = "local";
    if (!h->local)
        (void)snprintf(told, sizeof told, "%s %u", addr_print(&h->source, text),
                       (unsigned)addr_port(&h->source));
    assert_string_equal(told, r->source);
    assert_int_equal(h->size, r->len - r->behind);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct proxy_header h;
        enum proxy_header_result whole = parse(&h, r->data, r->len);
        if (whole != (r->source != NULL ? PROXY_HEADER_OK : PROXY_HEADER_MALFORMED))
            fail_msg("row %zu: %.*s gives %d", i, (int)r->len, r->data, whole);
        if (r->source != NULL)
            check_source(&h, r);
        /* Less of it is never another answer, only none yet. */
        for (size_t len = 1; len < r->len; len++) {
            enum proxy_header_result part = parse(&h, r->data, len);
            if (r->source == NULL)
                assert_true(part != PROXY_HEADER_OK);
            else if (len < r->len - r->behind)
                assert_int_equal(part, PROXY_HEADER_MORE);
            else
                assert_int_equal(part, PROXY_HEADER_OK);
        }
    }
}

/* The checksum of section 2.2.3, right and with one bit wrong. */
static void test_checksum(void **state)
{
    /* CRC32c of the whole header with its own octets zero, computed by a table-driven program. */
    static const char header[] = SIG "\x21\x11\x00\x13" ENDS4 "\x03\x00\x04\0\0\0\0";
    char copy[sizeof header];
    struct proxy_header h;
    (void)state;
    uint32_t crc = 0xffffffffU, table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (unsigned bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78U : 0);
    }
    for (size_t i = 0; i < sizeof header - 1; i++)
        crc = table[(crc ^ (unsigned char)header[i]) & 0xff] ^ crc >> 8;
    crc = ~crc;
    memcpy(copy, header, sizeof header);
    for (unsigned i = 0; i < 4; i++)
        copy[sizeof header - 5 + i] = (char)(crc >> (24 - 8 * i));
    assert_int_equal(parse(&h, copy, sizeof header - 1), PROXY_HEADER_OK);
    copy[20] ^= 1;
    assert_int_equal(parse(&h, copy, sizeof header - 1), PROXY_HEADER_MALFORMED);
}

/* A length beyond the limit is refused before anybody waits for those octets. */
static void test_limit(void **state)
{
    static const char longest[] = SIG "\x20\x00\x0f\xf0", longer[] = SIG "\x20\x00\x0f\xf1";
    struct proxy_header h;
    (void)state;
    assert_int_equal(parse(&h, longest, sizeof longest - 1), PROXY_HEADER_MORE);
    assert_int_equal(parse(&h, longer, sizeof longer - 1), PROXY_HEADER_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- addresses ---- */

/* RFC 5952 section 4: one text for each IPv6 address, whatever it was written as (RFC 4291
 * section 2.2). */
static const struct {
    const char *text, *printed;
} good[] = {
    {"0.0.0.0", "0.0.0.0"},
    {"192.0.2.1", "192.0.2.1"},
    {"255.255.255.255", "255.255.255.255"},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"0:0:0:0:0:0:0:1", "::1"},
    {"0000:0000:0000:0000:0000:0000:0000:0001", "::1"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:0DB8:0:0:0:0:0:A", "2001:db8::a"},         /* 4.1, 4.3 */
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* 4.2.2: not for one group */
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},          /* 4.2.3: the longest run */
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},    /* 4.2.3: of equals the first */
    {"fe80::1", "fe80::1"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"}, /* 5 */
    {"::FFFF:c000:0201", "::ffff:192.0.2.1"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct addr a;
        char out[ADDR_TEXT_MAX], want[ADDR_TEXT_MAX + 8], wrapped[64];
        bool is_v6 = strchr(good[i].text, ':') != NULL;
        if (addr_parse(&a, span_of(good[i].text), 8443) != 0)
            fail_msg("%s refused", good[i].text);
        assert_int_equal(a.sa.sa_family, is_v6 ? AF_INET6 : AF_INET);
        assert_int_equal(addr_port(&a), 8443);
        assert_int_equal(addr_len(&a), is_v6 ? sizeof a.in6 : sizeof a.in);
        assert_string_equal(addr_print(&a, out), good[i].printed);
        (void)snprintf(want, sizeof want, is_v6 ? "[%s]:8443" : "%s:8443", good[i].printed);
        assert_string_equal(addr_print_port(&a, out), want);
        /* Brackets are for IPv6 (RFC 3986 section 3.2.2). */
        (void)snprintf(wrapped, sizeof wrapped, "[%s]", good[i].text);
        assert_int_equal(addr_parse(&a, span_of(wrapped), 0), is_v6 ? 0 : -EINVAL);
    }
}

/* What some resolver, browser or libc takes for an address. One of these past a guard reads as
 * another address. */
static const char *const bad[] = {
    "",
    " ",
    "0",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "017700000001", /* inet_aton's short forms */
    "0x7f.0.0.1",
    "127.0.0.0x1",
    "0177.0.0.1",
    "127.0.0.01",
    "00.0.0.0",
    "1.2.3.08", /* hex and octal */
    "256.0.0.1",
    "1.2.3.256",
    "1.2.3.4294967297",
    "1.2.3.999999999999999999999",
    "1.2.3",
    "1.2.3.",
    ".1.2.3.4",
    "1..2.3",
    "1.2.3.4.",
    "1.2.3.4.5",
    "1,2,3,4",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3.4\n",
    "\t1.2.3.4",
    "+1.2.3.4",
    "-1.2.3.4",
    "1.2.3.-4",
    "1.2.3.4/32",
    "1.2.3.4:80",
    "a.b.c.d",
    "localhost",
    "192.0.2.1%eth0",
    "\xd9\xa1.2.3.4",
    "\xef\xbc\x91.2.3.4", /* other alphabets' digits */
    ":",
    ":::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "::1::",
    "1::2::3",
    "12345::",
    "::g",
    "::-1",
    "::+1",
    "1:2:3:4:5:6:7::8:9",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "::1 ",
    " ::1",
    "0x1::",
    "fe80::1%eth0",
    "fe80::1%1",
    "fe80::1%",
    "fe80::1%25eth0",
    "[fe80::1%eth0]", /* zones, RFC 4007, RFC 6874 */
    "::127.1",
    "::ffff:127.0.0.01",
    "::ffff:0x7f.0.0.1",
    "::ffff:1.2.3",
    "::1.2.3.4.5",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "::ffff:1.2.3.256",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[]",
    "[",
    "]",
    "[::1",
    "::1]",
    "[[::1]]",
    "[::1]:80",
    "[ ::1]",
    "[1.2.3.4]",
    "[::1]]",
    "[v1.fe80::a]",
    "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555",
    "0000000000000000000000000000000000000000000000000000000000000001::",
};

static void test_refuse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct addr a;
        struct prefix p;
        if (addr_parse(&a, span_of(bad[i]), 1) != -EINVAL)
            fail_msg("\"%s\" passed", bad[i]);
        if (strchr(bad[i], '/') == NULL && prefix_parse(&p, span_of(bad[i])) != -EINVAL)
            fail_msg("\"%s\" passed as a prefix", bad[i]);
    }
}

/* A span ends where it ends, and a NUL in it is no end. */
static void test_spans(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        int rc;
    } cases[] = {
        {{"1.2.3.45", 7}, 0},
        {{"1.2.3.4x", 7}, 0},
        {{"1.2.3.4\0", 8}, -EINVAL},
        {{"\0001.2.3.4", 8}, -EINVAL},
        {{"1.2.3.4\0.evil", 13}, -EINVAL},
        {{"::1x", 3}, 0},
        {{"::1\0", 4}, -EINVAL},
        {{"[::1]x", 5}, 0},
        {{"[::1\0]", 6}, -EINVAL},
        {{"::1", 0}, -EINVAL},
        {{"", 0}, -EINVAL},
        {{NULL, 0}, -EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct addr a;
        assert_int_equal(addr_parse(&a, cases[i].text, 0), cases[i].rc);
    }
    /* Longer than any address, and without an end of its own: ASan watches. */
    for (size_t len = 1; len < 300; len++) {
        struct addr a;
        char *digits = malloc(len);
        assert_non_null(digits);
        memset(digits, '1', len);
        assert_int_equal(addr_parse(&a, (struct span){digits, len}, 0), -EINVAL);
        memset(digits, ':', len < 2 ? len : 2);
        int rc = addr_parse(&a, (struct span){digits, len}, 0); /* "::" and "::1" to "::1111" */
        assert_int_equal(rc, len >= 2 && len <= 6 ? 0 : -EINVAL);
        free(digits);
    }
}

static void test_port(void **state)
{
    (void)state;
    static const uint16_t ports[] = {0, 1, 80, 443, 48999, 65535};
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1"};
    for (size_t h = 0; h < 2; h++) {
        for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
            struct addr a;
            char out[ADDR_TEXT_MAX];
            assert_int_equal(addr_parse(&a, span_of(hosts[h]), ports[i]), 0);
            assert_int_equal(addr_port(&a), ports[i]);
            addr_set_port(&a, (uint16_t)(ports[i] ^ 0x1234));
            assert_int_equal(addr_port(&a), ports[i] ^ 0x1234);
            assert_string_equal(addr_print(&a, out), hosts[h]);
        }
    }
}

/* Longest of all texts; ADDR_TEXT_MAX is enough. */
static void test_longest_print(void **state)
{
    (void)state;
    struct addr a;
    char out[ADDR_TEXT_MAX];
    static const char text[] = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_int_equal(addr_parse(&a, SPAN("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 65535), 0);
    assert_string_equal(addr_print(&a, out), text);
    assert_string_equal(addr_print_port(&a, out),
                        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

static void test_unmap(void **state)
{
    (void)state;
    static const struct {
        const char *text, *then;
    } cases[] = {
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::ffff:0:0", "0.0.0.0"},
        {"::ffff:ffff:ffff", "255.255.255.255"},
        {"192.0.2.1", "192.0.2.1"},
        {"2001:db8::1", "2001:db8::1"},
        {"::1", "::1"},
        {"::fffe:c000:201", "::fffe:c000:201"}, /* one bit beside it */
        {"::1:ffff:c000:201", "::1:ffff:c000:201"},
        {"1::ffff:c000:201", "1::ffff:c000:201"},
        {"64:ff9b::c000:201", "64:ff9b::c000:201"}, /* NAT64 is another matter (allowlist/egress) */
        {"::ffff:0:c000:201", "::ffff:0:c000:201"}, /* SIIT, RFC 7915 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct addr a, again;
        char out[ADDR_TEXT_MAX];
        assert_int_equal(addr_parse(&a, span_of(cases[i].text), 443), 0);
        addr_unmap(&a);
        assert_string_equal(addr_print(&a, out), cases[i].then);
        assert_int_equal(addr_port(&a), 443);
        again = a;
        addr_unmap(&again);
        assert_memory_equal(&a, &again, sizeof a);
    }
}

static void test_same_host(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", true},         {"192.0.2.1", "192.0.2.2", false},
        {"2001:db8::1", "2001:DB8:0::1", true},   {"2001:db8::1", "2001:db8::2", false},
        {"1001:db8::1", "2001:db8::1", false},    {"0.0.0.0", "::", false},
        {"192.0.2.1", "::ffff:192.0.2.1", false}, {"::ffff:192.0.2.1", "::ffff:c000:201", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct addr a, b;
        assert_int_equal(addr_parse(&a, span_of(cases[i].a), 1), 0);
        assert_int_equal(addr_parse(&b, span_of(cases[i].b), 2), 0);
        assert_int_equal(addr_same_host(&a, &b), cases[i].same);
        assert_int_equal(addr_same_host(&b, &a), cases[i].same);
    }
}

/* ---- prefixes ---- */

static void test_prefix_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        const char *printed;
    } cases[] = {
        {"10.0.0.0/8", 0, "10.0.0.0/8"},
        {"0.0.0.0/0", 0, "0.0.0.0/0"},
        {"::/0", 0, "::/0"},
        {"192.0.2.1", 0, "192.0.2.1/32"},
        {"192.0.2.1/32", 0, "192.0.2.1/32"},
        {"2001:db8::1", 0, "2001:db8::1/128"},
        {"2001:db8::1/128", 0, "2001:db8::1/128"},
        {"fc00::/7", 0, "fc00::/7"},
        {"FE80::/10", 0, "fe80::/10"},
        {"::ffff:0:0/96", 0, "::ffff:0.0.0.0/96"},
        {"100.64.0.0/10", 0, "100.64.0.0/10"},
        {"10.0.0.1/8", -ERANGE, NULL}, /* 10.0.0.0/8 or 10.0.0.1? the operator must say */
        {"10.0.0.0/6", -ERANGE, NULL},
        {"0.0.0.1/0", -ERANGE, NULL},
        {"192.0.2.1/31", -ERANGE, NULL},
        {"128.0.0.0/0", -ERANGE, NULL},
        {"fd00::/7", -ERANGE, NULL},
        {"2001:db8::1/127", -ERANGE, NULL},
        {"8000::/0", -ERANGE, NULL},
        {"10.0.0.0/33", -EINVAL, NULL},
        {"10.0.0.0/128", -EINVAL, NULL},
        {"::/129", -EINVAL, NULL},
        {"::/999", -EINVAL, NULL},
        {"::/1000", -EINVAL, NULL},
        {"::/4294967296", -EINVAL, NULL},
        {"10.0.0.0/", -EINVAL, NULL},
        {"/8", -EINVAL, NULL},
        {"/", -EINVAL, NULL},
        {"10.0.0.0/08", -EINVAL, NULL},
        {"10.0.0.0/00", -EINVAL, NULL},
        {"10.0.0.0/+8", -EINVAL, NULL},
        {"10.0.0.0/-8", -EINVAL, NULL},
        {"10.0.0.0/ 8", -EINVAL, NULL},
        {"10.0.0.0 /8", -EINVAL, NULL},
        {"10.0.0.0/8 ", -EINVAL, NULL},
        {"10.0.0.0/0x8", -EINVAL, NULL},
        {"10.0.0.0/8/8", -EINVAL, NULL},
        {"10.0.0.0//8", -EINVAL, NULL},
        {"10/8", -EINVAL, NULL},
        {"10.0.0/24", -EINVAL, NULL},
        {"10.0.0.0/255.0.0.0", -EINVAL, NULL},
        {"010.0.0.0/8", -EINVAL, NULL},
        {"fe80::%eth0/10", -EINVAL, NULL},
        {"*", -EINVAL, NULL},
        {"any", -EINVAL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct prefix p;
        char out[ADDR_TEXT_MAX];
        int rc = prefix_parse(&p, span_of(cases[i].text));
        if (rc != cases[i].rc)
            fail_msg("%s: %d", cases[i].text, rc);
        if (rc != 0)
            continue;
        assert_string_equal(prefix_print(&p, out), cases[i].printed);
        assert_int_equal(addr_port(&p.addr), 0);
    }
}

static struct prefix prefix_of(const char *text)
{
    struct prefix p;
    assert_int_equal(prefix_parse(&p, span_of(text)), 0);
    return p;
}

/* First and last address of a prefix and their neighbours outside. */
static void test_prefix_edges(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *before, *first, *last, *behind;
    } cases[] = {
        {"10.0.0.0/8", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
        {"172.16.0.0/12", "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
        {"100.64.0.0/10", "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
        {"192.0.2.8/29", "192.0.2.7", "192.0.2.8", "192.0.2.15", "192.0.2.16"},
        {"192.0.2.7/32", "192.0.2.6", "192.0.2.7", "192.0.2.7", "192.0.2.8"},
        {"128.0.0.0/1", "127.255.255.255", "128.0.0.0", "255.255.255.255", "0.0.0.0"},
        {"fc00::/7", "fbff::1", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"},
        {"fe80::/10", "fe7f:ffff::", "fe80::", "febf:ffff::", "fec0::"},
        {"2001:db8::/33",
         "2001:db7:ffff::", "2001:db8::", "2001:db8:7fff:ffff::", "2001:db8:8000::"},
        {"::1/128", "::", "::1", "::1", "::2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct prefix p = prefix_of(cases[i].prefix);
        const char *const texts[] = {cases[i].before, cases[i].first, cases[i].last,
                                     cases[i].behind};
        for (size_t k = 0; k < 4; k++) {
            struct addr a;
            assert_int_equal(addr_parse(&a, span_of(texts[k]), 443), 0);
            if (prefix_match(&p, &a) != (k == 1 || k == 2))
                fail_msg("%s and %s", cases[i].prefix, texts[k]);
        }
    }
}

/* The other family never matches, not even /0, nor an IPv4 address inside IPv6: who wants that
 * unmaps first. */
static void test_prefix_families(void **state)
{
    (void)state;
    struct prefix all_v4 = prefix_of("0.0.0.0/0"), all_v6 = prefix_of("::/0");
    struct addr v4, mapped;
    assert_int_equal(addr_parse(&v4, SPAN("10.1.2.3"), 0), 0);
    assert_int_equal(addr_parse(&mapped, SPAN("::ffff:10.1.2.3"), 0), 0);
    assert_true(prefix_match(&all_v4, &v4));
    assert_false(prefix_match(&all_v6, &v4));
    assert_false(prefix_match(&all_v4, &mapped));
    assert_true(prefix_match(&all_v6, &mapped));
    addr_unmap(&mapped);
    assert_true(prefix_match(&all_v4, &mapped));
}

static void test_prefix_match_any(void **state)
{
    (void)state;
    struct prefix list[] = {prefix_of("10.0.0.0/8"), prefix_of("fc00::/7"), prefix_of("192.0.2.7")};
    static const struct {
        const char *text;
        size_t first; /* the one that matches, 3 for none */
    } cases[] = {{"10.9.9.9", 0}, {"fd12::1", 1}, {"192.0.2.7", 2}, {"192.0.2.8", 3}, {"::", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct addr a;
        assert_int_equal(addr_parse(&a, span_of(cases[i].text), 0), 0);
        for (size_t count = 0; count <= 3; count++)
            assert_int_equal(prefix_match_any(list, count, &a), cases[i].first < count);
    }
    struct addr a;
    assert_int_equal(addr_parse(&a, SPAN("10.0.0.1"), 0), 0);
    assert_false(prefix_match_any(NULL, 0, &a)); /* an empty list allows nobody */
}

/* ---- any address at all, from a fixed seed ---- */

static unsigned char *octets_of(struct addr *a, size_t *count)
{
    bool is_v6 = a->sa.sa_family == AF_INET6;
    *count = is_v6 ? 16 : 4;
    return is_v6 ? a->in6.sin6_addr.s6_addr : (unsigned char *)&a->in.sin_addr;
}

/* Runs of zeros are likely, so that all ways to shorten come up. */
static struct addr some_addr(unsigned short seed[3])
{
    struct addr a = {0};
    size_t count;
    a.sa.sa_family = nrand48(seed) % 3 == 0 ? AF_INET : AF_INET6;
    unsigned char *octet = octets_of(&a, &count);
    for (size_t i = 0; i < count; i++)
        octet[i] = nrand48(seed) % 2 == 0 ? (unsigned char)nrand48(seed) : 0;
    if (count == 16 && nrand48(seed) % 8 == 0)
        memcpy(octet, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    addr_set_port(&a, (uint16_t)nrand48(seed));
    return a;
}

static void test_round_trips(void **state)
{
    (void)state;
    unsigned short seed[3] = {1, 2, 3};
    for (unsigned i = 0; i < 20000; i++) {
        struct addr a = some_addr(seed), b;
        char text[ADDR_TEXT_MAX], again[ADDR_TEXT_MAX];
        assert_int_equal(addr_parse(&b, span_of(addr_print(&a, text)), addr_port(&a)), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_true(addr_same_host(&a, &b));
        /* With the port: what is before the last colon is the host again. */
        (void)addr_print_port(&a, text);
        char *colon = strrchr(text, ':');
        assert_non_null(colon);
        struct span host = {text, (size_t)(colon - text)};
        assert_int_equal(addr_parse(&b, host, (uint16_t)strtoul(colon + 1, NULL, 10)), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_string_equal(addr_print_port(&b, again), text);
    }
}

/* A prefix of each length: all bits before its end count, none behind. */
static void test_prefix_bits(void **state)
{
    (void)state;
    unsigned short seed[3] = {4, 5, 6};
    for (unsigned i = 0; i < 300; i++) {
        struct addr a = some_addr(seed);
        size_t count;
        unsigned char *octet = octets_of(&a, &count);
        for (unsigned bits = 0; bits <= count * 8; bits++) {
            struct prefix p = {.addr = a, .bits = bits}, again;
            char text[ADDR_TEXT_MAX];
            unsigned char *kept = octets_of(&p.addr, &count);
            addr_set_port(&p.addr, 0);
            for (unsigned bit = bits; bit < count * 8; bit++)
                kept[bit / 8] &= (unsigned char)~(0x80U >> bit % 8);
            assert_int_equal(prefix_parse(&again, span_of(prefix_print(&p, text))), 0);
            assert_memory_equal(&p, &again, sizeof p);
            assert_true(prefix_match(&p, &a));
            unsigned flipped = (unsigned)nrand48(seed) % (unsigned)(count * 8);
            octet[flipped / 8] ^= (unsigned char)(0x80U >> flipped % 8);
            assert_int_equal(prefix_match(&p, &a), flipped >= bits);
            octet[flipped / 8] ^= (unsigned char)(0x80U >> flipped % 8);
        }
    }
}

/* Random changes to good texts: whatever passes means the same when it is printed and read again.
 */
static void test_mutations(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789abcdefABCDEF.:/[]%x \0";
    unsigned short seed[3] = {7, 8, 9};
    unsigned passed = 0;
    for (unsigned i = 0; i < 200000; i++) {
        char text[64], out[ADDR_TEXT_MAX];
        struct addr a = {0}, b = {0};
        const char *from = good[(size_t)nrand48(seed) % (sizeof good / sizeof good[0])].text;
        size_t len = strlen(from);
        memcpy(text, from, len);
        for (long n = nrand48(seed) % 3; n >= 0; n--)
            text[(size_t)nrand48(seed) % len] =
                alphabet[(size_t)nrand48(seed) % (sizeof alphabet - 1)];
        if (addr_parse(&a, (struct span){text, len}, 7) != 0)
            continue;
        passed++;
        assert_int_equal(addr_parse(&b, span_of(addr_print(&a, out)), 7), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_null(memchr(text, '%', len));
        assert_null(memchr(text, '/', len));
        assert_null(memchr(text, 'x', len));
        assert_null(memchr(text, ' ', len));
        assert_null(memchr(text, '\0', len));
    }
    assert_true(passed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_port),
        cmocka_unit_test(test_longest_print),
        cmocka_unit_test(test_unmap),
        cmocka_unit_test(test_same_host),
        cmocka_unit_test(test_prefix_parse),
        cmocka_unit_test(test_prefix_edges),
        cmocka_unit_test(test_prefix_families),
        cmocka_unit_test(test_prefix_match_any),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_prefix_bits),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Host names: what has one reading is accepted in canonical form, all else is refused. Every attack
 * names its source.
 */
#include "allowlist/hostname.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Octets may hold NUL, so cases carry their length. */
#define RAW(literal)                                                                               \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

struct good {
    struct span raw;
    enum host_kind kind;
    const char *text;
};

struct bad {
    struct span raw;
    const char *why; /* words that the reason must contain */
    const char *source;
};

static void print_case(struct span raw, const char *source)
{
    (void)fprintf(stderr, "case \"");
    for (size_t i = 0; i < raw.len; i++)
        (void)fprintf(stderr, raw.ptr[i] >= ' ' && raw.ptr[i] <= '~' ? "%c" : "\\x%02x",
                      (unsigned char)raw.ptr[i]);
    (void)fprintf(stderr, "\" (%s)\n", source);
}

/* Canonical text is a fixed point: read again, the same comes out. */
static void check_fixed_point(const struct hostname *h)
{
    char again[HOSTNAME_MAX + 3];
    struct hostname second;
    (void)snprintf(again, sizeof again, h->kind == HOST_IPV6 ? "[%s]" : "%s", h->text);
    assert_int_equal(hostname_parse(&second, span_of(again), NULL), 0);
    assert_int_equal(second.kind, h->kind);
    assert_string_equal(second.text, h->text);
}

static void check_good(const struct good *c)
{
    struct hostname h;
    const char *why = NULL;
    int rc = hostname_parse(&h, c->raw, &why);
    if (rc != 0 || h.kind != c->kind || strcmp(h.text, c->text) != 0) {
        print_case(c->raw, why != NULL ? why : "accepted");
        (void)fprintf(stderr, "wanted \"%s\", got \"%s\" kind %d\n", c->text, h.text, (int)h.kind);
        fail();
    }
    check_fixed_point(&h);
    if (h.kind == HOST_NAME) {
        struct in_addr in;
        assert_int_equal(inet_aton(h.text, &in), 0);
        assert_int_equal(h.addr.sa.sa_family, AF_UNSPEC);
    } else {
        struct addr a;
        assert_int_equal(addr_parse(&a, span_of(h.text), 0), 0);
        assert_true(addr_same_host(&a, &h.addr));
        assert_int_equal(addr_port(&h.addr), 0);
    }
}

static void check_bad(const struct bad *c)
{
    struct hostname h;
    const char *why = NULL;
    int rc = hostname_parse(&h, c->raw, &why);
    if (rc != -EINVAL || why == NULL || strstr(why, c->why) == NULL) {
        print_case(c->raw, c->source);
        (void)fprintf(stderr, "wanted \"%s\", got %d \"%s\" text \"%s\"\n", c->why, rc,
                      why != NULL ? why : "", h.text);
        fail();
    }
    assert_string_equal(h.text, "");
    assert_int_equal(hostname_parse(&h, c->raw, NULL), -EINVAL);
}

static void test_names(void **state)
{
    static const struct good cases[] = {
        {RAW("acme-v02.api.letsencrypt.org"), HOST_NAME, "acme-v02.api.letsencrypt.org"},
        {RAW("digicert.com"), HOST_NAME, "digicert.com"},
        /* RFC 9110 4.2.3: the host is case-insensitive; CVE-2022-24825 compared it as written */
        {RAW("ONE.DigiCert.COM"), HOST_NAME, "one.digicert.com"},
        /* RFC 1034 3.1: a trailing dot says "absolute"; CVE-2022-24825, hysteria #1574 */
        {RAW("digicert.com."), HOST_NAME, "digicert.com"},
        /* a single label is a name; whether it may be reached is the allowlist's business */
        {RAW("localhost"), HOST_NAME, "localhost"},
        {RAW("LocalHost."), HOST_NAME, "localhost"},
        {RAW("a"), HOST_NAME, "a"},
        /* RFC 1123 2.1: a label may begin with a digit, or be a number unless it is the last */
        {RAW("3com.com"), HOST_NAME, "3com.com"},
        {RAW("1.2.3.4.example"), HOST_NAME, "1.2.3.4.example"},
        {RAW("127.0.0.1.nip.io"), HOST_NAME, "127.0.0.1.nip.io"},
        {RAW("0x7f.example"), HOST_NAME, "0x7f.example"},
        {RAW("0xyz"), HOST_NAME, "0xyz"},
        {RAW("127.0.0.1x"), HOST_NAME, "127.0.0.1x"},
        {RAW("1-2"), HOST_NAME, "1-2"},
        /* RFC 5890 2.3.1: "??--" is reserved, but names of this form are in use */
        {RAW("r3---sn-4g5e6nzl.example"), HOST_NAME, "r3---sn-4g5e6nzl.example"},
        {RAW("a--b.example"), HOST_NAME, "a--b.example"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_good(&cases[i]);
}

static void test_international_names(void **state)
{
    static const struct good cases[] = {
        {RAW("b\xc3\xbc"
             "cher.example"),
         HOST_NAME, "xn--bcher-kva.example"},
        {RAW("B\xc3\x9c"
             "CHER.Example"),
         HOST_NAME, "xn--bcher-kva.example"},
        {RAW("xn--bcher-kva.example"), HOST_NAME, "xn--bcher-kva.example"},
        {RAW("XN--BCHER-KVA.example"), HOST_NAME, "xn--bcher-kva.example"},
        {RAW("a.xn--fiqs8s"), HOST_NAME, "a.xn--fiqs8s"},
        /* not normalised: u and combining diaeresis (UAX 15) */
        {RAW("bu\xcc\x88"
             "cher.example"),
         HOST_NAME, "xn--bcher-kva.example"},
        /* non-transitional: the sharp s stays itself; CVE-2016-8625 (curl) went to fass.de */
        {RAW("fa\xc3\x9f.de"), HOST_NAME, "xn--fa-hia.de"},
        /* UTS 46 dots U+3002, U+FF0E, U+FF61; CVE-2022-42916, CVE-2022-43551 (curl) kept two
           spellings */
        {RAW("one\xe3\x80\x82"
             "digicert.com"),
         HOST_NAME, "one.digicert.com"},
        {RAW("digicert\xef\xbc\x8e"
             "com"),
         HOST_NAME, "digicert.com"},
        {RAW("digicert\xef\xbd\xa1"
             "com"),
         HOST_NAME, "digicert.com"},
        {RAW("digicert.com\xe3\x80\x82"), HOST_NAME, "digicert.com"},
        /* full-width and circled letters, KELVIN SIGN: one canonical text for all spellings */
        {RAW("\xef\xbd\x84igicert.com"), HOST_NAME, "digicert.com"},
        {RAW("\xe2\x93\x93igicert.com"), HOST_NAME, "digicert.com"},
        {RAW("\xe2\x84\xaa.example"), HOST_NAME, "k.example"},
        /* soft hyphen, zero width space: UTS 46 removes them, and so do we before anything is
           judged */
        {RAW("digi\xc2\xad"
             "cert.com"),
         HOST_NAME, "digicert.com"},
        {RAW("digi\xe2\x80\x8b"
             "cert.com"),
         HOST_NAME, "digicert.com"},
        /* look-alikes stay different names: dotless i, Cyrillic ie */
        {RAW("d\xc4\xb1gicert.com"), HOST_NAME, "xn--dgicert-rfb.com"},
        {RAW("digic\xd0\xb5rt.com"), HOST_NAME, "xn--digicrt-chg.com"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_good(&cases[i]);
}

static void test_literals(void **state)
{
    static const struct good cases[] = {
        {RAW("192.0.2.1"), HOST_IPV4, "192.0.2.1"},
        {RAW("0.0.0.0"), HOST_IPV4, "0.0.0.0"},
        {RAW("255.255.255.255"), HOST_IPV4, "255.255.255.255"},
        /* RFC 5952 section 4 */
        {RAW("[::1]"), HOST_IPV6, "::1"},
        {RAW("[::]"), HOST_IPV6, "::"},
        {RAW("[2001:DB8::A]"), HOST_IPV6, "2001:db8::a"},
        {RAW("[2001:0db8:0000:0000:0000:0000:0000:0001]"), HOST_IPV6, "2001:db8::1"},
        {RAW("[2001:db8:0:1:1:1:1:1]"), HOST_IPV6, "2001:db8:0:1:1:1:1:1"},
        {RAW("[2001:0:0:1:0:0:0:1]"), HOST_IPV6, "2001:0:0:1::1"},
        {RAW("[2001:db8:0:0:1:0:0:1]"), HOST_IPV6, "2001:db8::1:0:0:1"},
        {RAW("[2001:db8:1:2:3:4:192.0.2.1]"), HOST_IPV6, "2001:db8:1:2:3:4:c000:201"},
        /* CVE-2024-29415 (ip): stays IPv6, egress judges the address inside */
        {RAW("[::fFFf:127.0.0.1]"), HOST_IPV6, "::ffff:127.0.0.1"},
        {RAW("[::ffff:7f00:1]"), HOST_IPV6, "::ffff:127.0.0.1"},
        {RAW("[0:0:0:0:0:ffff:a9fe:a9fe]"), HOST_IPV6, "::ffff:169.254.169.254"},
        {RAW("[000:0:0000::01]"), HOST_IPV6, "::1"},
        {RAW("[64:ff9b::7f00:1]"), HOST_IPV6, "64:ff9b::7f00:1"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_good(&cases[i]);
}

/* Spellings of an IPv4 address that inet_aton(), getaddrinfo() or a browser takes for one. */
static void test_ipv4_spellings_refused(void **state)
{
    static const char ip[] = "looks like an IPv4 address";
    static const struct bad cases[] = {
        {RAW("127.1"), ip, "inet_aton; CVE-2024-29415 (Node ip)"},
        {RAW("127.0.1"), ip, "inet_aton"},
        {RAW("0"), ip, "inet_aton; CVE-2025-59437 (Node ip)"},
        {RAW("017700000001"), ip, "CVE-2025-59436 (Node ip)"},
        {RAW("2130706433"), ip, "decimal, Orange Tsai 2017"},
        {RAW("2852039166"), ip, "169.254.169.254 in decimal"},
        {RAW("4294967296"), ip, "decimal overflow, wraps to 0.0.0.0 in careless parsers"},
        {RAW("0x7f000001"), ip, "hex"},
        {RAW("0X7F000001"), ip, "hex, upper case"},
        {RAW("0xA9FEA9FE"), ip, "169.254.169.254 in hex"},
        {RAW("0x7f.1"), ip, "CVE-2023-42282 (Node ip)"},
        {RAW("0x7f.0x0.0x0.0x1"), ip, "hex octets"},
        {RAW("0x7F.0.0.0x1"), ip, "hex last"},
        {RAW("0x"), ip, "WHATWG URL: 0x is the number 0"},
        {RAW("1.0x"), ip, "WHATWG URL ends in a number"},
        {RAW("0177.0.0.1"), ip, "CVE-2021-28918 (netmask), CVE-2021-29922 (Rust std::net)"},
        {RAW("0127.0.0.1"), ip, "CVE-2021-29921 (Python ipaddress), CVE-2021-29923 (Go)"},
        {RAW("010.8.8.8"), ip, "CVE-2021-29424 (Perl Net::Netmask), CVE-2020-28360 (private-ip)"},
        {RAW("127.0.0.01"), ip, "CVE-2021-29923 (Go)"},
        {RAW("00.0.0.0"), ip, "leading zero"},
        {RAW("012.1.2.3"), ip, "CVE-2024-29415 (Node ip)"},
        {RAW("01200034567"), ip, "CVE-2024-29415 (Node ip)"},
        {RAW("0177.1"), ip, "octal and short"},
        {RAW("127.0.0.1."), ip, "literal with a trailing dot, CVE-2022-24825 (Smokescreen)"},
        {RAW("169.254.169.254."), ip, "metadata address with a trailing dot"},
        {RAW("2130706433."), ip, "WHATWG URL ends in a number, empty last label"},
        {RAW("256.0.0.1"), ip, "octet over 255"},
        {RAW("1.2.3.4.5"), ip, "five parts"},
        {RAW("1.2.3.99999999999999999999"), ip, "overflow"},
        {RAW("example.1"), ip, "WHATWG URL ends in a number"},
        {RAW("example.0xff"), ip, "WHATWG URL ends in a number"},
        {RAW("08.8.8.8"), ip, "octal with an 8: some read decimal, some refuse"},
        {RAW("09"), ip, "WHATWG URL: digits alone, though no octal"},
        {RAW("0000000000000000000000000000000000000000000000000177.0.0.1"), ip, "padded octal"},
        /* IDNA makes ASCII of these only later */
        {RAW("\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.\xef\xbc\x90.\xef\xbc\x90.\xef\xbc\x91"), ip,
         "full-width digits"},
        {RAW("127\xe3\x80\x82"
             "0\xe3\x80\x82"
             "0\xe3\x80\x82"
             "1"),
         ip, "U+3002 dots, Orange Tsai 2017"},
        {RAW("127.0.0.1\xe3\x80\x82"), ip, "trailing U+3002"},
        {RAW("\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.\xe2\x93\xaa.\xe2\x93\xaa.\xe2\x91\xa0"), ip,
         "circled digits"},
        {RAW("127.0.0.1\xc2\xad"), ip, "soft hyphen behind a literal"},
        {RAW("127.0.0.\xc2\xad"
             "1"),
         ip, "soft hyphen inside a literal"},
        {RAW("\xef\xbc\x90x7f.1"), ip, "full-width zero before x7f"},
        {RAW("\xf0\x9d\x9f\xad\xf0\x9d\x9f\xae\xf0\x9d\x9f\xb3.1"), ip, "mathematical digits"},
        {RAW("\xd9\xa1\xd9\xa2\xd9\xa7.1"), "IDNA", "Arabic-Indic digits, RFC 5893"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_bad(&cases[i]);
}

/* Everything that this C library takes for an IPv4 address but is not the strict dotted quad. */
static void test_inet_aton_agrees(void **state)
{
    static const char *const part[] = {"0", "1", "127", "0177", "0x7f", "08", "65535", "256", "0x"};
    char text[64];
    struct hostname h;
    struct in_addr in;
    unsigned taken = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(part) * COUNT(part) * COUNT(part) * COUNT(part) * 4; i++) {
        size_t rest = i;
        const char *p[4];
        for (size_t j = 0; j < 4; j++, rest /= COUNT(part))
            p[j] = part[rest % COUNT(part)];
        static const char *const shape[] = {"%s", "%s.%s", "%s.%s.%s", "%s.%s.%s.%s"};
        (void)snprintf(text, sizeof text, shape[rest % 4], p[0], p[1], p[2], p[3]);
        if (inet_aton(text, &in) == 0)
            continue;
        taken++;
        bool strict = inet_pton(AF_INET, text, &in) == 1;
        assert_int_equal(hostname_parse(&h, span_of(text), NULL), strict ? 0 : -EINVAL);
        assert_true(!strict || h.kind == HOST_IPV4);
    }
    assert_true(taken > 1000);
}

static void test_ipv6_spellings_refused(void **state)
{
    static const struct bad cases[] = {
        {RAW("::1"), "brackets", "RFC 3986 3.2.2: IPv6 needs brackets"},
        {RAW("2001:db8::1"), "brackets", "RFC 3986 3.2.2"},
        {RAW("[fe80::1%eth0]"), "zone id", "RFC 4007 11; RFC 9844: never sent to a proxy"},
        {RAW("[fe80::1%25eth0]"), "zone id", "RFC 6874, obsoleted by RFC 9844"},
        {RAW("[::1%1]"), "zone id", "zone id behind loopback"},
        {RAW("[::1%25.digicert.com]"), "zone id", "CVE-2025-22870 (Go): zone id matched as a name"},
        {RAW("fe80::1%eth0"), "brackets", "no brackets and a zone id"},
        {RAW("[[::1]]"), "once", "CVE-2022-29188 (Smokescreen): doubled brackets"},
        {RAW("[[::1]"), "once", "CVE-2022-29188"},
        {RAW("[::1]]"), "once", "CVE-2022-29188"},
        {RAW("[::1"), "pair", "missing bracket"},
        {RAW("::1]"), "colon", "missing bracket"},
        {RAW("["), "pair", "bracket alone"},
        {RAW("[]"), "not an IPv6", "empty brackets"},
        {RAW("[127.0.0.1]"), "not an IPv6", "CVE-2022-29188: brackets around IPv4"},
        {RAW("[digicert.com]"), "only an IPv6", "CVE-2022-29188: brackets around a name"},
        {RAW("[deadbeef]"), "not an IPv6", "hex name in brackets"},
        {RAW("[::1]:443"), "pair", "port left on the host"},
        {RAW("[::1]."), "pair", "trailing dot behind brackets"},
        {RAW("[::1].digicert.com"), "pair",
         "CVE-2024-11168 (Python urlsplit): text behind brackets"},
        {RAW("digicert.com[::1]"), "brackets", "text before brackets"},
        {RAW("[v1.fe80::a]"), "only an IPv6", "RFC 3986 IPvFuture; CVE-2024-11168"},
        {RAW("[1::2::3]"), "not an IPv6", "RFC 4291 2.2: :: once"},
        {RAW("[1:2:3:4:5:6:7]"), "not an IPv6", "RFC 4291 2.2: too few groups"},
        {RAW("[1:2:3:4:5:6:7:8:9]"), "not an IPv6", "RFC 4291 2.2: too many groups"},
        {RAW("[::12345]"), "not an IPv6", "RFC 4291 2.2: group over four digits"},
        {RAW("[:1]"), "not an IPv6", "single leading colon"},
        {RAW("[1:]"), "not an IPv6", "single trailing colon"},
        {RAW("[:::1]"), "not an IPv6", "three colons"},
        {RAW("[::ffff:127.1]"), "not an IPv6", "short IPv4 inside IPv6"},
        {RAW("[::ffff:0177.0.0.1]"), "not an IPv6", "octal IPv4 inside IPv6, CVE-2021-29921"},
        {RAW("[::ffff:0x7f.0.0.1]"), "only an IPv6", "hex IPv4 inside IPv6"},
        {RAW("[::127.0.0.1:1]"), "not an IPv6", "IPv4 in the middle"},
        {RAW("[ ::1]"), "only an IPv6", "space"},
        {RAW("[::1\0]"), "only an IPv6", "NUL"},
        {RAW("[::\xef\xbc\x91]"), "only an IPv6", "full-width digit"},
        {RAW("[0x::1]"), "only an IPv6", "hex prefix"},
        {RAW("[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff]"),
         "not an IPv6", "longer than any address"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_bad(&cases[i]);
}

static void test_octets_refused(void **state)
{
    static const struct bad cases[] = {
        {RAW(""), "empty host", "RFC 9110 4.2.1: empty host"},
        {RAW("digicert.com\0.evil.example"), "control",
         "NUL; CVE-2024-24806 class (libuv, cut names)"},
        {RAW("\0digicert.com"), "control", "NUL"},
        {RAW("evil.example\0"), "control", "NUL at the end"},
        {RAW("127.0.0.1\n"), "control", "inet_aton takes trailing white space"},
        {RAW("127.0.0.1 digicert.com"), "spaces",
         "glibc bug 20018: inet_aton takes trailing garbage"},
        {RAW("127.0.0.1\tdigicert.com"), "control", "glibc bug 20018 (CVE-2016-10739)"},
        {RAW(" digicert.com"), "spaces", "leading space"},
        {RAW("digicert.com "), "spaces", "trailing space"},
        {RAW("digicert.com\r\nHost: evil"), "control", "CRLF injection, RFC 9112 11.1"},
        {RAW("digi\tcert.com"), "control", "WHATWG drops tabs, others do not"},
        {RAW("digicert.com\x7f"), "control", "DEL"},
        {RAW("user@digicert.com"), "user name", "RFC 9110 4.2.4: userinfo"},
        {RAW("digicert.com@evil.example"), "user name", "Orange Tsai 2017"},
        {RAW("digicert.com#@evil.example"), "only letters", "CVE-2016-8624 (curl)"},
        {RAW("digicert.com/evil"), "only letters", "slash"},
        {RAW("evil.example\\.digicert.com"), "only letters", "backslash: a slash to browsers"},
        {RAW("evil.example?.digicert.com"), "only letters", "question mark"},
        {RAW("evil.example;digicert.com"), "only letters", "semicolon"},
        {RAW("evil.example,digicert.com"), "only letters", "comma"},
        {RAW("digicert.com:443"), "colon", "port left on the host"},
        {RAW("digicert.com:"), "colon", "empty port"},
        {RAW("%6cocalhost"), "percent", "RFC 3986 3.2.2 percent-encoding: two spellings"},
        {RAW("evil.example%2f.digicert.com"), "percent", "CVE-2022-27780 (curl)"},
        {RAW("digicert%E3%80%82"
             "com"),
         "percent", "CVE-2022-43551 (curl)"},
        {RAW("127.0.0.1%00.digicert.com"), "percent", "encoded NUL"},
        {RAW("_acme.digicert.com"), "underscore",
         "RFC 1123 2.1; an underscore is for SRV and TXT owners"},
        {RAW("a_b.example"), "underscore", "RFC 1123 2.1"},
        {RAW("*.digicert.com"), "wildcard", "wildcard asked for"},
        {RAW("digi!cert.com"), "only letters", "RFC 3986 sub-delims"},
        {RAW("$(id).example"), "only letters", "shell"},
        {RAW("<b>.example"), "only letters", "markup, for the status page"},
        {RAW("\"a\".example"), "only letters", "quotes, for the log"},
        {RAW("a+b.example"), "only letters", "RFC 3986 sub-delims"},
        {RAW("~.example"), "only letters", "tilde"},
        {RAW("{a}.example"), "only letters", "braces, curl globbing"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_bad(&cases[i]);
}

static void test_labels_refused(void **state)
{
    static const struct bad cases[] = {
        {RAW("."), "empty label", "the root alone"},
        {RAW(".."), "empty label", "two dots"},
        {RAW("digicert.com.."), "empty label", "two trailing dots"},
        {RAW(".digicert.com"), "empty label", "leading dot"},
        {RAW("evil..digicert.com"), "empty label", "RFC 1035 3.1: only the root is empty"},
        {RAW("digicert..com"), "empty label", "two dots"},
        {RAW("-digicert.com"), "hyphen", "RFC 952: leading hyphen"},
        {RAW("digicert-.com"), "hyphen", "RFC 952: trailing hyphen"},
        {RAW("digicert.com-"), "hyphen", "RFC 952"},
        {RAW("-"), "hyphen", "an option to a careless command line, CVE-2017-1000117 class"},
        {RAW("-oProxyCommand=x"), "only letters", "CVE-2017-1000117"},
        /* A-labels: RFC 5891 5.3, RFC 5890 2.3.2.1 */
        {RAW("xn--"), "hyphen", "A-label of nothing"},
        {RAW("xn--.example"), "hyphen", "CVE-2024-12224 (idna): empty"},
        {RAW("xn--digicert-.com"), "hyphen", "CVE-2024-12224 (idna): ASCII inside"},
        {RAW("xn--a.example"), "A-label", "control character U+0080 inside"},
        {RAW("xn--999999999.example"), "A-label",
         "Punycode overflow, RFC 3492 6.4; CVE-2017-14062"},
        {RAW("xn--digicert-ufe0f.com"), "A-label", "CVE-2019-12290 (libidn2 round trip)"},
        {RAW("xn--digicert-yla.com"), "A-label", "CVE-2019-12290: soft hyphen inside"},
        {RAW("xn--digicert-tl3d.com"), "A-label", "CVE-2019-12290: zero width space inside"},
        {RAW("xn--igicert-rz4d.com"), "A-label", "circled letter inside"},
        {RAW("xn--digicertcom-cf3j"), "A-label", "U+3002 inside: a dot after decoding"},
        {RAW("xn--8g7ccp.1.example"), "A-label", "full-width 127 inside"},
        {RAW("xn--uber-vwc.example"), "A-label", "not normalised inside, RFC 5891 5.3"},
        {RAW("xn--Bcher-KvA8445foa.example"), "A-label", "disallowed brackets inside"},
        {RAW("xn--tda.xn--a"), "A-label", "second label wrong"},
        {RAW("xn--ber-ska"), "A-label", "upper case inside, RFC 5891 5.3"},
        {RAW("xn--ls8h.example"), "A-label", "IDNA2008 has no symbols"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_bad(&cases[i]);
}

static void test_international_refused(void **state)
{
    static const struct bad cases[] = {
        {RAW("\xe2\x84\x80.digicert.com"), "only letters",
         "CVE-2019-9636 (Python): U+2100 maps to a/c"},
        {RAW("evil.example\xef\xbc\x8f.digicert.com"), "only letters",
         "full-width slash, HostSplit 2019"},
        {RAW("evil.example\xef\xbc\x9f.digicert.com"), "only letters",
         "CVE-2019-10160: full-width ?"},
        {RAW("evil.example\xef\xbc\x83.digicert.com"), "only letters",
         "CVE-2019-10160: full-width #"},
        {RAW("evil.example\xef\xbc\xa0.digicert.com"), "user name", "CVE-2019-10160: full-width @"},
        {RAW("digicert.com\xef\xbc\x9a"
             "443"),
         "colon", "full-width colon"},
        {RAW("digicert\xef\xbc\x85"
             "2ecom.\xc3\xbc"),
         "percent", "full-width percent"},
        {RAW("b\xc3\xbc_cher.de"), "not", "underscore among other letters"},
        {RAW("b\xc3\xbc cher.de"), "spaces", "space among other letters"},
        {RAW("b\xc3\xbc\xc2\xa0"
             "cher.de"),
         "not", "no-break space maps to a space"},
        {RAW("b\xc3\xbc..de"), "empty label", "two dots"},
        {RAW("b\xc3\xbc.de\xe3\x80\x82\xe3\x80\x82"), "empty label", "two U+3002"},
        {RAW("\xc2\xad"), "empty label", "nothing but a soft hyphen"},
        {RAW("\xc2\xad.com"), "empty label", "label of a soft hyphen"},
        {RAW("\xef\xb8\x8f.com"), "empty label", "label of a variation selector"},
        {RAW("digicert\xe2\x80\xa4"
             "com"),
         "IDNA", "U+2024 one dot leader"},
        {RAW("\xe2\x92\x88"
             "com.example"),
         "IDNA", "U+2488 digit one full stop"},
        {RAW("a\xe2\x80\x8d"
             "b.example"),
         "IDNA", "RFC 5892 A.2: joiner out of context"},
        {RAW("\xcc\x88"
             "a.example"),
         "IDNA", "RFC 5891 4.2.3.2: leading combining mark"},
        {RAW("i\xe2\x9d\xa4.example"), "IDNA", "RFC 5892: symbols are disallowed"},
        {RAW("-b\xc3\xbc.de"), "IDNA", "leading hyphen"},
        {RAW("\xe2\x80\xae"
             "moc.tr\xc3\xa9"
             "cigid"),
         "IDNA", "right-to-left override"},
        {RAW("a\xd7\x90"
             "1b.example"),
         "IDNA", "RFC 5893: mixed direction"},
        {RAW("xn--a-\xc2\xad.com"), "IDNA", "soft hyphen behind a false A-label"},
        {RAW("x\xc2\xad"
             "n--digicert-.com"),
         "IDNA", "soft hyphen makes an A-label prefix"},
        /* UTF-8, RFC 3629 */
        {RAW("digicert\xc0\xae"
             "com"),
         "IDNA", "overlong dot"},
        {RAW("\xff.com"), "IDNA", "no UTF-8"},
        {RAW("a\xc3"), "IDNA", "cut sequence"},
        {RAW("\xed\xa0\x80.com"), "IDNA", "surrogate"},
        {RAW("\xf4\x90\x80\x80.com"), "IDNA", "beyond U+10FFFF"},
        {RAW("\xef\xbf\xbd.com"), "IDNA", "U+FFFD"},
        {RAW("d\xfcrst.de"), "IDNA", "Latin-1"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_bad(&cases[i]);
}

/* Fills `out` with `labels` labels of `len` letters each, dots between, and returns the octets
 * written. */
static size_t labels_fill(char *out, size_t labels, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < labels; i++) {
        if (i > 0)
            out[at++] = '.';
        memset(out + at, 'a', len);
        at += len;
    }
    return at;
}

/* RFC 1035 section 2.3.4: 63 octets a label, 253 characters a name. */
static void test_lengths(void **state)
{
    char text[4096];
    struct hostname h;
    const char *why = NULL;
    (void)state;
    size_t len = labels_fill(text, 1, 63);
    assert_int_equal(hostname_parse(&h, (struct span){text, len}, &why), 0);
    len = labels_fill(text, 1, 64);
    assert_int_equal(hostname_parse(&h, (struct span){text, len}, &why), -EINVAL);
    assert_non_null(strstr(why, "63"));

    len = labels_fill(text, 127, 1); /* 253 */
    assert_int_equal(len, HOSTNAME_MAX);
    assert_int_equal(hostname_parse(&h, (struct span){text, len}, &why), 0);
    assert_int_equal(strlen(h.text), HOSTNAME_MAX);
    text[len] = '.';
    assert_int_equal(hostname_parse(&h, (struct span){text, len + 1}, &why), 0);
    assert_int_equal(strlen(h.text), HOSTNAME_MAX);
    text[len] = 'b';
    assert_int_equal(hostname_parse(&h, (struct span){text, len + 1}, &why), -EINVAL);
    assert_non_null(strstr(why, "253"));

    /* CVE-2024-24806 (libuv): a name cut at 256 octets became an address. */
    memset(text, '0', 300);
    memcpy(text, "0x", 2);
    memcpy(text + 300 - 10, "7f000001.e", 10);
    assert_int_equal(hostname_parse(&h, (struct span){text, 300}, &why), -EINVAL);
    len = labels_fill(text, 2000, 1);
    assert_int_equal(hostname_parse(&h, (struct span){text, len}, &why), -EINVAL);
}

/* International names meet the same bounds after the mapping; no length may upset the library. */
static void test_international_lengths(void **state)
{
    char text[4096];
    struct hostname h;
    const char *why = NULL;
    (void)state;
    for (size_t n = 1; n <= 1400; n++) {
        size_t at = 0;
        for (size_t i = 0; i < n; i++) {
            memcpy(text + at, "\xc3\xbc", 2);
            at += 2;
            if (i % 20 == 19)
                text[at++] = '.';
        }
        int rc = hostname_parse(&h, (struct span){text, at}, &why);
        assert_true(rc == 0 ? strlen(h.text) <= HOSTNAME_MAX : rc == -EINVAL);
        assert_true(n > 20 || rc == 0);
    }
    /* Ignored characters do not carry a name past the bound of what is looked at. */
    for (size_t i = 0; i < 1400; i += 2)
        memcpy(text + i, "\xc2\xad", 2);
    memcpy(text + 1400, "digicert.com", 12);
    assert_int_equal(hostname_parse(&h, (struct span){text, 1412}, &why), -EINVAL);
    assert_non_null(strstr(why, "253"));
}

/* Each octet alone and inside a name: only letters, digits, inner hyphens and dots pass, on the
 * whole ASCII range. */
static void test_every_octet(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text[] = {'a', (char)c, 'b', '.', 'c'};
        struct hostname h;
        bool ldh = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '-' || c == '.';
        assert_int_equal(hostname_parse(&h, (struct span){text, sizeof text}, NULL),
                         ldh ? 0 : -EINVAL);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_international_names),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_ipv4_spellings_refused),
        cmocka_unit_test(test_inet_aton_agrees),
        cmocka_unit_test(test_ipv6_spellings_refused),
        cmocka_unit_test(test_octets_refused),
        cmocka_unit_test(test_labels_refused),
        cmocka_unit_test(test_international_refused),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_international_lengths),
        cmocka_unit_test(test_every_octet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

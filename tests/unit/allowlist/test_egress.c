/*
 * The egress guard: both registries row by row, first and last address and the neighbours, and IPv4
 * inside IPv6.
 */
#include "allowlist/egress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr address(const char *text)
{
    struct addr a;
    if (addr_parse(&a, span_of(text), 443) != 0)
        fail_msg("\"%s\" is no address", text);
    return a;
}

struct verdict {
    const char *address;
    const char *range; /* what the name must contain; NULL: ordinary */
};

static void check(const struct verdict *c, const struct prefix *except, size_t count)
{
    struct addr a = address(c->address);
    const char *name = egress_special(&a, except, count);
    if (c->range == NULL ? name != NULL : name == NULL || strstr(name, c->range) == NULL)
        fail_msg("%s: %s, wanted %s", c->address, name != NULL ? name : "ordinary",
                 c->range != NULL ? c->range : "ordinary");
}

static void check_all(const struct verdict *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(&cases[i], NULL, 0);
}

static void test_ordinary(void **state)
{
    static const struct verdict cases[] = {
        {"1.0.0.0", NULL},          {"8.8.8.8", NULL},
        {"9.255.255.255", NULL},    {"11.0.0.0", NULL},
        {"93.184.215.14", NULL},    {"223.255.255.255", NULL},
        {"100.63.255.255", NULL},   {"100.128.0.0", NULL},
        {"126.255.255.255", NULL},  {"128.0.0.0", NULL},
        {"169.253.255.255", NULL},  {"169.255.0.0", NULL},
        {"172.15.255.255", NULL},   {"172.32.0.0", NULL},
        {"191.255.255.255", NULL},  {"192.0.1.0", NULL},
        {"192.0.1.255", NULL},      {"192.0.3.0", NULL},
        {"192.88.98.255", NULL},    {"192.88.100.0", NULL},
        {"192.167.255.255", NULL},  {"192.169.0.0", NULL},
        {"198.17.255.255", NULL},   {"198.20.0.0", NULL},
        {"198.51.99.255", NULL},    {"198.51.101.0", NULL},
        {"203.0.112.255", NULL},    {"203.0.114.0", NULL},
        {"2606:4700::1111", NULL},  {"2a00:1450:4001::1", NULL},
        {"2001:200::1", NULL},      {"2001:1ff:ffff::1", "IETF"},
        {"2001:db7:ffff::1", NULL}, {"2001:db9::1", NULL},
        {"2003::1", NULL},          {"3ffe::1", NULL},
        {"3fff:1000::1", NULL},     {"3fff:ffff::1", NULL},
        {"2620:4f:7fff::1", NULL},
    };
    (void)state;
    check_all(cases, COUNT(cases));
}

/* Registry column "Globally Reachable" true: ordinary, though a wider block around them is not. */
static void test_registry_reachable(void **state)
{
    static const struct verdict cases[] = {
        {"192.0.0.9", NULL},
        {"192.0.0.10", NULL},
        {"192.31.196.1", NULL},
        {"192.52.193.1", NULL},
        {"192.175.48.1", NULL},
        {"2001:1::1", NULL},
        {"2001:1::2", NULL},
        {"2001:1::3", NULL},
        {"2001:3::1", NULL},
        {"2001:4:112::1", NULL},
        {"2001:20::1", NULL},
        {"2001:2f:ffff::1", NULL},
        {"2001:30::1", NULL},
        {"2001:3f:ffff::1", NULL},
        {"2620:4f:8000::1", NULL},
        {"64:ff9b::808:808", NULL}, /* NAT64 of 8.8.8.8: networks with DNS64 need it, RFC 6147 */
        {"64:ff9b::192.0.0.9", NULL},
        /* the neighbours are not */
        {"192.0.0.11", "192.0.0.0/24"},
        {"2001:1::", "2001::/23"},
        {"2001:1::4", "2001::/23"},
        {"2001:4:111:ffff::1", "2001::/23"},
        {"2001:4:113::1", "2001::/23"},
        {"2001:40::1", "2001::/23"},
    };
    (void)state;
    check_all(cases, COUNT(cases));
}

static void test_special4(void **state)
{
    static const struct verdict cases[] = {
        {"0.0.0.0", "0.0.0.0/32"},
        {"0.0.0.1", "0.0.0.0/8"},
        {"0.255.255.255", "0.0.0.0/8"},
        {"10.0.0.0", "private 10.0.0.0/8"},
        {"10.255.255.255", "private 10.0.0.0/8"},
        {"100.64.0.0", "100.64.0.0/10"},
        {"100.100.100.200", "100.64.0.0/10"}, /* a cloud's metadata service */
        {"100.127.255.255", "100.64.0.0/10"},
        {"127.0.0.0", "loopback 127.0.0.0/8"},
        {"127.0.0.1", "loopback 127.0.0.0/8"},
        {"127.255.255.255", "loopback 127.0.0.0/8"},
        {"169.254.0.0", "link-local 169.254.0.0/16"},
        {"169.254.169.254", "link-local 169.254.0.0/16"}, /* metadata services */
        {"169.254.255.255", "link-local 169.254.0.0/16"},
        {"172.16.0.0", "private 172.16.0.0/12"},
        {"172.31.255.255", "private 172.16.0.0/12"},
        {"192.0.0.0", "192.0.0.0/29"},
        {"192.0.0.7", "192.0.0.0/29"},
        {"192.0.0.8", "192.0.0.8/32"},
        {"192.0.0.170", "192.0.0.170/31"},
        {"192.0.0.171", "192.0.0.170/31"},
        {"192.0.0.172", "192.0.0.0/24"},
        {"192.0.0.192", "192.0.0.0/24"}, /* a cloud's metadata service */
        {"192.0.0.255", "192.0.0.0/24"},
        {"192.0.2.0", "192.0.2.0/24"},
        {"192.0.2.255", "192.0.2.0/24"},
        {"192.88.99.0", "192.88.99.0/24"},
        {"192.88.99.1", "192.88.99.0/24"},
        {"192.88.99.2", "192.88.99.2/32"},
        {"192.88.99.255", "192.88.99.0/24"},
        {"192.168.0.0", "private 192.168.0.0/16"},
        {"192.168.255.255", "private 192.168.0.0/16"},
        {"198.18.0.0", "198.18.0.0/15"},
        {"198.19.255.255", "198.18.0.0/15"},
        {"198.51.100.0", "198.51.100.0/24"},
        {"198.51.100.255", "198.51.100.0/24"},
        {"203.0.113.0", "203.0.113.0/24"},
        {"203.0.113.255", "203.0.113.0/24"},
        {"224.0.0.0", "multicast 224.0.0.0/4"},
        {"224.0.0.1", "multicast 224.0.0.0/4"}, /* CVE-2025-8020 (private-ip) */
        {"239.255.255.255", "multicast 224.0.0.0/4"},
        {"240.0.0.0", "reserved 240.0.0.0/4"},
        {"255.255.255.254", "reserved 240.0.0.0/4"},
        {"255.255.255.255", "broadcast 255.255.255.255/32"},
    };
    (void)state;
    check_all(cases, COUNT(cases));
}

static void test_special6(void **state)
{
    static const struct verdict cases[] = {
        {"::", "unspecified ::/128"},
        {"::1", "loopback ::1/128"},
        {"100::", "discard-only 100::/64"},
        {"100::ffff:ffff:ffff:ffff", "discard-only 100::/64"},
        {"100:0:0:1::1", "dummy 100:0:0:1::/64"},
        {"100:0:0:2::1", "outside 2000::/3"},
        {"2001:2::1", "benchmarking 2001:2::/48"},
        {"2001:2:1::1", "2001::/23"},
        {"2001:10::1", "ORCHID 2001:10::/28"},
        {"2001:1f:ffff::1", "ORCHID 2001:10::/28"},
        {"2001:db8::1", "documentation 2001:db8::/32"},
        {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation 2001:db8::/32"},
        {"3fff::1", "documentation 3fff::/20"},
        {"3fff:fff:ffff::1", "documentation 3fff::/20"},
        {"5f00::1", "segment routing 5f00::/16"},
        {"fc00::1", "unique local fc00::/7"},
        {"fd00:ec2::254", "unique local fc00::/7"}, /* a cloud's metadata service */
        {"fdff:ffff::1", "unique local fc00::/7"},
        {"fe80::1", "link-local fe80::/10"},
        {"febf:ffff::1", "link-local fe80::/10"},
        {"fec0::1", "site-local fec0::/10"},
        {"feff:ffff::1", "site-local fec0::/10"},
        {"ff02::1", "multicast ff00::/8"},
        {"ff0e::1", "multicast ff00::/8"},
        {"64:ff9b:0:1::808:808", "outside 2000::/3"}, /* next to the NAT64 prefix */
        {"64:ff9b:2::1", "outside 2000::/3"},
        {"200::1", "outside 2000::/3"},
        {"1fff:ffff::1", "outside 2000::/3"},
        {"4000::1", "outside 2000::/3"},
        {"8000::1", "outside 2000::/3"},
        {"e000::1", "outside 2000::/3"},
        {"fe00::1", "outside 2000::/3"},
        {"::1:0:0:0", "outside 2000::/3"},
    };
    (void)state;
    check_all(cases, COUNT(cases));
}

/* Every way of hiding an IPv4 address, first with a forbidden one, then with a public one. */
static void test_hidden(void **state)
{
    static const struct verdict cases[] = {
        /* mapped, RFC 4291 2.5.5.2: CVE-2024-29415 (ip), CVE-2023-24623 (paranoidhttp),
           CVE-2021-29923 */
        {"::ffff:127.0.0.1", "loopback 127.0.0.0/8 inside IPv4-mapped"},
        {"::ffff:169.254.169.254", "link-local 169.254.0.0/16 inside IPv4-mapped"},
        {"::ffff:0.0.0.0", "this host 0.0.0.0/32 inside IPv4-mapped"},
        {"::ffff:8.8.8.8", "IPv4-mapped ::ffff:0:0/96"},
        {"::ffff:0:10.0.0.1", "private 10.0.0.0/8 inside IPv4-translated"},
        {"::ffff:0:8.8.8.8", "outside 2000::/3"},
        /* compatible, RFC 4291 2.5.5.1 */
        {"::127.0.0.1", "loopback 127.0.0.0/8 inside IPv4-compatible"},
        {"::a00:1", "private 10.0.0.0/8 inside IPv4-compatible"},
        {"::2", "0.0.0.0/8 inside IPv4-compatible"},
        {"::8.8.8.8", "IPv4-compatible ::/96"},
        /* 6to4, RFC 3056 2 */
        {"2002:7f00:1::1", "loopback 127.0.0.0/8 inside 6to4"},
        {"2002:a9fe:a9fe::", "link-local 169.254.0.0/16 inside 6to4"},
        {"2002:c0a8:101:1::1", "private 192.168.0.0/16 inside 6to4"},
        {"2002:808:808::1", "6to4 2002::/16"},
        /* NAT64, RFC 6052 3.1: the well-known prefix must not carry such addresses */
        {"64:ff9b::127.0.0.1", "loopback 127.0.0.0/8 inside NAT64"},
        {"64:ff9b::a9fe:a9fe", "link-local 169.254.0.0/16 inside NAT64"},
        {"64:ff9b::10.1.2.3", "private 10.0.0.0/8 inside NAT64"},
        {"64:ff9b::ffff:ffff", "broadcast 255.255.255.255/32 inside NAT64"},
        {"64:ff9b::93.184.215.14", NULL},
        /* NAT64 of the local-use prefix, RFC 8215, at each prefix length of RFC 6052 2.2 */
        {"64:ff9b:1::127.0.0.1", "loopback 127.0.0.0/8 inside local NAT64"},
        {"64:ff9b:1:fffe::10.0.0.1", "private 10.0.0.0/8 inside local NAT64"},
        {"64:ff9b:1:a00:1:200::", "private 10.0.0.0/8 inside local NAT64"},
        {"64:ff9b:1:a:0:102::", "private 10.0.0.0/8 inside local NAT64"},
        {"64:ff9b:1:0:a:1:200::", "private 10.0.0.0/8 inside local NAT64"},
        {"64:ff9b:1::8.8.8.8", "local NAT64 64:ff9b:1::/48"},
        /* Teredo, RFC 4380 4: server in clear, client inverted */
        {"2001:0:7f00:1::f7f7:f7f7", "loopback 127.0.0.0/8 as server of Teredo"},
        {"2001:0:808:808::80ff:fffe", "loopback 127.0.0.0/8 as client of Teredo"},
        {"2001:0:808:808::3f57:fefe", "private 192.168.0.0/16 as client of Teredo"},
        {"2001:0:808:808::f7f7:f7f7", "Teredo 2001::/32"},
        /* ISATAP, RFC 5214 6.1: any prefix, u and g bits either way */
        {"2606:4700::5efe:127.0.0.1", "loopback 127.0.0.0/8 inside an ISATAP"},
        {"2606:4700::200:5efe:10.0.0.1", "private 10.0.0.0/8 inside an ISATAP"},
        {"2606:4700::100:5efe:10.0.0.1", "private 10.0.0.0/8 inside an ISATAP"},
        {"2606:4700::300:5efe:a9fe:a9fe", "link-local 169.254.0.0/16 inside an ISATAP"},
        {"fe80::5efe:8.8.8.8", "link-local fe80::/10"},
        {"2606:4700::5efe:8.8.8.8", NULL},
        {"2606:4700::400:5efe:10.0.0.1", NULL},
        {"2606:4700::5eff:10.0.0.1", NULL},
        /* both at once: public 6to4 outside, private ISATAP inside */
        {"2002:808:808::5efe:10.0.0.1", "private 10.0.0.0/8 inside an ISATAP"},
    };
    (void)state;
    check_all(cases, COUNT(cases));
}

static size_t prefixes(struct prefix *out, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (prefix_parse(&out[i], span_of(texts[i])) != 0)
            fail_msg("\"%s\" is no prefix", texts[i]);
    }
    return count;
}

static void test_exceptions(void **state)
{
    static const char *const texts[] = {"127.0.0.0/8", "10.1.0.0/16", "::1", "fd00::/8"};
    static const struct verdict cases[] = {
        {"127.0.0.1", NULL},
        {"127.9.9.9", NULL},
        {"10.1.2.3", NULL},
        {"10.2.0.1", "private 10.0.0.0/8"},
        {"::1", NULL},
        {"::", "unspecified"},
        {"fd12::1", NULL},
        {"fc00::1", "unique local fc00::/7"},
        {"169.254.169.254", "link-local"},
        {"8.8.8.8", NULL},
        /* an exception for the address inside is none for the IPv6 address around it */
        {"::ffff:127.0.0.1", "loopback"},
        {"::127.0.0.1", "loopback"},
        {"64:ff9b::127.0.0.1", "loopback"},
        {"2002:7f00:1::1", "loopback"},
        {"2001:0:7f00:1::80ff:fffe", "loopback"},
        {"2606:4700::5efe:10.1.0.1", "private"},
        {"64:ff9b:1::10.1.0.1", "private"},
        /* inside an excepted prefix: both are needed, and here both are given */
        {"fd00::5efe:10.1.0.1", NULL},
        {"fd00::5efe:10.2.0.1", "private"},
        {"fd00::5efe:8.8.8.8", NULL},
    };
    struct prefix except[COUNT(texts)];
    size_t count = prefixes(except, texts, COUNT(texts));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(&cases[i], except, count);
}

/* An exception for the IPv6 address alone leaves what is inside to be judged. */
static void test_exceptions_outside(void **state)
{
    static const char *const texts[] = {"::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
                                        "2002::/16",     "2001::/32",    "10.0.0.0/8"};
    static const struct verdict cases[] = {
        {"::ffff:8.8.8.8", NULL},
        {"::ffff:10.0.0.1", NULL},
        {"::ffff:127.0.0.1", "loopback"},
        {"64:ff9b::10.0.0.1", NULL},
        {"64:ff9b::127.0.0.1", "loopback"},
        {"64:ff9b:1::8.8.8.8", NULL},
        {"64:ff9b:1:808:8:800::", NULL},   /* 8.8.8.8 behind a /48 */
        {"64:ff9b:1:8:8:808::", NULL},     /* behind a /56 */
        {"64:ff9b:1:0:8:808:800::", NULL}, /* behind a /64 */
        {"64:ff9b:1:7f00:0:100::", "loopback"},
        {"64:ff9b:1:7f:0:1::", "loopback"},
        {"64:ff9b:1:0:7f:0:100::", "loopback"},
        {"64:ff9b:1::192.168.0.1", "private"},
        {"2002:808:808::1", NULL},
        {"2002:a00:1::1", NULL},
        {"2002:7f00:1::1", "loopback"},
        {"2001:0:808:808::f7f7:f7f7", NULL},
        {"2001:0:808:808::80ff:fffe", "loopback"},
        {"2001:0:7f00:1::f7f7:f7f7", "loopback"},
    };
    struct prefix except[COUNT(texts)];
    size_t count = prefixes(except, texts, COUNT(texts));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(&cases[i], except, count);
}

static void test_everything_excepted(void **state)
{
    static const char *const texts[] = {"0.0.0.0/0", "::/0"};
    static const struct verdict cases[] = {
        {"127.0.0.1", NULL},        {"255.255.255.255", NULL},    {"::1", NULL},
        {"::ffff:127.0.0.1", NULL}, {"64:ff9b::127.0.0.1", NULL}, {"ff02::1", NULL},
    };
    struct prefix except[COUNT(texts)];
    size_t count = prefixes(except, texts, COUNT(texts));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(&cases[i], except, count);
}

/* A name ends with the prefix it speaks of; that prefix must hold the address that was judged. */
static void check_name_matches(const char *name, const struct addr *a)
{
    const char *last = strrchr(name, ' ');
    struct prefix p;
    assert_non_null(last);
    assert_int_equal(prefix_parse(&p, span_of(last + 1)), 0);
    if (!prefix_match(&p, a)) {
        char text[ADDR_TEXT_MAX];
        fail_msg("%s is not in %s", addr_print(a, text), name);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13; /* xorshift64: the same numbers in every run */
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void test_names_tell_the_truth(void **state)
{
    uint64_t seed = 0x9e3779b97f4a7c15;
    unsigned special = 0;
    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        struct addr a = {.in = {.sin_family = AF_INET}};
        a.in.sin_addr.s_addr = (uint32_t)next_random(&seed);
        const char *name = egress_special(&a, NULL, 0);
        if (name != NULL) {
            check_name_matches(name, &a);
            special++;
        }
    }
    assert_in_range(special, 200000 / 8, 200000 / 5); /* about an eighth is multicast or reserved */

    /* The first octets of the interesting IPv6 ranges, then noise: no inner address, so that the
     * name is a range. */
    static const char *const near[] = {
        "64:ff9b:1::", "100::",  "100:0:0:1::", "2001:2::", "2001:db8::", "2001:10::", "3fff::",
        "5f00::",      "fc00::", "fe80::",      "fec0::",   "ff00::",     "2001:40::", "2001:1::"};
    for (unsigned i = 0; i < 20000; i++) {
        struct addr a = address(near[i % COUNT(near)]);
        uint32_t noise = (uint32_t)next_random(&seed) | 1;
        memcpy(&a.in6.sin6_addr.s6_addr[9], &noise, 4);
        const char *name = egress_special(&a, NULL, 0);
        assert_non_null(name);
        if (strstr(name, "inside") == NULL)
            check_name_matches(name, &a);
    }
}

/* An IPv4 address is judged alike wherever it hides, save that NAT64 alone lets a public one pass.
 */
static void test_hidden_as_bare(void **state)
{
    static const unsigned char carriers[][12] = {
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
        {0, 0x64, 0xff, 0x9b},
        {0x26, 0x06, 0x47, 0, 0, 0, 0, 0, 2, 0, 0x5e, 0xfe},
    };
    uint64_t seed = 88172645463325252;
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        struct addr bare = {.in = {.sin_family = AF_INET}};
        bare.in.sin_addr.s_addr = (uint32_t)next_random(&seed);
        const char *inner = egress_special(&bare, NULL, 0);
        for (size_t j = 0; j < COUNT(carriers); j++) {
            struct addr a = {.in6 = {.sin6_family = AF_INET6}};
            memcpy(a.in6.sin6_addr.s6_addr, carriers[j], 12);
            memcpy(a.in6.sin6_addr.s6_addr + 12, &bare.in.sin_addr, 4);
            const char *outer = egress_special(&a, NULL, 0);
            if (inner != NULL)
                assert_true(outer != NULL && strncmp(outer, inner, strlen(inner)) == 0);
            else
                assert_true((outer == NULL) == (j != 0));
        }
    }
}

static void test_other_families(void **state)
{
    struct addr a = {0};
    struct prefix everything;
    (void)state;
    assert_int_equal(prefix_parse(&everything, SPAN("0.0.0.0/0")), 0);
    assert_non_null(egress_special(&a, NULL, 0));
    a.sa.sa_family = AF_UNIX;
    assert_non_null(egress_special(&a, &everything, 1));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary),
        cmocka_unit_test(test_registry_reachable),
        cmocka_unit_test(test_special4),
        cmocka_unit_test(test_special6),
        cmocka_unit_test(test_hidden),
        cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_exceptions_outside),
        cmocka_unit_test(test_everything_excepted),
        cmocka_unit_test(test_names_tell_the_truth),
        cmocka_unit_test(test_hidden_as_bare),
        cmocka_unit_test(test_other_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

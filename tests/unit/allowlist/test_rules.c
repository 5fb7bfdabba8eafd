/*
 * The allowlist: whole labels only, exact hosts exactly, nothing by default.
 */
#include "allowlist/rules.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool allows(const struct rules *r, const char *text)
{
    struct hostname h;
    if (hostname_parse(&h, span_of(text), NULL) != 0)
        fail_msg("\"%s\" is no host", text);
    return rules_allow(r, &h);
}

static void check_allows(const struct rules *r, const char *text, bool wanted)
{
    if (allows(r, text) != wanted)
        fail_msg("\"%s\" is %s", text, wanted ? "refused" : "allowed");
}

static void test_empty_allows_nothing(void **state)
{
    struct rules *r = rules_create();
    (void)state;
    check_allows(r, "digicert.com", false);
    check_allows(r, "localhost", false);
    check_allows(r, "127.0.0.1", false);
    check_allows(r, "[::1]", false);
    assert_int_equal(rules_count(r), 0);
    assert_null(rules_text(r, 0));
    rules_destroy(r);
    rules_destroy(NULL);
}

struct ask {
    const char *host;
    bool allowed;
};

static void test_domains(void **state)
{
    static const struct ask cases[] = {
        {"digicert.com", true},
        {"one.digicert.com", true},
        {"a.b.c.d.e.digicert.com", true},
        {"DigiCert.COM", true},
        {"one.digicert.com.", true},
        /* look-alikes: a suffix must begin at a label; tinyproxy #627 */
        {"evildigicert.com", false},
        {"evil-digicert.com", false},
        {"xdigicert.com", false},
        {"igicert.com", false},
        {"digicert.com.evil.example", false},
        {"digicert.comx", false},
        {"digicert.co", false},
        {"digicert.com.com", false},
        {"digicert.org", false},
        {"com", false},
        {"digicert", false},
        {"digicert-com.evil.example", false},
        {"digicert.com-evil.example", false},
        {"one.digicert.com.evil.example", false},
        {"www.digicert.com0.example", false},
        {"d.igicert.com", false},
        {"xn--digicrt-chg.com", false},
        /* other rules of the list */
        {"acme-v02.api.letsencrypt.org", true},
        {"api.letsencrypt.org", true},
        {"letsencrypt.org", false},
        {"xn--bcher-kva.example", true},
        {"www.b\xc3\xbc"
         "cher.example",
         true},
        {"dotted.example", true},
        {"a.dotted.example", true},
        {"1.2.digicert.com", true},
    };
    struct rules *r = rules_create();
    const char *why = NULL;
    (void)state;
    assert_int_equal(rules_add_domain(r, SPAN("digicert.com"), &why), 0);
    assert_int_equal(rules_add_domain(r, SPAN("*.API.letsencrypt.org"), &why), 0);
    assert_int_equal(rules_add_domain(r,
                                      SPAN("b\xc3\xbc"
                                           "cher.example"),
                                      &why),
                     0);
    assert_int_equal(rules_add_domain(r, SPAN(".dotted.example."), &why), 0);
    for (size_t i = 0; i < COUNT(cases); i++)
        check_allows(r, cases[i].host, cases[i].allowed);
    rules_destroy(r);
}

static void test_hosts(void **state)
{
    static const struct ask cases[] = {
        {"ca.example", true},
        {"CA.Example.", true},
        {"a.ca.example", false},
        {"example", false},
        {"xca.example", false},
        {"localhost", true},
        {"a.localhost", false},
        /* literals: by value, not by spelling, and never as a suffix */
        {"192.0.2.7", true},
        {"2.7.example", false},
        {"192.0.2.70", false},
        {"192.0.2.8", false},
        {"[2001:db8::7]", true},
        {"[2001:DB8:0:0::0007]", true},
        {"[2001:db8::8]", false},
        /* the IPv6 form of a listed IPv4 address is another host */
        {"[::ffff:192.0.2.7]", false},
        {"[::192.0.2.7]", false},
        {"[64:ff9b::192.0.2.7]", false},
        {"[::ffff:198.51.100.1]", true},
        {"198.51.100.1", false},
    };
    static const char *const hosts[] = {"ca.example", "localhost", "192.0.2.7", "[2001:db8::7]",
                                        "[::ffff:c633:6401]"};
    struct rules *r = rules_create();
    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++)
        assert_int_equal(rules_add_host(r, span_of(hosts[i]), NULL), 0);
    for (size_t i = 0; i < COUNT(cases); i++)
        check_allows(r, cases[i].host, cases[i].allowed);
    rules_destroy(r);
}

struct refusal {
    const char *text;
    const char *why;
};

static void test_domains_refused(void **state)
{
    static const struct refusal cases[] = {
        {"*", "every host"},
        {"*.", "every host"},
        {"", "empty host"},
        {".", "empty label"},
        {"..", "empty label"},
        {"com", "top-level"},
        {"*.com", "top-level"},
        {".com", "top-level"},
        {"com.", "top-level"},
        {"localhost", "top-level"},
        {"xn--fiqs8s", "top-level"},
        {"127.0.0.1", "IP address"},
        {"*.127.0.0.1", "IP address"},
        {"[::1]", "IP address"},
        {"*.[::1]", "IP address"},
        {"127.1", "IPv4"},
        {"0.0.1", "IPv4"},
        {"*.*.com", "wildcard"},
        {"**.digicert.com", "wildcard"},
        {"*digicert.com", "wildcard"},
        {"www.*.com", "wildcard"},
        {"..digicert.com", "empty label"},
        {"*..digicert.com", "empty label"},
        {"digicert..com", "empty label"},
        {"https://digicert.com", "colon"},
        {"digicert.com/", "letters"},
        {"digicert.com:443", "colon"},
        {"digicert.com other.com", "spaces"},
        {"-digicert.com", "hyphen"},
        {"_acme.digicert.com", "underscore"},
        {"10.0.0.0/8", "letters"},
        {"^.*digicert", "letters"},
        {"xn--digicert-.com", "hyphen"},
    };
    struct rules *r = rules_create();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = NULL;
        int rc = rules_add_domain(r, span_of(cases[i].text), &why);
        if (rc != -EINVAL || why == NULL || strstr(why, cases[i].why) == NULL)
            fail_msg("\"%s\": %d, %s", cases[i].text, rc, why != NULL ? why : "accepted");
        assert_int_equal(rules_add_domain(r, span_of(cases[i].text), NULL), -EINVAL);
    }
    assert_int_equal(rules_add_domain(r, (struct span){NULL, 0}, NULL), -EINVAL);
    assert_int_equal(rules_count(r), 0);
    rules_destroy(r);
}

static void test_hosts_refused(void **state)
{
    static const struct refusal cases[] = {
        {"", "empty"},
        {"*", "wildcard"},
        {"*.digicert.com", "wildcard"},
        {".digicert.com", "wildcards belong"},
        {"127.1", "IPv4"},
        {"::1", "brackets"},
        {"[::1%lo]", "zone id"},
        {"a_b.example", "underscore"},
        {"ca.example:80", "colon"},
        {"a.*.example", "wildcard"},
        {"127.0.0.0/8", "letters"},
    };
    struct rules *r = rules_create();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = NULL;
        int rc = rules_add_host(r, span_of(cases[i].text), &why);
        if (rc != -EINVAL || why == NULL || strstr(why, cases[i].why) == NULL)
            fail_msg("\"%s\": %d, %s", cases[i].text, rc, why != NULL ? why : "accepted");
    }
    assert_int_equal(rules_count(r), 0);
    rules_destroy(r);
}

/* Documents list the rules in the order of the configuration, each once. */
static void test_order_and_doubles(void **state)
{
    static const char *const wanted[] = {"*.zz.example", "host.example", "*.aa.example",
                                         "192.0.2.7",    "2001:db8::7",  "zz.example"};
    struct rules *r = rules_create();
    (void)state;
    assert_int_equal(rules_add_domain(r, SPAN("*.ZZ.example"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("Host.Example."), NULL), 0);
    assert_int_equal(rules_add_domain(r, SPAN("aa.example"), NULL), 0);
    assert_int_equal(rules_add_domain(r, SPAN(".zz.example"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("192.0.2.7"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("[2001:DB8::7]"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("host.example"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("[2001:db8:0::7]"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("zz.example"), NULL), 0); /* as host: another rule */
    assert_int_equal(rules_count(r), COUNT(wanted));
    for (size_t i = 0; i < COUNT(wanted); i++)
        assert_string_equal(rules_text(r, i), wanted[i]);
    assert_null(rules_text(r, COUNT(wanted)));
    rules_destroy(r);
}

enum { MANY = 100000 };

static const char *many_name(size_t i, char out[64])
{
    (void)snprintf(out, 64, "ca-%zu.zone%zu.example", i, i % 977);
    return out;
}

static void test_many(void **state)
{
    char text[64], below[96];
    struct rules *r = rules_create();
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        struct span name = span_of(many_name(i, text));
        int rc = i % 2 == 0 ? rules_add_domain(r, name, NULL) : rules_add_host(r, name, NULL);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(rules_count(r), MANY);
    for (size_t i = 0; i < MANY; i++) {
        check_allows(r, many_name(i, text), true);
        (void)snprintf(below, sizeof below, "x.%s", text);
        check_allows(r, below, i % 2 == 0);
        (void)snprintf(below, sizeof below, "x%s", text);
        check_allows(r, below, false);
    }
    check_allows(r, many_name(MANY, text), false);
    assert_string_equal(rules_text(r, MANY - 1), many_name(MANY - 1, text));
    rules_destroy(r);
}

/* The longest name with the most labels meets a rule at every one of its labels. */
static void test_deepest_name(void **state)
{
    char name[HOSTNAME_MAX + 1];
    struct rules *r = rules_create();
    (void)state;
    for (size_t i = 0; i < HOSTNAME_MAX; i++)
        name[i] = i % 2 == 0 ? 'a' : '.';
    name[HOSTNAME_MAX] = '\0';
    check_allows(r, name, false);
    assert_int_equal(rules_add_domain(r, SPAN("b.a"), NULL), 0);
    check_allows(r, name, false);
    assert_int_equal(rules_add_domain(r, SPAN("a.a"), NULL), 0);
    check_allows(r, name, true);
    name[0] = 'x';
    check_allows(r, name, true);
    name[HOSTNAME_MAX - 1] = 'x';
    check_allows(r, name, false);
    rules_destroy(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_allows_nothing),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_domains_refused),
        cmocka_unit_test(test_hosts_refused),
        cmocka_unit_test(test_order_and_doubles),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_deepest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

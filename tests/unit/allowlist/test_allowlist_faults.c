/* test_allowlist_faults.c - no memory while rules, policy and users are built: -ENOMEM, what was
 * there stays, nothing is allowed by mistake. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "allowlist/policy.h"
#include "allowlist/roles.h"
#include "allowlist/users.h"
#include "tests/support/faults.h"

enum { RULES = 70 /* the list grows four times, the table once */ };

static struct hostname named(const char *text)
{
    struct hostname h;
    faults_pause();
    assert_int_equal(hostname_parse(&h, span_of(text), NULL), 0);
    faults_resume();
    return h;
}

static const char *rule_text(unsigned i)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "ca%u.example", i);
    return text;
}

/* Exactly the first `count` are allowed, and those below them when they are domains. */
static void assert_first_allowed(const struct rules *r, unsigned count)
{
    for (unsigned i = 0; i < RULES; i++) {
        char below[80];
        struct hostname h = named(rule_text(i));
        assert_int_equal(rules_allow(r, &h), i < count);
        (void)snprintf(below, sizeof below, "www.%s", rule_text(i));
        h = named(below);
        assert_int_equal(rules_allow(r, &h), i < count && i % 2 == 0);
    }
}

/* All the rules, as far as there is memory; NULL when there is none at all. */
static struct rules *rules_made(unsigned *added)
{
    struct rules *r = rules_create();
    const char *why = NULL;
    int rc = 0;
    for (*added = 0; r != NULL && *added < RULES; (*added)++) {
        struct span text = span_of(rule_text(*added));
        rc = *added % 2 == 0 ? rules_add_domain(r, text, &why) : rules_add_host(r, text, &why);
        if (rc != 0)
            break;
    }
    if (rc != 0) {
        assert_int_equal(rc, -ENOMEM);
        assert_string_equal(why, "out of memory");
    }
    return r;
}

static bool rules_added(void)
{
    unsigned added;
    struct rules *r = rules_made(&added);
    if (r != NULL) {
        assert_int_equal(rules_count(r), added);
        assert_first_allowed(r, added);
        /* A refusal is no end: what did not fit goes in when there is memory again. */
        faults_pause();
        for (unsigned i = added; i < RULES; i++)
            assert_int_equal(rules_add_domain(r, span_of(rule_text(i)), NULL), 0);
        assert_int_equal(rules_count(r), RULES);
        faults_resume();
    }
    rules_destroy(r);
    return r != NULL && added == RULES;
}

/* International names allocate in libidn2; so do A-labels, which are checked by it. */
static bool hostname_international(void)
{
    static const char *const names[] = {"b\xc3\xbc"
                                        "cher.example",
                                        "xn--bcher-kva.example"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct hostname h;
        const char *why = NULL;
        int rc = hostname_parse(&h, span_of(names[i]), &why);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_string_equal(why, "out of memory");
            return false;
        }
        assert_string_equal(h.text, "xn--bcher-kva.example");
    }
    return true;
}

static bool policy_made(void)
{
    static const struct port_range connect[] = {{443, 443}}, http[] = {{80, 80}, {8080, 8090}};
    struct prefix local;
    struct addr client;
    struct hostname host = named("ca0.example");
    unsigned added;
    assert_int_equal(prefix_parse(&local, SPAN("10.0.0.0/8")), 0);
    assert_int_equal(addr_parse(&client, SPAN("10.1.2.3"), 1), 0);
    faults_pause();
    struct rules *rules = rules_made(&added);
    faults_resume();
    struct policy_options o = {rules,  connect, 1,      http, 2, &local, 1,
                               &local, 1,       &local, 1,    0, false,  false};
    struct policy *p = policy_create(&o);
    if (p == NULL) {
        /* The rules are still ours, and whole. */
        assert_first_allowed(rules, RULES);
        rules_destroy(rules);
        return false;
    }
    assert_ptr_equal(policy_rules(p), rules);
    assert_int_equal(policy_client(p, &client), OUTCOME_OK);
    assert_int_equal(policy_request(p, &host, 443, PROTOCOL_TUNNEL), OUTCOME_OK);
    assert_int_equal(policy_request(p, &host, 8090, PROTOCOL_ACME), OUTCOME_OK);
    policy_destroy(p);
    return true;
}

enum { USERS = 70 };

static const char *user_line(unsigned i)
{
    static char text[128];
    (void)snprintf(text, sizeof text,
                   "user%u:$2y$05$abcdefghijklmnopqrstuuXTH0nGYFOOGE2mGRLwCcbJbSiCqQDPO", i);
    return text;
}

/* Users that did not fit are unknown, and nobody gets another's hash. */
static bool users_added(void)
{
    struct users *u = users_create();
    unsigned added = 0;
    const char *why = NULL;
    for (; u != NULL && added < USERS; added++) {
        int rc = users_add_line(u, span_of(user_line(added)), &why);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            break;
        }
    }
    if (u == NULL)
        return false;
    assert_int_equal(users_count(u), added);
    assert_true(added == 0 || users_decoy(u, "x") != NULL);
    for (unsigned i = 0; i < USERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "user%u", i);
        const char *hash = users_find(u, name);
        assert_int_equal(hash != NULL, i < added);
        if (hash != NULL)
            assert_string_equal(hash, strchr(user_line(i), ':') + 1);
    }
    users_destroy(u);
    return added == USERS;
}

enum { IDENTITIES = 70 };

/* Names of even numbers are exact, the others are patterns. */
static const char *identity_text(unsigned i)
{
    static char text[64];
    (void)snprintf(text, sizeof text, i % 2 == 0 ? "sensor-%u" : "*.plant%u.example", i);
    return text;
}

/* Identities that did not fit have no role, and nobody gets another's. */
static bool roles_made(void)
{
    const struct role role = {.name = "sensors"};
    unsigned added = 0;
    size_t place;
    faults_pause();
    struct policy_options o = {.rules = rules_create()};
    struct policy *policy = policy_create(&o);
    assert_non_null(policy);
    faults_resume();
    struct roles *r = roles_create();
    if (r == NULL) {
        policy_destroy(policy);
        return false;
    }
    assert_int_equal(roles_add(r, &role, policy, &place), 0);
    for (; added < IDENTITIES; added++) {
        const struct role *other;
        const char *why = NULL;
        int rc = roles_add_identity(r, place, span_of(identity_text(added)), &why, &other);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            break;
        }
    }
    for (unsigned i = 0; i < IDENTITIES; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, i % 2 == 0 ? "sensor-%u" : "a.plant%u.example", i);
        assert_int_equal(roles_of(r, name) != NULL, i < added);
    }
    roles_destroy(r);
    return added == IDENTITIES;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"rules", rules_added, false},  {"international names", hostname_international, false},
        {"policy", policy_made, false}, {"users", users_added, false},
        {"roles", roles_made, false},
    };
    return faults_main("allowlist_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

/*
 * test_roles.c - whose role an identity has: names exactly, patterns by what their star may stand
 * for, and nobody by accident.
 */
#include "allowlist/roles.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct policy *policy_new(void)
{
    struct policy_options o = {.rules = rules_create()};
    struct policy *p = policy_create(&o);
    assert_non_null(p);
    return p;
}

static void add_role(struct roles *r, const char *name, size_t *place)
{
    struct role role = {.connections_max = 7, .per_identity_max = 2};
    (void)snprintf(role.name, sizeof role.name, "%s", name);
    assert_int_equal(roles_add(r, &role, policy_new(), place), 0);
}

static int add(struct roles *r, size_t place, const char *text, const char **why)
{
    const struct role *other;
    return roles_add_identity(r, place, span_of(text), why, &other);
}

struct listed {
    const char *role, *identity;
};

/* Roles come into being with their first identity. */
static struct roles *roles_new(const struct listed *list, size_t count)
{
    struct roles *r = roles_create();
    assert_non_null(r);
    for (size_t i = 0; i < count; i++) {
        size_t place = 0;
        if (roles_find(r, list[i].role) == NULL)
            add_role(r, list[i].role, &place);
        while (strcmp(roles_at(r, place)->name, list[i].role) != 0)
            place++;
        const char *why = NULL;
        if (add(r, place, list[i].identity, &why) != 0)
            fail_msg("\"%s\": %s", list[i].identity, why);
    }
    return r;
}

static void check(const struct roles *r, const char *identity, const char *wanted)
{
    const struct role *role = roles_of(r, identity);
    const char *name = role != NULL ? role->name : "none";
    if (strcmp(name, wanted) != 0)
        fail_msg("\"%s\" has role %s, not %s", identity, name, wanted);
}

static void test_none(void **state)
{
    struct roles *r = roles_create();
    (void)state;
    check(r, "sensor-1", "none");
    check(r, "", "none");
    assert_int_equal(roles_count(r), 0);
    assert_null(roles_find(r, "sensors"));
    roles_destroy(r);
    roles_destroy(NULL);
}

/* An identity is octets: nothing that another reading of it would make equal is. */
static void test_names_are_exact(void **state)
{
    static const struct listed list[] = {
        {"sensors", "sensor-1"},
        {"sensors", "CN=sensor-2,O=Plant 7"},
        {"admins", "admin"},
        {"admins", "spiffe://plant/admin"},
    };
    static const struct listed cases[] = {
        {"sensors", "sensor-1"},
        {"sensors", "CN=sensor-2,O=Plant 7"},
        {"admins", "admin"},
        {"none", "Admin"},
        {"none", "ADMIN"},
        {"none", "admin "},
        {"none", " admin"},
        {"none", "admin."},
        {"none", "admi"},
        {"none", "admin,admin"},
        {"none", "admin*"},
        {"none", "*"},
        {"none", "adm\xc4\xb1n"},
        {"none", "CN=admin"},
        {"none", "cn=sensor-2,O=Plant 7"},
        {"none", "CN=sensor-2\\,O=Plant 7"},
        {"none", "CN=sensor-2,O=Plant 7,O=Plant 7"},
        {"none", "O=Plant 7,CN=sensor-2"},
        {"none", "spiffe://plant/admin/"},
        {"none", "spiffe://PLANT/admin"},
        {"none", "spiffe://plant/%61dmin"},
    };
    struct roles *r = roles_new(list, COUNT(list));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(r, cases[i].identity, cases[i].role);
    roles_destroy(r);
}

/* What a star stands for holds no octet by which one kind of name could pass for another. */
static void test_patterns(void **state)
{
    static const struct listed list[] = {
        {"plant", "*.plant.example"},       {"sensors", "sensor-*"},
        {"paths", "spiffe://plant/edge/*"}, {"subjects", "CN=edge-*"},
        {"mail", "*.x@plant.example"},
    };
    static const struct listed cases[] = {
        {"plant", "a.plant.example"},
        {"plant", "a.b.c.plant.example"},
        {"plant", "A_b-9.plant.example"},
        {"none", "plant.example"}, /* the star stands for something */
        {"none", ".plant.example"},
        {"none", "a..plant.example"},
        {"none", ".a.plant.example"},
        {"none", "a..b.plant.example"},
        {"none", "aplant.example"},
        {"none", "a.PLANT.example"},
        {"none", "a.plant.example."},
        {"none", "a.plant.example.evil"},
        {"none", "*.plant.example"}, /* a wildcard certificate is no member of itself */
        {"none", "CN=a.plant.example"},
        {"none", "CN=evil,O=a.plant.example"},
        {"none", "evil@a.plant.example"},
        {"none", "spiffe://evil/a.plant.example"},
        {"none", "evil a.plant.example"},
        {"none", "evil\\.plant.example"},
        {"sensors", "sensor-1"},
        {"sensors", "sensor-a.b"},
        {"none", "sensor-"},
        {"none", "sensor"},
        {"none", "Sensor-1"},
        {"none", "xsensor-1"},
        {"none", "sensor-1 "},
        {"none", "sensor-1,O=Evil"},
        {"none", "sensor-1+CN=admin"},
        {"none", "sensor-*"},
        {"none", "sensor-1@evil.example"},
        {"none", "sensor-a..b"},
        {"none", "sensor-a."},
        {"paths", "spiffe://plant/edge/7"},
        {"none", "spiffe://plant/edge/"},
        {"none", "spiffe://plant/edge/7/admin"},
        {"none", "spiffe://plant/edge/.."},
        {"none", "spiffe://plant/edge/."},
        {"none", "spiffe://plant/edge/%2e%2e"},
        {"none", "spiffe://plant/edge/7?x"},
        {"subjects", "CN=edge-1"},
        {"none", "CN=edge-1,O=Evil"},
        {"none", "CN=edge-1\\,O\\=Plant"},
        {"none", "CN=edge-\\C3\\A9"},
        {"mail", "a.x@plant.example"},
    };
    struct roles *r = roles_new(list, COUNT(list));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(r, cases[i].identity, cases[i].role);
    roles_destroy(r);
}

static void test_most_specific_wins(void **state)
{
    static const struct listed list[] = {
        {"a", "*.example"},  {"b", "*.plant.example"}, {"c", "x.plant.example"},   {"d", "sensor*"},
        {"e", "sensor-12*"}, {"f", "y.plant.exam*"},   {"g", "a-very-long-name*"},
    };
    static const struct listed cases[] = {
        {"a", "x.example"},
        {"b", "w.plant.example"},
        {"c", "x.plant.example"},
        {"b", "x.x.plant.example"},
        {"d", "sensor-12"},
        {"e", "sensor-123"},
        {"b", "y.plant.example"},        /* 14 octets of the suffix against 12 of the prefix */
        {"b", "sensor-1.plant.example"}, /* 14 against 6 */
        {"a", "sensor.example"},         /* 8 against 6 */
        {"g", "a-very-long-name.plant.example"},
        {"none", "sensor"},
    };
    struct roles *r = roles_new(list, COUNT(list));
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check(r, cases[i].identity, cases[i].role);
    roles_destroy(r);
}

static void test_identities_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "*",
                                      "**",
                                      "*.",
                                      "a*b",
                                      "*a",
                                      "*.a*",
                                      "a.*.b",
                                      "*.*.a",
                                      "a**",
                                      "*.a.*",
                                      "*-x",
                                      "s\xc3\xa9nsor",
                                      "a\tb",
                                      "a\x7f",
                                      "a\nb",
                                      "sensor-*.plant"};
    char longest[ROLE_IDENTITY_MAX + 2];
    struct roles *r = roles_create();
    const char *why;
    size_t place;
    (void)state;
    add_role(r, "a", &place);
    for (size_t i = 0; i < COUNT(bad); i++) {
        why = NULL;
        if (add(r, place, bad[i], &why) != -EINVAL || why == NULL)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    memset(longest, 'a', sizeof longest);
    longest[ROLE_IDENTITY_MAX + 1] = '\0';
    assert_int_equal(add(r, place, longest, &why), -EINVAL);
    check(r, longest, "none");
    longest[ROLE_IDENTITY_MAX] = '\0';
    assert_int_equal(add(r, place, longest, &why), 0);
    check(r, longest, "a");
    struct span nul = SPAN("a\0b");
    const struct role *other;
    assert_int_equal(roles_add_identity(r, place, nul, &why, &other), -EINVAL);
    roles_destroy(r);
}

static void check_clash(struct roles *r, size_t place, const char *text, const char *with)
{
    const struct role *other = NULL;
    const char *why = NULL;
    int rc = roles_add_identity(r, place, span_of(text), &why, &other);
    if ((rc == 0) != (with == NULL))
        fail_msg("\"%s\": %s", text, rc == 0 ? "taken" : why);
    if (with != NULL) {
        assert_non_null(other);
        assert_string_equal(other->name, with);
        assert_non_null(why);
    }
}

/* Nobody has two roles, and no name could have two with the same right. */
static void test_clashes(void **state)
{
    struct roles *r = roles_create();
    size_t a, b;
    (void)state;
    add_role(r, "a", &a);
    add_role(r, "b", &b);
    check_clash(r, a, "one", NULL);
    check_clash(r, a, "one", "a");
    check_clash(r, b, "one", "a");
    check_clash(r, a, "*.plant", NULL); /* six octets */
    check_clash(r, b, "*.plant", "a");
    check_clash(r, b, "sensor*", "a");   /* sensor.plant */
    check_clash(r, a, "sensor*", NULL);  /* of the same role: whichever */
    check_clash(r, b, "sensors*", NULL); /* seven */
    check_clash(r, b, "a/b.pl*", NULL);
    check_clash(r, b, "/.plan*", NULL);  /* no star takes the slash of six octets */
    check_clash(r, b, "a.plant*", NULL); /* seven again: never with six */
    check_clash(r, a, "*.b/c", NULL);    /* four; overlaps in "b/" below */
    check_clash(r, b, "a.b/*", "a");     /* a.b/c is both */
    check_clash(r, b, "=.b/*", NULL);    /* =.b/c is none: no star takes = */
    check_clash(r, b, "a.c/*", NULL);
    check_clash(r, b, "abcd*", NULL); /* abcd.b/c is none: no star takes the slash */
    roles_destroy(r);
}

static void test_strangers(void **state)
{
    static const struct listed list[] = {{"sensors", "sensor-1"}};
    struct roles *r = roles_new(list, COUNT(list));
    (void)state;
    assert_null(roles_of(r, "sensor-2"));
    assert_int_equal(roles_add_strangers(r, policy_new()), 0);
    const struct role *role = roles_of(r, "sensor-2");
    assert_non_null(role);
    assert_true(role->stranger);
    assert_string_equal(role->name, "");
    assert_false(roles_of(r, "sensor-1")->stranger);
    assert_int_equal(roles_of(r, "sensor-1")->connections_max, 7);
    assert_int_equal(roles_of(r, "sensor-1")->per_identity_max, 2);
    assert_int_equal(roles_count(r), 1);
    /* Its policy lets nothing pass, should anybody ask it. */
    struct hostname host;
    assert_int_equal(hostname_parse(&host, SPAN("ca.example"), NULL), 0);
    assert_int_not_equal(policy_request(role->policy, &host, 443, PROTOCOL_TUNNEL), OUTCOME_OK);
    roles_destroy(r);
}

static void test_role_names(void **state)
{
    static const struct {
        const char *name;
        bool valid;
    } cases[] = {
        {"a", true},
        {"edge-7", true},
        {"-", true},
        {"", false},
        {"A", false},
        {"a.b", false},
        {"a b", false},
        {"a_b", false},
        {"a\n", false},
        {"r\xc3\xb4le", false},
        {"abcdefghijklmnopqrstuvwxyz-01234", true},
        {"abcdefghijklmnopqrstuvwxyz-012345", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (role_name_is_valid(span_of(cases[i].name)) != cases[i].valid)
            fail_msg("\"%s\"", cases[i].name);
    }
}

/* What a refusal names is the role's own rule, where it has one. */
static void test_rule(void **state)
{
    static const struct {
        unsigned own;
        enum outcome why;
        bool connect;
        const char *rule;
    } cases[] = {
        {ROLE_OWN_HOSTS, OUTCOME_HOST_DENIED, true,
         "a.allowed.domains or a.allowed.hosts in roles.properties"},
        {~(unsigned)ROLE_OWN_HOSTS, OUTCOME_HOST_DENIED, true,
         "allowed.domains or allowed.hosts in useproxy.properties"},
        {ROLE_OWN_HOSTS, OUTCOME_LITERAL_DENIED, true, "a.allowed.hosts in roles.properties"},
        {0, OUTCOME_LITERAL_DENIED, false, "allowed.hosts in useproxy.properties"},
        {ROLE_OWN_CONNECT_PORTS, OUTCOME_PORT_DENIED, true,
         "a.allowed.connect.ports in roles.properties"},
        {ROLE_OWN_CONNECT_PORTS, OUTCOME_PORT_DENIED, false,
         "allowed.http.ports in useproxy.properties"},
        {ROLE_OWN_HTTP_PORTS, OUTCOME_PORT_DENIED, false,
         "a.allowed.http.ports in roles.properties"},
        {ROLE_OWN_HTTP_PORTS, OUTCOME_PORT_DENIED, true,
         "allowed.connect.ports in useproxy.properties"},
        {ROLE_OWN_PROTOCOLS, OUTCOME_PROTOCOL_DENIED, false,
         "a.allowed.protocols in roles.properties"},
        {0, OUTCOME_PROTOCOL_DENIED, false, "allowed.protocols in useproxy.properties"},
        {~0U, OUTCOME_ADDRESS_DENIED, true, NULL}, /* allowed.networks are nobody's own */
        {~0U, OUTCOME_ROLE_UNKNOWN, true, NULL},
    };
    struct role role = {.name = "a"};
    char text[ROLE_RULE_MAX];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        role.own = cases[i].own;
        const char *rule = role_rule(&role, cases[i].why, cases[i].connect, text);
        if (cases[i].rule == NULL)
            assert_null(rule);
        else
            assert_string_equal(rule, cases[i].rule);
    }
    memset(role.name, 'x', ROLE_NAME_MAX); /* the longest is not cut */
    assert_string_equal(strstr(role_rule(&role, OUTCOME_HOST_DENIED, true, text), " in "),
                        " in roles.properties");
}

/* Many names and patterns, each found and no other. */
static void test_many(void **state)
{
    enum { MANY = 3000, PATTERNS = 400 };
    struct roles *r = roles_create();
    size_t names, patterns;
    char text[64];
    (void)state;
    add_role(r, "names", &names);
    add_role(r, "patterns", &patterns);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof text, "device-%u", i);
        assert_int_equal(add(r, names, text, NULL), 0);
    }
    for (unsigned i = 0; i < PATTERNS; i++) {
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "line%u/*" : "*.plant%u", i);
        assert_int_equal(add(r, patterns, text, NULL), 0);
    }
    for (unsigned i = 0; i < MANY + 100; i++) {
        (void)snprintf(text, sizeof text, "device-%u", i);
        check(r, text, i < MANY ? "names" : "none");
    }
    for (unsigned i = 0; i < PATTERNS + 100; i++) {
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "line%u/x" : "x.plant%u", i);
        check(r, text, i < PATTERNS ? "patterns" : "none");
    }
    roles_destroy(r);
}

static void test_identities_are_bounded(void **state)
{
    struct roles *r = roles_create();
    const char *why = NULL;
    size_t place;
    char text[64];
    (void)state;
    add_role(r, "a", &place);
    for (unsigned i = 0; i <= 1000; i++) {
        (void)snprintf(text, sizeof text, "line%u/*", i);
        assert_int_equal(add(r, place, text, &why), i < 1000 ? 0 : -EINVAL);
    }
    assert_string_equal(why, "more than 1000 patterns in all");
    for (unsigned i = 0; i < ROLES_IDENTITIES_MAX - 1000; i++) {
        (void)snprintf(text, sizeof text, "device-%u", i);
        assert_int_equal(add(r, place, text, &why), 0);
    }
    assert_int_equal(add(r, place, "one-more", &why), -EINVAL);
    assert_string_equal(why, "more than 100000 identities in all");
    roles_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_names_are_exact),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_most_specific_wins),
        cmocka_unit_test(test_identities_refused),
        cmocka_unit_test(test_clashes),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_role_names),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_identities_are_bounded),
    };
    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}

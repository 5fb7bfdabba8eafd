#include "failover/roster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct member made(const char *host, uint16_t port)
{
    struct member m = {.port = port, .state = MEMBER_UP};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    return m;
}

static void urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum member_protocol protocol;
        const char *host;
        uint16_t port;
    } cases[] = {
        {"http://px1.plant7.example:48999", MEMBER_HTTP_CONNECT, "px1.plant7.example", 48999},
        {"http://px1.plant7.example:48999/", MEMBER_HTTP_CONNECT, "px1.plant7.example", 48999},
        {"HTTP://PX1.Plant7.example.:1", MEMBER_HTTP_CONNECT, "px1.plant7.example", 1},
        {"https://px1:65535", MEMBER_HTTPS_CONNECT, "px1", 65535},
        {"http://192.0.2.1:48999", MEMBER_HTTP_CONNECT, "192.0.2.1", 48999},
        {"http://[2001:DB8:0::1]:48999", MEMBER_HTTP_CONNECT, "2001:db8::1", 48999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m;
        const char *why = NULL;
        assert_int_equal(roster_parse_member(&m, cases[i].url, &why), 0);
        assert_int_equal(m.protocol, cases[i].protocol);
        assert_string_equal(m.host, cases[i].host);
        assert_int_equal(m.port, cases[i].port);
        assert_int_equal(m.state, MEMBER_UNKNOWN);
        assert_int_equal(m.priority, ROSTER_PRIORITY_DEFAULT);
        assert_int_equal(m.weight, ROSTER_WEIGHT_DEFAULT);
        assert_int_equal(m.load, ROSTER_LOAD_UNKNOWN);
        assert_string_equal(m.version, "");
        assert_false(m.self);
    }
}

/* A reason of NULL: the one of allowlist/hostname. */
static void urls_refused(void **state)
{
    (void)state;
    static const char scheme[] = "does not begin with http:// or https://";
    static const char more[] = "holds more than a host and a port";
    static const char port[] = "has no port from 1 to 65535";
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", scheme},
        {"px1:48999", scheme},
        {"socks5://px1:1080", scheme},
        {" http://px1:48999", scheme},
        {"http:/px1:48999", scheme},
        {"http://px1", "has no port"},
        {"http://[2001:db8::1]", "has no port"},
        {"http://", "has no port"},
        {"http://px1:", port},
        {"http://px1:0", port},
        {"http://px1:65536", port},
        {"http://px1:048999", port},
        {"http://px1:4 8", port},
        {"http://px1:-1", port},
        {"http://px1:4899999999999", port},
        {"http://px1:48999/proxy", more},
        {"http://px1:48999//", more},
        {"http://px1:48999?x", more},
        {"http://px1:48999#x", more},
        {"http://user@px1:48999", "holds a user name or password"},
        /* RFC 3986 section 3.2.1: what looks like the host is the user. */
        {"http://px1.plant7.example:48999@evil.example:80", "holds a user name or password"},
        {"http://px1\\@evil.example:80", "holds a user name or password"},
        {"http://:48999", NULL},
        {"http://2001:db8::1:48999", NULL},
        {"http://127.1:48999", NULL},
        {"http://0x7f000001:48999", NULL},
        {"http://px1;DIRECT:48999", NULL},
        {"http://px1 px2:48999", NULL},
        {"http://px1\n:48999", NULL},
        {"http://*.example:48999", NULL},
        {"http://[fe80::1%25eth0]:48999", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m;
        const char *why = NULL;
        if (roster_parse_member(&m, cases[i].url, &why) != -EINVAL)
            fail_msg("taken: %s", cases[i].url);
        assert_non_null(why);
        if (cases[i].why != NULL)
            assert_string_equal(why, cases[i].why);
    }
}

/* What people write after a command. */
static void sensors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum member_protocol protocol;
        const char *host; /* NULL: refused */
        uint16_t port;
    } cases[] = {
        {"px1", MEMBER_HTTP_CONNECT, "px1", 48999},
        {"PX1.plant7.example", MEMBER_HTTP_CONNECT, "px1.plant7.example", 48999},
        {"px1:3128", MEMBER_HTTP_CONNECT, "px1", 3128},
        {"px1/", MEMBER_HTTP_CONNECT, "px1", 48999},
        {"http://px1", MEMBER_HTTP_CONNECT, "px1", 48999},
        {"http://px1:3128/", MEMBER_HTTP_CONNECT, "px1", 3128},
        {"HTTPS://px1", MEMBER_HTTPS_CONNECT, "px1", 48999},
        {"192.0.2.1", MEMBER_HTTP_CONNECT, "192.0.2.1", 48999},
        {"192.0.2.1:1", MEMBER_HTTP_CONNECT, "192.0.2.1", 1},
        {"[2001:db8::1]", MEMBER_HTTP_CONNECT, "2001:db8::1", 48999},
        {"[2001:db8::1]:1", MEMBER_HTTP_CONNECT, "2001:db8::1", 1},
        {"2001:db8::1", MEMBER_HTTP_CONNECT, NULL, 0},
        {"", MEMBER_HTTP_CONNECT, NULL, 0},
        {"/", MEMBER_HTTP_CONNECT, NULL, 0},
        {"px1:", MEMBER_HTTP_CONNECT, NULL, 0},
        {"px1:x", MEMBER_HTTP_CONNECT, NULL, 0},
        {"px1//", MEMBER_HTTP_CONNECT, NULL, 0},
        {"socks5://px1", MEMBER_HTTP_CONNECT, NULL, 0},
        {"http://http://px1", MEMBER_HTTP_CONNECT, NULL, 0},
        {"user:secret@px1", MEMBER_HTTP_CONNECT, NULL, 0},
        {"px1/.well-known/pvd", MEMBER_HTTP_CONNECT, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m;
        const char *why = NULL;
        int rc = roster_parse_sensor(&m, cases[i].text, &why);
        if ((rc == 0) != (cases[i].host != NULL) || (rc != 0 && why == NULL))
            fail_msg("\"%s\": %d, %s", cases[i].text, rc, why);
        if (rc != 0)
            continue;
        assert_int_equal(m.protocol, cases[i].protocol);
        assert_string_equal(m.host, cases[i].host);
        assert_int_equal(m.port, cases[i].port);
    }
}

static void long_names_are_refused(void **state)
{
    (void)state;
    char url[600] = "http://";
    struct member m;
    const char *why = NULL;
    for (int i = 0; i < 64; i++)
        (void)strncat(url, "abcdefg.", sizeof url - strlen(url) - 1);
    (void)strncat(url, "x:48999", sizeof url - strlen(url) - 1);
    assert_int_equal(roster_parse_member(&m, url, &why), -EINVAL);
    assert_non_null(why);
    assert_int_equal(roster_parse_sensor(&m, url, &why), -EINVAL);
    assert_int_equal(roster_parse_sensor(&m, url + 7, &why), -EINVAL);
}

static void lies_are_refused(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    static const char *const hosts[] = {
        "", "PX1", "px1.", "px1; DIRECT", "a\"b", "[::1]", "2001:DB8::1", "::ffff:127.1", "127.1",
    };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct member m = made(hosts[i], 48999);
        assert_int_equal(roster_add(r, &m), -EINVAL);
    }
    struct member m = made("px1", 0);
    assert_int_equal(roster_add(r, &m), -EINVAL);
    m = made("px1", 1);
    memset(m.host, 'a', sizeof m.host); /* no end */
    assert_int_equal(roster_add(r, &m), -EINVAL);
    m = made("px1", 1);
    memset(m.zone, 'a', sizeof m.zone);
    assert_int_equal(roster_add(r, &m), -EINVAL);
    static const char *const versions[] = {"0\"1", "0\\1", "\x1b[2J", "0.1\n", "W\xc3\xbc"};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        m = made("px1", 1);
        (void)snprintf(m.version, sizeof m.version, "%s", versions[i]);
        assert_int_equal(roster_add(r, &m), -EINVAL);
    }
    m = made("px1", 1);
    memset(m.version, '1', sizeof m.version);
    assert_int_equal(roster_add(r, &m), -EINVAL);
    m = made("px1", 1);
    m.state = (enum member_state)4;
    assert_int_equal(roster_add(r, &m), -EINVAL);
    m = made("px1", 1);
    m.protocol = (enum member_protocol)2;
    assert_int_equal(roster_add(r, &m), -EINVAL);
    assert_int_equal(roster_count(r), 0);
    assert_null(roster_member(r, 0));
    roster_unref(r);
}

static void members_are_bounded(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    for (uint16_t i = 0; i < 300; i++) {
        struct member m = made("px1", (uint16_t)(i + 1));
        assert_int_equal(roster_add(r, &m), i < ROSTER_MEMBERS_MAX ? 0 : -ENOSPC);
    }
    assert_int_equal(roster_count(r), ROSTER_MEMBERS_MAX);
    struct member again = made("px1", 7); /* not a further one */
    assert_int_equal(roster_add(r, &again), 0);
    size_t order[ROSTER_MEMBERS_MAX];
    assert_int_equal(roster_order(r, NULL, order), ROSTER_MEMBERS_MAX);
    for (size_t i = 0; i < ROSTER_MEMBERS_MAX; i++)
        assert_int_equal(order[i], i);
    roster_unref(r);
}

static void duplicates_are_merged(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    struct member m = made("px1", 48999);
    m.state = MEMBER_UNKNOWN;
    assert_int_equal(roster_add(r, &m), 0);
    (void)snprintf(m.zone, sizeof m.zone, "plant7");
    m.state = MEMBER_DOWN;
    m.started = 5;
    m.weight = 7; /* the first to say so decides: 100 by default */
    assert_int_equal(roster_add(r, &m), 0);
    m = made("px1", 48999); /* knows less, changes nothing */
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_count(r), 1);
    const struct member *have = roster_member(r, 0);
    assert_string_equal(have->zone, "plant7");
    assert_int_equal(have->state, MEMBER_DOWN);
    assert_int_equal(have->started, 5);
    assert_int_equal(have->weight, ROSTER_WEIGHT_DEFAULT);
    assert_false(have->self);

    m = made("px1", 48999);
    m.protocol = MEMBER_HTTPS_CONNECT;
    m.weight = 1000;
    assert_int_equal(roster_add(r, &m), 0);
    m = made("px1", 48998);
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_count(r), 3);
    assert_int_equal(roster_member(r, 1)->weight, ROSTER_WEIGHT_MAX);
    roster_unref(r);
}

/* A place stands once: as a member, or as the TLS port of one. */
static void tls_ports(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    struct member m = made("px1", 48999);
    m.tls_port = 48999; /* its own port is none */
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_member(r, 0)->tls_port, 0);
    m.tls_port = 48998; /* a fact like others */
    assert_int_equal(roster_add(r, &m), 0);
    m.tls_port = 0;
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_member(r, 0)->tls_port, 48998);

    m = made("px1", 48998);
    m.protocol = MEMBER_HTTPS_CONNECT;
    assert_int_equal(roster_add(r, &m), 0); /* known as the other's */
    assert_int_equal(roster_count(r), 1);
    m.port = 443;
    m.tls_port = 444; /* TLS twice is none */
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_count(r), 2);
    assert_int_equal(roster_member(r, 1)->tls_port, 0);

    static const uint16_t taken[] = {48998, 443};
    for (uint16_t i = 0; i < 2; i++) {
        m = made("px1", (uint16_t)(1 + i));
        m.tls_port = taken[i];
        assert_int_equal(roster_add(r, &m), 0);
        assert_int_equal(roster_member(r, 2 + i)->tls_port, 0);
        assert_int_equal(roster_add(r, &m), 0); /* nor by what is told later */
        assert_int_equal(roster_member(r, 2 + i)->tls_port, 0);
    }
    m = made("px2", 1);
    m.tls_port = 443; /* another host */
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_member(r, 4)->tls_port, 443);
    roster_unref(r);
}

/* Load and version are filled in like the others; numbers keep to their ranges. */
static void facts_are_kept_and_bounded(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    struct member m;
    assert_int_equal(roster_parse_member(&m, "http://px1:1", NULL), 0);
    assert_int_equal(roster_add(r, &m), 0);
    m.load = 250;
    (void)snprintf(m.version, sizeof m.version, "0.1.0");
    assert_int_equal(roster_add(r, &m), 0);
    m.load = 900;
    (void)snprintf(m.version, sizeof m.version, "0.2.0");
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_count(r), 1);
    assert_int_equal(roster_member(r, 0)->load, 250);
    assert_string_equal(roster_member(r, 0)->version, "0.1.0");
    assert_int_equal(roster_parse_member(&m, "http://px2:1", NULL), 0);
    m.load = 5000;
    m.priority = 70000;
    m.started = -5;
    assert_int_equal(roster_add(r, &m), 0);
    assert_int_equal(roster_member(r, 1)->load, ROSTER_LOAD_UNKNOWN);
    assert_int_equal(roster_member(r, 1)->priority, ROSTER_PRIORITY_MAX);
    assert_int_equal(roster_member(r, 1)->started, 0);
    roster_unref(r);
}

/* peers= may name ourselves, once or twice, before or after we add ourselves. */
static void ourselves_once(void **state)
{
    (void)state;
    for (int first = 0; first < 3; first++) {
        struct roster *r = roster_create();
        assert_non_null(r);
        for (int i = 0; i < 3; i++) {
            struct member m;
            assert_int_equal(roster_parse_member(&m, "http://PX1:48999/", NULL), 0);
            if (i == first) {
                m.self = true;
                m.state = MEMBER_UP;
                m.weight = 30;
                m.priority = 2;
                m.started = 1000;
                (void)snprintf(m.zone, sizeof m.zone, "plant7");
            }
            assert_int_equal(roster_add(r, &m), 0);
        }
        assert_int_equal(roster_count(r), 1);
        const struct member *self = roster_member(r, 0);
        assert_true(self->self);
        assert_int_equal(self->state, MEMBER_UP);
        assert_int_equal(self->weight, 30);
        assert_int_equal(self->priority, 2);
        assert_int_equal(self->started, 1000);
        assert_string_equal(self->zone, "plant7");
        roster_unref(r);
    }
}

/* Members are named a, b, c, ... in the order added. */
struct ranking {
    const char *what;
    struct {
        enum member_state state;
        const char *zone;
        unsigned priority;
        bool self;
    } member[4];
    const char *zone;
    const char *order;
};

static const struct ranking rankings[] = {
    {"as added", {{.self = false}, {.self = false}, {.self = false}, {.self = false}}, "", "abcd"},
    {"ourselves first among equals",
     {{.zone = ""}, {.zone = ""}, {.self = true}, {.zone = ""}},
     "",
     "cabd"},
    {"state",
     {{.state = MEMBER_DOWN},
      {.state = MEMBER_DRAINING},
      {.state = MEMBER_UNKNOWN},
      {.state = MEMBER_UP}},
     "",
     "dcba"},
    {"zone", {{.zone = "p8"}, {.zone = "p7"}, {.zone = "p70"}, {.zone = "p7"}}, "p7", "bdac"},
    {"no zone of ours", {{.zone = "p8"}, {.zone = ""}, {.zone = "p7"}, {.zone = ""}}, "", "abcd"},
    {"priority", {{.priority = 3}, {.priority = 1}, {.priority = 2}, {.priority = 1}}, "", "bdca"},
    {"state above zone",
     {{.state = MEMBER_DOWN, .zone = "p7"},
      {.state = MEMBER_UP, .zone = "p8"},
      {.state = MEMBER_UP, .zone = "p7"},
      {.state = MEMBER_UNKNOWN, .zone = "p7"}},
     "p7",
     "cbda"},
    {"zone above priority",
     {{.zone = "p8", .priority = 0},
      {.zone = "p7", .priority = 9},
      {.zone = "p7", .priority = 8},
      {.zone = "p8", .priority = 1}},
     "p7",
     "cbad"},
    {"priority above ourselves",
     {{.priority = 1, .self = true}, {.priority = 0}, {.priority = 1}, {.priority = 0}},
     "",
     "bdac"},
    {"ourselves also when down",
     {{.state = MEMBER_DOWN, .self = true},
      {.state = MEMBER_UP},
      {.state = MEMBER_DRAINING},
      {.state = MEMBER_UP}},
     "",
     "bdca"},
};

static void order_of_preference(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rankings / sizeof *rankings; i++) {
        struct roster *r = roster_create();
        assert_non_null(r);
        for (size_t k = 0; k < 4; k++) {
            const char name[] = {(char)('a' + k), '\0'};
            struct member m = made(name, 48999);
            m.state = rankings[i].member[k].state;
            m.priority = rankings[i].member[k].priority;
            m.self = rankings[i].member[k].self;
            if (rankings[i].member[k].zone != NULL)
                (void)snprintf(m.zone, sizeof m.zone, "%s", rankings[i].member[k].zone);
            assert_int_equal(roster_add(r, &m), 0);
        }
        size_t order[4];
        char text[5] = "";
        assert_int_equal(roster_order(r, rankings[i].zone, order), 4);
        for (size_t k = 0; k < 4; k++)
            text[k] = roster_member(r, order[k])->host[0];
        if (strcmp(text, rankings[i].order) != 0)
            fail_msg("%s: %s, not %s", rankings[i].what, text, rankings[i].order);
        roster_unref(r);
    }
}

static void owners_are_counted(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    assert_non_null(r);
    struct member m = made("px1", 1);
    assert_int_equal(roster_add(r, &m), 0);
    assert_ptr_equal(roster_ref(r), r);
    roster_unref(r);
    assert_int_equal(roster_count(r), 1);
    roster_unref(r);
    roster_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(urls_refused),
        cmocka_unit_test(sensors),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(members_are_bounded),
        cmocka_unit_test(duplicates_are_merged),
        cmocka_unit_test(tls_ports),
        cmocka_unit_test(facts_are_kept_and_bounded),
        cmocka_unit_test(ourselves_once),
        cmocka_unit_test(order_of_preference),
        cmocka_unit_test(owners_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

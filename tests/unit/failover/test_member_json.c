/* test_member_json.c - a member's own word in etcd: what we write is read back, what others write
 * is looked at closely. */
#include "failover/member_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check_round(const struct member *m)
{
    struct buf text;
    struct member back;
    const char *why = NULL;
    buf_init(&text, MEMBER_JSON_MAX);
    assert_int_equal(member_json_print(&text, m), 0);
    if (member_json_parse(&back, buf_span(&text), &why) != 0)
        fail_msg("%.*s: %s", SPAN_ARGS(buf_span(&text)), why);
    assert_int_equal(back.protocol, m->protocol);
    assert_string_equal(back.host, m->host);
    assert_int_equal(back.port, m->port);
    assert_int_equal(back.tls_port, m->tls_port);
    assert_string_equal(back.zone, m->zone);
    assert_int_equal(back.priority, m->priority);
    assert_int_equal(back.weight, m->weight);
    assert_int_equal(back.load, m->load);
    assert_int_equal(back.state, m->state);
    assert_int_equal(back.started, m->started);
    assert_string_equal(back.version, m->version);
    assert_false(back.self);
    buf_release(&text);
}

static void test_what_we_write_is_read_back(void **state)
{
    const struct member members[] = {
        {.host = "px1.plant7.example",
         .port = 48999,
         .tls_port = 48998,
         .zone = "plant \"7\"\n\\",
         .priority = 65535,
         .weight = 1,
         .load = 1000,
         .state = MEMBER_DRAINING,
         .self = true,
         .started = 1795259624,
         .version = "0.1.0"},
        {.protocol = MEMBER_HTTPS_CONNECT,
         .host = "2001:db8::1",
         .port = 1,
         .weight = 100,
         .load = ROSTER_LOAD_UNKNOWN},
        {.host = "192.0.2.1", .port = 65535, .weight = 100, .load = 0, .zone = "z\xc3\xbc"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        check_round(&members[i]);
}

static void test_the_longest_fits(void **state)
{
    struct member m = {.port = 65535,
                       .tls_port = 65534,
                       .priority = 65535,
                       .weight = 100,
                       .load = 1000,
                       .started = INT64_C(253402300799)};
    (void)state;
    for (size_t i = 0; i < ROSTER_TEXT_MAX - 1; i++)
        m.host[i] = i % 64 == 63 ? '.' : 'a';
    memset(m.zone, 1, sizeof m.zone - 1);
    memset(m.version, 'v', sizeof m.version - 1);
    check_round(&m);
}

#define BASE "\"protocol\":\"http-connect\",\"host\":\"a.example\",\"port\":80"

static void test_the_least_that_is_enough(void **state)
{
    static const char text[] = "{" BASE ",\"unknown\":[{}]}";
    struct member m;
    const char *why = NULL;
    (void)state;
    assert_int_equal(member_json_parse(&m, SPAN(text), &why), 0);
    assert_int_equal(m.state, MEMBER_UP);
    assert_int_equal(m.weight, ROSTER_WEIGHT_DEFAULT);
    assert_int_equal(m.load, ROSTER_LOAD_UNKNOWN);
}

static void test_what_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "null",
        "\"x\"",
        "{" BASE "} ,",
        "{" BASE,
        "{" BASE ",}",
        "{" BASE ",\"port\":81}",
        "{" BASE ",\"zone\":7}",
        "{" BASE ",\"zone\":\"a\\u0000b\"}",
        "{" BASE ",\"zone\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        "{" BASE ",\"version\":\"01234567890123456789012345678901\"}",
        "{" BASE ",\"version\":\"a\\\"b\"}",
        "{" BASE ",\"version\":\"a\\nb\"}",
        "{" BASE ",\"state\":\"down\"}",
        "{" BASE ",\"state\":1}",
        "{" BASE ",\"priority\":65536}",
        "{" BASE ",\"tls_port\":65536}",
        "{" BASE ",\"tls_port\":-1}",
        "{" BASE ",\"tls_port\":\"443\"}",
        "{" BASE ",\"priority\":-1}",
        "{" BASE ",\"priority\":1.5}",
        "{" BASE ",\"priority\":\"1\"}",
        "{" BASE ",\"weight\":101}",
        "{" BASE ",\"weight\":1e99}",
        "{" BASE ",\"load\":1001}",
        "{" BASE ",\"started\":-1}",
        "{" BASE ",\"started\":1e300}",
        "{\"protocol\":\"socks5\",\"host\":\"a.example\",\"port\":80}",
        "{\"protocol\":null,\"host\":\"a.example\",\"port\":80}",
        "{\"host\":\"a.example\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"A.example\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"a.example.\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"a b\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"a\\r\\nb\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"[::1]\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"::ffff:1.2.3.4%1\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"127.1\",\"port\":80}",
        "{\"protocol\":\"http-connect\",\"host\":\"a.example\",\"port\":0}",
        "{\"protocol\":\"http-connect\",\"host\":\"a.example\",\"port\":65536}",
        "{\"protocol\":\"http-connect\",\"host\":\"a.example\",\"port\":\"80\"}",
        "{\"protocol\":\"http-connect\",\"host\":\"a.example\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct member m;
        const char *why = NULL;
        if (member_json_parse(&m, span_of(texts[i]), &why) != -EINVAL || why == NULL)
            fail_msg("taken: %s", texts[i]);
    }
}

static void test_too_long(void **state)
{
    char text[MEMBER_JSON_MAX + 2];
    struct member m;
    const char *why = NULL;
    (void)state;
    int len = snprintf(text, sizeof text, "{" BASE "}");
    memset(text + len, ' ', sizeof text - (size_t)len);
    assert_int_equal(member_json_parse(&m, (struct span){text, MEMBER_JSON_MAX}, &why), 0);
    assert_int_equal(member_json_parse(&m, (struct span){text, MEMBER_JSON_MAX + 1}, &why),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_we_write_is_read_back),
        cmocka_unit_test(test_the_longest_fits),
        cmocka_unit_test(test_the_least_that_is_enough),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

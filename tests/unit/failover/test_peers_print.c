/* test_peers_print.c - a roster for people and scripts: columns, JSON, shell, hosts; text of others
 * stays text. */
#include "failover/peers_print.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#define NOW ((time_t)1795176000) /* 2026-11-20T12:00:00Z */

static void member_put(struct roster *r, const char *url, const char *zone, enum member_state state)
{
    struct member m;
    assert_int_equal(roster_parse_member(&m, url, NULL), 0);
    (void)snprintf(m.zone, sizeof m.zone, "%s", zone);
    m.state = state;
    assert_int_equal(roster_add(r, &m), 0);
}

static struct roster *roster_usual(void)
{
    struct roster *r = roster_create();
    assert_non_null(r);
    struct member m;
    assert_int_equal(roster_parse_member(&m, "http://px1.plant7.example:48999", NULL), 0);
    m = (struct member){.port = 48999,
                        .tls_port = 48998,
                        .zone = "plant7",
                        .priority = 1,
                        .weight = 70,
                        .load = 305,
                        .state = MEMBER_UP,
                        .self = true,
                        .started = NOW,
                        .version = "0.1.0"};
    (void)snprintf(m.host, sizeof m.host, "px1.plant7.example");
    assert_int_equal(roster_add(r, &m), 0);
    member_put(r, "https://[2001:db8::1]:443", "W\xc3\xbc\x1b[2J\\\n\xc2\x9b", MEMBER_DRAINING);
    return r;
}

static struct peers_view view_of(const struct roster *r)
{
    return (struct peers_view){"http://px1:48999", "px1.plant7.example", NOW + 600, true, r};
}

/* The whole text in a static buffer. */
static const char *text_of(struct buf *b)
{
    static char text[65536];
    (void)snprintf(text, sizeof text, "%.*s", SPAN_ARGS(buf_span(b)));
    buf_release(b);
    return text;
}

static void table(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct peers_view v = view_of(r);
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(peers_print_table(&b, &v), 0);
    assert_string_equal(
        text_of(&b),
        "PROXY                            STATE     ZONE                              PRIORITY  "
        "WEIGHT  LOAD  STARTED               VERSION\n"
        "http://px1.plant7.example:48999  up        plant7                            1         "
        "70      30%   2026-11-20T12:00:00Z  0.1.0\n"
        "https://[2001:db8::1]:443        draining  W\\xc3\\xbc\\x1b[2J\\x5c\\x0a\\xc2\\x9b  1     "
        "    "
        "100     -     -                     -\n"
        "As http://px1:48999 tells it, until 2026-11-20T12:10:00Z, signed.\n");
    roster_unref(r);
}

/* Strict JSON in ASCII; what is not known is null. */
static void json(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct peers_view v = view_of(r);
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(peers_print_json(&b, &v), 0);
    const char *text = text_of(&b);
    for (const char *at = text; at[1] != '\0'; at++)
        assert_in_range(*at, ' ', '~');
    assert_string_equal(
        text,
        "{\"source\":\"http://px1:48999\",\"identifier\":\"px1.plant7.example\","
        "\"expires\":\"2026-11-20T12:10:00Z\",\"signed\":true,\"members\":["
        "{\"url\":\"http://px1.plant7.example:48999\",\"host\":\"px1.plant7.example\","
        "\"port\":48999,\"tls_port\":48998,\"protocol\":\"http-connect\",\"state\":\"up\",\"zone\":"
        "\"plant7\","
        "\"priority\":1,\"weight\":70,\"load\":305,\"started\":1795176000,\"version\":\"0.1.0\","
        "\"self\":true},"
        "{\"url\":\"https://[2001:db8::1]:443\",\"host\":\"2001:db8::1\",\"port\":443,"
        "\"tls_port\":null,\"protocol\":\"https-connect\",\"state\":\"draining\","
        "\"zone\":\"W\\u00fc\\u001b[2J\\u005c\\u000a\\u009b\",\"priority\":1,\"weight\":100,"
        "\"load\":null,\"started\":null,\"version\":\"\",\"self\":false}]}\n");
    cJSON *root = cJSON_Parse(text);
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(root, "members");
    const cJSON *second = cJSON_GetArrayItem(members, 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(second, "zone")),
                        roster_member(r, 1)->zone);
    cJSON_Delete(root);
    roster_unref(r);
}

static void characters_beyond_16_bits(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    struct buf b;
    assert_non_null(r);
    member_put(r, "http://px1:1", "\xf0\x9f\x8f\xad\xe2\x82\xac \xff\xe2", MEMBER_UP);
    struct peers_view v = view_of(r);
    buf_init(&b, 65536);
    assert_int_equal(peers_print_json(&b, &v), 0);
    assert_non_null(strstr(text_of(&b), "\"zone\":\"\\ud83c\\udfed\\u20ac \\ufffd\\ufffd\""));
    roster_unref(r);
}

/* The first that is up, else the first that may be. */
static void best(void **state)
{
    (void)state;
    static const struct {
        enum member_state states[3];
        int best; /* -1: none */
    } cases[] = {
        {{MEMBER_UP, MEMBER_UP, MEMBER_UP}, 0},
        {{MEMBER_UNKNOWN, MEMBER_UP, MEMBER_UP}, 1},
        {{MEMBER_DRAINING, MEMBER_DOWN, MEMBER_UP}, 2},
        {{MEMBER_DOWN, MEMBER_UNKNOWN, MEMBER_UNKNOWN}, 1},
        {{MEMBER_DOWN, MEMBER_DRAINING, MEMBER_DOWN}, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct roster *r = roster_create();
        assert_non_null(r);
        member_put(r, "http://px0:1", "", cases[i].states[0]);
        member_put(r, "http://px1:1", "", cases[i].states[1]);
        member_put(r, "http://px2:1", "", cases[i].states[2]);
        assert_ptr_equal(peers_best(r),
                         cases[i].best < 0 ? NULL : roster_member(r, (size_t)cases[i].best));
        roster_unref(r);
    }
    struct roster *empty = roster_create();
    assert_null(peers_best(empty));
    roster_unref(empty);
}

static void shells_and_hosts(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct addr a;
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(peers_print_env(&b, roster_member(r, 1)), 0);
    assert_string_equal(text_of(&b), "export HTTPS_PROXY='https://[2001:db8::1]:443'\n"
                                     "export HTTP_PROXY='https://[2001:db8::1]:443'\n"
                                     "export https_proxy='https://[2001:db8::1]:443'\n"
                                     "export http_proxy='https://[2001:db8::1]:443'\n");
    buf_init(&b, 65536);
    assert_int_equal(addr_parse(&a, SPAN("2001:db8::2"), 0), 0);
    assert_int_equal(peers_print_host(&b, &a, "px1.plant7.example"), 0);
    assert_string_equal(text_of(&b), "2001:db8::2\tpx1.plant7.example\n");
    roster_unref(r);
}

static void no_room(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct peers_view v = view_of(r);
    for (size_t room = 1; room < 500; room += 7) {
        struct buf b;
        buf_init(&b, room);
        assert_int_equal(peers_print_json(&b, &v), -ENOBUFS);
        buf_release(&b);
        buf_init(&b, room < 300 ? room : 300);
        assert_int_equal(peers_print_table(&b, &v), -ENOBUFS);
        buf_release(&b);
    }
    roster_unref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(json),
        cmocka_unit_test(characters_beyond_16_bits),
        cmocka_unit_test(best),
        cmocka_unit_test(shells_and_hosts),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

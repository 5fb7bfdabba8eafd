/* test_parents.c - how a parent proxy is written, in which order they are asked, and what is
 * remembered of broken ones. */
#include "proxy/session/parents.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ATTEMPT = 5000, RETRY = 30000, RETRY_MAX = 100000 };

static const struct {
    const char *text;
    const char *label; /* NULL: refused */
    const char *authorization;
    unsigned priority;
} written[] = {
    {"http://parent:3128", "http://parent:3128", "", 1},
    {"http://Parent.Example.:3128/", "http://parent.example:3128", "", 1},
    {"HTTPS://parent:443", "https://parent:443", "", 1},
    {"http://192.0.2.1:8080;priority=2", "http://192.0.2.1:8080", "", 2},
    {"http://[2001:DB8::1]:1;priority=65535", "http://[2001:db8::1]:1", "", 65535},
    /* RFC 7617 section 2, and its example */
    {"http://Aladdin:open%20sesame@p:1", "http://p:1", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 1},
    {"http://Aladdin:open sesame@p:1", "http://p:1", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 1},
    {"http://u:@p:1", "http://p:1", "Basic dTo=", 1},
    {"http://u:a:b@c@p:1", "http://p:1", "Basic dTphOmJAYw==", 1},
    {"http://u:%3a%40%2C@p:1;priority=3", "http://p:1", "Basic dTo6QCw=", 3},
    {"", NULL, NULL, 0},
    {"parent:3128", NULL, NULL, 0},
    {"http:/parent:3128", NULL, NULL, 0},
    {"http://", NULL, NULL, 0},
    {"http://:3128", NULL, NULL, 0},
    {"http://parent", NULL, NULL, 0},
    {"http://parent:", NULL, NULL, 0},
    {"http://parent:0", NULL, NULL, 0},
    {"http://parent:03128", NULL, NULL, 0},
    {"http://parent:+1", NULL, NULL, 0},
    {"http://parent:65536", NULL, NULL, 0},
    {"http://parent:99999999999999999999", NULL, NULL, 0},
    {"http://parent:3128/path", NULL, NULL, 0},
    {"http://parent:3128?query", NULL, NULL, 0},
    {"http://[::1]", NULL, NULL, 0},
    {"http://::1:3128", NULL, NULL, 0},
    {"http://0x7f.1:3128", NULL, NULL, 0},
    {"http://a b:3128", NULL, NULL, 0},
    {"http://parent:3128;", NULL, NULL, 0},
    {"http://parent:3128;priority", NULL, NULL, 0},
    {"http://parent:3128;priority=", NULL, NULL, 0},
    {"http://parent:3128;priority=0", NULL, NULL, 0},
    {"http://parent:3128;priority=65536", NULL, NULL, 0},
    {"http://parent:3128;priority=1;priority=2", NULL, NULL, 0},
    {"http://user@parent:3128", NULL, NULL, 0},
    {"http://@parent:3128", NULL, NULL, 0},
    {"http://:password@parent:3128", NULL, NULL, 0},
    {"http://%3Au:p@parent:3128", NULL, NULL, 0},
    {"http://u:%@parent:3128", NULL, NULL, 0},
    {"http://u:%4@parent:3128", NULL, NULL, 0},
    {"http://u:%g0@parent:3128", NULL, NULL, 0},
    {"http://u:%00@parent:3128", NULL, NULL, 0},
    {"http://u:%0d%0aX: y@parent:3128", NULL, NULL, 0},
};

static void test_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        struct parent p;
        const char *why = NULL;
        int rc = parent_parse(&p, span_of(written[i].text), &why);
        if ((rc == 0) != (written[i].label != NULL))
            fail_msg("\"%s\": %d %s", written[i].text, rc, why != NULL ? why : "");
        if (rc != 0) {
            assert_non_null(why);
            continue;
        }
        assert_string_equal(p.label, written[i].label);
        assert_string_equal(p.authorization, written[i].authorization);
        assert_int_equal(p.priority, written[i].priority);
        assert_int_equal(p.tls, strncmp(p.label, "https", 5) == 0);
    }
}

static void test_long_passwords(void **state)
{
    char text[2048];
    struct parent p;
    const char *why = NULL;
    (void)state;
    for (int len = 505; len < 700; len++) {
        (void)snprintf(text, sizeof text, "http://u:%0*d@p:1", len, 7);
        int rc = parent_parse(&p, span_of(text), &why);
        assert_int_equal(rc, len + 2 <= PARENT_CREDENTIALS_MAX ? 0 : -EINVAL);
        assert_true(strlen(p.authorization) < sizeof p.authorization);
    }
}

static struct parents *create(struct rules *direct)
{
    struct prefix network;
    assert_int_equal(prefix_parse(&network, SPAN("10.0.0.0/8")), 0);
    struct parents_options o = {.attempt_ms = ATTEMPT,
                                .retry_after_ms = RETRY,
                                .retry_max_ms = RETRY_MAX,
                                .direct = direct,
                                .direct_networks = &network,
                                .direct_network_count = 1};
    struct parents *list = parents_create(&o);
    assert_non_null(list);
    return list;
}

static void add(struct parents *list, const char *text, int expected)
{
    struct parent p;
    const char *why = "";
    assert_int_equal(parent_parse(&p, span_of(text), &why), 0);
    assert_int_equal(parents_add(list, &p), expected);
}

static struct parents *three(void)
{
    struct parents *list = create(NULL);
    add(list, "http://a:1", 0);
    add(list, "http://b:1", 0);
    add(list, "http://c:1", 0);
    return list;
}

static void test_order(void **state)
{
    static const char *const order[] = {"http://c:1", "http://e:1", "http://a:1", "http://d:1",
                                        "http://b:1"};
    struct parents *list = create(NULL);
    (void)state;
    add(list, "http://a:1;priority=5", 0);
    add(list, "http://b:1;priority=9", 0);
    add(list, "http://c:1", 0);
    add(list, "http://d:1;priority=5", 0);
    add(list, "http://e:1", 0);
    add(list, "http://E:1;priority=7", -EEXIST);
    add(list, "http://u:p@e:1", -EEXIST);
    for (size_t i = 0; i < parents_count(list); i++)
        assert_string_equal(parents_at(list, i)->label, order[i]);
    for (size_t i = parents_count(list); i < PARENTS_MAX; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "http://x:%zu", i);
        add(list, text, 0);
    }
    add(list, "http://one.more:1", -ENOSPC);
    parents_unref(list);
}

static void test_pass_by(void **state)
{
    static const struct {
        const char *host;
        bool direct;
    } cases[] = {{"near.test", true}, {"a.near.test", true}, {"bnear.test", false},
                 {"far.test", false}, {"10.1.2.3", true},    {"11.1.2.3", false},
                 {"[::1]", false},    {"localhost", true},   {"x.localhost", false}};
    struct rules *direct = rules_create();
    assert_int_equal(rules_add_domain(direct, SPAN("near.test"), NULL), 0);
    assert_int_equal(rules_add_host(direct, SPAN("localhost"), NULL), 0);
    struct parents *list = create(direct), *none = create(NULL);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hostname host;
        assert_int_equal(hostname_parse(&host, span_of(cases[i].host), NULL), 0);
        if (parents_pass_by(list, &host) != cases[i].direct)
            fail_msg("%s", cases[i].host);
        assert_true(host.kind != HOST_NAME || !parents_pass_by(none, &host));
    }
    parents_unref(list);
    parents_unref(none);
}

/* ---- memory ---- */

static size_t pick(struct parents_use *u, uint64_t tried, uint64_t now)
{
    size_t i = 99;
    return parents_pick(u, u->list, tried, now, &i) ? i : 99;
}

static void note(struct parents_use *u, size_t i, enum parent_result result, uint64_t now)
{
    parents_note(u, u->list, i, result, now, now, "");
}

/* Upstreams of the gateway: nobody is always the first, whichever worker asks. */
static void test_origins_take_turns(void **state)
{
    struct parents_options o = {.origins = true,
                                .attempts_max = 4,
                                .attempt_ms = ATTEMPT,
                                .retry_after_ms = RETRY,
                                .retry_max_ms = RETRY_MAX};
    struct parents_use one = {0}, other = {0};
    struct parents *list = parents_create(&o);
    struct buf text;
    (void)state;
    assert_non_null(list);
    add(list, "https://a:1", 0);
    add(list, "https://b:1", 0);
    add(list, "https://c:1", 0);
    parents_use_list(&one, list);
    parents_use_list(&other, list);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(pick(i % 2 == 0 ? &one : &other, 0, 1000), i % 3);
    assert_int_equal(pick(&one, 1, 1000), 1); /* the first was asked already */
    note(&one, 2, PARENT_UNREACHABLE, 1000);  /* broken for this worker alone */
    assert_int_equal(pick(&one, 0, 1000), 0);
    assert_int_equal(pick(&one, 0, 1000), 1);
    assert_int_equal(pick(&one, 0, 1000), 0);
    assert_int_equal(pick(&one, 3, 1000), 2);
    assert_int_equal(pick(&other, 0, 1000), 0);
    assert_int_equal(pick(&other, 0, 1000), 1);
    /* down for all, and still better than nothing */
    parents_tell(list, 0, true, "test");
    parents_tell(list, 0, true, "test");
    assert_int_equal(pick(&other, 0, 1000), 2);
    assert_int_equal(pick(&other, 0, 1000), 1);
    assert_int_equal(pick(&other, 0, 1000), 2);
    assert_int_equal(pick(&other, 6, 1000), 0);
    assert_int_equal(pick(&other, 7, 1000), 99);
    buf_init(&text, 65536);
    assert_int_equal(parents_print(&text, list), 0);
    assert_int_equal(buf_add(&text, "", 1), 0);
    assert_non_null(strstr(buf_head(&text), "certferry_upstream_up{upstream=\"https://a:1\"} 0"));
    assert_non_null(strstr(buf_head(&text), "certferry_upstream_up{upstream=\"https://b:1\"} 1"));
    assert_non_null(strstr(buf_head(&text),
                           "certferry_upstream_attempts_total{upstream=\"https://c:1"
                           "\",result=\"unreachable\"} 1"));
    buf_release(&text);
    /* all of them, by a check that errs perhaps: they take turns as before */
    for (size_t i = 1; i < 3; i++)
        parents_tell(list, i, true, "test");
    for (size_t i = 1; i < 7; i++)
        assert_int_equal(pick(&other, 0, 1000), i % 3);
    for (size_t i = 0; i < 3; i++)
        parents_tell(list, i, false, "");
    assert_int_equal(pick(&other, 0, 1000), 1);
    assert_int_equal(pick(&other, 0, 1000), 2);
    parents_use_list(&one, NULL);
    parents_use_list(&other, NULL);
    parents_unref(list);
}

static void test_broken_ones_come_last(void **state)
{
    struct parents_use u = {0};
    struct parents *list = three();
    (void)state;
    parents_use_list(&u, list);
    assert_int_equal(pick(&u, 0, 1000), 0);
    assert_int_equal(pick(&u, 1, 1000), 1);
    note(&u, 0, PARENT_UNREACHABLE, 1000);
    assert_int_equal(pick(&u, 0, 1000), 1);
    assert_int_equal(pick(&u, 2, 1000), 2);
    /* All others were asked: broken is better than nothing, and nothing is never direct. */
    assert_int_equal(pick(&u, 6, 1000), 0);
    assert_int_equal(pick(&u, 7, 1000), 99);
    note(&u, 1, PARENT_TLS, 1000);
    note(&u, 2, PARENT_PASSWORD, 1000);
    assert_int_equal(pick(&u, 0, 1000), 0);
    assert_int_equal(pick(&u, 1, 1000), 1);
    assert_int_equal(pick(&u, 3, 1000), 2);
    note(&u, 1, PARENT_OK, 1000);
    assert_int_equal(pick(&u, 0, 1000), 1);
    /* Answers about one origin say nothing about the parent. */
    note(&u, 1, PARENT_DECLINED, 1000);
    note(&u, 1, PARENT_REFUSED, 1000);
    assert_int_equal(pick(&u, 0, 1000), 1);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

static void test_one_exchange_tries_it_again(void **state)
{
    struct parents_use u = {0};
    struct parents *list = three();
    (void)state;
    parents_use_list(&u, list);
    note(&u, 0, PARENT_MALFORMED, 1000);
    assert_int_equal(pick(&u, 0, 1000 + RETRY - 1), 1);
    assert_int_equal(pick(&u, 0, 1000 + RETRY), 0);
    assert_int_equal(pick(&u, 0, 1000 + RETRY), 1); /* the others wait for its result */
    assert_int_equal(pick(&u, 0, 1000 + RETRY + ATTEMPT - 1), 1);
    assert_int_equal(pick(&u, 0, 1000 + RETRY + ATTEMPT), 0); /* it never told */
    note(&u, 0, PARENT_OK, 1000 + RETRY + ATTEMPT);
    assert_int_equal(pick(&u, 0, 1000 + RETRY + ATTEMPT), 0);
    assert_int_equal(pick(&u, 0, 1000 + RETRY + ATTEMPT), 0);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

/* No answer may be another's fault: so many in a row break, and an answer to anybody ends the row.
 */
static void test_doubts(void **state)
{
    static const enum parent_result doubts[PARENT_DOUBTS] = {PARENT_SILENT, PARENT_CLOSED,
                                                             PARENT_LOST};
    struct parents_use u = {0};
    struct parents *list = three();
    (void)state;
    parents_use_list(&u, list);
    for (size_t i = 0; i < 2 * PARENT_DOUBTS; i++) {
        note(&u, 0, doubts[i % PARENT_DOUBTS], 1000);
        if (i % 2 == 1)
            note(&u, 0, PARENT_DECLINED, 1000);
        assert_int_equal(pick(&u, 0, 1000), 0);
    }
    for (size_t i = 0; i < PARENT_DOUBTS; i++) {
        assert_int_equal(pick(&u, 0, 1000), 0);
        note(&u, 0, doubts[i], 1000);
    }
    assert_int_equal(pick(&u, 0, 1000), 1);
    /* Still none when it is tried again: avoided for longer, not for three more. */
    note(&u, 0, PARENT_SILENT, 1000 + RETRY);
    assert_int_equal(pick(&u, 0, 1000 + 2 * RETRY), 1);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

static void test_back_off(void **state)
{
    static const uint64_t avoided[] = {RETRY, 2 * RETRY, RETRY_MAX, RETRY_MAX, RETRY_MAX};
    struct parents_use u = {0};
    struct parents *list = three();
    uint64_t now = 1000;
    (void)state;
    parents_use_list(&u, list);
    for (size_t i = 0; i < sizeof avoided / sizeof *avoided; i++) {
        note(&u, 0, PARENT_UNREACHABLE, now);
        note(&u, 0, PARENT_UNREACHABLE, now + 10); /* at the same time: one fault */
        assert_int_equal(pick(&u, 0, now + avoided[i] - 1), 1);
        now += avoided[i];
        assert_int_equal(pick(&u, 0, now), 0);
    }
    note(&u, 0, PARENT_OK, now);
    note(&u, 0, PARENT_UNREACHABLE, now);
    assert_int_equal(pick(&u, 0, now + RETRY), 0);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

/* Also when a broken one is avoided for a shorter time than an attempt takes. */
static void test_attempts_that_began_together(void **state)
{
    struct parents_use u = {0};
    struct parents_options o = {
        .attempt_ms = ATTEMPT, .retry_after_ms = 200, .retry_max_ms = RETRY_MAX};
    struct parents *list = parents_create(&o);
    (void)state;
    assert_non_null(list);
    add(list, "http://a:1", 0);
    add(list, "http://b:1", 0);
    parents_use_list(&u, list);
    for (uint64_t late = 0; late < 900; late += 300)
        parents_note(&u, list, 0, PARENT_UNREACHABLE, 1000, 1000 + late, "");
    assert_int_equal(pick(&u, 0, 1199), 1);
    assert_int_equal(pick(&u, 0, 1200), 0);
    note(&u, 0, PARENT_UNREACHABLE, 1201); /* a second fault: twice as long */
    assert_int_equal(pick(&u, 0, 1600), 1);
    assert_int_equal(pick(&u, 0, 1601), 0);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

/* What was wrong with a password says nothing of the next one. */
static void test_memory_is_of_one_password(void **state)
{
    struct parents_use u = {0};
    struct parents *old = create(NULL), *same = create(NULL), *next = create(NULL);
    (void)state;
    add(old, "http://u:x@a:1", 0);
    add(same, "http://u:x@a:1", 0);
    add(next, "http://u:y@a:1", 0);
    add(same, "http://b:1", 0);
    add(next, "http://b:1", 0);
    parents_use_list(&u, old);
    note(&u, 0, PARENT_PASSWORD, 1000);
    parents_use_list(&u, same);
    assert_int_equal(pick(&u, 0, 1000), 1);
    parents_use_list(&u, next);
    assert_int_equal(pick(&u, 0, 1000), 0);
    parents_use_list(&u, NULL);
    parents_unref(old);
    parents_unref(same);
    parents_unref(next);
}

static void test_memory_outlives_the_list(void **state)
{
    struct parents_use u = {0};
    struct parents *old = three(), *next = create(NULL);
    size_t i;
    (void)state;
    add(next, "http://c:1", 0);
    add(next, "http://d:1", 0);
    add(next, "http://a:1", 0);
    parents_use_list(&u, old);
    note(&u, 2, PARENT_MALFORMED, 1000);
    parents_use_list(&u, next);
    assert_int_equal(pick(&u, 0, 1000), 1);
    /* An exchange that began with the old list goes on with it, in its plain order. */
    assert_true(parents_pick(&u, old, 3, 1000, &i));
    assert_int_equal(i, 2);
    parents_note(&u, old, 0, PARENT_MALFORMED, 1000, 1000, "");
    assert_int_equal(pick(&u, 2, 1000), 2);
    parents_use_list(&u, NULL);
    parents_unref(old);
    parents_unref(next);
}

static void test_empty(void **state)
{
    struct parents_use u = {0};
    struct parents *list = create(NULL);
    (void)state;
    parents_use_list(&u, list);
    assert_int_equal(pick(&u, 0, 1000), 99);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

static void test_reports(void **state)
{
    struct parents_use u = {0};
    struct parents *list = three();
    struct parent_report r;
    struct buf out;
    (void)state;
    parents_use_list(&u, list);
    note(&u, 1, PARENT_OK, 1);
    note(&u, 1, PARENT_OK, 2);
    note(&u, 1, PARENT_DECLINED, 3);
    parents_note_times(list, 1, 700, 1500);
    parents_note_times(list, 1, 0, 0);
    parents_report(list, 1, &r);
    assert_int_equal(r.results[PARENT_OK], 2);
    assert_int_equal(r.results[PARENT_DECLINED], 1);
    assert_int_equal(r.connect_us, 700);
    assert_int_equal(r.answer_us, 1500);
    assert_true(r.good_ms > 0 && r.bad_ms == 0);
    parents_report(list, 0, &r);
    assert_int_equal(r.results[PARENT_OK], 0);
    buf_init(&out, 65536);
    assert_int_equal(parents_print(&out, list), 0);
    assert_int_equal(buf_add(&out, "", 1), 0);
    assert_non_null(strstr(buf_head(&out), "{parent=\"http://b:1\",result=\"ok\"} 2\n"));
    assert_non_null(strstr(buf_head(&out), "{parent=\"http://b:1\",result=\"declined\"} 1\n"));
    assert_null(strstr(buf_head(&out), "{parent=\"http://a:1\",result=\"closed\"}"));
    buf_release(&out);
    parents_use_list(&u, NULL);
    parents_unref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_long_passwords),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_pass_by),
        cmocka_unit_test(test_origins_take_turns),
        cmocka_unit_test(test_broken_ones_come_last),
        cmocka_unit_test(test_one_exchange_tries_it_again),
        cmocka_unit_test(test_doubts),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_attempts_that_began_together),
        cmocka_unit_test(test_memory_is_of_one_password),
        cmocka_unit_test(test_memory_outlives_the_list),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_probe.c - who is asked, when, how many at once, and what becomes of it. The fetcher is ours:
 * it keeps each request until the test answers it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failover/probe.h"

/* ---- the fetcher ---- */

struct fetch {
    struct fetch_request request;
    char url[300];
    char ca_file[64];
};

static struct fetch *open_fetch[ROSTER_MEMBERS_MAX]; /* in the order they came */
static size_t open_count, most_open, started;
static bool refusing;

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *request)
{
    assert_null(f);
    if (refusing)
        return NULL;
    struct fetch *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->request = *request;
    (void)snprintf(t->url, sizeof t->url, "%s", request->url);
    (void)snprintf(t->ca_file, sizeof t->ca_file, "%s", request->tls->ca_file);
    open_fetch[open_count++] = t;
    most_open = open_count > most_open ? open_count : most_open;
    started++;
    return t;
}

static void forget(struct fetch *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < open_count; i++) {
        if (open_fetch[i] != t)
            open_fetch[kept++] = open_fetch[i];
    }
    assert_int_equal(kept, open_count - 1);
    open_count = kept;
    free(t);
}

void fetch_cancel(struct fetch *t)
{
    forget(t);
}

static void answer(struct fetch *t, const struct fetch_result *result)
{
    fetch_done_cb on_done = t->request.on_done;
    void *arg = t->request.arg;
    forget(t);
    on_done(arg, result);
}

static const struct fetch_result ready = {.status = 200, .body = {"ready\n", 6}};
static const struct fetch_result leaving = {.status = 503,
                                            .body = {"not ready: shutting down\n", 25}};
static const struct fetch_result silent = {.fault = "no answer in time"};

/* ---- the stage ---- */

static uv_loop_t loop;
static struct probes *probes;
static unsigned changes;
static struct probe_options options = {
    .interval_ms = 20, .timeout_ms = 7, .rule = {2, 3}, .ca_file = "/ca.pem"};

static void on_change(void *arg)
{
    assert_ptr_equal(arg, &changes);
    changes++;
}

static int setup(void **state)
{
    (void)state;
    open_count = most_open = started = 0;
    changes = 0;
    refusing = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    probes = probes_create(&loop, NULL, &options, on_change, &changes);
    return probes == NULL;
}

static int teardown(void **state)
{
    (void)state;
    probes_close(probes);
    assert_int_equal(open_count, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static struct member member_of(const char *url)
{
    struct member m;
    assert_int_equal(roster_parse_member(&m, url, NULL), 0);
    return m;
}

static void watch(const char *const *urls)
{
    struct roster *r = roster_create();
    for (; *urls != NULL; urls++) {
        struct member m = member_of(*urls + (**urls == '*'));
        m.self = **urls == '*';
        assert_int_equal(roster_add(r, &m), 0);
    }
    assert_int_equal(probes_watch(probes, r), 0);
    roster_unref(r);
}

static enum member_state state_of(const char *url)
{
    struct member m = member_of(url);
    return probes_state(probes, &m);
}

/* Until `n` questions are open; the loop would wait for ever if they never came, which ctest ends.
 */
static void wait_open(size_t n)
{
    while (open_count < n)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

/* Of the one peer that is asked. */
static void answer_next(const struct fetch_result *result)
{
    wait_open(1);
    answer(open_fetch[0], result);
}

#define A "http://a.example:48999"
#define B "https://[2001:db8::1]:443"

/* ---- tests ---- */

static void test_asks_the_others(void **state)
{
    (void)state;
    watch((const char *const[]){"*http://self.example:1", A, B, NULL});
    wait_open(2);
    bool a_first = strcmp(open_fetch[0]->url, A "/readyz") == 0;
    assert_string_equal(open_fetch[!a_first]->url, A "/readyz");
    assert_string_equal(open_fetch[a_first]->url, B "/readyz");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(open_fetch[i]->request.timeout_ms, 7);
        assert_int_equal(open_fetch[i]->request.octets_max, PROBE_ANSWER_MAX);
        assert_true(open_fetch[i]->request.fresh);
        assert_null(open_fetch[i]->request.body.ptr); /* GET */
        assert_null(open_fetch[i]->request.on_data);
        assert_string_equal(open_fetch[i]->ca_file, "/ca.pem");
    }
    assert_int_equal(state_of(A), MEMBER_UNKNOWN);
    assert_int_equal(state_of("http://self.example:1"), MEMBER_UNKNOWN);
    assert_int_equal(state_of("https://a.example:48999"), MEMBER_UNKNOWN);
}

static void test_states_and_news(void **state)
{
    (void)state;
    watch((const char *const[]){A, NULL});
    answer_next(&ready);
    assert_int_equal(state_of(A), MEMBER_UP);
    assert_int_equal(changes, 1);
    answer_next(&silent);
    answer_next(&silent);
    assert_int_equal(state_of(A), MEMBER_UP);
    answer_next(&silent);
    assert_int_equal(state_of(A), MEMBER_DOWN);
    assert_int_equal(changes, 2);
    answer_next(&ready);
    answer_next(&ready);
    assert_int_equal(state_of(A), MEMBER_UP);
    answer_next(&leaving);
    assert_int_equal(state_of(A), MEMBER_DRAINING);
    answer_next(&leaving);
    assert_int_equal(changes, 4);
}

/* The next question comes no sooner than four fifths of the interval after an answer. */
static void test_pauses(void **state)
{
    (void)state;
    watch((const char *const[]){A, NULL});
    answer_next(&ready);
    uint64_t before = uv_now(&loop);
    wait_open(1);
    assert_true(uv_now(&loop) - before >= options.interval_ms - options.interval_ms / 5);
}

/* One open question each, however long the answer takes. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    watch((const char *const[]){A, B, NULL});
    wait_open(2);
    for (int i = 0; i < 5; i++) {
        uint64_t before = started;
        size_t other = strcmp(open_fetch[0]->url, A "/readyz") == 0 ? 1 : 0;
        answer(open_fetch[other], &ready);
        wait_open(2);
        assert_int_equal(started, before + 1);
    }
    assert_int_equal(state_of(A), MEMBER_UNKNOWN);
    assert_int_equal(state_of(B), MEMBER_UP);
}

static void test_bounded_at_once(void **state)
{
    struct roster *r = roster_create();
    (void)state;
    for (unsigned i = 0; i < ROSTER_MEMBERS_MAX; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "http://p%u.example:1", i);
        struct member m = member_of(url);
        assert_int_equal(roster_add(r, &m), 0);
    }
    assert_int_equal(probes_watch(probes, r), 0);
    roster_unref(r);
    /* Every one has its turn, though none of the first ones is ever asked twice before. */
    while (changes < ROSTER_MEMBERS_MAX)
        answer_next(&ready);
    wait_open(PROBE_AT_ONCE);
    assert_int_equal(most_open, PROBE_AT_ONCE);
}

/* A new roster: who stays keeps its state and its question, who goes is asked no more. */
static void test_watch_others(void **state)
{
    (void)state;
    watch((const char *const[]){A, B, NULL});
    wait_open(2);
    size_t a = strcmp(open_fetch[0]->url, A "/readyz") == 0 ? 0 : 1;
    answer(open_fetch[a], &ready);
    watch((const char *const[]){"http://c.example:1", A, NULL});
    assert_int_equal(open_count, 0); /* B's was cancelled */
    assert_int_equal(state_of(A), MEMBER_UP);
    assert_int_equal(state_of(B), MEMBER_UNKNOWN);
    watch((const char *const[]){B, NULL});
    assert_int_equal(state_of(A), MEMBER_UNKNOWN);
    watch((const char *const[]){NULL});
    uint64_t before = started;
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* nothing keeps it */
    assert_int_equal(started, before);
}

static void watch_nobody(void *arg)
{
    (void)arg;
    changes++;
    watch((const char *const[]){NULL});
}

/* The news may lead to another roster, in which the peer it is about is no more. */
static void test_watch_inside_the_news(void **state)
{
    (void)state;
    probes_close(probes);
    probes = probes_create(&loop, NULL, &options, watch_nobody, NULL);
    assert_non_null(probes);
    watch((const char *const[]){A, B, NULL});
    wait_open(2);
    answer(open_fetch[0], &ready);
    assert_int_equal(changes, 1);
    assert_int_equal(open_count, 0);
}

static void test_options_anew(void **state)
{
    struct probe_options other = {.interval_ms = 1, .timeout_ms = 9, .rule = {1, 1}};
    (void)state;
    watch((const char *const[]){A, NULL});
    wait_open(1);
    assert_int_equal(probes_set_options(probes, &other), 0);
    answer_next(&silent);
    assert_int_equal(state_of(A), MEMBER_DOWN);
    wait_open(1);
    assert_int_equal(open_fetch[0]->request.timeout_ms, 9);
    assert_string_equal(open_fetch[0]->ca_file, "");
}

/* Without memory a question is put off, and the peer is none the worse. */
static void test_no_memory_for_a_question(void **state)
{
    (void)state;
    watch((const char *const[]){A, NULL});
    refusing = true;
    uint64_t until = uv_now(&loop) + 600;
    while (uv_now(&loop) < until)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(started, 0);
    refusing = false;
    answer_next(&ready);
    assert_int_equal(state_of(A), MEMBER_UP);
}

/* Whatever is in an answer, the log line about it is one line. */
static void test_odd_answers(void **state)
{
    static char long_body[PROBE_ANSWER_MAX];
    static const struct fetch_result rows[] = {
        {.status = 503, .body = {"no\nway\r\nout", 11}},
        {.status = 503, .body = {long_body, sizeof long_body}},
        {.status = 403, .body = {"", 0}},
        {.status = 999, .body = {NULL, 0}},
        {.fault = "%s%n"},
    };
    struct probe_options strict = {.interval_ms = 1, .timeout_ms = 1, .rule = {1, 1}};
    (void)state;
    memset(long_body, '\x1b', sizeof long_body);
    assert_int_equal(probes_set_options(probes, &strict), 0);
    watch((const char *const[]){A, NULL});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        answer_next(&ready);
        answer_next(&rows[i]);
        assert_int_equal(state_of(A), MEMBER_DOWN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asks_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states_and_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_inside_the_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_question, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_answers, setup, teardown),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}

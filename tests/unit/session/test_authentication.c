/*
 * test_authentication.c - right, wrong and unknown; what is remembered, how wrong ones are slowed,
 * and that a check can be left at any moment.
 */
#include "proxy/session/authentication.h"

#include <crypt.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/clock.h"

/* bcrypt of the lowest cost: the tests are about what stands around it. Password "sesame". */
static char hash_of_sesame[128];

struct asked {
    bool done;
    enum outcome verdict;
    uint64_t after_ms;
    uint64_t began_ms;
};

static const struct authentication_options usual = {
    .cache_ms = 60000,
    .cache_entries = 2,
    .pending_max = 4,
    .failure_ms = 200,
    .failure_max_ms = 400,
    .failure_entries = 16,
};

static struct users *users;
static struct authentication *auth;
static uv_loop_t loop;
static struct netloop net;
static struct metrics metrics;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    net.loop = &loop;
    memset(&metrics, 0, sizeof metrics);
    auth = authentication_create(&usual);
    assert_non_null(auth);
    return deadlines_create(&net.deadlines, &loop);
}

static int teardown(void **state)
{
    (void)state;
    deadlines_destroy(net.deadlines);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    authentication_destroy(auth);
    return uv_loop_close(&loop);
}

static void on_done(void *arg, enum outcome verdict)
{
    struct asked *a = arg;
    assert_false(a->done);
    a->done = true;
    a->verdict = verdict;
    a->after_ms = clock_ms() - a->began_ms;
}

static enum outcome start(struct asked *a, const char *user, const char *password,
                          const char *client, struct authentication_check **check)
{
    struct credentials c;
    struct addr address;
    memset(&c, 0, sizeof c);
    (void)snprintf(c.user, sizeof c.user, "%s", user);
    (void)snprintf(c.password, sizeof c.password, "%s", password);
    assert_int_equal(addr_parse(&address, span_of(client), 1), 0);
    struct authentication_request r = {users, &c, &address, &metrics, on_done, a};
    *a = (struct asked){.began_ms = clock_ms()};
    return authentication_start(auth, &net, &r, check);
}

static enum outcome ask(struct asked *a, const char *user, const char *password, const char *client)
{
    struct authentication_check *check;
    enum outcome at_once = start(a, user, password, client, &check);
    if (at_once != OUTCOME_PENDING)
        return at_once;
    assert_false(a->done); /* never before the call returns */
    while (!a->done)
        (void)uv_run(&loop, UV_RUN_ONCE);
    return a->verdict;
}

static uint64_t counted(enum metric m)
{
    return atomic_load(&metrics.value[m]);
}

static void test_right_is_remembered(void **state)
{
    struct asked a;
    (void)state;
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 1);
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.9"), OUTCOME_OK);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 1);
    assert_int_equal(counted(METRIC_AUTH_REMEMBERED), 1);
    /* two fit: the oldest goes */
    assert_int_equal(ask(&a, "baba", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(ask(&a, "cassim", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 4);
    authentication_reload(auth, &usual); /* the file may name other people now */
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 5);
}

static void test_wrong_is_slow(void **state)
{
    struct asked a, b;
    struct authentication_check *check;
    (void)state;
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.7"), OUTCOME_OK);
    assert_int_equal(ask(&a, "ali", "barley", "192.0.2.1"), OUTCOME_AUTH_FAILED);
    assert_in_range(a.after_ms, 199, 60000);
    assert_int_equal(ask(&a, "ali", "rye", "192.0.2.1"), OUTCOME_AUTH_FAILED);
    assert_in_range(a.after_ms, 399, 60000);
    assert_int_equal(counted(METRIC_AUTH_FAILURES), 2);
    /* what is remembered never waits, and other addresses do not either */
    assert_int_equal(ask(&a, "ali", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(counted(METRIC_AUTH_REMEMBERED), 1);
    /* right, but not known yet, while a wrong one of the same address is held back: no quicker */
    assert_int_equal(start(&b, "ali", "oats", "192.0.2.1", &check), OUTCOME_PENDING);
    while (counted(METRIC_AUTH_FAILURES) < 3)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(ask(&a, "baba", "sesame", "192.0.2.1"), OUTCOME_OK);
    assert_in_range(clock_ms() - b.began_ms, 399, 60000);
    while (!b.done)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

/* Unknown users, and a right password of somebody else's, are computed all the same. */
static void test_unknown_user(void **state)
{
    struct asked a;
    (void)state;
    assert_int_equal(ask(&a, "nobody", "sesame", "192.0.2.1"), OUTCOME_AUTH_FAILED);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 1);
    assert_int_equal(ask(&a, "", "", "192.0.2.2"), OUTCOME_AUTH_FAILED);
    assert_int_equal(counted(METRIC_AUTH_CHECKS), 2);
}

/* Guesses on many connections at once: the first few are the most, then they queue up or go away.
 */
static void test_parallel_guesses(void **state)
{
    struct asked a[10];
    struct authentication_check *check[10];
    unsigned computed = 0;
    (void)state;
    assert_int_equal(ask(&a[0], "ali", "barley", "2001:db8::1"), OUTCOME_AUTH_FAILED);
    for (unsigned i = 0; i < 10; i++) {
        char client[32];
        (void)snprintf(client, sizeof client, "2001:db8::%u", i); /* one /64 */
        computed += start(&a[i], "ali", "rye", client, &check[i]) == OUTCOME_PENDING;
    }
    assert_true(computed >= 1 && computed <= 3); /* within auth.failure.delay.max */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < computed; i++)
        assert_true(a[i].done && a[i].verdict == OUTCOME_AUTH_FAILED);
}

static void test_busy(void **state)
{
    struct asked a[5];
    struct authentication_check *check[5];
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        char client[32];
        (void)snprintf(client, sizeof client, "192.0.2.%u", i);
        assert_int_equal(start(&a[i], "ali", "sesame", client, &check[i]), OUTCOME_PENDING);
    }
    assert_int_equal(start(&a[4], "ali", "sesame", "192.0.2.9", &check[4]), OUTCOME_AUTH_BUSY);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < 4; i++)
        assert_true(a[i].done && a[i].verdict == OUTCOME_OK);
    assert_int_equal(ask(&a[4], "ali", "sesame", "192.0.2.9"), OUTCOME_OK);
}

/* One address has half of the places; an answer that is held back has none. */
static void test_shares(void **state)
{
    struct asked a[5];
    struct authentication_check *check[5];
    struct authentication_options patient = usual;
    (void)state;
    patient.failure_ms = patient.failure_max_ms = 600000;
    authentication_reload(auth, &patient);
    assert_int_equal(start(&a[0], "ali", "rye", "192.0.2.1", &check[0]), OUTCOME_PENDING);
    assert_int_equal(start(&a[1], "ali", "oats", "192.0.2.1", &check[1]), OUTCOME_PENDING);
    assert_int_equal(start(&a[2], "ali", "wheat", "192.0.2.1", &check[2]), OUTCOME_AUTH_BUSY);
    assert_int_equal(start(&a[2], "ali", "wheat", "192.0.2.2", &check[2]), OUTCOME_PENDING);
    assert_int_equal(start(&a[3], "ali", "wheat", "192.0.2.3", &check[3]), OUTCOME_PENDING);
    assert_int_equal(start(&a[4], "ali", "sesame", "192.0.2.4", &check[4]), OUTCOME_AUTH_BUSY);
    while (counted(METRIC_AUTH_FAILURES) < 4)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(ask(&a[4], "ali", "sesame", "192.0.2.4"), OUTCOME_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_false(a[i].done);
        authentication_cancel(check[i]);
    }
}

/* Left before, while and after it is computed: no callback, nothing leaks, the place is free. */
static void test_cancel(void **state)
{
    struct asked a, b;
    struct authentication_check *check;
    struct authentication_options patient = usual; /* nothing comes back within this test */
    (void)state;
    patient.failure_ms = patient.failure_max_ms = 600000;
    authentication_reload(auth, &patient);
    assert_int_equal(start(&a, "ali", "sesame", "192.0.2.1", &check), OUTCOME_PENDING);
    authentication_cancel(check);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_false(a.done);
    /* held back after it was wrong */
    assert_int_equal(start(&a, "ali", "barley", "192.0.2.2", &check), OUTCOME_PENDING);
    while (counted(METRIC_AUTH_FAILURES) == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_false(a.done);
    authentication_cancel(check);
    /* waiting for its turn */
    assert_int_equal(start(&b, "ali", "rye", "192.0.2.2", &check), OUTCOME_PENDING);
    authentication_cancel(check);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_false(a.done || b.done);
    for (unsigned i = 0; i < 4; i++) {
        char client[32];
        (void)snprintf(client, sizeof client, "192.0.3.%u", i);
        assert_int_equal(start(&a, "ali", "oats", client, &check), OUTCOME_PENDING);
        authentication_cancel(check);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- two workers at once ---- */

static void on_thread_done(void *arg, enum outcome verdict)
{
    struct asked *a = arg;
    a->done = true;
    a->verdict = verdict;
}

struct asker {
    pthread_t thread;
    uv_loop_t loop;
    struct netloop net;
    unsigned right;
};

static void *ask_on_own_loop(void *arg)
{
    struct asker *asker = arg;
    struct metrics counts = {0};
    struct addr client;
    for (unsigned i = 0; i < 8; i++) {
        struct credentials c = {"ali", "sesame"};
        struct asked a = {0};
        char text[32];
        struct authentication_check *check;
        (void)snprintf(text, sizeof text, "192.0.2.%u", i);
        (void)addr_parse(&client, span_of(text), 1);
        struct authentication_request r = {users, &c, &client, &counts, on_thread_done, &a};
        enum outcome o = authentication_start(auth, &asker->net, &r, &check);
        while (o == OUTCOME_PENDING && !a.done)
            (void)uv_run(&asker->loop, UV_RUN_ONCE);
        asker->right += o == OUTCOME_OK || a.verdict == OUTCOME_OK;
    }
    deadlines_destroy(asker->net.deadlines);
    (void)uv_run(&asker->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* The loops are made and closed here, where no descriptor of one can be the other's before. */
static void test_threads(void **state)
{
    static struct asker asker[2];
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(uv_loop_init(&asker[i].loop), 0);
        asker[i].net.loop = &asker[i].loop;
        assert_int_equal(deadlines_create(&asker[i].net.deadlines, &asker[i].loop), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&asker[i].thread, NULL, ask_on_own_loop, &asker[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(asker[i].thread, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(asker[i].right, 8);
        assert_int_equal(uv_loop_close(&asker[i].loop), 0);
    }
}

static int make_users(void **state)
{
    static const char *const names[] = {"ali", "baba", "cassim"};
    char salt[CRYPT_GENSALT_OUTPUT_SIZE], line[256];
    struct crypt_data data;
    const char *why;
    (void)state;
    memset(&data, 0, sizeof data);
    assert_non_null(crypt_gensalt_rn("$2b$", 4, NULL, 0, salt, sizeof salt));
    (void)snprintf(hash_of_sesame, sizeof hash_of_sesame, "%s", crypt_r("sesame", salt, &data));
    users = users_create();
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(line, sizeof line, "%s:%s", names[i], hash_of_sesame);
        assert_int_equal(users_add_line(users, span_of(line), &why), 0);
    }
    return 0;
}

static int drop_users(void **state)
{
    (void)state;
    users_destroy(users);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_right_is_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_is_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parallel_guesses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_users, drop_users);
}

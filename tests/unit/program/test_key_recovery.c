/* test_key_recovery.c - a lost device of TLS keys: when it is tried again, and when no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/key_recovery.h"
#include "proxy/net/tls_provider.h"

static uv_loop_t loop;
static struct key_recovery *recovery;
static unsigned tries;
static bool told; /* by the last try */
static void (*lose)(void *arg);
static void *lose_arg;

/* In place of the providers'. */
void tls_provider_watch(void (*on_lost)(void *arg), void *arg)
{
    lose = on_lost;
    lose_arg = arg;
}

static void renew(void *arg, bool tells)
{
    (void)arg;
    tries++;
    told = tells;
}

static void pauses(void *arg, uint64_t *first_ms, uint64_t *max_ms)
{
    (void)arg;
    *first_ms = 1;
    *max_ms = 2;
}

static int setup(void **state)
{
    const struct key_recovery_options o = {renew, pauses, NULL};
    (void)state;
    tries = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    recovery = key_recovery_create(&loop, &o);
    return recovery == NULL;
}

static int teardown(void **state)
{
    (void)state;
    key_recovery_close(recovery);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_null(lose);
    return uv_loop_close(&loop);
}

static void wait_try(unsigned count)
{
    while (tries < count)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(tries, count);
}

/* Nothing is due, and nothing comes. */
static void is_quiet(void)
{
    for (unsigned i = 0; i < 3; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_backend_timeout(&loop), -1);
}

static void test_until_it_is_back(void **state)
{
    (void)state;
    is_quiet();
    lose(lose_arg);
    wait_try(1);
    assert_true(told);
    is_quiet(); /* one try at a time, however long it lasts */
    key_recovery_done(recovery, KEY_AWAY);
    wait_try(2);
    assert_false(told);
    key_recovery_done(recovery, KEY_RENEWED);
    is_quiet();
}

/* The device of another door, say. */
static void test_lost_while_it_is_tried(void **state)
{
    (void)state;
    lose(lose_arg);
    wait_try(1);
    lose(lose_arg);
    is_quiet();
    key_recovery_done(recovery, KEY_RENEWED);
    wait_try(2);
    key_recovery_done(recovery, KEY_RENEWED);
    is_quiet();
}

static void test_given_up_until_a_reload(void **state)
{
    (void)state;
    lose(lose_arg);
    wait_try(1);
    key_recovery_done(recovery, KEY_PIN_REFUSED);
    is_quiet();
    key_recovery_again(recovery, false);
    wait_try(2);
    key_recovery_done(recovery, KEY_PIN_REFUSED);
    key_recovery_again(recovery, true); /* mended by it */
    is_quiet();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_until_it_is_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_while_it_is_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_up_until_a_reload, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

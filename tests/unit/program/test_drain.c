/* test_drain.c - the steps of a drain, in their order, and what may come between. */
#include "proxy/drain.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct drain drain;
static char steps[64];     /* l leave, c close, x cut, t a line told */
static bool leave_at_once; /* else drain_left() is the test's */

static void step(char letter)
{
    size_t n = strlen(steps);
    assert_true(n + 1 < sizeof steps);
    steps[n] = letter;
    steps[n + 1] = '\0';
}

static void on_leave(void *arg)
{
    assert_ptr_equal(arg, &steps);
    step('l');
    if (leave_at_once)
        drain_left(&drain);
}

static void on_close(void *arg)
{
    assert_ptr_equal(arg, &steps);
    step('c');
}

static void on_cut(void *arg)
{
    assert_ptr_equal(arg, &steps);
    step('x');
}

static void on_line(void *arg, const char *line)
{
    assert_ptr_equal(arg, &steps);
    assert_null(strchr(line, '\n'));
    step('t');
}

static int setup(void **state)
{
    const struct drain_options o = {on_leave, on_close, on_cut, on_line, &steps};
    (void)state;
    steps[0] = '\0';
    leave_at_once = true;
    assert_int_equal(uv_loop_init(&loop), 0);
    drain_init(&drain, &loop, &o);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    drain_end(&drain);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* One round; not UV_RUN_ONCE, in which two timers may run. */
static void turn(void)
{
    (void)poll(NULL, 0, 1);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void wait_stage(enum drain_stage stage)
{
    while (drain.stage < stage)
        turn();
    assert_int_equal(drain.stage, stage);
}

static void test_all_steps(void **state)
{
    (void)state;
    uv_update_time(&loop);
    uint64_t began = uv_now(&loop);
    drain_begin(&drain, 60, 40);
    assert_string_equal(steps, ""); /* nothing before it returns */
    wait_stage(DRAIN_NOTICE);
    assert_string_equal(steps, "lt");
    wait_stage(DRAIN_CLOSED);
    assert_true(uv_now(&loop) - began >= 60);
    assert_string_equal(steps, "lttc");
    wait_stage(DRAIN_CUT);
    assert_true(uv_now(&loop) - began >= 60 + 40);
    assert_string_equal(steps, "lttctx");
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* and no more */
    assert_string_equal(steps, "lttctx");
}

static void test_no_notice(void **state)
{
    (void)state;
    drain_begin(&drain, 0, 3600000);
    wait_stage(DRAIN_CLOSED);
    assert_string_equal(steps, "ltc");
}

/* The listeners stay open until the roster is left, but not for ever. */
static void test_leaving_takes_its_time(void **state)
{
    (void)state;
    leave_at_once = false;
    drain_begin(&drain, 0, 3600000);
    while (steps[0] == '\0')
        turn();
    for (int i = 0; i < 5; i++)
        turn();
    assert_string_equal(steps, "l");
    drain_left(&drain);
    assert_string_equal(steps, "ltc");
}

static void test_leaving_never_ends(void **state)
{
    (void)state;
    leave_at_once = false;
    uv_update_time(&loop);
    uint64_t began = uv_now(&loop);
    drain_begin(&drain, 10, 3600000);
    wait_stage(DRAIN_NOTICE);
    assert_true(uv_now(&loop) - began >= DRAIN_LEAVE_MAX_MS);
    wait_stage(DRAIN_CLOSED);
    assert_string_equal(steps, "ltttc");
    drain_left(&drain); /* etcd answers at last */
    assert_string_equal(steps, "ltttc");
    assert_int_equal(drain.stage, DRAIN_CLOSED);
}

static void test_hurry(void **state)
{
    static const enum drain_stage stages[] = {DRAIN_LEAVING, DRAIN_NOTICE, DRAIN_CLOSED};
    (void)state;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (i > 0)
            (void)setup(state);
        leave_at_once = stages[i] != DRAIN_LEAVING;
        drain_begin(&drain, stages[i] == DRAIN_NOTICE ? 3600000 : 0, 3600000);
        wait_stage(stages[i]);
        drain_hurry(&drain, "second signal");
        assert_int_equal(drain.stage, DRAIN_CUT);
        assert_int_equal(steps[strlen(steps) - 1], 'x');
        size_t before = strlen(steps);
        drain_hurry(&drain, "third signal");
        assert_int_equal(strlen(steps), before + 2);
        drain_left(&drain);
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* no timer is left */
        assert_int_equal(strlen(steps), before + 2);
        if (i + 1 < sizeof stages / sizeof *stages)
            assert_int_equal(teardown(state), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_notice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_takes_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_never_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hurry, setup, teardown),
    };
    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}

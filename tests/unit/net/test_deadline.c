/* test_deadline.c - the wheel: never early, put off lazily, cleared from anywhere, quiet when
 * empty. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/net/deadline.h"

struct item {
    struct deadline deadline;
    uint64_t fired_ms; /* 0 not yet */
    struct deadlines *wheel;
    struct item *other; /* cleared when this one fires */
};

static uv_loop_t loop;
static struct deadlines *wheel;

static void on_due(struct deadline *d)
{
    struct item *i = LIST_ITEM(d, struct item, deadline);
    assert_int_equal(i->fired_ms, 0);
    i->fired_ms = uv_now(&loop);
    if (i->other != NULL)
        deadline_clear(i->wheel, &i->other->deadline);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    return deadlines_create(&wheel, &loop);
}

static int teardown(void **state)
{
    (void)state;
    deadlines_destroy(wheel);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void make(struct item *i)
{
    *i = (struct item){.wheel = wheel};
    deadline_init(&i->deadline, on_due);
}

static void test_fires_once_in_order_and_never_early(void **state)
{
    static const uint64_t delays[] = {300, 10, 120, 0, 299, 51};
    struct item items[6];
    (void)state;
    uv_update_time(&loop);
    uint64_t begin = uv_now(&loop);
    for (size_t i = 0; i < 6; i++) {
        make(&items[i]);
        deadline_set(wheel, &items[i].deadline, delays[i]);
    }
    /* The loop ends by itself: nothing is left to wait for. */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < 6; i++) {
        assert_true(items[i].fired_ms >= begin + delays[i]);
        for (size_t k = 0; k < 6; k++)
            assert_true(delays[i] + 50 >= delays[k] || items[i].fired_ms <= items[k].fired_ms);
    }
}

static void test_put_off_and_brought_forward(void **state)
{
    struct item late, soon;
    (void)state;
    uv_update_time(&loop);
    uint64_t begin = uv_now(&loop);
    make(&late);
    make(&soon);
    deadline_set(wheel, &late.deadline, 60);
    deadline_set(wheel, &late.deadline, 400);
    deadline_set(wheel, &soon.deadline, 60000); /* more than a round of the wheel */
    deadline_set(wheel, &soon.deadline, 100);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(late.fired_ms >= begin + 400);
    assert_true(soon.fired_ms >= begin + 100 && soon.fired_ms <= late.fired_ms);
}

static void test_cleared_ones_do_not_fire(void **state)
{
    struct item a, b, c;
    (void)state;
    make(&a);
    make(&b);
    make(&c);
    a.other = &b; /* due in the same tick: cleared by a callback of that very tick */
    deadline_set(wheel, &a.deadline, 100);
    deadline_set(wheel, &b.deadline, 100);
    deadline_set(wheel, &c.deadline, 100);
    deadline_clear(wheel, &c.deadline);
    deadline_clear(wheel, &c.deadline);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(a.fired_ms > 0);
    assert_int_equal(b.fired_ms, 0);
    assert_int_equal(c.fired_ms, 0);
}

static void test_many_beyond_a_round(void **state)
{
    enum { MANY = 2000 };
    static struct item items[MANY];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        make(&items[i]);
        deadline_set(wheel, &items[i].deadline, i * 37 % 20000);
    }
    for (size_t i = 0; i < MANY; i++) {
        if (i % 2 == 0)
            deadline_clear(wheel, &items[i].deadline);
        else
            deadline_set(wheel, &items[i].deadline, i % 200);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(items[i].fired_ms > 0, i % 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fires_once_in_order_and_never_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_put_off_and_brought_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_ones_do_not_fire, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_beyond_a_round, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

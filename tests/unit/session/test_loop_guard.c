/* test_loop_guard.c - a ClientHello that is on its way is known when it comes again, and only then.
 */
#include "proxy/session/loop_guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct loop_guard *guard(void)
{
    struct loop_guard *g = loop_guard_create();
    assert_non_null(g);
    return g;
}

static void the_same_is_known(void **state)
{
    struct loop_guard *g = guard();
    struct loop_pass *one, *other, *third;
    (void)state;
    assert_int_equal(loop_guard_enter(g, SPAN("hello"), &one), OUTCOME_OK);
    assert_non_null(one);
    assert_int_equal(loop_guard_enter(g, SPAN("hello"), &other), OUTCOME_LOOP);
    assert_null(other);
    /* Not what only resembles it. */
    assert_int_equal(loop_guard_enter(g, SPAN("hell"), &other), OUTCOME_OK);
    assert_int_equal(loop_guard_enter(g, SPAN("hello\0"), &third), OUTCOME_OK);
    loop_guard_leave(g, third);
    loop_guard_leave(g, other);
    loop_guard_leave(g, one);
    /* It has arrived: a client may say it again. */
    assert_int_equal(loop_guard_enter(g, SPAN("hello"), &one), OUTCOME_OK);
    loop_guard_leave(g, one);
    loop_guard_leave(g, NULL);
    loop_guard_destroy(g); /* asserts that nobody is left */
    loop_guard_destroy(NULL);
}

static void many_at_once(void **state)
{
    enum { MANY = 5000 }; /* more than it has buckets */
    static struct loop_pass *pass[MANY];
    struct loop_guard *g = guard();
    struct loop_pass *none;
    char text[16];
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            struct span hello = {text, (size_t)snprintf(text, sizeof text, "%d", i)};
            enum outcome got = loop_guard_enter(g, hello, round == 0 ? &pass[i] : &none);
            assert_int_equal(got, round == 0 ? OUTCOME_OK : OUTCOME_LOOP);
        }
    }
    for (int i = 0; i < MANY; i++)
        loop_guard_leave(g, pass[i]);
    loop_guard_destroy(g);
}

struct racer {
    struct loop_guard *g;
    pthread_t thread;
    unsigned won;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < 5000; i++) {
        struct loop_pass *pass;
        if (loop_guard_enter(r->g, SPAN("hello"), &pass) == OUTCOME_OK)
            r->won++;
        loop_guard_leave(r->g, pass);
    }
    return NULL;
}

static void workers_share_it(void **state)
{
    struct racer racer[4];
    unsigned won = 0;
    (void)state;
    racer[0].g = guard();
    for (int i = 0; i < 4; i++) {
        racer[i] = (struct racer){.g = racer[0].g};
        assert_int_equal(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(racer[i].thread, NULL), 0);
        won += racer[i].won;
    }
    assert_true(won > 0);
    loop_guard_destroy(racer[0].g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_known),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(workers_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

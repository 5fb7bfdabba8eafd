/*
 * test_reach.c - when no way out is concluded, what it takes to come back, and that nobody can make
 * us believe it. Tries are written as words: "ca+" answers, "ca-" connects to nothing and so on.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/net/reach.h"

static unsigned changes;

static void on_change(void *arg)
{
    assert_ptr_equal(arg, &changes);
    changes++;
}

static struct reach *create(void)
{
    changes = 0;
    struct reach *r = reach_create(on_change, &changes);
    assert_non_null(r);
    return r;
}

static struct reach_goal goal_of(const char *host)
{
    struct reach_goal g = {.port = 443, .parent = strstr(host, "parent") == host};
    (void)snprintf(g.host, sizeof g.host, "%s", host);
    return g;
}

static enum outcome outcome_of(char letter)
{
    switch (letter) {
    case '+':
        return OUTCOME_OK;
    case 'r':
        return OUTCOME_CONNECT_REFUSED;
    case '-':
        return OUTCOME_CONNECT_TIMEOUT;
    case 'u':
        return OUTCOME_CONNECT_UNREACHABLE;
    case 'f':
        return OUTCOME_CONNECT_FAILED;
    case 'd':
        return OUTCOME_DNS_TIMEOUT;
    case 's':
        return OUTCOME_DNS_FAILED;
    case 'n':
        return OUTCOME_DNS_NOT_FOUND;
    case 'g':
        return OUTCOME_ADDRESS_DENIED;
    case 'm':
        return OUTCOME_NO_MEMORY;
    default:
        assert_int_equal(letter, 'e');
        return OUTCOME_NO_DESCRIPTORS;
    }
}

/* Words of a host and one letter, `step_ms` apart. Returns the time after the last. */
static uint64_t play(struct reach *r, const char *words, uint64_t now_ms, uint64_t step_ms)
{
    char copy[512], *rest = copy, *word;
    (void)snprintf(copy, sizeof copy, "%s", words);
    while ((word = strsep(&rest, " ")) != NULL) {
        size_t last = strlen(word) - 1;
        enum outcome outcome = outcome_of(word[last]);
        word[last] = '\0';
        struct reach_goal g = goal_of(word);
        reach_note(r, now_ms, &g, outcome);
        now_ms += step_ms;
    }
    return now_ms;
}

static const char *name_of(enum reach_state state)
{
    static const char *const names[] = {"open", "doubted", "shut"};
    return names[state];
}

static void test_rows(void **state)
{
    static const struct {
        const char *what, *words;
        uint64_t step_ms;
        const char *expected;
    } rows[] = {
        {"at first", "a+", 1, "open"},
        {"nothing ever worked, two hosts", "a- b- a- b- a-", 3000, "shut"},
        {"all kinds that are ours", "a- bu cf dd es", 3000, "shut"},
        {"one too few", "a- b- a- b-", 9000, "open"},
        {"too soon", "a- b- a- b- a- b- a- b-", 1000, "open"},
        {"one dead host, for ever", "x- x- x- x- x- x- x- x- x- x- x- x-", 9000, "open"},
        {"one success between", "a- b- a+ b- a- b-", 9000, "open"},
        {"refused by somebody out there", "a- b- ar b- a- b-", 9000, "open"},
        {"names that do not exist are no failures", "an bn an bn an bn an", 9000, "open"},
        {"nor do they end a row", "a- n1n b- n2n a- n3n b- a-", 3000, "shut"},
        {"want of memory and descriptors", "am be am be am be am", 9000, "open"},
        {"our own guard", "ag bg ag bg ag bg", 9000, "open"},
        /* what has worked before must have failed too */
        {"one dead host beside a good one", "ca+ x- x- x- x- x- x- x-", 9000, "doubted"},
        {"two dead hosts beside a good one", "ca+ x- y- x- y- x- y-", 9000, "doubted"},
        {"the good one too", "ca+ x- y- x- y- ca- x-", 9000, "shut"},
        {"the only one there ever was", "ca+ ca- ca- ca- ca- ca-", 3000, "shut"},
        {"two good ones, one still unheard", "c1+ c2+ c1- c1- c1- c1- c1-", 9000, "doubted"},
        {"two good ones, both", "c1+ c2+ c1- c2- c1- c2- c1-", 9000, "shut"},
        {"four are remembered", "c1+ c2+ c3+ c4+ c5+ c2- c3- c4- c5- c2-", 9000, "shut"},
        {"a good one that was taken out of DNS", "ca+ x- y- x- y- x- can x-", 9000, "shut"},
        {"and nothing but one dead host then", "ca+ x- x- x- x- x- can x- x-", 9000, "doubted"},
        /* a parent that refuses is no way out; an origin that does is one */
        {"parents", "parent1r parent2r parent1r parent2r parent1r", 9000, "shut"},
        /* and back */
        {"the first answer ends it", "a- b- a- b- a- z+", 9000, "open"},
        {"a refusal too", "a- b- a- b- a- zr", 9000, "open"},
        {"shut again only from the beginning", "a- b- a- b- a- z+ a- b- a- z-", 9000, "open"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reach *r = create();
        (void)play(r, rows[i].words, 1000, rows[i].step_ms);
        if (strcmp(name_of(reach_state(r)), rows[i].expected) != 0)
            print_error("%s: %s\n", rows[i].what, rows[i].words);
        assert_string_equal(name_of(reach_state(r)), rows[i].expected);
        reach_destroy(r);
    }
}

static void test_tells_of_changes(void **state)
{
    struct reach *r = create();
    struct reach_goal g;
    enum outcome outcome;
    (void)state;
    uint64_t now = play(r, "ca+ ca- ca- ca- ca-", 0, 3000);
    assert_int_equal(changes, 0);
    now = play(r, "cau", now, 1);
    assert_int_equal(changes, 1);
    reach_last_failure(r, &g, &outcome);
    assert_string_equal(g.host, "ca");
    assert_int_equal(outcome, OUTCOME_CONNECT_UNREACHABLE);
    now = play(r, "x- y- z- x-", now, 3000); /* more of the same is no news */
    assert_int_equal(changes, 1);
    (void)play(r, "y+", now, 1);
    assert_int_equal(changes, 2);
    reach_destroy(r);
}

/* The clock counts from anywhere; only differences have a meaning. */
static void test_any_time(void **state)
{
    struct reach *r = create();
    (void)state;
    (void)play(r, "a- b- a- b- a-", 0, 3000);
    assert_int_equal(reach_state(r), REACH_SHUT);
    reach_destroy(r);
    r = create();
    (void)play(r, "a- b- a- b- a-", UINT64_MAX - 100000, 3000);
    assert_int_equal(reach_state(r), REACH_SHUT);
    reach_destroy(r);
}

/* ---- checks ---- */

static void wants_check(struct reach *r, uint64_t now_ms, const char *host)
{
    struct reach_goal g;
    assert_true(reach_next_check(r, now_ms, &g) == 0);
    assert_string_equal(g.host, host);
}

static void wants_wait(struct reach *r, uint64_t now_ms, uint64_t wait_ms)
{
    struct reach_goal g;
    assert_true(reach_next_check(r, now_ms, &g) == wait_ms);
}

static void test_no_checks_while_open(void **state)
{
    struct reach *r = create();
    (void)state;
    wants_wait(r, 5, UINT64_MAX);
    (void)play(r, "ca+ x- x-", 0, 9000);
    wants_wait(r, 30000, UINT64_MAX);
    reach_destroy(r);
}

/* An attacker with a dead host: the good ones are asked, and the first answer ends the doubt. */
static void test_doubt_asks_the_good_ones(void **state)
{
    struct reach *r = create();
    (void)state;
    (void)play(r, "c1+ c2+ x- x- x- x- x-", 0, 3000);
    assert_int_equal(reach_state(r), REACH_DOUBTED);
    wants_check(r, 20000, "c2");
    wants_wait(r, 20400, REACH_DOUBT_MS - 400);
    (void)play(r, "c2-", 20500, 1);
    assert_int_equal(reach_state(r), REACH_DOUBTED);
    wants_check(r, 21000, "c1");
    (void)play(r, "c1+", 21100, 1);
    assert_int_equal(reach_state(r), REACH_OPEN);
    wants_wait(r, 21200, UINT64_MAX);
    reach_destroy(r);
}

static void test_doubt_becomes_certain(void **state)
{
    struct reach *r = create();
    (void)state;
    (void)play(r, "c1+ c2+ x- x- x- x- x-", 0, 3000);
    wants_check(r, 20000, "c2");
    (void)play(r, "c2d", 20500, 1);
    wants_check(r, 21000, "c1");
    (void)play(r, "c1d", 21100, 1);
    assert_int_equal(reach_state(r), REACH_SHUT);
    reach_destroy(r);
}

/* A check without a verdict (no memory) is made again. */
static void test_check_without_a_verdict(void **state)
{
    struct reach *r = create();
    (void)state;
    (void)play(r, "c1+ x- x- x- x- x-", 0, 3000);
    wants_check(r, 20000, "c1");
    (void)play(r, "c1m", 20001, 1);
    wants_check(r, 21000, "c1");
    reach_destroy(r);
}

/* Shut: what worked and what failed, in turn, until something answers. */
static void test_shut_asks_all_in_turn(void **state)
{
    static const char *const turn[] = {"c1", "y", "x", "c1", "y", "x"};
    struct reach *r = create();
    (void)state;
    (void)play(r, "c1+ x- y- c1- x- y-", 0, 3000);
    assert_int_equal(reach_state(r), REACH_SHUT);
    uint64_t now = 20000;
    for (size_t i = 0; i < sizeof turn / sizeof *turn; i++, now += REACH_CHECK_MS) {
        struct reach_goal g;
        wants_check(r, now, turn[i]);
        wants_wait(r, now + 1, REACH_CHECK_MS - 1);
        g = goal_of(turn[i]);
        reach_note(r, now + 2, &g, OUTCOME_CONNECT_TIMEOUT);
    }
    (void)play(r, "y+", now, 1);
    assert_int_equal(reach_state(r), REACH_OPEN);
    reach_destroy(r);
}

/* A reload forbids all that is remembered: then nothing could ever end it, and we are ready. */
static void test_forgotten(void **state)
{
    struct reach *r = create();
    struct reach_goal a = goal_of("a"), b = goal_of("b");
    (void)state;
    (void)play(r, "a- b- a- b- a-", 0, 3000);
    reach_forget(r, &a);
    wants_check(r, 20000, "b");
    reach_forget(r, &b);
    assert_int_equal(changes, 1);
    wants_wait(r, 30000, UINT64_MAX);
    assert_int_equal(reach_state(r), REACH_OPEN);
    assert_int_equal(changes, 2);
    reach_destroy(r);
}

/* Dead hosts without number do not push out the ones that are remembered of it. */
static void test_flood_of_dead_hosts(void **state)
{
    struct reach *r = create();
    (void)state;
    uint64_t now = play(r, "a- b- c- d- a-", 0, 3000);
    for (unsigned i = 0; i < 1000; i++) {
        char word[16];
        (void)snprintf(word, sizeof word, "n%u-", i);
        now = play(r, word, now, 1);
    }
    for (size_t i = 0; i < REACH_GOALS; i++, now += REACH_CHECK_MS) {
        struct reach_goal g;
        assert_true(reach_next_check(r, now, &g) == 0);
        assert_int_equal(strlen(g.host), 1);
    }
    reach_destroy(r);
}

static void *hammer(void *arg)
{
    struct reach *r = arg;
    for (unsigned i = 0; i < 20000; i++) {
        struct reach_goal g = goal_of(i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
        reach_note(r, i, &g, i % 7 == 0 ? OUTCOME_CONNECT_TIMEOUT : OUTCOME_OK);
        (void)reach_state(r);
    }
    return NULL;
}

static void ignore(void *arg)
{
    (void)arg;
}

/* For the thread sanitizer. */
static void test_many_threads(void **state)
{
    struct reach *r = reach_create(ignore, NULL);
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, r), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    (void)play(r, "a+", 100000, 1);
    assert_int_equal(reach_state(r), REACH_OPEN);
    reach_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_tells_of_changes),
        cmocka_unit_test(test_any_time),
        cmocka_unit_test(test_no_checks_while_open),
        cmocka_unit_test(test_doubt_asks_the_good_ones),
        cmocka_unit_test(test_doubt_becomes_certain),
        cmocka_unit_test(test_check_without_a_verdict),
        cmocka_unit_test(test_shut_asks_all_in_turn),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_flood_of_dead_hosts),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}

/* test_health.c - answers of a peer, one letter each, and the states that they lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "failover/health.h"

static enum health_sign sign_of(char letter)
{
    switch (letter) {
    case '+':
        return HEALTH_READY;
    case '-':
        return HEALTH_NOT_READY;
    case 'd':
        return HEALTH_LEAVING;
    default:
        assert_int_equal(letter, '.');
        return HEALTH_SILENT;
    }
}

static char letter_of(enum member_state state)
{
    static const char letters[] = {
        [MEMBER_UP] = 'U', [MEMBER_UNKNOWN] = '?', [MEMBER_DRAINING] = 'D', [MEMBER_DOWN] = 'X'};
    return letters[state];
}

static void test_rows(void **state)
{
    static const struct {
        unsigned rise, fall;
        const char *signs;    /* + ready, - not ready, d leaving, . silent */
        const char *expected; /* U up, ? unknown, D draining, X down: after each */
    } rows[] = {
        /* one never met is up with its first good answer, down after `fall` bad ones */
        {2, 3, "+", "U"},
        {2, 3, "...", "??X"},
        {2, 3, ".-.", "??X"},
        {2, 3, "..+", "??U"},
        {2, 3, "d", "D"},
        /* up: one lost answer, or two, or many with good ones between, are nothing */
        {2, 3, "+..+..+", "UUUUUUU"},
        {2, 3, "+...", "UUUX"},
        {2, 3, "+---", "UUUX"},
        {2, 3, "+.-.", "UUUX"},
        {1, 1, "+.+.", "UXUX"},
        /* down: `rise` good ones in a row, no less */
        {2, 3, "...+.+.+", "??XXXXXX"},
        {2, 3, "...++", "??XXU"},
        {3, 1, ".++.+++", "XXXXXXU"},
        {1, 3, "...+", "??XU"},
        /* up again, it has its whole patience again */
        {2, 3, "...++..+", "??XXUUUU"},
        /* leaving is believed at once, from every state */
        {2, 3, "+d", "UD"},
        {2, 3, "...d", "??XD"},
        {2, 3, "ddd", "DDD"},
        /* then it goes, and comes again */
        {2, 3, "+d...", "UDDDX"},
        {2, 3, "+d...++", "UDDDXXU"},
        {2, 3, "+d++", "UDDU"},
        {2, 3, "+d+d+", "UDDDD"},
        /* and a good answer between does not count for later ones */
        {2, 3, "+d+..+", "UDDDDD"},
        {2, 3, "+..d..", "UUUDDD"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct health h;
        struct health_rule rule = {rows[i].rise, rows[i].fall};
        char got[32] = "";
        health_init(&h);
        for (size_t at = 0; rows[i].signs[at] != '\0'; at++) {
            enum member_state before = h.state;
            bool changed = health_note(&h, &rule, sign_of(rows[i].signs[at]));
            assert_int_equal(changed, h.state != before);
            got[at] = letter_of(h.state);
        }
        if (strcmp(got, rows[i].expected) != 0)
            print_error("rise %u fall %u %s:\n", rule.rise, rule.fall, rows[i].signs);
        assert_string_equal(got, rows[i].expected);
    }
}

/* A reload may shorten the patience while the counters stand. */
static void test_rule_may_change(void **state)
{
    struct health h;
    struct health_rule patient = {10, 10}, strict = {2, 2};
    (void)state;
    health_init(&h);
    for (int i = 0; i < 5; i++)
        assert_false(health_note(&h, &patient, HEALTH_SILENT));
    assert_true(health_note(&h, &strict, HEALTH_SILENT));
    assert_int_equal(h.state, MEMBER_DOWN);
    for (int i = 0; i < 5; i++)
        assert_false(health_note(&h, &patient, HEALTH_READY));
    assert_true(health_note(&h, &strict, HEALTH_READY));
    assert_int_equal(h.state, MEMBER_UP);
}

static void test_counters_do_not_wrap(void **state)
{
    struct health h = {.state = MEMBER_DOWN, .bad = UINT32_MAX};
    struct health_rule rule = {2, 3};
    (void)state;
    assert_false(health_note(&h, &rule, HEALTH_SILENT));
    assert_int_equal(h.bad, UINT32_MAX);
}

static void test_answers(void **state)
{
    static const char nul_inside[] = "not ready: \0draining";
    static const struct {
        unsigned status;
        struct span body;
        enum health_sign expected;
    } rows[] = {
        {200, {"ready\n", 6}, HEALTH_READY},
        {200, {"", 0}, HEALTH_READY},
        {200, {NULL, 0}, HEALTH_READY},
        {200, {"draining", 8}, HEALTH_READY}, /* the status counts */
        {503, {"not ready: shutting down\n", 25}, HEALTH_LEAVING},
        {503, {"{\"state\": \"draining\"}", 21}, HEALTH_LEAVING},
        {503, {nul_inside, sizeof nul_inside - 1}, HEALTH_LEAVING},
        {503, {"not ready: no way out\n", 22}, HEALTH_NOT_READY},
        {503, {"shutting dow", 12}, HEALTH_NOT_READY},
        {503, {NULL, 0}, HEALTH_NOT_READY},
        {404, {"shutting down", 13}, HEALTH_NOT_READY}, /* somebody else's word */
        {204, {"", 0}, HEALTH_NOT_READY},
        {302, {"", 0}, HEALTH_NOT_READY},
        {403, {"", 0}, HEALTH_NOT_READY},
        {0, {"", 0}, HEALTH_NOT_READY},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(health_read(rows[i].status, rows[i].body), rows[i].expected);
}

static void test_pause(void **state)
{
    static const uint64_t intervals[] = {1, 4, 5, 10, 100, 5000, 3600000};
    (void)state;
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        uint64_t interval = intervals[i], least = UINT64_MAX, most = 0;
        for (uint32_t n = 0; n < 5000; n++) {
            uint64_t pause = health_pause_ms(interval, n * UINT32_C(2654435761));
            least = pause < least ? pause : least;
            most = pause > most ? pause : most;
        }
        assert_true(least > 0);
        assert_true(least >= interval - interval / 5);
        assert_true(most <= interval);
        if (interval >= 100) /* spread, not only allowed to be */
            assert_true(most - least >= interval / 5 - interval / 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rule_may_change),
        cmocka_unit_test(test_counters_do_not_wrap),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_pause),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}

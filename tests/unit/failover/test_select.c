#include "failover/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { INTERVAL = 60000, RETRY = 1000, RETURN_AFTER = 120000, SEED = 7 };

static const struct select_options plant7 = {"plant7", INTERVAL, RETRY, RETURN_AFTER};

static struct member made(const char *host, const char *zone, unsigned priority)
{
    struct member m = {.port = 48999, .state = MEMBER_UP, .weight = 100, .priority = priority};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    (void)snprintf(m.zone, sizeof m.zone, "%s", zone);
    return m;
}

/* A selector over `count` members, the roster its own. */
static struct selector *started(const struct select_options *o, const struct member *members,
                                size_t count)
{
    struct selector *s = selector_create(o, SEED);
    struct roster *r = roster_create();
    assert_non_null(s);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(roster_add(r, &members[i]), 0);
    assert_int_equal(selector_use(s, r, 0), 0);
    roster_unref(r);
    return s;
}

/* "a b c": hosts in order. */
static const char *order_of(struct selector *s)
{
    static char text[4096];
    size_t order[ROSTER_MEMBERS_MAX], used = 0;
    size_t n = selector_order(s, order);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " " : "",
                                 roster_member(selector_roster(s), order[i])->host);
    return text;
}

static void break_it(struct selector *s, const struct member *m, uint64_t now)
{
    for (int i = 0; i < SELECT_FALL; i++)
        selector_tell(s, m, SELECT_DEAD, 0, now);
}

static void nothing_before_a_roster(void **state)
{
    (void)state;
    uint64_t wait = 0;
    size_t order[ROSTER_MEMBERS_MAX];
    struct member m = made("a", "", 0);
    struct selector *s = selector_create(&plant7, SEED);
    assert_null(selector_roster(s));
    assert_int_equal(selector_order(s, order), 0);
    assert_int_equal(selector_usable(s), 0);
    assert_null(selector_due(s, 5, &wait));
    assert_int_equal(wait, INTERVAL);
    selector_tell(s, &m, SELECT_DEAD, 0, 5);
    selector_suspect(s, &m, 5);
    selector_destroy(s);
    selector_destroy(NULL);
}

/* What is told of members, and what was measured: verdict and connect time of each. */
static void orders(void **state)
{
    (void)state;
    enum { NOT = -1 };
    static const struct {
        const char *zone[3];
        unsigned priority[3];
        enum member_state told[3];
        int measured[3]; /* enum select_verdict, twice; NOT: not at all */
        unsigned us[3];
        const char *order;
    } cases[] = {
        /* zone, then priority */
        {{"plant8", "plant7", "plant7"}, {0, 2, 1}, {0}, {NOT, NOT, NOT}, {0}, "c b a"},
        /* state before zone */
        {{"plant8", "plant7", ""},
         {0, 0, 0},
         {MEMBER_UP, MEMBER_DOWN, MEMBER_UP},
         {NOT, NOT, NOT},
         {0},
         "a c b"},
        {{"plant7", "plant8", "plant8"},
         {0, 1, 2},
         {MEMBER_DRAINING, MEMBER_UNKNOWN, MEMBER_UP},
         {NOT, NOT, NOT},
         {0},
         "b c a"},
        /* our own measurement outranks what others say, but not that it drains */
        {{"plant7", "plant8", "plant8"},
         {0, 1, 2},
         {MEMBER_DOWN, MEMBER_UP, MEMBER_UP},
         {SELECT_GOOD, NOT, NOT},
         {0},
         "a b c"},
        {{"plant7", "plant8", "plant8"},
         {0, 1, 2},
         {MEMBER_DRAINING, MEMBER_UP, MEMBER_UP},
         {SELECT_GOOD, NOT, NOT},
         {0},
         "b c a"},
        {{"plant7", "plant8", "plant8"},
         {0, 1, 2},
         {MEMBER_UP, MEMBER_UP, MEMBER_UP},
         {SELECT_DEAD, SELECT_BUSY, SELECT_GOOD},
         {0},
         "c b a"},
        /* connect time only among equals, and only where it differs */
        {{"plant7", "plant7", "plant8"},
         {0, 0, 0},
         {MEMBER_UP, MEMBER_UP, MEMBER_UP},
         {SELECT_GOOD, SELECT_GOOD, SELECT_GOOD},
         {60000, 20000, 100},
         "b a c"},
        {{"plant7", "plant7", "plant7"},
         {2, 1, 0},
         {MEMBER_UP, MEMBER_UP, MEMBER_UP},
         {SELECT_GOOD, SELECT_GOOD, SELECT_GOOD},
         {100, 20000, 90000},
         "c b a"},
    };
    static const char *const hosts[] = {"a", "b", "c"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m[3];
        for (size_t k = 0; k < 3; k++) {
            m[k] = made(hosts[k], cases[i].zone[k], cases[i].priority[k]);
            m[k].state = cases[i].told[k];
        }
        struct selector *s = started(&plant7, m, 3);
        for (size_t k = 0; k < 3; k++) {
            for (int twice = 0; cases[i].measured[k] != NOT && twice < 2; twice++)
                selector_tell(s, &m[k], (enum select_verdict)cases[i].measured[k], cases[i].us[k],
                              10);
        }
        if (strcmp(order_of(s), cases[i].order) != 0)
            fail_msg("case %zu: %s instead of %s", i, order_of(s), cases[i].order);
        selector_destroy(s);
    }
}

/* Of many agents each equal gets as many as its weight says; one agent stays with its choice. */
static void weights(void **state)
{
    (void)state;
    struct member m[3] = {made("a", "", 0), made("b", "", 0), made("c", "", 0)};
    m[0].weight = 10;
    m[1].weight = 20;
    m[2].weight = 70;
    unsigned first[3] = {0};
    for (uint64_t agent = 0; agent < 2000; agent++) {
        struct selector *s = selector_create(&plant7, agent);
        struct roster *r = roster_create();
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(roster_add(r, &m[i]), 0);
        assert_int_equal(selector_use(s, r, 0), 0);
        size_t order[3], again[3];
        assert_int_equal(selector_order(s, order), 3);
        assert_int_equal(selector_use(s, r, 9), 0);
        assert_int_equal(selector_order(s, again), 3);
        assert_memory_equal(order, again, sizeof order);
        first[order[0]]++;
        roster_unref(r);
        selector_destroy(s);
    }
    assert_in_range(first[0], 140, 260);
    assert_in_range(first[1], 320, 480);
    assert_in_range(first[2], 1300, 1500);
}

/* One failure may be chance; the second makes it broken; then it must be good for a while. */
static void broken_and_back(void **state)
{
    (void)state;
    struct member m[2] = {made("near", "plant7", 0), made("far", "plant8", 0)};
    struct selector *s = started(&plant7, m, 2);
    assert_string_equal(order_of(s), "near far");
    selector_tell(s, &m[0], SELECT_DEAD, 0, 1000);
    assert_string_equal(order_of(s), "near far");
    assert_int_equal(selector_usable(s), 2);
    selector_tell(s, &m[0], SELECT_DEAD, 0, 2000);
    assert_string_equal(order_of(s), "far near");
    assert_int_equal(selector_usable(s), 1);

    selector_tell(s, &m[0], SELECT_GOOD, 300, 10000);
    assert_string_equal(order_of(s), "far near");
    assert_int_equal(selector_usable(s), 2);
    selector_tell(s, &m[0], SELECT_GOOD, 300, 10000 + RETURN_AFTER - 1);
    assert_string_equal(order_of(s), "far near");
    /* once more wrong: the time begins anew */
    selector_tell(s, &m[0], SELECT_DEAD, 0, 10000 + RETURN_AFTER);
    selector_tell(s, &m[0], SELECT_GOOD, 300, 200000);
    selector_tell(s, &m[0], SELECT_GOOD, 300, 200000 + RETURN_AFTER - 1);
    assert_string_equal(order_of(s), "far near");
    selector_tell(s, &m[0], SELECT_GOOD, 300, 200000 + RETURN_AFTER);
    assert_string_equal(order_of(s), "near far");
    selector_destroy(s);
}

/* One that has come back is still better than a broken one. */
static void settling_before_broken(void **state)
{
    (void)state;
    struct member m[2] = {made("near", "plant7", 0), made("far", "plant8", 0)};
    struct selector *s = started(&plant7, m, 2);
    break_it(s, &m[0], 1000);
    break_it(s, &m[1], 1000);
    assert_int_equal(selector_usable(s), 0);
    assert_string_equal(order_of(s), "near far");
    selector_tell(s, &m[1], SELECT_GOOD, 300, 2000);
    assert_string_equal(order_of(s), "far near");
    assert_int_equal(selector_usable(s), 1);
    selector_tell(s, &m[0], SELECT_BUSY, 300, 3000);
    assert_string_equal(order_of(s), "far near");
    assert_int_equal(selector_usable(s), 1);
    selector_destroy(s);
}

/* Connect times that waver about a threshold do not make two sensors take turns. */
static void times_do_not_flap(void **state)
{
    (void)state;
    struct member m[2] = {made("a", "", 0), made("b", "", 0)};
    struct selector *s = started(&plant7, m, 2);
    char first[8];
    (void)snprintf(first, sizeof first, "%.1s", order_of(s));
    const struct member *leader = first[0] == 'a' ? &m[0] : &m[1];
    const struct member *other = first[0] == 'a' ? &m[1] : &m[0];
    selector_tell(s, other, SELECT_GOOD, 20000, 0);
    for (int i = 0; i < 50; i++) { /* 45 ms would be slow for one who is not first */
        selector_tell(s, leader, SELECT_GOOD, i % 2 == 0 ? 44000 : 52000, 0);
        assert_int_equal(order_of(s)[0], first[0]);
    }
    for (int i = 0; i < 20; i++)
        selector_tell(s, leader, SELECT_GOOD, 90000, 0);
    assert_int_not_equal(order_of(s)[0], first[0]);
    for (int i = 0; i < 50; i++) {
        selector_tell(s, leader, SELECT_GOOD, i % 2 == 0 ? 46000 : 60000, 0);
        assert_int_not_equal(order_of(s)[0], first[0]);
    }
    for (int i = 0; i < 20; i++)
        selector_tell(s, leader, SELECT_GOOD, 20000, 0);
    assert_int_equal(order_of(s)[0], first[0]);
    selector_destroy(s);
}

/* A new roster keeps what was measured of those that stay. */
static void roster_changes(void **state)
{
    (void)state;
    struct member m[3] = {made("a", "plant7", 0), made("b", "plant7", 1), made("c", "plant7", 2)};
    struct selector *s = started(&plant7, m, 2);
    break_it(s, &m[0], 1000);
    assert_string_equal(order_of(s), "b a");
    struct roster *r = roster_create();
    assert_int_equal(roster_add(r, &m[2]), 0);
    assert_int_equal(roster_add(r, &m[0]), 0);
    assert_int_equal(selector_use(s, r, 2000), 0);
    roster_unref(r);
    assert_string_equal(order_of(s), "c a");
    selector_tell(s, &m[1], SELECT_GOOD, 1, 2000); /* has left */
    selector_suspect(s, &m[1], 2000);
    assert_string_equal(order_of(s), "c a");
    selector_destroy(s);
}

/* All members that are due at `now`; how many. */
static size_t take_due(struct selector *s, uint64_t now, uint64_t *wait)
{
    size_t n = 0;
    while (selector_due(s, now, wait) != NULL)
        n++;
    return n;
}

static void measured_when(void **state)
{
    (void)state;
    struct member m = made("a", "plant7", 0);
    struct selector *s = started(&plant7, &m, 1);
    uint64_t wait, now = 5000;
    assert_int_equal(take_due(s, now, &wait), 1);
    assert_int_equal(take_due(s, now, &wait), 0); /* it is under way */
    assert_int_equal(wait, INTERVAL);
    for (int i = 0; i < 100; i++) {
        uint64_t told = now;
        selector_tell(s, &m, SELECT_GOOD, 100, now);
        for (now++; take_due(s, now, &wait) == 0; now += wait)
            assert_in_range(wait, 1, INTERVAL);
        assert_in_range(now - told, INTERVAL * 3 / 4, INTERVAL * 5 / 4);
    }
    /* back-off: 1 s, 2 s, 4 s ... up to the interval */
    for (uint64_t step = RETRY;; step *= 2) {
        selector_tell(s, &m, SELECT_DEAD, 0, now);
        uint64_t most = step < INTERVAL ? step : INTERVAL;
        assert_int_equal(take_due(s, now, &wait), 0);
        assert_in_range(wait, most * 3 / 4, most * 5 / 4 < INTERVAL ? most * 5 / 4 : INTERVAL);
        if (step > 100 * (uint64_t)INTERVAL)
            break;
        now += INTERVAL * 2;
        assert_int_equal(take_due(s, now, &wait), 1);
    }
    /* while it settles it is looked at more often */
    now += INTERVAL * 2;
    assert_int_equal(take_due(s, now, &wait), 1);
    selector_tell(s, &m, SELECT_GOOD, 100, now);
    assert_int_equal(take_due(s, now, &wait), 0);
    assert_int_equal(wait, RETURN_AFTER / SELECT_SETTLING);
    selector_destroy(s);
}

/* Who had trouble with a sensor makes it be measured soon, but not over and over. */
static void suspicion(void **state)
{
    (void)state;
    struct member m = made("a", "plant7", 0);
    struct selector *s = started(&plant7, &m, 1);
    uint64_t wait, now = 5000;
    assert_int_equal(take_due(s, now, &wait), 1);
    selector_suspect(s, &m, now); /* changes nothing: it is under way */
    assert_int_equal(take_due(s, now, &wait), 0);
    selector_tell(s, &m, SELECT_GOOD, 100, now);
    selector_suspect(s, &m, now + 10);
    assert_int_equal(take_due(s, now + 10, &wait), 0);
    assert_in_range(wait, 1, 1000);
    selector_suspect(s, &m, now + 5000);
    assert_int_equal(take_due(s, now + 5000, &wait), 1);
    /* a broken one has its back-off */
    break_it(s, &m, now + 6000);
    selector_suspect(s, &m, now + 6000);
    assert_int_equal(take_due(s, now + 6000, &wait), 0);
    assert_in_range(wait, RETRY * 3 / 2, RETRY * 5 / 2);
    selector_destroy(s);
}

/* Of a great roster only a few are measured: the best that we could wish for, and those in use. */
static void few_are_measured(void **state)
{
    (void)state;
    struct member m[40];
    struct selector *s = selector_create(&plant7, SEED);
    struct roster *r = roster_create();
    for (size_t i = 0; i < 40; i++) {
        char host[16];
        (void)snprintf(host, sizeof host, "px%02zu", i);
        m[i] = made(host, "plant7", (unsigned)i);
        assert_int_equal(roster_add(r, &m[i]), 0);
    }
    assert_int_equal(selector_use(s, r, 0), 0);
    roster_unref(r);
    uint64_t wait;
    size_t order[ROSTER_MEMBERS_MAX];
    (void)selector_order(s, order);
    assert_int_equal(take_due(s, 0, &wait), SELECT_WATCHED);
    for (size_t i = 0; i < SELECT_WATCHED; i++)
        break_it(s, &m[i], 10);
    (void)selector_order(s, order);
    assert_int_equal(order[0], SELECT_WATCHED);
    assert_int_equal(take_due(s, 10, &wait), 2); /* the new first and second */
    selector_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_before_a_roster),
        cmocka_unit_test(orders),
        cmocka_unit_test(weights),
        cmocka_unit_test(broken_and_back),
        cmocka_unit_test(settling_before_broken),
        cmocka_unit_test(times_do_not_flap),
        cmocka_unit_test(roster_changes),
        cmocka_unit_test(measured_when),
        cmocka_unit_test(suspicion),
        cmocka_unit_test(few_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

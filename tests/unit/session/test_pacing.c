/*
 * test_pacing.c - places at an origin: who gets the next, who leaves when, and nothing stays
 * behind.
 */
#include "proxy/session/pacing.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PORT = 443, MANY = 100 };

static unsigned wakes;

static void on_wake(void *arg)
{
    (void)arg;
    wakes++;
}

static struct pacing_worker worker;
static struct pacing *pacing;

static int setup(void **state)
{
    (void)state;
    wakes = 0;
    worker = (struct pacing_worker){.wake = on_wake};
    list_init(&worker.granted);
    pacing = pacing_create();
    return pacing != NULL ? 0 : -1;
}

/* pacing_destroy() asserts that no origin is left. */
static int teardown(void **state)
{
    (void)state;
    assert_int_equal(pacing_waiting(pacing), 0);
    assert_true(list_empty(&worker.granted));
    pacing_destroy(pacing);
    return 0;
}

static enum outcome enter_from(struct pacing_ticket *t, const char *host, const char *client)
{
    struct addr a;
    assert_int_equal(addr_parse(&a, span_of(client), 1234), 0);
    return pacing_enter(pacing, t, &worker, host, PORT, &a);
}

static enum outcome enter(struct pacing_ticket *t, const char *client)
{
    return enter_from(t, "ca.test", client);
}

/* The one that `place`'s end lets in. */
static struct pacing_ticket *next_after(struct pacing_ticket *place)
{
    pacing_leave(pacing, place);
    return pacing_collect(pacing, &worker);
}

static void test_limit_and_queue(void **state)
{
    struct pacing_ticket a = {0}, b = {0}, c = {0}, d = {0}, other = {0};
    (void)state;
    pacing_set_limits(pacing, 1, 2);
    assert_int_equal(enter(&a, "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(enter_from(&other, "ocsp.test", "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(enter(&b, "192.0.2.1"), OUTCOME_PENDING);
    assert_int_equal(enter(&c, "192.0.2.2"), OUTCOME_PENDING);
    assert_int_equal(enter(&d, "192.0.2.9"), OUTCOME_QUEUE_FULL);
    assert_int_equal(pacing_waiting(pacing), 2);
    assert_null(pacing_collect(pacing, &worker));
    assert_ptr_equal(next_after(&a), &b); /* in order of arrival */
    assert_int_equal(wakes, 1);
    assert_ptr_equal(next_after(&b), &c);
    pacing_leave(pacing, &c);
    pacing_leave(pacing, &other);
    pacing_leave(pacing, &d); /* holds nothing */
    pacing_leave(pacing, &c);
}

/* Half of the queue is one client's at most, for whatever origins, and the rest is for others. */
static void test_shares(void **state)
{
    struct pacing_ticket holder[2], greedy[4], modest[2];
    (void)state;
    memset(holder, 0, sizeof holder);
    memset(greedy, 0, sizeof greedy);
    memset(modest, 0, sizeof modest);
    pacing_set_limits(pacing, 1, 5);
    assert_int_equal(enter(&holder[0], "192.0.2.200"), OUTCOME_OK);
    assert_int_equal(enter_from(&holder[1], "ocsp.test", "192.0.2.200"), OUTCOME_OK);
    assert_int_equal(enter(&greedy[0], "192.0.2.1"), OUTCOME_PENDING);
    assert_int_equal(enter(&greedy[1], "192.0.2.1"), OUTCOME_PENDING);
    assert_int_equal(enter_from(&greedy[2], "ocsp.test", "192.0.2.1"), OUTCOME_PENDING);
    assert_int_equal(enter(&greedy[3], "192.0.2.1"), OUTCOME_QUEUE_SHARE);
    assert_int_equal(enter_from(&greedy[3], "ocsp.test", "192.0.2.1"), OUTCOME_QUEUE_SHARE);
    assert_int_equal(enter(&modest[0], "192.0.2.2"), OUTCOME_PENDING);
    assert_int_equal(enter_from(&modest[1], "ocsp.test", "192.0.2.3"), OUTCOME_PENDING);
    assert_ptr_equal(next_after(&holder[0]), &greedy[0]);
    assert_int_equal(enter(&greedy[3], "192.0.2.1"), OUTCOME_PENDING); /* one of its own has gone */
    assert_ptr_equal(next_after(&greedy[0]), &modest[0]);
    assert_ptr_equal(next_after(&modest[0]), &greedy[1]);
    assert_ptr_equal(next_after(&greedy[1]), &greedy[3]);
    pacing_leave(pacing, &greedy[3]);
    assert_ptr_equal(next_after(&holder[1]), &greedy[2]);
    assert_ptr_equal(next_after(&greedy[2]), &modest[1]);
    pacing_leave(pacing, &modest[1]);
}

static void test_no_queue(void **state)
{
    struct pacing_ticket a = {0}, b = {0};
    (void)state;
    pacing_set_limits(pacing, 1, 0);
    assert_int_equal(enter(&a, "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(enter(&b, "192.0.2.1"), OUTCOME_UPSTREAM_LIMIT);
    pacing_leave(pacing, &a);
    assert_int_equal(enter(&b, "192.0.2.1"), OUTCOME_OK);
    pacing_leave(pacing, &b);
}

/* A hundred of one client and one of each of ten others: nobody waits for more than one round. */
static void test_round_robin(void **state)
{
    struct pacing_ticket holder = {0}, greedy[MANY], modest[10];
    char client[32];
    unsigned served = 0, rounds = 0;
    (void)state;
    memset(greedy, 0, sizeof greedy);
    memset(modest, 0, sizeof modest);
    pacing_set_limits(pacing, 1, 1000);
    assert_int_equal(enter(&holder, "192.0.2.200"), OUTCOME_OK);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(enter(&greedy[i], "192.0.2.1"), OUTCOME_PENDING);
    for (unsigned i = 0; i < 10; i++) {
        /* one /64 is one client, the octets behind it do not make another */
        (void)snprintf(client, sizeof client, "2001:db8:0:%u::%u", i, i);
        assert_int_equal(enter(&modest[i], client), OUTCOME_PENDING);
    }
    struct pacing_ticket *at = &holder;
    while (served < 10) {
        at = next_after(at);
        assert_non_null(at);
        rounds++;
        served += at >= modest && at < modest + 10;
    }
    assert_true(rounds <= 11);
    /* and the greedy one's own are served in order */
    struct pacing_ticket *last = NULL;
    while ((at = next_after(at)) != NULL) {
        assert_true(at >= greedy && at < greedy + MANY && (last == NULL || at == last + 1));
        last = at;
    }
}

/* Whoever leaves is dropped at once, in whatever state, and its place goes to the next. */
static void test_departures(void **state)
{
    struct pacing_ticket a = {0}, b = {0}, c = {0}, d = {0};
    (void)state;
    pacing_set_limits(pacing, 1, 10);
    assert_int_equal(enter(&a, "192.0.2.1"), OUTCOME_OK);
    assert_int_equal(enter(&b, "192.0.2.2"), OUTCOME_PENDING);
    assert_int_equal(enter(&c, "192.0.2.3"), OUTCOME_PENDING);
    assert_int_equal(enter(&d, "192.0.2.4"), OUTCOME_PENDING);
    pacing_leave(pacing, &b); /* while waiting */
    assert_int_equal(pacing_waiting(pacing), 2);
    pacing_leave(pacing, &a); /* grants c */
    pacing_leave(pacing, &c); /* granted and not told: d is next */
    assert_ptr_equal(pacing_collect(pacing, &worker), &d);
    assert_null(pacing_collect(pacing, &worker));
    pacing_leave(pacing, &d);
}

static void test_new_limits(void **state)
{
    struct pacing_ticket t[6];
    (void)state;
    memset(t, 0, sizeof t);
    pacing_set_limits(pacing, 1, 10);
    assert_int_equal(enter(&t[0], "192.0.2.1"), OUTCOME_OK);
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(enter(&t[i], "192.0.2.1"), OUTCOME_PENDING);
    pacing_set_limits(pacing, 3, 10);
    assert_ptr_equal(pacing_collect(pacing, &worker), &t[1]);
    assert_ptr_equal(pacing_collect(pacing, &worker), &t[2]);
    assert_null(pacing_collect(pacing, &worker));
    pacing_set_limits(pacing, 2, 10); /* nobody is sent away, and the next waits longer */
    pacing_leave(pacing, &t[0]);
    assert_null(pacing_collect(pacing, &worker));
    pacing_set_limits(pacing, 0, 10); /* no limit: all go */
    assert_ptr_equal(pacing_collect(pacing, &worker), &t[3]);
    assert_ptr_equal(pacing_collect(pacing, &worker), &t[4]);
    assert_int_equal(enter(&t[5], "192.0.2.1"), OUTCOME_OK);
    for (unsigned i = 1; i < 6; i++)
        pacing_leave(pacing, &t[i]);
}

/* ---- many workers at once ---- */

enum { THREADS = 4, TURNS = 3000, TICKETS = 8, PLACES = 3 };

static atomic_int in_use;
static atomic_bool over;

struct runner {
    pthread_t thread;
    struct pacing_worker worker;
    struct pacing_ticket ticket[TICKETS];
    bool holds[TICKETS], waits[TICKETS];
    unsigned number;
    atomic_uint wakes;
    unsigned served;
};

static void on_runner_wake(void *arg)
{
    struct runner *r = arg;
    (void)atomic_fetch_add(&r->wakes, 1);
}

static void hold(struct runner *r, size_t i)
{
    r->waits[i] = false;
    r->holds[i] = true;
    r->served++;
    if (atomic_fetch_add(&in_use, 1) >= PLACES)
        atomic_store(&over, true);
}

static void leave(struct runner *r, size_t i)
{
    if (r->holds[i])
        (void)atomic_fetch_sub(&in_use, 1);
    r->holds[i] = r->waits[i] = false;
    pacing_leave(pacing, &r->ticket[i]);
}

static void turn(struct runner *r, unsigned dice)
{
    struct pacing_ticket *t;
    struct addr client;
    size_t i = dice % TICKETS;
    char text[32];
    while ((t = pacing_collect(pacing, &r->worker)) != NULL)
        hold(r, (size_t)(t - r->ticket));
    if (r->holds[i] || (r->waits[i] && dice / TICKETS % 4 == 0)) {
        leave(r, i);
    } else if (!r->waits[i]) {
        (void)snprintf(text, sizeof text, "192.0.2.%u", dice / 64 % 16);
        (void)addr_parse(&client, span_of(text), 1);
        enum outcome o =
            pacing_enter(pacing, t = &r->ticket[i], &r->worker, "ca.test", PORT, &client);
        r->waits[i] = o == OUTCOME_PENDING;
        if (o == OUTCOME_OK)
            hold(r, i);
    }
}

static void *run(void *arg)
{
    struct runner *r = arg;
    unsigned seed = r->number + 1;
    for (unsigned i = 0; i < TURNS; i++)
        turn(r, (unsigned)rand_r(&seed));
    for (size_t i = 0; i < TICKETS; i++)
        leave(r, i);
    return NULL;
}

static void test_threads(void **state)
{
    static struct runner runners[THREADS];
    size_t served = 0;
    (void)state;
    pacing_set_limits(pacing, PLACES, 16);
    for (unsigned i = 0; i < THREADS; i++) {
        runners[i].number = i;
        runners[i].worker = (struct pacing_worker){.wake = on_runner_wake, .arg = &runners[i]};
        list_init(&runners[i].worker.granted);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
        served += runners[i].served;
    }
    assert_true(served >= PLACES);
    assert_false(atomic_load(&over)); /* never more than the limit */
    assert_int_equal(atomic_load(&in_use), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limit_and_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_robin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_departures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

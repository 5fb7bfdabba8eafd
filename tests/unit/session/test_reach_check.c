/*
 * test_reach_check.c - the tries that lead back: to a listener, to a silent one, past the guard,
 * after a reload that forbids them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/clock.h"
#include "proxy/session/reach_check.h"

static uv_loop_t loop;
static struct netloop net;
static struct reach *reach;
static struct reach_check *check;
static struct policy *policy;
static int listener;
static uint16_t port;
static const struct dial_options dial = {.timeout_ms = 3000, .addresses_max = 8};

static unsigned lost, found;

static void on_change(void *arg, bool ready)
{
    assert_ptr_equal(arg, &lost);
    if (ready)
        found++;
    else
        lost++;
}

static struct policy *policy_of(const char *host, const char *network)
{
    static const struct port_range all = {1, 65535};
    struct rules *rules = rules_create();
    struct prefix prefix;
    assert_int_equal(rules_add_host(rules, span_of(host), NULL), 0);
    assert_int_equal(prefix_parse(&prefix, span_of(network)), 0);
    struct policy_options o = {.rules = rules,
                               .connect_ports = &all,
                               .connect_port_count = 1,
                               .networks = &prefix,
                               .network_count = 1};
    struct policy *p = policy_create(&o);
    assert_non_null(p);
    return p;
}

static void listen_here(void)
{
    struct addr a;
    socklen_t size = sizeof a;
    assert_int_equal(addr_parse(&a, SPAN("127.0.0.1"), 0), 0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, &a.sa, addr_len(&a)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, &a.sa, &size), 0);
    port = addr_port(&a);
}

static int setup(void **state)
{
    struct resolver_options none = {.timeout_ms = 1000, .cache_entries = 16, .cache_max_ms = 1000};
    (void)state;
    lost = found = 0;
    listen_here();
    assert_int_equal(uv_loop_init(&loop), 0);
    net.loop = &loop;
    assert_int_equal(poller_create(&net.poller, &loop), 0);
    assert_int_equal(deadlines_create(&net.deadlines, &loop), 0);
    assert_int_equal(resolver_create(&net.resolver, &loop, &none), 0);
    policy = policy_of("127.0.0.1", "127.0.0.0/8");
    check = reach_check_create(&net, on_change, &lost);
    assert_non_null(check);
    reach = reach_check_reach(check);
    reach_check_use(check, policy, NULL, &dial);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    reach_check_close(check);
    resolver_destroy(net.resolver);
    poller_destroy(net.poller);
    deadlines_destroy(net.deadlines);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    policy_destroy(policy);
    (void)close(listener);
    return 0;
}

static struct reach_goal goal_of(const char *host, uint16_t to, bool parent)
{
    struct reach_goal g = {.port = to, .parent = parent};
    (void)snprintf(g.host, sizeof g.host, "%s", host);
    return g;
}

/* `goal` has worked once and has failed for long; nothing else is known. */
static void shut_by(const struct reach_goal *goal)
{
    uint64_t now = clock_ms() + 1000000; /* so that no difference is negative */
    reach_note(reach, now - 30000, goal, OUTCOME_OK);
    for (uint64_t i = 0; i < REACH_TRIES; i++)
        reach_note(reach, now - 20000 + i * 5000, goal, OUTCOME_CONNECT_TIMEOUT);
    assert_int_equal(reach_state(reach), REACH_SHUT);
}

static void wait_open(void)
{
    while (reach_state(reach) != REACH_OPEN)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static bool has_caller(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    char octet;
    if (fd < 0)
        return false;
    assert_int_equal(read(fd, &octet, 1), 0); /* nothing is said, and it is closed */
    (void)close(fd);
    return true;
}

static void test_comes_back(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, false);
    (void)state;
    shut_by(&goal);
    wait_open();
    assert_true(has_caller());
    assert_false(has_caller());
    while (found == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(lost, 1);
    assert_int_equal(found, 1);
}

static void test_first_of_those_that_worked(void **state)
{
    struct reach_goal good = goal_of("127.0.0.1", port, false),
                      dead = goal_of("127.0.0.9", 1, false);
    uint64_t now = clock_ms() + 1000000;
    (void)state;
    reach_note(reach, now - 30000, &good, OUTCOME_OK);
    for (uint64_t i = 0; i < REACH_TRIES; i++)
        reach_note(reach, now - 20000 + i * 5000, &dead, OUTCOME_CONNECT_TIMEOUT);
    assert_int_equal(reach_state(reach), REACH_DOUBTED);
    wait_open();
    assert_true(has_caller());
}

/* The guard is asked as for any client: what it forbids is not dialled. */
static void test_guard_is_asked(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, false);
    struct policy *strict = policy_of("127.0.0.1", "10.0.0.0/8");
    (void)state;
    reach_check_use(check, strict, NULL, &dial);
    shut_by(&goal);
    struct reach_goal next;
    while (reach_next_check(reach, clock_ms() + 2 * REACH_CHECK_MS, &next) != UINT64_MAX)
        (void)uv_run(&loop, UV_RUN_ONCE); /* until it is forgotten */
    assert_false(has_caller());
    reach_check_use(check, policy, NULL, &dial);
    policy_destroy(strict);
}

/* A list of one parent on 127.0.0.1. */
static struct parents *parents_on(uint16_t at)
{
    struct parents_options o = {.attempt_ms = 1000, .retry_after_ms = 1000, .retry_max_ms = 1000};
    struct parents *list = parents_create(&o);
    struct parent one;
    char url[64];
    const char *why;
    assert_non_null(list);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)at);
    assert_int_equal(parent_parse(&one, span_of(url), &why), 0);
    assert_int_equal(parents_add(list, &one), 0);
    return list;
}

/* A parent is exempt from guard and rules. */
static void test_parent(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, true);
    struct policy *strict = policy_of("ca.example.com", "10.0.0.0/8");
    struct parents *list = parents_on(port);
    (void)state;
    reach_check_use(check, strict, list, &dial);
    parents_unref(list);
    shut_by(&goal);
    wait_open();
    assert_true(has_caller());
    reach_check_use(check, policy, NULL, &dial);
    policy_destroy(strict);
}

/* A reload has forbidden all that is remembered: nobody is called, and readiness is back. */
static void test_forbidden_by_a_reload(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, false);
    struct policy *other = policy_of("ca.example.com", "127.0.0.0/8");
    (void)state;
    reach_check_use(check, other, NULL, &dial);
    shut_by(&goal);
    wait_open();
    assert_false(has_caller());
    reach_check_use(check, policy, NULL, &dial);
    policy_destroy(other);
}

/* One that is none any more is not called, whatever the guard would say. */
static void test_former_parent(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, true);
    struct parents *list = parents_on(port == 65535 ? 1 : (uint16_t)(port + 1));
    (void)state;
    reach_check_use(check, policy, list, &dial);
    parents_unref(list);
    shut_by(&goal);
    wait_open();
    assert_false(has_caller());
}

/* Behind parents nobody else is called, although the policy lets requests go there. */
static void test_origin_behind_parents(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, false);
    struct parents *list = parents_on(port);
    (void)state;
    reach_check_use(check, policy, list, &dial);
    parents_unref(list);
    shut_by(&goal);
    wait_open();
    assert_false(has_caller());
}

static void test_refused_by_somebody(void **state)
{
    struct reach_goal goal = goal_of("127.0.0.1", port, false);
    (void)state;
    (void)close(listener);
    shut_by(&goal);
    wait_open();
    listen_here();
}

/* Closed in the middle of a try: nothing is left, and no callback comes. */
static void test_closed_while_trying(void **state)
{
    struct reach_goal goal = goal_of("name.example.com", port, false);
    struct policy *names = policy_of("name.example.com", "127.0.0.0/8");
    (void)state;
    reach_check_use(check, names, NULL, &dial);
    shut_by(&goal);
    (void)uv_run(&loop, UV_RUN_NOWAIT); /* the look-up begins */
    reach_check_close(check);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    policy_destroy(names);
    check = reach_check_create(&net, on_change, &lost);
    assert_non_null(check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_of_those_that_worked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_is_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forbidden_by_a_reload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_former_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_origin_behind_parents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_by_somebody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_while_trying, setup, teardown),
    };
    return cmocka_run_group_tests_name("reach check", tests, NULL, NULL);
}

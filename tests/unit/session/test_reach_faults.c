/* test_reach_faults.c - no memory for a check: none is made, or it is put off. */
#include "proxy/session/reach_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/base/clock.h"
#include "tests/support/faults.h"

static struct netloop net;
static uv_loop_t loop;
static uv_timer_t other; /* keeps the loop's own descriptors for the whole test */
static struct policy *policy;
static const struct dial_options dial = {.timeout_ms = 1000, .addresses_max = 8};

static void on_change(void *arg, bool ready)
{
    (void)arg;
    (void)ready;
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static bool check_made(void)
{
    struct reach_check *c = reach_check_create(&net, on_change, NULL);
    if (c != NULL)
        reach_check_close(c);
    turn();
    turn();
    return c != NULL;
}

/* Nobody listens there, and somebody says so: that ends it. */
static bool check_run(void)
{
    struct reach_goal goal = {.host = "127.0.0.1", .port = 1};
    uint64_t now = clock_ms() + 1000000;
    faults_pause();
    struct reach_check *c = reach_check_create(&net, on_change, NULL);
    faults_resume();
    assert_non_null(c);
    struct reach *reach = reach_check_reach(c);
    reach_check_use(c, policy, NULL, &dial);
    reach_note(reach, now - 30000, &goal, OUTCOME_OK);
    for (uint64_t i = 0; i < REACH_TRIES; i++)
        reach_note(reach, now - 20000 + i * 5000, &goal, OUTCOME_CONNECT_TIMEOUT);
    assert_int_equal(reach_state(reach), REACH_SHUT);
    for (int i = 0; i < 5; i++)
        turn();
    bool open = reach_state(reach) == REACH_OPEN;
    assert_true(open || faults_struck());
    reach_check_close(c);
    turn();
    turn();
    return open;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"reach_check_create", check_made, false},
        {"a check", check_run, true},
    };
    static const struct port_range all = {1, 65535};
    struct resolver_options none = {.timeout_ms = 1000};
    struct rules *rules = rules_create();
    struct prefix loopback;
    (void)rules_add_host(rules, SPAN("127.0.0.1"), NULL);
    (void)prefix_parse(&loopback, SPAN("127.0.0.0/8"));
    struct policy_options o = {.rules = rules,
                               .connect_ports = &all,
                               .connect_port_count = 1,
                               .networks = &loopback,
                               .network_count = 1};
    policy = policy_create(&o);
    net.loop = &loop;
    (void)uv_loop_init(&loop);
    (void)uv_timer_init(&loop, &other);
    (void)poller_create(&net.poller, &loop);
    (void)deadlines_create(&net.deadlines, &loop);
    (void)resolver_create(&net.resolver, &loop, &none);
    turn();
    int failed = faults_main("reach_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    resolver_destroy(net.resolver);
    poller_destroy(net.poller);
    deadlines_destroy(net.deadlines);
    uv_close((uv_handle_t *)&other, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    policy_destroy(policy);
    return failed;
}

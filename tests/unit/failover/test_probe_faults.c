/* test_probe_faults.c - no memory for a watch over peers: who cannot be asked is unknown, the
 * others are as they were. */
#include "failover/probe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/support/faults.h"

enum { MEMBERS = 5 };

static uv_loop_t loop;
static struct roster *roster;
static const struct probe_options options = {
    .interval_ms = 3600000, .timeout_ms = 100, .rule = {2, 3}, .ca_file = "/ca.pem"};

static void on_change(void *arg)
{
    (void)arg;
}

static void end(struct probes *p)
{
    if (p != NULL)
        probes_close(p);
    faults_pause();
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    faults_resume();
}

static bool probes_made(void)
{
    struct probes *p = probes_create(&loop, NULL, &options, on_change, NULL);
    end(p);
    return p != NULL;
}

static bool peers_watched(void)
{
    faults_pause();
    struct probes *p = probes_create(&loop, NULL, &options, on_change, NULL);
    faults_resume();
    assert_non_null(p);
    int rc = probes_watch(p, roster);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    for (size_t i = 0; i < MEMBERS; i++)
        assert_int_equal(probes_state(p, roster_member(roster, i)), MEMBER_UNKNOWN);
    faults_pause(); /* the next roster brings those that are missing */
    assert_int_equal(probes_watch(p, roster), 0);
    faults_resume();
    end(p);
    return rc == 0;
}

static bool options_set(void)
{
    faults_pause();
    struct probes *p = probes_create(&loop, NULL, &options, on_change, NULL);
    faults_resume();
    assert_non_null(p);
    int rc = probes_set_options(p, &options);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    end(p);
    return rc == 0;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"probes_create", probes_made, false},
        {"probes_watch", peers_watched, false},
        {"probes_set_options", options_set, false},
    };
    (void)uv_loop_init(&loop);
    roster = roster_create();
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member m = {.port = 48999, .state = MEMBER_UP};
        (void)snprintf(m.host, sizeof m.host, "px%u.plant7.example", i);
        (void)roster_add(roster, &m);
    }
    int failed = faults_main("probe_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    roster_unref(roster);
    (void)uv_loop_close(&loop);
    return failed;
}

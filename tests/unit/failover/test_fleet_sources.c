/* test_fleet_sources.c - which sources a fleet makes, and when anew. The source itself stands aside
 * here: it is one that can find no memory. */
#include "failover/fleet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- in place of the real one ---- */

static struct {
    unsigned created, closed, told;
    bool no_memory;
} etcd;

struct source_etcd *source_etcd_create(uv_loop_t *loop, struct fetcher *fetcher,
                                       const struct source_etcd_options *options,
                                       const struct member *self,
                                       const struct source_events *events)
{
    assert_true(loop != NULL && fetcher != NULL && self != NULL && events != NULL);
    assert_true(options->endpoint_count > 0);
    if (etcd.no_memory)
        return NULL;
    etcd.created++;
    return (struct source_etcd *)&etcd;
}

void source_etcd_tell(struct source_etcd *s, const struct member *self)
{
    assert_true(s != NULL && self != NULL);
    etcd.told++;
}

void source_etcd_leave(struct source_etcd *s, void (*on_left)(void *arg), void *arg)
{
    assert_non_null(s);
    on_left(arg);
}

void source_etcd_close(struct source_etcd *s)
{
    assert_non_null(s);
    etcd.closed++;
}

/* ---- tests ---- */

/* A source for which there was no memory is made by the next reload, though nothing was changed. */
static void made_by_the_next_reload(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct member self = {.host = "px1.example", .port = 48999, .weight = 100};
    const char *const endpoints[] = {"http://127.0.0.1:1"};
    assert_int_equal(uv_loop_init(&loop), 0);
    struct fetcher *fetcher = fetcher_create(&loop, NULL, 4);
    struct roster *peers = roster_create();
    struct fleet_options options = {
        .self = &self,
        .peers = peers,
        .probe = {.interval_ms = 50, .timeout_ms = 1000, .rule = {1, 2}, .ca_file = ""}};
    struct fleet *fleet = fleet_create(&loop, fetcher, NULL, &options);
    assert_non_null(fleet);
    options.etcd = (struct source_etcd_options){
        .endpoints = endpoints, .endpoint_count = 1, .prefix = "/c/", .lease_ttl_s = 10};

    etcd.no_memory = true;
    assert_int_equal(fleet_reload(fleet, &options), -ENOMEM);
    etcd.no_memory = false;
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_int_equal(etcd.created, 1);
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_int_equal(etcd.created, 1); /* the same stays as it is */
    options.etcd.prefix = "/d/";
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_int_equal(etcd.created, 2);
    assert_int_equal(etcd.closed, 1);

    fleet_close(fleet);
    fetcher_close(fetcher);
    roster_unref(peers);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(etcd.closed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_by_the_next_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

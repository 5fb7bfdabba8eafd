/* test_fleet.c - ourselves, peers, what is on disk and what probes find, put together. Sources have
 * tests of their own. */
#include "failover/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "failover/roster_file.h"
#include "tests/unit/net/fake_http.h"

enum { PATIENCE_MS = 20000 };

static uv_loop_t loop;
static uv_timer_t patience, tick;
static struct fake_http peer;
static struct fetcher *fetcher;
static struct fleet *fleet;
static struct member self;
static struct roster *peers;
static struct fleet_options options;
static const char *readiness;
static unsigned status, published, left, load;
static char told[512]; /* "host:port=state " in the order of the roster */

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing came within %d ms: %s", PATIENCE_MS, told);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_request(struct fake_http_conn *c, const char *request, const char *body)
{
    (void)body;
    assert_memory_equal(request, "GET /readyz ", 12);
    fake_http_reply(c, status, readiness);
}

static void write_down(const struct roster *r)
{
    static const char states[] = {
        [MEMBER_UP] = 'u', [MEMBER_UNKNOWN] = '?', [MEMBER_DRAINING] = 'd', [MEMBER_DOWN] = 'x'};
    told[0] = '\0';
    for (size_t i = 0; i < roster_count(r); i++) {
        const struct member *m = roster_member(r, i);
        (void)snprintf(told + strlen(told), sizeof told - strlen(told), "%s%s=%c ",
                       m->self ? "*" : "", m->host, states[m->state]);
    }
}

static void on_roster(void *arg, struct roster *r)
{
    assert_ptr_equal(arg, &published);
    published++;
    write_down(r);
}

static void on_left(void *arg)
{
    (void)arg;
    left++;
}

static unsigned tell_load(void *arg)
{
    (void)arg;
    return load;
}

static void add_peer(const char *host, unsigned port)
{
    struct member m = {
        .port = (uint16_t)port, .load = ROSTER_LOAD_UNKNOWN, .state = MEMBER_UNKNOWN};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    assert_int_equal(roster_add(peers, &m), 0);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    (void)uv_timer_init(&loop, &patience);
    (void)uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    peer = (struct fake_http){.on_request = on_request};
    fake_http_start(&peer, &loop, 0);
    readiness = "ready\n";
    status = 200;
    published = left = load = 0;
    told[0] = '\0';
    fetcher = fetcher_create(&loop, NULL, 4);
    peers = roster_create();
    self = (struct member){.host = "px1.example", .port = 48999, .weight = 100};
    options = (struct fleet_options){
        .self = &self,
        .peers = peers,
        .probe = {.interval_ms = 50, .timeout_ms = 1000, .rule = {1, 2}, .ca_file = ""},
        .load = tell_load,
        .on_roster = on_roster,
        .arg = &published};
    return fetcher == NULL || peers == NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (fleet != NULL)
        fleet_close(fleet);
    fleet = NULL;
    fetcher_close(fetcher);
    fake_http_stop(&peer);
    roster_unref(peers);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void open_fleet(void)
{
    fleet = fleet_create(&loop, fetcher, NULL, &options);
    assert_non_null(fleet);
    assert_int_equal(published, 0); /* not before it returns */
    write_down(fleet_roster(fleet));
}

static void wait_told(const char *wanted)
{
    while (strcmp(told, wanted) != 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static void test_alone(void **state)
{
    (void)state;
    open_fleet();
    assert_string_equal(told, "*px1.example=u ");
    fleet_leave(fleet, on_left, NULL);
    assert_int_equal(left, 0);
    assert_string_equal(told, "*px1.example=d ");
    while (left == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static void test_ourselves_among_the_peers(void **state)
{
    (void)state;
    add_peer("px1.example", 48999);
    add_peer("px1.example", 1);
    open_fleet();
    assert_string_equal(told, "*px1.example=u px1.example=? ");
}

static void test_what_probes_find(void **state)
{
    (void)state;
    add_peer("127.0.0.1", peer.port);
    open_fleet();
    assert_string_equal(told, "*px1.example=u 127.0.0.1=? ");
    wait_told("*px1.example=u 127.0.0.1=u ");
    readiness = "not ready: shutting down\n";
    status = 503;
    wait_told("*px1.example=u 127.0.0.1=d ");
    readiness = "ready\n";
    status = 200;
    wait_told("*px1.example=u 127.0.0.1=u ");
    fake_http_stop(&peer);
    wait_told("*px1.example=u 127.0.0.1=x "); /* last, but still there */
}

static void test_a_reload(void **state)
{
    struct roster *others = roster_create();
    struct member m = {.host = "px9.example", .port = 1, .state = MEMBER_UNKNOWN};
    (void)state;
    add_peer("px2.example", 1);
    open_fleet();
    assert_int_equal(roster_add(others, &m), 0);
    (void)snprintf(self.host, sizeof self.host, "new.example");
    options.peers = others;
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_string_equal(told, "*new.example=u px9.example=? ");
    unsigned before = published;
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_int_equal(published, before); /* the same is no news */
    roster_unref(others);
}

static void test_more_than_a_roster_holds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROSTER_MEMBERS_MAX; i++)
        add_peer("127.0.0.2", i + 1);
    open_fleet();
    assert_int_equal(roster_count(fleet_roster(fleet)), ROSTER_MEMBERS_MAX);
    assert_true(roster_member(fleet_roster(fleet), 0)->self);
}

static void test_our_load_is_told(void **state)
{
    (void)state;
    load = 449;
    open_fleet();
    while (published == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(roster_member(fleet_roster(fleet), 0)->load, 400);
}

/* Etcd that does not answer: what was on disk is better than nothing. */
static void test_what_was_kept(void **state)
{
    char dir[] = "/tmp/certferry-fleet-XXXXXX", path[96];
    const char *const endpoints[] = {"http://127.0.0.1:1"};
    struct roster *kept = roster_create();
    const struct member known[] = {
        {.host = "px1.example", .port = 48999, .state = MEMBER_UP, .self = true},
        {.host = "px2.example", .port = 1, .state = MEMBER_DOWN, .priority = 3},
    };
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/roster.json", dir);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(roster_add(kept, &known[i]), 0);
    struct roster_file *file = roster_file_open(path);
    assert_int_equal(roster_file_write(file, kept, "px1.example"), 0);
    roster_file_close(file);
    roster_unref(kept);
    options.cache = path;

    open_fleet(); /* no source: nothing is believed but peers= */
    assert_string_equal(told, "*px1.example=u ");
    fleet_close(fleet);

    options.etcd = (struct source_etcd_options){.endpoints = endpoints,
                                                .endpoint_count = 1,
                                                .prefix = "/c/",
                                                .lease_ttl_s = 1,
                                                .timeout_ms = 100,
                                                .check_ms = 1000,
                                                .pause_ms = 20};
    open_fleet();
    assert_string_equal(told, "*px1.example=u px2.example=? ");
    options.etcd.endpoint_count = 0; /* etcd is given up: so is what was kept of it */
    assert_int_equal(fleet_reload(fleet, &options), 0);
    assert_string_equal(told, "*px1.example=u ");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_metrics(void **state)
{
    struct buf out;
    (void)state;
    add_peer("px2.example", 1);
    open_fleet();
    buf_init(&out, 4096);
    assert_int_equal(fleet_print_status(&out, fleet_roster(fleet), fleet_status(fleet)), 0);
    assert_int_equal(buf_add(&out, "", 1), 0);
    assert_non_null(strstr(buf_head(&out), "certferry_roster_members{state=\"up\"} 1\n"));
    assert_non_null(strstr(buf_head(&out), "certferry_roster_members{state=\"unknown\"} 1\n"));
    assert_null(strstr(buf_head(&out), "source=")); /* none is configured */
    buf_release(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_ourselves_among_the_peers),
        TEST(test_what_probes_find),
        TEST(test_a_reload),
        TEST(test_more_than_a_roster_holds),
        TEST(test_our_load_is_told),
        TEST(test_what_was_kept),
        TEST(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

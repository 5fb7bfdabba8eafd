/*
 * test_session_faults.c - no memory in what a session stands on: who cannot be counted is not, who
 * cannot be kept is closed, a line that cannot be made is counted.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/session/access_log.h"
#include "proxy/session/admission.h"
#include "proxy/session/identities.h"
#include "proxy/session/loop_guard.h"
#include "proxy/session/pacing.h"
#include "proxy/session/parents.h"
#include "proxy/session/upstream_pool.h"
#include "tests/support/faults.h"

static struct addr address(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse(&a, span_of(text), 1234), 0);
    return a;
}

/* ---- who is there, who waits ---- */

static bool client_counted(void)
{
    struct admission *a = admission_create();
    const struct addr client = address("192.0.2.1");
    if (a == NULL)
        return false;
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    enum outcome verdict = admission_enter_client(a, &client);
    assert_int_equal(verdict, faults_struck() ? OUTCOME_NO_MEMORY : OUTCOME_OK);
    if (verdict == OUTCOME_OK)
        admission_leave_client(a, &client);
    else
        admission_turn_away(a);
    admission_leave(a, verdict == OUTCOME_OK);
    admission_destroy(a); /* asserts that nobody is left */
    return verdict == OUTCOME_OK;
}

static void on_wake(void *arg)
{
    (void)arg;
}

static bool queue_entered(void)
{
    struct pacing *p = pacing_create();
    struct pacing_worker worker = {.wake = on_wake};
    struct pacing_ticket holder = {0}, waiting = {0};
    const struct addr client = address("2001:db8::1");
    if (p == NULL)
        return false;
    list_init(&worker.granted);
    pacing_set_limits(p, 1, 10);
    enum outcome first = pacing_enter(p, &holder, &worker, "ca.test", 80, &client);
    enum outcome second = pacing_enter(p, &waiting, &worker, "ca.test", 80, &client);
    assert_true(first == OUTCOME_OK || first == OUTCOME_NO_MEMORY);
    if (first == OUTCOME_OK)
        assert_true(second == OUTCOME_PENDING || second == OUTCOME_NO_MEMORY);
    pacing_leave(p, &waiting);
    pacing_leave(p, &holder);
    pacing_destroy(p); /* asserts that no origin is left */
    return first == OUTCOME_OK && second == OUTCOME_PENDING;
}

/* ---- idle connections ---- */

static uv_loop_t loop;
static struct netloop net = {.loop = &loop};

static void on_ready(struct stream *s)
{
    (void)s;
}

/* The far end sees at once that a connection which could not be kept is closed. */
static bool connection_kept(void)
{
    const struct upstream_pool_options o = {.most = 3, .most_per_host = 2, .idle_ms = 60000};
    const struct upstream_key key = {.host = "ca.test", .port = 80, .user = 1};
    struct upstream_idle what = {.bound = false};
    struct stream s;
    int fd[2];
    char octet;
    struct upstream_pool *pool = upstream_pool_create(&net);
    if (pool == NULL)
        return false;
    upstream_pool_reload(pool, &o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    stream_init(&s, on_ready);
    bool opened = stream_open(&s, net.poller, fd[0]) == 0;
    if (opened)
        upstream_pool_put(pool, &key, &what, &s);
    else
        (void)close(fd[0]);
    bool kept = opened && upstream_pool_take(pool, &key, &s, &what);
    stream_close(&s);
    assert_int_equal(recv(fd[1], &octet, 1, MSG_DONTWAIT), 0);
    (void)close(fd[1]);
    upstream_pool_destroy(pool);
    return kept;
}

/* ---- hellos on their way ---- */

static bool hello_passed(void)
{
    struct loop_guard *g = loop_guard_create();
    struct loop_pass *pass;
    if (g == NULL)
        return false;
    enum outcome verdict = loop_guard_enter(g, SPAN("hello"), &pass);
    assert_int_equal(verdict, faults_struck() ? OUTCOME_NO_MEMORY : OUTCOME_OK);
    loop_guard_leave(g, pass);
    loop_guard_destroy(g);
    return verdict == OUTCOME_OK;
}

/* ---- who has which role ---- */

/* A connection that could not be counted has no place; one without room for its name has its
 * role's. */
static bool identity_counted(void)
{
    struct identities *ids = identities_create();
    const struct identities_client client = {"sensors", "sensor-1", 0, 0};
    struct identities_place place;
    struct buf out;
    if (ids == NULL)
        return false;
    enum outcome verdict = identities_enter(ids, &client, &place);
    assert_true(verdict == OUTCOME_OK || verdict == OUTCOME_NO_MEMORY);
    assert_int_equal(place.role != NULL, verdict == OUTCOME_OK);
    bool whole = place.identity != NULL;
    buf_init(&out, 65536);
    whole = identities_print(ids, &out) == 0 && whole;
    buf_release(&out);
    identities_leave(ids, &place);
    identities_destroy(ids); /* asserts that nobody is left */
    return whole;
}

/* ---- parent proxies ---- */

/* What was given stays the caller's when there is no list, and nobody else's when there is one. */
static bool parents_made(void)
{
    struct prefix network;
    struct rules *direct = rules_create();
    struct parent one;
    const char *why = "";
    assert_int_equal(prefix_parse(&network, SPAN("10.0.0.0/8")), 0);
    assert_int_equal(parent_parse(&one, SPAN("http://u:p@parent:3128"), &why), 0);
    bool named = direct != NULL && rules_add_domain(direct, SPAN("near.test"), NULL) == 0;
    struct parents *list = parents_create(&(struct parents_options){
        .direct = direct, .direct_networks = &network, .direct_network_count = 1});
    if (list == NULL) {
        rules_destroy(direct);
        return false;
    }
    assert_int_equal(parents_add(list, &one), 0);
    parents_unref(list);
    return named;
}

/* ---- the log ---- */

static bool line_written(void)
{
    struct access_record r = {.active = true, .outcome = OUTCOME_OK, .operation = ""};
    char text[4096] = "";
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct line_writer *w = line_writer_create(fd[1], 65536, NULL, NULL);
    uint64_t dropped = 0;
    if (w != NULL) {
        r.client = address("192.0.2.1");
        access_record_text(&r.host, SPAN("ca.test"));
        access_log_write(w, &r, 0);
        dropped = line_writer_dropped(w);
        line_writer_destroy(w, 2000);
    }
    (void)close(fd[1]);
    ssize_t n = read(fd[0], text, sizeof text - 1);
    (void)close(fd[0]);
    access_record_reset(&r);
    assert_true(n >= 0);
    /* a whole line, or none and that is known */
    if (n > 0)
        assert_true(text[0] == '{' && strcmp(text + n - 2, "}\n") == 0);
    else
        assert_true(w == NULL || dropped == 1);
    return w != NULL && n > 0 && strstr(text, "\"host\":\"ca.test\"") != NULL;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"identity counted", identity_counted, false},
        {"admission: a client", client_counted, false},
        {"pacing: a place in the queue", queue_entered, false},
        {"upstream_pool: a connection", connection_kept, false},
        {"loop_guard: a hello", hello_passed, false},
        {"parents: a list", parents_made, false},
        {"access_log: a line", line_written, true},
    };
    if (uv_loop_init(&loop) != 0 || poller_create(&net.poller, &loop) != 0 ||
        deadlines_create(&net.deadlines, &loop) != 0)
        return 1;
    int failed = faults_main("session_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    poller_destroy(net.poller);
    deadlines_destroy(net.deadlines);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) != 0 || failed != 0;
}

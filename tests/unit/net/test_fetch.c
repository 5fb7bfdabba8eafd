/* test_fetch.c - requests of our own: whole, streamed, bounded, cancelled wherever one may cancel.
 */
#include "proxy/net/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <dlfcn.h>

#include "tests/unit/net/fake_dns.h"
#include "tests/unit/net/fake_http.h"

enum { PATIENCE_MS = 20000, OCTETS_MAX = 4096 };

/* What curl is told of names goes by here. */
static char named[256];

struct curl_slist *curl_slist_append(struct curl_slist *list, const char *text)
{
    struct curl_slist *(*real)(struct curl_slist *, const char *) = NULL;
    void *symbol = dlsym(RTLD_NEXT, "curl_slist_append");
    memcpy(&real, &symbol, sizeof real);
    if (strstr(text, "localhost:") != NULL)
        (void)snprintf(named, sizeof named, "%s", text);
    return real(list, text);
}

static uv_loop_t loop;
static uv_timer_t patience, tick;
static struct fake_http server;
static struct fetcher *fetcher;
static char last_request[FAKE_HTTP_REQUEST_MAX + 1];

struct caller {
    unsigned done;
    bool faulty;
    char fault[256];
    unsigned status;
    char body[OCTETS_MAX + 1];
    char etag[128];
    uint64_t connect_us;
    struct fetch *fetch;
    struct caller *other;           /* for `then` */
    void (*then)(struct caller *c); /* inside on_done */
    bool (*data)(struct caller *c); /* inside on_data */
    size_t streamed;
};

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing came within %d ms", PATIENCE_MS);
}

/* uv_run() may run a timer and then wait for the next event all the same. */
static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct caller *c = arg;
    c->done++;
    c->faulty = result->fault != NULL;
    (void)snprintf(c->fault, sizeof c->fault, "%s", result->fault != NULL ? result->fault : "");
    c->status = result->status;
    c->connect_us = result->connect_us;
    assert_true(result->body.len <= OCTETS_MAX);
    memcpy(c->body, result->body.ptr, result->body.len);
    c->body[result->body.len] = '\0';
    memcpy(c->etag, result->etag, sizeof c->etag);
    c->fetch = NULL;
    if (c->then != NULL)
        c->then(c);
}

static bool on_data(void *arg, struct span octets)
{
    struct caller *c = arg;
    c->streamed += octets.len;
    return c->data == NULL || c->data(c);
}

static void start_at(struct caller *c, const char *url, struct fetch_request r)
{
    r.url = url;
    r.timeout_ms = r.timeout_ms > 0 ? r.timeout_ms : PATIENCE_MS;
    r.octets_max = OCTETS_MAX;
    r.on_done = on_done;
    r.arg = c;
    c->fetch = fetch_start(fetcher, &r);
    assert_non_null(c->fetch);
    assert_int_equal(c->done, 0); /* never before the call returns */
}

static void start(struct caller *c, const char *path, struct fetch_request r)
{
    char url[256];
    (void)snprintf(url, sizeof url, "%s%s", server.url, path);
    start_at(c, url, r);
}

static void wait_done(const struct caller *c)
{
    while (c->done == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

/* What the server says depends on the path. */
static void on_request(struct fake_http_conn *c, const char *request, const char *body)
{
    (void)snprintf(last_request, sizeof last_request, "%s", request);
    if (strstr(request, "/tagged ") != NULL) {
        fake_http_send(c, "HTTP/1.1 200 OK\r\nETag:  \"one\" \r\nContent-Length: 2\r\n\r\nhi");
    } else if (strstr(request, "/moved ") != NULL) {
        fake_http_send(c, "HTTP/1.1 302 Found\r\nLocation: /tagged\r\nContent-Length: 0\r\n\r\n");
    } else if (strstr(request, "/stream ") != NULL) {
        fake_http_send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        fake_http_chunk(c, "{\"one\":1}\n");
    } else if (strstr(request, "/large ") != NULL) {
        char text[OCTETS_MAX + 2];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        fake_http_reply(c, 200, text);
    } else if (strstr(request, "/heads ") != NULL) {
        fake_http_send(c, "HTTP/1.1 200 OK\r\n");
        for (unsigned i = 0; i < 3000; i++)
            fake_http_send(c, "X-Field: 0123456789012345678901234567890\r\n");
    } else if (strstr(request, "/garbage ") != NULL) {
        fake_http_send(c, "SSH-2.0-dropbear\r\n");
        fake_http_drop(c);
    } else if (strstr(request, "/silent ") == NULL) {
        fake_http_reply(c, strstr(request, "/missing ") != NULL ? 404 : 200,
                        body[0] != '\0' ? body : "fine");
    }
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    (void)uv_timer_init(&loop, &patience);
    (void)uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 10, 10);
    server = (struct fake_http){.on_request = on_request};
    fake_http_start(&server, &loop, 0);
    fetcher = fetcher_create(&loop, NULL, 4);
    assert_non_null(fetcher);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (fetcher != NULL)
        fetcher_close(fetcher);
    fake_http_stop(&server);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void test_a_whole_response(void **state)
{
    static const char *const fields[] = {"Accept: application/pvd+json", NULL};
    struct caller c = {0}, again = {0}, fresh = {0};
    (void)state;
    start(&c, "/tagged", (struct fetch_request){.fields = fields});
    wait_done(&c);
    assert_false(c.faulty);
    assert_int_equal(c.status, 200);
    assert_string_equal(c.body, "hi");
    assert_string_equal(c.etag, "\"one\"");
    assert_true(c.connect_us > 0);
    assert_non_null(strstr(last_request, "\r\nAccept: application/pvd+json\r\n"));
    assert_memory_equal(last_request, "GET /tagged HTTP/1.1\r\n", 22);

    start(&again, "/missing", (struct fetch_request){0});
    wait_done(&again);
    assert_int_equal(again.status, 404);
    assert_false(again.faulty);
    assert_int_equal(again.connect_us, 0); /* the connection was there */
    assert_int_equal(server.accepted, 1);

    start(&fresh, "/", (struct fetch_request){.fresh = true});
    wait_done(&fresh);
    assert_int_equal(server.accepted, 2);
    assert_true(fresh.connect_us > 0);
}

static void test_a_body_is_posted(void **state)
{
    char octets[] = "{\"key\":\"L3B4\"}";
    struct caller c = {0};
    (void)state;
    start(&c, "/v3/kv/range", (struct fetch_request){.body = span_of(octets)});
    memset(octets, '?', sizeof octets - 1); /* it was copied */
    wait_done(&c);
    assert_string_equal(c.body, "{\"key\":\"L3B4\"}");
    assert_memory_equal(last_request, "POST /v3/kv/range HTTP/1.1\r\n", 28);
    assert_null(strstr(last_request, "Expect"));
}

static void test_a_redirection_is_an_answer(void **state)
{
    struct caller c = {0};
    (void)state;
    start(&c, "/moved", (struct fetch_request){0});
    wait_done(&c);
    assert_int_equal(c.status, 302);
    assert_int_equal(server.requests, 1);
}

static void test_the_environment_is_not_asked(void **state)
{
    struct caller c = {0};
    (void)state;
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
    start(&c, "/", (struct fetch_request){0});
    wait_done(&c);
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
    assert_int_equal(c.status, 200);
}

static void test_what_is_no_url_of_ours(void **state)
{
    static const char *const urls[] = {
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "127.0.0.1:80",
        "",
        "http://",
        "gopher://127.0.0.1:1/x",
        "http://[::1/",
        "http:// /",
        "http://a:99999/",
        "http://a\r\nb/",
        "http://user:p@127.0.0.1/",
    };
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct caller c = {0};
        start_at(&c, urls[i], (struct fetch_request){0});
        wait_done(&c);
        assert_true(c.faulty);
        assert_int_equal(c.status, 0);
    }
    assert_int_equal(server.accepted, 0);
}

static void test_bounds(void **state)
{
    static const char *const paths[] = {"/large", "/heads", "/garbage"};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct caller c = {0};
        start(&c, paths[i], (struct fetch_request){0});
        wait_done(&c);
        assert_true(c.faulty);
        assert_string_not_equal(c.fault, "");
    }
}

static void test_time_is_bounded(void **state)
{
    struct caller c = {0};
    (void)state;
    start(&c, "/silent", (struct fetch_request){.timeout_ms = 50});
    wait_done(&c);
    assert_true(c.faulty);
    assert_int_equal(c.status, 0);
}

static void test_who_waits_for_a_connection_has_his_time_too(void **state)
{
    struct caller silent[4] = {{0}}, late = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++)
        start(&silent[i], "/silent", (struct fetch_request){0});
    start(&late, "/", (struct fetch_request){.timeout_ms = 100});
    wait_done(&late);
    assert_true(late.faulty);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(silent[i].done, 0);
        fetch_cancel(silent[i].fetch);
    }
}

static void test_a_refused_connection(void **state)
{
    struct caller c = {0};
    (void)state;
    start_at(&c, "http://127.0.0.1:1/", (struct fetch_request){0});
    wait_done(&c);
    assert_true(c.faulty);
}

/* ---- streams ---- */

static bool refuse(struct caller *c)
{
    (void)c;
    return false;
}

static bool cancel_self(struct caller *c)
{
    fetch_cancel(c->fetch);
    c->fetch = NULL;
    return true;
}

static bool cancel_other(struct caller *c)
{
    if (c->other->fetch != NULL)
        fetch_cancel(c->other->fetch);
    c->other->fetch = NULL;
    return true;
}

static bool start_other(struct caller *c)
{
    start(c->other, "/tagged", (struct fetch_request){0});
    return true;
}

static bool close_all(struct caller *c)
{
    (void)c;
    fetcher_close(fetcher);
    fetcher = NULL;
    return true;
}

static void start_stream(struct caller *c)
{
    start(c, "/stream", (struct fetch_request){.on_data = on_data});
}

static void test_a_stream_comes_in_parts(void **state)
{
    struct caller c = {0};
    (void)state;
    start_stream(&c);
    while (c.streamed < 10)
        (void)uv_run(&loop, UV_RUN_ONCE);
    struct fake_http_conn *conn = LIST_ITEM(server.conns.next, struct fake_http_conn, node);
    fake_http_chunk(conn, "{\"two\":2}\n");
    while (c.streamed < 20)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(c.done, 0);
    fake_http_send(conn, "0\r\n\r\n");
    wait_done(&c);
    assert_false(c.faulty);
    assert_string_equal(c.body, ""); /* on_data took it */
}

static void test_a_stream_that_breaks_off(void **state)
{
    struct caller c = {0};
    (void)state;
    start_stream(&c);
    while (c.streamed == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    fake_http_drop_all(&server);
    wait_done(&c);
    assert_true(c.faulty);
    assert_int_equal(c.status, 200);
}

static void test_enough_ends_a_stream(void **state)
{
    struct caller c = {.data = refuse};
    (void)state;
    start_stream(&c);
    wait_done(&c);
    assert_true(c.faulty);
}

static void test_cancelling_inside_data(void **state)
{
    struct caller c = {.data = cancel_self}, other = {0}, third = {.data = cancel_other};
    (void)state;
    start_stream(&c);
    while (c.streamed == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    third.other = &other;
    start(&other, "/silent", (struct fetch_request){0});
    start_stream(&third);
    while (third.streamed == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(c.done + other.done, 0);
}

static void test_starting_inside_data(void **state)
{
    struct caller other = {0}, c = {.data = start_other, .other = &other};
    (void)state;
    start_stream(&c);
    wait_done(&other);
    assert_int_equal(other.status, 200);
    assert_int_equal(c.done, 0);
}

static void test_closing_inside_data(void **state)
{
    struct caller c = {.data = close_all};
    (void)state;
    start_stream(&c);
    while (fetcher != NULL)
        (void)uv_run(&loop, UV_RUN_ONCE);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(c.done, 0);
}

/* ---- inside on_done ---- */

static void then_cancel_other(struct caller *c)
{
    (void)cancel_other(c);
}

static void then_start_other(struct caller *c)
{
    start(c->other, "/tagged", (struct fetch_request){0});
}

static void then_close(struct caller *c)
{
    (void)close_all(c);
}

static void test_inside_done(void **state)
{
    struct caller other = {0}, c = {.then = then_cancel_other, .other = &other};
    struct caller next = {0}, d = {.then = then_start_other, .other = &next};
    struct caller bad = {.then = then_cancel_other, .other = &other};
    (void)state;
    start(&other, "/silent", (struct fetch_request){0});
    start(&c, "/", (struct fetch_request){0});
    start(&d, "/", (struct fetch_request){0});
    wait_done(&next);
    wait_done(&c);
    assert_int_equal(other.done, 0);
    start(&other, "/", (struct fetch_request){0});
    start_at(&bad, "nonsense", (struct fetch_request){0}); /* told before curl has anything */
    wait_done(&bad);
}

static void test_closing_inside_done(void **state)
{
    struct caller other = {0}, c = {.then = then_close};
    (void)state;
    start(&other, "/silent", (struct fetch_request){0});
    start(&c, "/", (struct fetch_request){0});
    wait_done(&c);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(other.done, 0);
}

static void test_cancelled_before_it_began(void **state)
{
    struct caller c = {0};
    (void)state;
    start(&c, "/", (struct fetch_request){0});
    fetch_cancel(c.fetch);
    for (unsigned i = 0; i < 5; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(c.done, 0);
    assert_int_equal(server.accepted, 0);
}

/* ---- names ---- */

static void test_names_go_through_our_resolver(void **state)
{
    struct fake_rule rules[] = {
        {.name = "silent.test", .type = TYPE_A, .twist = TWIST_SILENT},
        {.name = "silent.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
    };
    struct fake_dns dns;
    struct resolver *resolver;
    char url[256];
    struct caller known = {0}, unknown = {0}, late = {0}, cancelled = {0};
    (void)state;
    fake_start(&dns, &loop, rules, sizeof rules / sizeof *rules);
    struct resolver_options o = {.servers = dns.servers, .timeout_ms = 5000};
    assert_int_equal(resolver_create(&resolver, &loop, &o), 0);
    fetcher_close(fetcher);
    fetcher = fetcher_create(&loop, resolver, 4);
    assert_non_null(fetcher);

    (void)snprintf(url, sizeof url, "http://localhost:%u/", server.port);
    start_at(&known, url, (struct fetch_request){0});
    wait_done(&known);
    assert_string_equal(known.fault, "");
    assert_int_equal(known.status, 200);

    start_at(&unknown, "http://unknown.test/", (struct fetch_request){0});
    wait_done(&unknown);
    assert_string_equal(unknown.fault, "the name is not known");
    assert_true(dns.asked_in_all > 0);

    start_at(&late, "http://silent.test/", (struct fetch_request){.connect_ms = 100});
    start_at(&cancelled, "http://silent.test/", (struct fetch_request){0});
    wait_done(&late);
    assert_string_equal(late.fault, "the name look-up took too long");
    fetch_cancel(cancelled.fetch);

    fetcher_close(fetcher);
    fetcher = NULL;
    resolver_destroy(resolver);
    fake_stop(&dns);
    assert_memory_equal(named, "+localhost:", 11); /* with "+" curl forgets it again */
}

static void test_without_resolver_only_addresses(void **state)
{
    struct caller c = {0};
    (void)state;
    start_at(&c, "http://localhost:1/", (struct fetch_request){0});
    wait_done(&c);
    assert_true(c.faulty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_whole_response),
        TEST(test_a_body_is_posted),
        TEST(test_a_redirection_is_an_answer),
        TEST(test_the_environment_is_not_asked),
        TEST(test_what_is_no_url_of_ours),
        TEST(test_bounds),
        TEST(test_time_is_bounded),
        TEST(test_who_waits_for_a_connection_has_his_time_too),
        TEST(test_a_refused_connection),
        TEST(test_a_stream_comes_in_parts),
        TEST(test_a_stream_that_breaks_off),
        TEST(test_enough_ends_a_stream),
        TEST(test_cancelling_inside_data),
        TEST(test_starting_inside_data),
        TEST(test_closing_inside_data),
        TEST(test_inside_done),
        TEST(test_closing_inside_done),
        TEST(test_cancelled_before_it_began),
        TEST(test_names_go_through_our_resolver),
        TEST(test_without_resolver_only_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_source_etcd.c - the source against an etcd of the test's own that can lie, be slow, forget
 * and die; tests/functional/test_fleet_etcd.py has the real one.
 */
#include "failover/source_etcd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/net/fake_http.h"

enum { PATIENCE_MS = 20000, TTL_S = 1 };

#define STREAM "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
/* Keys and values in base64. */
#define KEY_A "L2MvYTox" /* /c/a:1 */
#define KEY_B "L2MvYjox" /* /c/b:1 */
#define KEY_SELF "L2MvcHgxOjE="
/* {"protocol":"http-connect","host":"a","port":1} and b */
#define MEMBER_A "eyJwcm90b2NvbCI6Imh0dHAtY29ubmVjdCIsImhvc3QiOiJhIiwicG9ydCI6MX0="
#define MEMBER_B "eyJwcm90b2NvbCI6Imh0dHAtY29ubmVjdCIsImhvc3QiOiJiIiwicG9ydCI6MX0="
/* An https member at [2001:db8::1]:1, and its key */
#define MEMBER_V6                                                                                  \
    "eyJwcm90b2NvbCI6Imh0dHBzLWNvbm5lY3QiLCJob3N0IjoiMjAwMTpkYjg6"                                 \
    "OjEiLCJwb3J0IjoxfQ=="
#define KEY_V6 "L2MvWzIwMDE6ZGI4OjoxXTox"
#define PAIR(key, value, revision)                                                                 \
    "{\"key\":\"" key "\",\"value\":\"" value "\",\"mod_revision\":\"" revision "\"}"
#define RANGE(revision, pairs) "{\"header\":{\"revision\":\"" revision "\"},\"kvs\":[" pairs "]}"
#define SELF PAIR(KEY_SELF, "e30=", "1") /* not read: we know what we are */
#define EVENT(revision, event)                                                                     \
    "{\"result\":{\"header\":{\"revision\":\"" revision "\"},\"events\":[" event "]}}\n"
#define CREATED "{\"result\":{\"header\":{\"revision\":\"5\"},\"created\":true}}\n"

/* What the server does with a request; by path, so that a test changes what it is about. */
struct script {
    const char *path;
    unsigned status;
    const char *body; /* NULL: silence */
    unsigned once;    /* then the next with that path; 0: for ever */
};

static uv_loop_t loop;
static uv_timer_t patience, tick;
static struct fake_http server;
static struct fetcher *fetcher;
static struct source_etcd *source;
static struct script *script;
static struct fake_http_conn *watch;      /* the one under way */
static struct fake_http_conn *range_conn; /* of the last range */
static unsigned asked[8];                 /* by path, as below */
static char last_watch[512], last_put[2048], last_login[512], last_token[128];

static unsigned told, troubles, goods, left;
static char members[256]; /* "a b " */
static char trouble[256];

static const char *const paths[] = {
    "/v3/lease/grant", "/v3/lease/keepalive", "/v3/kv/put",           "/v3/kv/range",
    "/v3/watch",       "/v3/lease/revoke",    "/v3/auth/authenticate"};
enum { GRANT, KEEPALIVE, PUT, RANGE_PATH, WATCH, REVOKE, LOGIN };

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("nothing came within %d ms; last trouble: %s", PATIENCE_MS, trouble);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* ---- the server ---- */

static struct script *find_script(const char *path)
{
    struct script *at = script;
    for (; at != NULL && at->path != NULL; at++) {
        if (strcmp(at->path, path) == 0 && at->once != UINT32_MAX)
            return at;
    }
    return NULL;
}

static const char *usual(unsigned path)
{
    static const char *const answers[] = {"{\"ID\":\"77\",\"TTL\":\"1\"}",
                                          "{\"result\":{\"ID\":\"77\",\"TTL\":\"1\"}}",
                                          "{}",
                                          RANGE("5", SELF),
                                          CREATED,
                                          "{}",
                                          "{\"token\":\"t1\"}"};
    return answers[path];
}

static void remember(unsigned path, const char *request, const char *body)
{
    const char *token = strstr(request, "\r\nAuthorization: ");
    asked[path]++;
    (void)snprintf(last_token, sizeof last_token, "%.*s",
                   token != NULL ? (int)strcspn(token + 17, "\r") : 0,
                   token != NULL ? token + 17 : "");
    if (path == WATCH)
        (void)snprintf(last_watch, sizeof last_watch, "%s", body);
    if (path == PUT)
        (void)snprintf(last_put, sizeof last_put, "%s", body);
    if (path == LOGIN)
        (void)snprintf(last_login, sizeof last_login, "%s", body);
}

static void on_request(struct fake_http_conn *c, const char *request, const char *body)
{
    unsigned path = 0;
    char wanted[64];
    assert_int_equal(sscanf(request, "POST %63s HTTP/1.1\r\n", wanted), 1);
    while (strcmp(paths[path], wanted) != 0)
        path++;
    remember(path, request, body);
    if (path == RANGE_PATH)
        range_conn = c;
    struct script *s = find_script(wanted);
    const char *text = s != NULL ? s->body : usual(path);
    unsigned status = s != NULL ? s->status : 200;
    if (s != NULL && s->once > 0 && --s->once == 0)
        s->once = UINT32_MAX;
    if (text == NULL)
        return;
    if (path == WATCH && status == 200) {
        watch = c;
        fake_http_send(c, STREAM);
        fake_http_chunk(c, text);
    } else {
        fake_http_reply(c, status, text);
    }
}

/* ---- what the source tells ---- */

static void on_members(void *arg, struct roster *r)
{
    (void)arg;
    told++;
    members[0] = '\0';
    for (size_t i = 0; i < roster_count(r); i++)
        (void)snprintf(members + strlen(members), sizeof members - strlen(members), "%s ",
                       roster_member(r, i)->host);
}

static void on_trouble(void *arg, const char *why)
{
    (void)arg;
    troubles += why != NULL;
    goods += why == NULL;
    if (why != NULL)
        (void)snprintf(trouble, sizeof trouble, "%s", why);
}

static void on_left(void *arg)
{
    (void)arg;
    left++;
}

/* ---- the stage ---- */

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    (void)uv_timer_init(&loop, &patience);
    (void)uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    server = (struct fake_http){.on_request = on_request};
    fake_http_start(&server, &loop, 0);
    fetcher = fetcher_create(&loop, NULL, 4);
    assert_non_null(fetcher);
    source = NULL;
    script = NULL;
    watch = range_conn = NULL;
    memset(asked, 0, sizeof asked);
    told = troubles = goods = left = 0;
    members[0] = trouble[0] = last_token[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (source != NULL)
        source_etcd_close(source);
    fetcher_close(fetcher);
    fake_http_stop(&server);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static struct member self_of(const char *host)
{
    struct member m = {.port = 1, .weight = 100, .load = ROSTER_LOAD_UNKNOWN, .self = true};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    return m;
}

static void open_source(const char *first, const char *user)
{
    const char *const endpoints[] = {first != NULL ? first : server.url, server.url};
    const struct source_events events = {on_members, on_trouble, NULL};
    struct source_etcd_options o = {
        .endpoints = endpoints,
        .endpoint_count = first != NULL ? 2 : 1,
        .prefix = "/c/",
        .lease_ttl_s = TTL_S,
        .timeout_ms = 200,
        .check_ms = 400,
        .pause_ms = 20,
        .user = user,
        .password = "pass\"word",
    };
    struct member self = self_of("px1");
    source = source_etcd_create(&loop, fetcher, &o, &self, &events);
    assert_non_null(source);
}

#define WAIT(condition)                                                                            \
    while (!(condition))                                                                           \
    (void)uv_run(&loop, UV_RUN_ONCE)

/* ---- as it should be ---- */

static void test_registers_reads_and_watches(void **state)
{
    struct script usual_with_a[] = {
        {"/v3/kv/range", 200, RANGE("5", PAIR(KEY_A, MEMBER_A, "3") "," SELF), 0}, {0}};
    (void)state;
    script = usual_with_a;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_string_equal(members, "a ");
    assert_non_null(strstr(last_watch, "\"start_revision\":\"6\""));
    assert_non_null(strstr(last_put, "\"key\":\"" KEY_SELF "\""));
    assert_non_null(strstr(last_put, "\"lease\":\"77\""));
    assert_string_equal(last_token, "");
    WAIT(asked[KEEPALIVE] > 1);
    assert_int_equal(asked[GRANT], 1);
    assert_int_equal(asked[PUT], 1);
    assert_int_equal(troubles, 0);
}

static void test_events(void **state)
{
    struct script quiet[] = {
        {"/v3/kv/range", 200, RANGE("5", SELF), 1}, {"/v3/kv/range", 200, NULL, 0}, {0}};
    (void)state;
    script = quiet;
    open_source(NULL, "");
    WAIT(goods > 0);
    fake_http_chunk(watch, EVENT("6", "{\"kv\":" PAIR(KEY_A, MEMBER_A, "6") "}"));
    WAIT(strcmp(members, "a ") == 0);
    /* In two parts, and two lines in one. */
    fake_http_chunk(watch, "{\"result\":{\"header\":{\"revision\":\"7\"},\"events\":[{\"kv\":");
    fake_http_chunk(watch, PAIR(KEY_B, MEMBER_B, "7") "}]}}\n" EVENT(
                               "8", "{\"type\":\"DELETE\",\"kv\":{\"key\":\"" KEY_A
                                    "\",\"mod_revision\":\"8\"}}"));
    WAIT(strcmp(members, "b ") == 0);
    /* An event that is older than what is known, and garbage in its place, which is no member. */
    fake_http_chunk(watch, EVENT("8", "{\"kv\":" PAIR(KEY_A, MEMBER_A, "4") "}"));
    fake_http_chunk(watch, EVENT("9", "{\"kv\":" PAIR(KEY_B, "e30=", "9") "}"));
    WAIT(strcmp(members, "") == 0);
}

static void test_a_new_self_is_put_and_a_new_key_moves(void **state)
{
    struct member self = self_of("px1");
    (void)state;
    open_source(NULL, "");
    WAIT(goods > 0);
    self.priority = 9;
    source_etcd_tell(source, &self);
    WAIT(asked[PUT] == 2);
    assert_int_equal(asked[REVOKE], 0);
    self = self_of("px2");
    source_etcd_tell(source, &self);
    WAIT(asked[PUT] == 3);
    assert_int_equal(asked[REVOKE], 1);
    assert_int_equal(asked[GRANT], 2);
    assert_non_null(strstr(last_put, "\"key\":\"L2MvcHgyOjE=\""));
}

static void test_login(void **state)
{
    struct script expired[] = {{"/v3/lease/grant", 401, "{\"code\":16,\"error\":\"token\"}", 1},
                               {0}};
    (void)state;
    script = expired;
    open_source(NULL, "me");
    WAIT(goods > 0);
    assert_string_equal(last_login, "{\"name\":\"me\",\"password\":\"pass\\\"word\"}");
    assert_string_equal(last_token, "t1");
    assert_int_equal(asked[LOGIN], 2);
}

static void test_a_token_that_expires_is_no_trouble(void **state)
{
    struct script expires[] = {
        {"/v3/lease/keepalive", 401, "{\"code\":16,\"error\":\"invalid auth token\"}", 1}, {0}};
    (void)state;
    open_source(NULL, "me");
    WAIT(goods > 0);
    script = expires;
    WAIT(asked[LOGIN] == 2 && asked[KEEPALIVE] > 1);
    assert_int_equal(troubles, 0);
}

/* ---- what changes meanwhile ---- */

static struct fake_http_conn *held; /* a put that is not answered */

static void on_request_hold(struct fake_http_conn *c, const char *request, const char *body)
{
    if (held == NULL && strncmp(request, "POST /v3/kv/put ", 16) == 0) {
        held = c;
        remember(PUT, request, body);
        return;
    }
    on_request(c, request, body);
}

/* What the put under way says is not what we are any more when its answer comes. */
static void test_a_new_self_while_the_old_one_is_put(void **state)
{
    struct member self = self_of("px1");
    char first[sizeof last_put];
    (void)state;
    held = NULL;
    server.on_request = on_request_hold;
    open_source(NULL, "");
    WAIT(held != NULL);
    memcpy(first, last_put, sizeof first);
    self.priority = 7;
    source_etcd_tell(source, &self);
    fake_http_reply(held, 200, "{}");
    WAIT(asked[PUT] == 2);
    assert_string_not_equal(first, last_put);
    WAIT(goods > 0);
    assert_int_equal(asked[PUT], 2);
}

/* Etcd was set back to a backup and the old watch stays open: it would be silent for ever. */
static void test_a_store_that_was_set_back(void **state)
{
    struct script before[] = {
        {"/v3/kv/range", 200, RANGE("5000", PAIR(KEY_A, MEMBER_A, "3") "," SELF), 0}, {0}};
    struct script after[] = {
        {"/v3/kv/range", 200, RANGE("5", PAIR(KEY_B, MEMBER_B, "3") "," SELF), 0}, {0}};
    (void)state;
    script = before;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_string_equal(members, "a ");
    script = after;
    WAIT(strcmp(members, "b ") == 0);
    WAIT(asked[WATCH] == 2);
    assert_non_null(strstr(last_watch, "\"start_revision\":\"6\""));
}

/* The same while the range is under way: what the watch tells is newer than its answer. */
static void test_events_that_are_faster_than_a_range(void **state)
{
    struct script quiet[] = {
        {"/v3/kv/range", 200, RANGE("5", SELF), 1}, {"/v3/kv/range", 200, NULL, 0}, {0}};
    (void)state;
    script = quiet;
    open_source(NULL, "");
    WAIT(asked[RANGE_PATH] == 2 && watch != NULL);
    fake_http_chunk(watch, EVENT("6", "{\"kv\":" PAIR(KEY_A, MEMBER_A, "6") "}"));
    WAIT(strcmp(members, "a ") == 0);
    assert_non_null(range_conn);
    fake_http_reply(range_conn, 200, RANGE("5", SELF));
    script = NULL;
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_string_equal(members, "a ");
}

/* ---- what it forgets ---- */

static void test_a_lost_lease(void **state)
{
    struct script lost[] = {{"/v3/lease/keepalive", 200, "{\"result\":{\"ID\":\"77\"}}", 1}, {0}};
    (void)state;
    script = lost;
    open_source(NULL, "");
    WAIT(asked[GRANT] == 2 && asked[PUT] == 2);
    assert_int_equal(troubles, 0);
}

static void test_a_lease_that_ends_before_the_put(void **state)
{
    struct script gone[] = {
        {"/v3/kv/put", 404, "{\"code\":5,\"message\":\"requested lease not found\"}", 1}, {0}};
    (void)state;
    script = gone;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_int_equal(asked[GRANT], 2);
}

static void test_compacted_history(void **state)
{
    struct script compacted[] = {
        {"/v3/kv/range", 200, RANGE("5", SELF), 1},
        {"/v3/kv/range", 200, RANGE("50", PAIR(KEY_B, MEMBER_B, "3") "," SELF), 0},
        {"/v3/watch", 200,
         "{\"result\":{\"header\":{\"revision\":\"50\"},\"canceled\":true,\"compact_revision\":"
         "\"40\"}}\n",
         1},
        {0}};
    (void)state;
    script = compacted;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_string_equal(members, "b ");
    assert_non_null(strstr(last_watch, "\"start_revision\":\"51\""));
    assert_int_equal(troubles, 0);
}

static void test_our_key_is_gone(void **state)
{
    (void)state;
    open_source(NULL, "");
    WAIT(goods > 0);
    fake_http_chunk(watch, EVENT("9", "{\"type\":\"DELETE\",\"kv\":{\"key\":\"" KEY_SELF
                                      "\",\"mod_revision\":\"9\"}}"));
    WAIT(asked[PUT] == 2);
}

/* Ours may be among those that a range does not tell. */
static void test_more_keys_than_a_range_tells(void **state)
{
    struct script more[] = {
        {"/v3/kv/range", 200, "{\"header\":{\"revision\":\"6\"},\"more\":true,\"kvs\":[]}", 0},
        {0}};
    (void)state;
    script = more;
    open_source(NULL, "");
    WAIT(asked[RANGE_PATH] == 4);
    assert_int_equal(asked[PUT], 1);
}

static void test_a_range_without_our_key(void **state)
{
    struct script without[] = {{"/v3/kv/range", 200, RANGE("6", ""), 2}, {0}};
    (void)state;
    script = without;
    open_source(NULL, "");
    WAIT(asked[PUT] == 3);
}

/* ---- what does not come ---- */

static void test_a_watch_that_has_died_silently(void **state)
{
    struct script later[] = {
        {"/v3/kv/range", 200, RANGE("5", SELF), 1},
        {"/v3/kv/range", 200, RANGE("9", PAIR(KEY_A, MEMBER_A, "7") "," SELF), 0},
        {0}};
    (void)state;
    script = later;
    open_source(NULL, "");
    WAIT(strcmp(members, "a ") == 0);
    WAIT(asked[WATCH] == 2);
    assert_non_null(strstr(last_watch, "\"start_revision\":\"10\""));
}

static void test_a_watch_that_never_begins(void **state)
{
    struct script silent[] = {{"/v3/watch", 200, NULL, 1}, {0}};
    (void)state;
    script = silent;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_non_null(strstr(trouble, "no watch in time"));
}

static void test_silence(void **state)
{
    struct script silent[] = {{"/v3/lease/grant", 200, NULL, 1}, {0}};
    (void)state;
    script = silent;
    open_source(NULL, "");
    WAIT(troubles > 0);
    WAIT(goods > 0);
}

static void test_a_server_that_goes_away(void **state)
{
    (void)state;
    open_source(NULL, "");
    WAIT(goods > 0);
    fake_http_drop_all(&server);
    WAIT(troubles > 0);
    WAIT(goods > 1);
    assert_int_equal(asked[GRANT], 1);
}

static void test_the_other_endpoint(void **state)
{
    (void)state;
    open_source("http://127.0.0.1:1", "");
    WAIT(goods > 0);
}

/* ---- what should not come ---- */

static void test_garbage(void **state)
{
    static const char *const answers[] = {
        "",
        "[]",
        "null",
        "{\"kvs\":{}}",
        "{\"kvs\":[1]}",
        "{\"kvs\":[{\"key\":7}]}",
        "{\"kvs\":[{\"key\":\"%%%%\"}]}",
        "{\"kvs\":[{\"key\":\"YQ=\"}]}",
        "{\"kvs\":[{\"value\":\"YQ==\"}]}",
        "{\"header\":{\"revision\":5}}",
        "{\"header\":{\"revision\":\"99999999999999999999\"}}",
        "{\"header\":{\"revision\":\"-1\"}}",
        "{\"header\":[]}",
        "{\"more\":1}",
        "{\"result\":[]}",
        "{\"a\":\"\\u0000\"}",
        "{\"kvs\":[[[[[[[[[[[]]]]]]]]]]]}",
        "HTTP/1.1 200 OK",
    };
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct script wrong[] = {{"/v3/kv/range", 200, answers[i], 1}, {0}};
        script = wrong;
        troubles = goods = 0;
        trouble[0] = '\0';
        open_source(NULL, "");
        WAIT(troubles > 0);
        WAIT(goods > 0); /* the next answer was good */
        source_etcd_close(source);
        source = NULL;
    }
}

static void test_garbage_in_the_watch(void **state)
{
    static const char *const lines[] = {
        "\n",
        "nonsense\n",
        "{\"result\":{\"events\":[{}]}}\n",
        "{\"result\":{\"events\":7}}\n",
        "{\"error\":{\"grpc_code\":16,\"message\":\"etcdserver: invalid auth token\"}}\n",
        "{\"result\":{\"canceled\":true,\"cancel_reason\":\"permission denied\"}}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        troubles = goods = 0;
        open_source(NULL, "");
        WAIT(goods > 0);
        fake_http_chunk(watch, lines[i]);
        WAIT(troubles > 0);
        WAIT(goods > 1);
        source_etcd_close(source);
        source = NULL;
    }
}

static void test_statuses_and_tokens(void **state)
{
    static struct script wrong[][2] = {
        {{"/v3/lease/grant", 500, "oops", 1}, {0}},
        {{"/v3/lease/grant", 400, "{\"code\":3,\"message\":\"user name is empty\"}", 1}, {0}},
        {{"/v3/lease/grant", 200, "{}", 1}, {0}},
        {{"/v3/lease/grant", 200, "{\"ID\":\"1\\\"2\"}", 1}, {0}},
        {{"/v3/kv/put", 403, "{\"code\":7,\"message\":\"permission denied\"}", 1}, {0}},
        {{"/v3/watch", 403, "{\"code\":7}", 1}, {0}},
        {{"/v3/auth/authenticate", 400, "{\"code\":3,\"message\":\"authentication failed\"}", 1},
         {0}},
        {{"/v3/auth/authenticate", 200, "{}", 1}, {0}},
        {{"/v3/auth/authenticate", 200, "{\"token\":\"a\\r\\nX: y\"}", 1}, {0}},
        {{"/v3/auth/authenticate", 200, "{\"token\":7}", 1}, {0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        script = wrong[i];
        troubles = goods = 0;
        open_source(NULL, i < 6 ? "" : "me");
        WAIT(troubles > 0);
        WAIT(goods > 0);
        source_etcd_close(source);
        source = NULL;
    }
}

/* Rights in etcd go by keys: who may write its own cannot speak for another. */
static void test_keys_of_others(void **state)
{
    struct script lies[] = {
        {"/v3/kv/range", 200,
         RANGE("5", PAIR(KEY_A, MEMBER_B, "3") "," PAIR(KEY_V6, MEMBER_V6, "4") "," SELF), 1},
        {"/v3/kv/range", 200, NULL, 0},
        {0}};
    (void)state;
    script = lies;
    open_source(NULL, "");
    WAIT(goods > 0);
    assert_string_equal(members, "2001:db8::1 ");
    fake_http_chunk(watch, EVENT("6", "{\"kv\":" PAIR(KEY_V6, MEMBER_A, "6") "}"));
    WAIT(strcmp(members, "") == 0);
    fake_http_chunk(watch, EVENT("7", "{\"kv\":" PAIR(KEY_A, MEMBER_A, "7") "}"));
    WAIT(strcmp(members, "a ") == 0);
}

static void on_request_cut(struct fake_http_conn *c, const char *request, const char *body)
{
    on_request(c, request, body);
    if (strncmp(request, "POST /v3/watch ", 15) == 0)
        fake_http_drop(c);
}

/* A watch that ends as soon as it is there is as bad as none: no hot loop, and nothing is well. */
static void test_watches_that_are_cut(void **state)
{
    uint64_t begun = uv_hrtime();
    (void)state;
    server.on_request = on_request_cut;
    open_source(NULL, "");
    WAIT(asked[WATCH] == 6);
    assert_true(goods <= 1); /* the first was none of those that follow a failure */
    /* At least half of 20, 40, 80, 160 and 320 ms lie between six. */
    assert_true(uv_hrtime() - begun > UINT64_C(300) * 1000 * 1000);
    unsigned before = goods;
    server.on_request = on_request;
    WAIT(goods > before);
}

/* Every failure waits longer than the one before, up to a bound. */
static void test_pauses_grow(void **state)
{
    struct script broken[] = {{"/v3/lease/grant", 500, "{}", 0}, {0}};
    uint64_t begun = uv_hrtime();
    (void)state;
    script = broken;
    open_source(NULL, "");
    WAIT(troubles == 4);
    /* At least half of 20, 40 and 80 ms lie between four. */
    assert_true(uv_hrtime() - begun > UINT64_C(60) * 1000 * 1000);
    assert_int_equal(asked[GRANT], 4);
}

/* ---- leaving ---- */

static void test_leaving(void **state)
{
    (void)state;
    open_source(NULL, "");
    WAIT(goods > 0);
    source_etcd_leave(source, on_left, NULL);
    assert_int_equal(left, 0);
    WAIT(left > 0);
    assert_int_equal(asked[REVOKE], 1);
    for (unsigned i = 0; i < 50; i++)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(left, 1);
    assert_int_equal(asked[GRANT], 1); /* and not back again */
}

static void test_leaving_before_anything(void **state)
{
    (void)state;
    open_source(NULL, "");
    source_etcd_leave(source, on_left, NULL);
    WAIT(left > 0);
    assert_int_equal(asked[REVOKE] + asked[GRANT], 0);
}

static void test_leaving_an_etcd_that_is_silent(void **state)
{
    struct script silent[] = {{"/v3/lease/revoke", 200, NULL, 0}, {0}};
    uint64_t begun;
    (void)state;
    script = silent;
    open_source(NULL, "");
    WAIT(goods > 0);
    begun = uv_hrtime();
    source_etcd_leave(source, on_left, NULL);
    WAIT(left > 0);
    assert_true(uv_hrtime() - begun >= UINT64_C(190) * 1000 * 1000);
}

static void test_leaving_with_a_token_that_has_expired(void **state)
{
    struct script expired[] = {{"/v3/lease/revoke", 401, "{\"code\":16}", 1}, {0}};
    (void)state;
    script = expired;
    open_source(NULL, "me");
    WAIT(goods > 0);
    source_etcd_leave(source, on_left, NULL);
    WAIT(left > 0);
    assert_int_equal(asked[REVOKE], 2);
}

static void test_closing_while_leaving(void **state)
{
    (void)state;
    open_source(NULL, "");
    WAIT(goods > 0);
    source_etcd_leave(source, on_left, NULL);
    source_etcd_close(source);
    source = NULL;
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(left, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers_reads_and_watches),
        TEST(test_events),
        TEST(test_a_new_self_is_put_and_a_new_key_moves),
        TEST(test_a_new_self_while_the_old_one_is_put),
        TEST(test_a_store_that_was_set_back),
        TEST(test_events_that_are_faster_than_a_range),
        TEST(test_login),
        TEST(test_a_token_that_expires_is_no_trouble),
        TEST(test_a_lost_lease),
        TEST(test_a_lease_that_ends_before_the_put),
        TEST(test_compacted_history),
        TEST(test_our_key_is_gone),
        TEST(test_more_keys_than_a_range_tells),
        TEST(test_a_range_without_our_key),
        TEST(test_a_watch_that_has_died_silently),
        TEST(test_a_watch_that_never_begins),
        TEST(test_silence),
        TEST(test_a_server_that_goes_away),
        TEST(test_the_other_endpoint),
        TEST(test_garbage),
        TEST(test_garbage_in_the_watch),
        TEST(test_statuses_and_tokens),
        TEST(test_keys_of_others),
        TEST(test_watches_that_are_cut),
        TEST(test_pauses_grow),
        TEST(test_leaving),
        TEST(test_leaving_before_anything),
        TEST(test_leaving_an_etcd_that_is_silent),
        TEST(test_leaving_with_a_token_that_has_expired),
        TEST(test_closing_while_leaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

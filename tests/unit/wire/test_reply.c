/*
 * Our own answers, octet for octet; each is complete, parses by our own strict reader, and tells
 * what was refused without letting the peer write into it.
 */
#include "proxy/wire/reply.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/wire/body.h"
#include "proxy/wire/head.h"

#define NL "\r\n"
#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT" NL

enum { EXAMPLE_TIME = 784111777 }; /* of RFC 9110 section 5.6.7 */

/* A refusal that closes, with the realm and the patience that our answers have by default. */
static int refuse(struct buf *out, enum outcome o, struct span detail, const char *name,
                  bool head_only, time_t now)
{
    return reply_refusal(out, &(struct refusal){.outcome = o,
                                                .detail = detail,
                                                .name = name,
                                                .realm = "certferry",
                                                .head_only = head_only,
                                                .retry_after_s = 10,
                                                .now = now});
}

static void expect_octets(const struct buf *out, const char *expected)
{
    if (!span_is(buf_span(out), span_of(expected)))
        fail_msg("\n%.*s\n---- expected:\n%s", SPAN_ARGS(buf_span(out)), expected);
}

static void test_connect_established(void **state)
{
    (void)state;
    assert_true(
        span_is(reply_connect_established, SPAN("HTTP/1.1 200 Connection established\r\n\r\n")));
}

static void test_write(void **state)
{
    (void)state;
    static const struct {
        struct reply reply;
        const char *out;
    } cases[] = {
        {{.status = 200,
          .phrase = "OK",
          .content_type = "text/plain",
          .body = {"alive\n", 6},
          .now = EXAMPLE_TIME},
         "HTTP/1.1 200 OK" NL DATE "Content-Type: text/plain" NL "Content-Length: 6" NL NL
         "alive\n"},
        {{.status = 200,
          .phrase = "OK",
          .content_type = "text/plain",
          .body = {"alive\n", 6},
          .head_only = true,
          .close = true,
          .extra = "ETag: \"a\"" NL "X: y" NL,
          .now = EXAMPLE_TIME},
         "HTTP/1.1 200 OK" NL DATE "Content-Type: text/plain" NL "Content-Length: 6" NL
         "ETag: \"a\"" NL "X: y" NL "Connection: close" NL NL},
        /* RFC 9110 section 15.4.5: the body that is at hand is not part of a 304. */
        {{.status = 304,
          .phrase = "Not Modified",
          .body = {"document", 8},
          .extra = "ETag: \"a\"" NL,
          .now = EXAMPLE_TIME},
         "HTTP/1.1 304 Not Modified" NL DATE "ETag: \"a\"" NL NL},
        {{.status = 204, .phrase = "No Content", .now = EXAMPLE_TIME},
         "HTTP/1.1 204 No Content" NL DATE NL},
        {{.status = 100, .phrase = "Continue", .now = EXAMPLE_TIME},
         "HTTP/1.1 100 Continue" NL DATE NL},
        /* RFC 9112 section 6.3: without a length the client would wait for the close. */
        {{.status = 200, .phrase = "OK", .now = EXAMPLE_TIME},
         "HTTP/1.1 200 OK" NL DATE "Content-Length: 0" NL NL},
        {{.status = 200,
          .phrase = "OK",
          .content_type = "text/plain",
          .body = {"", 0},
          .now = EXAMPLE_TIME},
         "HTTP/1.1 200 OK" NL DATE "Content-Type: text/plain" NL "Content-Length: 0" NL NL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(reply_write(&out, &cases[i].reply), 0);
        expect_octets(&out, cases[i].out);
        buf_release(&out);
    }
}

/* RFC 9110 section 5.6.7: always GMT, wherever the process lives. */
static void test_date(void **state)
{
    (void)state;
    static const struct {
        time_t now;
        const char *date;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951827696, "Tue, 29 Feb 2000 12:34:56 GMT"},
        {1795219199, "Fri, 20 Nov 2026 23:59:59 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    assert_int_equal(setenv("TZ", "Asia/Kolkata", 1), 0);
    tzset();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        char expected[256];
        buf_init(&out, 4096);
        assert_int_equal(
            reply_write(&out, &(struct reply){.status = 204, .phrase = "x", .now = cases[i].now}),
            0);
        (void)snprintf(expected, sizeof expected, "HTTP/1.1 204 x" NL "Date: %s" NL NL,
                       cases[i].date);
        expect_octets(&out, expected);
        buf_release(&out);
    }
}

static void test_outcome(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 8192);
    assert_int_equal(
        refuse(&out, OUTCOME_HOST_DENIED, SPAN("www.example.org"), "edge1", false, EXAMPLE_TIME),
        0);
    expect_octets(&out,
                  "HTTP/1.1 403 Host not in the allowlist" NL DATE
                  "Content-Type: text/plain; charset=us-ascii" NL "Content-Length: 218" NL
                  "Cache-Control: no-store" NL "Proxy-Status: edge1; error=http_request_denied" NL
                  "Connection: close" NL NL "403 Host not in the allowlist: www.example.org\n"
                  "The operator must add the domain to allowed.domains, or the exact host to "
                  "allowed.hosts, in useproxy.properties.\n"
                  "Said by the proxy edge1 (host-denied), not by the server.\n");
    buf_release(&out);
}

/* Parses the answer as a client would; returns where its body begins. */
static struct span read_answer(struct head *h, const struct buf *out, bool head_only)
{
    static const struct head_limits limits = {65536, 8192, 100};
    if (out->data == NULL)
        return SPAN("");
    struct body body;
    size_t scanned = 0;
    const char *why = "";
    if (head_parse(h, HEAD_RESPONSE, buf_head(out), buf_len(out), &limits, &scanned, &why) !=
        HEAD_OK)
        fail_msg("\"%.*s\": %s", SPAN_ARGS(buf_span(out)), why);
    assert_int_equal(body_of_response(&body, h, SPAN("GET"), &why), 0);
    assert_int_equal(body.kind, BODY_LENGTH);
    struct span text = {buf_head(out) + h->size, buf_len(out) - h->size};
    assert_int_equal(text.len, head_only ? 0 : body.length);
    assert_true(body.length > 0);
    body_release(&body);
    return text;
}

static bool contains(struct span s, const char *text)
{
    return s.ptr != NULL && memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

static void check_every_outcome(enum outcome o, bool head_only)
{
    const struct outcome_info *info = outcome_info(o);
    static struct head h;
    struct buf out;
    buf_init(&out, 8192);
    assert_int_equal(refuse(&out, o, SPAN("detail"), "edge1", head_only, EXAMPLE_TIME), 0);
    struct span text = read_answer(&h, &out, head_only);
    assert_int_equal(h.status, info->status);
    assert_true(span_is(h.reason, span_of(info->phrase)));
    assert_true(head_list_has(&h, SPAN("Connection"), SPAN("close")));
    assert_int_equal(head_count(&h, SPAN("Proxy-Status")), info->proxy_status != NULL);
    assert_int_equal(head_count(&h, SPAN("Retry-After")),
                     info->status == 429 || info->status == 503);
    assert_int_equal(head_count(&h, SPAN("Allow")), info->status == 405);
    assert_int_equal(head_count(&h, SPAN("Proxy-Authenticate")), info->status == 407);
    if (!head_only) {
        assert_true(contains(text, info->phrase) && contains(text, "detail"));
        assert_true(contains(text, info->token));
        if (info->remedy != NULL)
            assert_true(contains(text, info->remedy));
        assert_true(text.len > 0 && text.ptr[text.len - 1] == '\n');
    }
    buf_release(&out);
}

/* A password question keeps the connection: git and curl repeat the request on it. */
static void test_kept_question(void **state)
{
    (void)state;
    static struct head h;
    struct buf out;
    buf_init(&out, 8192);
    struct refusal r = {.outcome = OUTCOME_AUTH_REQUIRED,
                        .name = "edge1",
                        .realm = "plant 7",
                        .keep = true,
                        .now = EXAMPLE_TIME};
    assert_int_equal(reply_refusal(&out, &r), 0);
    (void)read_answer(&h, &out, false);
    assert_int_equal(head_count(&h, SPAN("Connection")), 0);
    assert_true(contains(buf_span(&out),
                         "\r\nProxy-Authenticate: Basic realm=\"plant 7\", charset=\"UTF-8\"\r\n"));
    buf_release(&out);
}

static void test_every_outcome(void **state)
{
    (void)state;
    size_t answered = 0;
    for (int o = 0; o < OUTCOME_COUNT; o++) {
        if (outcome_info((enum outcome)o)->status == 0)
            continue;
        check_every_outcome((enum outcome)o, false);
        check_every_outcome((enum outcome)o, true);
        answered++;
    }
    assert_true(answered > 20);
}

/* Whoever has rules of his own hears of these, not of the general ones. */
static void test_rule_of_the_client(void **state)
{
    (void)state;
    static struct head h;
    struct refusal r = {.outcome = OUTCOME_HOST_DENIED,
                        .detail = SPAN("a.example:443"),
                        .rule = "a.allowed.hosts in roles.properties",
                        .name = "edge1",
                        .now = EXAMPLE_TIME};
    struct buf out;
    buf_init(&out, 8192);
    assert_int_equal(reply_refusal(&out, &r), 0);
    struct span text = read_answer(&h, &out, false);
    assert_true(contains(text, "403 Host not in the allowlist: a.example:443\n"
                               "The operator must add it to a.allowed.hosts in roles.properties.\n"
                               "Said by the proxy edge1 (host-denied)"));
    assert_false(contains(text, "useproxy"));
    buf_release(&out);
    r.outcome = OUTCOME_LITERAL_DENIED;
    assert_int_equal(reply_refusal(&out, &r), 0);
    text = read_answer(&h, &out, false);
    assert_true(contains(text, "\nUse the CA's DNS name; an IP address must be listed in "
                               "a.allowed.hosts in roles.properties.\n"));
    buf_release(&out);
}

/* A peer's octets cannot end a line, open a tag of a terminal, or make the answer long. */
static void test_detail_is_escaped(void **state)
{
    (void)state;
    static struct head h;
    static const char hostile[] = "a\r\n\r\nHTTP/1.1 200 OK\r\n\x1b[2J\0\\\x7f\xff\"<b>";
    struct buf out;
    buf_init(&out, 8192);
    assert_int_equal(refuse(&out, OUTCOME_BAD_HOST, (struct span){hostile, sizeof hostile - 1},
                            "edge1", false, EXAMPLE_TIME),
                     0);
    struct span text = read_answer(&h, &out, false);
    assert_true(contains(text, ": a\\x0d\\x0a\\x0d\\x0aHTTP/1.1 200 OK\\x0d\\x0a\\x1b[2J\\x00\\x5c"
                               "\\x7f\\xff\"<b>\n"));
    for (size_t i = 0; i < text.len; i++)
        assert_true(text.ptr[i] == '\n' || (text.ptr[i] >= ' ' && text.ptr[i] <= '~'));
    buf_release(&out);

    static char longest[65536];
    memset(longest, '\x01', sizeof longest);
    assert_int_equal(refuse(&out, OUTCOME_BAD_HOST, (struct span){longest, sizeof longest}, "edge1",
                            false, EXAMPLE_TIME),
                     0);
    text = read_answer(&h, &out, false);
    assert_true(text.len < 2048 && contains(text, "\\x01...\n"));
    buf_release(&out);
}

/* RFC 9209 section 2: a token if it is one, else a string. */
static void test_proxy_status_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *field;
    } cases[] = {
        {"edge1", "edge1; error=dns_error"},
        {"edge1.example.net:48999", "edge1.example.net:48999; error=dns_error"},
        {"1edge", "\"1edge\"; error=dns_error"},
        {"two words", "\"two words\"; error=dns_error"},
        {"a\"b\\c\r\nX: y", "\"a\\\"b\\\\c??X: y\"; error=dns_error"},
        {"", "\"\"; error=dns_error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct head h;
        struct buf out;
        buf_init(&out, 8192);
        assert_int_equal(
            refuse(&out, OUTCOME_DNS_FAILED, SPAN(""), cases[i].name, false, EXAMPLE_TIME), 0);
        (void)read_answer(&h, &out, false);
        assert_true(span_is(head_find(&h, SPAN("Proxy-Status"))->value, span_of(cases[i].field)));
        buf_release(&out);
    }
}

/* Half an answer is never there. */
static void test_no_room(void **state)
{
    (void)state;
    for (size_t room = 0; room < 300; room++) {
        struct buf out;
        buf_init(&out, room + 2);
        assert_int_equal(buf_add_str(&out, "ab"), 0);
        assert_int_equal(refuse(&out, OUTCOME_LOOP, SPAN("detail"), "edge1", false, 0), -ENOBUFS);
        assert_int_equal(buf_len(&out), 2);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_established),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_outcome),
        cmocka_unit_test(test_kept_question),
        cmocka_unit_test(test_every_outcome),
        cmocka_unit_test(test_rule_of_the_client),
        cmocka_unit_test(test_detail_is_escaped),
        cmocka_unit_test(test_proxy_status_name),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

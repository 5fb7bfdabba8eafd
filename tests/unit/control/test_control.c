/* test_control.c - the own pages: table, methods, privilege, conditional requests. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/control/control.h"

static const char *reason; /* not ready */

static const char *not_ready(void *arg)
{
    (void)arg;
    return reason;
}

static const char *signature; /* of the document */

static int tell_document(void *arg, struct control_document *doc)
{
    (void)arg;
    *doc = (struct control_document){SPAN("{\"doc\": 1}"), "\"tag\"", 150, signature};
    return 0;
}

static int tell_nothing(void *arg, struct control_document *doc)
{
    (void)arg;
    (void)doc;
    return -ENOMEM;
}

static int tell_metrics(void *arg, struct buf *out)
{
    (void)arg;
    return buf_add_str(out, "certferry_x 1\n");
}

static int tell_status(void *arg, struct buf *out)
{
    (void)arg;
    return buf_add_str(out, "<p>fine");
}

static struct control_facts facts = {NULL,         not_ready,    tell_document,
                                     tell_nothing, tell_metrics, tell_status};
static const struct head_limits limits = {65536, 32768, 100};

/* The whole answer in static text; the outcome returned. */
static char answer[4096];

static enum outcome ask(const char *method, const char *path, const char *fields, bool privileged)
{
    char text[1024];
    struct head head;
    struct buf out;
    size_t scanned = 0;
    unsigned status = 0;
    const char *operation = "";
    int n =
        snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: p\r\n%s\r\n", method, path, fields);
    assert_int_equal(head_parse(&head, HEAD_REQUEST, text, (size_t)n, &limits, &scanned, NULL),
                     HEAD_OK);
    struct control_request r = {&head, head.target, privileged, false, 1795230463};
    buf_init(&out, CONTROL_ANSWER_MAX);
    enum outcome o = control_answer(&out, &facts, &r, &status, &operation);
    (void)snprintf(answer, sizeof answer, "%.*s", SPAN_ARGS(buf_span(&out)));
    buf_release(&out);
    return o;
}

static void test_pages(void **state)
{
    (void)state;
    reason = NULL;
    assert_int_equal(ask("GET", "/healthz", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    assert_non_null(strstr(answer, "\r\n\r\nalive\n"));
    assert_int_equal(ask("GET", "/readyz?verbose", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    reason = "shutting down";
    assert_int_equal(ask("GET", "/readyz", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "not ready: shutting down\n"));
    assert_int_equal(ask("GET", "/nope", "", true), OUTCOME_NOT_FOUND);
    assert_int_equal(ask("GET", "/healthz/", "", true), OUTCOME_NOT_FOUND);
    assert_int_equal(ask("POST", "/healthz", "", true), OUTCOME_METHOD_NOT_ALLOWED);
    assert_int_equal(ask("DELETE", "/.well-known/pvd", "", true), OUTCOME_METHOD_NOT_ALLOWED);
}

static void test_head_has_the_length_but_no_body(void **state)
{
    (void)state;
    assert_int_equal(ask("HEAD", "/healthz", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "Content-Length: 6\r\n"));
    assert_string_equal(answer + strlen(answer) - 4, "\r\n\r\n");
}

static void test_metrics_are_privileged(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/metrics", "", false), OUTCOME_CONTROL_DENIED);
    assert_string_equal(answer, "");
    assert_int_equal(ask("GET", "/metrics", "", true), OUTCOME_OK);
    assert_non_null(strstr(answer, "text/plain; version=0.0.4"));
}

/* Its fields keep a browser from running, framing or keeping anything. */
static void test_status_page(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/", "", false), OUTCOME_CONTROL_DENIED);
    assert_string_equal(answer, "");
    assert_int_equal(ask("GET", "/?x=<b>", "", true), OUTCOME_OK);
    assert_non_null(strstr(answer, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "\r\nContent-Security-Policy: default-src 'none';"));
    assert_non_null(strstr(answer, "frame-ancestors 'none'\r\n"));
    assert_non_null(strstr(answer, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(answer, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\n<p>fine"));
    assert_int_equal(ask("POST", "/", "", true), OUTCOME_METHOD_NOT_ALLOWED);
    facts.status = NULL; /* an agent has none */
    assert_int_equal(ask("GET", "/", "", true), OUTCOME_NOT_FOUND);
    facts.status = tell_status;
}

static void test_conditional_requests(void **state)
{
    static const struct {
        const char *fields;
        const char *status;
    } cases[] = {
        {"", "200"},
        {"If-None-Match: \"tag\"\r\n", "304"},
        {"If-None-Match: \"other\", \"tag\"\r\n", "304"},
        {"If-None-Match: W/\"tag\"\r\n", "304"},
        {"If-None-Match: *\r\n", "304"},
        {"If-None-Match: \"other\"\r\n", "200"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ask("GET", "/.well-known/pvd", cases[i].fields, false), OUTCOME_OK);
        assert_memory_equal(answer + 9, cases[i].status, 3);
        assert_non_null(strstr(answer, "ETag: \"tag\"\r\nCache-Control: max-age=150\r\n"));
        assert_int_equal(strstr(answer, "{\"doc\": 1}") != NULL, cases[i].status[0] == '2');
    }
    assert_non_null(strstr(answer, "Content-Type: application/pvd+json\r\n"));
}

/* It goes with the octets it signs, so also with HEAD, but not with 304. */
static void test_signature_goes_with_the_body(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/.well-known/pvd", "", false), OUTCOME_OK);
    assert_null(strstr(answer, "Certferry-Signature"));
    signature = "e30..c2ln";
    assert_int_equal(ask("GET", "/.well-known/pvd", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "\r\nCertferry-Signature: e30..c2ln\r\n"));
    assert_int_equal(ask("HEAD", "/.well-known/pvd", "", false), OUTCOME_OK);
    assert_non_null(strstr(answer, "\r\nCertferry-Signature: e30..c2ln\r\n"));
    assert_int_equal(ask("GET", "/.well-known/pvd", "If-None-Match: *\r\n", false), OUTCOME_OK);
    assert_null(strstr(answer, "Certferry-Signature"));
    signature = NULL;
}

static void test_memory_out_is_told(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/proxy.pac", "", false), OUTCOME_NO_MEMORY);
    assert_string_equal(answer, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_head_has_the_length_but_no_body),
        cmocka_unit_test(test_metrics_are_privileged),
        cmocka_unit_test(test_status_page),
        cmocka_unit_test(test_conditional_requests),
        cmocka_unit_test(test_signature_goes_with_the_body),
        cmocka_unit_test(test_memory_out_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_gateway.c - a head at the gateway -> forward or refuse, in the promised order; the name that
 * may be repeated. */
#include "proxy/session/gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct gateway_options any, named;
static struct hostname names[3];

static int setup(void **state)
{
    static const char *const texts[] = {"gateway.test", "192.0.2.1", "[2001:db8::1]"};
    (void)state;
    any.paths = named.paths = paths_create();
    assert_int_equal(paths_add(any.paths, SPAN("/.well-known/est/**"), NULL), 0);
    assert_int_equal(paths_add(any.paths, SPAN("/scep"), NULL), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(hostname_parse(&names[i], span_of(texts[i]), NULL), 0);
    named.names = names;
    named.name_count = 3;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    paths_destroy(any.paths);
    return 0;
}

static void parse(struct head *h, const char *text)
{
    static const struct head_limits limits = {65536, 32768, 100};
    size_t scanned = 0;
    const char *why = "";
    if (head_parse(h, HEAD_REQUEST, text, strlen(text), &limits, &scanned, &why) != HEAD_OK)
        fail_msg("\"%s\": %s", text, why);
}

#define OURS "Host: gateway.test\r\n"

static const struct {
    const char *line; /* request line and further fields, without the last CRLF */
    enum outcome refusal;
} cases[] = {
    {"GET /.well-known/est/cacerts HTTP/1.1\r\n" OURS, OUTCOME_OK},
    {"HEAD /.well-known/est/cacerts?a HTTP/1.1\r\n" OURS, OUTCOME_OK},
    {"POST /.well-known/est/l/simpleenroll HTTP/1.1\r\n" OURS "Content-Length: 3\r\n", OUTCOME_OK},
    {"POST /scep?operation=PKIOperation HTTP/1.1\r\n" OURS "Transfer-Encoding: chunked\r\n",
     OUTCOME_OK},
    {"GET /scep?message=a/../b;c//%2e%2f\\ HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"GET /scep?message=a/../b;c//%2e%2f HTTP/1.1\r\n" OURS, OUTCOME_OK}, /* a query is no path */
    {"GET /scep HTTP/1.1\r\nHost: Gateway.Test.:8443\r\n", OUTCOME_OK},
    {"GET /scep HTTP/1.1\r\nHost: 192.0.2.1\r\n", OUTCOME_OK},
    {"GET /scep HTTP/1.1\r\nHost: [2001:DB8:0::1]:443\r\n", OUTCOME_OK},
    /* names */
    {"GET /scep HTTP/1.1\r\nHost: evil.test\r\n", OUTCOME_GATEWAY_NAME_UNKNOWN},
    {"GET /scep HTTP/1.1\r\nHost: x.gateway.test\r\n", OUTCOME_GATEWAY_NAME_UNKNOWN},
    {"GET /scep HTTP/1.1\r\nHost: gateway.test.evil.test\r\n", OUTCOME_GATEWAY_NAME_UNKNOWN},
    {"GET /scep HTTP/1.1\r\nHost:\r\n", OUTCOME_GATEWAY_NAME_UNKNOWN},
    {"GET /scep HTTP/1.0\r\n", OUTCOME_GATEWAY_NAME_UNKNOWN},
    {"GET /scep HTTP/1.1\r\nHost: 0x7f.1\r\n", OUTCOME_BAD_HOST},
    {"GET /scep HTTP/1.1\r\nHost: a_b;c\r\n", OUTCOME_BAD_HOST},
    /* forms of a target */
    {"GET http://gateway.test/scep HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"GET https://gateway.test/scep HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"CONNECT gateway.test:443 HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"OPTIONS * HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"GET /scep#x HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    {"GET /scep\\x HTTP/1.1\r\n" OURS, OUTCOME_BAD_TARGET},
    /* methods */
    {"TRACE /scep HTTP/1.1\r\n" OURS, OUTCOME_METHOD_DENIED},
    {"OPTIONS /scep HTTP/1.1\r\n" OURS, OUTCOME_METHOD_DENIED},
    {"PUT /scep HTTP/1.1\r\n" OURS, OUTCOME_METHOD_DENIED},
    {"DELETE /scep HTTP/1.1\r\n" OURS, OUTCOME_METHOD_DENIED},
    /* framing, loops */
    {"POST /scep HTTP/1.1\r\n" OURS "Content-Length: 3\r\nContent-Length: 4\r\n",
     OUTCOME_BAD_FRAMING},
    {"POST /scep HTTP/1.1\r\n" OURS "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
     OUTCOME_BAD_FRAMING},
    {"GET /scep HTTP/1.1\r\n" OURS "Via: 1.1 me\r\n", OUTCOME_LOOP},
    /* paths */
    {"GET / HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /admin HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /scep/ HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /SCEP HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /.well-known/est/../../admin HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /.well-known/est/%2e%2e/%2e%2e/admin HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /.well-known/est/..%2f..%2fadmin HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /.well-known/est/..;/admin HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET //evil.test/.well-known/est/x HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /healthz HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
    {"GET /metrics HTTP/1.1\r\n" OURS, OUTCOME_PATH_DENIED},
};

static void test_cases(void **state)
{
    static struct head head;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        struct route r;
        (void)snprintf(text, sizeof text, "%s\r\n", cases[i].line);
        parse(&head, text);
        gateway_decide(&r, &head, &named, SPAN("me"));
        enum outcome got = r.kind == ROUTE_FORWARD ? OUTCOME_OK : r.refusal;
        if (got != cases[i].refusal)
            fail_msg("%s: %s", cases[i].line, outcome_info(got)->token);
        body_release(&r.body);
    }
}

static void test_any_name(void **state)
{
    static const char *const heads[] = {"GET /scep HTTP/1.1\r\nHost: whoever.test\r\n\r\n",
                                        "GET /scep HTTP/1.1\r\nHost:\r\n\r\n",
                                        "GET /scep HTTP/1.0\r\n\r\n"};
    static struct head head;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct route r;
        parse(&head, heads[i]);
        gateway_decide(&r, &head, &any, SPAN("me"));
        assert_int_equal(r.kind, ROUTE_FORWARD);
        assert_int_equal(r.class.protocol, PROTOCOL_SCEP);
    }
}

static const struct {
    const char *host;
    uint16_t port;
    const char *authority; /* NULL: refused */
} authorities[] = {
    {"gateway.test", 0, "gateway.test"},
    {"Gateway.Test.", 0, "gateway.test"},
    {"gateway.test:8443", 0, "gateway.test:8443"},
    {"gateway.test:", 0, "gateway.test"},
    {"gateway.test:80", 443, "gateway.test"},
    {"gateway.test:80", 8443, "gateway.test:8443"},
    {"gateway.test:99999999999999999999", 0, "gateway.test"},
    {"192.0.2.1:80", 8443, "192.0.2.1:8443"},
    {"[2001:DB8::1]:80", 443, "[2001:db8::1]"},
    {"[2001:db8::1]", 8443, "[2001:db8::1]:8443"},
    {"evil.test", 443, NULL},
    {"evil.test:443@gateway.test", 443, NULL},
};

static void test_authorities(void **state)
{
    static struct head head;
    (void)state;
    for (size_t i = 0; i < sizeof authorities / sizeof *authorities; i++) {
        char text[256], authority[GATEWAY_AUTHORITY_MAX];
        const char *why;
        size_t scanned = 0;
        static const struct head_limits limits = {65536, 32768, 100};
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
                       authorities[i].host);
        if (head_parse(&head, HEAD_REQUEST, text, strlen(text), &limits, &scanned, &why) !=
            HEAD_OK) {
            assert_null(authorities[i].authority);
            continue;
        }
        enum outcome got = gateway_authority(authority, &head, &named, authorities[i].port, &why);
        assert_int_equal(got == OUTCOME_OK, authorities[i].authority != NULL);
        assert_string_equal(authority,
                            authorities[i].authority != NULL ? authorities[i].authority : "");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_any_name),
        cmocka_unit_test(test_authorities),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

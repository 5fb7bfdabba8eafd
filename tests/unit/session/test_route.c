/* test_route.c - head -> route -> policy: what becomes of each kind of request, in the promised
 * order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/session/route.h"

static struct policy *policy;

static int make_policy(bool reports)
{
    static const struct port_range connect[] = {{443, 443}}, http[] = {{80, 80}, {8080, 8090}};
    struct rules *rules = rules_create();
    assert_int_equal(rules_add_domain(rules, SPAN("digicert.com"), NULL), 0);
    assert_int_equal(rules_add_host(rules, SPAN("192.0.2.7"), NULL), 0);
    struct policy_options o = {.rules = rules,
                               .connect_ports = connect,
                               .connect_port_count = 1,
                               .http_ports = http,
                               .http_port_count = 2,
                               .protocols = 1U << PROTOCOL_SCEP | 1U << PROTOCOL_OTHER,
                               .reports = reports};
    policy = policy_create(&o);
    return policy == NULL;
}

static int setup(void **state)
{
    (void)state;
    return make_policy(false);
}

static int setup_reporting(void **state)
{
    (void)state;
    return make_policy(true);
}

static int teardown(void **state)
{
    (void)state;
    policy_destroy(policy);
    return 0;
}

static const struct {
    const char *line; /* request line and further fields, without the last CRLF */
    enum route_kind kind;
    enum outcome refusal;
    const char *host;
} cases[] = {
    {"CONNECT one.digicert.com:443 HTTP/1.0\r\n", ROUTE_TUNNEL, OUTCOME_OK, "one.digicert.com"},
    {"CONNECT One.DigiCert.Com.:443 HTTP/1.1\r\nHost: x\r\n", ROUTE_TUNNEL, OUTCOME_OK,
     "one.digicert.com"},
    {"CONNECT 192.0.2.7:443 HTTP/1.0\r\n", ROUTE_TUNNEL, OUTCOME_OK, "192.0.2.7"},
    {"CONNECT digicert.com:443 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n",
     ROUTE_TUNNEL, OUTCOME_OK, "digicert.com"},
    /* A length has no meaning on CONNECT, a coding would be a second opinion (RFC 9110
       section 9.3.6). */
    {"CONNECT digicert.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", ROUTE_TUNNEL,
     OUTCOME_OK, "digicert.com"},
    {"CONNECT digicert.com:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", ROUTE_REFUSE,
     OUTCOME_BAD_FRAMING, NULL},
    {"CONNECT digicert.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
     ROUTE_REFUSE, OUTCOME_BAD_FRAMING, NULL},
    {"CONNECT digicert.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", ROUTE_REFUSE,
     OUTCOME_BAD_FRAMING, NULL},
    {"CONNECT digicert.com:22 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_PORT_DENIED, "digicert.com"},
    {"CONNECT evil.example:22 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_PORT_DENIED, "evil.example"},
    {"CONNECT evil.example:443 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_HOST_DENIED, "evil.example"},
    {"CONNECT evildigicert.com:443 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_HOST_DENIED,
     "evildigicert.com"},
    {"CONNECT 192.0.2.8:443 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_LITERAL_DENIED, "192.0.2.8"},
    {"CONNECT 0x7f.1:443 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_BAD_HOST, NULL},
    {"CONNECT 2130706433:443 HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_BAD_HOST, NULL},
    {"CONNECT digicert.com HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_BAD_TARGET, NULL},
    {"CONNECT http://digicert.com:443/ HTTP/1.0\r\n", ROUTE_REFUSE, OUTCOME_BAD_TARGET, NULL},
    {"GET http://x.digicert.com/scep?operation=GetCACaps HTTP/1.1\r\nHost: x\r\n", ROUTE_FORWARD,
     OUTCOME_OK, "x.digicert.com"},
    {"GET http://x.digicert.com:8085 HTTP/1.1\r\nHost: x\r\n", ROUTE_FORWARD, OUTCOME_OK,
     "x.digicert.com"},
    {"GET http://x.digicert.com/a.crl HTTP/1.1\r\nHost: x\r\n", ROUTE_REFUSE,
     OUTCOME_PROTOCOL_DENIED, "x.digicert.com"},
    {"GET http://x.digicert.com:443/ HTTP/1.1\r\nHost: x\r\n", ROUTE_REFUSE, OUTCOME_PORT_DENIED,
     "x.digicert.com"},
    {"GET https://x.digicert.com/ HTTP/1.1\r\nHost: x\r\n", ROUTE_REFUSE,
     OUTCOME_HTTPS_NEEDS_CONNECT, NULL},
    {"GET ftp://x.digicert.com/ HTTP/1.1\r\nHost: x\r\n", ROUTE_REFUSE, OUTCOME_BAD_TARGET, NULL},
    {"GET http://user@x.digicert.com/ HTTP/1.1\r\nHost: x\r\n", ROUTE_REFUSE, OUTCOME_BAD_TARGET,
     NULL},
    {"GET http://digicert.com/ HTTP/1.1\r\nHost: x\r\nVia: 1.1 other, 1.0 me (x)\r\n", ROUTE_REFUSE,
     OUTCOME_LOOP, NULL},
    {"OPTIONS http://digicert.com HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n", ROUTE_REFUSE,
     OUTCOME_METHOD_NOT_ALLOWED, "digicert.com"},
    {"GET /healthz HTTP/1.1\r\nHost: x\r\n", ROUTE_CONTROL, OUTCOME_OK, NULL},
    {"OPTIONS * HTTP/1.1\r\nHost: x\r\n", ROUTE_CONTROL, OUTCOME_OK, NULL},
};

/* The text of the request must live as long as the route. */
static void decide(struct route *r, const char *line, char *text, size_t size)
{
    const struct head_limits limits = {65536, 32768, 100};
    struct head head;
    size_t scanned = 0;
    int n = snprintf(text, size, "%s\r\n", line);
    assert_int_equal(head_parse(&head, HEAD_REQUEST, text, (size_t)n, &limits, &scanned, NULL),
                     HEAD_OK);
    route_decide(r, &head, policy, SPAN("me"));
}

static void test_routes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct route r;
        decide(&r, cases[i].line, text, sizeof text);
        assert_int_equal(r.would, OUTCOME_OK);
        if (r.kind != cases[i].kind || r.refusal != cases[i].refusal)
            fail_msg("%s: kind %d refusal %s", cases[i].line, r.kind,
                     outcome_info(r.refusal)->token);
        assert_int_equal(r.named, cases[i].host != NULL);
        if (cases[i].host != NULL)
            assert_string_equal(r.host.text, cases[i].host);
        body_release(&r.body);
    }
}

/* What the allowlist refuses passes and is told; what is wrong in itself stays refused. */
static void test_reporting(void **state)
{
    size_t passed = 0;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct route r;
        enum outcome o = cases[i].refusal;
        bool of_allowlist = o == OUTCOME_HOST_DENIED || o == OUTCOME_LITERAL_DENIED ||
                            o == OUTCOME_PORT_DENIED || o == OUTCOME_PROTOCOL_DENIED;
        decide(&r, cases[i].line, text, sizeof text);
        assert_int_equal(r.refusal, of_allowlist ? OUTCOME_OK : o);
        assert_int_equal(r.would, of_allowlist ? o : OUTCOME_OK);
        assert_int_equal(r.kind == ROUTE_REFUSE, o != OUTCOME_OK && !of_allowlist);
        passed += of_allowlist;
        body_release(&r.body);
    }
    assert_true(passed >= 6);
}

static void test_head_faults(void **state)
{
    (void)state;
    assert_int_equal(route_head_fault(HEAD_IS_TLS, HEAD_REQUEST), OUTCOME_TLS_TO_PLAIN_PORT);
    assert_int_equal(route_head_fault(HEAD_TOO_LARGE, HEAD_REQUEST), OUTCOME_HEAD_TOO_LARGE);
    assert_int_equal(route_head_fault(HEAD_TOO_LARGE, HEAD_RESPONSE),
                     OUTCOME_RESPONSE_HEAD_TOO_LARGE);
    assert_int_equal(route_head_fault(HEAD_MALFORMED, HEAD_RESPONSE), OUTCOME_RESPONSE_MALFORMED);
    assert_int_equal(route_head_fault(HEAD_MALFORMED, HEAD_REQUEST), OUTCOME_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reporting, setup_reporting, teardown),
        cmocka_unit_test(test_head_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * What the gateway sends onward: nothing that a client says in its stead, and no URL of an upstream
 * back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/wire/gateway_fields.h"
#include "proxy/wire/rewrite.h"

#define NL "\r\n"
#define END "\r\n\r\n"

static void parse(struct head *h, enum head_kind kind, const char *text)
{
    static const struct head_limits limits = {65536, 32768, HEAD_FIELDS_MAX};
    size_t scanned = 0;
    const char *why = "";
    if (head_parse(h, kind, text, strlen(text), &limits, &scanned, &why) != HEAD_OK)
        fail_msg("\"%s\": %s", text, why);
}

/* ---- requests ---- */

static void check_request(const char *in, const struct rewrite_gateway *g, const char *out)
{
    static struct head h;
    struct target target;
    struct body body;
    struct buf first, whole;
    buf_init(&first, 8192);
    buf_init(&whole, 8192);
    parse(&h, HEAD_REQUEST, in);
    assert_int_equal(target_parse(&target, h.method, h.target, NULL), TARGET_OK);
    assert_int_equal(body_of_request(&body, &h, NULL), 0);
    const struct rewrite_request r = {.head = &h,
                                      .target = &target,
                                      .host = SPAN(""),
                                      .body = &body,
                                      .via = SPAN("ferry"),
                                      .forwarded_for = SPAN(""),
                                      .gateway = g};
    assert_int_equal(rewrite_request(&first, &r), 0);
    assert_int_equal(rewrite_address(&whole, buf_span(&first), SPAN("up.test:8443")), 0);
    assert_int_equal(buf_add(&whole, "", 1), 0);
    assert_string_equal(buf_head(&whole), out);
    body_release(&body);
    buf_release(&first);
    buf_release(&whole);
}

static const struct rewrite_gateway silent = {{"", 0}, {"", 0}, {"", 0}, {"", 0}};
static const struct rewrite_gateway talking = {
    {"192.0.2.7", 9}, {"https", 5}, {"443", 3}, {":MIIB:", 6}};

static void test_requests(void **state)
{
    (void)state;
    check_request("GET /a?b HTTP/1.1" NL "Accept: */*" NL "Host: gateway.test" END, &silent,
                  "GET /a?b HTTP/1.1" NL "Host: up.test:8443" NL "Accept: */*" NL
                  "Via: 1.1 ferry" NL "Connection: keep-alive" END);
    check_request("POST /a HTTP/1.0" NL "Content-Length: 0" END, &talking,
                  "POST /a HTTP/1.1" NL "Host: up.test:8443" NL "Via: 1.0 ferry" NL
                  "X-Forwarded-For: 192.0.2.7" NL "X-Forwarded-Port: 443" NL
                  "X-Forwarded-Proto: https" NL "Client-Cert: :MIIB:" NL "Content-Length: 0" NL
                  "Connection: keep-alive" END);
    /* What the client says of the same goes, in any spelling, even when we say nothing. */
    check_request("GET /a HTTP/1.1" NL "Host: g" NL "X-Forwarded-For: 1.2.3.4" NL
                  "x_forwarded_for: 1.2.3.4" NL "FORWARDED: for=1.2.3.4" NL "Client-Cert: :AAAA:" NL
                  "Client_Cert: :AAAA:" NL "client-cert-chain: :AAAA:" NL
                  "SSL_CLIENT_VERIFY: SUCCESS" NL "X-SSL-Client-DN: CN=root" NL
                  "X-Original-URL: /admin" NL "X-Rewrite-URL: /admin" NL
                  "X-HTTP-Method-Override: DELETE" NL "X-Real-IP: 1.2.3.4" NL "Remote_User: root" NL
                  "X-Forwarded-Host: evil.test" NL "X-Forwarded-Prefix: /x" NL
                  "Proxy-Authorization: Basic eDp5" NL "Connection: X-Forwarded-For, Host" NL
                  "Authorization: Basic eDp5" END,
                  &silent,
                  "GET /a HTTP/1.1" NL "Host: up.test:8443" NL "Authorization: Basic eDp5" NL
                  "Via: 1.1 ferry" NL "Connection: keep-alive" END);
    /* No trailer section is announced, as none is sent. */
    check_request("POST /a HTTP/1.1" NL "Host: g" NL "Trailer: X-Forwarded-For" NL
                  "Transfer-Encoding: chunked" END,
                  &silent,
                  "POST /a HTTP/1.1" NL "Host: up.test:8443" NL "Via: 1.1 ferry" NL
                  "Transfer-Encoding: chunked" NL "Connection: keep-alive" END);
}

static void test_fields_that_stay(void **state)
{
    static const char *const names[] = {
        "Host",          "Accept",          "Content-Type",     "Content-Transfer-Encoding",
        "Authorization", "User-Agent",      "Secret-Value",     "X-Request-Id",
        "Cookie",        "Forward",         "X-Requested-With", "Client",
        "Via",           "If-None-Match",   "Expect",           "X-Api-Key",
        "Date",          "Accept-Language", "Traceparent",      "X-Correlation-Id",
        "Range",         "Cache-Control",   "Content-Encoding", "Content-Disposition",
        "From",          "Origin",          "Referer",          "Idempotency-Key"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (gateway_field_is_ours(span_of(names[i])))
            fail_msg("%s", names[i]);
    }
}

static void test_fields_that_are_ours(void **state)
{
    static const char *const names[] = {
        /* who the client is, and how it came */
        "Forwarded", "X-Forwarded-For", "X-Forward-For", "X-Forwarded", "Z-Forwarded-For",
        "X-Real-IP", "Real-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP",
        "X-True-Client-IP", "CF-Connecting-IP", "CF-Visitor", "Fastly-Client-IP", "Fly-Client-IP",
        "DO-Connecting-IP", "Incap-Client-IP", "Akamai-Client-IP", "Cdn-Src-Ip", "Cdn-Loop",
        "CloudFront-Forwarded-Proto", "X-Azure-ClientIP", "X-Azure-FDID", "X-FD-HealthProbe",
        "X-AppEngine-User-IP", "X-Originating-IP", "X-Original-Forwarded-For", "X-Remote-IP",
        "X-Remote-Addr", "Remote-Addr", "X-Proxy-User", "X-ProxyUser-Ip", "X-Proxied-For",
        "X-Peer-Addr", "X-Source-IP", "X-WAWS-Unencoded-URL", "X-Envoy-External-Address",
        "WL-Proxy-Client-IP", "WL-Proxy-SSL", "$WSRA", "$WSIS", "HTTPS", "Front-End-Https",
        "X-Scheme", "X-Url-Scheme", "X-Proto", "X-Port", "X-Arr-SSL", "X-Haproxy-SSL", "X-SSL",
        "X-SSLed", "SSL", "SSL-Protocol",
        /* what certificate it has shown */
        "Client-Cert", "Client-Cert-Chain", "Client-Verify", "Client-DN", "X-Client-Cert",
        "X-Client-CN", "X-Client-S-DN", "X-Client-Verify", "SSL-Client-Cert", "SSL_CLIENT_S_DN",
        "X-SSL-Client-Verify", "X-Tls-Client-Cert", "Tls-Client-Cert",
        "X-Forwarded-Tls-Client-Cert", "X-Amzn-Mtls-Clientcert", "X-Arr-ClientCert", "X-Cert",
        "X-Certificate-Subject", "Cert-Subject", "X-Subject-DN", "X-Issuer-DN", "X-Fingerprint",
        "X-Verified", "$WSCC", "WL-Proxy-Client-Cert", "X-MS-Client-Cert", "X-Mtls-Subject",
        /* as whom it was let in */
        "Remote-User", "X-Remote-User", "X-WEBAUTH-USER", "X-Authenticated-User",
        "X-Auth-Request-Email", "X-MS-Client-Principal", "X-Amzn-Oidc-Identity",
        "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "SM_USER", "iv-user",
        "OAM_REMOTE_USER", "OIDC_CLAIM_sub", "Shib-Identity-Provider", "AJP_eppn", "AUTH_TYPE",
        /* what was asked for */
        "X-Original-URL", "X-Original-Host", "X-Original-URI", "X-Rewrite-URL", "X-Host",
        "X-HTTP-Host-Override", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
        "X-HTTP-DestinationURL", "X-Script-Name", "Script-Name", "Path-Info", "Request-Uri",
        "X-Accel-Internal", "X-Forwarded-Prefix",
        /* HTTP_PROXY of a CGI program */
        "Proxy", "Proxy-User"};
    static const char others[] = "_.!#$%&'*+^`|~";
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char spelt[64];
        if (!gateway_field_is_ours(span_of(names[i])))
            fail_msg("%s", names[i]);
        for (const char *mark = others; *mark != '\0'; mark++) {
            (void)snprintf(spelt, sizeof spelt, "%s", names[i]);
            for (char *hyphen = spelt; (hyphen = strchr(hyphen, '-')) != NULL;)
                *hyphen = *mark;
            if (!gateway_field_is_ours(span_of(spelt)))
                fail_msg("%s", spelt);
        }
    }
}

static void test_no_memory(void **state)
{
    struct buf small;
    (void)state;
    buf_init(&small, 20);
    assert_int_equal(rewrite_address(&small, SPAN("GET / HTTP/1.1" END), SPAN("up.test")),
                     -ENOBUFS);
    assert_int_equal(buf_len(&small), 0);
    buf_release(&small);
}

/* ---- responses ---- */

static const struct {
    const char *location, *to, *out; /* NULL: as it was */
} places[] = {
    {"https://up.test:8443/a?b#c", "https://gateway.test", "https://gateway.test/a?b#c"},
    {"HTTPS://UP.TEST:8443/a", "https://gateway.test", "https://gateway.test/a"},
    {"https://up.test:8443", "https://gateway.test:444", "https://gateway.test:444/"},
    {"https://up.test:8443?q", "https://gateway.test", "https://gateway.test/?q"},
    {"//up.test:8443/a", "http://gateway.test", "http://gateway.test/a"},
    {"https://ca.example/a", "https://gateway.test", "https://gateway.test/a"},
    {"https://ca.example:443/a", "https://gateway.test", "https://gateway.test/a"},
    {"https://up.test:8443/a", "", "/a"},
    {"https://up.test:8443", "", "/"},
    /* by itself it would lead elsewhere */
    {"https://up.test:8443//evil.test/a", "", NULL},
    {"https://up.test:8443//evil.test/a", "https://gateway.test",
     "https://gateway.test//evil.test/a"},
    /* not the upstream's */
    {"/a", "https://gateway.test", NULL},
    {"https://up.test/a", "https://gateway.test", NULL},
    {"http://up.test:8443/a", "https://gateway.test", NULL},
    {"https://up.test:84430/a", "https://gateway.test", NULL},
    {"https://up.test:8443.evil.test/a", "https://gateway.test", NULL},
    {"https://up.test:8443@evil.test/a", "https://gateway.test", NULL},
    {"https://x@up.test:8443/a", "https://gateway.test", NULL},
    {"https://xup.test:8443/a", "https://gateway.test", NULL},
    {"https:///a", "https://gateway.test", NULL},
    {"///a", "https://gateway.test", NULL},
    {"https://", "https://gateway.test", NULL},
    {"//", "https://gateway.test", NULL},
    {"", "https://gateway.test", NULL},
};

static void test_places(void **state)
{
    static const char *const names[] = {"Location", "Content-Location"};
    static struct head h;
    (void)state;
    for (size_t i = 0; i < 2 * sizeof places / sizeof *places; i++) {
        char in[512], out[512];
        struct buf got;
        struct body body;
        const char *name = names[i % 2], *url = places[i / 2].location;
        const struct rewrite_place place = {{SPAN("up.test:8443"), SPAN("ca.example")},
                                            span_of(places[i / 2].to)};
        (void)snprintf(in, sizeof in, "HTTP/1.1 302 Found" NL "%s: %s" NL "Content-Length: 0" END,
                       name, url);
        (void)snprintf(out, sizeof out, "HTTP/1.1 302 Found" NL "%s:%s%s" NL, name,
                       url[0] == '\0' ? "" : " ",
                       places[i / 2].out != NULL ? places[i / 2].out : url);
        buf_init(&got, 1024);
        parse(&h, HEAD_RESPONSE, in);
        assert_int_equal(body_of_response(&body, &h, SPAN("GET"), NULL), 0);
        const struct rewrite_response r = {
            .head = &h, .body = &body, .client_minor = 1, .via = SPAN("ferry"), .place = &place};
        assert_int_equal(rewrite_response(&got, &r), 0);
        if (buf_len(&got) < strlen(out) || memcmp(buf_head(&got), out, strlen(out)) != 0)
            fail_msg("%s\nbecame\n%.*s", in, SPAN_ARGS(buf_span(&got)));
        body_release(&body);
        buf_release(&got);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_fields_that_stay),
        cmocka_unit_test(test_fields_that_are_ours),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

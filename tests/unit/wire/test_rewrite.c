/*
 * What is sent onward, octet for octet: hop-by-hop fields gone, ours added, framing from the parsed
 * body. Rows name the clause.
 */
#include "proxy/wire/rewrite.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NL "\r\n"
#define END "\r\n\r\n"
/* How every forwarded request of an HTTP/1.1 client without a body ends. */
#define TAIL "Via: 1.1 ferry" NL "Connection: keep-alive" END

static const struct head_limits limits = {
    .head_octets = 65536, .request_line_octets = 32768, .fields = HEAD_FIELDS_MAX};

static void parse(struct head *h, enum head_kind kind, const char *text)
{
    size_t scanned = 0;
    const char *why = "";
    if (head_parse(h, kind, text, strlen(text), &limits, &scanned, &why) != HEAD_OK)
        fail_msg("\"%s\": %s", text, why);
}

/* The canonical host, as the caller has it from allowlist: here simply lower case without brackets.
 */
static struct span canonical(struct span host, char out[256])
{
    size_t n = 0;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (c != '[' && c != ']')
            out[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return (struct span){out, n};
}

static int rewrite(struct buf *out, const char *text, struct span forwarded_for)
{
    static struct head h;
    struct target target;
    struct body body;
    char host[256];
    parse(&h, HEAD_REQUEST, text);
    assert_int_equal(target_parse(&target, h.method, h.target, NULL), TARGET_OK);
    assert_int_equal(body_of_request(&body, &h, NULL), 0);
    int rc = rewrite_request(out, &(struct rewrite_request){
                                      .head = &h,
                                      .target = &target,
                                      .host = canonical(target.host, host),
                                      .body = &body,
                                      .via = SPAN("ferry"),
                                      .forwarded_for = forwarded_for,
                                  });
    body_release(&body);
    return rc;
}

struct request_case {
    const char *reason;
    const char *in;
    const char *out;
};

static const struct request_case requests[] = {
    {"RFC 9112 3.2.1: origin form, Host from the target",
     "GET http://CA.example.com/a?b HTTP/1.1" NL "Host: CA.example.com" END,
     "GET /a?b HTTP/1.1" NL "Host: ca.example.com" NL TAIL},
    {"RFC 9112 3.2.2: a wrong Host does not matter",
     "GET http://a/ HTTP/1.1" NL "Host: evil.example:81" END,
     "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9112 3.2.1: empty path", "GET http://a HTTP/1.1" NL "Host: a" END,
     "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9112 3.2.1: query without a path", "GET http://a?b HTTP/1.1" NL "Host: a" END,
     "GET /?b HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9112 3.2.4: OPTIONS of the server", "OPTIONS http://a:8001 HTTP/1.1" NL "Host: a" END,
     "OPTIONS * HTTP/1.1" NL "Host: a:8001" NL TAIL},
    {"RFC 9112 3.2.4: OPTIONS of the root", "OPTIONS http://a/ HTTP/1.1" NL "Host: a" END,
     "OPTIONS / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9112 3.2.4: OPTIONS with a query", "OPTIONS http://a?b HTTP/1.1" NL "Host: a" END,
     "OPTIONS /?b HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9110 4.2.3: the default port is left out",
     "GET http://a:80/ HTTP/1.1" NL "Host: a:80" END, "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 3986 3.2.2: IPv6 in brackets", "GET http://[2001:DB8::1]/ HTTP/1.1" NL "Host: a" END,
     "GET / HTTP/1.1" NL "Host: [2001:db8::1]" NL TAIL},
    {"RFC 3986 3.2.2: IPv6 and port", "GET http://[::1]:8080/ HTTP/1.1" NL "Host: a" END,
     "GET / HTTP/1.1" NL "Host: [::1]:8080" NL TAIL},
    {"RFC 9110 2.5, 7.6.3: an HTTP/1.0 client", "GET http://a/ HTTP/1.0" END,
     "GET / HTTP/1.1" NL "Host: a" NL "Via: 1.0 ferry" NL "Connection: keep-alive" END},
    {"RFC 9110 5.3: order and spelling of end-to-end fields stay",
     "GET http://a/ HTTP/1.1" NL "X-b: 1" NL "Host: a" NL "x-A:  2\t" NL "X-b: 3" NL "E:" NL
     "O: \x80\xff" END,
     "GET / HTTP/1.1" NL "Host: a" NL "X-b: 1" NL "x-A: 2" NL "X-b: 3" NL "E:" NL
     "O: \x80\xff" NL TAIL},

    /* hop-by-hop */
    {"RFC 9110 7.6.1: every field of one hop",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "Connection: close" NL "Keep-Alive: 300" NL
     "TE: trailers" NL "Trailer: X" NL "Upgrade: h2c" NL "HTTP2-Settings: AAMAAABkAAQ" NL
     "Proxy-Connection: keep-alive" NL "Proxy-Authorization: Basic dTpw" NL
     "Proxy-Authenticate: Basic" NL "Proxy-Status: x" NL "proxy-anything: x" END,
     "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9110 7.6.1: names that only begin alike stay",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "TEA: 1" NL "Proxy: 2" NL "Upgrade-Insecure-Requests:"
     " 1" NL "Connection-Id: 3" END,
     "GET / HTTP/1.1" NL "Host: a" NL "TEA: 1" NL "Proxy: 2" NL "Upgrade-Insecure-Requests: 1" NL
     "Connection-Id: 3" NL TAIL},
    {"RFC 9110 7.6.1: what Connection names",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "X-Hop: 1" NL "Connection: close, x-hop,, Y" NL
     "y: 2" NL "Z: 3" NL "X-Hop: 4" NL "CONNECTION:z" END,
     "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9110 7.6.1: part of a name is not the name",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "Connection: X-Ho, X-Hopp, \"X-Hop\"" NL
     "X-Hop: 1" END,
     "GET / HTTP/1.1" NL "Host: a" NL "X-Hop: 1" NL TAIL},
    {"hop-by-hop header abuse (Davison 2019): what cannot be taken away",
     "POST http://a/ HTTP/1.1" NL
     "Connection: close, Host, Content-Length, Content-Type, Authorization, Cookie, Expect, "
     "Max-Forwards, Via, Forwarded, X-Forwarded-For, X-Forwarded-Proto, Cache-Control, "
     "Content-Transfer-Encoding" NL "Host: a" NL "Content-Length: 3" NL "Content-Type: b/c" NL
     "Authorization: Basic dTpw" NL "Cookie: d" NL "Expect: 100-continue" NL "Max-Forwards: 7" NL
     "Via: 1.1 other" NL "Forwarded: for=_x" NL "X-Forwarded-For: 192.0.2.1" NL
     "X-Forwarded-Proto: http" NL "Cache-Control: no-cache" NL
     "Content-Transfer-Encoding: base64" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Content-Type: b/c" NL "Authorization: Basic dTpw" NL
     "Cookie: d" NL "Expect: 100-continue" NL "Max-Forwards: 7" NL "Forwarded: for=_x" NL
     "X-Forwarded-For: 192.0.2.1" NL "X-Forwarded-Proto: http" NL "Cache-Control: no-cache" NL
     "Content-Transfer-Encoding: base64" NL "Via: 1.1 other, 1.1 ferry" NL "Content-Length: 3" NL
     "Connection: keep-alive" END},
    {"RFC 9110 7.6.1: Transfer-Encoding named in Connection does not unframe the body",
     "POST http://a/ HTTP/1.1" NL "Host: a" NL "Connection: Transfer-Encoding" NL
     "Transfer-Encoding: chunked" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Via: 1.1 ferry" NL "Transfer-Encoding: chunked" NL
     "Connection: keep-alive" END},

    /* framing */
    {"RFC 9112 6.2: a length",
     "POST http://a/ HTTP/1.1" NL "Content-Length: 0010" NL "Host: a" NL "Content-Type: b/c" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Content-Type: b/c" NL "Via: 1.1 ferry" NL
     "Content-Length: 10" NL "Connection: keep-alive" END},
    {"RFC 9110 8.6: no content is said where the client said it",
     "POST http://a/ HTTP/1.1" NL "Host: a" NL "Content-Length: 0" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Via: 1.1 ferry" NL "Content-Length: 0" NL
     "Connection: keep-alive" END},
    {"RFC 9112 7.1.2: Trailer stays with a chunked body",
     "POST http://a/ HTTP/1.1" NL "Host: a" NL "Trailer: X-Sum" NL "Transfer-Encoding: Chunked" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Trailer: X-Sum" NL "Via: 1.1 ferry" NL
     "Transfer-Encoding: chunked" NL "Connection: keep-alive" END},

    /* Expect */
    {"RFC 9110 10.1.1: Expect with content",
     "POST http://a/ HTTP/1.1" NL "Host: a" NL "Content-Length: 1" NL "Expect: 100-continue" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Expect: 100-continue" NL "Via: 1.1 ferry" NL
     "Content-Length: 1" NL "Connection: keep-alive" END},
    {"RFC 9110 10.1.1: Expect of an HTTP/1.0 client",
     "POST http://a/ HTTP/1.0" NL "Content-Length: 1" NL "Expect: 100-continue" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Via: 1.0 ferry" NL "Content-Length: 1" NL
     "Connection: keep-alive" END},
    {"RFC 9110 10.1.1: Expect without content",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "Expect: 100-continue" END,
     "GET / HTTP/1.1" NL "Host: a" NL TAIL},
    {"RFC 9110 10.1.1: Expect with empty content",
     "POST http://a/ HTTP/1.1" NL "Host: a" NL "Content-Length: 0" NL "Expect: 100-continue" END,
     "POST / HTTP/1.1" NL "Host: a" NL "Via: 1.1 ferry" NL "Content-Length: 0" NL
     "Connection: keep-alive" END},

    /* Via, Max-Forwards, X-Forwarded-For */
    {"RFC 9110 7.6.3: Via is a list, in order",
     "GET http://a/ HTTP/1.1" NL "via: 1.0 fred" NL "Host: a" NL "Via:" NL
     "Via: 1.1 p.example (x)" END,
     "GET / HTTP/1.1" NL "Host: a" NL "Via: 1.0 fred, 1.1 p.example (x), 1.1 ferry" NL
     "Connection: keep-alive" END},
    {"RFC 9110 7.6.2: Max-Forwards of TRACE",
     "TRACE http://a/ HTTP/1.1" NL "Host: a" NL "max-forwards: 10" END,
     "TRACE / HTTP/1.1" NL "Host: a" NL "max-forwards: 9" NL TAIL},
    {"RFC 9110 7.6.2: Max-Forwards of OPTIONS",
     "OPTIONS http://a/ HTTP/1.1" NL "Host: a" NL "Max-Forwards: 001" END,
     "OPTIONS / HTTP/1.1" NL "Host: a" NL "Max-Forwards: 0" NL TAIL},
    {"RFC 9110 7.6.2: more than we can count",
     "TRACE http://a/ HTTP/1.1" NL "Host: a" NL "Max-Forwards: 18446744073709551617" END,
     "TRACE / HTTP/1.1" NL "Host: a" NL "Max-Forwards: 999999" NL TAIL},
    {"RFC 9110 7.6.2: no business of other methods",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "Max-Forwards: 0" END,
     "GET / HTTP/1.1" NL "Host: a" NL "Max-Forwards: 0" NL TAIL},
    {"X-Forwarded-For is not touched unless configured",
     "GET http://a/ HTTP/1.1" NL "Host: a" NL "X-Forwarded-For: 192.0.2.1" END,
     "GET / HTTP/1.1" NL "Host: a" NL "X-Forwarded-For: 192.0.2.1" NL TAIL},

    /* real clients */
    {"openssl cmp",
     "POST http://ra.example.com:8080/pkix/ HTTP/1.0" NL "Host: ra.example.com" NL
     "Content-Type: application/pkixcmp" NL "Content-Length: 290" NL "Connection: keep-alive" END,
     "POST /pkix/ HTTP/1.1" NL "Host: ra.example.com:8080" NL "Content-Type: application/pkixcmp" NL
     "Via: 1.0 ferry" NL "Content-Length: 290" NL "Connection: keep-alive" END},
    {"LWP",
     "GET http://a/ HTTP/1.1" NL "TE: deflate,gzip;q=0.3" NL "Keep-Alive: 300" NL
     "Connection: Keep-Alive, TE" NL "Host: a" NL "User-Agent: libwww-perl/6.68" END,
     "GET / HTTP/1.1" NL "Host: a" NL "User-Agent: libwww-perl/6.68" NL TAIL},
};

static void expect_octets(const char *reason, const struct buf *out, const char *expected)
{
    if (!span_is(buf_span(out), span_of(expected)))
        fail_msg("%s:\n%.*s---- expected:\n%s", reason, SPAN_ARGS(buf_span(out)), expected);
}

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct buf out;
        buf_init(&out, 65536);
        assert_int_equal(rewrite(&out, requests[i].in, SPAN("")), 0);
        expect_octets(requests[i].reason, &out, requests[i].out);
        buf_release(&out);
    }
}

static void test_forwarded_for(void **state)
{
    (void)state;
    static const struct request_case cases[] = {
        {"none before", "GET http://a/ HTTP/1.1" NL "Host: a" END,
         "GET / HTTP/1.1" NL "Host: a" NL "Via: 1.1 ferry" NL "X-Forwarded-For: 2001:db8::7" NL
         "Connection: keep-alive" END},
        {"behind those before, which may be forged",
         "GET http://a/ HTTP/1.1" NL "Host: a" NL "X-Forwarded-For: 192.0.2.1, x" NL
         "Connection: X-Forwarded-For" NL "x-forwarded-for: y" END,
         "GET / HTTP/1.1" NL "Host: a" NL "Via: 1.1 ferry" NL
         "X-Forwarded-For: 192.0.2.1, x, y, 2001:db8::7" NL "Connection: keep-alive" END},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 65536);
        assert_int_equal(rewrite(&out, cases[i].in, SPAN("2001:db8::7")), 0);
        expect_octets(cases[i].reason, &out, cases[i].out);
        buf_release(&out);
    }
}

/* Sixty-four options and the most fields: all named ones go. */
static void test_many_options(void **state)
{
    (void)state;
    static char in[16384];
    struct buf out;
    size_t n = (size_t)snprintf(in, sizeof in, "GET http://a/ HTTP/1.0" NL "Connection: o0");
    for (size_t i = 1; i < HEAD_CONNECTION_OPTIONS_MAX; i++)
        n += (size_t)snprintf(in + n, sizeof in - n, ",o%zu", i);
    for (size_t i = 0; i < HEAD_FIELDS_MAX - 1; i++)
        n += (size_t)snprintf(in + n, sizeof in - n, NL "O%zu: 1", i);
    (void)snprintf(in + n, sizeof in - n, END);
    buf_init(&out, 65536);
    assert_int_equal(rewrite(&out, in, SPAN("")), 0);
    size_t lines = 0;
    for (size_t i = 0; i < buf_len(&out); i++)
        lines += buf_head(&out)[i] == '\n';
    /* Request line, Host, Via, Connection, the empty line, and what was not named. */
    assert_int_equal(lines, 5 + HEAD_FIELDS_MAX - 1 - HEAD_CONNECTION_OPTIONS_MAX);
    buf_release(&out);
}

struct response_case {
    const char *reason;
    const char *request_method;
    unsigned client_minor;
    bool close;
    bool keep_alive_1_0;
    const char *in;
    const char *out;
};

static const struct response_case responses[] = {
    {"RFC 9112 6.2: a length", "GET", 1, false, false,
     "HTTP/1.1 200 OK" NL "Date: x" NL "Content-Length: 05" NL "Content-Type: a/b" END,
     "HTTP/1.1 200 OK" NL "Date: x" NL "Content-Type: a/b" NL "Via: 1.1 ferry" NL
     "Content-Length: 5" END},
    {"RFC 9112 4: the reason goes on as it came", "GET", 1, false, false,
     "HTTP/1.1 404 nicht  gef\xfcndt" NL "Content-Length: 0" END,
     "HTTP/1.1 404 nicht  gef\xfcndt" NL "Via: 1.1 ferry" NL "Content-Length: 0" END},
    {"RFC 9112 4: a status line that lacks its space", "GET", 1, false, false,
     "HTTP/1.1 200" NL "Content-Length: 0" END,
     "HTTP/1.1 200 " NL "Via: 1.1 ferry" NL "Content-Length: 0" END},
    {"RFC 9110 2.5, 7.6.3: an HTTP/1.0 origin", "GET", 1, true, false,
     "HTTP/1.0 200 OK" NL "Content-Length: 5" END,
     "HTTP/1.1 200 OK" NL "Via: 1.0 ferry" NL "Content-Length: 5" NL "Connection: close" END},
    {"RFC 9112 9.3: an HTTP/1.0 client that stays", "GET", 0, false, true,
     "HTTP/1.1 200 OK" NL "Content-Length: 5" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 ferry" NL "Content-Length: 5" NL "Connection: keep-alive" END},
    {"RFC 9112 7.1: chunked to HTTP/1.1", "GET", 1, false, false,
     "HTTP/1.1 200 OK" NL "Transfer-Encoding: chunked" NL "Trailer: X" END,
     "HTTP/1.1 200 OK" NL "Trailer: X" NL "Via: 1.1 ferry" NL "Transfer-Encoding: chunked" END},
    {"RFC 9112 6.1: chunked to HTTP/1.0 is close-delimited", "GET", 0, false, true,
     "HTTP/1.1 200 OK" NL "Transfer-Encoding: chunked" NL "Trailer: X" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 ferry" NL "Connection: close" END},
    {"RFC 9112 6.3: close-delimited stays so", "GET", 1, false, false, "HTTP/1.1 200 OK" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 ferry" NL "Connection: close" END},
    {"RFC 9110 8.6: the answer to HEAD keeps its length", "HEAD", 1, false, false,
     "HTTP/1.1 200 OK" NL "content-length: 12345" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 ferry" NL "content-length: 12345" END},
    {"RFC 9112 6.1: the answer to HEAD has no coding", "HEAD", 1, false, false,
     "HTTP/1.1 200 OK" NL "Transfer-Encoding: chunked" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 ferry" END},
    {"RFC 9110 15.4.5: 304 keeps its length", "GET", 1, false, false,
     "HTTP/1.1 304 Not Modified" NL "ETag: \"a\"" NL "Content-Length: 7" END,
     "HTTP/1.1 304 Not Modified" NL "ETag: \"a\"" NL "Via: 1.1 ferry" NL "Content-Length: 7" END},
    {"RFC 9110 8.6: 204 has none", "GET", 1, false, false,
     "HTTP/1.1 204 No Content" NL "Content-Length: 0" END,
     "HTTP/1.1 204 No Content" NL "Via: 1.1 ferry" END},
    {"RFC 9110 7.6.1: hop-by-hop", "GET", 1, true, false,
     "HTTP/1.1 200 OK" NL "Connection: keep-alive, X-Hop" NL "Keep-Alive: timeout=5" NL
     "X-Hop: 1" NL "Upgrade: h2c" NL "Proxy-Connection: x" NL "Proxy-Authenticate: Basic" NL
     "Proxy-Authentication-Info: x" NL "TE: x" NL "Content-Length: 0" NL "Server: s" END,
     "HTTP/1.1 200 OK" NL "Server: s" NL "Via: 1.1 ferry" NL "Content-Length: 0" NL
     "Connection: close" END},
    {"RFC 9209 2: Proxy-Status is for the client", "GET", 1, false, false,
     "HTTP/1.1 502 Bad Gateway" NL "Proxy-Status: p; error=dns_error" NL "Content-Length: 0" END,
     "HTTP/1.1 502 Bad Gateway" NL "Proxy-Status: p; error=dns_error" NL "Via: 1.1 ferry" NL
     "Content-Length: 0" END},
    {"RFC 8555 6.5: what enrollment needs is not taken away", "POST", 1, false, false,
     "HTTP/1.1 201 Created" NL
     "Connection: Replay-Nonce, Location, Retry-After, WWW-Authenticate, Content-Type" NL
     "Replay-Nonce: n" NL "Location: l" NL "Retry-After: 3" NL "WWW-Authenticate: Basic" NL
     "Content-Type: a/b" NL "Content-Length: 0" END,
     "HTTP/1.1 201 Created" NL "Replay-Nonce: n" NL "Location: l" NL "Retry-After: 3" NL
     "WWW-Authenticate: Basic" NL "Content-Type: a/b" NL "Via: 1.1 ferry" NL
     "Content-Length: 0" END},
    {"RFC 9110 7.6.3: Via of the way back", "GET", 1, false, false,
     "HTTP/1.1 200 OK" NL "Via: 1.1 x" NL "Content-Length: 0" NL "Via: 1.0 y" END,
     "HTTP/1.1 200 OK" NL "Via: 1.1 x, 1.0 y, 1.1 ferry" NL "Content-Length: 0" END},
};

static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++) {
        const struct response_case *c = &responses[i];
        static struct head h;
        struct body body;
        struct buf out;
        parse(&h, HEAD_RESPONSE, c->in);
        assert_int_equal(body_of_response(&body, &h, span_of(c->request_method), NULL), 0);
        buf_init(&out, 65536);
        struct rewrite_response r = {
            .head = &h,
            .body = &body,
            .client_minor = c->client_minor,
            .close = c->close,
            .keep_alive_1_0 = c->keep_alive_1_0,
            .via = SPAN("ferry"),
        };
        assert_int_equal(rewrite_response(&out, &r), 0);
        expect_octets(c->reason, &out, c->out);
        buf_release(&out);
        body_release(&body);
    }
}

static void test_interim(void **state)
{
    (void)state;
    static struct head h;
    struct buf out;
    parse(&h, HEAD_RESPONSE,
          "HTTP/1.1 103 Early Hints" NL "Link: </a>" NL "Content-Length: 5" NL
          "Transfer-Encoding: chunked" NL "Connection: close" END);
    buf_init(&out, 65536);
    struct rewrite_response r = {.head = &h, .client_minor = 1, .via = SPAN("ferry")};
    assert_int_equal(rewrite_response(&out, &r), 0);
    expect_octets("RFC 9110 15.2: 1xx has no framing", &out,
                  "HTTP/1.1 103 Early Hints" NL "Link: </a>" NL "Via: 1.1 ferry" END);
    buf_release(&out);
}

/* Too little room: nothing is written, and what was there before stays. */
static void test_no_room(void **state)
{
    (void)state;
    static const char in[] =
        "POST http://a/ HTTP/1.1" NL "Host: a" NL "X: y" NL "Content-Length: 1" END;
    struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(rewrite(&out, in, SPAN("192.0.2.1")), 0);
    size_t need = buf_len(&out);
    buf_release(&out);
    for (size_t room = 0; room <= need; room++) {
        buf_init(&out, room + 4);
        assert_int_equal(buf_add_str(&out, "abcd"), 0);
        int rc = rewrite(&out, in, SPAN("192.0.2.1"));
        assert_int_equal(rc, room < need ? -ENOBUFS : 0);
        assert_int_equal(buf_len(&out), room < need ? 4 : 4 + need);
        assert_memory_equal(buf_head(&out), "abcd", 4);
        buf_release(&out);
    }

    static struct head h;
    struct body body;
    parse(&h, HEAD_RESPONSE, "HTTP/1.1 200 OK" NL "Content-Length: 5" END);
    assert_int_equal(body_of_response(&body, &h, SPAN("GET"), NULL), 0);
    buf_init(&out, 20);
    struct rewrite_response r = {.head = &h, .body = &body, .via = SPAN("ferry")};
    assert_int_equal(rewrite_response(&out, &r), -ENOBUFS);
    assert_int_equal(buf_len(&out), 0);
    buf_release(&out);
}

static void test_loops(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool loops;
    } cases[] = {
        {"", false},
        {"Via: 1.1 ferry" NL, true},
        {"Via: 1.1 FERRY" NL, true},
        {"via: HTTP/1.1 ferry" NL, true},
        {"Via: 1.0 fred, 1.1\tferry (certferry 1), 1.1 x" NL, true},
        {"Via: 1.0 fred" NL "Via: 1.1 ferry" NL, true},
        {"Via: 1.1 ferry(comment)" NL, true},
        {"Via: 1.1 x (an open comment, 1.1 ferry" NL, true},
        {"Via: , ,1.1 ferry" NL, true},
        {"Via: 1.1 ferry2" NL, false},
        {"Via: 1.1 ferr" NL, false},
        {"Via: ferry" NL, false},
        {"Via: 1.1" NL, false},
        {"Via:" NL, false},
        {"Via: 1.1 x (ferry)" NL, false},
        {"X-Via: 1.1 ferry" NL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct head h;
        char text[256];
        (void)snprintf(text, sizeof text, "GET http://a/ HTTP/1.0" NL "%s" NL, cases[i].fields);
        parse(&h, HEAD_REQUEST, text);
        if (rewrite_loops(&h, SPAN("ferry")) != cases[i].loops)
            fail_msg("\"%s\": not %d", cases[i].fields, cases[i].loops);
    }
}

static void test_max_forwards_zero(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *fields;
        bool zero;
    } cases[] = {
        {"TRACE", "Max-Forwards: 0" NL, true},
        {"OPTIONS", "max-forwards: 000" NL, true},
        {"OPTIONS", "Max-Forwards: 1" NL, false},
        {"TRACE", "Max-Forwards: 4294967296" NL, false},
        {"TRACE", "Max-Forwards: 18446744073709551616" NL, false},
        {"TRACE", "", false},
        {"GET", "Max-Forwards: 0" NL, false},
        {"POST", "Max-Forwards: x" NL, false},
        /* What cannot be decremented is not forwarded. */
        {"TRACE", "Max-Forwards:" NL, true},
        {"TRACE", "Max-Forwards: -1" NL, true},
        {"TRACE", "Max-Forwards: +5" NL, true},
        {"TRACE", "Max-Forwards: 5, 6" NL, true},
        {"TRACE", "Max-Forwards: 5 6" NL, true},
        {"TRACE", "Max-Forwards: 0x5" NL, true},
        {"TRACE", "Max-Forwards: 5" NL "Max-Forwards: 5" NL, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct head h;
        char text[256];
        (void)snprintf(text, sizeof text, "%s http://a/ HTTP/1.0" NL "%s" NL, cases[i].method,
                       cases[i].fields);
        parse(&h, HEAD_REQUEST, text);
        if (rewrite_max_forwards_zero(&h) != cases[i].zero)
            fail_msg("%s \"%s\": not %d", cases[i].method, cases[i].fields, cases[i].zero);
    }
}

/* ---- to the next proxy ---- */

static const struct {
    const char *in, *out; /* of `out` the request line and Host */
} to_proxy[] = {
    {"GET http://CA.Example/a?b HTTP/1.1" NL "Host: x" END,
     "GET http://ca.example/a?b HTTP/1.1" NL "Host: ca.example" NL},
    {"GET http://a:80 HTTP/1.1" NL "Host: a" END, "GET http://a/ HTTP/1.1" NL "Host: a" NL},
    {"GET http://a:8080?q HTTP/1.0" END, "GET http://a:8080/?q HTTP/1.1" NL "Host: a:8080" NL},
    {"POST http://[2001:DB8::1]:81/ HTTP/1.0" END,
     "POST http://[2001:db8::1]:81/ HTTP/1.1" NL "Host: [2001:db8::1]:81" NL},
    {"OPTIONS http://a HTTP/1.0" END, "OPTIONS http://a HTTP/1.1" NL "Host: a" NL},
    {"OPTIONS http://a/ HTTP/1.0" END, "OPTIONS http://a/ HTTP/1.1" NL "Host: a" NL},
};

/* RFC 9112 section 3.2.2; and what is the client's hop stays the client's. */
static void test_to_proxy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof to_proxy / sizeof *to_proxy; i++) {
        struct head h;
        struct target target;
        struct body body;
        struct buf out, sent;
        char host[256];
        buf_init(&out, 4096);
        buf_init(&sent, 4096);
        parse(&h, HEAD_REQUEST, to_proxy[i].in);
        assert_int_equal(target_parse(&target, h.method, h.target, NULL), TARGET_OK);
        assert_int_equal(body_of_request(&body, &h, NULL), 0);
        struct rewrite_request r = {.head = &h,
                                    .target = &target,
                                    .host = canonical(target.host, host),
                                    .body = &body,
                                    .via = SPAN("ferry"),
                                    .to_proxy = true};
        assert_int_equal(rewrite_request(&out, &r), 0);
        assert_int_equal(rewrite_authorize(&sent, buf_span(&out), SPAN("Basic eA==")), 0);
        assert_int_equal(buf_add(&sent, "", 1), 0);
        size_t len = strlen(to_proxy[i].out);
        if (strncmp(buf_head(&sent), to_proxy[i].out, len) != 0)
            fail_msg("%s: %s", to_proxy[i].in, buf_head(&sent));
        assert_non_null(strstr(buf_head(&sent),
                               "Connection: keep-alive" NL "Proxy-Authorization: Basic eA==" END));
        buf_release(&out);
        buf_release(&sent);
        body_release(&body);
    }
}

static const struct {
    const char *in, *host;
    uint16_t port;
    const char *out;
} connects[] = {
    {"CONNECT A:443 HTTP/1.1" NL "Host: evil:1" NL "Proxy-Authorization: Basic dTpw" NL "X: y" END,
     "a", 443, "CONNECT a:443 HTTP/1.1" NL "Host: a:443" NL "Via: 1.1 ferry" END},
    {"CONNECT a:80 HTTP/1.0" NL "Via: 1.1 x" NL "via: 1.0 y (z)" NL "Content-Length: 0" END, "a",
     80, "CONNECT a:80 HTTP/1.1" NL "Host: a:80" NL "Via: 1.1 x, 1.0 y (z), 1.0 ferry" END},
    {"CONNECT [::1]:443 HTTP/1.0" END, "::1", 443,
     "CONNECT [::1]:443 HTTP/1.1" NL "Host: [::1]:443" NL "Via: 1.0 ferry" END},
};

static void test_connect(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof connects / sizeof *connects; i++) {
        struct head h;
        struct buf out, sent;
        parse(&h, HEAD_REQUEST, connects[i].in);
        struct rewrite_connect r = {&h, span_of(connects[i].host), connects[i].port, SPAN("ferry")};
        buf_init(&out, 4096);
        buf_init(&sent, 4096);
        assert_int_equal(rewrite_connect(&out, &r), 0);
        assert_int_equal(rewrite_authorize(&sent, buf_span(&out), SPAN("")), 0);
        if (!span_is(buf_span(&sent), span_of(connects[i].out)))
            fail_msg("%s: %.*s", connects[i].in, SPAN_ARGS(buf_span(&sent)));
        buf_release(&out);
        buf_release(&sent);
    }
}

/* RFC 9209 section 2.1.4: behind what the parent has said. */
static void test_received_status(void **state)
{
    struct head h;
    struct body body = {.kind = BODY_NONE};
    struct buf out;
    (void)state;
    parse(&h, HEAD_RESPONSE, "HTTP/1.1 502 No" NL "Proxy-Status: far; error=dns_error" END);
    struct rewrite_response r = {.head = &h,
                                 .body = &body,
                                 .client_minor = 1,
                                 .via = SPAN("ferry"),
                                 .received_status = true};
    buf_init(&out, 4096);
    assert_int_equal(rewrite_response(&out, &r), 0);
    assert_true(
        span_is(buf_span(&out),
                SPAN("HTTP/1.1 502 No" NL "Proxy-Status: far; error=dns_error" NL
                     "Via: 1.1 ferry" NL "Proxy-Status: \"ferry\"; received-status=502" END)));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_forwarded_for),
        cmocka_unit_test(test_many_options),    cmocka_unit_test(test_responses),
        cmocka_unit_test(test_interim),         cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_loops),           cmocka_unit_test(test_max_forwards_zero),
        cmocka_unit_test(test_to_proxy),        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_received_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

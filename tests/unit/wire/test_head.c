/*
 * Which heads are refused, each row naming the clause or the advisory, and how: every octet at
 * every place, limits, incremental feeding, fields looked up. test_head_clients.c has what real
 * clients send.
 */
#include "proxy/wire/head.h"

#include <stdio.h>

#include "proxy/wire/body.h"
#include "tests/support/head_feed.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"

struct head_case {
    const char *reason;
    struct span octets;
    enum head_result result;
};

static const struct head_case requests[] = {
    /* the request line */
    {"RFC 9112 3: the least", OCTETS("GET / HTTP/1.0\r\n\r\n"), HEAD_OK},
    {"RFC 9110 2.5: HTTP/1.2 is understood", OCTETS("GET / HTTP/1.2\r\n" HOST "\r\n"), HEAD_OK},
    {"RFC 9112 3: two spaces behind the method", OCTETS("GET  / HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3: two spaces behind the target", OCTETS("GET /  HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3: space at the end", OCTETS("GET / HTTP/1.1 \r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3: space at the beginning", OCTETS(" GET / HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"CVE-2016-8743: tab for space, first", OCTETS("GET\t/ HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"CVE-2016-8743: tab for space, second", OCTETS("GET /\tHTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3: tab at the end", OCTETS("GET / HTTP/1.1\t\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: space in the target", OCTETS("GET /a b HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3: no target", OCTETS("GET HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3: empty target", OCTETS("GET  HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 1945 4.1: HTTP/0.9", OCTETS("GET /\r\n"), HEAD_MALFORMED},
    {"RFC 1945 4.1: HTTP/0.9 with a space", OCTETS("GET / \r\n"), HEAD_MALFORMED},
    {"RFC 9112 3: method alone", OCTETS("GET\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 9.1: method is a token", OCTETS("G:T / HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9110 9.1: quoted method", OCTETS("\"GET\" / HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9110 9.1: no method", OCTETS("/ HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9110 9.1: small letters", OCTETS("get / HTTP/1.1\r\n" HOST "\r\n"), HEAD_METHOD_UNKNOWN},
    {"RFC 9110 9.1: connect is not CONNECT", OCTETS("connect a:443 HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_METHOD_UNKNOWN},
    {"RFC 9110 9.1: one letter more", OCTETS("GETT / HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_METHOD_UNKNOWN},
    {"RFC 9110 9.1: one letter less", OCTETS("GE / HTTP/1.1\r\n" HOST "\r\n"), HEAD_METHOD_UNKNOWN},
    {"RFC 9110 15.6.2: unknown before the fields are seen", OCTETS("BREW / HTTP/1.1\r\n"),
     HEAD_METHOD_UNKNOWN},

    /* the version */
    {"RFC 9112 2.3: small letters", OCTETS("GET / http/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: no minor", OCTETS("GET / HTTP/1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: empty minor", OCTETS("GET / HTTP/1.\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: empty major", OCTETS("GET / HTTP/.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: two digits major", OCTETS("GET / HTTP/01.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: two digits minor", OCTETS("GET / HTTP/1.10\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: three parts", OCTETS("GET / HTTP/1.1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: sign", OCTETS("GET / HTTP/+1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: comma", OCTETS("GET / HTTP/1,1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: other protocol", OCTETS("GET / HTTPS/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: RTSP", OCTETS("OPTIONS * RTSP/1.0\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: letter", OCTETS("GET / HTTP/x.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9110 2.5: HTTP/2.0", OCTETS("GET / HTTP/2.0\r\n" HOST "\r\n"), HEAD_BAD_VERSION},
    {"RFC 9113 3.4: the HTTP/2 preface", OCTETS("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
     HEAD_BAD_VERSION},
    {"RFC 9110 2.5: HTTP/3.0", OCTETS("GET / HTTP/3.0\r\n"), HEAD_BAD_VERSION},
    {"RFC 9110 2.5: HTTP/0.9 spelled out", OCTETS("GET / HTTP/0.9\r\n\r\n"), HEAD_BAD_VERSION},
    {"RFC 9110 2.5: HTTP/9.9", OCTETS("GET / HTTP/9.9\r\n\r\n"), HEAD_BAD_VERSION},

    /* ends of lines */
    {"RFC 9112 2.2: LF behind the request line", OCTETS("GET / HTTP/1.1\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: LF behind a field", OCTETS(GET "Host: a\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: LF behind the head", OCTETS(GET HOST "\n"), HEAD_MALFORMED},
    {"CVE-2022-32214: LF between fields", OCTETS(GET HOST "A: b\nTransfer-Encoding: chunked\r\n"),
     HEAD_MALFORMED},
    {"CVE-2023-30589: CR between fields", OCTETS(GET HOST "A: b\rTransfer-Encoding: chunked\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: CR CR LF", OCTETS(GET "Host: a\r\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: LF CR", OCTETS("GET / HTTP/1.1\n\r" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: CR in the request line", OCTETS("GET /\r HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: CR alone ends the request line", OCTETS("GET / HTTP/1.1\r" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: CR alone ends the head", OCTETS(GET HOST "\rX"), HEAD_MALFORMED},
    {"RFC 9112 2.2: one empty line before", OCTETS("\r\n" GET HOST "\r\n"), HEAD_OK},
    {"RFC 9112 2.2: two empty lines before", OCTETS("\r\n\r\n" GET HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: LF before", OCTETS("\n" GET HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: CR before", OCTETS("\r" GET HOST "\r\n"), HEAD_MALFORMED},

    /* fields */
    {"RFC 9112 5: empty value", OCTETS(GET HOST "A:\r\n\r\n"), HEAD_OK},
    {"RFC 9112 5: only whitespace as value", OCTETS(GET HOST "A: \t \r\n\r\n"), HEAD_OK},
    {"RFC 9112 5: no space behind the colon", OCTETS(GET "Host:a\r\n\r\n"), HEAD_OK},
    {"RFC 9112 5: whitespace around the value", OCTETS(GET "Host:\t  a \t\r\n\r\n"), HEAD_OK},
    {"RFC 9110 5.5: obs-text in a value", OCTETS(GET HOST "A: \x80\xff\r\n\r\n"), HEAD_OK},
    {"RFC 9110 5.5: tab inside a value", OCTETS(GET HOST "A: b\tc\r\n\r\n"), HEAD_OK},
    {"RFC 9110 5.6.2: every tchar in a name", OCTETS(GET HOST "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n"),
     HEAD_OK},
    {"RFC 9112 5.1, CVE-2019-16869: space before the colon",
     OCTETS(GET HOST "Transfer-Encoding : chunked\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.1: tab before the colon", OCTETS(GET HOST "Content-Length\t: 5\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 5.1: Host with a space before the colon", OCTETS(GET "Host : a\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 5, CVE-2019-20444: no colon", OCTETS(GET HOST "A\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5: space in the name", OCTETS(GET HOST "A b: c\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5: no name", OCTETS(GET HOST ": b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.2: obs-fold with a space", OCTETS(GET HOST "A: b\r\n c\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.2, CVE-2022-32215: obs-fold in Transfer-Encoding",
     OCTETS(GET HOST "Transfer-Encoding:\r\n\tchunked\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.2: obs-fold of nothing", OCTETS(GET HOST "A: b\r\n \r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: whitespace before the first field", OCTETS(GET " " HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: whitespace instead of a first field", OCTETS(GET " \r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9110 5.6.2: bracket in a name", OCTETS(GET HOST "A[0]: b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 5.6.2: quotes in a name", OCTETS(GET HOST "\"A\": b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 5.6.2: obs-text in a name", OCTETS(GET HOST "A\xe9: b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 5.5: NUL in a value", OCTETS(GET HOST "A: b\0c\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 5.5: NUL ends nothing", OCTETS(GET "Host: a\0.example\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 5.5: vertical tab before chunked",
     OCTETS(GET HOST "Transfer-Encoding: \x0b"
                     "chunked\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9110 5.5: DEL in a value", OCTETS(GET HOST "A: b\x7f\r\n\r\n"), HEAD_MALFORMED},

    /* what only the second reader refuses: the target's first octets do not go with the method */
    {"RFC 9112 3.2.3: authority form with GET", OCTETS("GET a:443 HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3.2: query alone", OCTETS("GET ?a HTTP/1.1\r\n" HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2.3: two @ in CONNECT", OCTETS("CONNECT a@@b:443 HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_MALFORMED},

    /* Host */
    {"RFC 9112 3.2: no Host in HTTP/1.1", OCTETS(GET "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: no Host in CONNECT", OCTETS("CONNECT a:443 HTTP/1.1\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: no Host in HTTP/1.3", OCTETS("GET / HTTP/1.3\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: two", OCTETS(GET HOST "host: b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: two that agree", OCTETS(GET HOST HOST "\r\n"), HEAD_MALFORMED},
    {"RFC 9112 3.2: two in HTTP/1.0", OCTETS("GET / HTTP/1.0\r\n" HOST HOST "\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 3.2: empty", OCTETS(GET "Host:\r\n\r\n"), HEAD_OK},
    {"RFC 9110 7.2: with port", OCTETS(GET "Host: a.example:8080\r\n\r\n"), HEAD_OK},
    {"RFC 3986 3.2.3: empty port", OCTETS(GET "Host: a:\r\n\r\n"), HEAD_OK},
    {"RFC 9110 7.2: IPv6", OCTETS(GET "Host: [2001:db8::192.0.2.1]:80\r\n\r\n"), HEAD_OK},
    {"RFC 9110 7.2: underscore, as some name their hosts", OCTETS(GET "Host: a_b\r\n\r\n"),
     HEAD_OK},
    {"RFC 9112 3.2: plainly wrong is no fault", OCTETS("GET http://b/ HTTP/1.1\r\n" HOST "\r\n"),
     HEAD_OK},
    {"RFC 9110 7.2: list", OCTETS(GET "Host: a, b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: list without space", OCTETS(GET "Host: a,b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: two words", OCTETS(GET "Host: a b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: tab inside", OCTETS(GET "Host: a\tb\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: userinfo", OCTETS(GET "Host: u@a\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: path", OCTETS(GET "Host: a/b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: URL", OCTETS(GET "Host: http://a\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: backslash", OCTETS(GET "Host: a\\b\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: percent-encoding", OCTETS(GET "Host: %61\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: obs-text", OCTETS(GET "Host: \xc3\xa4.example\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: port is no number", OCTETS(GET "Host: a:http\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: two ports", OCTETS(GET "Host: a:80:80\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: port alone", OCTETS(GET "Host: :80\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: IPv6 without brackets", OCTETS(GET "Host: ::1\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: bracket open", OCTETS(GET "Host: [::1\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: bracket empty", OCTETS(GET "Host: []\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: name in brackets", OCTETS(GET "Host: [a.example]\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: behind the bracket", OCTETS(GET "Host: [::1]a\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: zone", OCTETS(GET "Host: [fe80::1%25e]\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 7.2: quoted", OCTETS(GET "Host: \"a\"\r\n\r\n"), HEAD_MALFORMED},

    /* not HTTP at all */
    {"RFC 8446 5.1: a TLS record", OCTETS("\x16\x03\x01\x02\x00\x01\x00"), HEAD_IS_TLS},
    {"RFC 8446 5.1: only as the very first octet", OCTETS("\r\n\x16\x03\x01"), HEAD_MALFORMED},
    {"RFC 8446 5.1: not inside", OCTETS("G\x16T / HTTP/1.1\r\n"), HEAD_MALFORMED},
    {"SSLv2 hello", OCTETS("\x80\x2e\x01\x03\x01"), HEAD_MALFORMED},
    {"PROXY protocol v1", OCTETS("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), HEAD_MALFORMED},
    {"PROXY protocol v2", OCTETS("\r\n\r\n\0\r\nQUIT\n"), HEAD_MALFORMED},
    {"SOCKS 5", OCTETS("\x05\x01\x00"), HEAD_MALFORMED},
    {"SSH", OCTETS("SSH-2.0-OpenSSH_9.2p1\r\n"), HEAD_MALFORMED},
    {"NUL", OCTETS("\0"), HEAD_MALFORMED},
    {"a response where a request is due", OCTETS("HTTP/1.1 200 OK\r\n\r\n"), HEAD_MALFORMED},

    /* not yet complete */
    {"nothing", OCTETS(""), HEAD_MORE},
    {"CR of an empty line", OCTETS("\r"), HEAD_MORE},
    {"half a method", OCTETS("CONN"), HEAD_MORE},
    {"half a version", OCTETS("GET / HTTP/1."), HEAD_MORE},
    {"request line only", OCTETS(GET), HEAD_MORE},
    {"last LF missing", OCTETS(GET HOST "\r"), HEAD_MORE},
    {"complete, and more behind it", OCTETS(GET HOST "\r\n\x16\0\n"), HEAD_OK},
};

static const struct head_case responses[] = {
    {"RFC 9112 4: the least", OCTETS("HTTP/1.1 200 OK\r\n\r\n"), HEAD_OK},
    {"RFC 9112 4: empty reason", OCTETS("HTTP/1.1 200 \r\n\r\n"), HEAD_OK},
    {"common in the wild: no space before an empty reason", OCTETS("HTTP/1.1 200\r\n\r\n"),
     HEAD_OK},
    {"RFC 9112 4: obs-text and tab in the reason", OCTETS("HTTP/1.1 404 nicht\tgef\xfcndt\r\n\r\n"),
     HEAD_OK},
    {"RFC 9112 4: spaces in the reason", OCTETS("HTTP/1.1 200  O K \r\n\r\n"), HEAD_OK},
    {"RFC 9110 15: lowest status", OCTETS("HTTP/1.0 100 x\r\n\r\n"), HEAD_OK},
    {"RFC 9110 15: highest status", OCTETS("HTTP/1.1 599 x\r\n\r\n"), HEAD_OK},
    {"RFC 9110 2.5: HTTP/1.9", OCTETS("HTTP/1.9 200 OK\r\n\r\n"), HEAD_OK},
    {"RFC 9110 15: status 600", OCTETS("HTTP/1.1 600 x\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 15: status 099", OCTETS("HTTP/1.1 099 x\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: two digits", OCTETS("HTTP/1.1 20 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: four digits", OCTETS("HTTP/1.1 2000 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: no digits", OCTETS("HTTP/1.1 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: sign", OCTETS("HTTP/1.1 +20 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: letter behind the status", OCTETS("HTTP/1.1 200OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: tab behind the status", OCTETS("HTTP/1.1 200\tOK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: two spaces before the status", OCTETS("HTTP/1.1  200 OK\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 4: tab before the status", OCTETS("HTTP/1.1\t200 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: no status", OCTETS("HTTP/1.1\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: space first", OCTETS(" HTTP/1.1 200 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: empty line first is for requests", OCTETS("\r\nHTTP/1.1 200 OK\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.3: ICY", OCTETS("ICY 200 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.3: small letters", OCTETS("http/1.1 200 OK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9110 2.5: HTTP/2.0", OCTETS("HTTP/2.0 200 OK\r\n\r\n"), HEAD_BAD_VERSION},
    {"curl's way to print HTTP/2", OCTETS("HTTP/2 200\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: LF behind the status line", OCTETS("HTTP/1.1 200 OK\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 2.2: CR in the reason", OCTETS("HTTP/1.1 200 O\rK\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 4: NUL in the reason", OCTETS("HTTP/1.1 200 O\0K\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.2: obs-fold", OCTETS("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), HEAD_MALFORMED},
    {"RFC 9112 5.1: space before the colon", OCTETS("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"),
     HEAD_MALFORMED},
    {"RFC 9112 2.2: LF behind a field", OCTETS("HTTP/1.1 200 OK\r\nA: b\n\r\n"), HEAD_MALFORMED},
    {"a request where a response is due", OCTETS(GET HOST "\r\n"), HEAD_MALFORMED},
    {"a TLS alert", OCTETS("\x15\x03\x03\x00\x02\x02\x28"), HEAD_MALFORMED},
    {"a TLS handshake", OCTETS("\x16\x03\x03"), HEAD_MALFORMED},
    {"SSH banner", OCTETS("SSH-2.0-x\r\n"), HEAD_MALFORMED},
    {"half a status", OCTETS("HTTP/1.1 20"), HEAD_MORE},
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        feed_expect(requests[i].reason, HEAD_REQUEST, requests[i].octets, requests[i].result, NULL);
}

static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++)
        feed_expect(responses[i].reason, HEAD_RESPONSE, responses[i].octets, responses[i].result,
                    NULL);
}

#define TCHAR "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_tchar(int c)
{
    return c != 0 && strchr(TCHAR, c) != NULL;
}

static bool is_vchar(int c)
{
    return c >= 0x21 && c <= 0x7e;
}

static bool is_text(int c)
{
    return c == 0x09 || (c >= 0x20 && c <= 0x7e) || c >= 0x80;
}

/* Every octet where the grammar has more than one choice, against the words of the RFC. */
static void test_every_octet(void **state)
{
    (void)state;
    static const struct {
        const char *where, *before, *after;
        bool (*is_allowed)(int c);
        enum head_kind kind;
        enum head_result otherwise; /* when allowed: OK, but a method is unknown then */
    } places[] = {
        {"method", "G", "T / HTTP/1.0\r\n\r\n", is_tchar, HEAD_REQUEST, HEAD_METHOD_UNKNOWN},
        {"name", "GET / HTTP/1.0\r\nA", "b: c\r\n\r\n", is_tchar, HEAD_REQUEST, HEAD_OK},
        {"name, first octet", "GET / HTTP/1.0\r\n", "b: c\r\n\r\n", is_tchar, HEAD_REQUEST,
         HEAD_OK},
        {"value", "GET / HTTP/1.0\r\nA: b", "c\r\n\r\n", is_text, HEAD_REQUEST, HEAD_OK},
        {"value, first octet", "GET / HTTP/1.0\r\nA:", "\r\n\r\n", is_text, HEAD_REQUEST, HEAD_OK},
        {"target", "GET /a", "b HTTP/1.0\r\n\r\n", is_vchar, HEAD_REQUEST, HEAD_OK},
        {"reason", "HTTP/1.1 200 O", "K\r\n\r\n", is_text, HEAD_RESPONSE, HEAD_OK},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (int c = 0; c < 256; c++) {
            char text[64];
            char name[64];
            size_t before = strlen(places[i].before), after = strlen(places[i].after);
            memcpy(text, places[i].before, before);
            text[before] = (char)c;
            memcpy(text + before + 1, places[i].after, after);
            enum head_result expected =
                places[i].is_allowed(c) ? places[i].otherwise : HEAD_MALFORMED;
            if (c == 'E' && i == 0)
                expected = HEAD_OK; /* GET */
            if (c == ':' && i == 1)
                expected = HEAD_OK; /* the name ends here */
            (void)snprintf(name, sizeof name, "octet %02x in %s", (unsigned)c, places[i].where);
            feed_expect(name, places[i].kind, (struct span){text, before + 1 + after}, expected,
                        NULL);
        }
    }
}

/* What comes out of a head that holds all there is. */
static void test_spans(void **state)
{
    (void)state;
    static struct head h;
    static const char text[] =
        "\r\nPOST http://a/ HTTP/1.1\r\nHost:a\r\nX:  b c\t\r\nY:\r\n\r\nbody";
    feed_expect("request", HEAD_REQUEST, (struct span){text, sizeof text - 1}, HEAD_OK, &h);
    assert_int_equal(h.kind, HEAD_REQUEST);
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.size, sizeof text - 1 - 4);
    assert_true(span_is(h.method, SPAN("POST")));
    assert_true(span_is(h.target, SPAN("http://a/")));
    assert_int_equal(h.field_count, 3);
    assert_true(span_is(h.field[0].name, SPAN("Host")) && span_is(h.field[0].value, SPAN("a")));
    assert_true(span_is(h.field[1].name, SPAN("X")) && span_is(h.field[1].value, SPAN("b c")));
    assert_true(span_is(h.field[2].name, SPAN("Y")) && span_is(h.field[2].value, SPAN("")));

    feed_expect("response", HEAD_RESPONSE, SPAN("HTTP/1.0 304 Not Modified\r\nA: b\r\n\r\n"),
                HEAD_OK, &h);
    assert_int_equal(h.kind, HEAD_RESPONSE);
    assert_int_equal(h.minor, 0);
    assert_int_equal(h.status, 304);
    assert_true(span_is(h.reason, SPAN("Not Modified")));
    assert_int_equal(h.field_count, 1);

    feed_expect("no reason", HEAD_RESPONSE, SPAN("HTTP/1.2 204\r\n\r\n"), HEAD_OK, &h);
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.reason.len, 0);
}

/* Ambiguous lengths are body.h's to name, although http-parser stops at most of them. */
static void test_framing_is_left_to_body(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: ,\r\n",
        "Transfer-Encoding: identity\r\n",
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char text[256];
        static struct head h;
        struct body body;
        const char *why = NULL;
        (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\n%sZ: last\r\n\r\n",
                       fields[i]);
        feed_expect(fields[i], HEAD_REQUEST, span_of(text), HEAD_OK, &h);
        assert_non_null(head_find(&h, SPAN("Z")));
        if (body_of_request(&body, &h, &why) == 0)
            fail_msg("\"%s\" passes as framing", fields[i]);
        body_release(&body);
    }
}

static void expect_limited(const char *text, struct head_limits limits, enum head_result expected)
{
    static struct head h;
    enum head_result r = feed_limited(&h, HEAD_REQUEST, span_of(text), limits, NULL);
    if (r != expected)
        fail_msg("\"%s\": %s, expected %s", text, feed_result_name(r), feed_result_name(expected));
}

static void test_limits(void **state)
{
    (void)state;
    static const char line[] = "GET /abc HTTP/1.0";
    char text[128];
    (void)snprintf(text, sizeof text, "%s\r\nA: b\r\nC: d\r\n\r\n", line);
    size_t n = strlen(text), l = sizeof line - 1;
    struct head_limits wide = FEED_LIMITS;

    struct head_limits limits = wide;
    limits.request_line_octets = l;
    expect_limited(text, limits, HEAD_OK);
    for (limits.request_line_octets = 1; limits.request_line_octets < l;
         limits.request_line_octets++)
        expect_limited(text, limits, HEAD_LINE_TOO_LONG);
    /* Told at the first octet too many, not at the end of the line. */
    limits.request_line_octets = 8;
    expect_limited("GET /abc", limits, HEAD_MORE);
    expect_limited("GET /abcd", limits, HEAD_LINE_TOO_LONG);
    /* A CR exactly behind it, where no line may end. */
    expect_limited("GET /abc\r", limits, HEAD_MALFORMED);
    expect_limited("ABCDEFGH\r", limits, HEAD_MALFORMED);
    expect_limited("GET /ab \r", limits, HEAD_MALFORMED);
    expect_limited("GET /ab H", limits, HEAD_LINE_TOO_LONG);
    /* The skipped empty line is not part of it. */
    limits.request_line_octets = l;
    expect_limited("\r\nGET /abc HTTP/1.0\r\n\r\n", limits, HEAD_OK);
    expect_limited("\r\nGET /abcd HTTP/1.0\r\n\r\n", limits, HEAD_LINE_TOO_LONG);

    limits = wide;
    limits.head_octets = n;
    expect_limited(text, limits, HEAD_OK);
    for (limits.head_octets = l + 2; limits.head_octets < n; limits.head_octets++)
        expect_limited(text, limits, HEAD_TOO_LARGE);
    /* A buffer of exactly that size is full then: no further octet can be waited for. */
    limits.head_octets = 8;
    expect_limited("GET /ab", limits, HEAD_MORE);
    expect_limited("GET /abc", limits, HEAD_TOO_LARGE);

    limits = wide;
    limits.fields = 2;
    expect_limited(text, limits, HEAD_OK);
    limits.fields = 1;
    expect_limited(text, limits, HEAD_TOO_MANY_FIELDS);
}

static void test_status_line_limit(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 Okay\r\n\r\n";
    static struct head h;
    struct head_limits limits = FEED_LIMITS;
    for (limits.request_line_octets = 1; limits.request_line_octets < 20;
         limits.request_line_octets++)
        assert_int_equal(feed_limited(&h, HEAD_RESPONSE, span_of(text), limits, NULL),
                         limits.request_line_octets < 17 ? HEAD_LINE_TOO_LONG : HEAD_OK);
}

static void test_most_fields(void **state)
{
    (void)state;
    static char text[8192];
    static struct head h;
    struct head_limits limits = FEED_LIMITS;
    limits.fields = HEAD_FIELDS_MAX;
    for (size_t count = HEAD_FIELDS_MAX; count <= HEAD_FIELDS_MAX + 1; count++) {
        size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.0\r\n");
        for (size_t i = 0; i < count; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "f%zu: %zu\r\n", i, i);
        n += (size_t)snprintf(text + n, sizeof text - n, "\r\n");
        size_t scanned = 0;
        enum head_result r = head_parse(&h, HEAD_REQUEST, text, n, &limits, &scanned, NULL);
        assert_int_equal(r, count == HEAD_FIELDS_MAX ? HEAD_OK : HEAD_TOO_MANY_FIELDS);
    }
}

/* Commas cost the rewriter time: 64 options pass, one more does not. */
static void test_connection_options(void **state)
{
    (void)state;
    char text[512];
    for (size_t commas = 61; commas <= 63; commas++) {
        static struct head h;
        char list[128] = "";
        memset(list, ',', commas);
        (void)snprintf(text, sizeof text,
                       "GET / HTTP/1.0\r\nConnection: close\r\nCONNECTION: %s\r\n\r\n", list);
        feed_expect("Connection", HEAD_REQUEST, span_of(text),
                    commas <= 62 ? HEAD_OK : HEAD_MALFORMED, &h);
    }
}

/*
 * A mebibyte octet by octet, nine in ten of it one line. Looking at a line again for each octet
 * would take hours, so this test would not end in time.
 */
static void test_slow_sender(void **state)
{
    (void)state;
    const size_t size = 1048576;
    char *text = malloc(size);
    static struct head h;
    assert_non_null(text);
    memset(text, 'a', size);
    memcpy(text, "GET /", 5);
    memcpy(text + size - 200000, " HTTP/1.1\r\nHost: a\r\nB: ", 23);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    struct head_limits limits = {.head_octets = size, .request_line_octets = size, .fields = 2};
    size_t scanned = 0;
    for (size_t len = 0; len < size; len++)
        assert_int_equal(HEAD_MORE,
                         head_parse(&h, HEAD_REQUEST, text, len, &limits, &scanned, NULL));
    /* Also far over http-parser's own limit of 80 KiB. */
    assert_int_equal(HEAD_OK, head_parse(&h, HEAD_REQUEST, text, size, &limits, &scanned, NULL));
    assert_int_equal(h.size, size);
    free(text);
}

static void test_pipelined(void **state)
{
    (void)state;
    static const char text[] = "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n";
    static struct head h;
    struct head_limits limits = FEED_LIMITS;
    size_t scanned = 0, all = sizeof text - 1;
    assert_int_equal(HEAD_OK, head_parse(&h, HEAD_REQUEST, text, all, &limits, &scanned, NULL));
    assert_true(span_is(h.target, SPAN("/1")));
    const char *next = text + h.size;
    assert_int_equal(HEAD_OK,
                     head_parse(&h, HEAD_REQUEST, next, all - h.size, &limits, &scanned, NULL));
    assert_true(span_is(h.target, SPAN("/2")));
    /* The same octets again give the same again. */
    assert_int_equal(HEAD_OK, head_parse(&h, HEAD_REQUEST, text, all, &limits, &scanned, NULL));
    assert_true(span_is(h.target, SPAN("/1")));
}

static void test_lookup(void **state)
{
    (void)state;
    static struct head h;
    feed_expect("lookup", HEAD_REQUEST,
                SPAN("GET / HTTP/1.0\r\nConnection: Keep-Alive, TE\r\nA: 1\r\nconnection:\tfoo ,,"
                     " bar\r\na: 2\r\nB:\r\n\r\n"),
                HEAD_OK, &h);
    assert_true(span_is(head_find(&h, SPAN("a"))->value, SPAN("1")));
    assert_null(head_find(&h, SPAN("AA")));
    assert_null(head_find(&h, SPAN("")));
    assert_int_equal(head_count(&h, SPAN("A")), 2);
    assert_int_equal(head_count(&h, SPAN("CONNECTION")), 2);
    assert_int_equal(head_count(&h, SPAN("C")), 0);
    static const struct {
        const char *token;
        bool has;
    } tokens[] = {{"keep-alive", true}, {"te", true},  {"TE", true},     {"foo", true},
                  {"bar", true},        {"fo", false}, {"fooo", false},  {"close", false},
                  {"TE ", false},       {"", false},   {"foo ,,", false}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        assert_int_equal(head_list_has(&h, SPAN("Connection"), span_of(tokens[i].token)),
                         tokens[i].has);
    assert_false(head_list_has(&h, SPAN("B"), SPAN("")));
    assert_false(head_list_has(&h, SPAN("C"), SPAN("TE")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_every_octet),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_framing_is_left_to_body),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_status_line_limit),
        cmocka_unit_test(test_most_fields),
        cmocka_unit_test(test_connection_options),
        cmocka_unit_test(test_slow_sender),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_lookup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

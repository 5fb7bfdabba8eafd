/*
 * The four forms of a request target, and the ways to make one reader see another host than the
 * next. Rows name the clause or the advisory. What a host name may be is allowlist's concern: what
 * passes here is still to pass there.
 */
#include "proxy/wire/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct good_case {
    const char *reason;
    const char *method;
    const char *text;
    enum target_form form;
    uint16_t port;
    const char *host;
    const char *path;
};

static const struct good_case good[] = {
    {"RFC 9112 3.2.3", "CONNECT", "ca.example.com:443", TARGET_AUTHORITY, 443, "ca.example.com",
     ""},
    {"RFC 9112 3.2.3: lowest port", "CONNECT", "a:1", TARGET_AUTHORITY, 1, "a", ""},
    {"RFC 9112 3.2.3: highest port", "CONNECT", "a:65535", TARGET_AUTHORITY, 65535, "a", ""},
    {"RFC 9112 3.2.3: IPv4", "CONNECT", "192.0.2.1:443", TARGET_AUTHORITY, 443, "192.0.2.1", ""},
    {"RFC 9112 3.2.3: IPv6", "CONNECT", "[2001:db8::1]:443", TARGET_AUTHORITY, 443, "[2001:db8::1]",
     ""},
    {"RFC 4291 2.2: IPv4 in IPv6", "CONNECT", "[::ffff:192.0.2.1]:443", TARGET_AUTHORITY, 443,
     "[::ffff:192.0.2.1]", ""},
    {"as written: case and trailing dot", "CONNECT", "CA.Example.COM.:443", TARGET_AUTHORITY, 443,
     "CA.Example.COM.", ""},
    {"as written: odd address spellings are hostname.h's", "CONNECT", "0x7f.1:443",
     TARGET_AUTHORITY, 443, "0x7f.1", ""},
    {"as written: underscore", "CONNECT", "_acme-challenge.a_b:443", TARGET_AUTHORITY, 443,
     "_acme-challenge.a_b", ""},

    {"RFC 9112 3.2.2", "GET", "http://ca.example.com/a/b?c=d&e", TARGET_ABSOLUTE, 80,
     "ca.example.com", "/a/b?c=d&e"},
    {"RFC 9112 3.2.2: port", "POST", "http://ca.example.com:8080/", TARGET_ABSOLUTE, 8080,
     "ca.example.com", "/"},
    {"RFC 9112 3.2.1: no path", "GET", "http://a", TARGET_ABSOLUTE, 80, "a", ""},
    {"RFC 9112 3.2.4: no path, OPTIONS", "OPTIONS", "http://a:8001", TARGET_ABSOLUTE, 8001, "a",
     ""},
    {"RFC 3986 3.4: query without a path", "GET", "http://a?q", TARGET_ABSOLUTE, 80, "a", "?q"},
    {"RFC 3986 3.1: scheme in any case", "GET", "HtTp://a/", TARGET_ABSOLUTE, 80, "a", "/"},
    {"RFC 3986 3.2.2: IPv6", "GET", "http://[::1]/", TARGET_ABSOLUTE, 80, "[::1]", "/"},
    {"RFC 3986 3.2.2: IPv6 and port", "GET", "http://[::1]:8080/x", TARGET_ABSOLUTE, 8080, "[::1]",
     "/x"},
    {"RFC 3986 3.3: every pchar", "GET", "http://a/-._~!$&'()*+,;=:@%20%fF", TARGET_ABSOLUTE, 80,
     "a", "/-._~!$&'()*+,;=:@%20%fF"},
    {"RFC 3986 3.3: @ and : are the path's there", "GET", "http://a/u:p@b:443", TARGET_ABSOLUTE, 80,
     "a", "/u:p@b:443"},
    {"RFC 3986 3.4: @ in a query without a path", "GET", "http://a?u@b", TARGET_ABSOLUTE, 80, "a",
     "?u@b"},
    {"RFC 3986 3.3: empty segments", "GET", "http://a//b/", TARGET_ABSOLUTE, 80, "a", "//b/"},
    {"RFC 8894 4.1: base64 in a SCEP query", "GET", "http://a/scep?operation=x&message=MI+/=",
     TARGET_ABSOLUTE, 80, "a", "/scep?operation=x&message=MI+/="},
    {"RFC 6960 A.1: base64 in an OCSP path", "GET", "http://a/MFEw/TzBN+A==", TARGET_ABSOLUTE, 80,
     "a", "/MFEw/TzBN+A=="},

    {"RFC 9112 3.2.1", "GET", "/", TARGET_ORIGIN, 0, "", "/"},
    {"RFC 9112 3.2.1: query", "GET", "/metrics?a=/?b", TARGET_ORIGIN, 0, "", "/metrics?a=/?b"},
    {"RFC 9112 3.2.1: looks like an authority", "GET", "//evil.example/", TARGET_ORIGIN, 0, "",
     "//evil.example/"},
    {"RFC 9112 3.2.1: looks like absolute form", "GET", "/http://evil.example/", TARGET_ORIGIN, 0,
     "", "/http://evil.example/"},
    {"RFC 9112 3.2.4", "OPTIONS", "*", TARGET_ASTERISK, 0, "", ""},
};

struct bad_case {
    const char *reason;
    const char *method;
    struct span text;
    enum target_result result;
};

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

static const struct bad_case bad[] = {
    /* CONNECT: host and port, nothing else */
    {"RFC 9112 3.2.3: no port", "CONNECT", TEXT("a"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: empty port", "CONNECT", TEXT("a:"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: port zero", "CONNECT", TEXT("a:0"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: port 65536", "CONNECT", TEXT("a:65536"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: 65536 + 443", "CONNECT", TEXT("a:65979"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: 2^32 + 443", "CONNECT", TEXT("a:4294967739"), TARGET_MALFORMED},
    {"RFC 9110 9.3.6: 2^64 + 443", "CONNECT", TEXT("a:18446744073709552059"), TARGET_MALFORMED},
    {"decided: leading zero", "CONNECT", TEXT("a:0443"), TARGET_MALFORMED},
    {"decided: many leading zeros", "CONNECT", TEXT("a:00000000000443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: plus", "CONNECT", TEXT("a:+443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: minus", "CONNECT", TEXT("a:-443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: hexadecimal", "CONNECT", TEXT("a:0x1bb"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: name of a service", "CONNECT", TEXT("a:https"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: letter behind", "CONNECT", TEXT("a:443x"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: space behind", "CONNECT", TEXT("a:443 "), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: NUL behind", "CONNECT", TEXT("a:443\0"), TARGET_MALFORMED},
    {"two ports", "CONNECT", TEXT("a:80:443"), TARGET_MALFORMED},
    {"two ports, first empty", "CONNECT", TEXT("a::443"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: path", "CONNECT", TEXT("a:443/"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: query", "CONNECT", TEXT("a:443?x"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: fragment", "CONNECT", TEXT("a:443#x"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: path before the port", "CONNECT", TEXT("a/:443"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: userinfo", "CONNECT", TEXT("u@a:443"), TARGET_MALFORMED},
    {"RFC 9112 3.2.3: user and password", "CONNECT", TEXT("u:p@a:443"), TARGET_MALFORMED},
    {"allowed host as userinfo", "CONNECT", TEXT("ca.example.com:443@evil.example:443"),
     TARGET_MALFORMED},
    {"allowed host as userinfo, port behind", "CONNECT", TEXT("evil.example:443@ca.example.com"),
     TARGET_MALFORMED},
    {"backslash before the allowed host", "CONNECT", TEXT("evil.example\\.ca.example.com:443"),
     TARGET_MALFORMED},
    {"percent-encoded dot", "CONNECT", TEXT("evil%2eexample:443"), TARGET_MALFORMED},
    {"percent-encoded NUL", "CONNECT", TEXT("evil.example%00.ca.example.com:443"),
     TARGET_MALFORMED},
    {"percent-encoded CR LF: request splitting", "CONNECT", TEXT("a%0d%0a:443"), TARGET_MALFORMED},
    {"NUL in the host", "CONNECT", TEXT("evil.example\0.ca.example.com:443"), TARGET_MALFORMED},
    {"tab in the host", "CONNECT", TEXT("a\tb:443"), TARGET_MALFORMED},
    {"space in the host", "CONNECT", TEXT("a b:443"), TARGET_MALFORMED},
    {"CR LF in the host", "CONNECT", TEXT("a\r\nb:443"), TARGET_MALFORMED},
    {"UTF-8: full-width full stop", "CONNECT",
     TEXT("ca\xef\xbc\x8e"
          "example:443"),
     TARGET_MALFORMED},
    {"UTF-8: ideographic full stop", "CONNECT",
     TEXT("ca\xe3\x80\x82"
          "example:443"),
     TARGET_MALFORMED},
    {"Latin-1 letter", "CONNECT",
     TEXT("b\xfc"
          "cher.example:443"),
     TARGET_MALFORMED},
    {"empty host", "CONNECT", TEXT(":443"), TARGET_MALFORMED},
    {"empty", "CONNECT", TEXT(""), TARGET_MALFORMED},
    {"decided: sub-delims, legal in a reg-name and in no DNS name", "CONNECT", TEXT("a!b:443"),
     TARGET_MALFORMED},
    {"decided: comma", "CONNECT", TEXT("a,b:443"), TARGET_MALFORMED},
    {"decided: tilde", "CONNECT", TEXT("a~b:443"), TARGET_MALFORMED},
    {"decided: semicolon", "GET", TEXT("http://a;b/"), TARGET_MALFORMED},
    {"quotes", "CONNECT", TEXT("\"a\":443"), TARGET_MALFORMED},
    {"angle brackets", "CONNECT", TEXT("<a>:443"), TARGET_MALFORMED},
    {"braces", "CONNECT", TEXT("{a}:443"), TARGET_MALFORMED},
    {"bar", "CONNECT", TEXT("a|b:443"), TARGET_MALFORMED},
    {"caret", "CONNECT", TEXT("a^b:443"), TARGET_MALFORMED},
    {"backquote", "CONNECT", TEXT("`a`:443"), TARGET_MALFORMED},

    /* brackets */
    {"RFC 3986 3.2.2: no brackets", "CONNECT", TEXT("::1:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: no port", "CONNECT", TEXT("[::1]"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: open", "CONNECT", TEXT("[::1:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: open, port inside", "CONNECT", TEXT("[::1:443]"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: not opened", "CONNECT", TEXT("::1]:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: twice", "CONNECT", TEXT("[[::1]]:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: empty", "CONNECT", TEXT("[]:443"), TARGET_MALFORMED},
    {"RFC 4291 2.2: one colon", "CONNECT", TEXT("[:]:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: IPv4 in brackets", "CONNECT", TEXT("[127.0.0.1]:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: hexadecimal in brackets", "CONNECT", TEXT("[7f000001]:443"),
     TARGET_MALFORMED},
    {"CVE-2022-29188 (Smokescreen): name in brackets", "CONNECT", TEXT("[evil.example]:443"),
     TARGET_MALFORMED},
    {"CVE-2022-29188 (Smokescreen): name in double brackets", "CONNECT",
     TEXT("[[evil.example]]:443"), TARGET_MALFORMED},
    {"behind the bracket", "CONNECT", TEXT("[::1]a:443"), TARGET_MALFORMED},
    {"a host behind the bracket", "CONNECT", TEXT("[::1].ca.example.com:443"), TARGET_MALFORMED},
    {"bracket inside", "CONNECT", TEXT("a[::1]:443"), TARGET_MALFORMED},
    {"RFC 6874: zone", "CONNECT", TEXT("[fe80::1%25eth0]:443"), TARGET_MALFORMED},
    {"RFC 4007 11: bare zone", "CONNECT", TEXT("[fe80::1%eth0]:443"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: IPvFuture", "CONNECT", TEXT("[v1.a]:443"), TARGET_MALFORMED},
    {"prefix length", "CONNECT", TEXT("[::1/128]:443"), TARGET_MALFORMED},

    /* forms and methods */
    {"RFC 9112 3.2.3: CONNECT with absolute form", "CONNECT", TEXT("http://a/"), TARGET_METHOD},
    {"RFC 9112 3.2.3: CONNECT with https", "CONNECT", TEXT("https://a:443"), TARGET_METHOD},
    {"RFC 9112 3.2.3: CONNECT with origin form", "CONNECT", TEXT("/a:443"), TARGET_METHOD},
    {"RFC 9112 3.2.3: CONNECT with asterisk form", "CONNECT", TEXT("*"), TARGET_METHOD},
    {"RFC 9112 3.2.3: authority form with GET", "GET", TEXT("a:443"), TARGET_METHOD},
    {"RFC 9112 3.2.3: authority form with OPTIONS", "OPTIONS", TEXT("[::1]:443"), TARGET_METHOD},
    {"RFC 9112 3.2.4: asterisk form with GET", "GET", TEXT("*"), TARGET_METHOD},
    {"RFC 9110 9.1: methods have their case", "options", TEXT("*"), TARGET_METHOD},
    {"RFC 9112 3.2.4: more than the asterisk", "OPTIONS", TEXT("*/"), TARGET_MALFORMED},
    {"RFC 9112 3.2: empty", "GET", TEXT(""), TARGET_MALFORMED},
    {"RFC 9112 3.2: relative path", "GET", TEXT("a/b"), TARGET_MALFORMED},
    {"RFC 9112 3.2: query alone", "GET", TEXT("?a"), TARGET_MALFORMED},
    {"RFC 9112 3.2: dot segments alone", "GET", TEXT("../a"), TARGET_MALFORMED},

    /* absolute form: schemes */
    {"DESIGN 5: https", "GET", TEXT("https://a/"), TARGET_HTTPS},
    {"RFC 3986 3.1: HTTPS", "POST", TEXT("HTTPS://a"), TARGET_HTTPS},
    {"RFC 3986 3.1: ftp", "GET", TEXT("ftp://a/"), TARGET_OTHER_SCHEME},
    {"RFC 3986 3.1: file", "GET", TEXT("file:///etc/passwd"), TARGET_OTHER_SCHEME},
    {"RFC 3986 3.1: gopher", "GET", TEXT("gopher://a:6379/_x"), TARGET_OTHER_SCHEME},
    {"RFC 6455 3: ws", "GET", TEXT("ws://a/"), TARGET_OTHER_SCHEME},
    {"RFC 3986 3.1: longer", "GET", TEXT("httpx://a/"), TARGET_OTHER_SCHEME},
    {"RFC 3986 3.1: shorter", "GET", TEXT("htt://a/"), TARGET_OTHER_SCHEME},
    {"RFC 3986 3.1: plus and dot", "GET", TEXT("coap+tcp.x-1://a/"), TARGET_OTHER_SCHEME},
    {"RFC 9110 4.2.1: no slashes", "GET", TEXT("http:a/b"), TARGET_MALFORMED},
    {"RFC 9110 4.2.1: one slash", "GET", TEXT("http:/a/b"), TARGET_MALFORMED},
    {"RFC 3986 3.1: digit first", "GET", TEXT("1http://a/"), TARGET_MALFORMED},
    {"RFC 3986 3.1: space first", "GET", TEXT(" http://a/"), TARGET_MALFORMED},
    {"RFC 3986 3.1: empty scheme", "GET", TEXT("://a/"), TARGET_MALFORMED},
    {"WHATWG readers take it for http://a/", "GET", TEXT("http:\\\\a/"), TARGET_MALFORMED},
    {"RFC 3986 3.1: no scheme", "GET", TEXT("a.example/b"), TARGET_MALFORMED},

    /* absolute form: authority */
    {"RFC 9110 4.2.1: empty host", "GET", TEXT("http:///a"), TARGET_MALFORMED},
    {"RFC 9110 4.2.1: empty host, no path", "GET", TEXT("http://"), TARGET_MALFORMED},
    {"RFC 9110 4.2.1: empty host, port", "GET", TEXT("http://:80/"), TARGET_MALFORMED},
    {"RFC 9110 4.2.1: empty host, query", "GET", TEXT("http://?a"), TARGET_MALFORMED},
    {"RFC 9110 4.2.4: userinfo", "GET", TEXT("http://u:p@a/"), TARGET_MALFORMED},
    {"RFC 9110 4.2.4: empty userinfo", "GET", TEXT("http://@a/"), TARGET_MALFORMED},
    {"RFC 9110 4.2.4: allowed host as userinfo", "GET", TEXT("http://ca.example.com@evil.example/"),
     TARGET_MALFORMED},
    {"RFC 9110 4.2.4: two @", "GET", TEXT("http://a@b@c/"), TARGET_MALFORMED},
    {"Orange Tsai 2017: port and userinfo", "GET", TEXT("http://a:11211@evil.example:80/"),
     TARGET_MALFORMED},
    {"Orange Tsai 2017: fragment before userinfo", "GET", TEXT("http://evil.example#@a/"),
     TARGET_MALFORMED},
    {"Orange Tsai 2017: two ports", "GET", TEXT("http://a:11211:80/"), TARGET_MALFORMED},
    {"backslash before userinfo: WHATWG readers go to the first", "GET",
     TEXT("http://evil.example\\@a/"), TARGET_MALFORMED},
    {"backslash for the slash", "GET", TEXT("http://evil.example\\.ca.example.com/"),
     TARGET_MALFORMED},
    {"RFC 3986 3.2.3: empty port", "GET", TEXT("http://a:/"), TARGET_MALFORMED},
    {"RFC 3986 3.2.3: empty port, no path", "GET", TEXT("http://a:"), TARGET_MALFORMED},
    {"port zero", "GET", TEXT("http://a:0/"), TARGET_MALFORMED},
    {"port too large", "GET", TEXT("http://a:65536/"), TARGET_MALFORMED},
    {"leading zero", "GET", TEXT("http://a:080/"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: percent-encoding in the host", "GET", TEXT("http://%61/"), TARGET_MALFORMED},
    {"percent-encoded slash in the host", "GET", TEXT("http://evil.example%2fa/"),
     TARGET_MALFORMED},
    {"RFC 6874: zone", "GET", TEXT("http://[fe80::1%25eth0]/"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: IPv6 without brackets", "GET", TEXT("http://::1/"), TARGET_MALFORMED},
    {"RFC 3986 3.2.2: open bracket", "GET", TEXT("http://[::1/"), TARGET_MALFORMED},
    {"UTF-8 host", "GET",
     TEXT("http://b\xc3\xbc"
          "cher.example/"),
     TARGET_MALFORMED},

    /* path and query */
    {"RFC 9110 7.1: fragment", "GET", TEXT("http://a/b#c"), TARGET_MALFORMED},
    {"RFC 9110 7.1: empty fragment", "GET", TEXT("http://a/#"), TARGET_MALFORMED},
    {"RFC 9110 7.1: fragment behind the host", "GET", TEXT("http://a#b"), TARGET_MALFORMED},
    {"RFC 9110 7.1: fragment behind the query", "GET", TEXT("http://a/?b#c"), TARGET_MALFORMED},
    {"RFC 9112 3.2.1: fragment in origin form", "GET", TEXT("/a#b"), TARGET_MALFORMED},
    {"RFC 3986 3.3: backslash", "GET", TEXT("http://a/b\\c"), TARGET_MALFORMED},
    {"RFC 3986 3.3: backslash in origin form", "GET", TEXT("/\\evil.example"), TARGET_MALFORMED},
    {"RFC 3986 2.1: percent alone", "GET", TEXT("http://a/%"), TARGET_MALFORMED},
    {"RFC 3986 2.1: one digit", "GET", TEXT("http://a/%4"), TARGET_MALFORMED},
    {"RFC 3986 2.1: no digit", "GET", TEXT("http://a/%zz"), TARGET_MALFORMED},
    {"RFC 3986 2.1: second is no digit", "GET", TEXT("http://a/%4g"), TARGET_MALFORMED},
    {"RFC 3986 2.1: percent percent", "GET", TEXT("/%%41"), TARGET_MALFORMED},
    {"RFC 3986 2.1: in the query", "GET", TEXT("/?a=%u0041"), TARGET_MALFORMED},
    {"RFC 3986 3.3: space", "GET", TEXT("/a b"), TARGET_MALFORMED},
    {"RFC 3986 3.3: tab", "GET", TEXT("/a\tb"), TARGET_MALFORMED},
    {"RFC 3986 3.3: CR LF", "GET", TEXT("/a\r\nX: y"), TARGET_MALFORMED},
    {"RFC 3986 3.3: NUL", "GET", TEXT("/a\0b"), TARGET_MALFORMED},
    {"RFC 3986 3.3: UTF-8", "GET", TEXT("/\xc3\xbc"), TARGET_MALFORMED},
    {"RFC 3986 3.3: quotes", "GET", TEXT("/\""), TARGET_MALFORMED},
    {"RFC 3986 3.3: angle brackets", "GET", TEXT("/<script>"), TARGET_MALFORMED},
    {"RFC 3986 3.3: braces", "GET", TEXT("/{a}"), TARGET_MALFORMED},
    {"RFC 3986 3.3: bar", "GET", TEXT("/a|b"), TARGET_MALFORMED},
    {"RFC 3986 3.3: caret", "GET", TEXT("/a^b"), TARGET_MALFORMED},
    {"RFC 3986 3.3: backquote", "GET", TEXT("/`a`"), TARGET_MALFORMED},
    {"RFC 3986 3.4: brackets", "GET", TEXT("/?a[0]=b"), TARGET_MALFORMED},
};

static enum target_result parse(struct target *t, const char *method, struct span text, char **copy,
                                const char **why)
{
    /* Exactly as long as it is, so that the sanitizer sees a look too far. */
    *copy = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(*copy);
    memcpy(*copy, text.ptr, text.len);
    return target_parse(t, span_of(method), (struct span){*copy, text.len}, why);
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const struct good_case *c = &good[i];
        struct target t;
        char *copy;
        const char *why = NULL;
        if (parse(&t, c->method, span_of(c->text), &copy, &why) != TARGET_OK)
            fail_msg("%s: %s %s: refused: %s", c->reason, c->method, c->text, why);
        assert_null(why);
        if (t.form != c->form || t.port != c->port || !span_is(t.host, span_of(c->host)) ||
            !span_is(t.path, span_of(c->path)))
            fail_msg("%s: %s %s: form %d, host \"%.*s\", port %u, path \"%.*s\"", c->reason,
                     c->method, c->text, (int)t.form, SPAN_ARGS(t.host), t.port, SPAN_ARGS(t.path));
        free(copy);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct bad_case *c = &bad[i];
        struct target t;
        char *copy;
        const char *why = NULL;
        enum target_result r = parse(&t, c->method, c->text, &copy, &why);
        if (r != c->result || why == NULL)
            fail_msg("%s: %s %.*s: result %d, expected %d", c->reason, c->method,
                     SPAN_ARGS(c->text), (int)r, (int)c->result);
        free(copy);
    }
}

/* Every octet at each place, against the words of RFC 3986. */
static void test_every_octet(void **state)
{
    (void)state;
    static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-._~";
    for (int c = 1; c < 256; c++) {
        char text[32] = "http://a_b/c_d?e_f";
        bool sub = strchr("!$&'()*+,;=", c) != NULL, plain = strchr(unreserved, c) != NULL;
        struct target t;
        text[8] = (char)c;
        /* ':' would begin a port, '/' and '?' end the host: then "b" or a path follows. */
        bool in_host = (plain && c != '~') || c == '/' || c == '?';
        assert_int_equal(target_parse(&t, SPAN("GET"), span_of(text), NULL),
                         in_host ? TARGET_OK : TARGET_MALFORMED);
        text[8] = 'x';
        text[12] = (char)c;
        bool in_path = plain || sub || strchr(":@/?", c) != NULL;
        assert_int_equal(target_parse(&t, SPAN("GET"), span_of(text), NULL),
                         in_path ? TARGET_OK : TARGET_MALFORMED);
        text[12] = 'x';
        text[16] = (char)c;
        assert_int_equal(target_parse(&t, SPAN("GET"), span_of(text), NULL),
                         in_path ? TARGET_OK : TARGET_MALFORMED);
    }
}

/* The tricks that people ask about have their own words. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *method, *text, *why;
    } cases[] = {
        {"GET", "http://u:p@a/", "user information before the host"},
        {"CONNECT", "a", "CONNECT without a port"},
        {"CONNECT", "a:", "no port behind the colon"},
        {"CONNECT", "a:99999", "port is larger than 65535"},
        {"CONNECT", "[fe80::1%25e]:443", "zone identifier in an IPv6 address"},
        {"CONNECT", "::1:443", "more than one colon, or an IPv6 address without brackets"},
        {"GET", "http://a%2e/", "percent-encoding in the host"},
        {"GET", "http://a\\b/", "backslash in the host"},
        {"GET", "http://a/#b", "fragment in the request target"},
        {"GET", "a:443", "host:port goes with CONNECT only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t;
        const char *why = NULL;
        assert_int_not_equal(
            target_parse(&t, span_of(cases[i].method), span_of(cases[i].text), &why), TARGET_OK);
        assert_string_equal(why, cases[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_every_octet),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

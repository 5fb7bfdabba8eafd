/*
 * Chunks and trailers: what RFC 9112 section 7.1 allows, and the published ways to have two readers
 * see two ends. Each row names the clause or the advisory, and is fed whole, at each split and
 * octet by octet.
 */
#include "proxy/wire/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What came out of a body: payload, trailers, verdict, and how many octets it took. */
struct outcome {
    enum body_event verdict; /* MORE, END or BAD */
    char payload[4096];
    size_t payload_len;
    char trailers[16384];
    size_t trailers_len;
    size_t used;
};

static struct body chunked_body(void)
{
    struct head h = {.kind = HEAD_REQUEST, .minor = 1, .method = SPAN("POST"), .field_count = 1};
    struct body b;
    h.field[0] = (struct head_field){SPAN("Transfer-Encoding"), SPAN("chunked")};
    assert_int_equal(body_of_request(&b, &h, NULL), 0);
    return b;
}

/*
 * Feeds one piece, from a copy of exactly its size; false when the body has come to an end, good or
 * bad.
 */
static bool feed_piece(struct body *b, const char *data, size_t len, struct outcome *o)
{
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, data, len);
    size_t at = 0;
    do {
        size_t used = 99;
        struct span payload = {NULL, 99};
        const char *why = NULL;
        o->verdict = body_next(b, exact + at, len - at, &used, &payload, &why);
        assert_true(used <= len - at && payload.len <= used);
        assert_int_equal(o->verdict == BODY_BAD, why != NULL);
        assert_int_equal(o->verdict == BODY_END, b->ended);
        if (o->verdict == BODY_DATA)
            assert_true(payload.len > 0 && payload.ptr + payload.len == exact + at + used);
        else
            assert_int_equal(payload.len, 0);
        assert_true(payload.len <= sizeof o->payload - o->payload_len);
        memcpy(o->payload + o->payload_len, payload.ptr, payload.len);
        o->payload_len += payload.len;
        at += used;
    } while (o->verdict == BODY_DATA);
    o->used += at;
    if (o->verdict == BODY_MORE)
        assert_int_equal(at, len);
    free(exact);
    return o->verdict == BODY_MORE;
}

/* Feeds the octets cut at `first` and from there on every `step` octets. */
static struct outcome feed(const char *data, size_t len, size_t first, size_t step)
{
    static struct outcome o;
    struct body b = chunked_body();
    o = (struct outcome){.verdict = BODY_MORE};
    size_t at = 0, piece = first;
    bool more = true;
    while (more && at < len) {
        size_t n = piece < len - at ? piece : len - at;
        more = feed_piece(&b, data + at, n, &o);
        at += n;
        piece = step;
    }
    assert_int_equal(body_close_ends(&b), o.verdict == BODY_END);
    if (o.verdict == BODY_END) {
        struct span trailers = buf_span(&b.trailers);
        assert_true(trailers.len <= sizeof o.trailers);
        memcpy(o.trailers, trailers.ptr, trailers.len);
        o.trailers_len = trailers.len;
    }
    body_release(&b);
    body_release(&b);
    return o;
}

struct chunk_case {
    const char *reason;
    const char *wire;
    size_t len;
    enum body_event verdict;
    const char *payload;
    const char *trailers;
    size_t left; /* octets of `wire` that belong to the next message */
};

static void check_outcome(const struct chunk_case *c, struct outcome o, size_t first, size_t step)
{
    if (o.verdict != c->verdict)
        fail_msg("%s: event %d, cut at %zu by %zu", c->reason, (int)o.verdict, first, step);
    struct span payload = {o.payload, o.payload_len}, trailers = {o.trailers, o.trailers_len};
    if (c->verdict != BODY_BAD && !span_is(payload, span_of(c->payload)))
        fail_msg("%s: payload '%.*s'", c->reason, SPAN_ARGS(payload));
    if (c->verdict != BODY_END)
        return;
    if (!span_is(trailers, span_of(c->trailers != NULL ? c->trailers : "")))
        fail_msg("%s: trailers '%.*s'", c->reason, SPAN_ARGS(trailers));
    if (o.used != c->len - c->left)
        fail_msg("%s: %zu octets taken", c->reason, o.used);
}

/* Whole, at each split, and in steps of one and more octets: the outcome is the same. */
static void check_chunks(const struct chunk_case *c)
{
    check_outcome(c, feed(c->wire, c->len, c->len, c->len), c->len, c->len);
    for (size_t first = 1; first < c->len; first++)
        check_outcome(c, feed(c->wire, c->len, first, c->len), first, c->len);
    for (size_t step = 1; step < 9; step++)
        check_outcome(c, feed(c->wire, c->len, step, step), step, step);
}

#define WIRE(text) (text), sizeof(text) - 1
#define GOOD(text, payload) WIRE(text), BODY_END, payload, NULL, 0
#define BAD(text) WIRE(text), BODY_BAD, NULL, NULL, 0
#define END "0\r\n\r\n"

static void test_chunks(void **state)
{
    (void)state;
    static const struct chunk_case cases[] = {
        {"RFC 9112 7.1: empty body", GOOD(END, "")},
        {"RFC 9112 7.1: one chunk", GOOD("5\r\nhello\r\n" END, "hello")},
        {"two chunks", GOOD("5\r\nhello\r\n6\r\n world\r\n" END, "hello world")},
        {"hexadecimal, lower case", GOOD("b\r\nhello world\r\n" END, "hello world")},
        {"hexadecimal, upper case", GOOD("B\r\nhello world\r\n" END, "hello world")},
        {"hexadecimal, A and a",
         GOOD("A\r\n0123456789\r\na\r\n0123456789\r\n" END, "01234567890123456789")},
        {"hexadecimal, F and f", GOOD("F\r\n0123456789abcde\r\nf\r\n0123456789abcde\r\n" END,
                                      "0123456789abcde0123456789abcde")},
        {"leading zeros", GOOD("0000000000000000000005\r\nhello\r\n" END, "hello")},
        {"last chunk of several zeros", GOOD("5\r\nhello\r\n000\r\n\r\n", "hello")},
        {"payload that looks like chunks", GOOD("7\r\n0\r\n\r\n\r\n\r\n" END, "0\r\n\r\n\r\n")},
        {"RFC 9112 7.1.1: an extension", GOOD("5;a=b\r\nhello\r\n" END, "hello")},
        {"RFC 9112 7.1.1: one without a value", GOOD("5;a\r\nhello\r\n" END, "hello")},
        {"RFC 9112 7.1.1: several", GOOD("5;a=b;c;d=\"e\"\r\nhello\r\n" END, "hello")},
        {"RFC 9112 7.1.1: at the last chunk", GOOD("5\r\nhello\r\n0;a=b\r\n\r\n", "hello")},
        {"RFC 9110 5.6.4: quoted-pair", GOOD("5;a=\"\\\"\\\\;x\"\r\nhello\r\n" END, "hello")},
        {"RFC 9110 5.6.4: empty quoted-string", GOOD("5;a=\"\"\r\nhello\r\n" END, "hello")},
        {"RFC 9110 5.6.4: obs-text in it", GOOD("5;a=\"\xe4\t \"\r\nhello\r\n" END, "hello")},
        {"RFC 9110 5.6.2: all of tchar",
         GOOD("5;!#$%&'*+-.^_`|~09azAZ=~\r\nhello\r\n" END, "hello")},
        {"a second request behind", WIRE("5\r\nhello\r\n" END "GET / HTTP/1.1\r\n"), BODY_END,
         "hello", NULL, 16},
        {"CRLF behind is the next message's", WIRE(END "\r\n"), BODY_END, "", NULL, 2},
        {"not complete: nothing", WIRE(""), BODY_MORE, "", NULL, 0},
        {"not complete: size", WIRE("5"), BODY_MORE, "", NULL, 0},
        {"not complete: line", WIRE("5;a=b\r"), BODY_MORE, "", NULL, 0},
        {"not complete: data", WIRE("5\r\nhel"), BODY_MORE, "hel", NULL, 0},
        {"not complete: CRLF behind data", WIRE("5\r\nhello\r"), BODY_MORE, "hello", NULL, 0},
        {"not complete: last chunk", WIRE("5\r\nhello\r\n0\r\n"), BODY_MORE, "hello", NULL, 0},
        {"not complete: final CRLF", WIRE("5\r\nhello\r\n0\r\n\r"), BODY_MORE, "hello", NULL, 0},
        {"2^63 - 1", WIRE("7fffffffffffffff\r\nx"), BODY_MORE, "x", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_chunks(&cases[i]);
}

static const struct chunk_case bad_size_cases[] = {
    {"RFC 9112 7.1: no size", BAD("\r\nhello\r\n" END)},
    {"RFC 9112 7.1: only an extension", BAD(";a=b\r\nhello\r\n" END)},
    {"RFC 9112 7.1: an empty line is no last chunk", BAD("\r\n\r\n")},
    {"another octet in the place of CR", BAD("5x\nhello\r\n" END)},
    {"LF in the place of CR", BAD("5\n\nhello\r\n" END)},
    {"RFC 9112 7.1: not hexadecimal", BAD("g\r\nhello\r\n" END)},
    {"RFC 9112 7.1: sign", BAD("+5\r\nhello\r\n" END)},
    {"minus, CVE-2002-0392, CVE-2013-2028", BAD("-5\r\nhello\r\n" END)},
    {"0x", BAD("0x5\r\nhello\r\n" END)},
    {"h behind", BAD("5h\r\nhello\r\n" END)},
    {"point", BAD("5.0\r\nhello\r\n" END)},
    {"comma", BAD("5,5\r\nhello\r\n" END)},
    {"digit groups", BAD("1_0\r\n0123456789abcdef\r\n" END)},
    {"quoted", BAD("\"5\"\r\nhello\r\n" END)},
    {"2^63, CVE-2013-2028", BAD("8000000000000000\r\n")},
    {"2^64 - 1", BAD("ffffffffffffffff\r\n")},
    {"2^64 + 5 would wrap to 5", BAD("10000000000000005\r\nhello\r\n" END)},
    {"2^64 with zeros in front", BAD("00010000000000000000\r\n")},
    {"2^68", BAD("100000000000000000\r\n")},
    {"space before the size", BAD(" 5\r\nhello\r\n" END)},
    {"tab before the size", BAD("\t5\r\nhello\r\n" END)},
    {"space behind the size, CVE-2021-22960", BAD("5 \r\nhello\r\n" END)},
    {"space before the last chunk's CRLF", BAD("5\r\nhello\r\n0 \r\n\r\n")},
    {"space inside the size", BAD("1 0\r\n0123456789abcdef\r\n" END)},
    {"vertical tab behind the size", BAD("5\v\r\nhello\r\n" END)},
    {"NUL in the size", BAD("5\0\r\nhello\r\n" END)},
    {"full-width five", BAD("\xef\xbc\x95\r\nhello\r\n" END)},
    {"obs-text behind the size", BAD("5\xa0\r\nhello\r\n" END)},
    {"empty line before the size", BAD("\r\n5\r\nhello\r\n" END)},

    {"RFC 9112 2.2, CVE-2025-22871: bare LF behind the size", BAD("5\nhello\r\n" END)},
    {"bare CR behind the size", BAD("5\rhello\r\n" END)},
    {"two CR behind the size", BAD("5\r\r\nhello\r\n" END)},
    {"LF CR behind the size", BAD("5\n\rhello\r\n" END)},
    {"bare LF behind the last chunk", BAD("5\r\nhello\r\n0\n\r\n")},
    {"bare LF at the end", BAD("5\r\nhello\r\n0\r\n\n")},
    {"bare CR at the end", BAD("5\r\nhello\r\n0\r\n\rG")},
    {"RFC 9112 7.1: no CRLF behind the data", BAD("5\r\nhello0\r\n\r\n")},
    {"data longer than its size (spill)", BAD("5\r\nhello!!\r\n" END)},
    {"two octets instead of CRLF", BAD("5\r\nhelloxx" END)},
    {"bare LF behind the data", BAD("5\r\nhello\n" END)},
    {"bare CR behind the data", BAD("5\r\nhello\r" END)},
    {"LF CR behind the data", BAD("5\r\nhello\n\r" END)},
    {"space behind the data", BAD("5\r\nhello \r\n" END)},
    {"data shorter than its size", BAD("6\r\nhello\r\n" END)},
    {"two empty lines behind the data", BAD("5\r\nhello\r\n\r\n" END)},

};

static const struct chunk_case bad_extension_cases[] = {
    {"BWS before ';'", BAD("5 ;a=b\r\nhello\r\n" END)},
    {"BWS behind ';'", BAD("5; a=b\r\nhello\r\n" END)},
    {"BWS before '='", BAD("5;a =b\r\nhello\r\n" END)},
    {"BWS behind '='", BAD("5;a= b\r\nhello\r\n" END)},
    {"space behind an extension", BAD("5;a=b \r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: no name", BAD("5;\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: no name before '='", BAD("5;=b\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: no value", BAD("5;a=\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: no name between", BAD("5;a;;b\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: two values", BAD("5;a=b=c\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: token behind a quoted-string", BAD("5;a=\"b\"c\r\nhello\r\n" END)},
    {"RFC 9112 7.1.1: quotes in a token", BAD("5;a=b\"c\"\r\nhello\r\n" END)},
    {"quoted name", BAD("5;\"a\"=b\r\nhello\r\n" END)},
    {"slash in a token", BAD("5;a/b\r\nhello\r\n" END)},
    {"obs-text in a token", BAD("5;\xe4\r\nhello\r\n" END)},
    {"chunk-ext LF, TERM.EXT: bare LF ends the line", BAD("5;a\nhello\r\n" END)},
    {"chunk-ext LF, EXT.TERM: bare LF inside", BAD("5;a\nb\r\nhello\r\n" END)},
    {"chunk-ext LF: behind ';'", BAD("5;\nhello\r\n" END)},
    {"chunk-ext LF: in a value", BAD("5;a=b\nc\r\nhello\r\n" END)},
    {"chunk-ext LF: in quotes", BAD("5;a=\"b\nc\"\r\nhello\r\n" END)},
    {"chunk-ext LF: escaped in quotes", BAD("5;a=\"\\\n\"\r\nhello\r\n" END)},
    {"chunk-ext: CRLF in quotes", BAD("5;a=\"\r\n\"\r\nhello\r\n" END)},
    {"chunk-ext: bare CR", BAD("5;a\rb\r\nhello\r\n" END)},
    {"chunk-ext: bare CR in quotes", BAD("5;a=\"\r\"\r\nhello\r\n" END)},
    {"chunk-ext: NUL", BAD("5;\0a\r\nhello\r\n" END)},
    {"chunk-ext: NUL in a token", BAD("5;a=b\0\r\nhello\r\n" END)},
    {"chunk-ext: NUL in quotes", BAD("5;a=\"\0\"\r\nhello\r\n" END)},
    {"chunk-ext: control octet in quotes", BAD("5;a=\"\x1b\"\r\nhello\r\n" END)},
    {"chunk-ext: DEL", BAD("5;a=\"\x7f\"\r\nhello\r\n" END)},
    {"chunk-ext: quotes not closed", BAD("5;a=\"b\r\nhello\r\n" END)},
};

static void test_bad_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_size_cases / sizeof *bad_size_cases; i++)
        check_chunks(&bad_size_cases[i]);
    for (size_t i = 0; i < sizeof bad_extension_cases / sizeof *bad_extension_cases; i++)
        check_chunks(&bad_extension_cases[i]);
}

#define TRAILED(text, kept) WIRE("0\r\n" text "\r\n"), BODY_END, "", kept, 0
#define BAD_TRAILER(text) BAD("0\r\n" text "\r\n")

static void test_trailers(void **state)
{
    (void)state;
    static const struct chunk_case cases[] = {
        {"one", TRAILED("X-Sum: 1\r\n", "X-Sum: 1\r\n")},
        {"two", TRAILED("A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n")},
        {"behind data", WIRE("2\r\nhi\r\n0\r\nA: 1\r\n\r\n"), BODY_END, "hi", "A: 1\r\n", 0},
        {"RFC 9112 5.1: no space, much space",
         TRAILED("A:1\r\nB: \t 2 \t\r\n", "A: 1\r\nB: 2\r\n")},
        {"RFC 9110 5.5: empty value", TRAILED("A:\r\nB: \t\r\n", "A: \r\nB: \r\n")},
        {"colons in a value", TRAILED("A: b:c: d\r\n", "A: b:c: d\r\n")},
        {"RFC 9110 5.5: obs-text", TRAILED("A: \xe4\r\n", "A: \xe4\r\n")},
        {"a digest is welcome",
         TRAILED("Repr-Digest: sha-256=:x:\r\n", "Repr-Digest: sha-256=:x:\r\n")},
        {"a request behind", WIRE("0\r\nA: 1\r\n\r\nGET /"), BODY_END, "", "A: 1\r\n", 5},
        {"RFC 9110 6.5.1: framing",
         TRAILED("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "")},
        {"RFC 9110 6.5.1: any case",
         TRAILED("A: 1\r\ncONTENT-lENGTH: 5\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n")},
        {"RFC 9110 6.5.1: routing", TRAILED("Host: evil.test\r\nVia: 1.1 x\r\nForwarded: for=x\r\n"
                                            "X-Forwarded-For: x\r\nMax-Forwards: 1\r\n",
                                            "")},
        {"RFC 9110 6.5.1: authentication",
         TRAILED("Authorization: Basic x\r\nProxy-Authorization: Basic x\r\nCookie: x\r\n"
                 "WWW-Authenticate: x\r\nProxy-Authenticate: x\r\nSet-Cookie: x\r\n",
                 "")},
        {"RFC 9110 6.5.1: content", TRAILED("Content-Type: a/b\r\nContent-Encoding: gzip\r\n"
                                            "Content-Range: x\r\nContent-Disposition: x\r\n",
                                            "")},
        {"RFC 9110 6.5.1: request modifiers",
         TRAILED("Expect: 100-continue\r\nRange: bytes=0-1\r\nIf-Match: x\r\nIf-None-Match: x\r\n"
                 "Cache-Control: no-store\r\nPragma: x\r\nTE: x\r\n",
                 "")},
        {"RFC 9110 6.5.1: response control",
         TRAILED("Age: 1\r\nDate: x\r\nExpires: x\r\nLocation: /\r\nRetry-After: 1\r\nVary: *\r\n"
                 "Warning: x\r\n",
                 "")},
        {"RFC 9110 7.6.1: connection",
         TRAILED("Connection: close\r\nKeep-Alive: x\r\nUpgrade: h2c\r\nTrailer: x\r\n"
                 "Proxy-Connection: close\r\nProxy-Status: x\r\nHTTP2-Settings: x\r\n",
                 "")},
        {"only like a forbidden one", TRAILED("Hosts: x\r\nContents: y\r\nX-Host: z\r\nI: 1\r\n",
                                              "Hosts: x\r\nContents: y\r\nX-Host: z\r\nI: 1\r\n")},

        {"RFC 9112 5.2: obs-fold", BAD_TRAILER("A: 1\r\n b\r\n")},
        {"RFC 9112 5.2: obs-fold by tab", BAD_TRAILER("A: 1\r\n\tb\r\n")},
        {"RFC 9112 2.2: whitespace first", BAD_TRAILER(" A: 1\r\n")},
        {"RFC 9112 5.1: space before the colon", BAD_TRAILER("A : 1\r\n")},
        {"RFC 9112 5.1: tab before the colon", BAD_TRAILER("A\t: 1\r\n")},
        {"no colon", BAD_TRAILER("A\r\n")},
        {"RFC 9110 5.1: empty name", BAD_TRAILER(": 1\r\n")},
        {"space in a name", BAD_TRAILER("A B: 1\r\n")},
        {"quote in a name", BAD_TRAILER("A\": 1\r\n")},
        {"obs-text in a name", BAD_TRAILER("\xe4: 1\r\n")},
        {"NUL in a name", BAD_TRAILER("A\0: 1\r\n")},
        {"NUL in a value", BAD_TRAILER("A: \0\r\n")},
        {"RFC 9110 5.5: control octet in a value", BAD_TRAILER("A: \x01\r\n")},
        {"DEL in a value", BAD_TRAILER("A: \x7f\r\n")},
        {"RFC 9112 2.2: bare LF ends a trailer", BAD_TRAILER("A: 1\nB: 2\r\n")},
        {"RFC 9112 2.2: bare CR in a value", BAD_TRAILER("A: 1\r2\r\n")},
        {"two CR", BAD_TRAILER("A: 1\r\r\n")},
        {"bare LF instead of the final CRLF", BAD("0\r\nA: 1\r\n\n")},
        {"a request line as a trailer (TR.CL)", BAD_TRAILER("GET / HTTP/1.1\r\nHost: x\r\n")},
        {"not complete", WIRE("0\r\nA: 1\r\n"), BODY_MORE, "", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_chunks(&cases[i]);
}

/* Feeds what was built at run time; the length of the whole. */
static enum body_event verdict_of(const struct buf *wire)
{
    struct span s = buf_span(wire);
    enum body_event whole = feed(s.ptr, s.len, s.len, s.len).verdict;
    assert_int_equal(feed(s.ptr, s.len, 1, 1).verdict, whole);
    return whole;
}

static void repeat(struct buf *wire, char c, size_t n)
{
    while (n-- > 0)
        assert_int_equal(buf_add(wire, &c, 1), 0);
}

/*
 * RFC 9112 7.1.1: "ought to limit the total length of chunk extensions"; CVE-2024-22019,
 * CVE-2023-39326.
 */
static void test_line_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        enum body_event expected = over > 0 ? BODY_BAD : BODY_END;
        struct buf wire;
        buf_init(&wire, 4096);
        buf_add_str(&wire, "5;");
        repeat(&wire, 'a', BODY_CHUNK_LINE_MAX - 2 + over);
        buf_add_str(&wire, "\r\nhello\r\n" END);
        assert_int_equal(verdict_of(&wire), expected);

        buf_consume(&wire, buf_len(&wire));
        repeat(&wire, '0', BODY_CHUNK_LINE_MAX - 1 + over);
        buf_add_str(&wire, "5\r\nhello\r\n" END);
        assert_int_equal(verdict_of(&wire), expected);

        buf_consume(&wire, buf_len(&wire));
        repeat(&wire, '0', BODY_CHUNK_LINE_MAX + over);
        buf_add_str(&wire, "\r\n\r\n");
        assert_int_equal(verdict_of(&wire), expected);

        /* The limit is one line's: many lines just below it pass. */
        buf_consume(&wire, buf_len(&wire));
        for (int i = 0; i < 5; i++) {
            buf_add_str(&wire, "1;");
            repeat(&wire, 'a', BODY_CHUNK_LINE_MAX - 2);
            buf_add_str(&wire, "\r\nx\r\n");
        }
        buf_add_str(&wire, END);
        assert_int_equal(verdict_of(&wire), BODY_END);
        buf_release(&wire);
    }
}

static void test_trailer_limit(void **state)
{
    (void)state;
    static const char *const lines[] = {"a:b\r\n", "a:\r\n", "Content-Type: application/json\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t line = strlen(lines[i]), count = BODY_TRAILERS_MAX / line;
        size_t rest = BODY_TRAILERS_MAX - count * line;
        for (size_t over = 0; over < 2; over++) {
            struct buf wire;
            buf_init(&wire, 2 * BODY_TRAILERS_MAX);
            buf_add_str(&wire, "0\r\n");
            /* One line is longer, so that the whole has exactly the octets allowed, or one more. */
            buf_add_str(&wire, "a:");
            repeat(&wire, 'b', line - 4 + rest + over);
            buf_add_str(&wire, "\r\n");
            for (size_t n = 1; n < count; n++)
                buf_add_str(&wire, lines[i]);
            buf_add_str(&wire, "\r\n");
            assert_int_equal(verdict_of(&wire), over > 0 ? BODY_BAD : BODY_END);
            buf_release(&wire);
        }
    }
}

static void test_bad_stays_bad(void **state)
{
    (void)state;
    struct body b = chunked_body();
    size_t used;
    struct span payload;
    const char *why = NULL;
    assert_int_equal(body_next(&b, "x", 1, &used, &payload, &why), BODY_BAD);
    why = NULL;
    assert_int_equal(body_next(&b, "5\r\nhello\r\n", 10, &used, &payload, &why), BODY_BAD);
    assert_int_equal(used, 0);
    assert_non_null(why);
    assert_int_equal(body_next(&b, NULL, 0, &used, &payload, &why), BODY_BAD);
    assert_false(body_close_ends(&b));
    body_release(&b);
}

/* A chunk is handed out in one span, however big, in the place where it came. */
static void test_large_spans(void **state)
{
    (void)state;
    enum { SIZE = 0x100000 };
    char *wire = malloc(SIZE + 20);
    assert_non_null(wire);
    memcpy(wire, "100000\r\n", 8);
    memset(wire + 8, 'x', SIZE);
    memcpy(wire + 8 + SIZE, "\r\n" END, 7);

    struct body b = chunked_body();
    size_t used;
    struct span payload;
    assert_int_equal(body_next(&b, wire, SIZE + 15, &used, &payload, NULL), BODY_DATA);
    assert_ptr_equal(payload.ptr, wire + 8);
    assert_int_equal(payload.len, SIZE);
    assert_int_equal(used, SIZE + 8);
    assert_int_equal(body_next(&b, wire + used, 7, &used, &payload, NULL), BODY_END);
    assert_int_equal(used, 7);
    assert_null(b.trailers.data); /* no trailers, no memory */
    body_release(&b);
    free(wire);
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

/* Random payload in random chunks with random cuts comes out as it went in. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const extensions[] = {"", "", ";a", ";a=b", ";a=\"\\\"\"", ";q=\"1;2\""};
    unsigned seed = 1;
    for (int round = 0; round < 500; round++) {
        char payload[600];
        size_t len = next_random(&seed) % sizeof payload;
        for (size_t i = 0; i < len; i++)
            payload[i] = (char)next_random(&seed);
        struct buf wire;
        buf_init(&wire, 64 * 1024);
        for (size_t at = 0, n; at < len; at += n) {
            n = 1 + next_random(&seed) % 40;
            n = n < len - at ? n : len - at;
            buf_printf(&wire, "%zx%s\r\n", n, extensions[next_random(&seed) % 6]);
            buf_add(&wire, payload + at, n);
            buf_add_str(&wire, "\r\n");
        }
        buf_add_str(&wire, "0\r\nX: 1\r\nHost: x\r\n\r\nnext");
        struct span s = buf_span(&wire);
        struct outcome o =
            feed(s.ptr, s.len, 1 + next_random(&seed) % s.len, 1 + next_random(&seed) % 50);
        assert_int_equal(o.verdict, BODY_END);
        assert_true(span_is((struct span){o.payload, o.payload_len}, (struct span){payload, len}));
        assert_true(span_is((struct span){o.trailers, o.trailers_len}, SPAN("X: 1\r\n")));
        assert_int_equal(o.used, s.len - 4);
        buf_release(&wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),        cmocka_unit_test(test_bad_chunks),
        cmocka_unit_test(test_trailers),      cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_trailer_limit), cmocka_unit_test(test_bad_stays_bad),
        cmocka_unit_test(test_large_spans),   cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

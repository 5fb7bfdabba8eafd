/*
 * Where a body ends, by the head: what RFC 9112 section 6 allows, and the published ways to have
 * two readers see two ends. Each row names the clause or the advisory. test_body_chunked.c has the
 * chunks.
 */
#include "proxy/wire/body.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/*
 * A head with the fields of `text`: lines "Name: value", each ended by LF; the value is taken as it
 * stands.
 */
static struct head head_with(enum head_kind kind, unsigned minor, const char *text)
{
    struct head h = {.kind = kind, .minor = minor, .method = SPAN("POST"), .status = 200};
    while (*text != '\0') {
        size_t name = strcspn(text, ":"), line = strcspn(text, "\n");
        assert_true(name + 2 <= line && text[line] == '\n');
        struct head_field *f = &h.field[h.field_count++];
        f->name = (struct span){text, name};
        f->value = (struct span){text + name + 2, line - name - 2};
        text += line + 1;
    }
    return h;
}

struct framing_case {
    const char *reason;
    const char *fields;
    unsigned minor;
    int kind; /* enum body_kind, or REFUSED */
    uint64_t length;
};

enum { REFUSED = -1 };

/* What both kinds of message share. */
static const struct framing_case shared_cases[] = {
    {"RFC 9112 6.3: a length", "Content-Length: 5\n", 1, BODY_LENGTH, 5},
    {"RFC 9110 5.1: names in any case", "cOnTent-lENgth: 5\n", 1, BODY_LENGTH, 5},
    {"RFC 9110 8.6: zero", "Content-Length: 0\n", 1, BODY_LENGTH, 0},
    {"RFC 9110 8.6: leading zeros are digits", "Content-Length: 0010\n", 1, BODY_LENGTH, 10},
    {"2^32 + 1", "Content-Length: 4294967297\n", 1, BODY_LENGTH, 4294967297U},
    {"2^63 - 1", "Content-Length: 9223372036854775807\n", 1, BODY_LENGTH, INT64_MAX},
    {"HTTP/1.0 with a length", "Content-Length: 5\n", 0, BODY_LENGTH, 5},
    {"RFC 9112 6.1: chunked", "Transfer-Encoding: chunked\n", 1, BODY_CHUNKED, 0},
    {"RFC 9112 7: codings in any case", "transfer-encoding: ChunKed\n", 1, BODY_CHUNKED, 0},
    {"other fields", "Content-Type: a/b\nContent-Length: 7\nTE: trailers\n", 1, BODY_LENGTH, 7},

    {"RFC 9110 8.6, CVE-2023-40225: empty", "Content-Length: \n", 1, REFUSED, 0},
    {"RFC 9112 6.3: two, equal", "Content-Length: 5\nContent-Length: 5\n", 1, REFUSED, 0},
    {"RFC 9112 6.3, CVE-2020-10108: two, different", "Content-Length: 5\nContent-Length: 6\n", 1,
     REFUSED, 0},
    {"RFC 9112 6.3: two in different case", "Content-Length: 5\ncontent-length: 0\n", 1, REFUSED,
     0},
    {"RFC 9112 6.3: second empty", "Content-Length: 5\nContent-Length: \n", 1, REFUSED, 0},
    {"RFC 9112 6.3: three", "Content-Length: 1\nContent-Length: 1\nContent-Length: 1\n", 1, REFUSED,
     0},
    {"RFC 9112 6.3: list of equal", "Content-Length: 5, 5\n", 1, REFUSED, 0},
    {"RFC 9112 6.3: list of different", "Content-Length: 5,6\n", 1, REFUSED, 0},
    {"list with nothing behind", "Content-Length: 5,\n", 1, REFUSED, 0},
    {"list with nothing before", "Content-Length: ,5\n", 1, REFUSED, 0},
    {"RFC 9110 8.6: plus", "Content-Length: +5\n", 1, REFUSED, 0},
    {"RFC 9110 8.6: minus", "Content-Length: -5\n", 1, REFUSED, 0},
    {"minus zero", "Content-Length: -0\n", 1, REFUSED, 0},
    {"CVE-2018-7159: space inside", "Content-Length: 1 2\n", 1, REFUSED, 0},
    {"tab inside", "Content-Length: 1\t2\n", 1, REFUSED, 0},
    {"hexadecimal", "Content-Length: 0x10\n", 1, REFUSED, 0},
    {"hexadecimal digits", "Content-Length: 1a\n", 1, REFUSED, 0},
    {"octal by prefix", "Content-Length: 0o17\n", 1, REFUSED, 0},
    {"point", "Content-Length: 5.0\n", 1, REFUSED, 0},
    {"exponent", "Content-Length: 5e1\n", 1, REFUSED, 0},
    {"digit groups", "Content-Length: 1_000\n", 1, REFUSED, 0},
    {"parameter", "Content-Length: 5;a=b\n", 1, REFUSED, 0},
    {"quoted", "Content-Length: \"5\"\n", 1, REFUSED, 0},
    {"word", "Content-Length: five\n", 1, REFUSED, 0},
    {"vertical tab before", "Content-Length: \v5\n", 1, REFUSED, 0},
    {"form feed behind", "Content-Length: 5\f\n", 1, REFUSED, 0},
    {"CR behind", "Content-Length: 5\r\n", 1, REFUSED, 0},
    {"no-break space", "Content-Length: 5\xc2\xa0\n", 1, REFUSED, 0},
    {"full-width digit", "Content-Length: \xef\xbc\x95\n", 1, REFUSED, 0},
    {"superscript two of Latin-1", "Content-Length: \xb2\n", 1, REFUSED, 0},
    {"2^63", "Content-Length: 9223372036854775808\n", 1, REFUSED, 0},
    {"2^64 + 5 would wrap to 5", "Content-Length: 18446744073709551621\n", 1, REFUSED, 0},
    {"2^32 * 2^32 + 5 with zeros in front", "Content-Length: 00018446744073709551621\n", 1, REFUSED,
     0},
    {"forty digits", "Content-Length: 1000000000000000000000000000000000000005\n", 1, REFUSED, 0},

    {"RFC 9112 6.3, CL.TE", "Content-Length: 6\nTransfer-Encoding: chunked\n", 1, REFUSED, 0},
    {"RFC 9112 6.3, TE.CL, CVE-2020-10109", "Transfer-Encoding: chunked\nContent-Length: 6\n", 1,
     REFUSED, 0},
    {"RFC 9112 6.3: TE with a length of zero", "Transfer-Encoding: chunked\nContent-Length: 0\n", 1,
     REFUSED, 0},
    {"CVE-2019-20445: TE with a broken length", "Transfer-Encoding: chunked\nContent-Length: x\n",
     1, REFUSED, 0},
    {"TE.TE with a length", "Content-Length: 4\nTransfer-Encoding: xchunked\n", 1, REFUSED, 0},
    {"TE.TE, CVE-2020-8287: two fields", "Transfer-Encoding: chunked\nTransfer-Encoding: x\n", 1,
     REFUSED, 0},
    {"TE.TE: the other way round", "Transfer-Encoding: identity\nTransfer-Encoding: chunked\n", 1,
     REFUSED, 0},
    {"TE.TE: chunked in two fields", "Transfer-Encoding: chunked\ntransfer-encoding: chunked\n", 1,
     REFUSED, 0},
    {"TE.TE: second empty", "Transfer-Encoding: chunked\nTransfer-Encoding: \n", 1, REFUSED, 0},
    {"empty", "Transfer-Encoding: \n", 1, REFUSED, 0},
    {"RFC 9112 6.1: chunked twice", "Transfer-Encoding: chunked, chunked\n", 1, REFUSED, 0},
    {"RFC 9112 6.1: another coding before", "Transfer-Encoding: gzip, chunked\n", 1, REFUSED, 0},
    {"RFC 9112 6.3: chunked not last", "Transfer-Encoding: chunked, gzip\n", 1, REFUSED, 0},
    {"RFC 9112 6.3: chunked absent", "Transfer-Encoding: gzip\n", 1, REFUSED, 0},
    {"RFC 9112 appendix C.2.3: identity is gone", "Transfer-Encoding: identity\n", 1, REFUSED, 0},
    {"identity before chunked", "Transfer-Encoding: identity, chunked\n", 1, REFUSED, 0},
    {"chunked before identity, CVE-2022-32213", "Transfer-Encoding: chunked, identity\n", 1,
     REFUSED, 0},
    {"unknown coding, CVE-2022-1705", "Transfer-Encoding: cow\n", 1, REFUSED, 0},
    {"RFC 9112 7.1: chunked has no parameters", "Transfer-Encoding: chunked;q=1\n", 1, REFUSED, 0},
    {"RFC 9112 7.1: parameter behind a space", "Transfer-Encoding: chunked ;a=b\n", 1, REFUSED, 0},
    {"leading comma", "Transfer-Encoding: ,chunked\n", 1, REFUSED, 0},
    {"trailing comma", "Transfer-Encoding: chunked,\n", 1, REFUSED, 0},
    {"junk before, CVE-2019-15605", "Transfer-Encoding: xchunked\n", 1, REFUSED, 0},
    {"junk behind", "Transfer-Encoding: chunkedx\n", 1, REFUSED, 0},
    {"junk behind a space", "Transfer-Encoding: chunked x\n", 1, REFUSED, 0},
    {"short", "Transfer-Encoding: chunke\n", 1, REFUSED, 0},
    {"only its beginning", "Transfer-Encoding: c\n", 1, REFUSED, 0},
    {"quoted", "Transfer-Encoding: \"chunked\"\n", 1, REFUSED, 0},
    {"single quotes", "Transfer-Encoding: 'chunked'\n", 1, REFUSED, 0},
    {"vertical tab before, CVE-2020-11076", "Transfer-Encoding: \vchunked\n", 1, REFUSED, 0},
    {"vertical tab behind", "Transfer-Encoding: chunked\v\n", 1, REFUSED, 0},
    {"form feed behind", "Transfer-Encoding: chunked\f\n", 1, REFUSED, 0},
    {"CR behind", "Transfer-Encoding: chunked\r\n", 1, REFUSED, 0},
    {"fold left in, CVE-2022-32215", "Transfer-Encoding: chunked\r , identity\n", 1, REFUSED, 0},
    {"no-break space of Latin-1 behind", "Transfer-Encoding: chunked\xa0\n", 1, REFUSED, 0},
    {"no-break space of UTF-8 before",
     "Transfer-Encoding: \xc2\xa0"
     "chunked\n",
     1, REFUSED, 0},
    {"Kelvin sign for k",
     "Transfer-Encoding: chun\xe2\x84\xaa"
     "ed\n",
     1, REFUSED, 0},
    {"escaped letter", "Transfer-Encoding: chun%6bed\n", 1, REFUSED, 0},
    {"RFC 9112 6.1: chunked in HTTP/1.0", "Transfer-Encoding: chunked\n", 0, REFUSED, 0},
    {"RFC 9112 6.1: chunked and length in HTTP/1.0",
     "Transfer-Encoding: chunked\nContent-Length: 5\n", 0, REFUSED, 0},
    {"RFC 9112 6.1: identity in HTTP/1.0", "Transfer-Encoding: identity\n", 0, REFUSED, 0},
};

static const struct framing_case request_cases[] = {
    {"RFC 9112 6.3: neither field, no body", "", 1, BODY_NONE, 0},
    {"RFC 9112 6.3: the same in HTTP/1.0", "", 0, BODY_NONE, 0},
    {"RFC 9112 6.3: a Content-Type is no body", "Content-Type: a/b\n", 1, BODY_NONE, 0},
    {"RFC 9112 6.3: Connection: close is no length", "Connection: close\n", 1, BODY_NONE, 0},
    {"look-alike names are other fields", "Content_Length: 5\nXTransfer-Encoding: chunked\n", 1,
     BODY_NONE, 0},
};

static const struct framing_case response_cases[] = {
    {"RFC 9112 6.3: neither field, until close", "", 1, BODY_UNTIL_CLOSE, 0},
    {"RFC 9112 6.3: the same from an HTTP/1.0 origin", "", 0, BODY_UNTIL_CLOSE, 0},
};

static void check_framing(const struct framing_case *c, int r, const struct body *b,
                          const char *why)
{
    int expected = c->kind == REFUSED ? -EPROTO : 0;
    if (r != expected)
        fail_msg("%s: %d instead of %d", c->reason, r, expected);
    if (r != 0) {
        assert_non_null(why);
        assert_true(strlen(why) > 8);
        return;
    }
    if ((int)b->kind != c->kind || b->length != c->length || b->remaining != c->length)
        fail_msg("%s: kind %d of %llu octets", c->reason, (int)b->kind,
                 (unsigned long long)b->length);
    bool ended = c->kind == BODY_NONE || (c->kind == BODY_LENGTH && c->length == 0);
    assert_int_equal(b->ended, ended);
    assert_int_equal(body_close_ends(b), ended || c->kind == BODY_UNTIL_CLOSE);
}

static void check_request(const struct framing_case *c)
{
    struct head h = head_with(HEAD_REQUEST, c->minor, c->fields);
    struct body b;
    const char *why = NULL;
    int r = body_of_request(&b, &h, &why);
    check_framing(c, r, &b, why);
    body_release(&b);
}

static void check_response(const struct framing_case *c)
{
    struct head h = head_with(HEAD_RESPONSE, c->minor, c->fields);
    struct body b;
    const char *why = NULL;
    int r = body_of_response(&b, &h, SPAN("POST"), &why);
    check_framing(c, r, &b, why);
    body_release(&b);
}

static void test_framing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shared_cases / sizeof *shared_cases; i++) {
        check_request(&shared_cases[i]);
        check_response(&shared_cases[i]);
    }
    for (size_t i = 0; i < sizeof request_cases / sizeof *request_cases; i++)
        check_request(&request_cases[i]);
    for (size_t i = 0; i < sizeof response_cases / sizeof *response_cases; i++)
        check_response(&response_cases[i]);
}

static void test_request_methods(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        const char *method;
        const char *fields;
        int kind;
    } cases[] = {
        {"Java's GET with a length of zero", "GET", "Content-Length: 0\n", BODY_LENGTH},
        {"RFC 9110 9.3.1: GET with content is delimited all the same", "GET", "Content-Length: 5\n",
         BODY_LENGTH},
        {"RFC 9112 6.3: POST without a length", "POST", "", BODY_NONE},
        {"RFC 9110 9.3.6: CONNECT", "CONNECT", "", BODY_NONE},
        {"RFC 9110 9.3.6: CONNECT with a length of zero", "CONNECT", "Content-Length: 0\n",
         BODY_LENGTH},
        {"RFC 9110 9.3.6: request smuggled behind CONNECT", "CONNECT", "Content-Length: 5\n",
         REFUSED},
        {"RFC 9110 9.3.6: chunked CONNECT", "CONNECT", "Transfer-Encoding: chunked\n", REFUSED},
        {"RFC 9110 9.3.8: TRACE with content", "TRACE", "Content-Length: 5\n", REFUSED},
        {"RFC 9110 9.3.8: chunked TRACE", "TRACE", "Transfer-Encoding: chunked\n", REFUSED},
        {"RFC 9110 9.1: methods are case-sensitive, this is not TRACE", "trace",
         "Content-Length: 5\n", BODY_LENGTH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct head h = head_with(HEAD_REQUEST, 1, cases[i].fields);
        struct body b;
        h.method = span_of(cases[i].method);
        int r = body_of_request(&b, &h, NULL);
        if (r != (cases[i].kind == REFUSED ? -EPROTO : 0) ||
            (r == 0 && (int)b.kind != cases[i].kind))
            fail_msg("%s", cases[i].reason);
        body_release(&b);
    }
}

static void test_responses_without_body(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        const char *method;
        unsigned status;
        unsigned minor;
        const char *fields;
        int kind;
    } cases[] = {
        {"RFC 9112 6.3: HEAD", "HEAD", 200, 1, "", BODY_NONE},
        {"RFC 9110 8.6: HEAD says what GET would", "HEAD", 200, 1, "Content-Length: 5\n",
         BODY_NONE},
        {"RFC 9112 6.1: HEAD, chunked", "HEAD", 200, 1, "Transfer-Encoding: chunked\n", BODY_NONE},
        {"RFC 9112 6.3: HEAD of an error", "HEAD", 404, 1, "Content-Length: 5\n", BODY_NONE},
        {"RFC 9112 6.3: 204", "GET", 204, 1, "", BODY_NONE},
        {"RFC 9110 8.6: 204 with a length of zero", "GET", 204, 1, "Content-Length: 0\n",
         BODY_NONE},
        {"RFC 9112 6.3: 304", "GET", 304, 1, "", BODY_NONE},
        {"RFC 9110 8.6: 304 says what 200 would", "GET", 304, 1, "Content-Length: 5\n", BODY_NONE},
        {"RFC 9112 6.1: 304, chunked", "GET", 304, 1, "Transfer-Encoding: chunked\n", BODY_NONE},
        {"RFC 9110 9.1: head is not HEAD", "head", 200, 1, "Content-Length: 5\n", BODY_LENGTH},
        {"RFC 9110 15.3.6: 205 is delimited like others", "GET", 205, 1, "Content-Length: 0\n",
         BODY_LENGTH},
        {"an error has a body", "GET", 502, 1, "Content-Length: 5\n", BODY_LENGTH},
        {"a redirect has a body", "GET", 302, 1, "", BODY_UNTIL_CLOSE},

        {"RFC 9112 6.1: 204, chunked", "GET", 204, 1, "Transfer-Encoding: chunked\n", REFUSED},
        {"RFC 9112 6.1: 204, chunked, to HEAD", "HEAD", 204, 1, "Transfer-Encoding: chunked\n",
         REFUSED},
        {"RFC 9110 8.6: 204 with a length: the next response in its body", "GET", 204, 1,
         "Content-Length: 5\n", REFUSED},
        {"HEAD, two lengths", "HEAD", 200, 1, "Content-Length: 5\nContent-Length: 6\n", REFUSED},
        {"HEAD, broken length", "HEAD", 200, 1, "Content-Length: 5 6\n", REFUSED},
        {"HEAD, length and chunked", "HEAD", 200, 1,
         "Content-Length: 5\nTransfer-Encoding: chunked\n", REFUSED},
        {"HEAD, other coding", "HEAD", 200, 1, "Transfer-Encoding: gzip\n", REFUSED},
        {"304, two lengths", "GET", 304, 1, "Content-Length: 5\nContent-Length: 5\n", REFUSED},
        {"304, length and chunked", "GET", 304, 1,
         "Content-Length: 5\nTransfer-Encoding: chunked\n", REFUSED},
        {"304, chunked in HTTP/1.0", "GET", 304, 0, "Transfer-Encoding: chunked\n", REFUSED},
        {"204, broken length", "GET", 204, 1, "Content-Length: x\n", REFUSED},
        {"RFC 9110 15.2: 100 is no final response", "GET", 100, 1, "", REFUSED},
        {"RFC 9110 15.2.2: nor is 101", "GET", 101, 1, "", REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct head h = head_with(HEAD_RESPONSE, cases[i].minor, cases[i].fields);
        struct body b;
        const char *why = NULL;
        h.status = cases[i].status;
        int r = body_of_response(&b, &h, span_of(cases[i].method), &why);
        if (r != (cases[i].kind == REFUSED ? -EPROTO : 0) || (r != 0) != (why != NULL) ||
            (r == 0 && (int)b.kind != cases[i].kind))
            fail_msg("%s", cases[i].reason);
        body_release(&b);
    }
}

static void test_length(void **state)
{
    (void)state;
    struct head h = head_with(HEAD_REQUEST, 1, "Content-Length: 5\n");
    struct body b;
    size_t used;
    struct span payload;
    assert_int_equal(body_of_request(&b, &h, NULL), 0);
    assert_int_equal(body_next(&b, NULL, 0, &used, &payload, NULL), BODY_MORE);
    assert_int_equal(used, 0);
    assert_int_equal(body_next(&b, "hel", 3, &used, &payload, NULL), BODY_DATA);
    assert_true(span_is(payload, SPAN("hel")) && used == 3 && !b.ended && b.remaining == 2);
    assert_false(body_close_ends(&b)); /* RFC 9112 section 8: the message is incomplete */
    assert_int_equal(body_next(&b, "loGET /", 7, &used, &payload, NULL), BODY_DATA);
    assert_true(span_is(payload, SPAN("lo")) && used == 2 && b.ended);
    assert_true(body_close_ends(&b));
    assert_int_equal(body_next(&b, "GET /", 5, &used, &payload, NULL), BODY_END);
    assert_int_equal(used, 0);
    assert_int_equal(b.length, 5);
    body_release(&b);
}

static void test_none_and_until_close(void **state)
{
    (void)state;
    struct head request = head_with(HEAD_REQUEST, 1, ""),
                response = head_with(HEAD_RESPONSE, 1, "");
    struct body b;
    size_t used;
    struct span payload;
    assert_int_equal(body_of_request(&b, &request, NULL), 0);
    assert_int_equal(body_next(&b, NULL, 0, &used, &payload, NULL), BODY_END);
    assert_int_equal(body_next(&b, "GET /", 5, &used, &payload, NULL), BODY_END);
    assert_int_equal(used, 0);

    assert_int_equal(body_of_response(&b, &response, SPAN("GET"), NULL), 0);
    assert_int_equal(body_next(&b, NULL, 0, &used, &payload, NULL), BODY_MORE);
    assert_int_equal(body_next(&b, "0\r\n\r\n", 5, &used, &payload, NULL), BODY_DATA);
    assert_true(span_is(payload, SPAN("0\r\n\r\n")) && used == 5 && !b.ended);
    assert_true(body_close_ends(&b));

    struct body zeroed = {0};
    body_release(&zeroed);
    body_release(&zeroed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_request_methods),
        cmocka_unit_test(test_responses_without_body),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_none_and_until_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

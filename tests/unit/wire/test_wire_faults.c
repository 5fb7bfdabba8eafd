/* test_wire_faults.c - no memory while heads, bodies and answers are made: an error, never half a
 * message. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/wire/body.h"
#include "proxy/wire/reply.h"
#include "proxy/wire/rewrite.h"
#include "tests/support/faults.h"

static const struct head_limits limits = {65536, 32768, 100};

static struct span span_text(const char *text)
{
    return (struct span){text, strlen(text)};
}

static void parse(struct head *h, enum head_kind kind, const char *text)
{
    size_t scanned = 0;
    assert_int_equal(head_parse(h, kind, text, strlen(text), &limits, &scanned, NULL), HEAD_OK);
}

/* ---- bodies ---- */

/* A trailer section that makes its buffer grow twice, with fields that are kept and such that are
 * not. */
static char chunked[8192];

static void chunked_write(void)
{
    size_t at = (size_t)snprintf(chunked, sizeof chunked, "5\r\nhello\r\n0\r\n");
    for (int i = 0; i < 60; i++)
        at += (size_t)snprintf(chunked + at, sizeof chunked - at,
                               "X-Sum-%d: 0123456789012345678901234567890123456789\r\n", i);
    (void)snprintf(chunked + at, sizeof chunked - at, "Host: evil.example\r\n\r\n");
}

/* One octet at a time or all at once. */
static bool trailers_in_pieces(size_t piece)
{
    struct head head;
    struct body body;
    const char *why = NULL;
    size_t at = 0, len = strlen(chunked), payload_octets = 0;
    enum body_event event = BODY_MORE;
    parse(&head, HEAD_REQUEST,
          "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(body_of_request(&body, &head, &why), 0);
    while (event != BODY_END && event != BODY_BAD) {
        size_t used;
        struct span payload;
        event = body_next(&body, chunked + at, len - at < piece ? len - at : piece, &used, &payload,
                          &why);
        at += used;
        payload_octets += payload.len;
    }
    assert_int_equal(event, faults_struck() ? BODY_BAD : BODY_END);
    if (event == BODY_END) {
        assert_int_equal(at, len);
        assert_int_equal(payload_octets, 5);
        assert_non_null(
            memmem(buf_head(&body.trailers), buf_len(&body.trailers), "X-Sum-59: ", 10));
        assert_null(memmem(buf_head(&body.trailers), buf_len(&body.trailers), "evil", 4));
    } else {
        /* It says whose fault it was, and nobody can read on as if nothing had happened. */
        size_t used;
        struct span payload;
        assert_string_equal(why, "no memory for the trailers");
        assert_int_equal(body_next(&body, "5\r\n", 3, &used, &payload, &why), BODY_BAD);
        assert_int_equal(used, 0);
        assert_false(body_close_ends(&body));
    }
    body_release(&body);
    body_release(&body);
    return event == BODY_END;
}

static bool trailers_at_once(void)
{
    return trailers_in_pieces(sizeof chunked);
}

static bool trailers_by_octet(void)
{
    return trailers_in_pieces(1);
}

/* ---- messages written ---- */

/* Whatever is written stands behind something that was there before, and that stays. */
static bool written_whole(int (*write)(struct buf *out), size_t least)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    faults_pause();
    assert_int_equal(buf_add_str(&out, "before"), 0);
    faults_resume();
    int rc = write(&out);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    assert_true(rc == 0 ? buf_len(&out) >= 6 + least : buf_len(&out) == 6);
    assert_memory_equal(buf_head(&out), "before", 6);
    buf_release(&out);
    return rc == 0;
}

static char long_path[3000];

static int write_request(struct buf *out)
{
    char text[4096];
    struct head head;
    struct body body;
    struct target target;
    (void)snprintf(text, sizeof text,
                   "GET http://a.example%s HTTP/1.1\r\nHost: x\r\nVia: 1.0 one\r\n\r\n", long_path);
    parse(&head, HEAD_REQUEST, text);
    assert_int_equal(target_parse(&target, head.method, head.target, NULL), TARGET_OK);
    assert_int_equal(body_of_request(&body, &head, NULL), 0);
    int rc = rewrite_request(out, &(struct rewrite_request){.head = &head,
                                                            .target = &target,
                                                            .host = SPAN("a.example"),
                                                            .body = &body,
                                                            .via = SPAN("ferry"),
                                                            .forwarded_for = SPAN("192.0.2.1")});
    body_release(&body);
    return rc;
}

static bool request_rewritten(void)
{
    return written_whole(write_request, sizeof long_path);
}

static int write_response(struct buf *out)
{
    char text[4096];
    struct head head;
    struct body body;
    (void)snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: 3\r\n\r\n",
                   long_path);
    parse(&head, HEAD_RESPONSE, text);
    assert_int_equal(body_of_response(&body, &head, SPAN("GET"), NULL), 0);
    int rc = rewrite_response(
        out,
        &(struct rewrite_response){
            .head = &head, .body = &body, .client_minor = 1, .close = true, .via = SPAN("ferry")});
    body_release(&body);
    return rc;
}

static bool response_rewritten(void)
{
    return written_whole(write_response, sizeof long_path);
}

static int write_refusal(struct buf *out)
{
    return reply_refusal(out, &(struct refusal){.outcome = OUTCOME_HOST_DENIED,
                                                .detail = span_text(long_path),
                                                .name = "a proxy with a quoted name",
                                                .now = 1795230463});
}

static bool refusal_written(void)
{
    return written_whole(write_refusal, 500);
}

static int write_page(struct buf *out)
{
    return reply_write(out, &(struct reply){.status = 200,
                                            .phrase = "OK",
                                            .content_type = "text/plain",
                                            .body = span_text(long_path),
                                            .now = 1795230463});
}

static bool page_written(void)
{
    return written_whole(write_page, sizeof long_path);
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"trailers at once", trailers_at_once, false},
        {"trailers octet by octet", trailers_by_octet, false},
        {"rewrite_request", request_rewritten, false},
        {"rewrite_response", response_rewritten, false},
        {"reply_refusal", refusal_written, false},
        {"reply_write", page_written, false},
    };
    memset(long_path, 'a', sizeof long_path - 1);
    long_path[0] = '/';
    chunked_write();
    return faults_main("wire_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

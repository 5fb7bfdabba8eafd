/*
 * fuzz_body.c - where a body ends must not depend on how its octets arrive.
 *
 * Input: one octet of switches, two that say where to cut, then lines "Name: value" ended by LF up
 * to an empty line, then the octets behind the head. Fed in one piece, in two, and octet by octet,
 * they must give the same verdict, payload, trailers and end.
 */
#include "proxy/wire/body.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SWITCH_RESPONSE = 1, SWITCH_OLD = 2, SWITCH_HEAD = 4, SWITCH_204 = 8, SWITCH_304 = 16 };

struct result {
    enum body_event verdict;
    size_t used;
    struct buf payload;
    struct buf trailers;
    bool close_ends;
};

/* Takes the lines off `rest` as fields; what is no such line ends the head. */
static void head_take(struct head *h, struct span *rest)
{
    while (h->field_count < 8 && rest->len > 0) {
        const char *end = memchr(rest->ptr, '\n', rest->len);
        size_t line = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
        const char *colon = memchr(rest->ptr, ':', line);
        struct span text = *rest;
        size_t whole = line + (end != NULL);
        *rest = (struct span){rest->ptr + whole, rest->len - whole};
        if (colon == NULL)
            return;
        size_t name = (size_t)(colon - text.ptr);
        size_t skip = name + 1 < line && colon[1] == ' ' ? 2 : 1;
        h->field[h->field_count++] =
            (struct head_field){{text.ptr, name}, {text.ptr + name + skip, line - name - skip}};
    }
}

static int begin(struct body *b, const struct head *h, unsigned switches, const char **why)
{
    struct span method = (switches & SWITCH_HEAD) != 0 ? SPAN("HEAD") : SPAN("GET");
    return h->kind == HEAD_RESPONSE ? body_of_response(b, h, method, why)
                                    : body_of_request(b, h, why);
}

/* Feeds one piece, as far as the body wants it. */
static void feed(struct body *b, struct span piece, struct result *r)
{
    while (r->verdict == BODY_MORE) {
        size_t used = 0;
        struct span payload;
        const char *why = NULL;
        enum body_event e = body_next(b, piece.ptr, piece.len, &used, &payload, &why);
        assert(used <= piece.len && payload.len <= used);
        assert((e == BODY_BAD) == (why != NULL));
        assert((e == BODY_END) <= b->ended);
        r->used += used;
        if (e == BODY_DATA) {
            assert(payload.len > 0 && payload.ptr + payload.len == piece.ptr + used);
            assert(buf_add_span(&r->payload, payload) == 0);
        } else if (e == BODY_MORE) {
            assert(used == piece.len);
            return;
        } else {
            r->verdict = e;
        }
        piece = (struct span){piece.ptr + used, piece.len - used};
    }
}

/* Each line of the trailers is a field line, and none would reframe or reroute the message. */
static void trailers_check(struct span t)
{
    while (t.len > 0) {
        const char *end = memmem(t.ptr, t.len, "\r\n", 2);
        const char *colon = memchr(t.ptr, ':', t.len);
        assert(end != NULL && colon != NULL && colon > t.ptr && colon < end);
        struct span name = {t.ptr, (size_t)(colon - t.ptr)};
        assert(!span_is_nocase(name, SPAN("Content-Length")));
        assert(!span_is_nocase(name, SPAN("Transfer-Encoding")));
        assert(!span_is_nocase(name, SPAN("Host")));
        assert(memchr(t.ptr, '\0', (size_t)(end - t.ptr)) == NULL);
        assert(memchr(t.ptr, '\n', (size_t)(end - t.ptr)) == NULL);
        size_t line = (size_t)(end - t.ptr) + 2;
        t = (struct span){t.ptr + line, t.len - line};
    }
}

/* Runs the whole: `first` octets, then pieces of `step`. False when the head was refused. */
static bool run(struct result *r, const struct head *h, unsigned switches, struct span octets,
                size_t first, size_t step)
{
    struct body b;
    const char *why = NULL;
    *r = (struct result){.verdict = BODY_MORE};
    buf_init(&r->payload, octets.len);
    buf_init(&r->trailers, 2 * BODY_TRAILERS_MAX);
    int e = begin(&b, h, switches, &why);
    assert((e != 0) == (why != NULL));
    if (e != 0) {
        body_release(&b);
        return false;
    }
    size_t at = 0, piece = first;
    feed(&b, (struct span){octets.ptr, 0}, r);
    while (at < octets.len && r->verdict == BODY_MORE) {
        size_t n = piece < octets.len - at ? piece : octets.len - at;
        feed(&b, (struct span){octets.ptr + at, n}, r);
        at += n;
        piece = step;
    }
    /* A body of known length may have ended with its last octet, unasked. */
    feed(&b, (struct span){octets.ptr, 0}, r);
    r->close_ends = body_close_ends(&b);
    if (r->verdict == BODY_END) {
        trailers_check(buf_span(&b.trailers));
        assert(buf_add_span(&r->trailers, buf_span(&b.trailers)) == 0);
    }
    body_release(&b);
    return true;
}

static void result_release(struct result *r)
{
    buf_release(&r->payload);
    buf_release(&r->trailers);
}

static void same(const struct result *a, const struct result *b)
{
    assert(a->verdict == b->verdict);
    assert(a->used == b->used);
    assert(a->close_ends == b->close_ends);
    assert(span_is(buf_span(&a->payload), buf_span(&b->payload)));
    assert(span_is(buf_span(&a->trailers), buf_span(&b->trailers)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    unsigned switches = data[0];
    size_t cut = (size_t)data[1] << 8 | data[2];
    struct span rest = {(const char *)data + 3, size - 3};
    struct head h = {.kind = (switches & SWITCH_RESPONSE) != 0 ? HEAD_RESPONSE : HEAD_REQUEST,
                     .minor = (switches & SWITCH_OLD) != 0 ? 0 : 1,
                     .method = SPAN("POST"),
                     .status = (switches & SWITCH_204) != 0   ? 204
                               : (switches & SWITCH_304) != 0 ? 304
                                                              : 200};
    head_take(&h, &rest);

    struct result whole, split, single;
    size_t first = rest.len > 0 ? 1 + cut % rest.len : 1;
    bool framed = run(&whole, &h, switches, rest, rest.len, rest.len);
    assert(run(&split, &h, switches, rest, first, rest.len) == framed);
    assert(run(&single, &h, switches, rest, 1, 1) == framed);
    if (framed) {
        same(&whole, &split);
        same(&whole, &single);
    }
    result_release(&whole);
    result_release(&split);
    result_release(&single);
    return 0;
}

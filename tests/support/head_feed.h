/*
 * head_feed.h - a head fed whole, in two pieces at every point, and octet by octet: all must agree.
 *
 * Every call gets its octets at another place, exactly as long as they are: a span kept from before
 * or a look too far is seen by the sanitizer.
 */
#ifndef CERTFERRY_TESTS_HEAD_FEED_H
#define CERTFERRY_TESTS_HEAD_FEED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/wire/head.h"

#define FEED_LIMITS                                                                                \
    (struct head_limits)                                                                           \
    {                                                                                              \
        .head_octets = 65536, .request_line_octets = 32768, .fields = 100                          \
    }

/* A string literal that may hold NUL octets, in an initializer. */
#define OCTETS(literal)                                                                            \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

struct feed {
    enum head_kind kind;
    struct span octets;
    struct head_limits limits;
    enum head_result result; /* when fed whole */
    const char *why;
};

static inline const char *feed_result_name(enum head_result r)
{
    static const char *const names[] = {
        "OK",
        "MORE",
        "MALFORMED",
        "IS_TLS",
        "BAD_VERSION",
        "METHOD_UNKNOWN",
        "LINE_TOO_LONG",
        "TOO_LARGE",
        "TOO_MANY_FIELDS",
    };
    return names[r];
}

/* The first `len` octets, copied; the copy is returned owned. */
static inline enum head_result feed_some(const struct feed *f, size_t len, size_t *scanned,
                                         struct head *h, char **copy, const char **why)
{
    *copy = malloc(len > 0 ? len : 1);
    assert_non_null(*copy);
    memcpy(*copy, f->octets.ptr, len);
    return head_parse(h, f->kind, *copy, len, &f->limits, scanned, why);
}

static inline bool feed_span_same(struct span a, const char *a_base, struct span b,
                                  const char *b_base)
{
    return a.len == b.len && (a.len == 0 || a.ptr - a_base == b.ptr - b_base);
}

static inline bool feed_head_same(const struct head *a, const char *a_base, const struct head *b,
                                  const char *b_base)
{
    bool same = a->kind == b->kind && a->minor == b->minor && a->status == b->status &&
                a->size == b->size && a->field_count == b->field_count &&
                feed_span_same(a->method, a_base, b->method, b_base) &&
                feed_span_same(a->target, a_base, b->target, b_base) &&
                feed_span_same(a->reason, a_base, b->reason, b_base);
    for (size_t i = 0; i < a->field_count && same; i++)
        same = feed_span_same(a->field[i].name, a_base, b->field[i].name, b_base) &&
               feed_span_same(a->field[i].value, a_base, b->field[i].value, b_base);
    return same;
}

/* Goes on from `len` octets in steps of `step`; the end must be what it was in one piece. */
static inline void feed_in_steps(const struct feed *f, size_t len, size_t step,
                                 const struct head *whole, const char *whole_base)
{
    static struct head h;
    size_t scanned = 0;
    for (;; len += step < f->octets.len - len ? step : f->octets.len - len) {
        char *copy;
        const char *why = NULL;
        enum head_result r = feed_some(f, len, &scanned, &h, &copy, &why);
        if (r == HEAD_MORE && len < f->octets.len) {
            free(copy);
            continue;
        }
        if (r != f->result || (why != NULL) != (f->why != NULL) ||
            (why != NULL && strcmp(why, f->why) != 0))
            fail_msg("\"%.*s\": in pieces %s (%s), whole %s (%s)", SPAN_ARGS(f->octets),
                     feed_result_name(r), why != NULL ? why : "", feed_result_name(f->result),
                     f->why != NULL ? f->why : "");
        if (r == HEAD_OK)
            assert_true(feed_head_same(&h, copy, whole, whole_base));
        if (r != HEAD_MORE)
            assert_int_equal(scanned, 0);
        free(copy);
        return;
    }
}

/* All three ways. `h` is filled, its spans point into `octets`. */
static inline enum head_result feed_limited(struct head *h, enum head_kind kind, struct span octets,
                                            struct head_limits limits, const char **why)
{
    struct feed f = {.kind = kind, .octets = octets, .limits = limits};
    size_t scanned = 0;
    f.result = head_parse(h, kind, octets.ptr, octets.len, &limits, &scanned, &f.why);
    /* A fault says what is wrong, anything else says nothing. */
    assert_int_equal(f.why != NULL, f.result != HEAD_OK && f.result != HEAD_MORE);
    feed_in_steps(&f, 0, 1, h, octets.ptr);
    for (size_t cut = 0; cut <= octets.len; cut++)
        feed_in_steps(&f, cut, octets.len - cut, h, octets.ptr);
    if (why != NULL)
        *why = f.why;
    return f.result;
}

static inline enum head_result feed(struct head *h, enum head_kind kind, struct span octets,
                                    const char **why)
{
    return feed_limited(h, kind, octets, FEED_LIMITS, why);
}

/* The same, and the result is the expected one. */
static inline void feed_expect(const char *name, enum head_kind kind, struct span octets,
                               enum head_result expected, struct head *h)
{
    static struct head own;
    const char *why = NULL;
    enum head_result r = feed(h != NULL ? h : &own, kind, octets, &why);
    if (r != expected)
        fail_msg("%s: %s (%s), expected %s: \"%.*s\"", name, feed_result_name(r),
                 why != NULL ? why : "", feed_result_name(expected), SPAN_ARGS(octets));
}

#endif

/*
 * fuzz_paths.c - any patterns, and any path that is then asked for.
 *
 * Input: patterns, one a line; behind an empty line the path. Oracle: a path without a fault names
 * the same whoever reads it - decoded once or twice, backslashes read as slashes, parameters cut
 * off, empty segments dropped - and a plain recursive comparison finds what paths_allow() finds.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "allowlist/paths.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATTERNS_MAX = 16, TEXT_MAX = 256 /* what the plain comparison bears */ };

static struct span taken[PATTERNS_MAX];
static size_t taken_count;

/* ---- other readers ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' ? (c | 0x20) - 'a' + 10 : -1;
}

/* Percent-decodes in place, as any server does. */
static size_t decode(char *text, size_t len)
{
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && i + 2 < len) {
            text[to++] = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else {
            text[to++] = text[i];
        }
    }
    return to;
}

/* No reader finds a segment that means more than it says. */
static void check_segments(const char *text, size_t len)
{
    size_t from = 1;
    assert(len > 0 && text[0] == '/');
    for (size_t i = 1; i <= len; i++) {
        assert(i == len || (text[i] != '\\' && text[i] != ';' && text[i] != '\0' &&
                            (unsigned char)text[i] >= ' ' && (unsigned char)text[i] < 0x7f));
        if (i < len && text[i] != '/')
            continue;
        size_t n = i - from;
        assert(n > 0 || i == len);
        assert(!(n == 1 && text[from] == '.') && !(n == 2 && memcmp(text + from, "..", 2) == 0));
        from = i + 1;
    }
}

static void check_readers(struct span path)
{
    char *text = malloc(path.len);
    assert(text != NULL);
    memcpy(text, path.ptr, path.len);
    size_t slashes = 0, after = 0;
    for (size_t i = 0; i < path.len; i++)
        slashes += path.ptr[i] == '/';
    size_t len = decode(text, path.len);
    check_segments(text, len);
    for (size_t i = 0; i < len; i++)
        after += text[i] == '/';
    assert(after == slashes);
    assert(memchr(text, '%', len) == NULL); /* so the second decoding changes nothing */
    free(text);
}

/* ---- the plain comparison ---- */

static bool in_segment(struct span pattern, struct span text)
{
    if (pattern.len == 0)
        return text.len == 0;
    struct span tail = {pattern.ptr + 1, pattern.len - 1};
    if (pattern.ptr[0] == '*')
        return in_segment(tail, text) ||
               (text.len > 0 && in_segment(pattern, (struct span){text.ptr + 1, text.len - 1}));
    return text.len > 0 && text.ptr[0] == pattern.ptr[0] &&
           in_segment(tail, (struct span){text.ptr + 1, text.len - 1});
}

/* `more`: there is at least one segment, perhaps empty. */
static bool in_segments(struct span pattern, bool more, struct span text, bool any)
{
    if (!more)
        return !any;
    const char *slash = memchr(pattern.ptr, '/', pattern.len);
    const char *end = any ? memchr(text.ptr, '/', text.len) : NULL;
    size_t n = slash != NULL ? (size_t)(slash - pattern.ptr) : pattern.len;
    size_t m = end != NULL ? (size_t)(end - text.ptr) : text.len;
    struct span rest = {pattern.ptr + n + (slash != NULL), pattern.len - n - (slash != NULL)};
    struct span next = {text.ptr + m + (end != NULL), text.len - m - (end != NULL)};
    if (span_is((struct span){pattern.ptr, n}, SPAN("**")))
        return in_segments(rest, slash != NULL, text, any) ||
               (any && in_segments(pattern, true, next, end != NULL));
    return any && in_segment((struct span){pattern.ptr, n}, (struct span){text.ptr, m}) &&
           in_segments(rest, slash != NULL, next, end != NULL);
}

static bool plain_allow(struct span path)
{
    struct span text = {path.ptr + 1, path.len - 1};
    for (size_t i = 0; i < taken_count; i++) {
        if (in_segments((struct span){taken[i].ptr + 1, taken[i].len - 1}, true, text, true))
            return true;
    }
    return false;
}

/* ---- the input ---- */

/* Few stars, so that the plain comparison ends in time. */
static bool is_tame(struct span pattern)
{
    size_t stars = 0;
    for (size_t i = 0; i < pattern.len; i++)
        stars += pattern.ptr[i] == '*';
    return pattern.len <= 64 && stars <= 6;
}

static void take(struct paths *p, struct span pattern)
{
    const char *why = NULL;
    if (taken_count == PATTERNS_MAX || !is_tame(pattern))
        return;
    if (paths_add(p, pattern, &why) == 0)
        taken[taken_count++] = pattern;
    else
        assert(why != NULL && *why != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = {(const char *)data, size}, path = {"", 0};
    struct paths *p = paths_create();
    assert(p != NULL);
    taken_count = 0;
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        struct span line = {rest.ptr, len};
        rest = (struct span){rest.ptr + len + (end != NULL), rest.len - len - (end != NULL)};
        if (line.len == 0) {
            path = rest;
            break;
        }
        take(p, line);
    }
    if (paths_fault(path) == NULL) {
        check_readers(path);
        bool allowed = paths_allow(p, path);
        assert(path.len > TEXT_MAX || allowed == plain_allow(path));
    }
    paths_destroy(p);
    return 0;
}

#include "allowlist/paths.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

struct paths {
    struct span *pattern; /* owned, and their texts */
    size_t count;
};

struct paths *paths_create(void)
{
    return calloc(1, sizeof(struct paths));
}

void paths_destroy(struct paths *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->count; i++)
        free((char *)p->pattern[i].ptr);
    free(p->pattern);
    free(p);
}

/* ---- the one spelling ---- */

/* RFC 3986 section 2.3 */
static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/*
 * An escape that stays one: what it stands for must mean nothing to any reader of paths. Octets
 * from 0x80 are out, since overlong UTF-8 has been read as a slash or a dot often enough.
 */
static const char *escape_fault(struct span at)
{
    int high = at.len >= 3 ? hex(at.ptr[1]) : -1, low = at.len >= 3 ? hex(at.ptr[2]) : -1;
    if (high < 0 || low < 0)
        return "incomplete percent-encoding in the path";
    int c = high * 16 + low;
    if (c == '/' || c == '\\')
        return "encoded slash in the path";
    if (c == '.')
        return "encoded dot in the path";
    if (c == ';' || c == '%' || c == '?' || c == '#')
        return "encoded delimiter in the path";
    if (c < ' ' || c >= 0x7f)
        return "encoded control or non-ASCII octet in the path";
    return is_unreserved((char)c) ? "encoded letter, digit or mark that needs no encoding" : NULL;
}

static const char *octet_fault(struct span at)
{
    char c = at.ptr[0];
    if (c == '%')
        return escape_fault(at);
    if (c == '\\')
        return "backslash in the path";
    if (c == ';')
        return "parameter (;) in the path";
    if (is_unreserved(c) || strchr("/!$&'()*+,=:@", c) != NULL)
        return c == '\0' ? "octet not allowed in a path" : NULL;
    return "octet not allowed in a path";
}

/* Cuts the segment before the next slash off `rest`. False: it was the last. */
static bool cut(struct span *rest, struct span *segment)
{
    const char *slash = rest->len > 0 ? memchr(rest->ptr, '/', rest->len) : NULL;
    *segment = *rest;
    if (slash == NULL) {
        *rest = (struct span){rest->ptr + rest->len, 0};
        return false;
    }
    segment->len = (size_t)(slash - rest->ptr);
    *rest = (struct span){slash + 1, rest->len - segment->len - 1};
    return true;
}

const char *paths_fault(struct span path)
{
    const char *fault = NULL;
    bool more = true;
    if (path.len == 0 || path.ptr[0] != '/')
        return "path does not begin with a slash";
    for (size_t i = 0; i < path.len && fault == NULL; i++)
        fault = octet_fault((struct span){path.ptr + i, path.len - i});
    struct span rest = {path.ptr + 1, path.len - 1}, segment;
    while (more && fault == NULL) {
        more = cut(&rest, &segment);
        if (segment.len == 0 && more)
            fault = "empty segment (//) in the path";
        else if (span_is(segment, SPAN(".")) || span_is(segment, SPAN("..")))
            fault = "dot segment in the path";
    }
    return fault;
}

/* ---- patterns ---- */

static int fault(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return -EINVAL;
}

static bool is_any(struct span segment)
{
    return span_is(segment, SPAN("**"));
}

static const char *pattern_fault(struct span pattern)
{
    const char *why = paths_fault(pattern);
    struct span rest = {pattern.ptr + 1, pattern.len > 0 ? pattern.len - 1 : 0}, segment;
    bool more = why == NULL;
    while (more && why == NULL) {
        more = cut(&rest, &segment);
        if (!is_any(segment) && memmem(segment.ptr, segment.len, "**", 2) != NULL)
            why = "** stands alone between two slashes";
    }
    return why;
}

int paths_add(struct paths *p, struct span pattern, const char **why)
{
    const char *wrong = pattern_fault(pattern);
    if (wrong != NULL)
        return fault(why, wrong);
    struct span *more = realloc(p->pattern, (p->count + 1) * sizeof *more);
    if (more == NULL)
        return -ENOMEM;
    p->pattern = more;
    char *text = strndup(pattern.ptr, pattern.len);
    if (text == NULL)
        return -ENOMEM;
    p->pattern[p->count++] = (struct span){text, pattern.len};
    return 0;
}

/* One star: the last one seen takes an octet more whenever what follows it does not match. */
static bool segment_matches(struct span pattern, struct span text)
{
    size_t at = 0, star = SIZE_MAX, from = 0, i = 0;
    while (i < text.len) {
        if (at < pattern.len && pattern.ptr[at] == '*') {
            star = at++;
            from = i;
        } else if (at < pattern.len && pattern.ptr[at] == text.ptr[i]) {
            at++;
            i++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            i = ++from;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.ptr[at] == '*')
        at++;
    return at == pattern.len;
}

/* Segments that are still to be matched; an empty one is one too. */
struct tail {
    struct span rest;
    bool ended;
};

static struct span next(struct tail *t)
{
    struct span segment;
    t->ended = !cut(&t->rest, &segment);
    return segment;
}

/* The same with segments for octets. Both have at least one. */
static bool matches(struct span pattern, struct span path)
{
    struct tail p = {{pattern.ptr + 1, pattern.len - 1}, false}, after_any = p;
    struct tail t = {{path.ptr + 1, path.len - 1}, false}, from = t;
    bool any = false;
    while (!t.ended) {
        struct tail step = p, text = t;
        struct span wanted = p.ended ? SPAN("") : next(&step);
        if (!p.ended && is_any(wanted)) {
            any = true;
            p = after_any = step;
            from = t;
        } else if (!p.ended && segment_matches(wanted, next(&text))) {
            p = step;
            t = text;
        } else if (any) {
            (void)next(&from);
            t = from;
            p = after_any;
        } else {
            return false;
        }
    }
    while (!p.ended) {
        if (!is_any(next(&p)))
            return false;
    }
    return true;
}

bool paths_allow(const struct paths *p, struct span path)
{
    for (size_t i = 0; i < p->count; i++) {
        if (matches(p->pattern[i], path))
            return true;
    }
    return false;
}

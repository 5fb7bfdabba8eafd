/*
 * span.h - a run of octets that somebody else owns: never ended by NUL, never freed through a span.
 *
 * Knows nothing of what the octets mean. Any thread.
 */
#ifndef CERTFERRY_BASE_SPAN_H
#define CERTFERRY_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *ptr; /* borrowed */
    size_t len;      /* octets */
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
/* For printf: printf("%.*s", SPAN_ARGS(s)). Only for spans already known to be short and printable.
 */
#define SPAN_ARGS(s) ((int)(s).len), (s).ptr

static inline struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static inline bool span_is(struct span s, struct span other)
{
    return s.len == other.len && (s.len == 0 || memcmp(s.ptr, other.ptr, s.len) == 0);
}

/* Compares ASCII letters without regard to case, as field names and host names are compared. */
static inline bool span_is_nocase(struct span s, struct span other)
{
    if (s.len != other.len)
        return false;
    if (s.len == 0)
        return true;
    /* Letters differ in one bit only: most other names end here, without a call. */
    return ((s.ptr[0] ^ other.ptr[0]) & ~('a' ^ 'A')) == 0 &&
           strncasecmp(s.ptr, other.ptr, s.len) == 0;
}

#endif

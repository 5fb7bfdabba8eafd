#include "failover/json_strict.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/* What may come next. */
enum expected {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END, /* behind '[' */
    EXPECT_NAME,         /* behind ',' in an object */
    EXPECT_NAME_OR_END,  /* behind '{' */
    EXPECT_COMMA_OR_END,
    EXPECT_NOTHING
};

struct scan {
    const unsigned char *p;
    size_t len, at;
    const struct json_strict_limits *limits;
    size_t values;
    unsigned depth;
    bool object[JSON_STRICT_DEPTH_MAX]; /* what is open: an object or an array */
    size_t members[JSON_STRICT_DEPTH_MAX];
};

static bool is_digit(const struct scan *s)
{
    return s->at < s->len && s->p[s->at] >= '0' && s->p[s->at] <= '9';
}

static bool take(struct scan *s, unsigned char c)
{
    if (s->at == s->len || s->p[s->at] != c)
        return false;
    s->at++;
    return true;
}

/* ws = *( space / tab / LF / CR ), nothing else (section 2). */
static void skip_blanks(struct scan *s)
{
    while (take(s, ' ') || take(s, '\t') || take(s, '\n') || take(s, '\r'))
        ;
}

/* Section 6: no plus, no leading zero, no bare dot. */
static const char *number(struct scan *s)
{
    static const char wrong[] = "not a number of JSON";
    size_t start = s->at;
    (void)take(s, '-');
    if (!take(s, '0')) {
        if (!is_digit(s))
            return wrong;
        while (is_digit(s))
            s->at++;
    }
    if (take(s, '.')) {
        if (!is_digit(s))
            return wrong;
        while (is_digit(s))
            s->at++;
    }
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            (void)take(s, '-');
        if (!is_digit(s))
            return wrong;
        while (is_digit(s))
            s->at++;
    }
    return s->at - start <= JSON_STRICT_NUMBER_MAX ? NULL : "number too long";
}

/* Four hexadecimal digits; -1 when they are not. */
static int32_t hex4(struct scan *s)
{
    int32_t code = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        unsigned char c = s->at < s->len ? s->p[s->at] : 0;
        if (c >= '0' && c <= '9')
            code = code * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            code = code * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return code;
}

/* Behind "\u". A NUL would end the string early for C; a lone surrogate is no character. */
static const char *unicode_escape(struct scan *s)
{
    int32_t code = hex4(s);
    if (code < 0)
        return "\\u without four hexadecimal digits";
    if (code == 0)
        return "NUL in a string";
    if (code >= 0xdc00 && code <= 0xdfff)
        return "surrogate without its first half";
    if (code < 0xd800 || code > 0xdbff)
        return NULL;
    if (!take(s, '\\') || !take(s, 'u'))
        return "surrogate without its second half";
    code = hex4(s);
    return code >= 0xdc00 && code <= 0xdfff ? NULL : "surrogate without its second half";
}

static const char *escape(struct scan *s)
{
    unsigned char c = s->at < s->len ? s->p[s->at] : 0;
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
        return "unknown escape";
    s->at++;
    return c == 'u' ? unicode_escape(s) : NULL;
}

/* One well-formed sequence (RFC 3629 section 4): shortest form, no surrogate, not past U+10FFFF. */
static bool utf8(struct scan *s)
{
    unsigned char c = s->p[s->at];
    size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0xc2 || c > 0xf4 || s->len - s->at <= more)
        return false;
    if (s->p[s->at + 1] < low || s->p[s->at + 1] > high)
        return false;
    for (size_t i = 2; i <= more; i++) {
        if ((s->p[s->at + i] & 0xc0) != 0x80)
            return false;
    }
    s->at += more + 1;
    return true;
}

/* Section 7; the opening quote is taken. */
static const char *string(struct scan *s)
{
    while (s->at < s->len) {
        unsigned char c = s->p[s->at];
        const char *why = NULL;
        if (c == '"') {
            s->at++;
            return NULL;
        }
        if (c < 0x20)
            return "control character in a string";
        if (c == '\\') {
            s->at++;
            why = escape(s);
        } else if (c >= 0x80) {
            why = utf8(s) ? NULL : "not UTF-8";
        } else {
            s->at++;
        }
        if (why != NULL)
            return why;
    }
    return "ends inside a string";
}

static const char *word(struct scan *s)
{
    static const struct span words[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    for (size_t i = 0; i < 3; i++) {
        struct span w = words[i];
        if (s->len - s->at >= w.len && memcmp(s->p + s->at, w.ptr, w.len) == 0) {
            s->at += w.len;
            return NULL;
        }
    }
    return "not a value";
}

static enum expected behind_value(const struct scan *s)
{
    return s->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static const char *open_one(struct scan *s, enum expected *next)
{
    bool object = s->p[s->at] == '{';
    if (s->depth == s->limits->depth)
        return "too deep";
    s->at++;
    s->object[s->depth] = object;
    s->members[s->depth++] = 0;
    *next = object ? EXPECT_NAME_OR_END : EXPECT_VALUE_OR_END;
    return NULL;
}

static const char *value(struct scan *s, enum expected *next)
{
    if (s->values++ == s->limits->values)
        return "too many values";
    unsigned char c = s->p[s->at];
    if (c == '{' || c == '[')
        return open_one(s, next);
    *next = behind_value(s);
    if (c == '"') {
        s->at++;
        return string(s);
    }
    return c == '-' || is_digit(s) ? number(s) : word(s);
}

static const char *name(struct scan *s, enum expected *next)
{
    if (s->members[s->depth - 1]++ == s->limits->members)
        return "too many members in an object";
    if (!take(s, '"'))
        return "no name of a member";
    const char *why = string(s);
    if (why != NULL)
        return why;
    skip_blanks(s);
    *next = EXPECT_VALUE;
    return take(s, ':') ? NULL : "no colon behind a name";
}

/* Behind a value inside an object or an array. */
static const char *comma(struct scan *s, enum expected *next)
{
    if (!take(s, ','))
        return "neither comma nor end";
    *next = s->object[s->depth - 1] ? EXPECT_NAME : EXPECT_VALUE;
    return NULL;
}

static bool ends_here(const struct scan *s, enum expected next)
{
    return s->depth > 0 && next != EXPECT_VALUE && next != EXPECT_NAME &&
           s->p[s->at] == (s->object[s->depth - 1] ? '}' : ']');
}

static const char *step(struct scan *s, enum expected *next)
{
    if (ends_here(s, *next)) {
        s->at++;
        s->depth--;
        *next = behind_value(s);
        return NULL;
    }
    switch (*next) {
    case EXPECT_VALUE:
    case EXPECT_VALUE_OR_END:
        return value(s, next);
    case EXPECT_NAME:
    case EXPECT_NAME_OR_END:
        return name(s, next);
    case EXPECT_COMMA_OR_END:
        return comma(s, next);
    default:
        return "more behind the value";
    }
}

const char *json_strict_fault(struct span text, const struct json_strict_limits *limits, size_t *at)
{
    struct scan s = {.p = (const unsigned char *)text.ptr, .len = text.len, .limits = limits};
    enum expected next = EXPECT_VALUE;
    const char *why = NULL;
    assert(limits->depth <= JSON_STRICT_DEPTH_MAX);
    *at = limits->octets;
    if (text.len > limits->octets)
        return "too long";
    while (why == NULL) {
        skip_blanks(&s);
        if (s.at == s.len)
            break;
        why = step(&s, &next);
    }
    if (why == NULL && next != EXPECT_NOTHING)
        why = "ends too early";
    *at = s.at;
    return why;
}

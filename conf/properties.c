#include "conf/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/private_file.h"
#include "proxy/base/buf.h"

/* No character: the logical line is over. */
#define LINE_END (-1L)

struct reader {
    const unsigned char *at, *end;
    unsigned line;      /* natural line of `at` */
    unsigned told_line; /* octets that are no text were told for this line already */
    int status;         /* 0, or the worst so far */
    struct buf text;    /* the key or value being read */
    const char *file;
    properties_error on_error;
    void *arg;
};

static void tell(struct reader *r, unsigned line, const char *message)
{
    r->on_error(r->arg, r->file, line, message);
    if (r->status == 0)
        r->status = -EINVAL;
}

static void tell_octet(struct reader *r, const char *message)
{
    if (r->told_line != r->line)
        tell(r, r->line, message);
    r->told_line = r->line;
}

static bool is_newline(long c)
{
    return c == '\n' || c == '\r';
}

static bool is_blank(long c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static void newline_step(struct reader *r)
{
    if (r->at[0] == '\r' && r->end - r->at > 1 && r->at[1] == '\n')
        r->at++;
    r->at++;
    r->line++;
}

static void blanks_step(struct reader *r)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
}

/* Length of the UTF-8 sequence at `s` (RFC 3629) with its code point; 0 when it is none. */
static size_t utf8_decode(const unsigned char *s, size_t len, long *code)
{
    static const long least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t need = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (need == 0 || s[0] > 0xf4 || need > len)
        return 0;
    *code = need == 1 ? s[0] : s[0] & (0x7f >> need);
    for (size_t i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < least[need] || surrogate || *code > 0x10ffff ? 0 : need;
}

static void code_add(struct reader *r, long code)
{
    unsigned char out[4];
    size_t n = 0;
    unsigned long c = (unsigned long)code;
    if (c < 0x80) {
        out[n++] = (unsigned char)c;
    } else if (c < 0x800) {
        out[n++] = (unsigned char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        out[n++] = (unsigned char)(0xe0 | c >> 12);
        out[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    } else {
        out[n++] = (unsigned char)(0xf0 | c >> 18);
        out[n++] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
        out[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        out[n++] = (unsigned char)(0x80 | (c & 0x3f));
    if (buf_add(&r->text, out, n) != 0)
        r->status = -ENOMEM;
}

/* One character as it stands; what is no text is told and stepped over. */
static long literal_next(struct reader *r)
{
    while (r->at < r->end && !is_newline(*r->at)) {
        long code = 0;
        size_t n = utf8_decode(r->at, (size_t)(r->end - r->at), &code);
        r->at += n > 0 ? n : 1;
        if (n > 0 && code != 0)
            return code;
        tell_octet(r, n > 0 ? "holds a NUL character: remove it"
                            : "is not UTF-8: save the file as UTF-8, or write \\uXXXX");
    }
    return LINE_END;
}

/* Steps over the ends of lines that a backslash continues. One that ends the file counts for
 * nothing. */
static void continuations_step(struct reader *r)
{
    while (r->at < r->end && *r->at == '\\') {
        if (r->end - r->at > 1 && !is_newline(r->at[1]))
            return;
        r->at++;
        if (r->at == r->end)
            return;
        newline_step(r);
        blanks_step(r);
    }
}

/* The next character of the logical line. */
static long raw_next(struct reader *r)
{
    continuations_step(r);
    return literal_next(r);
}

/* The four hexadecimal digits of a \u escape; on false `at` stays where it was. */
static bool hex4_next(struct reader *r, long *unit)
{
    struct reader before = *r;
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        long c = raw_next(r);
        long digit = c >= '0' && c <= '9'   ? c - '0'
                     : c >= 'a' && c <= 'f' ? c - 'a' + 10
                     : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                            : -1;
        if (digit < 0) {
            r->at = before.at;
            r->line = before.line;
            return false;
        }
        *unit = *unit << 4 | digit;
    }
    return true;
}

/* Java writes what is above U+FFFF as two escapes, high surrogate first. */
static bool low_surrogate_next(struct reader *r, long *unit)
{
    struct reader before = *r;
    if (raw_next(r) == '\\' && literal_next(r) == 'u' && hex4_next(r, unit) && *unit >= 0xdc00 &&
        *unit <= 0xdfff)
        return true;
    r->at = before.at;
    r->line = before.line;
    return false;
}

/* Behind "\u". What it stands for goes straight into the text; a mistake stands for nothing. */
static void unicode_add(struct reader *r)
{
    unsigned line = r->line;
    long high = 0;
    long low = 0;
    if (!hex4_next(r, &high)) {
        tell(r, line,
             "broken \\u escape: write \\u and four hexadecimal digits, or \\\\ for a backslash");
    } else if (high == 0) {
        tell(r, line, "holds a NUL character: remove it");
    } else if (high < 0xd800 || high > 0xdfff) {
        code_add(r, high);
    } else if (high < 0xdc00 && low_surrogate_next(r, &low)) {
        code_add(r, 0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00)));
    } else {
        tell(r, line, "half of a surrogate pair: write both \\u escapes, or the character itself");
    }
}

/* Behind a backslash that continues no line. */
static void escape_add(struct reader *r)
{
    long c = literal_next(r);
    if (c == 'u')
        unicode_add(r);
    else if (c != LINE_END)
        code_add(r, c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'f' ? '\f' : c);
}

/* Reads up to an unescaped character that `stops`, which is returned. */
static long text_read(struct reader *r, bool (*stops)(long))
{
    long c;
    while ((c = raw_next(r)) != LINE_END && !stops(c)) {
        if (c == '\\')
            escape_add(r);
        else
            code_add(r, c);
    }
    return c;
}

static bool stops_key(long c)
{
    return c == '=' || c == ':' || is_blank(c);
}

static bool stops_never(long c)
{
    (void)c;
    return false;
}

/* Between key and value: blanks and at most one '=' or ':', of which the key's end may have been
 * the first. */
static void separator_step(struct reader *r, long stop)
{
    bool have = stop == '=' || stop == ':';
    for (;;) {
        struct reader before = *r;
        long c = raw_next(r);
        if (is_blank(c))
            continue;
        if (!have && (c == '=' || c == ':')) {
            have = true;
            continue;
        }
        r->at = before.at;
        r->line = before.line;
        return;
    }
}

static char *text_take(struct reader *r)
{
    struct span s = buf_span(&r->text);
    char *copy = r->status == -ENOMEM ? NULL : strndup(s.ptr, s.len);
    if (copy == NULL)
        r->status = -ENOMEM;
    buf_consume(&r->text, s.len);
    return copy;
}

/* Grows by doubling: the array is full whenever the count is a power of two. */
static struct property *item_new(struct properties *p)
{
    if ((p->count & (p->count - 1)) == 0) {
        size_t cap = p->count > 0 ? p->count * 2 : 1;
        struct property *item = realloc(p->item, cap * sizeof *item);
        if (item == NULL)
            return NULL;
        p->item = item;
    }
    p->item[p->count] = (struct property){0};
    return &p->item[p->count++];
}

/* `at` is on the first character of a logical line that is neither blank nor a comment. */
static void pair_read(struct reader *r, struct properties *p)
{
    struct property *pair = item_new(p);
    if (pair == NULL) {
        r->status = -ENOMEM;
        return;
    }
    pair->line = r->line;
    long stop = text_read(r, stops_key);
    pair->key = text_take(r);
    if (stop != LINE_END) {
        separator_step(r, stop);
        (void)text_read(r, stops_never);
    }
    pair->value = text_take(r);
}

static void lines_read(struct reader *r, struct properties *p)
{
    while (r->at < r->end && r->status != -ENOMEM) {
        blanks_step(r);
        continuations_step(r);
        if (r->at == r->end)
            return;
        if (*r->at == '#' || *r->at == '!') {
            while (r->at < r->end && !is_newline(*r->at))
                r->at++;
        } else if (!is_newline(*r->at)) {
            if (p->count == PROPERTIES_ENTRIES_MAX) {
                tell(r, r->line, "too many keys in one file, at most 4096 are allowed");
                return;
            }
            pair_read(r, p);
        }
        if (r->at < r->end && is_newline(*r->at))
            newline_step(r);
    }
}

int properties_parse(struct properties *p, const char *file, const char *text, size_t len,
                     properties_error on_error, void *arg)
{
    static const char bom[] = "\xef\xbb\xbf";
    *p = (struct properties){0};
    struct reader r = {.at = (const unsigned char *)text,
                       .end = (const unsigned char *)text + len,
                       .line = 1,
                       .file = file,
                       .on_error = on_error,
                       .arg = arg};
    if (len > PROPERTIES_FILE_MAX) {
        tell(&r, 0, "larger than the 4 MiB that are allowed");
        return r.status;
    }
    /* Java would make the mark a part of the first key, which nobody could see. */
    if (len >= 3 && memcmp(text, bom, 3) == 0) {
        tell(&r, 1, "begins with a byte order mark: save the file as UTF-8 without it");
        r.at += 3;
    }
    buf_init(&r.text, PROPERTIES_FILE_MAX);
    lines_read(&r, p);
    buf_release(&r.text);
    return r.status;
}

int properties_load(struct properties *p, int dir, const char *name, const char *path,
                    properties_error on_error, void *arg)
{
    struct buf text;
    const char *why = "";
    *p = (struct properties){0};
    buf_init(&text, PROPERTIES_FILE_MAX + 1);
    int rc = private_file_read(dir, name, 0, &text, &why);
    if (rc == 0) {
        struct span s = buf_span(&text);
        rc = properties_parse(p, path, s.ptr, s.len, on_error, arg);
    } else if (rc == -EISDIR) {
        on_error(arg, path, 0, "is not a regular file");
    } else if (rc == -EPERM) {
        on_error(arg, path, 0, why);
    } else if (rc != -ENOENT && rc != -ENOMEM) {
        char message[256];
        errno = -rc;
        (void)snprintf(message, sizeof message, "cannot be read: %m");
        on_error(arg, path, 0, message);
    }
    buf_release(&text);
    return rc;
}

void properties_free(struct properties *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->item[i].key);
        free(p->item[i].value);
    }
    free(p->item);
    *p = (struct properties){0};
}

#include "tests/support/strict_http.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- octets ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* tchar (RFC 9110 section 5.6.2) */
static bool is_tchar(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* VCHAR, obs-text, SP and HTAB (RFC 9110 section 5.5) */
static bool is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= 0x20 && u != 0x7f);
}

static bool all(struct strict_text t, bool (*is)(char c))
{
    for (size_t i = 0; i < t.n; i++) {
        if (!is(t.p[i]))
            return false;
    }
    return true;
}

static struct strict_text trim(struct strict_text t)
{
    while (t.n > 0 && (t.p[0] == ' ' || t.p[0] == '\t'))
        t = (struct strict_text){t.p + 1, t.n - 1};
    while (t.n > 0 && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
        t.n--;
    return t;
}

/* ---- asking ---- */

bool strict_same(struct strict_text a, struct strict_text b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool strict_is(struct strict_text t, const char *text)
{
    return strict_same(t, (struct strict_text){text, strlen(text)});
}

static bool same_name(struct strict_text a, struct strict_text b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

bool strict_names(struct strict_text t, const char *name)
{
    return same_name(t, (struct strict_text){name, strlen(name)});
}

size_t strict_count(const struct strict_message *m, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < m->fields; i++)
        count += strict_names(m->field[i].name, name);
    return count;
}

const struct strict_field *strict_find(const struct strict_message *m, const char *name)
{
    for (size_t i = 0; i < m->fields; i++) {
        if (strict_names(m->field[i].name, name))
            return &m->field[i];
    }
    return NULL;
}

bool strict_element(struct strict_text *list, struct strict_text *element)
{
    while (list->n > 0) {
        const char *comma = memchr(list->p, ',', list->n);
        size_t n = comma != NULL ? (size_t)(comma - list->p) : list->n;
        size_t used = comma != NULL ? n + 1 : n;
        *element = trim((struct strict_text){list->p, n});
        *list = (struct strict_text){list->p + used, list->n - used};
        if (element->n > 0)
            return true;
    }
    return false;
}

bool strict_lists(const struct strict_message *m, const char *name, struct strict_text element)
{
    for (size_t i = 0; i < m->fields; i++) {
        struct strict_text list = m->field[i].value, one;
        if (!strict_names(m->field[i].name, name))
            continue;
        while (strict_element(&list, &one)) {
            if (same_name(one, element))
                return true;
        }
    }
    return false;
}

/* ---- lines ---- */

/* What is being read: the first fault ends it. */
struct reading {
    struct strict_message *m;
    const char *p;
    size_t n, at;
};

static bool bad(struct reading *r, const char *why)
{
    r->m->verdict = STRICT_BAD;
    r->m->why = why;
    return false;
}

static bool part(struct reading *r)
{
    r->m->verdict = STRICT_PART;
    return false;
}

/*
 * A line without its CRLF. A CR or LF alone ends no line and is no part of one (section 2.2), so a
 * line that is still open may already be bad.
 */
static bool line(struct reading *r, struct strict_text *l)
{
    size_t start = r->at;
    for (size_t i = start; i < r->n; i++) {
        if (r->p[i] == '\n')
            return bad(r, "LF without CR");
        if (r->p[i] != '\r')
            continue;
        if (i + 1 == r->n)
            return part(r);
        if (r->p[i + 1] != '\n')
            return bad(r, "CR without LF");
        *l = (struct strict_text){r->p + start, i - start};
        r->at = i + 2;
        return true;
    }
    return part(r);
}

/* field-line = field-name ":" OWS field-value OWS (section 5) */
static bool field_line(struct reading *r, struct strict_text l, struct strict_field *field)
{
    const char *colon = memchr(l.p, ':', l.n);
    if (colon == NULL)
        return bad(r, "field line without a colon");
    struct strict_text name = {l.p, (size_t)(colon - l.p)};
    struct strict_text value = trim((struct strict_text){colon + 1, l.n - name.n - 1});
    if (name.n == 0 || !all(name, is_tchar))
        return bad(r, "field name is no token");
    if (!all(value, is_text))
        return bad(r, "control octet in a field value");
    *field = (struct strict_field){name, value};
    return true;
}

static bool field_lines(struct reading *r, struct strict_field **field, size_t *count)
{
    struct strict_text l;
    for (;;) {
        if (!line(r, &l))
            return false;
        if (l.n == 0)
            return true;
        /* Room is made at each power of two. */
        if ((*count & (*count - 1)) == 0) {
            *field = realloc(*field, (*count > 0 ? 2 * *count : 1) * sizeof **field);
            assert(*field != NULL);
        }
        if (!field_line(r, l, *field + *count))
            return false;
        ++*count;
    }
}

/* HTTP-version (section 2.3); a higher minor version is read as 1. */
static bool version(struct strict_text t, unsigned *minor)
{
    if (t.n != 8 || memcmp(t.p, "HTTP/1.", 7) != 0 || !is_digit(t.p[7]))
        return false;
    *minor = t.p[7] == '0' ? 0 : 1;
    return true;
}

/* request-line = method SP request-target SP HTTP-version (section 3) */
static bool request_line(struct reading *r)
{
    struct strict_message *m = r->m;
    struct strict_text l;
    if (!line(r, &l))
        return false;
    const char *first = memchr(l.p, ' ', l.n);
    if (first == NULL)
        return bad(r, "request line without spaces");
    m->method = (struct strict_text){l.p, (size_t)(first - l.p)};
    struct strict_text rest = {first + 1, l.n - m->method.n - 1};
    const char *second = memchr(rest.p, ' ', rest.n);
    if (second == NULL)
        return bad(r, "request line without a version");
    m->target = (struct strict_text){rest.p, (size_t)(second - rest.p)};
    rest = (struct strict_text){second + 1, rest.n - m->target.n - 1};
    if (m->method.n == 0 || !all(m->method, is_tchar))
        return bad(r, "method is no token");
    if (m->target.n == 0)
        return bad(r, "no request target");
    for (size_t i = 0; i < m->target.n; i++) {
        if (m->target.p[i] <= ' ' || m->target.p[i] == 0x7f)
            return bad(r, "octet that no URI has in the request target");
    }
    return version(rest, &m->minor) || bad(r, "not HTTP/1.1");
}

/* status-line = HTTP-version SP status-code SP [ reason-phrase ] (section 4) */
static bool status_line(struct reading *r)
{
    struct strict_message *m = r->m;
    struct strict_text l;
    if (!line(r, &l))
        return false;
    if (l.n < 12 || !version((struct strict_text){l.p, 8}, &m->minor) || l.p[8] != ' ')
        return bad(r, "no status line");
    for (size_t i = 9; i < 12; i++) {
        if (!is_digit(l.p[i]))
            return bad(r, "status is no number");
        m->status = m->status * 10 + (unsigned)(l.p[i] - '0');
    }
    if (m->status < 100 || m->status > 599) /* RFC 9110 section 15 */
        return bad(r, "status out of range");
    /* Some servers leave the last space out; told apart, as we must never. */
    m->bare_status = l.n == 12;
    if (!m->bare_status && l.p[12] != ' ')
        return bad(r, "status of more than three digits");
    if (l.n > 13)
        m->reason = (struct strict_text){l.p + 13, l.n - 13};
    return all(m->reason, is_text) || bad(r, "control octet in the reason");
}

/* ---- content ---- */

static void keep(struct reading *r, size_t octets)
{
    struct strict_message *m = r->m;
    if (octets > 0)
        memcpy(m->content + m->content_size, r->p + r->at, octets);
    m->content_size += octets;
    r->at += octets;
}

/* Content-Length = 1*DIGIT, once (section 6.3 item 5: anything else may be refused) */
static bool read_length(struct reading *r)
{
    const struct strict_field *f = strict_find(r->m, "Content-Length");
    uint64_t n = 0;
    if (f->value.n == 0 || !all(f->value, is_digit))
        return bad(r, "Content-Length is no number");
    for (size_t i = 0; i < f->value.n; i++) {
        if (n > UINT64_MAX / 10 - 10)
            return bad(r, "Content-Length overflows");
        n = n * 10 + (uint64_t)(f->value.p[i] - '0');
    }
    r->m->length = n;
    r->m->end = STRICT_END_LENGTH;
    return true;
}

/* Sections 6.1 to 6.3. `otherwise`: what ends it when no field says. */
static bool framing(struct reading *r, enum strict_end otherwise)
{
    struct strict_message *m = r->m;
    size_t lengths = strict_count(m, "Content-Length");
    size_t codings = strict_count(m, "Transfer-Encoding");
    m->end = otherwise;
    if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0))
        return bad(r, "framed twice");
    if (codings > 0) {
        if (m->minor == 0)
            return bad(r, "Transfer-Encoding in HTTP/1.0");
        if (!strict_names(strict_find(m, "Transfer-Encoding")->value, "chunked"))
            return bad(r, "a coding that is not chunked");
        m->end = STRICT_END_CHUNKS;
    }
    return lengths == 0 || read_length(r);
}

/* token or quoted-string */
static bool chunk_word(struct strict_text *t)
{
    size_t i = 0;
    if (t->n > 0 && t->p[0] == '"') {
        for (i = 1; i < t->n && t->p[i] != '"'; i++)
            i += t->p[i] == '\\';
        if (i >= t->n)
            return false;
        i++;
    } else {
        while (i < t->n && is_tchar(t->p[i]))
            i++;
        if (i == 0)
            return false;
    }
    *t = (struct strict_text){t->p + i, t->n - i};
    return true;
}

/* chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) (section 7.1.1) */
static bool chunk_extensions(struct strict_text t)
{
    if (!all(t, is_text))
        return false;
    for (t = trim(t); t.n > 0; t = trim(t)) {
        if (t.p[0] != ';')
            return false;
        t = trim((struct strict_text){t.p + 1, t.n - 1});
        if (t.n == 0 || t.p[0] == '"' || !chunk_word(&t))
            return false;
        t = trim(t);
        if (t.n == 0 || t.p[0] != '=')
            continue;
        t = trim((struct strict_text){t.p + 1, t.n - 1});
        if (!chunk_word(&t))
            return false;
    }
    return true;
}

/* chunk-size = 1*HEXDIG */
static bool chunk_size(struct strict_text l, uint64_t *size)
{
    size_t i = 0;
    *size = 0;
    for (; i < l.n; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = l.p[i] != '\0' ? strchr(digits, l.p[i] | 0x20) : NULL;
        /* The bit that makes letters small also makes control octets of digits. */
        if (digit == NULL || (is_digit(*digit) && l.p[i] != *digit))
            break;
        if (*size >> 59 != 0)
            return false;
        *size = *size << 4 | (uint64_t)(digit - digits);
    }
    return i > 0 && chunk_extensions((struct strict_text){l.p + i, l.n - i});
}

/* Section 7.1. */
static bool chunks(struct reading *r)
{
    struct strict_text l;
    uint64_t size;
    for (;;) {
        if (!line(r, &l))
            return false;
        if (!chunk_size(l, &size))
            return bad(r, "no chunk size");
        if (size == 0)
            return field_lines(r, &r->m->trailer, &r->m->trailers);
        size_t here = r->n - r->at < size ? r->n - r->at : (size_t)size;
        keep(r, here);
        if (here < size)
            return part(r);
        if (r->at < r->n && r->p[r->at] != '\r')
            return bad(r, "no CRLF behind a chunk");
        if (!line(r, &l))
            return false;
        assert(l.n == 0);
    }
}

static bool content(struct reading *r, bool ended)
{
    struct strict_message *m = r->m;
    size_t left = r->n - r->at;
    m->content = malloc(left > 0 ? left : 1);
    assert(m->content != NULL);
    switch (m->end) {
    case STRICT_END_HEAD:
        return true;
    case STRICT_END_CHUNKS:
        return chunks(r);
    case STRICT_END_LENGTH:
        keep(r, left < m->length ? left : (size_t)m->length);
        return left >= m->length || part(r);
    case STRICT_END_CLOSE:
        keep(r, left);
        return ended || part(r);
    }
    return true;
}

/* ---- messages ---- */

/* uri-host [ ":" port ] (RFC 9110 section 7.2): characters only, what they mean is not asked. */
static bool host_is_good(struct strict_text t)
{
    size_t i = 0;
    if (t.n > 0 && t.p[0] == '[') {
        while (i < t.n && t.p[i] != ']')
            i++;
        if (i == t.n)
            return false;
        i++;
    }
    for (; i < t.n && t.p[i] != ':'; i++) {
        if (!is_tchar(t.p[i]) && strchr("%()=;,", t.p[i]) == NULL)
            return false;
    }
    for (i = i < t.n ? i + 1 : i; i < t.n; i++) {
        if (!is_digit(t.p[i]))
            return false;
    }
    return true;
}

/* Section 3.2. */
static bool host(struct reading *r)
{
    size_t count = strict_count(r->m, "Host");
    if (count > 1 || (count == 0 && r->m->minor > 0))
        return bad(r, "not exactly one Host");
    if (count == 1 && !host_is_good(strict_find(r->m, "Host")->value))
        return bad(r, "Host is no host");
    return true;
}

static bool read_request(struct reading *r)
{
    struct strict_message *m = r->m;
    if (r->n >= 2 && memcmp(r->p, "\r\n", 2) == 0)
        r->at = 2;
    if (!request_line(r) || !field_lines(r, &m->field, &m->fields) || !host(r) ||
        !framing(r, STRICT_END_HEAD))
        return false;
    m->headed = true;
    return content(r, false);
}

void strict_request(struct strict_message *m, const char *p, size_t n)
{
    struct reading r = {.m = m, .p = p, .n = n};
    *m = (struct strict_message){.verdict = STRICT_WHOLE};
    (void)read_request(&r);
    m->size = r.at;
}

static bool read_response(struct reading *r, struct strict_text method, bool ended)
{
    struct strict_message *m = r->m;
    if (!status_line(r) || !field_lines(r, &m->field, &m->fields))
        return false;
    /* Whatever its fields say (section 6.3 item 1). */
    m->headed = m->status < 200;
    if (m->headed)
        return content(r, ended);
    if (!framing(r, STRICT_END_CLOSE))
        return false;
    bool content_due =
        m->end == STRICT_END_CHUNKS || (m->end == STRICT_END_LENGTH && m->length > 0);
    /* RFC 9110 section 8.6, RFC 9112 section 6.1: neither field may be there. */
    if (m->status == 204 && content_due)
        return bad(r, "content where there is none");
    bool tunnel = strict_is(method, "CONNECT") && m->status >= 200 && m->status < 300;
    if (m->status == 204 || m->status == 304 || strict_is(method, "HEAD") || tunnel)
        m->end = STRICT_END_HEAD;
    m->headed = true;
    return content(r, ended);
}

void strict_response(struct strict_message *m, const char *p, size_t n, struct strict_text method,
                     bool ended)
{
    struct reading r = {.m = m, .p = p, .n = n};
    *m = (struct strict_message){.verdict = STRICT_WHOLE};
    (void)read_response(&r, method, ended);
    m->size = r.at;
}

void strict_release(struct strict_message *m)
{
    free(m->content);
    free(m->field);
    free(m->trailer);
    *m = (struct strict_message){.verdict = m->verdict};
}

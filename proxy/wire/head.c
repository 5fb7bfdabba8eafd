#include "proxy/wire/head.h"

#include <assert.h>
#include <http_parser.h>
#include <pthread.h>
#include <stdint.h>

/* ---- octets ---- */

/* tchar of RFC 9110 section 5.6.2. */
static bool is_tchar(unsigned char c)
{
    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_tchar((unsigned char)s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

static bool is_visible_ascii(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7f)
            return false;
    }
    return s.len > 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct span trim(struct span s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct span){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* ---- our own judgement, line by line ---- */

struct scan {
    enum head_kind kind;
    const struct head_limits *limits;
    const char *why;
};

static enum head_result malformed(struct scan *sc, const char *why)
{
    sc->why = why;
    return HEAD_MALFORMED;
}

/* "HTTP/" DIGIT "." DIGIT, RFC 9112 section 2.3. */
static enum head_result check_version(struct scan *sc, struct span v)
{
    bool shaped = v.len == 8 && memcmp(v.ptr, "HTTP/", 5) == 0 && is_digit(v.ptr[5]) &&
                  v.ptr[6] == '.' && is_digit(v.ptr[7]);
    if (!shaped)
        return malformed(sc, "no HTTP version in the start line (RFC 9112 section 2.3)");
    if (v.ptr[5] != '1') {
        sc->why = "only HTTP/1.1 and HTTP/1.0 are spoken here";
        return HEAD_BAD_VERSION;
    }
    return HEAD_OK;
}

/* method SP request-target SP HTTP-version, RFC 9112 section 3. */
static enum head_result check_request_line(struct scan *sc, struct span line)
{
    const char *first = memchr(line.ptr, ' ', line.len);
    const char *last = memrchr(line.ptr, ' ', line.len);
    if (first == NULL || first == last)
        return malformed(sc, "request line is not method, target and version (RFC 9112 section 3)");
    struct span method = {line.ptr, (size_t)(first - line.ptr)};
    struct span target = {first + 1, (size_t)(last - first) - 1};
    if (!is_token(method))
        return malformed(sc, "method is no token (RFC 9112 section 3.1)");
    if (!is_visible_ascii(target))
        return malformed(sc, "whitespace or other octets in the request target (RFC 9112 section 3.2)");
    return check_version(sc, (struct span){last + 1, (size_t)(line.ptr + line.len - last) - 1});
}

/* HTTP-version SP 3DIGIT [ SP reason-phrase ], RFC 9112 section 4; many leave the second SP out, which harms nobody. */
static enum head_result check_status_line(struct scan *sc, struct span line)
{
    if (line.len < 12 || line.ptr[8] != ' ')
        return malformed(sc, "status line is not version, status and reason (RFC 9112 section 4)");
    enum head_result version = check_version(sc, (struct span){line.ptr, 8});
    if (version != HEAD_OK)
        return version;
    const char *d = line.ptr + 9;
    if (d[0] < '1' || d[0] > '5' || !is_digit(d[1]) || !is_digit(d[2]))
        return malformed(sc, "status is no number from 100 to 599 (RFC 9110 section 15)");
    if (line.len > 12 && line.ptr[12] != ' ')
        return malformed(sc, "status has more than three digits (RFC 9112 section 4)");
    return HEAD_OK;
}

/* field-name ":" OWS field-value OWS, RFC 9112 section 5. */
static enum head_result check_field_line(struct scan *sc, struct span line)
{
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return malformed(sc, "folded field line (RFC 9112 section 5.2)");
    const char *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL)
        return malformed(sc, "field line without a colon (RFC 9112 section 5)");
    struct span name = {line.ptr, (size_t)(colon - line.ptr)};
    if (name.len == 0)
        return malformed(sc, "empty field name (RFC 9112 section 5)");
    if (name.ptr[name.len - 1] == ' ' || name.ptr[name.len - 1] == '\t')
        return malformed(sc, "whitespace before the colon of a field (RFC 9112 section 5.1)");
    if (!is_token(name))
        return malformed(sc, "field name is no token (RFC 9110 section 5.1)");
    return HEAD_OK;
}

static enum head_result check_line(struct scan *sc, struct span line, bool first)
{
    if (!first)
        return check_field_line(sc, line);
    if (line.len > sc->limits->request_line_octets) {
        sc->why = "start line over its limit";
        return HEAD_LINE_TOO_LONG;
    }
    return sc->kind == HEAD_REQUEST ? check_request_line(sc, line) : check_status_line(sc, line);
}

/* One octet inside a line. */
static enum head_result check_octet(struct scan *sc, const char *data, size_t begin, size_t at)
{
    unsigned char c = (unsigned char)data[at];
    if (at > begin && data[at - 1] == '\r')
        return malformed(sc, "CR without LF (RFC 9112 section 2.2)");
    if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
        return malformed(sc, "control octet in the head (RFC 9110 section 5.5)");
    if (at == begin && !is_tchar(c))
        return malformed(sc, "does not begin like an HTTP message (RFC 9112 section 2.1)");
    return HEAD_OK;
}

/*
 * Judges the octets from `*at` on. HEAD_OK: the head is complete and `*at` is behind it. A line is looked at as a whole
 * when its LF comes, so the total cost is linear however the octets arrive.
 */
static enum head_result scan_octets(struct scan *sc, const char *data, size_t len, size_t begin,
                                    size_t *at)
{
    for (; *at < len; (*at)++) {
        enum head_result result;
        if (data[*at] != '\n') {
            result = check_octet(sc, data, begin, *at);
        } else if (*at == begin || data[*at - 1] != '\r') {
            result = malformed(sc, "LF without CR (RFC 9112 section 2.2)");
        } else {
            const char *before = memrchr(data + begin, '\n', *at - begin);
            const char *start = before != NULL ? before + 1 : data + begin;
            struct span line = {start, (size_t)(data + *at - start) - 1};
            if (line.len == 0 && before != NULL) {
                (*at)++;
                return HEAD_OK;
            }
            result = line.len > 0 ? check_line(sc, line, before == NULL)
                                  : malformed(sc, "empty start line (RFC 9112 section 2.2)");
        }
        if (result != HEAD_OK)
            return result;
    }
    return HEAD_MORE;
}

/* ---- http-parser splits what has been found good ---- */

struct split {
    struct head *head;
    size_t most_fields;
    bool too_many;
};

static int on_target(http_parser *p, const char *at, size_t len)
{
    struct head *h = ((struct split *)p->data)->head;
    h->target = (struct span){at, len};
    return 0;
}

static int on_reason(http_parser *p, const char *at, size_t len)
{
    struct head *h = ((struct split *)p->data)->head;
    h->reason = trim((struct span){at, len});
    return 0;
}

static int on_name(http_parser *p, const char *at, size_t len)
{
    struct split *s = p->data;
    if (s->head->field_count >= s->most_fields) {
        s->too_many = true;
        return 1;
    }
    s->head->field[s->head->field_count++] = (struct head_field){{at, len}, {at + len, 0}};
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    struct split *s = p->data;
    if (s->head->field_count == 0)
        return 1;
    s->head->field[s->head->field_count - 1].value = trim((struct span){at, len});
    return 0;
}

static int on_complete(http_parser *p)
{
    (void)p;
    return 1; /* no body here: framing is body.h's */
}

static const http_parser_settings callbacks = {
    .on_url = on_target,
    .on_status = on_reason,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

/* The library has a limit of its own for all parsers; ours is checked before. */
static void raise_library_limit(void)
{
    http_parser_set_max_header_size(64U * 1024 * 1024);
}

static enum head_result split(struct head *h, const char *data, size_t size,
                              const struct head_limits *limits, const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    http_parser p;
    size_t most = limits->fields < HEAD_FIELDS_MAX ? limits->fields : HEAD_FIELDS_MAX;
    struct split s = {.head = h, .most_fields = most};
    (void)pthread_once(&once, raise_library_limit);
    http_parser_init(&p, h->kind == HEAD_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
    p.data = &s;
    size_t taken = http_parser_execute(&p, &callbacks, data, size);
    enum http_errno error = HTTP_PARSER_ERRNO(&p);
    if (s.too_many) {
        *why = "more fields than limit.fields";
        return HEAD_TOO_MANY_FIELDS;
    }
    if (h->kind == HEAD_REQUEST && error == HPE_INVALID_METHOD) {
        *why = "unknown method";
        return HEAD_METHOD_UNKNOWN;
    }
    if (error != HPE_OK || taken != size) {
        *why = http_errno_description(error);
        return HEAD_MALFORMED;
    }
    h->status = h->kind == HEAD_RESPONSE ? p.status_code : 0;
    h->minor = p.http_minor > 0 ? 1 : 0;
    return HEAD_OK;
}

/* ---- Host ---- */

/* A request of HTTP/1.1 has exactly one Host, of HTTP/1.0 at most one (RFC 9112 section 3.2). What it says does not matter here:
 * clients send it without the port, or plainly wrong, and the target decides. */
static enum head_result check_host(const struct head *h, const char **why)
{
    size_t count = head_count(h, SPAN("Host"));
    if (count == 0 && h->minor == 0)
        return HEAD_OK;
    if (count != 1) {
        *why = count == 0 ? "HTTP/1.1 request without Host (RFC 9112 section 3.2)"
                          : "more than one Host field (RFC 9112 section 3.2)";
        return HEAD_MALFORMED;
    }
    struct span value = head_find(h, SPAN("Host"))->value;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= 0x20 || c >= 0x7f || strchr(",/\\@?#<>\"", c) != NULL) {
            *why = "Host is no host and port (RFC 9110 section 7.2)";
            return HEAD_MALFORMED;
        }
    }
    return HEAD_OK;
}

/* ---- the whole ---- */

/* Faults of an incomplete head that only its length shows. */
static enum head_result judge_incomplete(struct scan *sc, const char *data, size_t len, size_t begin)
{
    size_t line_max = sc->limits->request_line_octets;
    if (len - begin > line_max + 1 && memchr(data + begin, '\n', line_max + 2) == NULL) {
        sc->why = "start line over its limit";
        return HEAD_LINE_TOO_LONG;
    }
    if (len > sc->limits->head_octets) {
        sc->why = "head over its limit";
        return HEAD_TOO_LARGE;
    }
    return HEAD_MORE;
}

/* Where the start line begins: one empty line before a request is forgiven (RFC 9112 section 2.2). */
static enum head_result find_begin(struct scan *sc, const char *data, size_t len, size_t *begin)
{
    *begin = 0;
    if (len == 0)
        return HEAD_MORE;
    if (sc->kind == HEAD_REQUEST && data[0] == 0x16) {
        sc->why = "a TLS handshake, not HTTP";
        return HEAD_IS_TLS;
    }
    if (sc->kind == HEAD_RESPONSE || data[0] != '\r')
        return HEAD_OK;
    if (len == 1)
        return HEAD_MORE;
    *begin = 2;
    return data[1] == '\n' ? HEAD_OK : malformed(sc, "CR without LF (RFC 9112 section 2.2)");
}

static enum head_result parse(struct scan *sc, struct head *h, const char *data, size_t len,
                              size_t *scanned)
{
    size_t begin;
    enum head_result result = find_begin(sc, data, len, &begin);
    if (result != HEAD_OK)
        return result;
    size_t at = *scanned > begin ? *scanned : begin;
    result = scan_octets(sc, data, len, begin, &at);
    if (result == HEAD_MORE) {
        *scanned = len;
        return judge_incomplete(sc, data, len, begin);
    }
    if (result != HEAD_OK)
        return result;
    if (at > sc->limits->head_octets) {
        sc->why = "head over its limit";
        return HEAD_TOO_LARGE;
    }
    const char *space = memchr(data + begin, ' ', at - begin);
    assert(space != NULL); /* the start line has been checked */
    h->kind = sc->kind;
    h->size = at;
    h->field_count = 0;
    h->method = (struct span){data + begin, (size_t)(space - data) - begin};
    h->target = h->reason = (struct span){"", 0};
    result = split(h, data + begin, at - begin, sc->limits, &sc->why);
    return result == HEAD_OK && sc->kind == HEAD_REQUEST ? check_host(h, &sc->why) : result;
}

enum head_result head_parse(struct head *h, enum head_kind kind, const char *data, size_t len,
                            const struct head_limits *limits, size_t *scanned, const char **why)
{
    struct scan sc = {.kind = kind, .limits = limits, .why = ""};
    enum head_result result = parse(&sc, h, data, len, scanned);
    if (why != NULL)
        *why = sc.why;
    return result;
}

/* ---- questions ---- */

const struct head_field *head_find(const struct head *h, struct span name)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (span_is_nocase(h->field[i].name, name))
            return &h->field[i];
    }
    return NULL;
}

size_t head_count(const struct head *h, struct span name)
{
    size_t count = 0;
    for (size_t i = 0; i < h->field_count; i++)
        count += span_is_nocase(h->field[i].name, name);
    return count;
}

static bool list_has(struct span list, struct span token)
{
    while (list.len > 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t n = comma != NULL ? (size_t)(comma - list.ptr) : list.len;
        if (span_is_nocase(trim((struct span){list.ptr, n}), token))
            return true;
        n += comma != NULL;
        list = (struct span){list.ptr + n, list.len - n};
    }
    return false;
}

bool head_list_has(const struct head *h, struct span name, struct span token)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (span_is_nocase(h->field[i].name, name) && list_has(h->field[i].value, token))
            return true;
    }
    return false;
}

#include "proxy/wire/head.h"

#include <assert.h>
#include <http_parser.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>

/*
 * The strict scan: one pass over the octets that can stop anywhere and go on there. It keeps
 * nothing but a position and a state, so that a head sent octet by octet costs no more than one
 * sent whole.
 */
enum scan_state {
    SCAN_START = 0,
    SCAN_EMPTY_LF, /* of the one empty line before a request line */
    SCAN_METHOD_FIRST,
    SCAN_METHOD,
    SCAN_TARGET_FIRST,
    SCAN_TARGET,
    SCAN_VERSION_NAME, /* five states for "HTTP/" */
    SCAN_VERSION_MAJOR = SCAN_VERSION_NAME + 5,
    SCAN_VERSION_DOT,
    SCAN_VERSION_MINOR,
    SCAN_VERSION_END,
    SCAN_STATUS_FIRST,
    SCAN_STATUS_SECOND,
    SCAN_STATUS_THIRD,
    SCAN_STATUS_END,
    SCAN_REASON,
    SCAN_LINE_LF,
    SCAN_FIELD_FIRST,
    SCAN_NAME,
    SCAN_VALUE,
    SCAN_VALUE_LF,
    SCAN_END_LF,
    SCAN_DONE,
};

/* `*scanned` holds both: the position above, the state in the lowest bits. */
enum { SCAN_STATE_BITS = 5 };
static_assert(SCAN_DONE < 1 << SCAN_STATE_BITS, "the state fits its bits");

struct scan {
    const char *data;
    size_t at;       /* next octet to look at */
    size_t end;      /* one past the last that may be looked at */
    size_t line;     /* where the start line begins */
    size_t line_end; /* where it must have ended: the limit */
    enum head_kind kind;
    enum scan_state state;
    const char *why;
};

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* What an octet may be part of. */
enum octet_kind {
    TOKEN = 1,   /* tchar of RFC 9110 section 5.6.2: methods, field names */
    VISIBLE = 2, /* VCHAR: request targets */
    TEXT = 4,    /* field-vchar, SP and HTAB of section 5.5: field values, reason phrases */
    NAMING = TOKEN | VISIBLE | TEXT,
    DELIMITING = VISIBLE | TEXT
};

/* A table, as this is asked for every octet of every head. */
static const unsigned char octet_kinds[256] = {
    ['\t'] = TEXT,           [' '] = TEXT,
    ['!'] = NAMING,          ['"'] = DELIMITING,
    ['#' ... '\''] = NAMING, ['(' ... ')'] = DELIMITING,
    ['*' ... '+'] = NAMING,  [','] = DELIMITING,
    ['-' ... '.'] = NAMING,  ['/'] = DELIMITING,
    ['0' ... '9'] = NAMING,  [':' ... '@'] = DELIMITING,
    ['A' ... 'Z'] = NAMING,  ['[' ... ']'] = DELIMITING,
    ['^' ... 'z'] = NAMING,  ['{'] = DELIMITING,
    ['|'] = NAMING,          ['}'] = DELIMITING,
    ['~'] = NAMING,          [0x80 ... 0xff] = TEXT,
};

static bool octet_is(unsigned char c, enum octet_kind kind)
{
    return (octet_kinds[c] & kind) != 0;
}

static const char *carriage_return_fault(enum scan_state state)
{
    switch (state) {
    case SCAN_METHOD:
    case SCAN_TARGET_FIRST:
    case SCAN_TARGET:
        return "request line without an HTTP version";
    case SCAN_NAME:
        return "field line without a colon";
    default:
        return "CR without LF behind it, or where no line may end";
    }
}

/* `text` is for octets that are wrong only here; those wrong everywhere have their own words. */
static enum head_result scan_fault(struct scan *s, unsigned char c, const char *text)
{
    if (c == '\n')
        s->why = "LF without CR before it";
    else if (c == '\r')
        s->why = carriage_return_fault(s->state);
    else if (c == '\0')
        s->why = "NUL octet";
    else if ((c < ' ' && c != '\t') || c == 0x7f)
        s->why = "control octet";
    else if (s->state == SCAN_NAME)
        s->why = c == ' ' || c == '\t' ? "whitespace between field name and colon"
                                       : "octet not allowed in a field name";
    else
        s->why = text;
    return HEAD_MALFORMED;
}

static enum head_result scan_go(struct scan *s, enum scan_state next)
{
    s->state = next;
    s->at++;
    return HEAD_MORE;
}

static enum head_result scan_too_long(struct scan *s)
{
    s->why = "start line longer than the limit";
    return HEAD_LINE_TOO_LONG;
}

/* For states that one octet ends. */
static enum head_result scan_expect(struct scan *s, bool good, unsigned char c,
                                    enum scan_state next, const char *text)
{
    return good ? scan_go(s, next) : scan_fault(s, c, text);
}

/* Runs over octets of one kind; what comes behind them must be `delimiter`. */
static enum head_result scan_until(struct scan *s, size_t stop, enum octet_kind kind,
                                   unsigned char delimiter, enum scan_state next, const char *text)
{
    size_t at = s->at;
    while (at < stop && octet_is((unsigned char)s->data[at], kind))
        at++;
    s->at = at;
    if (s->at == s->end)
        return HEAD_MORE;
    unsigned char c = (unsigned char)s->data[s->at];
    /* A CR may stand behind a line of the greatest length, another octet makes it longer. */
    if (s->at == stop && c != '\r')
        return scan_too_long(s);
    return scan_expect(s, c == delimiter, c, next, text);
}

#define METHOD_SPAN(number, name, string) {#string, sizeof #string - 1},
static const struct span known_methods[] = {HTTP_METHOD_MAP(METHOD_SPAN)};
#undef METHOD_SPAN

/* Methods are case-sensitive (RFC 9110 section 9.1): "get" is another method than GET. */
static bool method_is_known(struct span method)
{
    for (size_t i = 0; i < sizeof known_methods / sizeof *known_methods; i++) {
        if (span_is(method, known_methods[i]))
            return true;
    }
    return false;
}

/* The LF of a start line that is well-formed: is it one of ours? */
static enum head_result scan_line_end(struct scan *s)
{
    const char *line = s->data + s->line;
    /* Of a request, "HTTP/d.d" and CR are before us; a status line begins with it. */
    char major = s->kind == HEAD_REQUEST ? s->data[s->at - 4] : line[5];
    if (major != '1') {
        s->why = "only HTTP/1.0 and HTTP/1.1 are spoken here";
        return HEAD_BAD_VERSION;
    }
    if (s->kind == HEAD_REQUEST) {
        const char *space = memchr(line, ' ', s->at - s->line);
        assert(space != NULL);
        if (!method_is_known((struct span){line, (size_t)(space - line)})) {
            s->why = "unknown method (methods are case-sensitive)";
            return HEAD_METHOD_UNKNOWN;
        }
    }
    return scan_go(s, SCAN_FIELD_FIRST);
}

static enum head_result scan_first(struct scan *s, unsigned char c)
{
    if (s->kind == HEAD_RESPONSE) {
        s->state = SCAN_VERSION_NAME;
        return HEAD_MORE;
    }
    if (c == 0x16) {
        s->why = "this is TLS";
        return HEAD_IS_TLS;
    }
    if (c == '\r')
        return scan_go(s, SCAN_EMPTY_LF);
    s->state = SCAN_METHOD_FIRST;
    return HEAD_MORE;
}

/* The version and what a status line has behind it (RFC 9112 sections 2.3 and 4). */
static enum head_result scan_version(struct scan *s, unsigned char c)
{
    static const char text[] = "neither HTTP/1.1 nor HTTP/1.0 where the version is due";
    static const char status[] = "status is not three digits from 100 to 599";
    static const unsigned char name[] = "HTTP/";
    bool request = s->kind == HEAD_REQUEST;
    switch (s->state) {
    case SCAN_VERSION_MAJOR:
    case SCAN_VERSION_MINOR:
        return scan_expect(s, is_digit(c), c, s->state + 1, text);
    case SCAN_VERSION_DOT:
        return scan_expect(s, c == '.', c, SCAN_VERSION_MINOR, text);
    case SCAN_VERSION_END:
        if (request)
            return scan_expect(s, c == '\r', c, SCAN_LINE_LF, "more than the version");
        return scan_expect(s, c == ' ', c, SCAN_STATUS_FIRST, "no space behind the version");
    case SCAN_STATUS_FIRST:
        return scan_expect(s, c >= '1' && c <= '5', c, SCAN_STATUS_SECOND, status);
    case SCAN_STATUS_SECOND:
    case SCAN_STATUS_THIRD:
        return scan_expect(s, is_digit(c), c, s->state + 1, status);
    case SCAN_STATUS_END:
        /* The grammar wants a space before an empty reason too, but many servers leave it out. */
        if (c == '\r')
            return scan_go(s, SCAN_LINE_LF);
        return scan_expect(s, c == ' ', c, SCAN_REASON, status);
    default:
        assert(s->state >= SCAN_VERSION_NAME && s->state < SCAN_VERSION_MAJOR);
        return scan_expect(s, c == name[s->state - SCAN_VERSION_NAME], c, s->state + 1, text);
    }
}

/* request-line = method SP request-target SP HTTP-version (RFC 9112 section 3). */
static enum head_result scan_start_line(struct scan *s, unsigned char c)
{
    size_t stop = s->line_end < s->end ? s->line_end : s->end;
    if (s->at >= s->line_end && c != '\r' && s->state != SCAN_LINE_LF)
        return scan_too_long(s);
    switch (s->state) {
    case SCAN_METHOD_FIRST:
        return scan_expect(s, octet_is(c, TOKEN), c, SCAN_METHOD, "does not begin with a method");
    case SCAN_METHOD:
        return scan_until(s, stop, TOKEN, ' ', SCAN_TARGET_FIRST, "octet not allowed in a method");
    case SCAN_TARGET_FIRST:
        return scan_expect(s, octet_is(c, VISIBLE), c, SCAN_TARGET,
                           "not exactly one space behind the method");
    case SCAN_TARGET:
        return scan_until(s, stop, VISIBLE, ' ', SCAN_VERSION_NAME,
                          "octet not allowed in a request target");
    case SCAN_REASON:
        return scan_until(s, stop, TEXT, '\r', SCAN_LINE_LF,
                          "octet not allowed in a reason phrase");
    case SCAN_LINE_LF:
        return c == '\n' ? scan_line_end(s) : scan_fault(s, '\r', NULL);
    default:
        return scan_version(s, c);
    }
}

/* field-line = field-name ":" OWS field-value OWS (RFC 9112 section 5); no obs-fold (5.2). */
static enum head_result scan_field(struct scan *s, unsigned char c)
{
    bool space = c == ' ' || c == '\t';
    switch (s->state) {
    case SCAN_FIELD_FIRST:
        if (c == '\r')
            return scan_go(s, SCAN_END_LF);
        return scan_expect(s, octet_is(c, TOKEN), c, SCAN_NAME,
                           space      ? "field line begins with whitespace (obs-fold)"
                           : c == ':' ? "field without a name"
                                      : "octet not allowed in a field name");
    case SCAN_NAME:
        return scan_until(s, s->end, TOKEN, ':', SCAN_VALUE, NULL);
    case SCAN_VALUE:
        return scan_until(s, s->end, TEXT, '\r', SCAN_VALUE_LF,
                          "octet not allowed in a field value");
    case SCAN_VALUE_LF:
        return c == '\n' ? scan_go(s, SCAN_FIELD_FIRST) : scan_fault(s, '\r', NULL);
    default:
        assert(s->state == SCAN_END_LF);
        return c == '\n' ? scan_go(s, SCAN_DONE) : scan_fault(s, '\r', NULL);
    }
}

static enum head_result scan_step(struct scan *s)
{
    unsigned char c = (unsigned char)s->data[s->at];
    if (s->state == SCAN_START)
        return scan_first(s, c);
    if (s->state == SCAN_EMPTY_LF) {
        s->line = 2;
        s->line_end += 2;
        return c == '\n' ? scan_go(s, SCAN_METHOD_FIRST) : scan_fault(s, '\r', NULL);
    }
    return s->state < SCAN_FIELD_FIRST ? scan_start_line(s, c) : scan_field(s, c);
}

/* Looks at every octet that was not looked at before. HEAD_OK: the head ends at `s->at`. */
static enum head_result scan_run(struct scan *s, size_t len, const struct head_limits *limits,
                                 size_t scanned)
{
    s->at = scanned >> SCAN_STATE_BITS;
    s->state = (enum scan_state)(scanned & ((1U << SCAN_STATE_BITS) - 1));
    s->end = len < limits->head_octets ? len : limits->head_octets;
    s->line = s->state > SCAN_EMPTY_LF && s->data[0] == '\r' ? 2 : 0;
    s->line_end = s->line + limits->request_line_octets;
    assert(s->at <= len);

    enum head_result r = HEAD_MORE;
    while (r == HEAD_MORE && s->at < s->end && s->state != SCAN_DONE)
        r = scan_step(s);
    if (r != HEAD_MORE)
        return r;
    if (s->state == SCAN_DONE)
        return HEAD_OK;
    if (s->at >= limits->head_octets) { /* more: a reload has lowered it */
        s->why = "head larger than the limit";
        return HEAD_TOO_LARGE;
    }
    return HEAD_MORE;
}

static struct span trimmed(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct span){from, (size_t)(to - from)};
}

/* The octets from `*at` to `delimiter`, which the scan has seen there; `*at` moves behind it. */
static struct span cut(const char **at, const char *end, char delimiter)
{
    const char *stop = memchr(*at, delimiter, (size_t)(end - *at));
    assert(stop != NULL);
    struct span s = {*at, (size_t)(stop - *at)};
    *at = stop + 1;
    return s;
}

/* The start line, known to be good, into `h`. Returns where the fields begin. */
static const char *split_start_line(struct head *h, const char *at, const char *end)
{
    const char *version;
    h->method = h->target = h->reason = (struct span){"", 0};
    h->status = 0;
    if (h->kind == HEAD_REQUEST) {
        if (*at == '\r')
            at += 2;
        h->method = cut(&at, end, ' ');
        h->target = cut(&at, end, ' ');
        version = at;
        (void)cut(&at, end, '\n');
    } else {
        version = at;
        struct span line = cut(&at, end, '\r');
        for (size_t i = 9; i < 12; i++)
            h->status = h->status * 10 + (unsigned)(line.ptr[i] - '0');
        if (line.len > 13)
            h->reason = (struct span){line.ptr + 13, line.len - 13};
        at++;
    }
    h->minor = version[7] == '0' ? 0 : 1;
    return at;
}

/* Cuts a head that the scan has passed. */
static enum head_result split(struct head *h, const char *data, size_t size, size_t fields_max)
{
    const char *end = data + size;
    const char *at = split_start_line(h, data, end);
    h->size = size;
    h->field_count = 0;
    while (*at != '\r') {
        if (h->field_count == fields_max)
            return HEAD_TOO_MANY_FIELDS;
        struct head_field *f = &h->field[h->field_count++];
        f->name = cut(&at, end, ':');
        struct span value = cut(&at, end, '\r');
        f->value = trimmed(value.ptr, value.ptr + value.len);
        at++;
    }
    return HEAD_OK;
}

/* What http-parser has to say must be what we have found. */
struct second_reader {
    const struct head *head;
    size_t names, values; /* seen so far */
    bool start_line, complete;
};

/* An empty span may point anywhere. */
static int compare(struct span ours, const char *at, size_t length)
{
    return ours.len == length && (length == 0 || ours.ptr == at) ? 0 : 1;
}

static int on_url(http_parser *p, const char *at, size_t length)
{
    struct second_reader *reader = p->data;
    reader->start_line = true;
    return compare(reader->head->target, at, length);
}

static int on_status(http_parser *p, const char *at, size_t length)
{
    struct second_reader *reader = p->data;
    reader->start_line = true;
    return compare(reader->head->reason, at, length);
}

static int on_name(http_parser *p, const char *at, size_t length)
{
    struct second_reader *reader = p->data;
    if (reader->names != reader->values || reader->names == reader->head->field_count)
        return 1;
    return compare(reader->head->field[reader->names++].name, at, length);
}

static int on_value(http_parser *p, const char *at, size_t length)
{
    struct second_reader *reader = p->data;
    if (reader->values + 1 != reader->names)
        return 1;
    struct span theirs = trimmed(at, at + length);
    return compare(reader->head->field[reader->values++].value, theirs.ptr, theirs.len);
}

static int on_complete(http_parser *p)
{
    const struct second_reader *reader = p->data;
    const struct head *h = reader->head;
    if (reader->values != h->field_count || p->http_major != 1 ||
        (p->http_minor == 0 ? 0 : 1) != h->minor)
        return -1;
    if (h->kind == HEAD_RESPONSE && p->status_code != h->status)
        return -1;
    if (h->kind == HEAD_REQUEST &&
        (!reader->start_line || !span_is(h->method, span_of(http_method_str(p->method)))))
        return -1;
    ((struct second_reader *)p->data)->complete = true;
    return 2; /* neither body nor further message: only the head is fed */
}

/* Lengths are body.h's to judge: it refuses, in better words, all that http-parser stops at. */
static bool is_framing_fault(enum http_errno e)
{
    return e == HPE_INVALID_CONTENT_LENGTH || e == HPE_UNEXPECTED_CONTENT_LENGTH ||
           e == HPE_INVALID_TRANSFER_ENCODING;
}

/* The library's own limit (80 KiB) is lower than limit.head may be; ours has been applied. */
static void lift_parser_limit(void)
{
    http_parser_set_max_header_size(INT_MAX);
}

static bool second_reader_agrees(const struct head *h, const char *data)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_status = on_status,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_complete,
    };
    (void)pthread_once(&once, lift_parser_limit);

    struct second_reader reader = {.head = h};
    http_parser parser;
    http_parser_init(&parser, h->kind == HEAD_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
    parser.data = &reader;
    size_t used = http_parser_execute(&parser, &settings, data, h->size);
    if (is_framing_fault(HTTP_PARSER_ERRNO(&parser)))
        return true;
    return HTTP_PARSER_ERRNO(&parser) == HPE_OK && used == h->size && reader.complete;
}

static bool is_host_octet(unsigned char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-._~!$&'()*+;=", c) != NULL);
}

static bool is_address_octet(unsigned char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
}

/* uri-host [":" port] (RFC 9110 section 7.2), without percent-encoding and comma: never seen. */
static bool host_is_plausible(struct span host)
{
    size_t i = 0;
    if (host.len == 0)
        return true; /* RFC 9112 section 3.2: a target without authority */
    if (host.ptr[0] == '[') {
        while (++i < host.len && is_address_octet((unsigned char)host.ptr[i]))
            ;
        if (i < 3 || i == host.len || host.ptr[i] != ']')
            return false;
        i++;
    } else {
        while (i < host.len && is_host_octet((unsigned char)host.ptr[i]))
            i++;
    }
    if (i == 0 || (i < host.len && host.ptr[i] != ':'))
        return false;
    for (i++; i < host.len; i++) {
        if (!is_digit((unsigned char)host.ptr[i]))
            return false;
    }
    return true;
}

/* RFC 9112 section 3.2. That the value fits the target is not asked: OpenSSL's often does not. */
static const char *host_fault(const struct head *h)
{
    const struct head_field *host = NULL;
    for (size_t i = 0; i < h->field_count; i++) {
        if (!span_is_nocase(h->field[i].name, SPAN("Host")))
            continue;
        if (host != NULL)
            return "more than one Host field";
        host = &h->field[i];
    }
    if (host == NULL)
        return h->minor == 0 ? NULL : "HTTP/1.1 request without a Host field";
    return host_is_plausible(host->value) ? NULL : "Host field is not host or host:port";
}

/* When the head is sent onward every field is compared with every option: few are allowed. */
static const char *connection_fault(const struct head *h)
{
    size_t options = 0;
    for (size_t i = 0; i < h->field_count; i++) {
        struct span value = h->field[i].value;
        if (!span_is_nocase(h->field[i].name, SPAN("Connection")))
            continue;
        options++;
        for (size_t k = 0; k < value.len; k++)
            options += value.ptr[k] == ',';
    }
    return options > HEAD_CONNECTION_OPTIONS_MAX ? "too many options in Connection" : NULL;
}

/* The complete head of `size` octets into `h`. */
static enum head_result head_finish(struct head *h, const char *data, size_t size,
                                    const struct head_limits *limits, const char **why)
{
    enum head_result r = split(h, data, size, limits->fields);
    if (r != HEAD_OK) {
        *why = "more fields than the limit";
        return r;
    }
    if (!second_reader_agrees(h, data)) {
        *why = "start line or fields can be read in two ways";
        return HEAD_MALFORMED;
    }
    const char *fault = h->kind == HEAD_REQUEST ? host_fault(h) : NULL;
    if (fault == NULL)
        fault = connection_fault(h);
    if (fault != NULL) {
        *why = fault;
        return HEAD_MALFORMED;
    }
    return HEAD_OK;
}

enum head_result head_parse(struct head *h, enum head_kind kind, const char *data, size_t len,
                            const struct head_limits *limits, size_t *scanned, const char **why)
{
    assert(limits->fields <= HEAD_FIELDS_MAX);
    assert(limits->head_octets <= SIZE_MAX >> SCAN_STATE_BITS);
    struct scan s = {.data = data, .kind = kind};
    enum head_result r = scan_run(&s, len, limits, *scanned);
    /* After a verdict the next call begins anew, with the next head or with these octets moved. */
    *scanned = r == HEAD_MORE ? s.at << SCAN_STATE_BITS | s.state : 0;
    if (r == HEAD_OK) {
        h->kind = kind;
        r = head_finish(h, data, s.at, limits, &s.why);
    }
    if (why != NULL && r != HEAD_OK && r != HEAD_MORE)
        *why = s.why;
    return r;
}

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

static bool value_has(struct span value, struct span token)
{
    const char *at = value.ptr;
    const char *end = value.ptr + value.len;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        struct span element = trimmed(at, stop);
        /* Empty elements do not count (RFC 9110 section 5.6.1.2). */
        if (element.len > 0 && span_is_nocase(element, token))
            return true;
        at = stop + 1;
    }
    return false;
}

bool head_list_has(const struct head *h, struct span name, struct span token)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (span_is_nocase(h->field[i].name, name) && value_has(h->field[i].value, token))
            return true;
    }
    return false;
}

#include "proxy/wire/body.h"

#include <assert.h>
#include <errno.h>

/* Where the chunked coding stands: what the next octet must be. The order matters to chunk_step().
 */
enum {
    CHUNK_SIZE_FIRST = 0,
    CHUNK_SIZE,
    CHUNK_EXT_NAME_FIRST,
    CHUNK_EXT_NAME,
    CHUNK_EXT_VALUE_FIRST,
    CHUNK_EXT_VALUE,
    CHUNK_EXT_QUOTED,
    CHUNK_EXT_ESCAPED,
    CHUNK_EXT_QUOTED_END,
    CHUNK_LINE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_FIRST,
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_FINAL_LF,
    CHUNK_BAD,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 section 5.6.2, without the locale. */
static bool is_token_octet(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* field-vchar, SP and HTAB (RFC 9110 section 5.5); obs-text is let through as it came. */
static bool is_text_octet(char c)
{
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= ' ' && u != 0x7f);
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int refuse(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return -EPROTO;
}

/* What the head says of the body's length; nothing has been concluded from it yet. */
struct framing {
    bool has_length;
    bool chunked;
    uint64_t length;
};

/*
 * Content-Length = 1*DIGIT (RFC 9110 section 8.6), at most 2^63-1: more fits no file and no peer's
 * signed counter.
 */
static bool length_parse(uint64_t *length, struct span text)
{
    uint64_t n = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]))
            return false;
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (n > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *length = n;
    return true;
}

/*
 * Reads Content-Length and Transfer-Encoding. RFC 9112 section 6.3 lets a recipient repair some of
 * what is refused here (equal lengths in a list, a length beside a coding): every such repair is a
 * chance for the next hop to do otherwise.
 */
static int framing_read(struct framing *f, const struct head *h, const char **why)
{
    *f = (struct framing){0};
    size_t lengths = head_count(h, SPAN("Content-Length"));
    size_t codings = head_count(h, SPAN("Transfer-Encoding"));
    if (lengths > 1)
        return refuse(why, "more than one Content-Length");
    if (codings > 1)
        return refuse(why, "more than one Transfer-Encoding");
    if (lengths > 0 && codings > 0)
        return refuse(why, "Content-Length together with Transfer-Encoding");

    if (lengths > 0) {
        f->has_length = true;
        if (!length_parse(&f->length, head_find(h, SPAN("Content-Length"))->value))
            return refuse(why, "Content-Length is not one plain decimal number");
    }
    if (codings > 0) {
        f->chunked = true;
        if (h->minor == 0)
            return refuse(why, "Transfer-Encoding in an HTTP/1.0 message");
        if (!span_is_nocase(head_find(h, SPAN("Transfer-Encoding"))->value, SPAN("chunked")))
            return refuse(why, "Transfer-Encoding is not exactly \"chunked\"");
    }
    return 0;
}

static void body_begin(struct body *b, enum body_kind kind, uint64_t length)
{
    b->kind = kind;
    b->length = b->remaining = length;
    b->ended = kind == BODY_NONE || (kind == BODY_LENGTH && length == 0);
}

static void body_init(struct body *b)
{
    *b = (struct body){0};
    buf_init(&b->trailers, BODY_TRAILERS_MAX);
}

int body_of_request(struct body *b, const struct head *request, const char **why)
{
    struct framing f;
    body_init(b);
    int r = framing_read(&f, request, why);
    if (r != 0)
        return r;

    bool content = f.chunked || f.length > 0;
    /*
     * What follows a CONNECT head is the tunnel's: a reader that believed the field would see a
     * request in it.
     */
    if (content && span_is(request->method, SPAN("CONNECT")))
        return refuse(why, "CONNECT with content (RFC 9110 section 9.3.6)");
    if (content && span_is(request->method, SPAN("TRACE")))
        return refuse(why, "TRACE with content (RFC 9110 section 9.3.8)");

    if (f.chunked)
        body_begin(b, BODY_CHUNKED, 0);
    else if (f.has_length)
        body_begin(b, BODY_LENGTH, f.length);
    else
        body_begin(b, BODY_NONE, 0);
    return 0;
}

int body_of_response(struct body *b, const struct head *response, struct span request_method,
                     const char **why)
{
    struct framing f;
    body_init(b);
    /* An origin chooses the status, so this is no assertion although no caller may bring one here.
     */
    if (response->status < 200)
        return refuse(why, "an interim response where the final one was due");
    int r = framing_read(&f, response, why);
    if (r != 0)
        return r;

    /*
     * Neither field may be in a 204 (RFC 9112 section 6.1, RFC 9110 section 8.6); "Content-Length:
     * 0" does no harm.
     */
    if (response->status == 204 && (f.chunked || f.length > 0))
        return refuse(why, "204 with content");
    bool none =
        response->status == 204 || response->status == 304 || span_is(request_method, SPAN("HEAD"));
    if (none)
        body_begin(b, BODY_NONE, 0);
    else if (f.chunked)
        body_begin(b, BODY_CHUNKED, 0);
    else if (f.has_length)
        body_begin(b, BODY_LENGTH, f.length);
    else
        body_begin(b, BODY_UNTIL_CLOSE, 0);
    return 0;
}

static unsigned bad(const char **why, const char *text)
{
    (void)refuse(why, text);
    return CHUNK_BAD;
}

/* chunk-size = 1*HEXDIG, then ';', or CRLF. Nothing stands before it, no sign, no 0x. */
static unsigned size_step(struct body *b, char c, const char **why)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (b->remaining > (uint64_t)INT64_MAX >> 4)
            return bad(why, "chunk size too large");
        b->remaining = b->remaining << 4 | (uint64_t)digit;
        return CHUNK_SIZE;
    }
    if (b->state == CHUNK_SIZE && c == ';')
        return CHUNK_EXT_NAME_FIRST;
    if (b->state == CHUNK_SIZE && c == '\r')
        return CHUNK_LINE_LF;
    return bad(why, "chunk size is not hexadecimal digits");
}

/*
 * chunk-ext (RFC 9112 section 7.1.1): its syntax is held to, what it says is ignored, and it goes
 * no further. Bad whitespace around ';' and '=' is refused although RFC 9110 section 5.6.3 would
 * have us read over it: no client known to us sends it, and parsers that disagree on it are how
 * chunks were smuggled. So is an extension without a name.
 */
static unsigned ext_step(const struct body *b, char c, const char **why)
{
    switch (b->state) {
    case CHUNK_EXT_QUOTED:
        if (c == '"')
            return CHUNK_EXT_QUOTED_END;
        if (c == '\\')
            return CHUNK_EXT_ESCAPED;
        return is_text_octet(c) ? CHUNK_EXT_QUOTED : bad(why, "control octet in a chunk extension");
    case CHUNK_EXT_ESCAPED:
        return is_text_octet(c) ? CHUNK_EXT_QUOTED : bad(why, "control octet in a chunk extension");
    case CHUNK_EXT_NAME_FIRST:
    case CHUNK_EXT_NAME:
        if (is_token_octet(c))
            return CHUNK_EXT_NAME;
        if (c == '=' && b->state == CHUNK_EXT_NAME)
            return CHUNK_EXT_VALUE_FIRST;
        break;
    case CHUNK_EXT_VALUE_FIRST:
        if (c == '"')
            return CHUNK_EXT_QUOTED;
        return is_token_octet(c) ? CHUNK_EXT_VALUE : bad(why, "malformed chunk extension");
    case CHUNK_EXT_VALUE:
        if (is_token_octet(c))
            return CHUNK_EXT_VALUE;
        break;
    default:
        assert(b->state == CHUNK_EXT_QUOTED_END);
        break;
    }
    if (b->state != CHUNK_EXT_NAME_FIRST && c == ';')
        return CHUNK_EXT_NAME_FIRST;
    if (b->state != CHUNK_EXT_NAME_FIRST && c == '\r')
        return CHUNK_LINE_LF;
    return bad(why, "malformed chunk extension");
}

/* One octet of a chunk-size line, its CRLF included. */
static unsigned line_step(struct body *b, char c, const char **why)
{
    if (b->state == CHUNK_LINE_LF) {
        if (c != '\n')
            return bad(why, "CR without LF in a chunk-size line");
        b->line_octets = 0;
        return b->remaining > 0 ? CHUNK_DATA : CHUNK_TRAILER_FIRST;
    }
    if (c != '\r' && ++b->line_octets > BODY_CHUNK_LINE_MAX)
        return bad(why, "chunk-size line too long");
    return b->state <= CHUNK_SIZE ? size_step(b, c, why) : ext_step(b, c, why);
}

/*
 * One octet of the trailer section's field lines (RFC 9112 section 5): no folding, no space before
 * the colon.
 */
static unsigned trailer_state(const struct body *b, char c, const char **why)
{
    switch (b->state) {
    case CHUNK_TRAILER_FIRST:
        return is_token_octet(c) ? CHUNK_TRAILER_NAME : bad(why, "malformed trailer field name");
    case CHUNK_TRAILER_NAME:
        if (c == ':')
            return CHUNK_TRAILER_VALUE;
        return is_token_octet(c) ? CHUNK_TRAILER_NAME : bad(why, "malformed trailer field name");
    case CHUNK_TRAILER_VALUE:
        if (c == '\r')
            return CHUNK_TRAILER_LF;
        return is_text_octet(c) ? CHUNK_TRAILER_VALUE
                                : bad(why, "control octet in a trailer field");
    default:
        assert(b->state == CHUNK_TRAILER_LF);
        return c == '\n' ? CHUNK_TRAILER_FIRST : bad(why, "CR without LF in a trailer field");
    }
}

static unsigned trailer_step(struct body *b, char c, const char **why)
{
    if (b->state == CHUNK_TRAILER_FIRST && c == '\r')
        return CHUNK_FINAL_LF;
    unsigned next = trailer_state(b, c, why);
    if (next == CHUNK_BAD)
        return next;
    int r = buf_add(&b->trailers, &c, 1);
    if (r != 0)
        return bad(why, r == -ENOMEM ? "no memory for the trailers" : "trailer section too large");
    return next;
}

/*
 * Fields that would change how the message is framed, routed, authenticated, cached or read if they
 * were believed late (RFC 9110 section 6.5.1), and those that belong to one connection
 * (section 7.6.1). Dropping any trailer is allowed.
 */
static bool trailer_forbidden(struct span name)
{
    static const char *const names[] = {"Transfer-Encoding",
                                        "TE",
                                        "Trailer",
                                        "Connection",
                                        "Keep-Alive",
                                        "Upgrade",
                                        "HTTP2-Settings",
                                        "Host",
                                        "Via",
                                        "Forwarded",
                                        "X-Real-IP",
                                        "Max-Forwards",
                                        "Expect",
                                        "Range",
                                        "Cache-Control",
                                        "Pragma",
                                        "Authorization",
                                        "WWW-Authenticate",
                                        "Authentication-Info",
                                        "Cookie",
                                        "Cookie2",
                                        "Set-Cookie",
                                        "Set-Cookie2",
                                        "Age",
                                        "Date",
                                        "Expires",
                                        "Location",
                                        "Refresh",
                                        "Retry-After",
                                        "Vary",
                                        "Warning",
                                        "Alt-Svc"};
    static const char *const prefixes[] = {"Content-", "Proxy-", "If-", "X-Forwarded-"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_is_nocase(name, span_of(names[i])))
            return true;
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct span prefix = span_of(prefixes[i]);
        if (name.len >= prefix.len && span_is_nocase((struct span){name.ptr, prefix.len}, prefix))
            return true;
    }
    return false;
}

static struct span trimmed(struct span s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct span){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static int trailer_keep(struct buf *kept, struct span name, struct span value)
{
    int r = buf_add_span(kept, name);
    if (r == 0)
        r = buf_add_str(kept, ": ");
    if (r == 0)
        r = buf_add_span(kept, value);
    return r == 0 ? buf_add_str(kept, "\r\n") : r;
}

/*
 * The trailer section is complete and its grammar was checked: writes it anew without the forbidden
 * fields.
 */
static int trailers_settle(struct buf *trailers)
{
    struct buf kept;
    int r = 0;
    /* A line has at least 4 octets ("a:" CRLF) and grows by one space. */
    buf_init(&kept, BODY_TRAILERS_MAX + BODY_TRAILERS_MAX / 4);
    struct span rest = buf_span(trailers);
    while (r == 0 && rest.len > 0) {
        const char *colon = memchr(rest.ptr, ':', rest.len);
        const char *cr = memchr(rest.ptr, '\r', rest.len);
        assert(colon != NULL && cr != NULL && colon < cr);
        struct span name = {rest.ptr, (size_t)(colon - rest.ptr)};
        struct span value = {colon + 1, (size_t)(cr - colon - 1)};
        if (!trailer_forbidden(name))
            r = trailer_keep(&kept, name, trimmed(value));
        size_t line = (size_t)(cr - rest.ptr) + 2;
        rest = (struct span){rest.ptr + line, rest.len - line};
    }
    buf_release(trailers);
    *trailers = kept;
    return r;
}

/* One octet that is not payload. */
static unsigned chunk_step(struct body *b, char c, const char **why)
{
    if (b->state <= CHUNK_LINE_LF)
        return line_step(b, c, why);
    switch (b->state) {
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_LF : bad(why, "chunk data not followed by CRLF");
    case CHUNK_DATA_LF:
        return c == '\n' ? CHUNK_SIZE_FIRST : bad(why, "chunk data not followed by CRLF");
    case CHUNK_FINAL_LF:
        if (c != '\n')
            return bad(why, "CR without LF behind the trailer section");
        if (buf_len(&b->trailers) > 0 && trailers_settle(&b->trailers) != 0)
            return bad(why, "no memory for the trailers");
        b->ended = true;
        return b->state;
    default:
        return trailer_step(b, c, why);
    }
}

/* The payload at `data`, as much as this body or chunk still has. */
static struct span payload_take(struct body *b, const char *data, size_t len)
{
    size_t n = b->remaining < len ? (size_t)b->remaining : len;
    b->remaining -= n;
    return (struct span){data, n};
}

static enum body_event chunked_next(struct body *b, const char *data, size_t len, size_t *used,
                                    struct span *payload, const char **why)
{
    size_t at = 0;
    while (at < len && !b->ended) {
        if (b->state == CHUNK_DATA) {
            *payload = payload_take(b, data + at, len - at);
            if (b->remaining == 0)
                b->state = CHUNK_DATA_CR;
            *used = at + payload->len;
            return BODY_DATA;
        }
        b->state = chunk_step(b, data[at], why);
        if (b->state == CHUNK_BAD) {
            *used = at;
            return BODY_BAD;
        }
        at++;
    }
    *used = at;
    return b->ended ? BODY_END : BODY_MORE;
}

enum body_event body_next(struct body *b, const char *data, size_t len, size_t *used,
                          struct span *payload, const char **why)
{
    *used = 0;
    *payload = SPAN("");
    if (b->ended)
        return BODY_END;
    if (b->state == CHUNK_BAD) {
        (void)refuse(why, "the chunked coding was violated before");
        return BODY_BAD;
    }
    if (len == 0)
        return BODY_MORE;

    switch (b->kind) {
    case BODY_CHUNKED:
        return chunked_next(b, data, len, used, payload, why);
    case BODY_LENGTH:
        *payload = payload_take(b, data, len);
        b->ended = b->remaining == 0;
        break;
    case BODY_UNTIL_CLOSE:
        *payload = (struct span){data, len};
        break;
    case BODY_NONE:
        assert(b->ended);
        break;
    }
    *used = payload->len;
    return BODY_DATA;
}

bool body_close_ends(const struct body *b)
{
    return b->ended || b->kind == BODY_UNTIL_CLOSE;
}

void body_release(struct body *b)
{
    buf_release(&b->trailers);
}

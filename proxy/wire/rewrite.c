#include "proxy/wire/rewrite.h"

#include <assert.h>
#include <errno.h>

#include "proxy/base/decimal.h"
#include "proxy/wire/gateway_fields.h"

enum {
    HTTP_PORT = 80,
    MAX_FORWARDS_MAX = 1000000,
    OWN_WORDS = 256 /* what we add to a head, about */
};

/*
 * A head in the making: many short pieces, written into room that is reserved for all of them. When
 * something fails, nothing has been added in the end.
 */
struct writer {
    struct buf *out;
    size_t before; /* octets that were in `out` */
    char *from;    /* of what is not committed yet */
    char *at, *end;
    int rc;
};

/* Makes room for `n` more octets, perhaps elsewhere. False: it has failed, now or before. */
static bool writer_reserve(struct writer *w, size_t n)
{
    buf_commit(w->out, (size_t)(w->at - w->from));
    char *room = w->rc == 0 ? buf_reserve(w->out, n) : NULL;
    if (room == NULL && w->rc == 0)
        w->rc = -errno;
    w->from = w->at = room;
    w->end = room != NULL ? room + n : NULL;
    return room != NULL;
}

/* `size`: the head will hardly be longer. */
static struct writer writer_begin(struct buf *out, size_t size)
{
    struct writer w = {.out = out, .before = buf_len(out)};
    (void)writer_reserve(&w, size < buf_room(out) ? size : buf_room(out));
    return w;
}

static int writer_end(struct writer *w)
{
    buf_commit(w->out, (size_t)(w->at - w->from));
    if (w->rc != 0)
        w->out->end = w->out->start + w->before;
    return w->rc;
}

static inline void put(struct writer *w, struct span s)
{
    if (s.len == 0 || (s.len > (size_t)(w->end - w->at) && !writer_reserve(w, s.len)))
        return;
    memcpy(w->at, s.ptr, s.len);
    w->at += s.len;
}

static void put_number(struct writer *w, uint64_t n)
{
    char digits[DECIMAL_DIGITS_MAX];
    put(w, decimal_text(n, digits));
}

static void put_field(struct writer *w, struct span name, struct span value)
{
    put(w, name);
    put(w, SPAN(":"));
    if (value.len > 0)
        put(w, SPAN(" "));
    put(w, value);
    put(w, SPAN("\r\n"));
}

static void put_number_field(struct writer *w, struct span name, uint64_t n)
{
    put(w, name);
    put(w, SPAN(": "));
    put_number(w, n);
    put(w, SPAN("\r\n"));
}

/* One field line of all values that came under `name`, in order; the caller adds the last. */
static void put_list_begin(struct writer *w, const struct head *h, struct span name)
{
    put(w, name);
    put(w, SPAN(": "));
    for (size_t i = 0; i < h->field_count; i++) {
        if (h->field[i].value.len == 0 || !span_is_nocase(h->field[i].name, name))
            continue;
        put(w, h->field[i].value);
        put(w, SPAN(", "));
    }
}

/* RFC 9110 section 7.6.3: the version in which the message came to us, and our name. */
static void put_via(struct writer *w, const struct head *h, struct span pseudonym)
{
    put_list_begin(w, h, SPAN("Via"));
    put(w, h->minor == 0 ? SPAN("1.0 ") : SPAN("1.1 "));
    put(w, pseudonym);
    put(w, SPAN("\r\n"));
}

static bool has_prefix(struct span s, struct span prefix)
{
    return s.len > prefix.len && span_is_nocase((struct span){s.ptr, prefix.len}, prefix);
}

static bool is_in(struct span name, const struct span *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_is_nocase(name, list[i]))
            return true;
    }
    return false;
}
#define IS_IN(name, list) is_in(name, list, sizeof(list) / sizeof *(list))
#define NAME(literal) (literal), sizeof(literal) - 1

/*
 * Never end-to-end (RFC 9110 section 7.6.1). Proxy-* is all of it; HTTP2-Settings belongs to an
 * Upgrade to h2c (RFC 7540 section 3.2), which must not slip through a proxy either.
 */
static bool is_hop_by_hop(struct span name)
{
    static const struct span names[] = {{NAME("Connection")}, {NAME("Keep-Alive")},
                                        {NAME("TE")},         {NAME("Transfer-Encoding")},
                                        {NAME("Upgrade")},    {NAME("HTTP2-Settings")}};
    return IS_IN(name, names) || has_prefix(name, SPAN("Proxy-"));
}

/*
 * Fields that a connection option cannot take away. A sender must not name them (RFC 9110
 * section 7.6.1); attackers do, so that the origin misses a credential or sees another sender
 * ("hop-by-hop header abuse").
 */
static bool is_protected(struct span name)
{
    static const struct span names[] = {
        {NAME("Host")},          {NAME("Authorization")},    {NAME("Cookie")},
        {NAME("Cache-Control")}, {NAME("Expect")},           {NAME("Max-Forwards")},
        {NAME("Via")},           {NAME("Forwarded")},        {NAME("Location")},
        {NAME("Set-Cookie")},    {NAME("WWW-Authenticate")}, {NAME("Retry-After")},
        {NAME("Replay-Nonce")},
    };
    return IS_IN(name, names) || has_prefix(name, SPAN("Content-")) ||
           has_prefix(name, SPAN("X-Forwarded-"));
}

/* The options of all Connection fields. */
struct options {
    struct span name[HEAD_CONNECTION_OPTIONS_MAX];
    size_t count;
};

static struct span next_element(struct span *list)
{
    const char *comma = memchr(list->ptr, ',', list->len);
    size_t len = comma != NULL ? (size_t)(comma - list->ptr) : list->len;
    struct span s = {list->ptr, len};
    size_t used = comma != NULL ? len + 1 : len;
    *list = (struct span){list->ptr + used, list->len - used};
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct span){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static void options_read(struct options *o, const struct head *h)
{
    o->count = 0;
    for (size_t i = 0; i < h->field_count; i++) {
        struct span list = h->field[i].value;
        if (!span_is_nocase(h->field[i].name, SPAN("Connection")))
            continue;
        while (list.len > 0) {
            struct span option = next_element(&list);
            if (option.len == 0)
                continue;
            assert(o->count < HEAD_CONNECTION_OPTIONS_MAX); /* head_parse() allows no more */
            o->name[o->count++] = option;
        }
    }
}

/* Whether the field goes on as it came, as far as requests and responses have the same rules. */
static bool is_passed(struct span name, const struct options *o, bool chunked)
{
    static const struct span rewritten[] = {{NAME("Content-Length")}, {NAME("Via")}};
    if (is_hop_by_hop(name) || IS_IN(name, rewritten))
        return false;
    /* Announces fields that only a chunked body can carry (RFC 9110 section 6.6.2). */
    if (!chunked && span_is_nocase(name, SPAN("Trailer")))
        return false;
    return is_protected(name) || !is_in(name, o->name, o->count);
}

static bool has_content(const struct body *b)
{
    return b->kind == BODY_CHUNKED || (b->kind == BODY_LENGTH && b->length > 0);
}

/* RFC 9110 section 7.6.2 is about these two methods only. */
static bool counts_forwards(const struct head *h)
{
    return span_is(h->method, SPAN("TRACE")) || span_is(h->method, SPAN("OPTIONS"));
}

/*
 * How often the request may still be forwarded. What cannot be read cannot be decremented, so it
 * counts as 0; larger numbers than ours are lowered to ours, as that section allows.
 */
static unsigned max_forwards(const struct head *h, struct span value)
{
    unsigned n = 0;
    if (value.len == 0 || head_count(h, SPAN("Max-Forwards")) != 1)
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return 0;
        n = n * 10 + (unsigned)(value.ptr[i] - '0');
        if (n > MAX_FORWARDS_MAX)
            n = MAX_FORWARDS_MAX;
    }
    return n;
}

bool rewrite_max_forwards_zero(const struct head *request)
{
    const struct head_field *f = head_find(request, SPAN("Max-Forwards"));
    return f != NULL && counts_forwards(request) && max_forwards(request, f->value) == 0;
}

static void put_authority(struct writer *w, struct span host, uint16_t port, bool with_port)
{
    bool v6 = memchr(host.ptr, ':', host.len) != NULL;
    put(w, v6 ? SPAN("[") : SPAN(""));
    put(w, host);
    put(w, v6 ? SPAN("]") : SPAN(""));
    if (with_port) {
        put(w, SPAN(":"));
        put_number(w, port);
    }
}

/* RFC 9112 section 3.2.1 or, to a proxy, 3.2.2; for OPTIONS of a whole server 3.2.4. */
static void put_request_line(struct writer *w, const struct rewrite_request *r)
{
    struct span path = r->target->path;
    bool whole_server = path.len == 0 && span_is(r->head->method, SPAN("OPTIONS"));
    put(w, r->head->method);
    put(w, SPAN(" "));
    if (r->to_proxy) {
        put(w, SPAN("http://"));
        put_authority(w, r->host, r->target->port, r->target->port != HTTP_PORT);
    }
    if (whole_server) /* the last proxy of the chain writes the asterisk */
        put(w, r->to_proxy ? SPAN("") : SPAN("*"));
    else if (path.len == 0 || path.ptr[0] != '/')
        put(w, SPAN("/"));
    put(w, path);
    put(w, SPAN(" HTTP/1.1\r\n"));
}

static void put_host(struct writer *w, struct span host, uint16_t port)
{
    put(w, SPAN("Host: "));
    put_authority(w, host, port, port != HTTP_PORT);
    put(w, SPAN("\r\n"));
}

static void put_request_field(struct writer *w, const struct rewrite_request *r,
                              const struct options *o, const struct head_field *f)
{
    if (span_is_nocase(f->name, SPAN("Host")) ||
        !is_passed(f->name, o, r->body->kind == BODY_CHUNKED && r->gateway == NULL))
        return;
    if (r->forwarded_for.len > 0 && span_is_nocase(f->name, SPAN("X-Forwarded-For")))
        return;
    if (r->gateway != NULL && gateway_field_is_ours(f->name))
        return;
    /* Only an HTTP/1.1 client waits for 100, and only with content (RFC 9110 section 10.1.1). */
    if (span_is_nocase(f->name, SPAN("Expect")) && (r->head->minor == 0 || !has_content(r->body)))
        return;
    if (counts_forwards(r->head) && span_is_nocase(f->name, SPAN("Max-Forwards"))) {
        unsigned n = max_forwards(r->head, f->value);
        put_number_field(w, f->name, n > 0 ? n - 1 : 0);
        return;
    }
    put_field(w, f->name, f->value);
}

static void put_gateway_fields(struct writer *w, const struct rewrite_gateway *g)
{
    const struct head_field fields[] = {
        {SPAN("X-Forwarded-For"), g->forwarded_for},
        {SPAN("X-Forwarded-Port"), g->forwarded_port},
        {SPAN("X-Forwarded-Proto"), g->forwarded_proto},
        {SPAN("Client-Cert"), g->client_cert},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value.len > 0)
            put_field(w, fields[i].name, fields[i].value);
    }
}

int rewrite_request(struct buf *out, const struct rewrite_request *r)
{
    struct writer w = writer_begin(out, r->head->size + OWN_WORDS + r->host.len + r->via.len);
    struct options o;
    assert(r->target->form == (r->gateway != NULL ? TARGET_ORIGIN : TARGET_ABSOLUTE) &&
           r->body->kind != BODY_UNTIL_CLOSE);
    options_read(&o, r->head);
    put_request_line(&w, r);
    if (r->gateway == NULL)
        put_host(&w, r->host, r->target->port);
    for (size_t i = 0; i < r->head->field_count; i++)
        put_request_field(&w, r, &o, &r->head->field[i]);
    put_via(&w, r->head, r->via);
    if (r->forwarded_for.len > 0) {
        put_list_begin(&w, r->head, SPAN("X-Forwarded-For"));
        put(&w, r->forwarded_for);
        put(&w, SPAN("\r\n"));
    }
    if (r->gateway != NULL)
        put_gateway_fields(&w, r->gateway);
    /* "0" is said too where the client said it: servers answer 411 to a POST without a length. */
    if (r->body->kind == BODY_LENGTH)
        put_number_field(&w, SPAN("Content-Length"), r->body->length);
    else if (r->body->kind == BODY_CHUNKED)
        put(&w, SPAN("Transfer-Encoding: chunked\r\n"));
    put(&w, SPAN("Connection: keep-alive\r\n\r\n"));
    return writer_end(&w);
}

int rewrite_connect(struct buf *out, const struct rewrite_connect *r)
{
    struct writer w = writer_begin(out, OWN_WORDS + 2 * r->host.len + r->via.len);
    put(&w, SPAN("CONNECT "));
    put_authority(&w, r->host, r->port, true);
    put(&w, SPAN(" HTTP/1.1\r\nHost: "));
    put_authority(&w, r->host, r->port, true);
    put(&w, SPAN("\r\n"));
    put_via(&w, r->head, r->via);
    put(&w, SPAN("\r\n"));
    return writer_end(&w);
}

int rewrite_authorize(struct buf *out, struct span head, struct span authorization)
{
    struct writer w = writer_begin(out, head.len + OWN_WORDS + authorization.len);
    assert(head.len > 4 && memcmp(head.ptr + head.len - 4, "\r\n\r\n", 4) == 0);
    put(&w, (struct span){head.ptr, head.len - 2});
    if (authorization.len > 0)
        put_field(&w, SPAN("Proxy-Authorization"), authorization);
    put(&w, SPAN("\r\n"));
    return writer_end(&w);
}

int rewrite_address(struct buf *out, struct span head, struct span host)
{
    struct writer w = writer_begin(out, head.len + OWN_WORDS + host.len);
    const char *end = memmem(head.ptr, head.len, "\r\n", 2);
    assert(end != NULL);
    size_t line = (size_t)(end - head.ptr) + 2;
    put(&w, (struct span){head.ptr, line});
    put_field(&w, SPAN("Host"), host);
    put(&w, (struct span){head.ptr + line, head.len - line});
    return writer_end(&w);
}

static bool is_number(struct span s)
{
    size_t i = 0;
    while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        i++;
    return i > 0 && i == s.len;
}

/*
 * The framing towards the client. A close-delimited body stays one: framed anew as chunked it would
 * end well for the client also when the origin broke off.
 */
static void put_response_framing(struct writer *w, const struct rewrite_response *r)
{
    const struct head_field *length = head_find(r->head, SPAN("Content-Length"));
    switch (r->body->kind) {
    case BODY_LENGTH:
        put_number_field(w, SPAN("Content-Length"), r->body->length);
        return;
    case BODY_CHUNKED:
        if (r->client_minor > 0)
            put(w, SPAN("Transfer-Encoding: chunked\r\n"));
        return;
    case BODY_NONE:
        /* To HEAD, or 304: what the length would have been (RFC 9110 section 8.6). Never in a 204.
         */
        if (r->head->status != 204 && length != NULL && is_number(length->value))
            put_field(w, length->name, length->value);
        return;
    case BODY_UNTIL_CLOSE:
        return;
    }
}

/* Bodies that only the end of the connection can end. */
static bool needs_close(const struct rewrite_response *r)
{
    return r->body->kind == BODY_UNTIL_CLOSE ||
           (r->body->kind == BODY_CHUNKED && r->client_minor == 0);
}

/* The URL, if it leads to the upstream, as one that leads to it through us. */
static bool put_place(struct writer *w, const struct rewrite_place *place,
                      const struct head_field *f)
{
    struct span rest;
    if (!span_is_nocase(f->name, SPAN("Location")) &&
        !span_is_nocase(f->name, SPAN("Content-Location")))
        return false;
    if (!gateway_url_rest(f->value, place->from[0], &rest) &&
        !gateway_url_rest(f->value, place->from[1], &rest))
        return false;
    if (place->to.len == 0 && rest.len > 1 && rest.ptr[0] == '/' && rest.ptr[1] == '/')
        return false; /* by itself it would lead to another host */
    put(w, f->name);
    put(w, SPAN(": "));
    put(w, place->to);
    if (rest.len == 0 || rest.ptr[0] != '/')
        put(w, SPAN("/"));
    put(w, rest);
    put(w, SPAN("\r\n"));
    return true;
}

static void put_response_field(struct writer *w, const struct rewrite_response *r,
                               const struct options *o, bool chunked, const struct head_field *f)
{
    if (r->place != NULL && put_place(w, r->place, f))
        return;
    /* The one Proxy-* field that is for the client behind all proxies (RFC 9209 section 2). */
    if (is_passed(f->name, o, chunked) || span_is_nocase(f->name, SPAN("Proxy-Status")))
        put_field(w, f->name, f->value);
}

int rewrite_response(struct buf *out, const struct rewrite_response *r)
{
    struct writer w = writer_begin(out, r->head->size + OWN_WORDS + r->via.len);
    struct options o;
    assert(r->body != NULL || r->head->status < 200);
    options_read(&o, r->head);
    put(&w, SPAN("HTTP/1.1 "));
    put_number(&w, r->head->status);
    put(&w, SPAN(" "));
    put(&w, r->head->reason);
    put(&w, SPAN("\r\n"));
    bool chunked = r->body != NULL && r->body->kind == BODY_CHUNKED && r->client_minor > 0;
    for (size_t i = 0; i < r->head->field_count; i++)
        put_response_field(&w, r, &o, chunked, &r->head->field[i]);
    put_via(&w, r->head, r->via);
    if (r->received_status) { /* RFC 9209 section 2.1.4: appended to what the parent has said */
        put(&w, SPAN("Proxy-Status: \""));
        put(&w, r->via);
        put(&w, SPAN("\"; received-status="));
        put_number(&w, r->head->status);
        put(&w, SPAN("\r\n"));
    }
    if (r->body != NULL) {
        put_response_framing(&w, r);
        if (r->close || needs_close(r))
            put(&w, SPAN("Connection: close\r\n"));
        else if (r->keep_alive_1_0)
            put(&w, SPAN("Connection: keep-alive\r\n"));
    }
    put(&w, SPAN("\r\n"));
    return writer_end(&w);
}

/*
 * Second word of each element: received-protocol RWS received-by (RFC 9110 section 7.6.3). Comments
 * are not skipped: an element with one left open would hide the rest, and with it a loop.
 */
static struct span received_by(struct span element)
{
    size_t i = 0;
    while (i < element.len && element.ptr[i] != ' ' && element.ptr[i] != '\t')
        i++;
    while (i < element.len && (element.ptr[i] == ' ' || element.ptr[i] == '\t'))
        i++;
    size_t begin = i;
    while (i < element.len && element.ptr[i] != ' ' && element.ptr[i] != '\t' &&
           element.ptr[i] != '(')
        i++;
    return (struct span){element.ptr + begin, i - begin};
}

bool rewrite_loops(const struct head *request, struct span pseudonym)
{
    for (size_t i = 0; i < request->field_count; i++) {
        struct span list = request->field[i].value;
        if (!span_is_nocase(request->field[i].name, SPAN("Via")))
            continue;
        while (list.len > 0) {
            if (span_is_nocase(received_by(next_element(&list)), pseudonym))
                return true;
        }
    }
    return false;
}

#include "proxy/wire/rewrite.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

/* ---- which fields go onward ---- */

/* Meant for one connection only, whether Connection names them or not (RFC 9110 section 7.6.1). */
static const struct span hop_by_hop[] = {
    {"Connection", 10}, {"Keep-Alive", 10}, {"TE", 2}, {"Transfer-Encoding", 17}, {"Upgrade", 7},
};

/*
 * Connection may not name these away: a request would change its meaning on the way ("hop-by-hop header abuse").
 * RFC 9110 section 7.6.1 forbids a sender to list fields that are meant for all recipients.
 */
static const struct span kept_all_the_same[] = {
    {"Host", 4},
    {"Content-Length", 14},
    {"Content-Type", 12},
    {"Content-Encoding", 16},
    {"Authorization", 13},
    {"Cookie", 6},
    {"Expect", 6},
    {"Max-Forwards", 12},
    {"Via", 3},
    {"Forwarded", 9},
    {"X-Forwarded-For", 15},
    {"X-Forwarded-Host", 16},
    {"X-Forwarded-Proto", 17},
    {"Cache-Control", 13},
    {"Set-Cookie", 10},
    {"Location", 8},
    {"Retry-After", 11},
    {"Replay-Nonce", 12},
    {"WWW-Authenticate", 16},
};

static bool is_one_of(struct span name, const struct span *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_is_nocase(name, list[i]))
            return true;
    }
    return false;
}
#define IS_ONE_OF(name, list) is_one_of(name, list, sizeof(list) / sizeof *(list))

static bool has_prefix(struct span name, struct span prefix)
{
    return name.len >= prefix.len && strncasecmp(name.ptr, prefix.ptr, prefix.len) == 0;
}

/* All Proxy-* fields are for the next hop, and for it alone; Proxy-Status is for all (RFC 9209 section 2). */
static bool is_proxy_field(struct span name)
{
    return has_prefix(name, SPAN("Proxy-")) && !span_is_nocase(name, SPAN("Proxy-Status"));
}

static bool goes_onward(const struct head *h, struct span name)
{
    if (IS_ONE_OF(name, hop_by_hop) || is_proxy_field(name))
        return false;
    return IS_ONE_OF(name, kept_all_the_same) || !head_list_has(h, SPAN("Connection"), name);
}

/* ---- pieces ---- */

static int add_field(struct buf *out, struct span name, struct span value)
{
    char *to = buf_reserve(out, name.len + value.len + 4);
    if (to == NULL)
        return -errno;
    memcpy(to, name.ptr, name.len);
    memcpy(to + name.len, ": ", 2);
    if (value.len > 0)
        memcpy(to + name.len + 2, value.ptr, value.len);
    memcpy(to + name.len + 2 + value.len, "\r\n", 2);
    buf_commit(out, name.len + value.len + 4);
    return 0;
}

/* The values of all fields of that name as one list, then `last`. Adding to a list must keep its order. */
static int add_list(struct buf *out, const struct head *h, struct span name, const char *last)
{
    int rc = buf_printf(out, "%.*s: ", SPAN_ARGS(name));
    for (size_t i = 0; i < h->field_count && rc == 0; i++) {
        if (!span_is_nocase(h->field[i].name, name) || h->field[i].value.len == 0)
            continue;
        rc = buf_add_span(out, h->field[i].value);
        if (rc == 0)
            rc = buf_add_str(out, ", ");
    }
    return rc == 0 ? buf_printf(out, "%s\r\n", last) : rc;
}

static int add_via(struct buf *out, const struct head *h, struct span name)
{
    char entry[160];
    int n = snprintf(entry, sizeof entry, "1.%u %.*s", h->minor, SPAN_ARGS(name));
    return n > 0 ? add_list(out, h, SPAN("Via"), entry) : -EINVAL;
}

static int add_framing(struct buf *out, const struct body *body)
{
    if (body->kind == BODY_CHUNKED)
        return buf_add_str(out, "Transfer-Encoding: chunked\r\n");
    if (body->kind == BODY_LENGTH)
        return buf_printf(out, "Content-Length: %" PRIu64 "\r\n", body->length);
    return 0;
}

/* Digits only, so that what is written is what was understood. */
static bool parse_max_forwards(const struct head *h, uint64_t *value)
{
    const struct head_field *f = head_find(h, SPAN("Max-Forwards"));
    if (f == NULL || f->value.len == 0 || f->value.len > 9)
        return false;
    *value = 0;
    for (size_t i = 0; i < f->value.len; i++) {
        if (f->value.ptr[i] < '0' || f->value.ptr[i] > '9')
            return false;
        *value = *value * 10 + (uint64_t)(f->value.ptr[i] - '0');
    }
    return true;
}

static bool counts_forwards(const struct head *h)
{
    return span_is(h->method, SPAN("TRACE")) || span_is(h->method, SPAN("OPTIONS"));
}

bool rewrite_max_forwards_zero(const struct head *request)
{
    uint64_t value;
    return counts_forwards(request) && parse_max_forwards(request, &value) && value == 0;
}

/* ---- request ---- */

/* Written anew by us, or not at all. */
static bool is_ours_in_request(const struct rewrite_request *r, struct span name)
{
    static const struct span ours[] = {{"Host", 4}, {"Content-Length", 14}, {"Via", 3}};
    if (IS_ONE_OF(name, ours))
        return true;
    if (span_is_nocase(name, SPAN("X-Forwarded-For")))
        return r->forwarded_for.len > 0;
    if (span_is_nocase(name, SPAN("Trailer")))
        return r->body->kind != BODY_CHUNKED;
    /* An HTTP/1.0 client does not wait for 100 (RFC 9110 section 10.1.1); without a body there is nothing to wait with. */
    if (span_is_nocase(name, SPAN("Expect")))
        return r->head->minor == 0 || r->body->kind == BODY_NONE;
    return span_is_nocase(name, SPAN("Max-Forwards")) && counts_forwards(r->head);
}

static int add_request_line(struct buf *out, const struct rewrite_request *r)
{
    int rc = buf_add_span(out, r->head->method);
    if (rc == 0)
        rc = buf_add_str(out, " ");
    struct span path = r->target->path;
    if (rc == 0 && path.len == 0 && span_is(r->head->method, SPAN("OPTIONS")))
        rc = buf_add_str(out, "*"); /* RFC 9112 section 3.2.4 */
    else if (rc == 0 && (path.len == 0 || path.ptr[0] != '/'))
        rc = buf_add_str(out, "/"); /* RFC 9112 section 3.2.1 */
    if (rc == 0)
        rc = buf_add_span(out, path);
    return rc == 0 ? buf_add_str(out, " HTTP/1.1\r\n") : rc;
}

static int add_host(struct buf *out, const struct rewrite_request *r)
{
    bool v6 = memchr(r->host.ptr, ':', r->host.len) != NULL;
    int rc = buf_printf(out, "Host: %s%.*s%s", v6 ? "[" : "", SPAN_ARGS(r->host), v6 ? "]" : "");
    if (rc == 0 && r->target->port != 80)
        rc = buf_printf(out, ":%u", (unsigned)r->target->port);
    return rc == 0 ? buf_add_str(out, "\r\n") : rc;
}

static int add_own_request_fields(struct buf *out, const struct rewrite_request *r)
{
    uint64_t forwards;
    char address[64];
    int rc = add_framing(out, r->body);
    if (rc == 0 && counts_forwards(r->head) && parse_max_forwards(r->head, &forwards) && forwards > 0)
        rc = buf_printf(out, "Max-Forwards: %" PRIu64 "\r\n", forwards - 1);
    if (rc == 0 && r->forwarded_for.len > 0) {
        (void)snprintf(address, sizeof address, "%.*s", SPAN_ARGS(r->forwarded_for));
        rc = add_list(out, r->head, SPAN("X-Forwarded-For"), address);
    }
    if (rc == 0)
        rc = add_via(out, r->head, r->via);
    return rc == 0 ? buf_add_str(out, "Connection: keep-alive\r\n") : rc;
}

int rewrite_request(struct buf *out, const struct rewrite_request *r)
{
    int rc = add_request_line(out, r);
    if (rc == 0)
        rc = add_host(out, r);
    for (size_t i = 0; i < r->head->field_count && rc == 0; i++) {
        const struct head_field *f = &r->head->field[i];
        if (!is_ours_in_request(r, f->name) && goes_onward(r->head, f->name))
            rc = add_field(out, f->name, f->value);
    }
    if (rc == 0)
        rc = add_own_request_fields(out, r);
    return rc == 0 ? buf_add_str(out, "\r\n") : rc;
}

/* ---- response ---- */

static bool is_ours_in_response(const struct rewrite_response *r, struct span name)
{
    if (span_is_nocase(name, SPAN("Via")))
        return true;
    /* Without a body Content-Length is information (HEAD, 304: RFC 9110 section 8.6) and stays; 1xx and 204 have none. */
    if (span_is_nocase(name, SPAN("Content-Length")))
        return r->body == NULL || r->body->kind != BODY_NONE || r->head->status == 204;
    if (span_is_nocase(name, SPAN("Trailer")))
        return r->body == NULL || r->body->kind != BODY_CHUNKED || r->client_minor == 0;
    return false;
}

static int add_own_response_fields(struct buf *out, const struct rewrite_response *r)
{
    int rc = 0;
    if (r->body != NULL && (r->body->kind == BODY_LENGTH || r->client_minor > 0))
        rc = add_framing(out, r->body);
    if (rc == 0)
        rc = add_via(out, r->head, r->via);
    if (rc == 0 && r->close)
        rc = buf_add_str(out, "Connection: close\r\n");
    else if (rc == 0 && r->keep_alive_1_0)
        rc = buf_add_str(out, "Connection: keep-alive\r\n");
    return rc;
}

int rewrite_response(struct buf *out, const struct rewrite_response *r)
{
    int rc = buf_printf(out, "HTTP/1.1 %u ", r->head->status);
    if (rc == 0)
        rc = buf_add_span(out, r->head->reason);
    if (rc == 0)
        rc = buf_add_str(out, "\r\n");
    for (size_t i = 0; i < r->head->field_count && rc == 0; i++) {
        const struct head_field *f = &r->head->field[i];
        if (!is_ours_in_response(r, f->name) && goes_onward(r->head, f->name))
            rc = add_field(out, f->name, f->value);
    }
    if (rc == 0)
        rc = add_own_response_fields(out, r);
    return rc == 0 ? buf_add_str(out, "\r\n") : rc;
}

/* ---- loops ---- */

/* received-protocol RWS received-by [ RWS comment ] (RFC 9110 section 7.6.3): is the second word the pseudonym? */
static bool entry_names(struct span entry, struct span pseudonym)
{
    size_t i = 0;
    while (i < entry.len && (entry.ptr[i] == ' ' || entry.ptr[i] == '\t'))
        i++;
    while (i < entry.len && entry.ptr[i] != ' ' && entry.ptr[i] != '\t')
        i++;
    while (i < entry.len && (entry.ptr[i] == ' ' || entry.ptr[i] == '\t'))
        i++;
    size_t end = i;
    while (end < entry.len && entry.ptr[end] != ' ' && entry.ptr[end] != '\t')
        end++;
    return span_is_nocase((struct span){entry.ptr + i, end - i}, pseudonym);
}

static bool via_names(struct span value, struct span pseudonym)
{
    while (value.len > 0) {
        const char *comma = memchr(value.ptr, ',', value.len);
        size_t n = comma != NULL ? (size_t)(comma - value.ptr) : value.len;
        if (entry_names((struct span){value.ptr, n}, pseudonym))
            return true;
        n += comma != NULL;
        value = (struct span){value.ptr + n, value.len - n};
    }
    return false;
}

bool rewrite_loops(const struct head *request, struct span pseudonym)
{
    for (size_t i = 0; i < request->field_count; i++) {
        if (span_is_nocase(request->field[i].name, SPAN("Via")) &&
            via_names(request->field[i].value, pseudonym))
            return true;
    }
    return false;
}

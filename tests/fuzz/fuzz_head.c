/*
 * fuzz_head.c - a head must not depend on how its octets arrive, and must survive being sent
 * onward.
 *
 * Input: one octet of switches, two that say where to cut, then the head. What is accepted holds no
 * control octet; rewritten and read again it has the same end-to-end fields and the same framing.
 */
#include "proxy/wire/head.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/wire/proxy_status.h"
#include "proxy/wire/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SWITCH_RESPONSE = 1, SWITCH_TIGHT = 2, SWITCH_OLD_CLIENT = 4, SWITCH_TO_HEAD = 8 };
/* Octet by octet is for heads of usual size; every feed copies. */
enum { SHORT_MAX = 2048 };

static const struct span via = {"ferry", 5};

struct verdict {
    enum head_result result;
    const char *why;
    struct head head;
    char *base; /* owned; the head points into it */
};

/* Feeds `all` in pieces of `step` after a first one of `len`; the octets move each time. */
static void feed(struct verdict *v, enum head_kind kind, struct span all, size_t len, size_t step,
                 const struct head_limits *limits)
{
    size_t scanned = 0;
    for (;; len += step < all.len - len ? step : all.len - len) {
        char *copy = malloc(len > 0 ? len : 1);
        assert(copy != NULL);
        memcpy(copy, all.ptr, len);
        v->why = NULL;
        v->base = copy;
        v->result = head_parse(&v->head, kind, copy, len, limits, &scanned, &v->why);
        assert((v->why != NULL) == (v->result != HEAD_OK && v->result != HEAD_MORE));
        if (v->result != HEAD_MORE || len == all.len)
            return;
        free(copy);
    }
}

static void span_agree(struct span a, const char *a_base, struct span b, const char *b_base)
{
    assert(a.len == b.len && (a.len == 0 || a.ptr - a_base == b.ptr - b_base));
}

static void verdicts_agree(const struct verdict *a, const struct verdict *b)
{
    assert(a->result == b->result && a->why == b->why);
    if (a->result != HEAD_OK)
        return;
    const struct head *g = &a->head, *h = &b->head;
    assert(g->minor == h->minor && g->status == h->status && g->size == h->size);
    assert(g->field_count == h->field_count);
    span_agree(g->method, a->base, h->method, b->base);
    span_agree(g->target, a->base, h->target, b->base);
    span_agree(g->reason, a->base, h->reason, b->base);
    for (size_t i = 0; i < g->field_count; i++) {
        span_agree(g->field[i].name, a->base, h->field[i].name, b->base);
        span_agree(g->field[i].value, a->base, h->field[i].value, b->base);
    }
}

static void clean(struct span s, bool spaces)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        assert(c > ' ' ? c != 0x7f : spaces && (c == ' ' || c == '\t'));
        assert(spaces || c < 0x80);
    }
}

static void check_clean(const struct head *h)
{
    clean(h->method, false);
    clean(h->target, false);
    clean(h->reason, true);
    for (size_t i = 0; i < h->field_count; i++) {
        struct span value = h->field[i].value;
        assert(h->field[i].name.len > 0);
        assert(memchr(h->field[i].name.ptr, ':', h->field[i].name.len) == NULL);
        clean(h->field[i].name, false);
        clean(value, true);
        assert(value.len == 0 || (strchr(" \t", value.ptr[0]) == NULL &&
                                  strchr(" \t", value.ptr[value.len - 1]) == NULL));
    }
}

/* Another way to say which fields go on than rewrite.c's, with its own idea of lists. */
static bool named_in(const char *list, struct span name)
{
    char text[64];
    if (name.len > 40)
        return false;
    text[0] = ' ';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        text[i + 1] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    text[name.len + 1] = ' ';
    text[name.len + 2] = '\0';
    return strstr(list, text) != NULL;
}

static bool begins(struct span name, const char *prefix)
{
    return name.len > strlen(prefix) && strncasecmp(name.ptr, prefix, strlen(prefix)) == 0;
}

/* 1: goes on unchanged, 0: does not go on, -1: has its own rules, not judged here. */
static int fate(const struct head *h, struct span name)
{
    if (named_in(" max-forwards expect trailer content-length via ", name))
        return -1;
    if (begins(name, "Proxy-"))
        return named_in(" proxy-status ", name) && h->kind == HEAD_RESPONSE;
    if (named_in(" connection keep-alive te transfer-encoding upgrade http2-settings ", name))
        return 0;
    if (h->kind == HEAD_REQUEST && named_in(" host ", name))
        return 0;
    bool kept = named_in(" authorization cookie cache-control forwarded location set-cookie host "
                         "www-authenticate retry-after replay-nonce ",
                         name) ||
                begins(name, "Content-") || begins(name, "X-Forwarded-");
    return kept || !head_list_has(h, SPAN("Connection"), name);
}

/* The end-to-end fields of both, side by side. */
static void check_fields(const struct head *before, const struct head *after)
{
    size_t k = 0;
    for (size_t i = 0; i < before->field_count; i++) {
        if (fate(before, before->field[i].name) != 1)
            continue;
        /* By the list of `before`: ours may say "close", and a field may be called so. */
        while (k < after->field_count && fate(before, after->field[k].name) != 1)
            k++;
        assert(k < after->field_count);
        assert(span_is(after->field[k].name, before->field[i].name));
        assert(span_is(after->field[k].value, before->field[i].value));
        k++;
    }
    for (; k < after->field_count; k++)
        assert(fate(after, after->field[k].name) != 1);
    for (k = 0; k < after->field_count; k++) {
        struct span name = after->field[k].name;
        assert(!begins(name, "Proxy-") || named_in(" proxy-status ", name));
        assert(!named_in(" te keep-alive upgrade http2-settings ", name));
    }
    assert(head_count(after, SPAN("Via")) == 1 && head_count(after, SPAN("Connection")) <= 1);
}

static void read_again(struct head *h, enum head_kind kind, const struct buf *out)
{
    struct head_limits wide = {1 << 20, 1 << 20, HEAD_FIELDS_MAX};
    const char *why = NULL;
    size_t scanned = 0;
    enum head_result r = head_parse(h, kind, buf_head(out), buf_len(out), &wide, &scanned, &why);
    /* We add at most Host, Via, Connection and a length to what may have been the most already. */
    assert(r == HEAD_OK || r == HEAD_TOO_MANY_FIELDS);
    assert(r != HEAD_OK || h->size == buf_len(out));
    if (r != HEAD_OK)
        h->field_count = 0;
}

/* The same to a parent proxy: absolute form that says the same place, and CONNECT to it; with a
 * password of ours. */
static void check_to_proxy(const struct head *h, const struct rewrite_request *r)
{
    struct rewrite_request to_proxy = *r;
    struct rewrite_connect connect = {h, r->host, r->target->port, via};
    struct target target;
    struct buf out, sent;
    static struct head after;
    to_proxy.to_proxy = true;
    for (int tunnel = 0; tunnel < 2; tunnel++) {
        buf_init(&out, 1 << 20);
        buf_init(&sent, 1 << 20);
        assert((tunnel ? rewrite_connect(&out, &connect) : rewrite_request(&out, &to_proxy)) == 0);
        assert(rewrite_authorize(&sent, buf_span(&out), SPAN("Basic dTpw")) == 0);
        read_again(&after, HEAD_REQUEST, &sent);
        if (after.field_count > 0) {
            assert(target_parse(&target, after.method, after.target, NULL) == TARGET_OK);
            assert(target.form == (tunnel ? TARGET_AUTHORITY : TARGET_ABSOLUTE));
            assert(target.port == r->target->port && span_is(target.host, r->target->host));
            assert(head_count(&after, SPAN("Proxy-Authorization")) == 1);
            assert(rewrite_loops(&after, via));
        }
        buf_release(&out);
        buf_release(&sent);
    }
}

static void check_request(const struct head *h)
{
    struct target target;
    struct body body = {0}, body_after = {0};
    struct buf out;
    static struct head after;
    (void)rewrite_max_forwards_zero(h);
    if (target_parse(&target, h->method, h->target, NULL) != TARGET_OK ||
        target.form != TARGET_ABSOLUTE || body_of_request(&body, h, NULL) != 0)
        return;
    struct span host = target.host;
    if (host.ptr[0] == '[')
        host = (struct span){host.ptr + 1, host.len - 2};
    struct rewrite_request r = {
        .head = h, .target = &target, .host = host, .body = &body, .via = via};
    check_to_proxy(h, &r);
    buf_init(&out, 1 << 20);
    assert(rewrite_request(&out, &r) == 0);
    read_again(&after, HEAD_REQUEST, &out);
    if (after.field_count > 0) {
        assert(after.minor == 1 && span_is(after.method, h->method));
        assert(after.target.ptr[0] == '/' || span_is(after.target, SPAN("*")));
        check_fields(h, &after);
        assert(rewrite_loops(&after, via));
        assert(body_of_request(&body_after, &after, NULL) == 0);
        assert(body_after.kind == body.kind && body_after.length == body.length);
    }
    buf_release(&out);
    body_release(&body);
    body_release(&body_after);
}

static void check_response(const struct head *h, unsigned switches)
{
    struct body body = {0}, body_after = {0};
    struct buf out;
    static struct head after;
    struct span method = (switches & SWITCH_TO_HEAD) != 0 ? SPAN("HEAD") : SPAN("GET");
    unsigned minor = (switches & SWITCH_OLD_CLIENT) != 0 ? 0 : 1;
    bool interim = h->status < 200;
    if (!interim && body_of_response(&body, h, method, NULL) != 0)
        return;
    assert(!proxy_status_unforwarded(h) || proxy_status_is_proxys(h));
    struct rewrite_response r = {.head = h,
                                 .body = interim ? NULL : &body,
                                 .client_minor = minor,
                                 .keep_alive_1_0 = minor == 0,
                                 .via = via};
    buf_init(&out, 1 << 20);
    assert(rewrite_response(&out, &r) == 0);
    read_again(&after, HEAD_RESPONSE, &out);
    if (after.field_count > 0) {
        assert(after.minor == 1 && after.status == h->status && span_is(after.reason, h->reason));
        check_fields(h, &after);
        if (!interim) {
            assert(body_of_response(&body_after, &after, method, NULL) == 0);
            bool dechunked = body.kind == BODY_CHUNKED && minor == 0;
            assert(body_after.kind == (dechunked ? BODY_UNTIL_CLOSE : body.kind));
            assert(body_after.length == body.length);
            assert(body_after.kind != BODY_UNTIL_CLOSE ||
                   head_list_has(&after, SPAN("Connection"), SPAN("close")));
        }
    }
    buf_release(&out);
    body_release(&body);
    body_release(&body_after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct verdict whole, pieces;
    if (size < 3)
        return 0;
    unsigned switches = data[0];
    size_t cut = (size_t)data[1] << 8 | data[2];
    struct span all = {(const char *)data + 3, size - 3};
    enum head_kind kind = (switches & SWITCH_RESPONSE) != 0 ? HEAD_RESPONSE : HEAD_REQUEST;
    struct head_limits limits = {65536, 32768, 100};
    if ((switches & SWITCH_TIGHT) != 0)
        limits = (struct head_limits){128, 32, 3};

    feed(&whole, kind, all, all.len, 0, &limits);
    cut = all.len > 0 ? cut % (all.len + 1) : 0;
    feed(&pieces, kind, all, cut, all.len - cut, &limits);
    verdicts_agree(&whole, &pieces);
    free(pieces.base);
    if (all.len <= SHORT_MAX) {
        feed(&pieces, kind, all, 0, 1, &limits);
        verdicts_agree(&whole, &pieces);
        free(pieces.base);
    }
    if (whole.result == HEAD_OK) {
        check_clean(&whole.head);
        assert(whole.head.size <= all.len && whole.head.field_count <= limits.fields);
        if (kind == HEAD_REQUEST)
            check_request(&whole.head);
        else
            check_response(&whole.head, switches);
    }
    free(whole.base);
    return 0;
}

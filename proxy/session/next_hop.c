/*
 * next_hop.c - the step between the policy's yes and the origin when a parent proxy stands between:
 * which parent, TLS and CONNECT to it and its answer, the next one when it fails.
 *
 * The requested host is not looked up here: the parent does that. A literal has passed the guard
 * all the same.
 */
#include "proxy/session/session_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_client.h"
#include "proxy/session/next_hop_impl.h"
#include "proxy/wire/rewrite.h"

enum { INTERIM_MAX = 32 /* 1xx answers to one CONNECT */, DETAIL_MAX = PARENT_LABEL_MAX + 256 };

static uint64_t now_ms(const struct session *s)
{
    return uv_now(s->ctx->net.loop);
}

const struct parent *next_hop_parent(const struct session *s)
{
    return parents_at(s->hop->list, s->hop->at);
}

void next_hop_release(struct session *s)
{
    struct next_hop *hop = s->hop;
    if (hop == NULL)
        return;
    s->hop = NULL;
    parents_unref(hop->list);
    buf_release(&hop->request);
    buf_release(&hop->out);
    buf_release(&hop->reply);
    free(hop);
}

void next_hop_note(struct session *s, enum parent_result result, const char *detail)
{
    struct next_hop *hop = s->hop;
    parents_note(hop->use, hop->list, hop->at, result, hop->begun_ms, now_ms(s), detail);
    uint64_t answer_us = hop->connected_us > 0 ? clock_us() - hop->connected_us : 0;
    parents_note_times(hop->list, hop->at, hop->connected_us > 0 ? s->record.connect_us : 0,
                       result == PARENT_OK ? answer_us : 0);
    hop->connected_us = 0;
}

void next_hop_give_up(struct session *s, enum outcome why, struct span detail)
{
    /* A pass-through's client is promised nothing before its first octet. */
    if (s->hop == NULL || !s->hop->promised || s->door == DOOR_PASSTHROUGH) {
        session_refuse(s, why, detail);
        return;
    }
    access_record_text(&s->record.detail, detail);
    session_close(s, why);
}

/* ---- which one ---- */

bool next_hop_pick(struct session *s)
{
    struct next_hop *hop = s->hop;
    size_t next;
    if (!parents_pick(hop->use, hop->list, hop->tried, now_ms(s), &next))
        return false;
    hop->at = next;
    hop->attempts++;
    hop->begun_ms = now_ms(s);
    hop->tried |= UINT64_C(1) << hop->at;
    const struct parent *p = next_hop_parent(s);
    access_record_text(hop->origin ? &s->record.upstream : &s->record.parent, span_of(p->label));
    return true;
}

bool next_hop_another(struct session *s)
{
    struct next_hop *hop = s->hop;
    if (hop->origin)
        return next_hop_origin_again(s);
    if ((hop->until_ms > 0 && now_ms(s) >= hop->until_ms) || !next_hop_pick(s))
        return false;
    metrics_add(s->ctx->metrics, METRIC_PARENT_SWITCHES, 1);
    return true;
}

void next_hop_restart(struct session *s)
{
    s->hop->until_ms = 0;
}

uint64_t next_hop_attempt_ms(const struct session *s)
{
    return parents_options(s->hop->list)->attempt_ms;
}

bool next_hop_has_more(const struct session *s)
{
    size_t count = parents_count(s->hop->list);
    uint64_t all = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
    return (s->hop->tried & all) != all;
}

/* The guard's word on a literal; names are for the parent to look up. False: refused. */
static bool literal_passes(struct session *s, const struct hostname *host)
{
    const char *range = NULL;
    char detail[HOSTNAME_MAX + 128];
    if (host->kind == HOST_NAME ||
        policy_address(session_policy(s), &host->addr, &range) == OUTCOME_OK)
        return true;
    (void)snprintf(detail, sizeof detail, "%s (%s)", host->text, range != NULL ? range : "");
    session_refuse(s, OUTCOME_ADDRESS_DENIED, span_of(detail));
    return false;
}

/* Returns owned; NULL when out of memory. */
static struct next_hop *create(struct session *s, struct parents *list, const struct head *head,
                               const struct route *r)
{
    size_t head_max = s->ctx->options->head.head_octets;
    struct next_hop *hop = calloc(1, sizeof *hop);
    struct rewrite_connect connect = {.head = head,
                                      .host = span_of(r->host.text),
                                      .port = r->target.port,
                                      .via = span_of(s->ctx->options->name)};
    if (hop == NULL)
        return NULL;
    /* Longer than the client's head by what it is made of anew. */
    size_t most = (head_max > head->size ? head_max : head->size) + 4096;
    buf_init(&hop->request, most);
    buf_init(&hop->out, most + CREDENTIALS_PRINTED_MAX);
    buf_init(&hop->reply, head_max);
    if (r->kind == ROUTE_TUNNEL && rewrite_connect(&hop->request, &connect) != 0) {
        buf_release(&hop->request);
        free(hop);
        return NULL;
    }
    hop->list = parents_ref(list);
    hop->use = &s->ctx->parents;
    return hop;
}

bool next_hop_begin(struct session *s, const struct head *head, const struct route *r)
{
    struct parents *list = s->ctx->parents.list;
    if (s->door == DOOR_GATEWAY)
        return next_hop_begin_origin(s);
    if (list == NULL || parents_pass_by(list, &r->host))
        return true;
    if (!literal_passes(s, &r->host))
        return false;
    if (parents_count(list) == 0) {
        session_refuse(s, OUTCOME_PARENT_UNREACHABLE, SPAN("no parent proxy is known yet"));
        return false;
    }
    s->hop = create(s, list, head, r);
    if (s->hop == NULL)
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
    return s->hop != NULL && next_hop_pick(s);
}

/* ---- the dial ---- */

/* The operator has named the parent, so its address may be a private one. */
static enum outcome on_guard(void *arg, const struct addr *address)
{
    (void)arg, (void)address;
    return OUTCOME_OK;
}

void next_hop_aim(struct session *s, struct dial_request *request, struct dial_options *options)
{
    struct next_hop *hop = s->hop;
    const struct parent *p = next_hop_parent(s);
    uint64_t now = now_ms(s);
    if (hop->origin) /* each attempt has its own time, as HAProxy's have */
        hop->until_ms = now + parents_options(hop->list)->attempt_ms;
    else if (hop->until_ms == 0)
        hop->until_ms = now + options->timeout_ms;
    hop->begun_ms = now;
    hop->attempt_until_ms = now + parents_options(hop->list)->attempt_ms;
    if (hop->attempt_until_ms > hop->until_ms)
        hop->attempt_until_ms = hop->until_ms;
    options->timeout_ms = hop->attempt_until_ms > now ? hop->attempt_until_ms - now : 1;
    request->name = p->host.kind == HOST_NAME ? p->host.text : NULL;
    request->literal = &p->host.addr;
    request->port = p->port;
    request->options = options;
    if (!hop->origin)
        request->guard = on_guard;
}

static bool ask_another(struct session *s, enum parent_result result, const char *detail)
{
    if (s->exchange != NULL)
        return forward_retry(s, result, true, detail);
    next_hop_note(s, result, detail);
    stream_close(&s->origin);
    if (!next_hop_another(s))
        return false;
    upstream_dial(s, NULL);
    return true;
}

/* The present parent has failed before anything of the request was sent, or with a tunnel: the next
 * one, or the end. */
static void fail(struct session *s, enum parent_result result, enum outcome why, const char *detail)
{
    char text[DETAIL_MAX];
    (void)snprintf(text, sizeof text, "%s: %s", next_hop_parent(s)->label, detail);
    if (!ask_another(s, result, detail))
        next_hop_give_up(s, why, span_of(text));
}

static void origin_unreachable(struct session *s, enum outcome why, const char *detail)
{
    char text[240]; /* with a label it fits into DETAIL_MAX */
    struct next_hop *hop = s->hop;
    if (why == OUTCOME_ADDRESS_DENIED) {
        (void)snprintf(text, sizeof text, "%s",
                       s->record.detail != NULL ? s->record.detail : detail);
        hop->denied |= UINT64_C(1) << hop->at; /* it will not become better in a second */
        detail = text;
    }
    fail(s, PARENT_UNREACHABLE, why, detail);
}

void next_hop_unreachable(struct session *s, const struct dial_result *result)
{
    enum outcome why = OUTCOME_PARENT_UNREACHABLE;
    const char *detail =
        result->error != 0 ? uv_strerror(result->error) : outcome_info(result->outcome)->token;
    if (result->outcome == OUTCOME_NO_DESCRIPTORS || result->outcome == OUTCOME_NO_MEMORY) {
        next_hop_give_up(s, result->outcome, SPAN("")); /* ours, not the parent's fault */
        return;
    }
    if (s->hop->origin) {
        origin_unreachable(s, result->outcome, detail);
        return;
    }
    if (result->outcome == OUTCOME_CONNECT_TIMEOUT || result->outcome == OUTCOME_DNS_TIMEOUT)
        why = OUTCOME_PARENT_TIMEOUT;
    fail(s, PARENT_UNREACHABLE, why, detail);
}

/* ---- CONNECT and its answer ---- */

/* The way to the parent is open. */
static void begin_asking(struct session *s)
{
    struct next_hop *hop = s->hop;
    if (s->exchange != NULL) {
        forward_established(s);
        return;
    }
    hop->scanned = hop->interim = 0;
    buf_release(&hop->reply);
    buf_release(&hop->out);
    if (rewrite_authorize(&hop->out, buf_span(&hop->request),
                          span_of(next_hop_parent(s)->authorization)) != 0)
        next_hop_give_up(s, OUTCOME_NO_MEMORY, SPAN(""));
    else
        next_hop_ready(s);
}

/* A final answer that is no tunnel. */
static void refused_by_parent(struct session *s, const struct head *head)
{
    char detail[160];
    int shown = head->reason.len < 100 ? (int)head->reason.len : 100;
    (void)snprintf(detail, sizeof detail, "answered %u %.*s", head->status, shown,
                   head->reason.ptr);
    switch (head->status) {
    case 407:
        fail(s, PARENT_PASSWORD, OUTCOME_PARENT_PASSWORD, detail);
        return;
    case 429:
    case 503:
        fail(s, PARENT_DECLINED, OUTCOME_PARENT_BUSY, detail);
        return;
    case 502:
        fail(s, PARENT_DECLINED, OUTCOME_PARENT_FAILED, detail);
        return;
    case 504:
        fail(s, PARENT_DECLINED, OUTCOME_PARENT_GATEWAY_TIMEOUT, detail);
        return;
    default:
        break;
    }
    char text[DETAIL_MAX];
    (void)snprintf(text, sizeof text, "%s: %s", next_hop_parent(s)->label, detail);
    next_hop_note(s, PARENT_REFUSED, detail);
    next_hop_give_up(s,
                     head->status == 403   ? OUTCOME_PARENT_DENIED
                     : head->status == 508 ? OUTCOME_LOOP
                                           : OUTCOME_PARENT_FAILED,
                     span_of(text));
}

/* Looks at what has come. Whatever a good answer says of a body, there is none: the octets behind
 * its head are the tunnel's (RFC 9110 section 9.3.6). */
static void look_at_reply(struct session *s)
{
    struct next_hop *hop = s->hop;
    const char *why = "";
    struct head head;
    while (buf_len(&hop->reply) > 0) {
        enum head_result result =
            head_parse(&head, HEAD_RESPONSE, buf_head(&hop->reply), buf_len(&hop->reply),
                       &s->ctx->options->head, &hop->scanned, &why);
        if (result == HEAD_MORE)
            return;
        bool interim = result == HEAD_OK && head.status < 200;
        if (interim && (head.status == 101 || ++hop->interim > INTERIM_MAX)) {
            result = HEAD_MALFORMED;
            why = head.status == 101 ? "101 to a CONNECT" : "too many 1xx answers";
        } else if (result == HEAD_OK && head.status / 100 == 2 && buf_len(&hop->out) > 0) {
            result = HEAD_MALFORMED;
            why = "answered before it was asked";
        }
        if (result != HEAD_OK) {
            fail(s, PARENT_MALFORMED, OUTCOME_PARENT_MALFORMED, why != NULL ? why : "");
            return;
        }
        if (!interim && head.status >= 300) {
            refused_by_parent(s, &head);
            return;
        }
        hop->scanned = 0;
        buf_consume(&hop->reply, head.size);
        if (!interim) {
            next_hop_note(s, PARENT_OK, "");
            if (!hop->promised)
                connect_established(s);
            else if (!trial_begin(s))
                connect_relay(s);
            return;
        }
    }
}

/* What of the CONNECT is left goes out. False: the parent is gone. */
static bool send_request(struct session *s)
{
    struct next_hop *hop = s->hop;
    while (buf_len(&hop->out) > 0 && s->origin.can_write) {
        ssize_t n = stream_send(&s->origin, buf_head(&hop->out), buf_len(&hop->out));
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return false;
        buf_consume(&hop->out, (size_t)n);
    }
    return true;
}

static void converse(struct session *s)
{
    struct next_hop *hop = s->hop;
    /* Whoever takes no more may still have said why: that is read first. */
    bool taking = send_request(s);
    while (s->state == SESSION_PARENT && s->origin.can_read) {
        size_t want = buf_room(&hop->reply) < s->ctx->scratch_octets ? buf_room(&hop->reply)
                                                                     : s->ctx->scratch_octets;
        ssize_t n = stream_receive(&s->origin, s->ctx->scratch, want);
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            fail(s, PARENT_CLOSED, OUTCOME_PARENT_CLOSED,
                 n == 0 ? "closed without an answer" : uv_strerror((int)n));
            return;
        }
        if (buf_add(&hop->reply, s->ctx->scratch, (size_t)n) != 0) {
            next_hop_give_up(s, OUTCOME_NO_MEMORY, SPAN(""));
            return;
        }
        look_at_reply(s);
    }
    if (!taking && s->state == SESSION_PARENT)
        fail(s, PARENT_CLOSED, OUTCOME_PARENT_CLOSED, "closed while it was asked");
}

/* ---- TLS, and the entries ---- */

static void shake_hands(struct session *s)
{
    const char *why = "";
    int rc = stream_tls_handshake(&s->origin, &why);
    if (rc == -EAGAIN)
        return;
    s->hop->shaking_hands = false;
    if (rc == 0) {
        if (s->hop->origin)
            metrics_add(s->ctx->metrics,
                        stream_tls_resumed(&s->origin) ? METRIC_UPSTREAM_RESUMED
                                                       : METRIC_UPSTREAM_HANDSHAKES,
                        1);
        begin_asking(s);
        return;
    }
    if (rc == -ENODEV || rc == -ENOBUFS) { /* our own key's fault */
        next_hop_give_up(s, rc == -ENODEV ? OUTCOME_UPSTREAM_KEY_LOST : OUTCOME_UPSTREAM_KEY_BUSY,
                         SPAN(""));
        return;
    }
    bool believed = rc != -EKEYREJECTED, origin = s->hop->origin;
    fail(s, PARENT_TLS,
         believed ? (origin ? OUTCOME_UPSTREAM_TLS : OUTCOME_PARENT_TLS)
                  : (origin ? OUTCOME_UPSTREAM_CERTIFICATE : OUTCOME_PARENT_CERTIFICATE),
         why);
}

static void begin_tls(struct session *s, const struct parent *p)
{
    int rc =
        tls_client_begin(parents_options(s->hop->list)->tls, &s->origin, s->ctx->net.tls,
                         p->host.kind == HOST_NAME ? p->host.text : NULL, &p->host.addr, p->port);
    if (rc == -ENODEV)
        next_hop_give_up(s, OUTCOME_UPSTREAM_KEY_LOST, SPAN(""));
    else if (rc != 0)
        next_hop_give_up(s, OUTCOME_NO_MEMORY, SPAN(""));
    else
        shake_hands(s);
}

void next_hop_connected(struct session *s)
{
    struct next_hop *hop = s->hop;
    const struct parent *p = next_hop_parent(s);
    uint64_t now = now_ms(s);
    hop->connected_us = clock_us();
    if (!p->tls && s->exchange != NULL) {
        begin_asking(s);
        return;
    }
    session_go(s, SESSION_PARENT);
    deadline_set(s->ctx->net.deadlines, &s->deadline,
                 hop->attempt_until_ms > now ? hop->attempt_until_ms - now : 1);
    hop->shaking_hands = p->tls;
    if (!p->tls)
        begin_asking(s);
    else
        begin_tls(s, p);
}

void next_hop_ready(struct session *s)
{
    /* The client: is it still there, what does it send early. */
    if (s->exchange != NULL)
        forward_ready(s);
    else
        connect_ready(s);
    if (s->state != SESSION_PARENT || s->hop->pausing)
        return;
    if (s->hop->shaking_hands)
        shake_hands(s);
    else
        converse(s);
}

void next_hop_due(struct session *s)
{
    if (s->hop->pausing) {
        s->hop->pausing = false;
        upstream_dial(s, NULL);
        return;
    }
    fail(s, PARENT_SILENT, s->hop->origin ? OUTCOME_UPSTREAM_TIMEOUT : OUTCOME_PARENT_TIMEOUT,
         s->hop->shaking_hands ? "TLS handshake not complete in time"
                               : "no answer to CONNECT in time");
}

bool next_hop_settle(struct session *s)
{
    int rc = 0;
    if (s->hop == NULL)
        return true;
    if (buf_len(&s->hop->reply) > 0) {
        s->out.max += buf_len(&s->hop->reply);
        rc = buf_add_span(&s->out, buf_span(&s->hop->reply));
    }
    next_hop_release(s);
    return rc == 0;
}

/*
 * forward.c - one plain-HTTP exchange: the request goes up and the response comes down, both
 * streamed, both re-framed from parsed values (RFC 9112 sections 6, 7 and 9). Its life and its
 * deadlines.
 */
#include "proxy/session/forward_impl.h"

#include <errno.h>

#include "proxy/base/clock.h"
#include "proxy/wire/binding.h"
#include "proxy/wire/rewrite.h"

bool forward_midway(const struct session *s)
{
    return s->exchange != NULL && s->record.octets_down > 0 && buf_len(&s->exchange->down) > 0;
}

bool forward_is_cut(const struct session *s)
{
    const struct exchange *ex = s->exchange;
    return ex != NULL && ex->responded && s->record.octets_down > ex->head_at;
}

void forward_account(struct session *s)
{
    struct exchange *ex = s->exchange;
    if (ex == NULL || ex->accounted)
        return;
    ex->accounted = true;
    s->record.octets_up = ex->sent;
    metrics_add(s->ctx->metrics, METRIC_OCTETS_UP, ex->sent);
    metrics_add(s->ctx->metrics, METRIC_OCTETS_DOWN, s->record.octets_down);
}

void forward_release(struct session *s)
{
    struct exchange *ex = s->exchange;
    if (ex == NULL)
        return;
    forward_account(s);
    exchange_give(s->ctx, ex);
    s->exchange = NULL;
}

void forward_fail(struct session *s, enum outcome why, struct span detail)
{
    struct exchange *ex = s->exchange;
    if (ex->responded && s->record.octets_down == ex->head_at)
        buf_release(&ex->down);
    else if (ex->responded) {
        if (detail.len > 0)
            access_record_text(&s->record.detail, detail);
        session_abort(s, why);
        return;
    }
    session_refuse(s, why, detail);
}

/* ---- time ---- */

static bool waiting_for_head(const struct exchange *ex)
{
    return !ex->responded && ex->request_ended && buf_len(&ex->up) == 0;
}

/* Who is waited for now decides how long. */
static void set_patience(struct session *s)
{
    const struct session_options *o = s->ctx->options;
    deadline_set(s->ctx->net.deadlines, &s->deadline,
                 waiting_for_head(s->exchange) ? forward_patience_ms(s)
                                               : session_idle_ms(s, o->body_ms));
}

static void begin_window(struct session *s)
{
    s->exchange->window_ms = uv_now(s->ctx->net.loop);
    s->exchange->window_octets = s->exchange->sent + s->record.octets_down;
}

/*
 * Whether what is under way falls short of limit.body.rate, averaged over timeout.body: one octet
 * now and then would keep an exchange for ever. Looked at when something moves; a body that stands
 * still is the deadline's business.
 */
static bool too_slow(struct session *s)
{
    const struct session_options *o = s->ctx->options;
    const struct exchange *ex = s->exchange;
    uint64_t octets = ex->sent + s->record.octets_down - ex->window_octets;
    uint64_t ms = uv_now(s->ctx->net.loop) - ex->window_ms;
    if (waiting_for_head(ex)) {
        begin_window(s);
        return false;
    }
    if (ms < session_idle_ms(s, o->body_ms))
        return false;
    begin_window(s);
    return octets < o->body_rate * ms / 1000;
}

/* ---- entries ---- */

static void pump(struct session *s)
{
    struct exchange *ex = s->exchange;
    uint64_t before = ex->sent + s->record.octets_down;
    bool ended = ex->request_ended, waited = waiting_for_head(ex);
    if (!forward_pump_up(s) || !forward_pump_down(s))
        return;
    if (ex->sent + s->record.octets_down == before && ex->request_ended == ended)
        return;
    if (waited && waiting_for_head(ex))
        return; /* 1xx responses buy the origin no time */
    set_patience(s);
    if (waited)
        begin_window(s); /* the origin thought: that is no part of any window */
    if (!too_slow(s))
        return;
    if (ex->responded)
        session_abort(s, OUTCOME_RESPONSE_TOO_SLOW);
    else
        session_refuse(s, OUTCOME_BODY_TOO_SLOW, SPAN(""));
}

void forward_established(struct session *s)
{
    session_go(s, SESSION_EXCHANGE);
    set_patience(s);
    begin_window(s);
    pump(s);
}

void forward_ready(struct session *s)
{
    /* A FIN is no departure: the client may have said all it had to say. A reset is. */
    if (s->client.broken)
        session_close(s, OUTCOME_CLIENT_RESET);
    else if (s->state == SESSION_EXCHANGE)
        pump(s);
}

/* An upstream of the gateway has had all the time there is, so no other is asked. */
static void give_up_waiting(struct session *s)
{
    if (next_hop_is_origin(s))
        next_hop_note(s, PARENT_LOST, "no response in time");
    session_refuse(s, OUTCOME_RESPONSE_TIMEOUT, session_host(s));
}

void forward_due(struct session *s)
{
    struct exchange *ex = s->exchange;
    if (ex->responded)
        session_abort(s, OUTCOME_RESPONSE_STALLED);
    else if (!ex->request_ended && buf_len(&ex->up) == 0)
        session_refuse(s, OUTCOME_BODY_TIMEOUT, SPAN(""));
    else if (next_hop_is_origin(s) || !forward_retry(s, PARENT_LOST, false, "no response in time"))
        give_up_waiting(s);
}

/* RFC 9110 section 9.2.2. */
static bool method_is_idempotent(struct span method)
{
    static const struct span names[] = {{"GET", 3},   {"HEAD", 4}, {"OPTIONS", 7},
                                        {"TRACE", 5}, {"PUT", 3},  {"DELETE", 6}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_is(method, names[i]))
            return true;
    }
    return false;
}

static int write_head(struct session *s, const struct head *head, const struct route *r)
{
    const struct session_options *o = s->ctx->options;
    char client[ADDR_TEXT_MAX];
    if (next_hop_is_origin(s))
        return gateway_write_head(s, head, r);
    struct rewrite_request request = {
        .head = head,
        .target = &r->target,
        .host = span_of(r->host.text),
        .body = &r->body,
        .via = span_of(o->name),
        .to_proxy = s->hop != NULL,
        .forwarded_for = o->forwarded_for ? span_of(addr_print(&s->record.client, client))
                                          : (struct span){"", 0},
    };
    return rewrite_request(&s->exchange->up, &request);
}

struct upstream_key forward_pool_key(const struct session *s)
{
    const struct parent *p = s->hop != NULL ? next_hop_parent(s) : NULL;
    /* A label is no host name, so the two cannot be taken for each other. */
    if (p == NULL)
        return (struct upstream_key){s->exchange->host.text, s->record.port, s->serial, false,
                                     false};
    return (struct upstream_key){p->label, p->port, s->serial, next_hop_is_origin(s),
                                 next_hop_is_origin(s) && !s->exchange->idempotent};
}

void forward_granted(struct session *s)
{
    struct exchange *ex = s->exchange;
    const struct upstream_key key = forward_pool_key(s);
    struct upstream_idle what;
    if (upstream_pool_take(s->ctx->pool, &key, &s->origin, &what)) {
        s->record.origin = what.address;
        ex->bound = ex->bound || what.bound;
        ex->pooled = true;
        metrics_add(s->ctx->metrics, METRIC_ORIGIN_REUSED, 1);
        forward_established(s);
    } else {
        upstream_dial(s, &ex->host);
    }
}

void forward_begin(struct session *s, const struct head *head, struct route *r)
{
    if (!next_hop_begin(s, head, r))
        return;
    /* A parent would send back what it got, and with it our password (RFC 9110 section 9.3.8). */
    if (s->hop != NULL && span_is(head->method, SPAN("TRACE"))) {
        session_refuse(s, OUTCOME_METHOD_NOT_ALLOWED, SPAN("TRACE through a parent proxy"));
        return;
    }
    struct exchange *ex = s->exchange = exchange_take(s->ctx, head->size, s->hop != NULL);
    bool bodyless = body_is_empty(&r->body);
    int rc = ex != NULL ? write_head(s, head, r) : -ENOMEM;
    if (rc == 0) {
        ex->idempotent =
            bodyless && method_is_idempotent(head->method) && !classify_is_order(&r->target);
        bool kept = ex->idempotent || s->hop != NULL;
        rc = kept ? buf_add_span(&ex->again, buf_span(&ex->up)) : 0;
    }
    if (rc == 0 && s->hop != NULL)
        rc = forward_refill(s);
    if (rc != 0) {
        session_refuse(s, rc == -ENOBUFS ? OUTCOME_HEAD_TOO_LARGE : OUTCOME_NO_MEMORY, SPAN(""));
        return;
    }
    ex->host = r->host;
    ex->bound = binding_is_meant(head);
    ex->client_minor = head->minor;
    ex->client_persists = request_persists(s, head);
    ex->request_ended = bodyless;
    ex->request_body = r->body;
    r->body = (struct body){.kind = BODY_NONE};
    buf_consume(&s->in, head->size);
    upstream_seek(s, &ex->host);
}

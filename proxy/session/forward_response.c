/*
 * forward_response.c - a response on its way down: heads first, 1xx among them, then a body; what
 * the origin's end means; whether its connection may serve another request (RFC 9112 sections 6,
 * 9).
 */
#include "proxy/session/forward_impl.h"

#include <errno.h>

#include "proxy/base/clock.h"
#include "proxy/session/next_hop_impl.h"
#include "proxy/wire/binding.h"
#include "proxy/wire/rewrite.h"

enum { INTERIM_MAX = 32 /* 1xx responses to one request */ };

static struct span method_of(const struct session *s)
{
    return span_of(s->record.method);
}

/* RFC 9112 section 9.3: HTTP/1.1 persists unless it says close, an HTTP/1.0 response if it says
 * keep-alive. */
static bool response_persists(const struct head *head)
{
    if (head_list_has(head, SPAN("Connection"), SPAN("close")))
        return false;
    return head->minor > 0 || head_list_has(head, SPAN("Connection"), SPAN("keep-alive"));
}

static int pass_interim(struct session *s, const struct head *head)
{
    struct exchange *ex = s->exchange;
    struct rewrite_response r = {
        .head = head, .client_minor = ex->client_minor, .via = span_of(s->ctx->options->name)};
    /* An HTTP/1.0 client knows no 1xx (RFC 9110 section 15.2). */
    return ex->client_minor > 0 ? rewrite_response(&ex->down, &r) : 0;
}

/* Decides how the response ends for the client, and writes its head. 0 or a negative errno. */
static int begin_response(struct session *s, const struct head *head)
{
    struct exchange *ex = s->exchange;
    enum body_kind kind = ex->response_body.kind;
    bool framed = kind != BODY_UNTIL_CLOSE && (kind != BODY_CHUNKED || ex->client_minor > 0);
    ex->responded = true;
    ex->head_at = s->record.octets_down + buf_len(&ex->down);
    /* An origin that did not get the whole request would read the next one as its rest. */
    ex->keep_origin = !ex->origin_deaf && response_persists(head) && kind != BODY_UNTIL_CLOSE;
    ex->bound = ex->bound || binding_is_meant(head);
    ex->close_client = !framed || !ex->client_persists || !ex->request_ended || s->ctx->draining;
    s->record.status = head->status;
    s->record.first_octet_us = clock_us() - s->record.started_us;
    struct rewrite_response r = {
        .head = head,
        .body = &ex->response_body,
        .client_minor = ex->client_minor,
        .close = ex->close_client,
        .keep_alive_1_0 = ex->client_minor == 0 && !ex->close_client,
        .via = span_of(s->ctx->options->name),
        .received_status = ex->of_parent,
    };
    struct rewrite_place place = {{SPAN(""), SPAN("")},
                                  span_of(ex->place != NULL ? ex->place : "")};
    if (next_hop_is_origin(s)) {
        const struct parent *p = next_hop_parent(s);
        place.from[0] = span_of(strstr(p->label, "//") + 2);
        place.from[1] = span_of(p->authority);
        r.place = &place;
    }
    return rewrite_response(&ex->down, &r);
}

/* A whole response head. OUTCOME_OK or why the response cannot be passed on; OUTCOME_PENDING: the
 * session has moved on. */
static enum outcome take_head(struct session *s, const struct head *head, const char **why)
{
    struct exchange *ex = s->exchange;
    int rc;
    if (head->status == 101)
        return OUTCOME_UPGRADE_REFUSED;
    if (head->status < 200) {
        if (++ex->interim > INTERIM_MAX) {
            *why = "too many 1xx responses";
            return OUTCOME_RESPONSE_MALFORMED;
        }
        rc = pass_interim(s, head);
    } else {
        if (forward_declined(s, head))
            return OUTCOME_PENDING;
        if (body_of_response(&ex->response_body, head, method_of(s), why) != 0)
            return OUTCOME_RESPONSE_MALFORMED;
        rc = begin_response(s, head);
    }
    return rc == 0          ? OUTCOME_OK
           : rc == -ENOBUFS ? OUTCOME_RESPONSE_HEAD_TOO_LARGE
                            : OUTCOME_NO_MEMORY;
}

/*
 * Takes response heads off the front of `*data`. What is left of an incomplete one stays there.
 * False: the session has answered or ended.
 */
static bool feed_heads(struct session *s, struct span *data)
{
    struct exchange *ex = s->exchange;
    struct head head;
    while (!ex->responded && data->len > 0) {
        const char *why = "";
        enum head_result result = head_parse(&head, HEAD_RESPONSE, data->ptr, data->len,
                                             &s->ctx->options->head, &ex->scanned, &why);
        if (result == HEAD_MORE)
            return true;
        enum outcome verdict =
            result == HEAD_OK ? take_head(s, &head, &why) : route_head_fault(result, HEAD_RESPONSE);
        if (verdict == OUTCOME_PENDING)
            return false;
        if (verdict != OUTCOME_OK) {
            why = why != NULL ? why : "";
            if (!forward_retry(s, PARENT_MALFORMED, false, why))
                session_refuse(s, verdict, span_of(why));
            return false;
        }
        ex->scanned = 0;
        *data = (struct span){data->ptr + head.size, data->len - head.size};
    }
    return true;
}

/* Body octets. False: the session has ended. */
static bool feed_body(struct session *s, struct span data)
{
    struct exchange *ex = s->exchange;
    bool chunked = ex->response_body.kind == BODY_CHUNKED && ex->client_minor > 0;
    const char *why = "";
    size_t used = 0;
    int rc = 0;
    while (rc == 0) {
        size_t step = 0;
        struct span payload = {"", 0};
        enum body_event event =
            body_next(&ex->response_body, data.ptr + used, data.len - used, &step, &payload, &why);
        used += step;
        if (event == BODY_MORE)
            return true;
        if (event == BODY_BAD) {
            forward_fail(s, OUTCOME_RESPONSE_MALFORMED, span_of(why));
            return false;
        }
        if (event == BODY_END) {
            ex->response_ended = true;
            if (used < data.len)
                ex->keep_origin =
                    false; /* octets nobody asked for: never another request's response */
            rc = forward_deliver_end(&ex->down, chunked, &ex->response_body);
            break;
        }
        rc = forward_deliver_payload(&ex->down, &s->client, chunked, payload,
                                     &s->record.octets_down);
    }
    if (rc != 0)
        session_abort(s,
                      rc == -ENOMEM || rc == -ENOBUFS ? OUTCOME_NO_MEMORY : OUTCOME_CLIENT_RESET);
    return rc == 0;
}

/* Octets from the origin, heads first. False: the session has answered or ended. */
static bool feed_response(struct session *s, struct span data)
{
    struct exchange *ex = s->exchange;
    bool kept = buf_len(&ex->reply) > 0;
    if (kept) {
        int rc = buf_add_span(&ex->reply, data);
        if (rc != 0) {
            session_refuse(s, rc == -ENOBUFS ? OUTCOME_RESPONSE_HEAD_TOO_LARGE : OUTCOME_NO_MEMORY,
                           SPAN(""));
            return false;
        }
        data = buf_span(&ex->reply);
    }
    size_t before = data.len;
    if (!feed_heads(s, &data))
        return false;
    if (!ex->responded) {
        /* Incomplete: what was not in `reply` yet goes there, what was taken leaves it. */
        if (kept)
            buf_consume(&ex->reply, before - data.len);
        else if (buf_add_span(&ex->reply, data) != 0) {
            session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
            return false;
        }
        return true;
    }
    if (!feed_body(s, data))
        return false;
    buf_release(&ex->reply);
    return true;
}

/* The connection was an old one, and nothing says that the origin has begun with the request. */
static bool may_repeat(const struct exchange *ex)
{
    bool silent = ex->interim == 0 && buf_len(&ex->reply) == 0;
    return ex->pooled && silent && ((ex->sent == 0 && !ex->origin_deaf) || ex->idempotent);
}

static void repeat(struct session *s)
{
    struct exchange *ex = s->exchange;
    stream_close(&s->origin);
    if (ex->idempotent && forward_refill(s) != 0) {
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
        return;
    }
    ex->pooled = ex->origin_deaf = false;
    ex->sent = 0;
    upstream_dial(s, &ex->host);
}

/* The origin closed (`error` 0) or broke off. False: the session has moved on. */
static bool origin_ended(struct session *s, int error)
{
    struct exchange *ex = s->exchange;
    ex->keep_origin = false;
    if (ex->responded && error == 0 && body_close_ends(&ex->response_body)) {
        ex->response_ended = true;
        return true;
    }
    if (!ex->responded && may_repeat(ex))
        repeat(s);
    else if (!forward_retry(s, ex->pooled ? PARENT_LOST : PARENT_CLOSED, false,
                            "closed without a response"))
        forward_fail(s, OUTCOME_RESPONSE_INCOMPLETE, session_host(s));
    return false;
}

/* Whether the origin's connection may serve another request. One made for an older list has proved
 * itself to a CA, and been shown a certificate, that may no longer be those in force. */
static bool is_reusable(const struct session *s)
{
    const struct exchange *ex = s->exchange;
    return ex->keep_origin && ex->request_ended && buf_len(&ex->up) == 0 && !s->origin.fin_seen &&
           (s->hop == NULL || s->hop->list == s->hop->use->list) &&
           /* the guard may have changed since the dial; it has no say about a parent */
           ((s->hop != NULL && !next_hop_is_origin(s)) ||
            policy_address(session_policy(s), &s->record.origin, NULL) == OUTCOME_OK);
}

/* The response has gone to the client, whole. */
static void finish(struct session *s)
{
    struct exchange *ex = s->exchange;
    bool close_client = ex->close_client;
    if (is_reusable(s)) {
        const struct upstream_key key = forward_pool_key(s);
        const struct upstream_idle what = {s->record.origin, ex->bound};
        upstream_pool_put(s->ctx->pool, &key, &what, &s->origin);
    }
    session_tell(s, ex->of_parent ? OUTCOME_PARENT_ANSWER : OUTCOME_OK);
    upstream_release(s);
    if (close_client)
        session_linger(s);
    else
        session_next(s);
}

/* Brings the response on as far as it goes. False: the session has moved on. */
bool forward_pump_down(struct session *s)
{
    struct exchange *ex = s->exchange;
    for (unsigned turns = FORWARD_TURN_RECEIVES;; turns--) {
        if (forward_flush(&ex->down, &s->client, &s->record.octets_down) != 0) {
            session_close(s, OUTCOME_CLIENT_RESET);
            return false;
        }
        if (buf_len(&ex->down) > 0)
            return true;
        if (ex->response_ended) {
            finish(s);
            return false;
        }
        if (!s->origin.can_read)
            return true;
        if (turns == 0) {
            stream_resume(&s->origin);
            return true;
        }
        size_t most = s->ctx->options->buffer_octets;
        most = most < s->ctx->scratch_octets ? most : s->ctx->scratch_octets;
        ssize_t n = stream_receive(&s->origin, s->ctx->scratch, most);
        if (n == -EAGAIN)
            return true;
        /* An answer to a request of which nothing was sent is somebody else's. */
        bool stale = n > 0 && ex->pooled && ex->sent == 0 && !ex->responded;
        if (n <= 0 || stale) {
            if (!origin_ended(s, stale ? -EPROTO : (int)n))
                return false;
        } else if (!feed_response(s, (struct span){s->ctx->scratch, (size_t)n})) {
            return false;
        }
    }
}

/*
 * forward.c - one plain-HTTP exchange: the request goes up and the response comes down, both
 * streamed, both re-framed from parsed values (RFC 9112 sections 6, 7 and 9).
 */
#include "proxy/session/session_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/wire/binding.h"
#include "proxy/wire/body.h"
#include "proxy/wire/reply.h"
#include "proxy/wire/rewrite.h"

enum {
    INTERIM_MAX = 32,  /* 1xx responses to one request */
    TURN_RECEIVES = 16 /* from the origin in one turn */
};

struct exchange {
    struct hostname host;
    struct buf up;    /* to the origin: head, then framed body */
    struct buf down;  /* to the client */
    struct buf reply; /* an incomplete response head */
    struct buf again; /* the request head once more, while it may have to be repeated */
    struct body request_body, response_body;
    size_t scanned;   /* of the response head */
    uint64_t sent;    /* octets the origin's connection took */
    uint64_t head_at; /* the final response begins behind so many octets to the client */
    unsigned client_minor;
    unsigned interim;                  /* 1xx responses so far */
    uint64_t window_ms, window_octets; /* where the present look at limit.body.rate began */
    bool client_persists;              /* the client would like to go on */
    bool idempotent;                   /* and without a body: may be repeated */
    bool pooled;                       /* the connection had been used before */
    bool request_ended;                /* all of it is in `up` or sent */
    bool origin_deaf;                  /* the origin takes no more; its response may still come */
    bool responded;                    /* the final response head has come */
    bool response_ended;
    bool keep_origin;
    bool bound; /* the origin's connection carries this client's authentication */
    bool close_client;
    bool accounted;
};

bool forward_midway(const struct session *s)
{
    return s->exchange != NULL && s->record.octets_down > 0 && buf_len(&s->exchange->down) > 0;
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
    buf_release(&ex->up);
    buf_release(&ex->down);
    buf_release(&ex->reply);
    buf_release(&ex->again);
    body_release(&ex->request_body);
    body_release(&ex->response_body);
    free(ex);
    s->exchange = NULL;
}

static struct span method_of(const struct session *s)
{
    return span_of(s->record.method);
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

/* Sends `data` behind what waits in `queue`; the rest waits. 0 or a negative errno. */
static int deliver(struct buf *queue, struct stream *to, struct span data, uint64_t *taken)
{
    while (buf_len(queue) == 0 && data.len > 0 && to->can_write) {
        ssize_t n = stream_send(to, data.ptr, data.len);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return (int)n;
        *taken += (uint64_t)n;
        data = (struct span){data.ptr + n, data.len - (size_t)n};
    }
    return buf_add_span(queue, data);
}

static int flush_queue(struct buf *queue, struct stream *to, uint64_t *taken)
{
    while (buf_len(queue) > 0 && to->can_write) {
        ssize_t n = stream_send(to, buf_head(queue), buf_len(queue));
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return (int)n;
        *taken += (uint64_t)n;
        buf_consume(queue, (size_t)n);
    }
    return 0;
}

/* Payload as one chunk, or as it is. */
static int deliver_payload(struct buf *queue, struct stream *to, bool chunked, struct span payload,
                           uint64_t *taken)
{
    if (!chunked)
        return deliver(queue, to, payload, taken);
    int rc = buf_printf(queue, "%zx\r\n", payload.len);
    if (rc == 0)
        rc = buf_add_span(queue, payload);
    return rc == 0 ? buf_add_str(queue, "\r\n") : rc;
}

static int deliver_end(struct buf *queue, bool chunked, const struct body *body)
{
    if (!chunked)
        return 0;
    int rc = buf_add_str(queue, "0\r\n");
    if (rc == 0)
        rc = buf_add_span(queue, buf_span(&body->trailers));
    return rc == 0 ? buf_add_str(queue, "\r\n") : rc;
}

/* ---- request ---- */

/* The origin stopped taking octets. Its response, perhaps a refusal of the body, may be on its way.
 */
static void origin_is_deaf(struct exchange *ex)
{
    ex->origin_deaf = true;
    ex->keep_origin = false;
    buf_release(&ex->up);
}

/*
 * The exchange cannot go on. As long as nothing of the response has reached the client it is told
 * so; then it must see that the response is cut.
 */
static void fail(struct session *s, enum outcome why, struct span detail)
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

/* What became of octets for the origin: 0 or a negative errno. False: the session has ended. */
static bool sent_up(struct session *s, int rc)
{
    if (rc == -ENOMEM || rc == -ENOBUFS) {
        /* Octets are lost: the origin must not take what it has for all. */
        fail(s, OUTCOME_NO_MEMORY, SPAN(""));
        return false;
    }
    if (rc != 0)
        origin_is_deaf(s->exchange);
    return true;
}

/*
 * Takes request body octets; `*used` says how many, the others belong to the next request.
 * False: the session has ended.
 */
static bool feed_request(struct session *s, struct span data, size_t *used)
{
    struct exchange *ex = s->exchange;
    bool chunked = ex->request_body.kind == BODY_CHUNKED;
    const char *why = "";
    *used = 0;
    for (;;) {
        size_t step = 0;
        struct span payload = {"", 0};
        enum body_event event =
            body_next(&ex->request_body, data.ptr + *used, data.len - *used, &step, &payload, &why);
        *used += step;
        if (event == BODY_MORE)
            return true;
        if (event == BODY_BAD) {
            fail(s, OUTCOME_BODY_MALFORMED, span_of(why));
            return false;
        }
        if (event == BODY_END) {
            ex->request_ended = true;
            return ex->origin_deaf || sent_up(s, deliver_end(&ex->up, chunked, &ex->request_body));
        }
        if (!ex->origin_deaf &&
            !sent_up(s, deliver_payload(&ex->up, &s->origin, chunked, payload, &ex->sent)))
            return false;
    }
}

/* Octets of the body that came with the head or behind the last request. False: the session has
 * ended. */
static bool feed_from_buffer(struct session *s)
{
    size_t used;
    if (!feed_request(s, buf_span(&s->in), &used))
        return false;
    buf_consume(&s->in, used);
    return true;
}

/* One receive of body octets. False: nothing came, or the session has ended. */
static bool feed_from_client(struct session *s)
{
    size_t most = s->ctx->options->buffer_octets;
    most = most < s->ctx->scratch_octets ? most : s->ctx->scratch_octets;
    most =
        most < buf_room(&s->in) ? most : buf_room(&s->in); /* the next request's may come with it */
    ssize_t n = stream_receive(&s->client, s->ctx->scratch, most);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        session_close(s, n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET);
        return false;
    }
    size_t used;
    struct span data = {s->ctx->scratch, (size_t)n};
    if (!feed_request(s, data, &used))
        return false;
    if (buf_add(&s->in, data.ptr + used, data.len - used) != 0) {
        session_abort(s, OUTCOME_NO_MEMORY);
        return false;
    }
    return true;
}

/* Brings the request on as far as it goes. False: the session has ended. */
static bool pump_up(struct session *s)
{
    struct exchange *ex = s->exchange;
    for (unsigned turns = TURN_RECEIVES;; turns--) {
        if (!ex->origin_deaf && !sent_up(s, flush_queue(&ex->up, &s->origin, &ex->sent)))
            return false;
        if (ex->request_ended || buf_len(&ex->up) > 0)
            return true;
        if (buf_len(&s->in) > 0) {
            if (!feed_from_buffer(s))
                return false;
            continue;
        }
        if (turns == 0) {
            stream_resume(&s->client);
            return true;
        }
        if (!s->client.can_read)
            return true;
        if (!feed_from_client(s))
            return s->state == SESSION_EXCHANGE;
    }
}

/* ---- response ---- */

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
    };
    return rewrite_response(&ex->down, &r);
}

/* A whole response head. OUTCOME_OK or why the response cannot be passed on. */
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
        if (verdict != OUTCOME_OK) {
            session_refuse(s, verdict, span_of(why != NULL ? why : ""));
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
            fail(s, OUTCOME_RESPONSE_MALFORMED, span_of(why));
            return false;
        }
        if (event == BODY_END) {
            ex->response_ended = true;
            if (used < data.len)
                ex->keep_origin =
                    false; /* octets nobody asked for: never another request's response */
            rc = deliver_end(&ex->down, chunked, &ex->response_body);
            break;
        }
        rc = deliver_payload(&ex->down, &s->client, chunked, payload, &s->record.octets_down);
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
        if (buf_add_span(&ex->reply, data) != 0) {
            session_refuse(s, OUTCOME_RESPONSE_HEAD_TOO_LARGE, SPAN(""));
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
    if (ex->idempotent) {
        struct span head = buf_span(&ex->again);
        buf_release(&ex->up);
        if (buf_add_span(&ex->up, head) != 0) {
            session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
            return;
        }
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
    else
        fail(s, OUTCOME_RESPONSE_INCOMPLETE, session_host(s));
    return false;
}

/* Whether the origin's connection may serve another request. */
static bool is_reusable(const struct session *s)
{
    const struct exchange *ex = s->exchange;
    return ex->keep_origin && ex->request_ended && buf_len(&ex->up) == 0 && !s->origin.fin_seen &&
           /* the guard may have changed since the dial */
           policy_address(s->ctx->options->policy, &s->record.origin, NULL) == OUTCOME_OK;
}

/* The response has gone to the client, whole. */
static void finish(struct session *s)
{
    struct exchange *ex = s->exchange;
    bool close_client = ex->close_client;
    if (is_reusable(s)) {
        const struct upstream_key key = {ex->host.text, s->record.port, s->serial};
        const struct upstream_idle what = {s->record.origin, ex->bound};
        upstream_pool_put(s->ctx->pool, &key, &what, &s->origin);
    }
    session_tell(s, OUTCOME_OK);
    upstream_release(s);
    if (close_client)
        session_linger(s);
    else
        session_next(s);
}

/* Brings the response on as far as it goes. False: the session has moved on. */
static bool pump_down(struct session *s)
{
    struct exchange *ex = s->exchange;
    for (unsigned turns = TURN_RECEIVES;; turns--) {
        if (flush_queue(&ex->down, &s->client, &s->record.octets_down) != 0) {
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
        if (n <= 0) {
            if (!origin_ended(s, (int)n))
                return false;
        } else if (!feed_response(s, (struct span){s->ctx->scratch, (size_t)n})) {
            return false;
        }
    }
}

/* ---- entries ---- */

static bool waiting_for_head(const struct exchange *ex)
{
    return !ex->responded && ex->request_ended && buf_len(&ex->up) == 0;
}

/* Who is waited for now decides how long. */
static void set_patience(struct session *s)
{
    const struct session_options *o = s->ctx->options;
    deadline_set(s->ctx->net.deadlines, &s->deadline,
                 waiting_for_head(s->exchange) ? o->response_ms : o->body_ms);
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
    if (ms < o->body_ms)
        return false;
    begin_window(s);
    return octets < o->body_rate * ms / 1000;
}

static void pump(struct session *s)
{
    struct exchange *ex = s->exchange;
    uint64_t before = ex->sent + s->record.octets_down;
    bool ended = ex->request_ended, waited = waiting_for_head(ex);
    if (!pump_up(s) || !pump_down(s))
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

void forward_due(struct session *s)
{
    struct exchange *ex = s->exchange;
    if (ex->responded)
        session_abort(s, OUTCOME_RESPONSE_STALLED);
    else if (ex->request_ended || buf_len(&ex->up) > 0)
        session_refuse(s, OUTCOME_RESPONSE_TIMEOUT, session_host(s));
    else
        session_refuse(s, OUTCOME_BODY_TIMEOUT, SPAN(""));
}

static struct exchange *exchange_create(const struct session_options *o, size_t head_octets)
{
    struct exchange *ex = calloc(1, sizeof *ex);
    if (ex == NULL)
        return NULL;
    /* A rewritten head is a little longer than it came (Via, Host); one receive's worth may wait
     * behind it. */
    size_t head_max =
        2 * (o->head.head_octets > head_octets ? o->head.head_octets : head_octets) + 4096;
    buf_init(&ex->up, head_max + 2 * o->buffer_octets);
    buf_init(&ex->down, head_max + 2 * o->buffer_octets);
    buf_init(&ex->reply, o->head.head_octets + o->buffer_octets);
    buf_init(&ex->again, head_max);
    return ex;
}

static int write_head(struct session *s, const struct head *head, const struct route *r)
{
    const struct session_options *o = s->ctx->options;
    char client[ADDR_TEXT_MAX];
    struct rewrite_request request = {
        .head = head,
        .target = &r->target,
        .host = span_of(r->host.text),
        .body = &r->body,
        .via = span_of(o->name),
        .forwarded_for = o->forwarded_for ? span_of(addr_print(&s->record.client, client))
                                          : (struct span){"", 0},
    };
    return rewrite_request(&s->exchange->up, &request);
}

void forward_granted(struct session *s)
{
    struct exchange *ex = s->exchange;
    const struct upstream_key key = {ex->host.text, s->record.port, s->serial};
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
    struct exchange *ex = s->exchange = exchange_create(s->ctx->options, head->size);
    int rc = ex != NULL ? write_head(s, head, r) : -ENOMEM;
    if (rc == 0)
        rc = buf_add_span(&ex->again, buf_span(&ex->up));
    if (rc != 0) {
        session_refuse(s, rc == -ENOBUFS ? OUTCOME_HEAD_TOO_LARGE : OUTCOME_NO_MEMORY, SPAN(""));
        return;
    }
    bool bodyless = body_is_empty(&r->body);
    ex->host = r->host;
    ex->bound = binding_is_meant(head);
    ex->client_minor = head->minor;
    ex->client_persists = request_persists(s, head);
    ex->idempotent = bodyless && method_is_idempotent(head->method);
    ex->request_ended = bodyless;
    ex->request_body = r->body;
    r->body = (struct body){.kind = BODY_NONE};
    buf_consume(&s->in, head->size);
    upstream_seek(s, &ex->host);
}

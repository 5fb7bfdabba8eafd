#include "proxy/session/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/session/session_impl.h"
#include "proxy/wire/client_hello.h"
#include "proxy/wire/reply.h"

#define BIT(state) (1U << (state))

static const unsigned may_go[SESSION_STATE_COUNT] = {
    [SESSION_IDLE] = BIT(SESSION_HEAD) | BIT(SESSION_CLOSING),
    [SESSION_HEAD] =
        BIT(SESSION_CONNECT) | BIT(SESSION_EXCHANGE) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_CONNECT] = BIT(SESSION_HELLO) | BIT(SESSION_RELAY) | BIT(SESSION_EXCHANGE) |
                        BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_HELLO] = BIT(SESSION_RELAY) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_RELAY] = BIT(SESSION_CLOSING),
    [SESSION_EXCHANGE] = BIT(SESSION_CONNECT) | BIT(SESSION_ANSWER) | BIT(SESSION_IDLE) |
                         BIT(SESSION_LINGER) | BIT(SESSION_CLOSING),
    [SESSION_ANSWER] = BIT(SESSION_LINGER) | BIT(SESSION_IDLE) | BIT(SESSION_CLOSING),
    [SESSION_LINGER] = BIT(SESSION_CLOSING),
    [SESSION_CLOSING] = 0,
};

/* How long a session may stay in a state; forward.c sets finer ones inside SESSION_EXCHANGE. 0: no
 * limit here. */
static uint64_t patience_ms(const struct session_options *o, enum session_state state)
{
    switch (state) {
    case SESSION_IDLE:
        return o->keepalive_ms;
    case SESSION_HEAD:
        return o->head_ms;
    case SESSION_HELLO:
        return o->hello_ms;
    case SESSION_RELAY:
        return o->tunnel_idle_ms;
    case SESSION_EXCHANGE:
    case SESSION_ANSWER:
        return o->body_ms;
    case SESSION_LINGER:
        return o->linger_ms;
    default:
        return 0; /* SESSION_CONNECT: the dial has its own */
    }
}

void session_go(struct session *s, enum session_state next)
{
    assert(may_go[s->state] & BIT(next));
    s->state = next;
    uint64_t ms = patience_ms(s->ctx->options, next);
    if (ms > 0)
        deadline_set(s->ctx->net.deadlines, &s->deadline, ms);
    else
        deadline_clear(s->ctx->net.deadlines, &s->deadline);
}

void session_tell(struct session *s, enum outcome why)
{
    struct access_record *r = &s->record;
    if (!r->active)
        return;
    r->outcome = why;
    metrics_count(&s->ctx->metrics->exchanges[r->protocol][why], 1);
    if (s->ctx->options->access_log)
        access_log_write(s->ctx->access_log, r, s->ctx->worker);
    access_record_reset(r);
}

/* Freed when nobody on the stack uses it any more. */
static void free_if_left(struct session *s)
{
    if (s->state != SESSION_CLOSING || s->busy > 0)
        return;
    struct session_context *ctx = s->ctx;
    free(s);
    if (list_empty(&ctx->sessions) && ctx->on_empty != NULL)
        ctx->on_empty(ctx->on_empty_arg);
}

static void enter(struct session *s)
{
    s->busy++;
}

static void leave(struct session *s)
{
    s->busy--;
    free_if_left(s);
}

/* Gives back all that belongs to the way to an origin. */
static void drop_origin(struct session *s)
{
    if (s->dial != NULL)
        dial_cancel(s->dial);
    s->dial = NULL;
    stream_close(&s->origin);
    forward_release(s);
}

void session_close(struct session *s, enum outcome why)
{
    if (s->state == SESSION_CLOSING)
        return;
    if (s->state == SESSION_RELAY)
        metrics_add(s->ctx->metrics, METRIC_TUNNELS_CLOSED, 1);
    session_tell(s, why);
    drop_origin(s);
    stream_close(&s->client);
    tunnel_release(&s->tunnel);
    buf_release(&s->in);
    buf_release(&s->out);
    access_record_reset(&s->record);
    session_go(s, SESSION_CLOSING);
    list_remove(&s->node);
    metrics_add(s->ctx->metrics, METRIC_CLOSED, 1);
    if (s->verdict != OUTCOME_NO_MEMORY)
        admission_leave(s->ctx->admission, &s->record.client);
    free_if_left(s);
}

void session_abort(struct session *s, enum outcome why)
{
    if (s->state == SESSION_CLOSING)
        return;
    stream_abort(&s->client);
    session_close(s, why);
}

bool session_flush(struct session *s)
{
    while (buf_len(&s->out) > 0 && s->client.can_write) {
        ssize_t n = stream_send(&s->client, buf_head(&s->out), buf_len(&s->out));
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            session_close(s, OUTCOME_CLIENT_RESET);
            return false;
        }
        buf_consume(&s->out, (size_t)n);
    }
    return true;
}

static void drop_input(struct session *s)
{
    buf_release(&s->in);
    for (unsigned turns = 16; turns > 0 && s->client.can_read; turns--) {
        ssize_t n = stream_receive(&s->client, s->ctx->scratch, s->ctx->scratch_octets);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            session_close(s, OUTCOME_OK);
            return;
        }
    }
    if (s->client.can_read)
        stream_resume(&s->client);
}

void session_linger(struct session *s)
{
    stream_shutdown(&s->client);
    session_go(s, SESSION_LINGER);
    drop_input(s);
}

void session_next(struct session *s)
{
    if (s->ctx->draining) {
        session_close(s, OUTCOME_OK);
        return;
    }
    buf_release(&s->out);
    if (buf_len(&s->in) == 0)
        buf_release(&s->in);
    s->scanned = 0;
    session_go(s, SESSION_IDLE);
    /* A pipelined request waits its turn: other sessions come first. */
    if (buf_len(&s->in) > 0 || s->client.can_read)
        stream_resume(&s->client);
}

void session_send_answer(struct session *s)
{
    if (!session_flush(s) || buf_len(&s->out) > 0)
        return;
    if (s->keep)
        session_next(s);
    else
        session_linger(s);
}

void session_refuse(struct session *s, enum outcome why, struct span detail)
{
    if (s->state == SESSION_CLOSING)
        return;
    drop_origin(s);
    buf_release(&s->out);
    bool head_only = strcmp(s->record.method, "HEAD") == 0;
    if (detail.len > 0)
        access_record_text(&s->record.detail, detail);
    if (reply_outcome(&s->out, why, detail, s->ctx->options->name, head_only, time(NULL)) != 0) {
        session_close(s, OUTCOME_NO_MEMORY);
        return;
    }
    s->record.active = true;
    s->record.status = outcome_info(why)->status;
    s->record.octets_down += buf_len(&s->out);
    s->keep = false;
    session_tell(s, why);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

bool session_client_persists(const struct head *head)
{
    /* Proxy-Connection is no standard, but many clients say only that. */
    struct span connection = SPAN("Connection"), proxy_connection = SPAN("Proxy-Connection");
    if (head->minor == 0)
        return head_list_has(head, connection, SPAN("keep-alive")) ||
               head_list_has(head, proxy_connection, SPAN("keep-alive"));
    return !head_list_has(head, connection, SPAN("close")) &&
           !head_list_has(head, proxy_connection, SPAN("close"));
}

/* ---- from head to route ---- */

static void answer_page(struct session *s, const struct head *head, const struct route *r)
{
    const struct session_options *o = s->ctx->options;
    const char *operation = "";
    bool bodyless =
        r->body.kind == BODY_NONE || (r->body.kind == BODY_LENGTH && r->body.length == 0);
    s->keep = bodyless && session_client_persists(head) && !s->ctx->draining;
    struct control_request request = {
        .head = head,
        .path = r->target.form == TARGET_ORIGIN ? r->target.path : head->target,
        .privileged = policy_control_client(o->policy, &s->record.client) == OUTCOME_OK,
        .close = !s->keep || head->minor == 0,
        .now = time(NULL),
    };
    s->keep = s->keep && head->minor > 0;
    enum outcome verdict =
        control_answer(&s->out, s->ctx->facts, &request, &s->record.status, &operation);
    s->record.operation = operation;
    if (verdict != OUTCOME_OK) {
        session_refuse(s, verdict, request.path);
        return;
    }
    buf_consume(&s->in, head->size);
    s->record.octets_down = buf_len(&s->out);
    session_tell(s, OUTCOME_OK);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

/* What was refused, in words: the parser's or policy's reason, with host and port where they
 * matter. */
static void refuse_route(struct session *s, const struct route *r)
{
    char detail[HOSTNAME_MAX + 128];
    struct span host = r->named ? span_of(r->host.text) : r->target.host;
    int shown = host.len > HOSTNAME_MAX ? HOSTNAME_MAX : (int)host.len;
    if (r->why != NULL)
        (void)snprintf(detail, sizeof detail, "%.*s%s%s", shown, host.ptr != NULL ? host.ptr : "",
                       shown > 0 ? ": " : "", r->why);
    else
        (void)snprintf(detail, sizeof detail, r->host.kind == HOST_IPV6 ? "[%.*s]:%u" : "%.*s:%u",
                       shown, host.ptr != NULL ? host.ptr : "", (unsigned)r->target.port);
    session_refuse(s, r->refusal, span_of(detail));
}

static void note_request(struct session *s, const struct head *head, const struct route *r)
{
    struct access_record *record = &s->record;
    (void)snprintf(
        record->method, sizeof record->method, "%.*s",
        (int)(head->method.len < ACCESS_METHOD_MAX ? head->method.len : ACCESS_METHOD_MAX),
        head->method.ptr);
    if (r->named)
        access_record_text(&record->host, span_of(r->host.text));
    else if (r->target.host.len > 0)
        access_record_text(&record->host, r->target.host);
    record->port = r->target.port;
    record->protocol = r->class.protocol;
    record->operation = r->class.operation;
}

static void begin_request(struct session *s, const struct head *head)
{
    const struct session_options *o = s->ctx->options;
    struct route r;
    route_decide(&r, head, o->policy, span_of(o->name));
    note_request(s, head, &r);
    s->scanned = 0;
    switch (r.kind) {
    case ROUTE_REFUSE:
        refuse_route(s, &r);
        break;
    case ROUTE_CONTROL:
        answer_page(s, head, &r);
        break;
    case ROUTE_TUNNEL:
        buf_consume(&s->in, head->size);
        connect_begin(s, &r);
        break;
    case ROUTE_FORWARD:
        forward_begin(s, head, &r);
        break;
    }
    body_release(&r.body);
}

/* The first octet of a request: from now on there is something to tell. */
static void begin_head(struct session *s)
{
    if (s->state == SESSION_IDLE)
        session_go(s, SESSION_HEAD);
    if (!s->record.active) {
        s->record.active = true;
        s->record.started_us = clock_us();
    }
}

static void parse_head(struct session *s)
{
    struct head head;
    const char *why = "";
    begin_head(s);
    if (s->verdict != OUTCOME_OK) {
        char text[ADDR_TEXT_MAX];
        session_refuse(s, s->verdict, span_of(addr_print(&s->record.client, text)));
        return;
    }
    enum head_result result = head_parse(&head, HEAD_REQUEST, buf_head(&s->in), buf_len(&s->in),
                                         &s->ctx->options->head, &s->scanned, &why);
    if (result == HEAD_OK)
        begin_request(s, &head);
    else if (result != HEAD_MORE)
        session_refuse(s, route_head_fault(result, HEAD_REQUEST), span_of(why != NULL ? why : ""));
}

/* One receive into `in`. False: nothing came, or the session has ended. */
static bool receive_head(struct session *s)
{
    /* Grows with what is there, so that a long SCEP GET costs few receives and an idle client
     * little memory. */
    size_t want = buf_len(&s->in) > 1024 ? buf_len(&s->in) : 1024;
    want = want < buf_room(&s->in) ? want : buf_room(&s->in);
    char *to = buf_reserve(&s->in, want);
    if (to == NULL) {
        session_close(s, OUTCOME_NO_MEMORY);
        return false;
    }
    ssize_t n = stream_receive(&s->client, to, want);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        session_close(s, n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET);
        return false;
    }
    buf_commit(&s->in, (size_t)n);
    return true;
}

static void head_ready(struct session *s)
{
    /* Octets of a pipelined request may be here already. */
    if (s->state == SESSION_IDLE && buf_len(&s->in) > 0)
        parse_head(s);
    while ((s->state == SESSION_HEAD || s->state == SESSION_IDLE) && s->client.can_read) {
        if (!receive_head(s))
            break;
        parse_head(s);
    }
    if (s->state == SESSION_IDLE && buf_len(&s->in) == 0)
        buf_release(&s->in);
}

/* ---- entries from the loop ---- */

static void dispatch_ready(struct session *s)
{
    switch (s->state) {
    case SESSION_IDLE:
    case SESSION_HEAD:
        head_ready(s);
        break;
    case SESSION_CONNECT:
        if (s->exchange != NULL)
            forward_ready(s);
        else
            connect_ready(s);
        break;
    case SESSION_HELLO:
    case SESSION_RELAY:
        connect_ready(s);
        break;
    case SESSION_EXCHANGE:
        forward_ready(s);
        break;
    case SESSION_ANSWER:
        session_send_answer(s);
        break;
    case SESSION_LINGER:
        drop_input(s);
        break;
    default:
        break;
    }
}

static void on_client_ready(struct stream *stream)
{
    struct session *s = LIST_ITEM(stream, struct session, client);
    enter(s);
    dispatch_ready(s);
    leave(s);
}

static void on_origin_ready(struct stream *stream)
{
    struct session *s = LIST_ITEM(stream, struct session, origin);
    enter(s);
    dispatch_ready(s);
    leave(s);
}

static void on_due(struct deadline *d)
{
    struct session *s = LIST_ITEM(d, struct session, deadline);
    enter(s);
    switch (s->state) {
    case SESSION_HEAD:
        /* A bare TCP probe is no event; half a head is. */
        if (s->record.active)
            session_refuse(s, OUTCOME_HEAD_TIMEOUT, SPAN(""));
        else
            session_close(s, OUTCOME_CLIENT_LEFT);
        break;
    case SESSION_HELLO:
    case SESSION_RELAY:
        connect_due(s);
        break;
    case SESSION_EXCHANGE:
        forward_due(s);
        break;
    default:
        session_close(s, OUTCOME_OK);
        break;
    }
    leave(s);
}

/* ---- the way to the origin ---- */

static enum outcome on_guard(void *arg, const struct addr *address)
{
    struct session *s = arg;
    const char *range = NULL;
    char text[ADDR_TEXT_MAX], detail[256];
    enum outcome verdict = policy_address(s->ctx->options->policy, address, &range);
    if (verdict != OUTCOME_OK) {
        (void)snprintf(detail, sizeof detail, "%s (%s)", addr_print(address, text),
                       range != NULL ? range : "");
        access_record_text(&s->record.detail, span_of(detail));
    }
    return verdict;
}

static void count_lookups(struct session *s)
{
    struct resolver_counters c;
    struct metrics *m = s->ctx->metrics;
    resolver_counters(s->ctx->net.resolver, &c);
    metrics_set(m, METRIC_DNS_LOOKUPS, c.lookups);
    metrics_set(m, METRIC_DNS_CACHE_HITS, c.cache_hits);
    metrics_set(m, METRIC_DNS_FAILURES, c.failures);
    metrics_set(m, METRIC_DNS_TIMEOUTS, c.timeouts);
}

static void refuse_dial(struct session *s, const struct dial_result *result)
{
    char detail[HOSTNAME_MAX + 256];
    const char *host = s->record.host != NULL ? s->record.host : "";
    if (result->outcome == OUTCOME_ADDRESS_DENIED)
        (void)snprintf(detail, sizeof detail, "%s -> %s", host,
                       s->record.detail != NULL ? s->record.detail : "");
    else if (result->error != 0)
        (void)snprintf(detail, sizeof detail, "%s:%u: %s", host, (unsigned)s->record.port,
                       uv_strerror(result->error));
    else
        (void)snprintf(detail, sizeof detail, "%s", host);
    session_refuse(s, result->outcome, span_of(detail));
}

static void on_dialled(void *arg, const struct dial_result *result)
{
    struct session *s = arg;
    enter(s);
    s->dial = NULL;
    s->record.origin = result->address;
    s->record.dns_us = result->dns_us;
    s->record.connect_us = result->connect_us;
    count_lookups(s);
    if (result->outcome != OUTCOME_OK) {
        refuse_dial(s, result);
    } else {
        metrics_add(s->ctx->metrics, METRIC_ORIGIN_CONNECTED, 1);
        stream_adopt(&s->origin, s->ctx->net.poller, result->slot, result->fd);
        if (s->exchange != NULL)
            forward_established(s);
        else
            connect_established(s);
    }
    leave(s);
}

void session_dial(struct session *s, const struct hostname *host)
{
    struct dial_request request = {
        .name = host->kind == HOST_NAME ? host->text : NULL,
        .literal = &host->addr,
        .port = s->record.port,
        .options = &s->ctx->options->dial,
        .guard = on_guard,
        .on_done = on_dialled,
        .arg = s,
    };
    session_go(s, SESSION_CONNECT);
    s->dial = dial_start(&s->ctx->net, &request);
    if (s->dial == NULL)
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
}

/* ---- beginning and end ---- */

/* Who may talk to us: address first, then the limits. The client hears of it when it speaks. */
static enum outcome admit(struct session *s)
{
    enum outcome verdict = admission_enter(s->ctx->admission, &s->record.client);
    if (verdict == OUTCOME_NO_MEMORY)
        return verdict;
    enum outcome allowed = policy_client(s->ctx->options->policy, &s->record.client);
    return allowed != OUTCOME_OK ? allowed : verdict;
}

void session_accept(struct session_context *ctx, int fd, const struct addr *client)
{
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        (void)close(fd);
        return;
    }
    s->ctx = ctx;
    s->state = SESSION_HEAD;
    s->record.client = *client;
    addr_unmap(&s->record.client);
    access_record_reset(&s->record);
    size_t head = ctx->options->head.head_octets;
    buf_init(&s->in, (head > CLIENT_HELLO_MAX ? head : CLIENT_HELLO_MAX) + 4096);
    buf_init(&s->out, CONTROL_ANSWER_MAX + 4096);
    deadline_init(&s->deadline, on_due);
    stream_init(&s->client, on_client_ready);
    stream_init(&s->origin, on_origin_ready);
    list_append(&ctx->sessions, &s->node);
    metrics_add(ctx->metrics, METRIC_ACCEPTED, 1);
    s->verdict = admit(s);
    enter(s);
    if (stream_open(&s->client, ctx->net.poller, fd) != 0) {
        session_close(s, OUTCOME_INTERNAL);
    } else {
        deadline_set(ctx->net.deadlines, &s->deadline, ctx->options->head_ms);
        head_ready(s); /* the request is often there already */
    }
    leave(s);
}

void session_drain_all(struct session_context *ctx)
{
    ctx->draining = true;
    LIST_EACH_SAFE (at, after, &ctx->sessions) {
        struct session *s = LIST_ITEM(at, struct session, node);
        if (s->state == SESSION_IDLE || (s->state == SESSION_HEAD && !s->record.active))
            session_close(s, OUTCOME_OK);
    }
}

void session_close_all(struct session_context *ctx)
{
    LIST_EACH_SAFE (at, after, &ctx->sessions) {
        session_close(LIST_ITEM(at, struct session, node), OUTCOME_DRAIN_ENDED);
    }
}

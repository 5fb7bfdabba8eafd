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

enum {
    RETRY_AFTER_S = 10, /* to three times as long: a device fleet's burst is spread by then */
    SPARES_MAX = 32     /* ended sessions of a worker whose memory is kept for the next */
};

static const unsigned may_go[SESSION_STATE_COUNT] = {
    [SESSION_PREFACE] = BIT(SESSION_HEAD) | BIT(SESSION_HANDSHAKE) | BIT(SESSION_PEEK) |
                        BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_HANDSHAKE] =
        BIT(SESSION_HEAD) | BIT(SESSION_ANSWER) | BIT(SESSION_LINGER) | BIT(SESSION_CLOSING),
    [SESSION_PEEK] =
        BIT(SESSION_QUEUED) | BIT(SESSION_CONNECT) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_IDLE] = BIT(SESSION_HEAD) | BIT(SESSION_CLOSING),
    [SESSION_HEAD] = BIT(SESSION_LOGIN) | BIT(SESSION_QUEUED) | BIT(SESSION_CONNECT) |
                     BIT(SESSION_EXCHANGE) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_LOGIN] = BIT(SESSION_HEAD) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_QUEUED] =
        BIT(SESSION_CONNECT) | BIT(SESSION_EXCHANGE) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_CONNECT] = BIT(SESSION_HELLO) | BIT(SESSION_RELAY) | BIT(SESSION_EXCHANGE) |
                        BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING) | BIT(SESSION_CONNECT) |
                        BIT(SESSION_PARENT),
    [SESSION_TRIAL] = BIT(SESSION_CONNECT) | BIT(SESSION_RELAY) | BIT(SESSION_CLOSING),
    [SESSION_PARENT] = BIT(SESSION_PARENT) | BIT(SESSION_TRIAL) | BIT(SESSION_EXCHANGE) |
                       BIT(SESSION_CONNECT) | BIT(SESSION_HELLO) | BIT(SESSION_RELAY) |
                       BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_HELLO] =
        BIT(SESSION_TRIAL) | BIT(SESSION_RELAY) | BIT(SESSION_ANSWER) | BIT(SESSION_CLOSING),
    [SESSION_RELAY] = BIT(SESSION_CLOSING),
    [SESSION_EXCHANGE] = BIT(SESSION_CONNECT) | BIT(SESSION_PARENT) | BIT(SESSION_ANSWER) |
                         BIT(SESSION_IDLE) | BIT(SESSION_LINGER) | BIT(SESSION_CLOSING),
    [SESSION_ANSWER] = BIT(SESSION_LINGER) | BIT(SESSION_IDLE) | BIT(SESSION_CLOSING),
    [SESSION_LINGER] = BIT(SESSION_CLOSING),
    [SESSION_CLOSING] = 0,
};

/* A door that lost its TLS has no time for it of its own. */
static uint64_t handshake_ms(const struct session *s)
{
    uint64_t own = session_door(s)->handshake_ms;
    return own > 0 ? own : s->ctx->options->head_ms;
}

/* How long a session may stay in a state; forward.c sets finer ones inside SESSION_EXCHANGE. 0: no
 * limit here. */
static uint64_t patience_ms(const struct session *s, enum session_state state)
{
    const struct session_options *o = s->ctx->options;
    switch (state) {
    case SESSION_IDLE:
        return session_idle_ms(s, o->keepalive_ms);
    case SESSION_PREFACE:
    case SESSION_HEAD:
        /* Who is turned away has no right to the time of others. */
        return s->verdict == OUTCOME_OK || o->head_ms < o->linger_ms ? o->head_ms : o->linger_ms;
    case SESSION_HANDSHAKE:
        return s->verdict == OUTCOME_OK || handshake_ms(s) < o->linger_ms ? handshake_ms(s)
                                                                          : o->linger_ms;
    case SESSION_QUEUED:
        return session_door(s)->queue_ms > 0 ? session_door(s)->queue_ms : o->queue_ms;
    case SESSION_PEEK:
        /* Who is turned away has no right to the time of others. */
        return s->verdict == OUTCOME_OK || o->hello_ms < o->linger_ms ? o->hello_ms : o->linger_ms;
    case SESSION_HELLO:
        return o->hello_ms;
    case SESSION_TRIAL:
    case SESSION_RELAY:
        return o->tunnel_idle_ms;
    case SESSION_EXCHANGE:
    case SESSION_ANSWER:
        return session_idle_ms(s, o->body_ms);
    case SESSION_LINGER:
        return o->linger_ms;
    default:
        return 0; /* SESSION_LOGIN, SESSION_CONNECT, SESSION_PARENT: have their own */
    }
}

void session_go(struct session *s, enum session_state next)
{
    assert(may_go[s->state] & BIT(next));
    s->state = next;
    uint64_t ms = patience_ms(s, next);
    if (ms > 0)
        deadline_set(s->ctx->net.deadlines, &s->deadline, ms);
    else
        deadline_clear(s->ctx->net.deadlines, &s->deadline);
}

enum session_state session_first_state(const struct session *s)
{
    if (s->door == DOOR_PASSTHROUGH)
        return SESSION_PEEK;
    /* A door that is TLS by its name never speaks in the clear, also when it has no certificate. */
    return s->door == DOOR_TLS || session_door(s)->tls != NULL ? SESSION_HANDSHAKE : SESSION_HEAD;
}

struct span session_host(const struct session *s)
{
    return span_of(s->record.host != NULL ? s->record.host : "");
}

void session_tell(struct session *s, enum outcome why)
{
    struct access_record *r = &s->record;
    forward_account(s);
    if (!r->active)
        return;
    r->outcome = why;
    metrics_count(&s->ctx->metrics->exchanges[r->protocol][why], 1);
    role_count(s, why);
    if (s->ctx->options->access_log)
        access_log_write(s->ctx->access_log, r, s->ctx->worker);
    access_record_reset(r);
}

/* Zeroed; NULL when out of memory. */
static struct session *take_memory(struct session_context *ctx)
{
    struct session *s = ctx->spare_session;
    if (s == NULL)
        return calloc(1, sizeof *s);
    ctx->spare_session = s->next_spare;
    ctx->spare_session_count--;
    s->next_spare = NULL;
    return s;
}

/* Zeroed at once: whoever still uses it shall fall over it, not into another client's session. */
static void give_memory(struct session_context *ctx, struct session *s)
{
    if (ctx->spare_session_count == SPARES_MAX) {
        free(s);
        return;
    }
    *s = (struct session){.next_spare = ctx->spare_session};
    ctx->spare_session = s;
    ctx->spare_session_count++;
}

void session_forget_spares(struct session_context *ctx)
{
    while (ctx->spare_session != NULL)
        free(take_memory(ctx));
    forward_forget_spares(ctx);
}

/* Freed when nobody on the stack uses it any more. */
static void free_if_left(struct session *s)
{
    if (s->state != SESSION_CLOSING || s->busy > 0)
        return;
    struct session_context *ctx = s->ctx;
    give_memory(ctx, s);
    if (list_empty(&ctx->sessions) && ctx->on_empty != NULL)
        ctx->on_empty(ctx->on_empty_arg);
}

void session_enter(struct session *s)
{
    s->busy++;
}

void session_leave(struct session *s)
{
    s->busy--;
    free_if_left(s);
}

void session_close(struct session *s, enum outcome why)
{
    if (s->state == SESSION_CLOSING)
        return;
    if (s->state == SESSION_RELAY)
        metrics_add(s->ctx->metrics, METRIC_TUNNELS_CLOSED, 1);
    session_tell(s, why);
    login_release(s);
    upstream_release(s);
    stream_close(&s->client);
    tunnel_release(&s->tunnel);
    buf_release(&s->in);
    buf_release(&s->out);
    access_record_reset(&s->record);
    free(s->identity);
    s->identity = NULL;
    session_go(s, SESSION_CLOSING);
    list_remove(&s->node);
    metrics_add(s->ctx->metrics, METRIC_CLOSED, 1);
    role_leave(s);
    preface_leave(s);
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

bool session_receive(struct session *s)
{
    /* By way of the scratch, so that all that is there comes at once and `in` has no larger memory
     * than that. */
    size_t want =
        buf_room(&s->in) < s->ctx->scratch_octets ? buf_room(&s->in) : s->ctx->scratch_octets;
    ssize_t n = stream_receive(&s->client, s->ctx->scratch, want);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        session_close(s, n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET);
        return false;
    }
    if (buf_add(&s->in, s->ctx->scratch, (size_t)n) != 0) {
        session_close(s, OUTCOME_NO_MEMORY);
        return false;
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

/* A head, and what may come with it. */
static size_t input_max(const struct session_context *ctx)
{
    size_t head = ctx->options->head.head_octets;
    return (head > CLIENT_HELLO_MAX ? head : CLIENT_HELLO_MAX) + 4096;
}

void session_next(struct session *s)
{
    if (s->ctx->draining) {
        session_linger(s); /* a pipelined request unread would turn the close into a reset */
        return;
    }
    buf_release(&s->out);
    if (buf_len(&s->in) == 0)
        buf_release(&s->in);
    if (s->in.max < input_max(s->ctx))
        s->in.max = input_max(s->ctx); /* a reload has raised limit.head */
    s->scanned = 0;
    s->login_verdict = OUTCOME_PENDING;
    s->exchanges++;
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

/*
 * Whether it hears us as HTTP; before that only TLS alerts reach it. No HTTP at all behind an SNI.
 */
static bool speaks_http(const struct session *s)
{
    return s->plain || (s->door != DOOR_PASSTHROUGH &&
                        (session_first_state(s) == SESSION_HEAD || s->client.layer != NULL) &&
                        s->state != SESSION_HANDSHAKE);
}

/* docs/doors.md has the table. No server stands for a name that is not allowed or does not exist.
 */
static enum tls_alert alert_for(enum outcome why)
{
    if (why == OUTCOME_HOST_DENIED || why == OUTCOME_DNS_NOT_FOUND)
        return TLS_ALERT_UNRECOGNIZED_NAME;
    if (why == OUTCOME_HELLO_NOT_TLS || why == OUTCOME_HELLO_MALFORMED)
        return TLS_ALERT_DECODE_ERROR;
    if (why == OUTCOME_SNI_MISSING) /* RFC 8446 section 9.2 */
        return TLS_ALERT_MISSING_EXTENSION;
    switch (outcome_info(why)->status) {
    case 403:
    case 429:
        return TLS_ALERT_ACCESS_DENIED;
    case 400:
        return TLS_ALERT_DECODE_ERROR;
    default:
        return TLS_ALERT_INTERNAL_ERROR;
    }
}

/* The refusal as a TLS alert (RFC 8446 section 6), in the clear: there is no handshake yet. */
static int write_alert(struct session *s, enum outcome why)
{
    unsigned char record[TLS_ALERT_OCTETS];
    client_hello_alert(record, alert_for(why));
    return buf_add(&s->out, record, sizeof record);
}

/* Those who were refused together must not come back together. */
static unsigned retry_after_s(void)
{
    return RETRY_AFTER_S + (unsigned)(clock_us() % (2 * RETRY_AFTER_S + 1));
}

static void refuse(struct session *s, enum outcome why, struct span detail, bool keep)
{
    if (s->state == SESSION_CLOSING)
        return;
    /* A copy first: the words may be part of what is given back now. */
    if (detail.len > 0)
        access_record_text(&s->record.detail, detail);
    if (forward_midway(s)) { /* an answer now would become part of it */
        session_abort(s, why);
        return;
    }
    login_release(s);
    upstream_release(s);
    buf_release(&s->out);
    bool http = speaks_http(s);
    char rule[ROLE_RULE_MAX];
    keep = keep && http;
    struct refusal r = {
        .outcome = why,
        .detail = span_of(detail.len > 0 && s->record.detail != NULL ? s->record.detail : ""),
        .rule = role_refused_by(s, why, rule),
        .name = s->ctx->options->name,
        .realm = s->ctx->options->realm,
        .head_only = strcmp(s->record.method, "HEAD") == 0,
        .keep = keep,
        .retry_after_s = retry_after_s(),
        .now = time(NULL),
    };
    if ((http ? reply_refusal(&s->out, &r) : write_alert(s, why)) != 0) {
        session_close(s, OUTCOME_NO_MEMORY);
        return;
    }
    if (r.rule != NULL)
        role_note_rule(s, r.rule);
    s->record.active = true;
    s->record.status = http ? outcome_info(why)->status : 0;
    s->record.octets_down += buf_len(&s->out);
    s->keep = keep;
    session_tell(s, why);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

void session_refuse(struct session *s, enum outcome why, struct span detail)
{
    refuse(s, why, detail, false);
}

void session_refuse_kept(struct session *s, enum outcome why, struct span detail, size_t octets)
{
    buf_consume(&s->in, octets);
    refuse(s, why, detail, true);
}

/* ---- entries from the loop ---- */

static void dispatch_ready(struct session *s)
{
    switch (s->state) {
    case SESSION_PREFACE:
        preface_ready(s);
        break;
    case SESSION_HANDSHAKE:
        handshake_ready(s);
        break;
    case SESSION_PEEK:
        passthrough_ready(s);
        break;
    case SESSION_IDLE:
    case SESSION_HEAD:
        request_ready(s);
        break;
    case SESSION_LOGIN:
        login_ready(s);
        break;
    case SESSION_QUEUED:
    case SESSION_CONNECT:
        if (s->exchange != NULL)
            forward_ready(s);
        else
            connect_ready(s);
        break;
    case SESSION_PARENT:
        next_hop_ready(s);
        break;
    case SESSION_TRIAL:
        trial_ready(s);
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
    session_enter(s);
    dispatch_ready(s);
    session_leave(s);
}

static void on_origin_ready(struct stream *stream)
{
    struct session *s = LIST_ITEM(stream, struct session, origin);
    session_enter(s);
    dispatch_ready(s);
    session_leave(s);
}

static void on_due(struct deadline *d)
{
    struct session *s = LIST_ITEM(d, struct session, deadline);
    session_enter(s);
    switch (s->state) {
    case SESSION_PREFACE:
    case SESSION_HEAD:
        /* A bare TCP probe is no event; half a head is. */
        if (s->record.active)
            session_refuse(s, OUTCOME_HEAD_TIMEOUT, SPAN(""));
        else
            session_close(s, OUTCOME_CLIENT_LEFT);
        break;
    case SESSION_HANDSHAKE:
        handshake_due(s);
        break;
    case SESSION_PEEK:
        passthrough_due(s);
        break;
    case SESSION_QUEUED:
        upstream_due(s);
        break;
    case SESSION_PARENT:
        next_hop_due(s);
        break;
    case SESSION_TRIAL:
        trial_due(s);
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
    session_leave(s);
}

/* ---- beginning and end ---- */

void session_accept(struct session_context *ctx, enum door_kind door, int fd,
                    const struct addr *client)
{
    struct session *s = take_memory(ctx);
    if (s == NULL) {
        (void)close(fd);
        return;
    }
    s->ctx = ctx;
    s->door = door;
    s->login_verdict = OUTCOME_PENDING;
    s->record.door = door;
    s->record.client = *client;
    addr_unmap(&s->record.client);
    s->record.operation = ""; /* the rest of it is zero, as the memory is */
    s->serial = ++ctx->accepted;
    buf_init(&s->in, input_max(ctx));
    buf_init(&s->out, CONTROL_ANSWER_MAX + 4096);
    deadline_init(&s->deadline, on_due);
    stream_init(&s->client, on_client_ready);
    stream_init(&s->origin, on_origin_ready);
    list_append(&ctx->sessions, &s->node);
    metrics_add(ctx->metrics, METRIC_ACCEPTED, 1);
    bool heard = preface_begin(s);
    session_enter(s);
    if (!heard) {
        (void)close(fd);
        session_close(s, s->verdict);
    } else if (stream_open(&s->client, ctx->net.poller, fd) != 0) {
        session_close(s, OUTCOME_INTERNAL);
    } else {
        deadline_set(ctx->net.deadlines, &s->deadline, patience_ms(s, s->state));
        if (s->state == SESSION_HANDSHAKE)
            handshake_begin(s);
        else
            dispatch_ready(s); /* the request is often there already */
    }
    session_leave(s);
}

void session_drain_all(struct session_context *ctx, bool patient)
{
    ctx->draining = true;
    LIST_EACH_SAFE (at, after, &ctx->sessions) {
        struct session *s = LIST_ITEM(at, struct session, node);
        bool silent = s->state == SESSION_PREFACE || s->state == SESSION_HEAD ||
                      s->state == SESSION_HANDSHAKE || s->state == SESSION_PEEK;
        if (s->state == SESSION_IDLE || (silent && !s->record.active && !patient))
            session_close(s, OUTCOME_OK);
    }
}

void session_close_all(struct session_context *ctx)
{
    LIST_EACH_SAFE (at, after, &ctx->sessions) {
        struct session *s = LIST_ITEM(at, struct session, node);
        if (forward_is_cut(s))
            session_abort(s, OUTCOME_DRAIN_ENDED);
        else
            session_close(s, OUTCOME_DRAIN_ENDED);
    }
}

/*
 * connect.c - a CONNECT from its route to the end of its tunnel: dial, 200, the look at the first
 * octets, relay.
 */
#include "proxy/session/session_impl.h"

#include <errno.h>
#include <stdio.h>

#include "proxy/base/clock.h"
#include "proxy/wire/client_hello.h"
#include "proxy/wire/reply.h"

static bool gate_applies(const struct session *s)
{
    const struct session_options *o = s->ctx->options;
    return o->sni != SESSION_SNI_OFF &&
           !port_ranges_have(o->raw_ports, o->raw_port_count, s->record.port);
}

/*
 * Collects what the client sends before its octets may flow, at most what `in` holds: a client
 * whose reads were stopped would not be seen leaving. False: the session has ended.
 */
bool connect_collect(struct session *s)
{
    while (s->client.can_read && buf_room(&s->in) > 0) {
        size_t want =
            buf_room(&s->in) < s->ctx->scratch_octets ? buf_room(&s->in) : s->ctx->scratch_octets;
        ssize_t n = stream_receive(&s->client, s->ctx->scratch, want);
        if (n == -EAGAIN)
            return true;
        if (n > 0 && buf_add(&s->in, s->ctx->scratch, (size_t)n) != 0)
            n = -ENOMEM;
        if (n < 0) {
            session_close(s, n == -ENOMEM ? OUTCOME_NO_MEMORY : OUTCOME_CLIENT_RESET);
            return false;
        }
        if (n == 0) {
            /* Its FIN. With nothing sent before, no ClientHello can come any more. Otherwise the
             * relay passes it on. */
            s->tunnel.way[TUNNEL_UP].ended = s->tunnel.way[TUNNEL_UP].fin = true;
            if (buf_len(&s->in) == 0 && gate_applies(s)) {
                session_close(s, OUTCOME_CLIENT_LEFT);
                return false;
            }
            return true;
        }
    }
    return true;
}

void connect_begin(struct session *s, const struct head *head, const struct route *r)
{
    if (!next_hop_begin(s, head, r))
        return;
    buf_consume(&s->in, head->size);
    tunnel_init(&s->tunnel, s->ctx->options->buffer_octets, s->ctx->pipes);
    upstream_seek(s, &r->host);
    if (s->state == SESSION_QUEUED || s->state == SESSION_CONNECT)
        (void)connect_collect(s);
}

/* ---- relay ---- */

static uint64_t relay_age_ms(const struct session *s)
{
    return uv_now(s->ctx->net.loop) - s->since_ms;
}

static bool relay_is_too_old(const struct session *s)
{
    uint64_t most = s->ctx->options->tunnel_lifetime_ms;
    return most > 0 && relay_age_ms(s) >= most;
}

/* Until the tunnel has been idle too long, or has lived too long. */
static uint64_t relay_patience_ms(const struct session *s)
{
    const struct session_options *o = s->ctx->options;
    uint64_t idle = tunnel_half_closed(&s->tunnel) ? o->halfclosed_ms : o->tunnel_idle_ms;
    uint64_t age = relay_age_ms(s);
    bool limited = o->tunnel_lifetime_ms > 0 && age + idle > o->tunnel_lifetime_ms;
    return limited ? o->tunnel_lifetime_ms - age : idle;
}

static void relay(struct session *s)
{
    struct tunnel *t = &s->tunnel;
    uint64_t up = t->way[TUNNEL_UP].octets, down = t->way[TUNNEL_DOWN].octets;
    enum tunnel_status status =
        tunnel_pump(t, &s->client, &s->origin, s->ctx->scratch, s->ctx->scratch_octets);
    metrics_add(s->ctx->metrics, METRIC_OCTETS_UP, t->way[TUNNEL_UP].octets - up);
    metrics_add(s->ctx->metrics, METRIC_OCTETS_DOWN, t->way[TUNNEL_DOWN].octets - down);
    s->record.octets_up = t->way[TUNNEL_UP].octets;
    s->record.octets_down = t->way[TUNNEL_DOWN].octets;
    if (down == 0 && s->record.octets_down > 0) {
        s->record.first_octet_us = clock_us() - s->record.started_us;
        passthrough_release(s); /* the hello was answered: it did not come back to us */
    }
    if (t->way[TUNNEL_UP].starved || t->way[TUNNEL_DOWN].starved) {
        stream_abort(&s->origin);
        session_abort(s, OUTCOME_NO_MEMORY);
    } else if (status == TUNNEL_CLOSED) {
        session_close(s, t->client_reset   ? OUTCOME_CLIENT_RESET
                         : t->origin_reset ? OUTCOME_ORIGIN_RESET
                                           : OUTCOME_OK);
    } else if (relay_is_too_old(s)) {
        /* Here too: a busy tunnel puts its deadline off. */
        session_close(s, OUTCOME_TUNNEL_LIFETIME);
    } else if (status == TUNNEL_MOVED) {
        deadline_set(s->ctx->net.deadlines, &s->deadline, relay_patience_ms(s));
    }
}

void connect_relay(struct session *s)
{
    if (!next_hop_settle(s)) {
        session_close(s, OUTCOME_NO_MEMORY);
        return;
    }
    tunnel_take_early(&s->tunnel, TUNNEL_UP, &s->in);
    tunnel_take_early(&s->tunnel, TUNNEL_DOWN,
                      &s->out); /* of the 200, if the client is that slow */
    metrics_add(s->ctx->metrics, METRIC_TUNNELS_OPENED, 1);
    s->since_ms = uv_now(s->ctx->net.loop);
    session_go(s, SESSION_RELAY);
    deadline_set(s->ctx->net.deadlines, &s->deadline, relay_patience_ms(s));
    relay(s);
}

static void begin_relay(struct session *s)
{
    if (!trial_begin(s))
        connect_relay(s);
}

/* ---- the gate ---- */

static void count_hello(struct session *s, enum metrics_hello result)
{
    metrics_count(&s->ctx->metrics->hellos[result], 1);
}

/* The client has its 200, so the refusal is a TLS alert; nothing has reached the origin. */
static void refuse_hello(struct session *s, enum outcome why, enum tls_alert alert)
{
    count_hello(s, why == OUTCOME_HELLO_TIMEOUT     ? METRICS_HELLO_TIMEOUT
                   : why == OUTCOME_HELLO_NOT_TLS   ? METRICS_HELLO_NOT_TLS
                   : why == OUTCOME_HELLO_MALFORMED ? METRICS_HELLO_MALFORMED
                   : why == OUTCOME_SNI_MISSING     ? METRICS_HELLO_MISSING
                                                    : METRICS_HELLO_MISMATCH);
    unsigned char record[TLS_ALERT_OCTETS];
    client_hello_alert(record, alert);
    upstream_release(s);
    if (buf_add(&s->out, record, sizeof record) != 0) {
        session_close(s, why);
        return;
    }
    s->record.octets_down += sizeof record;
    s->keep = false;
    session_tell(s, why);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

/* OUTCOME_OK when the server name may go where the tunnel goes (DESIGN section 4, step 7). */
static enum outcome judge_sni(const struct session *s, const struct client_hello *hello,
                              enum metrics_hello *passes_as)
{
    struct hostname name;
    *passes_as = METRICS_HELLO_ABSENT;
    if (!hello->has_sni)
        return s->ctx->options->sni == SESSION_SNI_STRICT ? OUTCOME_SNI_MISSING : OUTCOME_OK;
    *passes_as = METRICS_HELLO_MATCH;
    if (s->record.host == NULL || hostname_parse(&name, span_of(hello->sni), NULL) != 0)
        return OUTCOME_SNI_MISMATCH;
    if (strcmp(name.text, s->record.host) == 0)
        return OUTCOME_OK;
    /* A tunnel to an address may carry a name, if that name might have been asked for itself. */
    struct addr literal;
    *passes_as = METRICS_HELLO_ADDRESS;
    bool to_address = addr_parse(&literal, span_of(s->record.host), 0) == 0;
    if (to_address &&
        policy_request(session_policy(s), &name, s->record.port, PROTOCOL_TUNNEL) == OUTCOME_OK)
        return OUTCOME_OK;
    return OUTCOME_SNI_MISMATCH;
}

static void look_at_hello(struct session *s)
{
    struct client_hello hello;
    enum outcome verdict;
    enum metrics_hello passes_as;
    switch (client_hello_parse(&hello, buf_head(&s->in), buf_len(&s->in))) {
    case CLIENT_HELLO_MORE:
        if (s->tunnel.way[TUNNEL_UP].ended)
            session_close(s, OUTCOME_CLIENT_LEFT);
        return;
    case CLIENT_HELLO_NOT_TLS:
        refuse_hello(s, OUTCOME_HELLO_NOT_TLS, TLS_ALERT_DECODE_ERROR);
        return;
    case CLIENT_HELLO_MALFORMED:
        refuse_hello(s, OUTCOME_HELLO_MALFORMED, TLS_ALERT_DECODE_ERROR);
        return;
    case CLIENT_HELLO_OK:
        if (hello.has_sni)
            access_record_text(&s->record.sni, span_of(hello.sni));
        verdict = judge_sni(s, &hello, &passes_as);
        if (verdict != OUTCOME_OK) {
            refuse_hello(s, verdict,
                         verdict == OUTCOME_SNI_MISMATCH ? TLS_ALERT_UNRECOGNIZED_NAME
                                                         : TLS_ALERT_ACCESS_DENIED);
        } else {
            count_hello(s, passes_as);
            begin_relay(s);
        }
        return;
    }
}

static void hello_ready(struct session *s)
{
    if (!session_flush(s) || !connect_collect(s))
        return;
    if (buf_len(&s->in) > 0 || s->tunnel.way[TUNNEL_UP].ended)
        look_at_hello(s);
}

void connect_established(struct session *s)
{
    if (s->door == DOOR_PASSTHROUGH) { /* its hello was read before, and it knows of no 200 */
        begin_relay(s);
        return;
    }
    s->record.status = 200;
    if (buf_add_span(&s->out, reply_connect_established) != 0) {
        session_close(s, OUTCOME_NO_MEMORY);
        return;
    }
    if (!session_flush(s))
        return;
    if (!gate_applies(s)) {
        count_hello(s, METRICS_HELLO_UNGATED);
        begin_relay(s);
        return;
    }
    session_go(s, SESSION_HELLO);
    hello_ready(s);
}

void connect_ready(struct session *s)
{
    if (s->state == SESSION_RELAY) {
        relay(s);
    } else if (s->state == SESSION_HELLO) {
        hello_ready(s);
    } else if (s->client.broken) {
        session_close(s, OUTCOME_CLIENT_RESET);
    } else {
        (void)connect_collect(s);
    }
}

void connect_due(struct session *s)
{
    if (s->state == SESSION_HELLO)
        refuse_hello(s, OUTCOME_HELLO_TIMEOUT, TLS_ALERT_ACCESS_DENIED);
    else
        session_close(s, relay_is_too_old(s) ? OUTCOME_TUNNEL_LIFETIME : OUTCOME_TUNNEL_IDLE);
}

/*
 * trial.c - a tunnel through a parent proxy until the first octet comes back: what the client has
 * said is kept meanwhile, so that a parent that dies, or falls silent, just then is replaced
 * without the client noticing.
 *
 * Only a ClientHello may be sent twice, and only while there is another parent to ask; otherwise
 * the relay begins at once. A result here alone breaks no parent: the fault may be the origin's.
 */
#include "proxy/session/session_impl.h"

#include <errno.h>

#include "proxy/session/next_hop_impl.h"
#include "proxy/wire/client_hello_repeat.h"

static enum client_hello_repeat said(const struct session *s)
{
    if (s->tunnel.way[TUNNEL_UP].ended)
        return CLIENT_HELLO_REPEAT_NO;
    struct span in = buf_span(&s->in);
    return client_hello_repeat(in.ptr, in.len);
}

bool trial_begin(struct session *s)
{
    struct next_hop *hop = s->hop;
    if (hop == NULL || buf_len(&hop->reply) > 0 || buf_len(&s->out) > 0 || !next_hop_has_more(s) ||
        said(s) == CLIENT_HELLO_REPEAT_NO)
        return false;
    hop->promised = true;
    hop->tried_on = false;
    hop->sent = 0;
    session_go(s, SESSION_TRIAL);
    trial_ready(s);
    return true;
}

/* The relay, with whatever state the way to the origin is in. */
static void go_on(struct session *s)
{
    size_t sent = s->hop->sent;
    s->origin.can_read = true; /* its end, if that was it, is the relay's to pass on */
    buf_consume(&s->in, sent);
    s->tunnel.way[TUNNEL_UP].octets = sent;
    metrics_add(s->ctx->metrics, METRIC_OCTETS_UP, sent);
    connect_relay(s);
}

/* On with a way to the origin that is broken: its socket has told it once, and tells no more. */
static void go_on_broken(struct session *s, bool broken)
{
    if (broken)
        s->tunnel.way[TUNNEL_DOWN].ended = s->tunnel.origin_broke = s->tunnel.origin_reset = true;
    go_on(s);
}

/* Another parent, or on with this one if there is none. */
static void replace(struct session *s, const char *why, bool broken)
{
    if (said(s) == CLIENT_HELLO_REPEAT_NO || s->client.broken || !next_hop_has_more(s)) {
        go_on_broken(s, broken);
        return;
    }
    next_hop_note(s, PARENT_LOST, why);
    next_hop_restart(s);
    if (!next_hop_another(s)) {
        go_on_broken(s, broken);
        return;
    }
    stream_close(&s->origin);
    upstream_dial(s, NULL);
}

/* False: the parent takes no more. */
static bool send_up(struct session *s)
{
    struct next_hop *hop = s->hop;
    while (hop->sent < buf_len(&s->in) && s->origin.can_write) {
        ssize_t n =
            stream_send(&s->origin, buf_head(&s->in) + hop->sent, buf_len(&s->in) - hop->sent);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return false;
        hop->sent += (size_t)n;
    }
    return true;
}

/* One receive. -EAGAIN: nothing has come. */
static ssize_t hear(struct session *s)
{
    struct buf *reply = &s->hop->reply;
    size_t want =
        buf_room(reply) < s->ctx->scratch_octets ? buf_room(reply) : s->ctx->scratch_octets;
    if (!s->origin.can_read)
        return -EAGAIN;
    ssize_t n = stream_receive(&s->origin, s->ctx->scratch, want);
    return n > 0 && buf_add(reply, s->ctx->scratch, (size_t)n) != 0 ? -ENOMEM : n;
}

void trial_ready(struct session *s)
{
    connect_ready(s); /* the client: is it still there, what does it say */
    if (s->state != SESSION_TRIAL)
        return;
    ssize_t n = hear(s); /* first: a send would take a reset for itself */
    bool taking = n == -EAGAIN && send_up(s);
    enum client_hello_repeat what = said(s);
    if (n == -ENOMEM)
        session_close(s, OUTCOME_NO_MEMORY);
    else if (n > 0)
        go_on(s); /* the origin speaks: from here on the tunnel is this one */
    else if (n != -EAGAIN || !taking)
        replace(s, n == 0 ? "closed the tunnel before its first octet" : "broke off the tunnel",
                n != 0);
    else if (what == CLIENT_HELLO_REPEAT_NO)
        go_on(s);
    else if (what == CLIENT_HELLO_REPEAT_YES && !s->hop->tried_on) {
        s->hop->tried_on = true;
        deadline_set(s->ctx->net.deadlines, &s->deadline, next_hop_attempt_ms(s));
    }
}

void trial_due(struct session *s)
{
    if (s->hop->tried_on)
        replace(s, "nothing came back through the tunnel in time", false);
    else
        session_close(s, OUTCOME_TUNNEL_IDLE);
}

/*
 * preface.c - who the client is, perhaps by the word of a load balancer, and whether it may come
 * in.
 */
#include "proxy/session/session_impl.h"

#include "proxy/base/clock.h"
#include "proxy/wire/proxy_header.h"

enum outcome preface_judge(const struct session *s)
{
    const struct door_options *door = session_door(s);
    if (door->client_count == 0)
        return policy_client(s->ctx->options->policy, &s->record.client);
    struct addr plain = s->record.client;
    addr_unmap(&plain); /* a listener for both families shows IPv4 so */
    return prefix_match_any(door->clients, door->client_count, &plain) ? OUTCOME_OK
                                                                       : OUTCOME_CLIENT_DENIED;
}

/* The client's address is known: the rules first, then its limit. */
static enum outcome judge_client(struct session *s)
{
    const struct addr *client = &s->record.client;
    enum outcome verdict = preface_judge(s);
    if (verdict != OUTCOME_OK || s->verdict != OUTCOME_OK)
        return verdict != OUTCOME_OK ? verdict : s->verdict;
    verdict = admission_enter_client(s->ctx->admission, client);
    s->counted_client = verdict == OUTCOME_OK;
    return verdict;
}

/* False: too many hear now that they are turned away; this one is to be closed. */
static bool may_hear_of_it(struct session *s)
{
    if (!admission_crowded(s->ctx->admission))
        return true;
    metrics_add(s->ctx->metrics, METRIC_REFUSALS_DROPPED, 1);
    return false;
}

bool preface_turn_away(struct session *s, enum outcome why)
{
    s->verdict = why;
    admission_turn_away(s->ctx->admission);
    return may_hear_of_it(s);
}

/*
 * Who is turned away hears of it when it speaks, which it must do soon; others have its place
 * meanwhile. False: too many hear of it now; this one is to be closed.
 */
static bool come_in(struct session *s)
{
    bool had_place = s->verdict == OUTCOME_OK;
    s->verdict = judge_client(s);
    if (s->verdict == OUTCOME_OK)
        return true;
    if (had_place)
        admission_turn_away(s->ctx->admission);
    return may_hear_of_it(s);
}

bool preface_begin(struct session *s)
{
    const struct session_options *o = s->ctx->options;
    s->verdict = admission_enter(s->ctx->admission);
    if (prefix_match_any(o->balancers, o->balancer_count, &s->record.client)) {
        s->state = SESSION_PREFACE;
        return true;
    }
    s->state = session_first_state(s);
    return come_in(s);
}

void preface_leave(struct session *s)
{
    if (s->counted_client)
        admission_leave_client(s->ctx->admission, &s->record.client);
    s->counted_client = false;
    admission_leave(s->ctx->admission, s->verdict == OUTCOME_OK);
}

/*
 * TLS of ours begins behind the header, and OpenSSL reads from the socket: nothing behind it may be
 * taken with it.
 */
static bool only_looks(const struct session *s)
{
    return buf_len(&s->in) == 0 && session_first_state(s) == SESSION_HANDSHAKE;
}

static void drop_header(struct session *s, size_t octets)
{
    if (buf_len(&s->in) > 0)
        buf_consume(&s->in, octets);
    else /* all of it waits there */
        (void)stream_receive(&s->client, s->ctx->scratch, octets);
}

static void take_header(struct session *s, const struct proxy_header *h)
{
    drop_header(s, h->size);
    if (!h->local)
        s->record.client = h->source;
    /* A health check ends here, and is no event. */
    s->record.active = false;
    metrics_add(s->ctx->metrics, METRIC_PROXY_HEADERS, 1);
    if (!come_in(s)) {
        session_close(s, s->verdict);
        return;
    }
    session_go(s, session_first_state(s));
    if (s->state == SESSION_HANDSHAKE)
        handshake_begin(s);
    else if (s->state == SESSION_PEEK)
        passthrough_ready(s);
    else
        request_ready(s);
}

/* False: there is more to come. */
static bool look_at_header(struct session *s, const char *data, size_t len)
{
    struct proxy_header h;
    const char *why = "";
    if (!s->record.active) {
        s->record.active = true;
        s->record.started_us = clock_us();
    }
    switch (proxy_header_parse(&h, data, len, &why)) {
    case PROXY_HEADER_MORE:
        return false;
    case PROXY_HEADER_MALFORMED:
        session_refuse(s, OUTCOME_PROXY_HEADER_MALFORMED, span_of(why));
        break;
    case PROXY_HEADER_OK:
        take_header(s, &h);
        break;
    }
    return true;
}

static void peek_at_header(struct session *s)
{
    ssize_t n = stream_peek(&s->client, s->ctx->scratch, PROXY_HEADER_MAX + 1);
    if (n == -EAGAIN)
        return;
    if (n <= 0)
        session_close(s, n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET);
    else if (!look_at_header(s, s->ctx->scratch, (size_t)n))
        s->client.can_read = false; /* the next octet makes an edge */
}

void preface_ready(struct session *s)
{
    while (s->state == SESSION_PREFACE && s->client.can_read) {
        if (only_looks(s))
            peek_at_header(s);
        else if (session_receive(s))
            (void)look_at_header(s, buf_head(&s->in), buf_len(&s->in));
        else
            break;
    }
}

/*
 * preface.c - who the client is, perhaps by the word of a load balancer, and whether it may come
 * in.
 */
#include "proxy/session/session_impl.h"

#include "proxy/base/clock.h"
#include "proxy/wire/proxy_header.h"

/* The client's address is known: the rules first, then its limit. */
static enum outcome judge_client(struct session *s)
{
    const struct addr *client = &s->record.client;
    enum outcome verdict = policy_client(s->ctx->options->policy, client);
    if (verdict != OUTCOME_OK || s->verdict != OUTCOME_OK)
        return verdict != OUTCOME_OK ? verdict : s->verdict;
    verdict = admission_enter_client(s->ctx->admission, client);
    s->counted_client = verdict == OUTCOME_OK;
    return verdict;
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
    if (!admission_crowded(s->ctx->admission))
        return true;
    metrics_add(s->ctx->metrics, METRIC_REFUSALS_DROPPED, 1);
    return false;
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

static void take_header(struct session *s, const struct proxy_header *h)
{
    buf_consume(&s->in, h->size);
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

static void look_at_header(struct session *s)
{
    struct proxy_header h;
    const char *why = "";
    if (!s->record.active) {
        s->record.active = true;
        s->record.started_us = clock_us();
    }
    switch (proxy_header_parse(&h, buf_head(&s->in), buf_len(&s->in), &why)) {
    case PROXY_HEADER_MORE:
        break;
    case PROXY_HEADER_MALFORMED:
        session_refuse(s, OUTCOME_PROXY_HEADER_MALFORMED, span_of(why));
        break;
    case PROXY_HEADER_OK:
        take_header(s, &h);
        break;
    }
}

void preface_ready(struct session *s)
{
    while (s->state == SESSION_PREFACE && s->client.can_read) {
        if (!session_receive(s))
            break;
        look_at_header(s);
    }
}

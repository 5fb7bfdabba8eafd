/*
 * preface.c - who the client is, perhaps by the word of a load balancer, and whether it may come
 * in.
 */
#include "proxy/session/session_impl.h"

#include "proxy/base/clock.h"
#include "proxy/wire/proxy_header.h"

/* The client's address is known: address first, then the limits. It hears of it when it speaks. */
static void come_in(struct session *s)
{
    const struct addr *client = &s->record.client;
    enum outcome verdict = admission_enter_client(s->ctx->admission, client);
    s->counted_client = verdict != OUTCOME_NO_MEMORY;
    if (s->verdict == OUTCOME_OK)
        s->verdict = verdict;
    enum outcome allowed = policy_client(s->ctx->options->policy, client);
    if (allowed != OUTCOME_OK)
        s->verdict = allowed;
}

void preface_begin(struct session *s)
{
    const struct session_options *o = s->ctx->options;
    s->verdict = admission_enter(s->ctx->admission);
    if (prefix_match_any(o->balancers, o->balancer_count, &s->record.client)) {
        s->state = SESSION_PREFACE;
    } else {
        s->state = SESSION_HEAD;
        come_in(s);
    }
}

void preface_leave(struct session *s)
{
    if (s->counted_client)
        admission_leave_client(s->ctx->admission, &s->record.client);
    s->counted_client = false;
    admission_leave(s->ctx->admission);
}

static void take_header(struct session *s, const struct proxy_header *h)
{
    buf_consume(&s->in, h->size);
    if (!h->local)
        s->record.client = h->source;
    /* A health check ends here, and is no event. */
    s->record.active = false;
    metrics_add(s->ctx->metrics, METRIC_PROXY_HEADERS, 1);
    come_in(s);
    session_go(s, SESSION_HEAD);
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

#include "proxy/net/dns_query.h"

#include <assert.h>

#include "proxy/base/list.h"

enum {
    TTL_MIN_MS = 1000,   /* a TTL of 0 would make a query of each request in a burst */
    HOSTS_TTL_MS = 5000, /* the hosts file gives none */
};

static void on_channel_answer(struct dns_ask *ask, const struct dns_answer *answer);

void dns_query_init(struct dns_query *q, uv_loop_t *loop, const char *name, dns_query_cb on_answer)
{
    *q = (struct dns_query){.loop = loop, .name = name, .on_answer = on_answer};
    dns_pair_init(&q->known);
    for (size_t i = 0; i < DNS_HALVES; i++) {
        q->question[i].query = q;
        q->question[i].ask.on_answer = on_channel_answer;
    }
}

void dns_query_release(struct dns_query *q)
{
    assert(!dns_query_pending(q));
    dns_pair_clear(&q->known);
}

static uint64_t expires_ms(const struct dns_query *q, uint64_t ttl_ms)
{
    ttl_ms = ttl_ms > TTL_MIN_MS ? ttl_ms : TTL_MIN_MS;
    return uv_now(q->loop) + (ttl_ms < q->ttl_max_ms ? ttl_ms : q->ttl_max_ms);
}

static enum dns_half_index half_of(const struct dns_question *w)
{
    return w == &w->query->question[DNS_V6] ? DNS_V6 : DNS_V4;
}

static void question_ask(struct dns_question *w)
{
    struct dns_query *q = w->query;
    w->pending = true;
    w->asked_ms = uv_now(q->loop);
    dns_channel_ask(q->channel, q->name, dns_half_family(half_of(w)), &w->ask);
}

/*
 * c-ares has used up its tries too early: with one or two servers, or because newer ones cut their
 * patience with a server that has been fast so far. Never twice in one moment, so that this cannot
 * go in circles.
 */
static bool question_ask_again(struct dns_question *w)
{
    uint64_t now = uv_now(w->query->loop);
    if (now >= w->query->until_ms || now <= w->asked_ms)
        return false;
    question_ask(w);
    return true;
}

static void on_channel_answer(struct dns_ask *ask, const struct dns_answer *answer)
{
    struct dns_question *w = LIST_ITEM(ask, struct dns_question, ask);
    struct dns_query *q = w->query;
    enum dns_half_index half = half_of(w);
    if (answer->found.outcome == OUTCOME_DNS_TIMEOUT && question_ask_again(w))
        return;
    w->pending = false;
    dns_pair_store(&q->known, half, &answer->found, expires_ms(q, answer->ttl_ms));
    q->on_answer(q, half);
}

bool dns_query_start(struct dns_query *q, struct dns_channel *channel)
{
    struct dns_answer answer;
    q->channel = channel;
    dns_query_forsake(q); /* it may have asked another channel before */
    dns_pair_clear(&q->known);
    /* What a name has in the hosts file is all there is to it, as with the C library. */
    if (dns_channel_hosts(channel, q->name, &answer)) {
        dns_pair_store(&q->known, DNS_V6, &answer.found, expires_ms(q, HOSTS_TTL_MS));
        dns_pair_store(&q->known, DNS_V4, &answer.found, expires_ms(q, HOSTS_TTL_MS));
        return true;
    }
    /* Both: an instant answer to the first question must not look like the last. */
    q->question[DNS_V6].pending = q->question[DNS_V4].pending = true;
    question_ask(&q->question[DNS_V6]);
    question_ask(&q->question[DNS_V4]);
    return false;
}

void dns_query_forsake(struct dns_query *q)
{
    q->question[DNS_V6].pending = q->question[DNS_V4].pending = false;
}

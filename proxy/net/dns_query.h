/*
 * dns_query.h - the two questions about one name, A and AAAA, asked again until they are answered
 * or time is up.
 *
 * Knows no cache, no ticket and no timer: how long an answer is waited for is the owner's affair.
 * Loop thread only.
 */
#ifndef CERTFERRY_NET_DNS_QUERY_H
#define CERTFERRY_NET_DNS_QUERY_H

#include "proxy/net/dns_channel.h"
#include "proxy/net/dns_pair.h"

struct dns_query;
typedef void (*dns_query_cb)(struct dns_query *q, enum dns_half_index half);

struct dns_question {
    struct dns_ask ask;
    struct dns_query *query;
    bool pending; /* an answer will come */
    uint64_t asked_ms;
};

/* Embedded in its owner. */
struct dns_query {
    struct dns_question question[DNS_HALVES];
    struct dns_pair known;
    dns_query_cb on_answer;
    const char *name; /* borrowed */
    uv_loop_t *loop;
    struct dns_channel *channel; /* borrowed */
    uint64_t until_ms;           /* what has no answer then is not asked again */
    uint64_t ttl_max_ms;         /* no answer counts for longer */
};

void dns_query_init(struct dns_query *q, uv_loop_t *loop, const char *name, dns_query_cb on_answer);

/* Gives the memory back; nothing may be pending. */
void dns_query_release(struct dns_query *q);

/*
 * Asks. `until_ms` and `ttl_max_ms` are set by the caller before. True: the hosts file has the
 * whole answer. Otherwise `on_answer` runs twice, perhaps before this returns.
 */
bool dns_query_start(struct dns_query *q, struct dns_channel *channel);

/* The channel is gone or going: no answer comes. */
void dns_query_forsake(struct dns_query *q);

static inline bool dns_query_pending(const struct dns_query *q)
{
    return q->question[DNS_V6].pending || q->question[DNS_V4].pending;
}

#endif

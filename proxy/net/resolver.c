#include "proxy/net/resolver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"
#include "proxy/net/dns_cache.h"
#include "proxy/net/dns_query.h"

enum {
    DELAY_MS = 50, /* resolution delay, RFC 8305 section 3 */
    QUERIES_MAX =
        4096, /* alive at once: c-ares tells its questions apart by 16 bits, two for each */
    NAME_BUCKETS = 256,
};

enum query_state {
    QUERY_ASKING,     /* found by its name, look-ups may join; in `asking` */
    QUERY_READY,      /* decided, its callbacks run on the loop's next round; in `ready` */
    QUERY_DELIVERING, /* its callbacks run; in no list */
    QUERY_LATE,       /* nobody waits; what still comes is for the cache; in `late` */
};

struct query {
    struct list node;
    struct list name_node;  /* in a bucket while asking */
    struct list delay_node; /* in `delayed` while one half waits for the other */
    struct list tickets;
    struct resolver *resolver;
    enum query_state state;
    uint64_t due_ms;       /* the hard end */
    uint64_t delay_end_ms; /* while in `delayed` */
    struct dns_query dns;
    char name[];
};

struct resolver_ticket {
    struct list node;
    resolver_cb cb;
    void *arg;
};

struct resolver {
    uv_timer_t timer; /* the next hard end or end of a delay */
    uv_idle_t idle;   /* active while `ready` is not empty */
    unsigned handles; /* open ones; the last close frees */
    bool closing;
    uint64_t timeout_ms, cache_max_ms, cache_failure_ms;
    struct dns_channel *channel;
    struct dns_cache *cache;
    struct list asking;  /* by due_ms */
    struct list delayed; /* by delay_end_ms */
    struct list ready;
    size_t ready_count;
    struct list late;
    struct query *delivering;
    size_t queries; /* in whatever state */
    struct list names[NAME_BUCKETS];
    struct resolver_counters counters;
};

static uint64_t now_ms(const struct resolver *r)
{
    return uv_now(r->timer.loop);
}

/* ---- life of a query ---- */

static void on_dns_answer(struct dns_query *dns, enum dns_half_index half);

static struct query *query_create(struct resolver *r, const char *name)
{
    size_t name_bytes = strlen(name) + 1;
    struct query *q = calloc(1, sizeof *q + name_bytes);
    if (q == NULL)
        return NULL;
    memcpy(q->name, name, name_bytes);
    q->resolver = r;
    list_init(&q->node);
    list_init(&q->name_node);
    list_init(&q->delay_node);
    list_init(&q->tickets);
    dns_query_init(&q->dns, r->timer.loop, q->name, on_dns_answer);
    r->queries++;
    return q;
}

static void query_drop_tickets(struct query *q)
{
    while (!list_empty(&q->tickets))
        resolver_cancel(LIST_ITEM(q->tickets.next, struct resolver_ticket, node));
}

static void query_free(struct query *q)
{
    q->resolver->queries--;
    query_drop_tickets(q);
    list_remove(&q->node);
    list_remove(&q->name_node);
    list_remove(&q->delay_node);
    dns_query_release(&q->dns);
    free(q);
}

static void on_timer(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);

/* The timer follows whichever is due first. */
static void arm(struct resolver *r)
{
    uint64_t next = UINT64_MAX;
    if (!list_empty(&r->asking))
        next = LIST_ITEM(r->asking.next, struct query, node)->due_ms;
    if (!list_empty(&r->delayed)) {
        uint64_t end_ms = LIST_ITEM(r->delayed.next, struct query, delay_node)->delay_end_ms;
        next = end_ms < next ? end_ms : next;
    }
    if (next == UINT64_MAX) {
        (void)uv_timer_stop(&r->timer);
        return;
    }
    (void)uv_timer_start(&r->timer, on_timer, next > now_ms(r) ? next - now_ms(r) : 0, 0);
}

/*
 * The callbacks run from the loop's next round and nowhere else: not inside resolver_lookup(),
 * which may have its answer at once, and never inside c-ares, which must not be destroyed from
 * within.
 */
static void query_ready(struct query *q)
{
    struct resolver *r = q->resolver;
    list_remove(&q->node);
    list_remove(&q->name_node);
    list_remove(&q->delay_node);
    q->state = QUERY_READY;
    list_append(&r->ready, &q->node);
    r->ready_count++;
    (void)uv_idle_start(&r->idle, on_idle);
}

/* For the cache; what is already over stays out of it, as something newer may be there. */
static void query_cache(const struct query *q, const struct resolved *answer)
{
    struct resolver *r = q->resolver;
    uint64_t expires_ms = dns_pair_expires_ms(&q->dns.known);
    if (answer->outcome != OUTCOME_OK)
        expires_ms = now_ms(r) + r->cache_failure_ms;
    if (expires_ms > now_ms(r))
        dns_cache_put(r->cache, q->name, answer, expires_ms);
}

/* What is known by now is the answer. */
static void query_finish(struct query *q)
{
    struct resolver *r = q->resolver;
    struct resolved answer;
    dns_pair_answer(&q->dns.known, &answer);
    r->counters.timeouts += answer.outcome == OUTCOME_DNS_TIMEOUT;
    r->counters.failures +=
        answer.outcome == OUTCOME_DNS_FAILED || answer.outcome == OUTCOME_DNS_NOT_FOUND;
    query_cache(q, &answer);
    query_ready(q);
    arm(r);
}

/* One half has addresses: the other gets a moment (RFC 8305 section 3). */
static void query_delay(struct query *q)
{
    struct resolver *r = q->resolver;
    if (!list_empty(&q->delay_node))
        return;
    q->delay_end_ms = now_ms(r) + DELAY_MS;
    list_append(&r->delayed, &q->delay_node);
    arm(r);
}

/*
 * NXDOMAIN for one half alone decides nothing: it should hold for all types, but there are servers
 * that say it of AAAA when they mean "no data" (RFC 4074 section 4.2).
 */
static void query_step(struct query *q)
{
    if (!dns_query_pending(&q->dns))
        query_finish(q);
    else if (dns_pair_has_address(&q->dns.known))
        query_delay(q);
}

/* Too late for those who asked, but good for the cache. A failure that comes late changes nothing.
 */
static void query_late_answer(struct query *q, const struct dns_half *half)
{
    struct resolved answer;
    if (half->count > 0) {
        dns_pair_answer(&q->dns.known, &answer);
        query_cache(q, &answer);
    }
    if (q->state == QUERY_LATE && !dns_query_pending(&q->dns))
        query_free(q);
}

static void on_dns_answer(struct dns_query *dns, enum dns_half_index half)
{
    struct query *q = LIST_ITEM(dns, struct query, dns);
    if (q->state == QUERY_ASKING)
        query_step(q);
    else
        query_late_answer(q, &dns->known.half[half]);
}

static void query_ask(struct query *q)
{
    struct resolver *r = q->resolver;
    q->dns.until_ms = q->due_ms;
    q->dns.ttl_max_ms = r->cache_max_ms;
    if (dns_query_start(&q->dns, r->channel))
        query_finish(q);
}

/* ---- time and delivery ---- */

static void on_timer(uv_timer_t *timer)
{
    struct resolver *r = timer->data;
    uint64_t now = now_ms(r);
    while (!list_empty(&r->delayed)) {
        struct query *q = LIST_ITEM(r->delayed.next, struct query, delay_node);
        if (q->delay_end_ms > now)
            break;
        query_finish(q);
    }
    while (!list_empty(&r->asking)) {
        struct query *q = LIST_ITEM(r->asking.next, struct query, node);
        if (q->due_ms > now)
            break;
        query_finish(q);
    }
    arm(r);
}

/* A callback may cancel any ticket, look up, reload or destroy. */
static void query_deliver(struct query *q)
{
    struct resolver *r = q->resolver;
    struct resolved answer;
    list_remove(&q->node);
    q->state = QUERY_DELIVERING;
    r->delivering = q;
    dns_pair_answer(&q->dns.known, &answer);
    while (!list_empty(&q->tickets)) {
        struct resolver_ticket *t = LIST_ITEM(q->tickets.next, struct resolver_ticket, node);
        resolver_cb cb = t->cb;
        void *arg = t->arg;
        resolver_cancel(t);
        cb(arg, &answer);
    }
    r->delivering = NULL;
    if (!dns_query_pending(&q->dns)) {
        query_free(q);
        return;
    }
    q->state = QUERY_LATE;
    list_append(&r->late, &q->node);
}

static void on_idle(uv_idle_t *idle)
{
    struct resolver *r = idle->data;
    /* Those ready by now: what a callback looks up meanwhile waits for the next round. */
    for (size_t n = r->ready_count; n > 0 && !list_empty(&r->ready); n--) {
        r->ready_count--;
        query_deliver(LIST_ITEM(r->ready.next, struct query, node));
    }
    if (list_empty(&r->ready) && !r->closing)
        (void)uv_idle_stop(&r->idle);
}

/* ---- look-ups ---- */

bool resolver_cached(struct resolver *r, const char *name, struct resolved *answer)
{
    assert(!r->closing);
    if (!dns_cache_get(r->cache, name, now_ms(r), answer))
        return false;
    r->counters.lookups++;
    r->counters.cache_hits++;
    return true;
}

static struct query *find_asking(struct list *bucket, const char *name)
{
    LIST_EACH (at, bucket) {
        struct query *q = LIST_ITEM(at, struct query, name_node);
        if (strcmp(q->name, name) == 0)
            return q;
    }
    return NULL;
}

/* Last comes the youngest, unless a reload has changed the time that each gets. */
static void insert_by_due(struct resolver *r, struct query *q)
{
    struct list *behind = r->asking.prev;
    while (behind != &r->asking && LIST_ITEM(behind, struct query, node)->due_ms > q->due_ms)
        behind = behind->prev;
    list_append(behind->next, &q->node);
}

static void query_start(struct query *q, struct list *bucket)
{
    struct resolver *r = q->resolver;
    q->state = QUERY_ASKING;
    q->due_ms = now_ms(r) + r->timeout_ms;
    list_append(bucket, &q->name_node);
    insert_by_due(r, q);
    arm(r);
    query_ask(q);
}

/* The answer is there without asking; all the same it is delivered later. */
static void query_start_known(struct query *q, const struct resolved *answer)
{
    dns_pair_store(&q->dns.known, DNS_V6, answer, 0);
    dns_pair_store(&q->dns.known, DNS_V4, answer, 0);
    query_ready(q);
}

/* NULL when out of memory. */
static struct query *query_for(struct resolver *r, const char *name)
{
    struct resolved known;
    bool hit = dns_cache_get(r->cache, name, now_ms(r), &known);
    struct list *bucket = &r->names[dns_name_hash(name) % NAME_BUCKETS];
    struct query *q = hit ? NULL : find_asking(bucket, name);
    if (q != NULL)
        return q;
    bool full = r->queries >= QUERIES_MAX;
    q = query_create(r, name);
    if (q == NULL)
        return NULL;
    if (hit) {
        r->counters.cache_hits++;
        query_start_known(q, &known);
    } else if (full) {
        r->counters.failures++;
        query_start_known(q, &(struct resolved){.outcome = OUTCOME_DNS_FAILED});
    } else {
        query_start(q, bucket);
    }
    return q;
}

struct resolver_ticket *resolver_lookup(struct resolver *r, const char *name, resolver_cb cb,
                                        void *arg)
{
    assert(!r->closing);
    struct resolver_ticket *t = malloc(sizeof *t);
    if (t == NULL)
        return NULL;
    struct query *q = query_for(r, name);
    if (q == NULL) {
        free(t);
        return NULL;
    }
    *t = (struct resolver_ticket){.cb = cb, .arg = arg};
    list_append(&q->tickets, &t->node);
    r->counters.lookups++;
    return t;
}

void resolver_cancel(struct resolver_ticket *t)
{
    list_remove(&t->node);
    free(t);
}

/* ---- making and ending ---- */

/* Cache and channel for `options`; both or none. */
static int open_both(struct resolver *r, const struct resolver_options *options)
{
    struct dns_cache *cache = dns_cache_create(options->cache_entries);
    if (cache == NULL)
        return UV_ENOMEM;
    struct dns_channel *channel;
    int rc = dns_channel_create(&channel, r->timer.loop, options->servers, options->timeout_ms);
    if (rc != 0) {
        dns_cache_destroy(cache);
        return rc;
    }
    r->cache = cache;
    r->channel = channel;
    r->timeout_ms = options->timeout_ms;
    r->cache_max_ms = options->cache_max_ms;
    r->cache_failure_ms = options->cache_failure_ms;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct resolver *r = handle->data;
    if (--r->handles == 0)
        free(r);
}

static void close_handles(struct resolver *r)
{
    r->closing = true;
    uv_close((uv_handle_t *)&r->timer, on_handle_closed);
    uv_close((uv_handle_t *)&r->idle, on_handle_closed);
}

int resolver_create(struct resolver **out, uv_loop_t *loop, const struct resolver_options *options)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return UV_ENOMEM;
    list_init(&r->asking);
    list_init(&r->delayed);
    list_init(&r->ready);
    list_init(&r->late);
    for (size_t i = 0; i < NAME_BUCKETS; i++)
        list_init(&r->names[i]);
    (void)uv_timer_init(loop, &r->timer);
    (void)uv_idle_init(loop, &r->idle);
    r->timer.data = r->idle.data = r;
    r->handles = 2;
    int rc = open_both(r, options);
    if (rc != 0) {
        close_handles(r);
        return rc;
    }
    *out = r;
    return 0;
}

static void free_all(struct list *queries)
{
    while (!list_empty(queries)) {
        struct query *q = LIST_ITEM(queries->next, struct query, node);
        dns_query_forsake(&q->dns);
        query_free(q);
    }
}

void resolver_destroy(struct resolver *r)
{
    dns_channel_destroy(r->channel);
    dns_cache_destroy(r->cache);
    free_all(&r->asking);
    free_all(&r->ready);
    free_all(&r->late);
    r->ready_count = 0;
    if (r->delivering != NULL) {
        query_drop_tickets(r->delivering); /* query_deliver() frees it */
        dns_query_forsake(&r->delivering->dns);
    }
    close_handles(r);
}

/* Also what one half is known of: nothing of the old servers shall stay in it. */
static void ask_anew(struct resolver *r)
{
    LIST_EACH_SAFE (at, after, &r->asking) {
        struct query *q = LIST_ITEM(at, struct query, node);
        list_remove(&q->delay_node);
        query_ask(q);
    }
    arm(r);
}

int resolver_reload(struct resolver *r, const struct resolver_options *options)
{
    assert(!r->closing);
    struct dns_channel *old_channel = r->channel;
    struct dns_cache *old_cache = r->cache;
    int rc = open_both(r, options);
    if (rc != 0)
        return rc;
    dns_channel_destroy(old_channel);
    dns_cache_destroy(old_cache);
    free_all(&r->late);
    LIST_EACH (at, &r->ready)
        dns_query_forsake(&LIST_ITEM(at, struct query, node)->dns);
    if (r->delivering != NULL)
        dns_query_forsake(&r->delivering->dns);
    ask_anew(r);
    return 0;
}

void resolver_counters(const struct resolver *r, struct resolver_counters *out)
{
    *out = r->counters;
    out->cached = dns_cache_count(r->cache);
}

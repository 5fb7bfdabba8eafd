#include "proxy/session/pacing.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BUCKETS = 1024 };

/* Those of one client who wait for one origin. */
struct pacing_client {
    struct list node;    /* in the origin's `clients`, in order of their turns */
    struct list tickets; /* in order of arrival; never empty */
    size_t count;        /* of these */
    const struct pacing_origin *origin;
    struct addr_client who;
    struct pacing_client *next; /* in its bucket, by `who` */
};

/* A host and a port somebody uses or waits for. */
struct pacing_origin {
    struct pacing_origin *next; /* in its bucket */
    struct list clients;        /* who wait; the first has the next turn */
    size_t in_use;              /* places held, granted ones too */
    uint16_t port;
    char host[];
};

struct pacing {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can choose names that fall into one bucket */
    size_t per_origin, queue_max;
    size_t gateway; /* for the origin without a name */
    size_t waiting;
    struct pacing_origin *bucket[BUCKETS];
    struct pacing_client *client_bucket[BUCKETS];
};

/* ---- the table ---- */

static size_t bucket_of(const struct pacing *p, const char *host, uint16_t port)
{
    uint64_t h = p->seed ^ port;
    for (; *host != '\0'; host++)
        h = (h ^ (unsigned char)*host) * 0x9e3779b97f4a7c15U ^ h >> 29;
    return (size_t)(h >> 32) % BUCKETS;
}

/* Where the entry hangs, or where it would. */
static struct pacing_origin **find(struct pacing *p, const char *host, uint16_t port)
{
    struct pacing_origin **at = &p->bucket[bucket_of(p, host, port)];
    while (*at != NULL && ((*at)->port != port || strcmp((*at)->host, host) != 0))
        at = &(*at)->next;
    return at;
}

static struct pacing_origin *origin_of(struct pacing *p, const char *host, uint16_t port)
{
    struct pacing_origin **at = find(p, host, port);
    if (*at != NULL)
        return *at;
    size_t size = strlen(host) + 1;
    struct pacing_origin *o = calloc(1, sizeof *o + size);
    if (o == NULL)
        return NULL;
    list_init(&o->clients);
    o->port = port;
    memcpy(o->host, host, size);
    *at = o;
    return o;
}

static void free_if_unused(struct pacing *p, struct pacing_origin *o)
{
    if (o->in_use > 0 || !list_empty(&o->clients))
        return;
    struct pacing_origin **at = find(p, o->host, o->port);
    *at = o->next;
    free(o);
}

/* ---- the queue of one origin ---- */

static struct pacing_client **client_bucket(struct pacing *p, const struct addr_client *who)
{
    return &p->client_bucket[addr_client_hash(who, p->seed) % BUCKETS];
}

/* Where the client's entry for this origin hangs, or where it would. */
static struct pacing_client **find_client(struct pacing *p, const struct pacing_origin *o,
                                          const struct addr_client *who)
{
    struct pacing_client **at = client_bucket(p, who);
    while (*at != NULL && ((*at)->origin != o || !addr_client_is(&(*at)->who, who)))
        at = &(*at)->next;
    return at;
}

/* With half of the queue in its hands, for whatever origins, a client leaves the rest to others. */
static bool has_its_share(struct pacing *p, const struct addr_client *who)
{
    size_t share = (p->queue_max + 1) / 2, waiting = 0;
    if (p->waiting < share)
        return false;
    for (const struct pacing_client *c = *client_bucket(p, who); c != NULL; c = c->next)
        waiting += addr_client_is(&c->who, who) ? c->count : 0;
    return waiting >= share;
}

static struct pacing_client *client_of(struct pacing *p, struct pacing_origin *o,
                                       const struct addr_client *who)
{
    struct pacing_client **at = find_client(p, o, who);
    if (*at != NULL)
        return *at;
    struct pacing_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->origin = o;
    c->who = *who;
    list_init(&c->tickets);
    list_append(&o->clients, &c->node);
    *at = c;
    return c;
}

static void leave_queue(struct pacing *p, struct pacing_ticket *t)
{
    struct pacing_client *c = t->client;
    assert(c != NULL);
    list_remove(&t->node);
    t->client = NULL;
    p->waiting--;
    c->count--;
    if (!list_empty(&c->tickets))
        return;
    struct pacing_client **at = find_client(p, c->origin, &c->who);
    *at = c->next;
    list_remove(&c->node);
    free(c);
}

static bool has_room(const struct pacing *p, const struct pacing_origin *o)
{
    size_t most = o->host[0] == '\0' ? p->gateway : p->per_origin;
    return most == 0 || o->in_use < most;
}

/* Hands free places to those whose turn it is: one for each client, then the round begins anew. */
static void grant(struct pacing *p, struct pacing_origin *o)
{
    while (has_room(p, o) && !list_empty(&o->clients)) {
        struct pacing_client *c = LIST_ITEM(o->clients.next, struct pacing_client, node);
        struct pacing_ticket *t = LIST_ITEM(c->tickets.next, struct pacing_ticket, node);
        list_remove(&c->node);
        list_append(&o->clients, &c->node);
        leave_queue(p, t);
        o->in_use++;
        t->state = PACING_GRANTED;
        list_append(&t->worker->granted, &t->node);
        t->worker->wake(t->worker->arg);
    }
}

/* ---- what others call ---- */

struct pacing *pacing_create(void)
{
    struct pacing *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    (void)pthread_mutex_init(&p->lock, NULL);
    if (getrandom(&p->seed, sizeof p->seed, 0) != (ssize_t)sizeof p->seed)
        p->seed = (uint64_t)(uintptr_t)p;
    return p;
}

void pacing_destroy(struct pacing *p)
{
    for (size_t i = 0; i < BUCKETS; i++)
        assert(p->bucket[i] == NULL);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

static void grant_all(struct pacing *p)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct pacing_origin *o = p->bucket[i]; o != NULL; o = o->next)
            grant(p, o);
    }
}

void pacing_set_limits(struct pacing *p, size_t per_origin, size_t queue_max)
{
    (void)pthread_mutex_lock(&p->lock);
    p->per_origin = per_origin;
    p->queue_max = queue_max;
    grant_all(p);
    (void)pthread_mutex_unlock(&p->lock);
}

void pacing_set_gateway_limit(struct pacing *p, size_t most)
{
    (void)pthread_mutex_lock(&p->lock);
    p->gateway = most;
    grant_all(p);
    (void)pthread_mutex_unlock(&p->lock);
}

/* Under the lock; `o` may be unused afterwards. */
static enum outcome enter(struct pacing *p, struct pacing_ticket *t, struct pacing_origin *o,
                          const struct addr *client)
{
    /* Nobody overtakes those who wait. */
    if (has_room(p, o) && list_empty(&o->clients)) {
        o->in_use++;
        t->state = PACING_HOLDING;
        return OUTCOME_OK;
    }
    if (p->queue_max == 0)
        return OUTCOME_UPSTREAM_LIMIT;
    if (p->waiting >= p->queue_max)
        return OUTCOME_QUEUE_FULL;
    const struct addr_client who = addr_client_of(client);
    if (has_its_share(p, &who))
        return OUTCOME_QUEUE_SHARE;
    struct pacing_client *c = client_of(p, o, &who);
    if (c == NULL)
        return OUTCOME_NO_MEMORY;
    t->client = c;
    t->state = PACING_WAITING;
    list_append(&c->tickets, &t->node);
    c->count++;
    p->waiting++;
    return OUTCOME_PENDING;
}

enum outcome pacing_enter(struct pacing *p, struct pacing_ticket *t, struct pacing_worker *worker,
                          const char *host, uint16_t port, const struct addr *client)
{
    enum outcome verdict = OUTCOME_NO_MEMORY;
    assert(t->state == PACING_NONE);
    (void)pthread_mutex_lock(&p->lock);
    struct pacing_origin *o = origin_of(p, host, port);
    if (o != NULL) {
        t->origin = o;
        t->worker = worker;
        verdict = enter(p, t, o, client);
        free_if_unused(p, o);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return verdict;
}

void pacing_leave(struct pacing *p, struct pacing_ticket *t)
{
    (void)pthread_mutex_lock(&p->lock);
    struct pacing_origin *o = t->origin;
    if (t->state == PACING_WAITING)
        leave_queue(p, t);
    if (t->state == PACING_GRANTED)
        list_remove(&t->node);
    if (t->state == PACING_GRANTED || t->state == PACING_HOLDING) {
        o->in_use--;
        grant(p, o);
    }
    if (t->state != PACING_NONE)
        free_if_unused(p, o);
    *t = (struct pacing_ticket){.state = PACING_NONE};
    (void)pthread_mutex_unlock(&p->lock);
}

struct pacing_ticket *pacing_collect(struct pacing *p, struct pacing_worker *worker)
{
    struct pacing_ticket *t = NULL;
    (void)pthread_mutex_lock(&p->lock);
    if (!list_empty(&worker->granted)) {
        t = LIST_ITEM(worker->granted.next, struct pacing_ticket, node);
        list_remove(&t->node);
        t->state = PACING_HOLDING;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return t;
}

size_t pacing_waiting(struct pacing *p)
{
    (void)pthread_mutex_lock(&p->lock);
    size_t waiting = p->waiting;
    (void)pthread_mutex_unlock(&p->lock);
    return waiting;
}

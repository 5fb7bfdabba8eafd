#include "proxy/session/admission.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proxy/base/buf.h"

enum { BUCKETS = 4096 };

struct client {
    struct client *next;
    uint64_t key[2]; /* family in key[1] */
    size_t count;
};

struct admission {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can choose addresses that fall into one bucket */
    struct admission_limits limits;
    size_t total, turned_away;
    struct client *bucket[BUCKETS];
};

static void key_of(const struct addr *a, uint64_t key[2])
{
    key[0] = 0;
    key[1] = a->sa.sa_family;
    if (a->sa.sa_family == AF_INET6)
        memcpy(&key[0], &a->in6.sin6_addr, 8); /* one site has a /64 for itself */
    else
        memcpy(&key[0], &a->in.sin_addr, 4);
}

static size_t bucket_of(const struct admission *a, const uint64_t key[2])
{
    uint64_t h = (key[0] ^ a->seed) * 0x9e3779b97f4a7c15U;
    h ^= h >> 29;
    h = (h + key[1]) * 0xbf58476d1ce4e5b9U;
    return (size_t)(h >> 32) % BUCKETS;
}

struct admission *admission_create(void)
{
    struct admission *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    (void)pthread_mutex_init(&a->lock, NULL);
    if (getrandom(&a->seed, sizeof a->seed, 0) != (ssize_t)sizeof a->seed)
        a->seed = (uint64_t)(uintptr_t)a;
    a->limits = (struct admission_limits){SIZE_MAX, 0, SIZE_MAX};
    return a;
}

void admission_destroy(struct admission *a)
{
    assert(a->total == 0 && a->turned_away == 0);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
}

void admission_set_limits(struct admission *a, const struct admission_limits *limits)
{
    (void)pthread_mutex_lock(&a->lock);
    a->limits = *limits;
    (void)pthread_mutex_unlock(&a->lock);
}

/* Where the entry for `key` hangs, or where it would. */
static struct client **find(struct admission *a, const uint64_t key[2])
{
    struct client **at = &a->bucket[bucket_of(a, key)];
    while (*at != NULL && ((*at)->key[0] != key[0] || (*at)->key[1] != key[1]))
        at = &(*at)->next;
    return at;
}

enum outcome admission_enter(struct admission *a)
{
    enum outcome verdict = buf_budget_spent() ? OUTCOME_MEMORY_LIMIT : OUTCOME_OK;
    (void)pthread_mutex_lock(&a->lock);
    if (a->total >= a->limits.total)
        verdict = OUTCOME_CONNECTIONS_LIMIT;
    if (verdict == OUTCOME_OK)
        a->total++;
    else
        a->turned_away++;
    (void)pthread_mutex_unlock(&a->lock);
    return verdict;
}

void admission_turn_away(struct admission *a)
{
    (void)pthread_mutex_lock(&a->lock);
    assert(a->total > 0);
    a->total--;
    a->turned_away++;
    (void)pthread_mutex_unlock(&a->lock);
}

void admission_leave(struct admission *a, bool had_place)
{
    (void)pthread_mutex_lock(&a->lock);
    size_t *count = had_place ? &a->total : &a->turned_away;
    assert(*count > 0);
    --*count;
    (void)pthread_mutex_unlock(&a->lock);
}

/* Under the lock. */
static bool client_is_full(const struct admission *a, const struct client *c)
{
    return a->limits.per_client > 0 && c->count >= a->limits.per_client;
}

enum outcome admission_enter_client(struct admission *a, const struct addr *client)
{
    enum outcome verdict = OUTCOME_OK;
    uint64_t key[2];
    key_of(client, key);
    (void)pthread_mutex_lock(&a->lock);
    struct client **at = find(a, key);
    if (*at == NULL && (*at = calloc(1, sizeof **at)) != NULL) {
        (*at)->key[0] = key[0];
        (*at)->key[1] = key[1];
    }
    if (*at == NULL)
        verdict = OUTCOME_NO_MEMORY;
    else if (client_is_full(a, *at))
        verdict = OUTCOME_CLIENT_LIMIT;
    else
        (*at)->count++;
    (void)pthread_mutex_unlock(&a->lock);
    return verdict;
}

void admission_leave_client(struct admission *a, const struct addr *client)
{
    uint64_t key[2];
    key_of(client, key);
    (void)pthread_mutex_lock(&a->lock);
    struct client **at = find(a, key);
    assert(*at != NULL);
    if (--(*at)->count == 0) {
        struct client *gone = *at;
        *at = gone->next;
        free(gone);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

size_t admission_total(struct admission *a)
{
    (void)pthread_mutex_lock(&a->lock);
    size_t total = a->total;
    (void)pthread_mutex_unlock(&a->lock);
    return total;
}

bool admission_crowded(struct admission *a)
{
    (void)pthread_mutex_lock(&a->lock);
    bool crowded = a->turned_away > a->limits.turned_away;
    (void)pthread_mutex_unlock(&a->lock);
    return crowded;
}

bool admission_overrun(struct admission *a)
{
    (void)pthread_mutex_lock(&a->lock);
    bool over = a->total >= a->limits.total && a->turned_away >= a->limits.turned_away;
    (void)pthread_mutex_unlock(&a->lock);
    return over;
}

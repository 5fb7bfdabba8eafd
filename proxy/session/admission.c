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
    struct addr_client who;
    size_t count;
};

struct admission {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can choose addresses that fall into one bucket */
    struct admission_limits limits;
    size_t total, turned_away;
    struct client *bucket[BUCKETS];
};

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

/* Where the client's entry hangs, or where it would. */
static struct client **find(struct admission *a, const struct addr_client *who)
{
    struct client **at = &a->bucket[addr_client_hash(who, a->seed) % BUCKETS];
    while (*at != NULL && !addr_client_is(&(*at)->who, who))
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
    const struct addr_client who = addr_client_of(client);
    (void)pthread_mutex_lock(&a->lock);
    struct client **at = find(a, &who);
    if (*at == NULL && (*at = calloc(1, sizeof **at)) != NULL)
        (*at)->who = who;
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
    const struct addr_client who = addr_client_of(client);
    (void)pthread_mutex_lock(&a->lock);
    struct client **at = find(a, &who);
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

#include "proxy/net/reach.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct known {
    struct reach_goal goal;
    bool failed; /* among those that worked: since the last success */
};

/* The newest first. */
struct goals {
    struct known at[REACH_GOALS];
    size_t count;
};

struct reach {
    pthread_mutex_t lock;
    atomic_uint state;
    /* Whether a success of a destination that is known to work would change nothing: so the usual
     * case takes no lock. Written under it. */
    atomic_bool calm;
    _Atomic uint64_t works[REACH_GOALS]; /* hashes of good.at[] */
    struct goals good, bad;
    unsigned failures;   /* in a row */
    bool many_hosts;     /* they were of two hosts at least */
    uint64_t since_ms;   /* the first of them */
    uint64_t checked_ms; /* when a goal was given out last, while not open */
    bool checked;
    size_t turn; /* when shut: whose turn it is */
    struct reach_goal last;
    enum outcome last_outcome;
    void (*on_change)(void *arg);
    void *arg;
};

struct reach *reach_create(void (*on_change)(void *arg), void *arg)
{
    struct reach *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    (void)pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->state, REACH_OPEN);
    atomic_init(&r->calm, true);
    for (size_t i = 0; i < REACH_GOALS; i++)
        atomic_init(&r->works[i], 0);
    r->on_change = on_change;
    r->arg = arg;
    return r;
}

void reach_destroy(struct reach *r)
{
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- goals ---- */

static bool goal_same(const struct reach_goal *a, const struct reach_goal *b)
{
    return a->port == b->port && a->parent == b->parent && strcmp(a->host, b->host) == 0;
}

/* FNV-1a, never 0. Two that meet only keep a moment's memory older than it could be. */
static uint64_t goal_hash(const struct reach_goal *g)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ g->port ^ (uint64_t)g->parent << 16;
    for (const char *c = g->host; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return hash | 1;
}

static struct known *goals_find(struct goals *s, const struct reach_goal *goal)
{
    for (size_t i = 0; i < s->count; i++) {
        if (goal_same(&s->at[i].goal, goal))
            return &s->at[i];
    }
    return NULL;
}

static void goals_remove(struct goals *s, const struct reach_goal *goal)
{
    struct known *k = goals_find(s, goal);
    if (k == NULL)
        return;
    size_t after = (size_t)(&s->at[s->count] - (k + 1));
    memmove(k, k + 1, after * sizeof *k);
    s->count--;
}

/* In front; the oldest makes place. */
static void goals_put(struct goals *s, const struct reach_goal *goal)
{
    goals_remove(s, goal);
    if (s->count == REACH_GOALS)
        s->count--;
    memmove(&s->at[1], &s->at[0], s->count * sizeof s->at[0]);
    s->at[0] = (struct known){.goal = *goal};
    s->count++;
}

/* ---- what the tries make of it ---- */

enum sign { SIGN_NONE, SIGN_ANSWER, SIGN_SILENCE, SIGN_GONE };

static enum sign sign_of(const struct reach_goal *goal, enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_OK:
        return SIGN_ANSWER;
    case OUTCOME_CONNECT_REFUSED: /* by somebody out there; or by our own way out */
        return goal->parent ? SIGN_SILENCE : SIGN_ANSWER;
    case OUTCOME_DNS_FAILED:
    case OUTCOME_DNS_TIMEOUT:
    case OUTCOME_CONNECT_UNREACHABLE:
    case OUTCOME_CONNECT_TIMEOUT:
    case OUTCOME_CONNECT_FAILED:
        return SIGN_SILENCE;
    case OUTCOME_DNS_NOT_FOUND:
    case OUTCOME_ADDRESS_DENIED:
        return SIGN_GONE; /* the name servers are alive, and there is nothing to go to */
    default:
        return SIGN_NONE; /* want of memory or descriptors says nothing of the way */
    }
}

static void publish_works(struct reach *r)
{
    for (size_t i = 0; i < REACH_GOALS; i++)
        atomic_store_explicit(&r->works[i], i < r->good.count ? goal_hash(&r->good.at[i].goal) : 0,
                              memory_order_relaxed);
}

static void reopen(struct reach *r)
{
    atomic_store(&r->state, REACH_OPEN);
    r->failures = 0;
    r->many_hosts = false;
    r->bad.count = 0;
    for (size_t i = 0; i < r->good.count; i++)
        r->good.at[i].failed = false;
    atomic_store(&r->calm, true);
}

static void note_answer(struct reach *r, const struct reach_goal *goal, enum outcome outcome)
{
    if (outcome == OUTCOME_OK)
        goals_put(&r->good, goal);
    publish_works(r);
    reopen(r);
}

static bool all_failed(const struct reach *r)
{
    for (size_t i = 0; i < r->good.count; i++) {
        if (!r->good.at[i].failed)
            return false;
    }
    return true;
}

/* The failures so far and what has worked before decide. */
static void judge(struct reach *r, uint64_t now_ms)
{
    enum reach_state state = atomic_load(&r->state);
    if (state == REACH_SHUT || r->failures < REACH_TRIES || now_ms - r->since_ms < REACH_SPAN_MS ||
        (r->good.count == 0 && !r->many_hosts))
        return;
    if (state == REACH_OPEN)
        r->checked = false;
    atomic_store(&r->state, all_failed(r) ? REACH_SHUT : REACH_DOUBTED);
}

static void note_silence(struct reach *r, uint64_t now_ms, const struct reach_goal *goal,
                         enum outcome outcome)
{
    struct known *known = goals_find(&r->good, goal);
    atomic_store(&r->calm, false);
    if (r->failures == 0)
        r->since_ms = now_ms;
    else if (strcmp(r->last.host, goal->host) != 0)
        r->many_hosts = true;
    if (r->failures < REACH_TRIES)
        r->failures++;
    if (known != NULL)
        known->failed = true;
    else if (r->bad.count < REACH_GOALS && goals_find(&r->bad, goal) == NULL)
        goals_put(&r->bad, goal);
    r->last = *goal;
    r->last_outcome = outcome;
    judge(r, now_ms);
}

static void remove_everywhere(struct reach *r, const struct reach_goal *goal)
{
    goals_remove(&r->good, goal);
    goals_remove(&r->bad, goal);
    publish_works(r);
}

static void note_gone(struct reach *r, uint64_t now_ms, const struct reach_goal *goal)
{
    remove_everywhere(r, goal);
    judge(r, now_ms); /* it may have been the one that doubt was waiting for */
}

static bool changes_nothing(struct reach *r, const struct reach_goal *goal)
{
    if (!atomic_load_explicit(&r->calm, memory_order_relaxed))
        return false;
    uint64_t hash = goal_hash(goal);
    for (size_t i = 0; i < REACH_GOALS; i++) {
        if (atomic_load_explicit(&r->works[i], memory_order_relaxed) == hash)
            return true;
    }
    return false;
}

void reach_note(struct reach *r, uint64_t now_ms, const struct reach_goal *goal,
                enum outcome outcome)
{
    enum sign sign = sign_of(goal, outcome);
    if (sign == SIGN_NONE || (sign == SIGN_ANSWER && changes_nothing(r, goal)))
        return;
    (void)pthread_mutex_lock(&r->lock);
    unsigned before = atomic_load(&r->state);
    if (sign == SIGN_ANSWER)
        note_answer(r, goal, outcome);
    else if (sign == SIGN_SILENCE)
        note_silence(r, now_ms, goal, outcome);
    else
        note_gone(r, now_ms, goal);
    bool changed = atomic_load(&r->state) != before;
    (void)pthread_mutex_unlock(&r->lock);
    if (changed)
        r->on_change(r->arg);
}

enum reach_state reach_state(const struct reach *r)
{
    return atomic_load_explicit(&r->state, memory_order_relaxed);
}

void reach_last_failure(struct reach *r, struct reach_goal *goal, enum outcome *outcome)
{
    (void)pthread_mutex_lock(&r->lock);
    *goal = r->last;
    *outcome = r->last_outcome;
    (void)pthread_mutex_unlock(&r->lock);
}

void reach_forget(struct reach *r, const struct reach_goal *goal)
{
    (void)pthread_mutex_lock(&r->lock);
    remove_everywhere(r, goal);
    r->checked = false; /* it was not tried: another has its turn */
    (void)pthread_mutex_unlock(&r->lock);
}

/* ---- whom to try ---- */

/* In doubt: the first that worked and has not failed since. Shut: all in turn. */
static const struct reach_goal *choose(struct reach *r, enum reach_state state)
{
    if (state == REACH_DOUBTED) {
        for (size_t i = 0; i < r->good.count; i++) {
            if (!r->good.at[i].failed)
                return &r->good.at[i].goal;
        }
    }
    if (r->good.count + r->bad.count == 0)
        return NULL;
    size_t turn = r->turn++ % (r->good.count + r->bad.count);
    return turn < r->good.count ? &r->good.at[turn].goal : &r->bad.at[turn - r->good.count].goal;
}

uint64_t reach_next_check(struct reach *r, uint64_t now_ms, struct reach_goal *goal)
{
    uint64_t wait_ms = 0;
    (void)pthread_mutex_lock(&r->lock);
    enum reach_state state = atomic_load(&r->state);
    uint64_t pause_ms = state == REACH_DOUBTED ? REACH_DOUBT_MS : REACH_CHECK_MS;
    const struct reach_goal *next = NULL;
    if (state == REACH_OPEN)
        wait_ms = UINT64_MAX;
    else if (r->checked && now_ms - r->checked_ms < pause_ms)
        wait_ms = pause_ms - (now_ms - r->checked_ms);
    else
        next = choose(r, state);
    if (next != NULL) {
        *goal = *next;
        r->checked_ms = now_ms;
        r->checked = true;
    } else if (wait_ms == 0) {
        reopen(r); /* nothing is left whose answer could do it */
        wait_ms = UINT64_MAX;
    }
    (void)pthread_mutex_unlock(&r->lock);
    if (next == NULL && state != REACH_OPEN && wait_ms == UINT64_MAX)
        r->on_change(r->arg);
    return wait_ms;
}

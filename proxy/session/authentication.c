#include "proxy/session/authentication.h"

#include <assert.h>
#include <crypt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/clock.h"
#include "proxy/session/secret_digest.h"

enum {
    BUCKETS = 1024,
    FORGIVEN_AFTER = 6 /* times auth.failure.delay.max without another wrong password */
};

/* A password found right, under a digest that only this process can make. */
struct remembered {
    struct remembered *next; /* in its bucket */
    struct list node;        /* in `recent`, the oldest first */
    unsigned char digest[SECRET_DIGEST_OCTETS];
    uint64_t until_ms;
};

/* A client address that was wrong. */
struct failing {
    struct failing *next;
    struct list node; /* in `failed`, the oldest first */
    struct addr_client who;
    uint64_t delay_ms; /* of the next wrong answer */
    uint64_t
        free_ms; /* clock_ms() when the last answer is given: checks are made one after the other */
};

struct authentication {
    pthread_mutex_t lock;
    struct authentication_options options;
    struct secret_digest_key secret;
    uint64_t seed;
    struct list active; /* checks that wait or are computed, */
    size_t pending;     /* so many */
    struct remembered *by_digest[BUCKETS];
    struct list recent;
    size_t remembered_count;
    struct failing *by_client[BUCKETS];
    struct list failed;
    size_t failed_count;
};

struct authentication_check {
    uv_work_t work;
    uv_loop_t *loop;
    struct authentication *auth;
    struct deadlines *deadlines; /* of the worker; not used any more once cancelled */
    struct deadline delay;
    struct metrics *metrics;
    authentication_cb on_done; /* NULL: cancelled */
    void *arg;
    struct addr_client who;
    struct list node; /* in `active`, while it has a place there */
    bool has_place;
    bool computing; /* the thread pool has it */
    bool known;     /* there is such a user */
    bool waited;    /* before it was computed: its answer is held back no more */
    enum outcome verdict;
    unsigned char digest[SECRET_DIGEST_OCTETS];
    char *hash; /* owned */
    char password[CREDENTIALS_MAX + 1];
};

/* ---- tables ---- */

static struct failing **find_failing(struct authentication *a, const struct addr_client *who)
{
    struct failing **at = &a->by_client[addr_client_hash(who, a->seed) % BUCKETS];
    while (*at != NULL && !addr_client_is(&(*at)->who, who))
        at = &(*at)->next;
    return at;
}

static void forget_failing(struct authentication *a, struct failing *f)
{
    struct failing **at = find_failing(a, &f->who);
    *at = f->next;
    list_remove(&f->node);
    a->failed_count--;
    free(f);
}

/* The entry of a client that was wrong lately, or NULL. */
static struct failing *failing_of(struct authentication *a, const struct addr_client *who,
                                  uint64_t now)
{
    struct failing *f = *find_failing(a, who);
    if (f == NULL || now < f->free_ms + FORGIVEN_AFTER * a->options.failure_max_ms)
        return f;
    forget_failing(a, f);
    return NULL;
}

static struct failing *add_failing(struct authentication *a, const struct addr_client *who)
{
    struct failing *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    while (a->failed_count > 0 && a->failed_count >= a->options.failure_entries)
        forget_failing(a, LIST_ITEM(a->failed.next, struct failing, node));
    f->who = *who;
    *find_failing(a, &f->who) = f;
    list_append(&a->failed, &f->node);
    a->failed_count++;
    return f;
}

/* The digest is as good as random: any part of it is a hash. */
static struct remembered **find_remembered(struct authentication *a, const unsigned char *digest)
{
    size_t bucket = (size_t)(digest[0] << 8 | digest[1]) % BUCKETS;
    struct remembered **at = &a->by_digest[bucket];
    while (*at != NULL && memcmp((*at)->digest, digest, SECRET_DIGEST_OCTETS) != 0)
        at = &(*at)->next;
    return at;
}

static void forget(struct authentication *a, struct remembered *r)
{
    struct remembered **at = find_remembered(a, r->digest);
    *at = r->next;
    list_remove(&r->node);
    a->remembered_count--;
    free(r);
}

static bool is_remembered(struct authentication *a, const unsigned char *digest, uint64_t now)
{
    struct remembered *r = *find_remembered(a, digest);
    if (r != NULL && now >= r->until_ms) {
        forget(a, r);
        r = NULL;
    }
    return r != NULL;
}

static void remember(struct authentication *a, const unsigned char *digest, uint64_t now)
{
    const struct authentication_options *o = &a->options;
    if (o->cache_entries == 0 || o->cache_ms == 0 || *find_remembered(a, digest) != NULL)
        return;
    while (a->remembered_count >= o->cache_entries)
        forget(a, LIST_ITEM(a->recent.next, struct remembered, node));
    struct remembered *r = calloc(1, sizeof *r);
    if (r == NULL)
        return; /* it will be computed again */
    memcpy(r->digest, digest, SECRET_DIGEST_OCTETS);
    r->until_ms = now + o->cache_ms;
    *find_remembered(a, digest) = r;
    list_append(&a->recent, &r->node);
    a->remembered_count++;
}

/* ---- life ---- */

struct authentication *authentication_create(const struct authentication_options *options)
{
    struct authentication *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    if (getrandom(&a->seed, sizeof a->seed, 0) != (ssize_t)sizeof a->seed ||
        !secret_digest_key_make(&a->secret)) {
        free(a);
        return NULL;
    }
    (void)pthread_mutex_init(&a->lock, NULL);
    a->options = *options;
    list_init(&a->active);
    list_init(&a->recent);
    list_init(&a->failed);
    return a;
}

static void forget_all(struct authentication *a)
{
    while (!list_empty(&a->recent))
        forget(a, LIST_ITEM(a->recent.next, struct remembered, node));
}

void authentication_reload(struct authentication *a, const struct authentication_options *options)
{
    (void)pthread_mutex_lock(&a->lock);
    a->options = *options;
    forget_all(a);
    (void)pthread_mutex_unlock(&a->lock);
}

void authentication_destroy(struct authentication *a)
{
    assert(a->pending == 0);
    forget_all(a);
    while (!list_empty(&a->failed))
        forget_failing(a, LIST_ITEM(a->failed.next, struct failing, node));
    (void)pthread_mutex_destroy(&a->lock);
    secret_digest_key_release(&a->secret);
    free(a);
}

/* ---- one check ---- */

/* Under the lock. */
static void leave_place(struct authentication_check *c)
{
    if (!c->has_place)
        return;
    c->has_place = false;
    list_remove(&c->node);
    c->auth->pending--;
}

static void check_free(struct authentication_check *c)
{
    (void)pthread_mutex_lock(&c->auth->lock);
    leave_place(c);
    (void)pthread_mutex_unlock(&c->auth->lock);
    explicit_bzero(c->password, sizeof c->password);
    free(c->hash);
    free(c);
}

static void finish(struct authentication_check *c)
{
    authentication_cb on_done = c->on_done;
    void *arg = c->arg;
    enum outcome verdict = c->verdict;
    check_free(c);
    on_done(arg, verdict);
}

/* On a thread of the pool; touches the check alone. */
static void compute(uv_work_t *work)
{
    struct authentication_check *c = work->data;
    struct crypt_data *data = calloc(1, sizeof *data);
    c->verdict = OUTCOME_NO_MEMORY;
    if (data == NULL)
        return;
    const char *made = crypt_r(c->password, c->hash, data);
    bool same = made != NULL && secret_same(made, c->hash);
    c->verdict = same && c->known ? OUTCOME_OK : OUTCOME_AUTH_FAILED;
    explicit_bzero(data, sizeof *data);
    free(data);
}

/* Notes a wrong password; how long its answer is held back still. */
static uint64_t note_failure(struct authentication_check *c)
{
    struct authentication *a = c->auth;
    uint64_t now = clock_ms(), most = a->options.failure_max_ms;
    struct failing *f = failing_of(a, &c->who, now);
    if (f == NULL && (f = add_failing(a, &c->who)) != NULL)
        f->delay_ms = a->options.failure_ms / 2;
    if (f == NULL)
        return most;
    f->delay_ms = f->delay_ms >= most / 2 ? most : 2 * f->delay_ms;
    if (f->free_ms < now + f->delay_ms)
        f->free_ms = now + f->delay_ms;
    return c->waited ? 0 : f->delay_ms;
}

static void on_held_back(struct deadline *d)
{
    finish(LIST_ITEM(d, struct authentication_check, delay));
}

static void on_computed(uv_work_t *work, int status)
{
    struct authentication_check *c = work->data;
    struct authentication *a = c->auth;
    uint64_t hold_ms = 0;
    c->computing = false;
    (void)pthread_mutex_lock(&a->lock);
    leave_place(c); /* an answer that is held back keeps nobody else from being computed */
    if (status == 0 && c->verdict == OUTCOME_OK)
        remember(a, c->digest, clock_ms());
    else if (status == 0 && c->verdict != OUTCOME_NO_MEMORY)
        hold_ms = note_failure(c);
    (void)pthread_mutex_unlock(&a->lock);
    if (c->on_done == NULL) {
        check_free(c);
        return;
    }
    if (c->verdict == OUTCOME_AUTH_FAILED)
        metrics_add(c->metrics, METRIC_AUTH_FAILURES, 1);
    if (hold_ms == 0) {
        finish(c);
        return;
    }
    deadline_init(&c->delay, on_held_back);
    deadline_set(c->deadlines, &c->delay, hold_ms);
}

static void begin_computing(struct authentication_check *c)
{
    metrics_add(c->metrics, METRIC_AUTH_CHECKS, 1);
    c->computing = true;
    int rc = uv_queue_work(c->loop, &c->work, compute, on_computed);
    assert(rc == 0); /* fails only without a function to call */
    (void)rc;
}

static void on_waited(struct deadline *d)
{
    begin_computing(LIST_ITEM(d, struct authentication_check, delay));
}

static bool make_digest(const struct authentication *a, const struct credentials *k,
                        const char *hash, unsigned char digest[SECRET_DIGEST_OCTETS])
{
    unsigned char text[2 * sizeof k->user + 1024 + 2];
    size_t user = strlen(k->user) + 1, password = strlen(k->password) + 1, len = strlen(hash);
    if (user + password + len > sizeof text)
        return false;
    memcpy(text, k->user, user);
    memcpy(text + user, k->password, password);
    memcpy(text + user + password, hash, len);
    bool made = secret_digest_make(&a->secret, text, user + password + len, digest);
    explicit_bzero(text, sizeof text);
    return made;
}

static struct authentication_check *check_create(struct authentication *a,
                                                 const struct netloop *net,
                                                 const struct authentication_request *r)
{
    const char *known = users_find(r->users, r->credentials->user);
    const char *hash = known != NULL ? known : users_decoy(r->users, r->credentials->user);
    struct authentication_check *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->hash = strdup(hash != NULL ? hash : "");
    if (c == NULL || c->hash == NULL || !make_digest(a, r->credentials, c->hash, c->digest)) {
        if (c != NULL)
            free(c->hash);
        free(c);
        return NULL;
    }
    memcpy(c->password, r->credentials->password, sizeof c->password);
    c->work.data = c;
    c->auth = a;
    c->loop = net->loop;
    c->deadlines = net->deadlines;
    c->metrics = r->metrics;
    c->on_done = r->on_done;
    c->arg = r->arg;
    c->who = addr_client_of(r->client);
    c->known = known != NULL;
    deadline_init(&c->delay, on_waited);
    return c;
}

/* With half of the places in its hands a client leaves the rest to others. */
static bool has_its_share(const struct authentication *a, const struct addr_client *who)
{
    size_t share = (a->options.pending_max + 1) / 2, active = 0;
    if (a->pending < share)
        return false;
    LIST_EACH (at, &a->active) {
        active += addr_client_is(&LIST_ITEM(at, struct authentication_check, node)->who, who);
    }
    return active >= share;
}

/*
 * Under the lock: when the check may be computed. A client that was wrong lately is served one
 * check after the other, each after its delay, however many connections it uses; what would have to
 * wait longer than auth.failure.delay.max is refused, so that it cannot fill auth.pending.max.
 */
static enum outcome admit(struct authentication *a, struct authentication_check *c,
                          uint64_t *wait_ms)
{
    uint64_t now = clock_ms();
    *wait_ms = 0;
    if (c->known && is_remembered(a, c->digest, now))
        return OUTCOME_OK;
    struct failing *f = failing_of(a, &c->who, now);
    if (f != NULL && f->free_ms > now)
        *wait_ms = f->free_ms - now;
    if (a->pending >= a->options.pending_max || *wait_ms > a->options.failure_max_ms ||
        has_its_share(a, &c->who))
        return OUTCOME_AUTH_BUSY;
    if (f != NULL)
        f->free_ms = now + *wait_ms + f->delay_ms;
    c->has_place = true;
    list_append(&a->active, &c->node);
    a->pending++;
    return OUTCOME_PENDING;
}

enum outcome authentication_start(struct authentication *a, const struct netloop *net,
                                  const struct authentication_request *request,
                                  struct authentication_check **check)
{
    struct authentication_check *c = check_create(a, net, request);
    uint64_t wait_ms;
    if (c == NULL)
        return OUTCOME_NO_MEMORY;
    (void)pthread_mutex_lock(&a->lock);
    enum outcome verdict = admit(a, c, &wait_ms);
    (void)pthread_mutex_unlock(&a->lock);
    if (verdict != OUTCOME_PENDING) {
        if (verdict == OUTCOME_OK)
            metrics_add(request->metrics, METRIC_AUTH_REMEMBERED, 1);
        explicit_bzero(c->password, sizeof c->password);
        free(c->hash);
        free(c);
        return verdict;
    }
    c->waited = wait_ms > 0;
    if (c->waited)
        deadline_set(c->deadlines, &c->delay, wait_ms);
    else
        begin_computing(c);
    *check = c;
    return OUTCOME_PENDING;
}

size_t authentication_pending(struct authentication *a)
{
    (void)pthread_mutex_lock(&a->lock);
    size_t pending = a->pending;
    (void)pthread_mutex_unlock(&a->lock);
    return pending;
}

void authentication_cancel(struct authentication_check *c)
{
    c->on_done = NULL;
    if (c->computing) {
        (void)uv_cancel((uv_req_t *)&c->work); /* on_computed() comes in any case, and frees */
        return;
    }
    deadline_clear(c->deadlines, &c->delay);
    check_free(c);
}

#include "proxy/net/tls_thread.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/base/metrics.h"

struct tls_mailbox {
    uv_async_t wake;
    pthread_mutex_t lock;
    struct list done; /* under lock */
};

struct tls_thread {
    pthread_t thread;
    struct list node; /* of `ended` */
    size_t queue_max;
    pthread_mutex_t lock; /* before a mailbox's */
    pthread_cond_t news;  /* for the thread */
    pthread_cond_t over;  /* for tls_thread_call() */
    struct list first;    /* under lock, like all below: jobs before others */
    struct list queue;
    size_t queued; /* of `queue` */
    bool refusing;
    struct tls_job *last; /* not NULL: ending */
};

/* Of all threads. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct list ended;   /* to be joined */
    size_t ending_count; /* not there yet */
    size_t working_count;
} threads = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t threads_once = PTHREAD_ONCE_INIT;

static struct {
    atomic_size_t queued;
    _Atomic uint64_t done, refused, given_up;
} counters;

/* ---- time ---- */

/* Waits are counted on the steady clock. */
static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void init_threads(void)
{
    init_condition(&threads.news);
    list_init(&threads.ended);
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* ---- mailboxes ---- */

static void on_wake(uv_async_t *async)
{
    struct tls_mailbox *m = async->data;
    struct list mark; /* only those that are there: an `on_done` may ask for more */
    (void)pthread_mutex_lock(&m->lock);
    list_append(&m->done, &mark);
    while (m->done.next != &mark) {
        struct tls_job *job = LIST_ITEM(m->done.next, struct tls_job, waiting);
        list_remove(&job->waiting);
        job->state = TLS_JOB_OWN;
        job->thread = NULL;
        (void)pthread_mutex_unlock(&m->lock);
        job->on_done(job);
        (void)pthread_mutex_lock(&m->lock);
    }
    list_remove(&mark);
    (void)pthread_mutex_unlock(&m->lock);
}

struct tls_mailbox *tls_mailbox_create(uv_loop_t *loop)
{
    struct tls_mailbox *m = calloc(1, sizeof *m);
    if (m == NULL || uv_async_init(loop, &m->wake, on_wake) != 0) {
        free(m);
        return NULL;
    }
    m->wake.data = m;
    (void)pthread_mutex_init(&m->lock, NULL);
    list_init(&m->done);
    return m;
}

static void on_mailbox_closed(uv_handle_t *handle)
{
    struct tls_mailbox *m = handle->data;
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void tls_mailbox_close(struct tls_mailbox *m)
{
    if (m == NULL)
        return;
    (void)pthread_mutex_lock(&m->lock); /* whoever put the last job there has left it */
    assert(list_empty(&m->done));
    (void)pthread_mutex_unlock(&m->lock);
    uv_close((uv_handle_t *)&m->wake, on_mailbox_closed);
}

/* Under the thread's lock, so that the job cannot be given up meanwhile; and the loop is told under
 * the mailbox's, so that it cannot be closed. */
static void deliver(struct tls_job *job, int rc)
{
    struct tls_mailbox *m = job->mailbox;
    job->rc = rc;
    (void)pthread_mutex_lock(&m->lock);
    job->state = TLS_JOB_DONE;
    list_append(&m->done, &job->waiting);
    (void)uv_async_send(&m->wake);
    (void)pthread_mutex_unlock(&m->lock);
}

/* ---- the thread ---- */

static struct tls_job *take_first(struct list *from)
{
    struct tls_job *job = LIST_ITEM(from->next, struct tls_job, waiting);
    list_remove(&job->waiting);
    job->state = TLS_JOB_RUNNING;
    return job;
}

static void count_out(struct tls_thread *t, const struct tls_job *job)
{
    if (job->first)
        return;
    t->queued--;
    (void)atomic_fetch_sub(&counters.queued, 1);
}

static void count_work(bool begins)
{
    (void)pthread_once(&threads_once, init_threads);
    (void)pthread_mutex_lock(&threads.lock);
    if (begins)
        threads.working_count++;
    else if (--threads.working_count == 0)
        (void)pthread_cond_broadcast(&threads.news);
    (void)pthread_mutex_unlock(&threads.lock);
}

/* Under the lock, which is let go meanwhile. */
static void run_next(struct tls_thread *t)
{
    struct tls_job *job = take_first(!list_empty(&t->first) ? &t->first : &t->queue);
    bool is_first = job->first;
    count_out(t, job);
    (void)pthread_mutex_unlock(&t->lock);
    job->run(job);
    (void)pthread_mutex_lock(&t->lock);
    if (!is_first)
        (void)atomic_fetch_add(&counters.done, 1);
    if (job->given_up) {
        (void)pthread_mutex_unlock(&t->lock);
        job->dispose(job);
        (void)pthread_mutex_lock(&t->lock);
    } else if (job->mailbox != NULL) {
        deliver(job, 0);
    } else {
        job->state = TLS_JOB_OWN;
        (void)pthread_cond_broadcast(&t->over);
    }
}

static void *thread_main(void *arg)
{
    struct tls_thread *t = arg;
    (void)pthread_mutex_lock(&t->lock);
    while (t->last == NULL || !list_empty(&t->first) || !list_empty(&t->queue)) {
        if (list_empty(&t->first) && list_empty(&t->queue)) {
            (void)pthread_cond_wait(&t->news, &t->lock);
            continue;
        }
        count_work(true);
        run_next(t);
        count_work(false);
    }
    (void)pthread_mutex_unlock(&t->lock);
    t->last->run(t->last);
    t->last->dispose(t->last);
    (void)pthread_mutex_lock(&threads.lock);
    list_append(&threads.ended, &t->node);
    threads.ending_count--;
    (void)pthread_cond_broadcast(&threads.news);
    (void)pthread_mutex_unlock(&threads.lock);
    return NULL;
}

/* Signals are the main thread's. */
static int start(struct tls_thread *t)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->thread, NULL, thread_main, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void free_thread(struct tls_thread *t)
{
    (void)pthread_cond_destroy(&t->over);
    (void)pthread_cond_destroy(&t->news);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

struct tls_thread *tls_thread_create(size_t queue_max)
{
    (void)tls_threads_wait(0, false); /* takes those back that have ended */
    struct tls_thread *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->queue_max = queue_max;
    (void)pthread_mutex_init(&t->lock, NULL);
    init_condition(&t->news);
    init_condition(&t->over);
    list_init(&t->node);
    list_init(&t->first);
    list_init(&t->queue);
    if (start(t) == 0)
        return t;
    free_thread(t);
    return NULL;
}

void tls_thread_end(struct tls_thread *t, struct tls_job *last)
{
    (void)pthread_once(&threads_once, init_threads);
    (void)pthread_mutex_lock(&threads.lock);
    threads.ending_count++;
    (void)pthread_mutex_unlock(&threads.lock);
    (void)pthread_mutex_lock(&t->lock);
    assert(t->last == NULL);
    t->last = last;
    (void)pthread_cond_signal(&t->news);
    (void)pthread_mutex_unlock(&t->lock);
}

bool tls_threads_wait(uint64_t patience_ms, bool idle)
{
    const struct timespec until = in_ms(patience_ms);
    (void)pthread_once(&threads_once, init_threads);
    (void)pthread_mutex_lock(&threads.lock);
    while ((threads.ending_count > 0 || (idle && threads.working_count > 0)) &&
           pthread_cond_timedwait(&threads.news, &threads.lock, &until) == 0) {
    }
    while (!list_empty(&threads.ended)) {
        struct tls_thread *t = LIST_ITEM(threads.ended.next, struct tls_thread, node);
        list_remove(&t->node);
        (void)pthread_join(t->thread, NULL); /* it has nothing left to do */
        free_thread(t);
    }
    bool all = threads.ending_count == 0 && (!idle || threads.working_count == 0);
    (void)pthread_mutex_unlock(&threads.lock);
    return all;
}

/* ---- jobs ---- */

static void prepare(struct tls_job *job, struct tls_thread *t, struct tls_mailbox *m)
{
    assert(job->state == TLS_JOB_OWN);
    job->thread = t;
    job->mailbox = m;
    job->given_up = false;
    job->rc = 0;
    job->state = TLS_JOB_QUEUED;
    job->first = false;
    list_init(&job->waiting);
}

/* Under the lock. */
static int add_to_queue(struct tls_thread *t, struct tls_job *job, bool newcomer)
{
    if (t->refusing)
        return -ENODEV;
    if (newcomer && t->queued >= t->queue_max) {
        (void)atomic_fetch_add(&counters.refused, 1);
        return -ENOBUFS;
    }
    job->state = TLS_JOB_QUEUED;
    list_append(&t->queue, &job->waiting);
    t->queued++;
    (void)atomic_fetch_add(&counters.queued, 1);
    (void)pthread_cond_signal(&t->news);
    return 0;
}

int tls_thread_submit(struct tls_thread *t, struct tls_job *job, struct tls_mailbox *m,
                      bool newcomer)
{
    assert(m != NULL);
    prepare(job, t, m);
    (void)pthread_mutex_lock(&t->lock);
    int rc = add_to_queue(t, job, newcomer);
    (void)pthread_mutex_unlock(&t->lock);
    if (rc != 0) {
        job->state = TLS_JOB_OWN;
        job->thread = NULL;
    }
    return rc;
}

/* Under the lock. */
static void put_first(struct tls_thread *t, struct tls_job *job)
{
    job->first = true;
    list_append(&t->first, &job->waiting);
    (void)pthread_cond_signal(&t->news);
}

void tls_thread_ask(struct tls_thread *t, struct tls_job *job, struct tls_mailbox *m)
{
    assert(m != NULL);
    prepare(job, t, m);
    (void)pthread_mutex_lock(&t->lock);
    put_first(t, job);
    (void)pthread_mutex_unlock(&t->lock);
}

void tls_thread_put(struct tls_thread *t, struct tls_job *job)
{
    prepare(job, t, NULL);
    job->given_up = true;
    (void)pthread_mutex_lock(&t->lock);
    put_first(t, job);
    (void)pthread_mutex_unlock(&t->lock);
}

int tls_thread_call(struct tls_thread *t, struct tls_job *job, uint64_t patience_ms)
{
    const struct timespec until = in_ms(patience_ms);
    prepare(job, t, NULL);
    (void)pthread_mutex_lock(&t->lock);
    put_first(t, job);
    while (job->state != TLS_JOB_OWN && pthread_cond_timedwait(&t->over, &t->lock, &until) == 0) {
    }
    bool over = job->state == TLS_JOB_OWN, waits = job->state == TLS_JOB_QUEUED;
    if (waits)
        list_remove(&job->waiting);
    else
        job->given_up = true;
    (void)pthread_mutex_unlock(&t->lock);
    if (waits)
        job->dispose(job);
    return over ? 0 : -ETIMEDOUT;
}

static void count_given_up(const struct tls_job *job)
{
    if (!job->first)
        (void)atomic_fetch_add(&counters.given_up, 1);
}

/* Under the lock. */
static void take_back(struct tls_thread *t, struct tls_job *job)
{
    list_remove(&job->waiting);
    count_out(t, job);
    job->state = TLS_JOB_OWN;
    job->thread = NULL;
    count_given_up(job);
}

bool tls_job_withdraw(struct tls_job *job)
{
    struct tls_thread *t = job->thread;
    assert(t != NULL);
    (void)pthread_mutex_lock(&t->lock);
    bool queued = job->state == TLS_JOB_QUEUED;
    if (queued)
        take_back(t, job);
    (void)pthread_mutex_unlock(&t->lock);
    return queued;
}

bool tls_job_give_up(struct tls_job *job)
{
    struct tls_thread *t = job->thread;
    if (t == NULL || tls_job_withdraw(job))
        return true;
    (void)pthread_mutex_lock(&t->lock);
    bool running = job->state == TLS_JOB_RUNNING;
    count_given_up(job); /* afterwards it may be gone */
    if (running) {
        job->given_up = true;
    } else {
        (void)pthread_mutex_lock(&job->mailbox->lock);
        list_remove(&job->waiting);
        (void)pthread_mutex_unlock(&job->mailbox->lock);
        job->state = TLS_JOB_OWN;
        job->thread = NULL;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return !running;
}

void tls_thread_refuse(struct tls_thread *t)
{
    (void)pthread_mutex_lock(&t->lock);
    t->refusing = true;
    while (!list_empty(&t->queue)) {
        struct tls_job *job = take_first(&t->queue);
        count_out(t, job);
        deliver(job, -ENODEV);
    }
    (void)pthread_mutex_unlock(&t->lock);
}

/* ---- metrics ---- */

static int print_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    return buf_printf(out,
                      "# HELP certferry_%s %s.\n# TYPE certferry_%s counter\n"
                      "certferry_%s %" PRIu64 "\n",
                      name, help, name, name, value);
}

int tls_threads_print(struct buf *out)
{
    int rc = metrics_print_gauge(out, "tls_thread_queued",
                                 "TLS handshakes that wait for the thread of a key's device",
                                 atomic_load(&counters.queued));
    if (rc == 0)
        rc = print_counter(out, "tls_thread_steps_total",
                           "Steps of TLS handshakes made on such a thread",
                           atomic_load(&counters.done));
    if (rc == 0)
        rc = print_counter(out, "tls_thread_refused_total",
                           "TLS handshakes refused because its queue was full",
                           atomic_load(&counters.refused));
    if (rc == 0)
        rc = print_counter(out, "tls_thread_given_up_total",
                           "TLS handshakes given up while the thread had them",
                           atomic_load(&counters.given_up));
    return rc;
}

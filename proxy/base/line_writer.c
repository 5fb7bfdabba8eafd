#include "proxy/base/line_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"

enum {
    GATHER_MS = 20,       /* lines that come so soon behind another are written with it */
    GATHER_OCTETS = 65536 /* unless there are so many */
};

struct line_writer {
    int fd;
    bool is_file; /* takes all at once, and has no reader who could stop */
    void (*on_started)(void *arg);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct buf queue;    /* under lock */
    struct buf written;  /* the thread's: the last batch's memory, for the next one */
    bool asleep;         /* under lock: the first line must wake the thread */
    uint64_t dropped;    /* under lock */
    bool ending;         /* under lock */
    uint64_t give_up_ms; /* under lock; when ending */
};

/* Whether to go on waiting for the reader. */
static bool patience_left(struct line_writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    bool left = !w->ending || clock_ms() < w->give_up_ms;
    (void)pthread_mutex_unlock(&w->lock);
    return left;
}

/* poll() first, so that a reader who has stopped cannot hold the thread beyond its patience at the
 * end. */
static void write_all(struct line_writer *w, struct span text)
{
    while (text.len > 0) {
        struct pollfd p = {.fd = w->fd, .events = POLLOUT};
        int ready = w->is_file ? 1 : poll(&p, 1, 200);
        if (ready <= 0) {
            if (!patience_left(w))
                return;
            continue;
        }
        /* A pipe that polls writable takes PIPE_BUF octets without blocking. */
        size_t piece = w->is_file || text.len < 4096 ? text.len : 4096;
        ssize_t n = write(w->fd, text.ptr, piece);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return; /* nobody reads any more: the rest is lost, the proxy goes on */
        if (n > 0)
            text = (struct span){text.ptr + n, text.len - (size_t)n};
    }
}

/* Under the lock: until it is time for a batch. */
static void wait_for_more(struct line_writer *w)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (buf_len(&w->queue) < GATHER_OCTETS && !w->ending &&
           pthread_cond_timedwait(&w->news, &w->lock, &until) == 0) {
    }
}

/*
 * Under the lock: until a batch is there. To wake for each line would cost more than the line, and
 * so would a wake-up for each batch: while lines come, the thread looks by itself, and only a first
 * line after GATHER_MS without any must wake it.
 */
static void gather(struct line_writer *w)
{
    wait_for_more(w);
    if (buf_len(&w->queue) > 0 || w->ending)
        return;
    w->asleep = true;
    while (buf_len(&w->queue) == 0 && !w->ending)
        (void)pthread_cond_wait(&w->news, &w->lock);
    w->asleep = false;
    wait_for_more(w);
}

static void *writer_main(void *arg)
{
    struct line_writer *w = arg;
    if (w->on_started != NULL)
        w->on_started(w->arg);
    for (;;) {
        (void)pthread_mutex_lock(&w->lock);
        gather(w);
        struct buf batch = w->queue;
        w->queue = w->written;
        bool ending = w->ending;
        (void)pthread_mutex_unlock(&w->lock);
        if (buf_len(&batch) > 0)
            write_all(w, buf_span(&batch));
        buf_consume(&batch, buf_len(&batch));
        if (batch.cap > 2 * GATHER_OCTETS)
            buf_release(&batch); /* after a flood */
        w->written = batch;
        if (buf_len(&batch) == 0 && ending)
            return NULL;
    }
}

/* Waits are counted on the steady clock. */
static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

struct line_writer *line_writer_create(int fd, size_t queue_octets, void (*on_started)(void *arg),
                                       void *arg)
{
    struct line_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    struct stat st;
    w->fd = fd;
    w->is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    w->on_started = on_started;
    w->arg = arg;
    buf_init(&w->queue, queue_octets);
    buf_init(&w->written, queue_octets);
    (void)pthread_mutex_init(&w->lock, NULL);
    init_condition(&w->news);
    if (pthread_create(&w->thread, NULL, writer_main, w) != 0) {
        (void)pthread_cond_destroy(&w->news);
        (void)pthread_mutex_destroy(&w->lock);
        free(w);
        return NULL;
    }
    return w;
}

void line_writer_put(struct line_writer *w, struct span line)
{
    (void)pthread_mutex_lock(&w->lock);
    bool was_enough = buf_len(&w->queue) >= GATHER_OCTETS;
    if (buf_add_span(&w->queue, line) != 0)
        w->dropped++;
    bool wake = w->asleep || (!was_enough && buf_len(&w->queue) >= GATHER_OCTETS);
    w->asleep = false;
    (void)pthread_mutex_unlock(&w->lock);
    if (wake)
        (void)pthread_cond_signal(&w->news);
}

void line_writer_drop(struct line_writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->dropped++;
    (void)pthread_mutex_unlock(&w->lock);
}

uint64_t line_writer_dropped(struct line_writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    uint64_t n = w->dropped;
    (void)pthread_mutex_unlock(&w->lock);
    return n;
}

void line_writer_destroy(struct line_writer *w, unsigned patience_ms)
{
    (void)pthread_mutex_lock(&w->lock);
    w->ending = true;
    w->give_up_ms = clock_ms() + patience_ms;
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_cond_signal(&w->news);
    (void)pthread_join(w->thread, NULL);
    (void)pthread_cond_destroy(&w->news);
    (void)pthread_mutex_destroy(&w->lock);
    buf_release(&w->queue);
    buf_release(&w->written);
    free(w);
}

#include "proxy/base/line_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"

struct line_writer {
    int fd;
    void (*on_started)(void *arg);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct buf queue;    /* under lock */
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
        int ready = poll(&p, 1, 200);
        if (ready <= 0) {
            if (!patience_left(w))
                return;
            continue;
        }
        /* A pipe that polls writable takes PIPE_BUF octets without blocking. */
        size_t piece = text.len < 4096 ? text.len : 4096;
        ssize_t n = write(w->fd, text.ptr, piece);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return; /* nobody reads any more: the rest is lost, the proxy goes on */
        if (n > 0)
            text = (struct span){text.ptr + n, text.len - (size_t)n};
    }
}

static void *writer_main(void *arg)
{
    struct line_writer *w = arg;
    if (w->on_started != NULL)
        w->on_started(w->arg);
    for (;;) {
        (void)pthread_mutex_lock(&w->lock);
        while (buf_len(&w->queue) == 0 && !w->ending)
            (void)pthread_cond_wait(&w->news, &w->lock);
        struct buf batch = w->queue;
        buf_init(&w->queue, batch.max);
        bool ending = w->ending;
        (void)pthread_mutex_unlock(&w->lock);
        if (buf_len(&batch) == 0 && ending)
            return NULL;
        write_all(w, buf_span(&batch));
        buf_release(&batch);
    }
}

struct line_writer *line_writer_create(int fd, size_t queue_octets, void (*on_started)(void *arg),
                                       void *arg)
{
    struct line_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->fd = fd;
    w->on_started = on_started;
    w->arg = arg;
    buf_init(&w->queue, queue_octets);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->news, NULL);
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
    bool was_empty = buf_len(&w->queue) == 0;
    if (buf_add_span(&w->queue, line) != 0)
        w->dropped++;
    (void)pthread_mutex_unlock(&w->lock);
    if (was_empty)
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
    free(w);
}

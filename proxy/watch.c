#include "proxy/watch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/clock.h"

enum {
    DAY_MS = 24 * 60 * 60 * 1000,
    FILES_MAX = 1024,
    POSTPONED_MAX = 3, /* somebody may write one of the files all the time */
    COARSE_MS = 20     /* a file's times are those of the kernel's last tick */
};

/* Whatever is written or put in a file's place changes one of these. */
struct stamp {
    int error; /* not there, not allowed: 0 otherwise */
    dev_t device;
    ino_t inode;
    off_t octets;
    struct timespec written, changed;
};

struct file {
    char *path; /* owned */
    struct stamp stamp;
};

struct watch {
    uv_timer_t timer;
    struct watch_options options;
    int dir; /* owned; -1: none */
    int64_t since_ms;
    uint64_t interval_ms;
    uint64_t day_began_ms;
    bool unsettled;     /* something changed since on_change() */
    unsigned postponed; /* so often since then, as something had changed again */
    size_t count;
    struct file file[FILES_MAX];
};

static struct stamp stamp_of(const struct watch *w, const char *path)
{
    struct stat st;
    if (fstatat(w->dir, path, &st, 0) != 0)
        return (struct stamp){.error = errno};
    return (struct stamp){0, st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->error == b->error && a->device == b->device && a->inode == b->inode &&
           a->octets == b->octets && same_time(&a->written, &b->written) &&
           same_time(&a->changed, &b->changed);
}

/* True when a file is another than last time. */
static bool look(struct watch *w)
{
    bool changed = false;
    for (size_t i = 0; i < w->count; i++) {
        struct stamp now = stamp_of(w, w->file[i].path);
        changed = changed || !same(&now, &w->file[i].stamp);
        w->file[i].stamp = now;
    }
    return changed;
}

static void on_timer(uv_timer_t *timer)
{
    struct watch *w = timer->data;
    uint64_t now = clock_ms();
    if (now - w->day_began_ms >= DAY_MS) {
        w->day_began_ms = now;
        w->options.on_day(w->options.arg);
    }
    if (w->interval_ms == 0)
        return;
    bool changed = look(w);
    if (!changed && !w->unsettled)
        return;
    if (changed && w->postponed < POSTPONED_MAX) {
        w->unsettled = true; /* a certificate and its key are two files: the other may follow */
        w->postponed++;
        return;
    }
    w->unsettled = false;
    w->postponed = 0;
    w->options.on_change(w->options.arg);
}

struct watch *watch_create(uv_loop_t *loop, const struct watch_options *options)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->options = *options;
    w->dir = -1;
    w->day_began_ms = clock_ms();
    (void)uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    return w;
}

static void forget(struct watch *w)
{
    while (w->count > 0)
        free(w->file[--w->count].path);
    if (w->dir >= 0)
        (void)close(w->dir);
    w->dir = -1;
}

static void on_closed(uv_handle_t *timer)
{
    struct watch *w = timer->data;
    forget(w);
    free(w);
}

void watch_close(struct watch *w)
{
    uv_close((uv_handle_t *)&w->timer, on_closed);
}

static int64_t milliseconds(const struct timespec *at)
{
    return (int64_t)at->tv_sec * 1000 + at->tv_nsec / 1000000;
}

void watch_begin(struct watch *w, int dir, uint64_t interval_ms, const struct timespec *since)
{
    forget(w);
    w->dir = dir;
    w->unsettled = false;
    w->postponed = 0;
    w->interval_ms = interval_ms;
    w->since_ms = milliseconds(since) - COARSE_MS;
    (void)uv_timer_start(&w->timer, on_timer, DAY_MS, DAY_MS);
}

void watch_add(void *watch, const char *path)
{
    struct watch *w = watch;
    if (w->interval_ms == 0 || w->count == FILES_MAX) /* more than the tables of keys allow */
        return;
    struct file *f = &w->file[w->count];
    f->path = strdup(path);
    if (f->path == NULL)
        return; /* SIGHUP still reads it */
    f->stamp = stamp_of(w, path);
    w->unsettled = w->unsettled || milliseconds(&f->stamp.changed) > w->since_ms;
    if (w->count++ == 0)
        (void)uv_timer_start(&w->timer, on_timer, w->interval_ms, w->interval_ms);
}

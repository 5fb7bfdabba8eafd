/*
 * watch.h - files that are looked at now and then, since others write them: certificates, keys,
 * CAs, CRLs. No inotify: it does not see what another host writes to a shared directory.
 *
 * Main thread.
 */
#ifndef CERTFERRY_WATCH_H
#define CERTFERRY_WATCH_H

#include <stdint.h>
#include <time.h>
#include <uv.h>

struct watch;

struct watch_options {
    /* Files have changed, and stayed as they are for one interval; or did not stay for four. */
    void (*on_change)(void *arg);
    /* A day has passed; also where nothing is watched. */
    void (*on_day)(void *arg);
    void *arg;
};

/* Returns owned; NULL when out of memory. Watches nothing yet. */
struct watch *watch_create(uv_loop_t *loop, const struct watch_options *options);

/* Frees itself on the loop. */
void watch_close(struct watch *w);

/*
 * Begins anew, with no file. Each is then named by watch_add(), relative to the directory `dir`
 * (taken). An interval of 0: none is looked at. Files that have changed after `since`, when the
 * caller began to read them, are told of as well.
 */
void watch_begin(struct watch *w, int dir, uint64_t interval_ms, const struct timespec *since);
void watch_add(void *watch, const char *path);

#endif

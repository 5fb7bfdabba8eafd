/*
 * drain.h - the way from serving to ended, step by step: leave the roster, be still there for those
 * who do not know yet, close the listeners, let what is open end, cut what is left.
 *
 * Clients go to another proxy only when a connect fails, and peers need a moment to hear of it: so
 * the listeners close last. Every step is bounded. Knows no worker: what is to be done comes
 * through callbacks. Main thread.
 */
#ifndef CERTFERRY_DRAIN_H
#define CERTFERRY_DRAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { DRAIN_LEAVE_MAX_MS = 2000 /* leaving the roster is not waited for any longer */ };

enum drain_stage {
    DRAIN_SERVING,
    DRAIN_LEAVING, /* until drain_left() */
    DRAIN_NOTICE,  /* for drain.notice */
    DRAIN_CLOSED,  /* listeners are; for drain.grace */
    DRAIN_CUT      /* everything is */
};

struct drain_options {
    void (*leave)(void *arg); /* not ready any more; drain_left() follows, at once or later */
    void (*close)(void *arg); /* the listeners */
    void (*cut)(void *arg);   /* the sessions; the listeners may be open yet */
    void (*tell)(void *arg, const char *line);
    void *arg;
};

/* Embedded in the server. */
struct drain {
    enum drain_stage stage;
    struct drain_options options;
    uint64_t notice_ms, grace_ms;
    uv_timer_t timer;
};

void drain_init(struct drain *d, uv_loop_t *loop, const struct drain_options *options);

/* Once; with a notice of 0 the listeners close as soon as the roster is left. No callback before it
 * returns. */
void drain_begin(struct drain *d, uint64_t notice_ms, uint64_t grace_ms);

/* Another process has our sockets: nobody needs to be told, only what is open may go on. At once.
 */
void drain_hand_over(struct drain *d, uint64_t grace_ms);

/* Nobody is sent here by the roster any more. */
void drain_left(struct drain *d);

/* Somebody is in a hurry: everything ends now. `why` is told. */
void drain_hurry(struct drain *d, const char *why);

/* Nothing is left. Closes its handle. */
void drain_end(struct drain *d);

#endif

/*
 * tls_thread.h - work that waits for a device goes on a thread of its own: a signature can neither
 * be cancelled nor timed (a stalled TPM holds SSL_do_handshake() until it wakes), and no loop may
 * wait for it.
 *
 * One thread for each provider (tls_provider.h), with a bounded queue; what is done comes back to
 * the loop that asked by that loop's mailbox. While a job is on the thread, what it works on is the
 * thread's alone. Knows nothing of TLS.
 */
#ifndef CERTFERRY_NET_TLS_THREAD_H
#define CERTFERRY_NET_TLS_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/buf.h"
#include "proxy/base/list.h"

/* ---- of a loop: its thread ---- */

struct tls_mailbox;

/* Returns owned; NULL when out of memory. Borrows `loop`. */
struct tls_mailbox *tls_mailbox_create(uv_loop_t *loop);

/* All jobs of its loop have been given up or taken before. Frees itself on the loop. NULL is
 * harmless. */
void tls_mailbox_close(struct tls_mailbox *m);

/* ---- jobs ---- */

struct tls_thread;

enum tls_job_state {
    TLS_JOB_OWN, /* its maker's */
    TLS_JOB_QUEUED,
    TLS_JOB_RUNNING,
    TLS_JOB_DONE /* `on_done` is to come */
};

/* Embedded in what it works on. All zero but the callbacks at first. */
struct tls_job {
    void (*run)(struct tls_job *job);     /* on the thread */
    void (*on_done)(struct tls_job *job); /* on the loop that asked; `rc` says whether it ran */
    void (*dispose)(struct tls_job *job); /* it was given up: frees it. Any thread */
    struct list waiting;                  /* all below: the thread's own */
    struct tls_thread *thread;
    struct tls_mailbox *mailbox;
    enum tls_job_state state;
    bool first; /* before others, and not counted: no handshake */
    bool given_up;
    int rc; /* 0: it ran; -ENODEV: it did not, see tls_thread_refuse() */
};

/* Returns owned; NULL without memory, or without the right to make threads. It blocks all signals.
 */
struct tls_thread *tls_thread_create(size_t queue_max);

/* Frees the thread once it has done `last`, which disposes of itself, and what was put before.
 * Nothing may be asked of it any more. */
void tls_thread_end(struct tls_thread *t, struct tls_job *last);

/* All threads that have been ended are gone and, if wanted, none of the others is at work. False:
 * not within that time. */
bool tls_threads_wait(uint64_t patience_ms, bool idle);

/* Runs the job and then tells the loop of `m`. 0; -ENOBUFS: the queue is full, which only a
 * `newcomer` is told; -ENODEV. On the loop of `m`. */
int tls_thread_submit(struct tls_thread *t, struct tls_job *job, struct tls_mailbox *m,
                      bool newcomer);

/* Before others, however many there are; tells the loop of `m`. On that loop. */
void tls_thread_ask(struct tls_thread *t, struct tls_job *job, struct tls_mailbox *m);

/* Before others, without a mailbox: disposes of it once it has run. Any thread. */
void tls_thread_put(struct tls_thread *t, struct tls_job *job);

/* The same, but waits for its end: 0, and the job is the caller's again; -ETIMEDOUT: given up. */
int tls_thread_call(struct tls_thread *t, struct tls_job *job, uint64_t patience_ms);

/* Whether a job of this loop is with a thread, in whatever way. */
static inline bool tls_job_is_out(const struct tls_job *job)
{
    return job->thread != NULL;
}

/* Takes a job back that the thread has not begun; false: it runs, or has run. On the loop that
 * submitted it. */
bool tls_job_withdraw(struct tls_job *job);

/* The end of the job, wherever it is, on the loop that submitted it. True: it is its maker's again.
 * False: it runs, and is disposed of when it returns. */
bool tls_job_give_up(struct tls_job *job);

/* The device is gone: what waits for a loop comes back with -ENODEV, now and from now on. */
void tls_thread_refuse(struct tls_thread *t);

/* Of all threads since the start, as metrics. 0, -ENOBUFS or -ENOMEM. Any thread. */
int tls_threads_print(struct buf *out);

#endif

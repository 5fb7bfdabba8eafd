/*
 * worker.h - one thread, one loop: its listeners, sessions, resolver, idle origins and counters.
 *
 * Workers share nothing but immutable snapshots, the access log's queue, and what admission, pacing
 * and authentication count.
 * The functions below are for the main thread.
 */
#ifndef CERTFERRY_WORKER_H
#define CERTFERRY_WORKER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/agent.h"
#include "proxy/base/line_writer.h"
#include "proxy/base/metrics.h"
#include "proxy/net/reach.h"
#include "proxy/session/admission.h"
#include "proxy/snapshot.h"

/* What all workers have in common; outlives them. */
struct worker_shared {
    const struct agent_gauges *agent; /* of certferry agent; NULL: a sensor */
    const struct fleet_status *fleet; /* of a sensor; NULL: an agent */
    struct admission *admission;
    struct pacing *pacing;
    struct authentication *authentication;
    struct identities *identities;
    struct loop_guard *loop_guard;
    struct reach *reach;
    atomic_bool *leaving;     /* the roster: not ready, though all is served */
    atomic_bool *handed_over; /* another process has our sockets: ready, as it is, to the end */
    bool lasting;             /* our listening sockets may be open elsewhere, too */
    struct line_writer *access_log;
    struct metrics **metrics; /* of all workers */
    size_t worker_count;
    int64_t started;                /* Unix seconds */
    void (*on_started)(void *arg);  /* on the worker's thread, before its loop runs */
    void (*on_ended)(void *arg);    /* on the worker's thread, when its loop is over */
    void (*on_reloaded)(void *arg); /* on the worker's thread, when a snapshot has come in force */
    void *arg;
};

struct worker;

struct worker_listener {
    int fd; /* listening; taken */
    enum door_kind door;
};

/*
 * Makes a worker that will serve the `count` listeners. It does not run yet. 0 with `*out` owned,
 * or a negative code.
 */
int worker_create(struct worker **out, unsigned number, const struct worker_shared *shared,
                  struct snapshot *snapshot, const struct worker_listener *listeners, size_t count);

/* Starts its thread. 0 or a negative code. */
int worker_start(struct worker *w);

/* From the next round of its loop on `snapshot` (a reference is taken) counts. */
void worker_reload(struct worker *w, struct snapshot *snapshot);

/* From then on `roster` (a reference is taken) is what the documents tell. Also before
 * worker_start(). */
void worker_publish(struct worker *w, struct roster *roster);

/* From then on `parents` (a reference is taken) are the next hops, whatever snapshots say. */
void worker_use_parents(struct worker *w, struct parents *parents);

/* The generation of the snapshot in force; UINT_MAX when the loop is over and takes no more. */
unsigned worker_generation(struct worker *w);

/* Stops accepting; ends when the last session has. */
void worker_drain(struct worker *w);

/* The grace is over: closes what is left. */
void worker_close_sessions(struct worker *w);

/* Waits for the end of its thread, after a drain, and frees. Also for a worker that was never
 * started. */
void worker_join(struct worker *w);

#endif

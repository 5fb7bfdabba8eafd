/*
 * server_impl.h - the running program's struct, for the files that play its parts: server.c (start,
 * signals, end) and server_reload.c (another configuration, or the same built anew).
 *
 * Nobody else includes this. Main thread.
 */
#ifndef CERTFERRY_SERVER_IMPL_H
#define CERTFERRY_SERVER_IMPL_H

#include "proxy/bound.h"
#include "proxy/configuration.h"
#include "proxy/control_socket.h"
#include "proxy/drain.h"
#include "proxy/session/reach_check.h"
#include "proxy/worker.h"

struct server {
    struct configuration_source source;
    struct agent_plan plan;
    struct agent *agent;
    struct settings *settings; /* in force */
    struct snapshot *snapshot;
    uv_loop_t loop;
    uv_signal_t on_term, on_int, on_hup;
    uv_async_t worker_news;         /* one has ended, or has a new snapshot in force */
    struct netloop net;             /* of this loop: for requests of our own */
    struct fetcher *fetcher;        /* of the fleet; NULL in an agent */
    struct fleet *fleet;            /* the same */
    struct control_socket *control; /* NULL: none */
    struct reach_check *reach_check;
    struct drain drain;
    atomic_bool leaving;
    struct worker_shared shared;
    struct worker *worker[WORKERS_MAX];
    struct metrics *metrics[WORKERS_MAX];
    size_t worker_count;
    atomic_uint workers_ended;
    struct bound bound;
    bool confining; /* seccomp at the start: the threads look when a reload may have taken settings
                     */
    unsigned reloads_untold; /* not yet in force everywhere */
};

/* Fills the roster's options from a snapshot. */
struct fleet_options server_fleet_options(struct server *sv, const struct snapshot *snapshot);

/* Each snapshot of an agent gets its sensors: no worker is ever without. */
void server_lend_sensors(struct server *sv, struct snapshot *snapshot);

/* Those limits that hold for the process and not for one worker. */
void server_set_limits(struct server *sv, const struct snapshot *snapshot);

/* server_reload.c: SIGHUP. All files are read again; mistakes leave the old configuration in force.
 */
void server_reload(struct server *sv);

/*
 * The same settings built anew, since what they name (a certificate, a device) has changed. False:
 * told in the log after `what`, and the old snapshot stays in force.
 */
bool server_renew(struct server *sv, const char *what);

/* A worker has told: are all reloads in force everywhere? */
void server_tell_reloaded(struct server *sv);

#endif

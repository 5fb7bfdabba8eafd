/*
 * server_impl.h - the running program's struct, for the files that play its parts: server.c (start,
 * signals, end), server_build.c (another configuration, or the same once more, is built),
 * server_reload.c (and put in force), server_watch.c and server_keys.c (what changes without a
 * signal) and server_upgrade.c (the sockets come from another process, or go to one).
 *
 * Nobody else includes this. Main thread.
 */
#ifndef CERTFERRY_SERVER_IMPL_H
#define CERTFERRY_SERVER_IMPL_H

#include "proxy/bound.h"
#include "proxy/configuration.h"
#include "proxy/control_socket.h"
#include "proxy/drain.h"
#include "proxy/handover.h"
#include "proxy/net/tls_thread.h"
#include "proxy/notify.h"
#include "proxy/session/reach_check.h"
#include "proxy/session/upstream_check.h"
#include "proxy/takeover.h"
#include "proxy/worker.h"

struct tls_tickets;  /* net/tls_tickets.h */
struct watch;        /* watch.h */
struct key_recovery; /* key_recovery.h */

/* Why a snapshot is built while we run; bits. */
enum server_wish {
    SERVER_RELOAD = 1,  /* SIGHUP: all files are read again */
    SERVER_CHANGED = 2, /* certificates have */
    SERVER_RECOVERY = 4 /* the device of a key was lost */
};

/* One that is being built, or was. */
struct server_build {
    struct tls_job job;
    struct server *server;
    enum server_wish wish;
    struct configuration_source source;
    struct listen_ports ports;
    struct settings *in_force; /* the server's, */
    bool has_in_force;         /* or ours, where it has gone before us */
    struct settings *settings; /* of a reload: those that were read */
    struct snapshot *snapshot; /* NULL: mistakes */
    struct settings_errors errors;
    struct timespec since;   /* when it began */
    uint64_t refused_before; /* tls_provider_pins_refused() then */
};

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
    struct upstream_check *upstream_check;
    struct watch *watch;         /* over the files of the doors' certificates */
    struct tls_tickets *tickets; /* keys of all doors' session tickets, over all reloads */
    struct server_build *build;  /* under way; NULL: none */
    struct builder *builder;     /* server_build.c; NULL: no device was waited for yet */
    struct key_recovery *key_recovery;
    uint64_t pins_refused; /* by devices of keys, so many as a reload has seen */
    struct drain drain;
    atomic_bool leaving;
    struct worker_shared shared;
    struct worker *worker[WORKERS_MAX];
    struct metrics *metrics[WORKERS_MAX];
    size_t worker_count;
    atomic_uint workers_ended;
    struct bound bound;
    struct notify notify;      /* the service manager */
    struct inherit inherit;    /* until `bound` has chosen */
    bool taking_over;          /* --takeover */
    struct takeover takeover;  /* from the process that ran before us */
    struct handover *handover; /* to the one that runs after us; NULL: none is under way */
    pid_t successor;           /* who takes, or took, over */
    atomic_bool handed_over;
    bool confining; /* seccomp at the start: the threads look when a reload may have taken settings
                     */
    bool recovery_tells;        /* what is wrong with a device that was lost */
    unsigned wishes;            /* server_wish: to be built, one after the other */
    unsigned recoveries_untold; /* not yet in force everywhere; the same */
    unsigned reloads_untold;    /* not yet in force everywhere */
    unsigned changes_untold;    /* the same of certificates that have changed */
};

/* Fills the roster's options from a snapshot. */
struct fleet_options server_fleet_options(struct server *sv, const struct snapshot *snapshot);

/* Each snapshot of an agent gets its sensors: no worker is ever without. */
void server_lend_sensors(struct server *sv, struct snapshot *snapshot);

/* The doors' TLS sessions can be resumed, whatever snapshot they began under. */
void server_lend_tickets(struct server *sv, struct snapshot *snapshot);

/* The upstreams of the gateway are checked as the snapshot says. */
void server_check_upstreams(struct server *sv, const struct snapshot *snapshot);

/* Those limits that hold for the process and not for one worker. */
void server_set_limits(struct server *sv, const struct snapshot *snapshot);

/*
 * server_watch.c: files that the configuration names are watched, and certificates do not expire
 * unnoticed. `since` is when we began to read them. False: told, and not to be gone on with.
 */
bool server_watch_open(struct server *sv, const struct timespec *since);
void server_watch_again(struct server *sv, const struct timespec *since);

/* Says so when a door wants TLS in the kernel and that has none. While we are root, if we are: the
 * kernel may load it then. */
void server_tell_kernel(const struct server *sv);

/*
 * server_build.c: a snapshot is built as soon as no other one is, then server_built() has it. Where
 * the device of a key may be waited for, that is done on a thread of its own: meanwhile the
 * roster's lease is kept, peers are probed, and a drain can begin.
 */
void server_want(struct server *sv, enum server_wish wish);

/* Gives up what is being built, with the settings in force, if anything is. */
void server_build_close(struct server *sv);

/* server_reload.c: whether it may be built; else that is told. */
bool server_may_build(struct server *sv, enum server_wish wish);

/* Puts it in force, or tells the mistakes: then the old one stays. Takes what it uses out of `b`.
 */
void server_built(struct server *sv, struct server_build *b);

/* server_upgrade.c: asks the one that runs for its sockets. False: told, and not to be gone on
 * with. */
bool server_take_over(struct server *sv);

/* server_keys.c: devices of TLS keys, and their threads. False: told, and not to be gone on with.
 */
bool server_keys_open(struct server *sv);

/*
 * Whether anything may be built anew without being asked: not once a device has refused its PIN,
 * until a reload, since each further try would bring it nearer to locking itself.
 */
bool server_may_renew(const struct server *sv);

/* A reload has been, good or not; `refused_before`: tls_provider_pins_refused() when it began. */
void server_keys_reloaded(struct server *sv, uint64_t refused_before, bool good);

/* What came of SERVER_RECOVERY; false also where it was not allowed. */
void server_keys_recovered(struct server *sv, bool good);

/* We are ready: the control socket becomes ours, and the other one may go. */
void server_taken_over(struct server *sv);

/* The command "listeners" on the connection `fd`, taken. */
void server_hand_over(void *server, int fd);

/* Our listening sockets are about to be closed: nobody gets them any more. */
void server_keep_sockets(struct server *sv);

/* In the log: what is no mistake but must not go unnoticed, as roles whose rules are only tried. */
void server_tell_doubts(const struct server *sv);

/* A worker has told: are all reloads in force everywhere? */
void server_tell_reloaded(struct server *sv);

#endif

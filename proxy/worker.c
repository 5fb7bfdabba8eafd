#include "proxy/worker.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "failover/document.h"
#include "proxy/base/log.h"
#include "proxy/control/status.h"
#include "proxy/listener.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_thread.h"
#include "proxy/snapshot_tls.h"

enum { SCRATCH_OCTETS = 256 * 1024 };

/* A listener of this worker's. */
struct entrance {
    struct worker *worker;
    enum door_kind door;
    struct listener *listener;
};

struct worker {
    pthread_t thread;
    bool started;
    uv_loop_t loop;
    uv_async_t wake;
    const struct worker_shared *shared;
    struct session_context ctx;
    struct control_facts facts;
    struct snapshot *snapshot; /* in use */
    struct roster *roster;     /* in use; NULL: none, as in an agent */
    struct parents *parents; /* given by worker_use_parents(): before the snapshot's; NULL: none */
    struct entrance *entrance; /* owned */
    size_t entrance_count;
    struct metrics metrics;
    struct document pvd, pac; /* made on demand, until stale */
    bool ending;

    pthread_mutex_t lock; /* the mailbox: the newest of each kind counts */
    struct snapshot *next;
    struct parents *next_parents; /* NULL: none have come since */
    struct roster *next_roster;   /* the same */
    bool drain, close_sessions;
    unsigned generation; /* of the snapshot in force */
    bool gone;           /* the loop is closing: nobody may wake it any more */
};

/* ---- facts for the own pages ---- */

static const char *not_ready(void *arg)
{
    struct worker *w = arg;
    if (atomic_load_explicit(w->shared->handed_over, memory_order_relaxed))
        return NULL; /* whoever asks means those that have our address */
    if (w->ctx.draining || atomic_load_explicit(w->shared->leaving, memory_order_relaxed))
        return "shutting down";
    if (w->shared->agent != NULL && atomic_load(&w->shared->agent->usable) == 0)
        return "no sensor is usable";
    return reach_state(w->shared->reach) == REACH_SHUT ? "no way out" : NULL;
}

static int serve_document(struct worker *w, struct document *kept, struct control_document *doc,
                          int (*make)(struct document *, const struct document_options *))
{
    time_t now = time(NULL);
    /* Never fresh for so long: then the clock was put back. */
    bool ahead = kept->stale_after > now + (time_t)w->snapshot->roster_ttl_seconds;
    if (kept->text == NULL || now >= kept->stale_after || ahead) {
        struct document_options o = {
            .identifier = w->snapshot->advertise_host,
            .zone = w->snapshot->zone,
            .version = CERTFERRY_VERSION,
            .roster = w->roster,
            .policy = w->snapshot->policy,
            .sign_key = w->snapshot->sign_key,
            .ttl_seconds = w->snapshot->roster_ttl_seconds,
            .now = now,
        };
        struct document fresh = {0};
        int rc = make(&fresh, &o);
        if (rc != 0)
            return rc;
        document_release(kept);
        *kept = fresh;
    }
    *doc = (struct control_document){
        {kept->text, kept->length}, kept->etag, kept->max_age, kept->signature};
    return 0;
}

static int tell_pvd(void *arg, struct control_document *doc)
{
    struct worker *w = arg;
    return serve_document(w, &w->pvd, doc, document_pvd);
}

static int tell_pac(void *arg, struct control_document *doc)
{
    struct worker *w = arg;
    return serve_document(w, &w->pac, doc, document_pac);
}

static int tell_metrics(void *arg, struct buf *out)
{
    struct worker *w = arg;
    int rc = metrics_print(out, w->shared->metrics, w->shared->worker_count);
    if (rc == 0)
        rc = buf_printf(
            out,
            "# HELP certferry_access_log_dropped_total Access log lines lost to a full queue.\n"
            "# TYPE certferry_access_log_dropped_total counter\n"
            "certferry_access_log_dropped_total %" PRIu64 "\n",
            line_writer_dropped(w->shared->access_log));
    if (rc == 0)
        rc = snapshot_print_limits(out, w->snapshot, admission_total(w->shared->admission));
    if (rc == 0)
        rc = snapshot_tls_print(out, w->snapshot->session.door, &w->snapshot->gateway.shown);
    if (rc == 0)
        rc = tls_threads_print(out);
    if (rc == 0)
        rc = tls_provider_print(out);
    if (rc == 0 && w->ctx.parents.list != NULL)
        rc = parents_print(out, w->ctx.parents.list);
    if (rc == 0 && w->ctx.upstreams.list != NULL)
        rc = parents_print(out, w->ctx.upstreams.list);
    if (rc == 0 && w->shared->agent != NULL)
        rc = agent_print_gauges(out, w->shared->agent);
    if (rc == 0)
        rc = metrics_print_gauge(out, "auth_pending",
                                 "Password checks counted against auth.pending.max",
                                 authentication_pending(w->shared->authentication));
    if (rc == 0)
        rc = metrics_print_gauge(out, "ready", "Whether /readyz says so", not_ready(w) == NULL);
    if (rc == 0)
        rc = buf_printf(out,
                        "# HELP certferry_start_time_seconds Start of the process, Unix time.\n"
                        "# TYPE certferry_start_time_seconds gauge\n"
                        "certferry_start_time_seconds %" PRId64 "\n"
                        "# HELP certferry_info The running version.\n"
                        "# TYPE certferry_info gauge\n"
                        "certferry_info{version=\"%s\"} 1\n",
                        w->shared->started, CERTFERRY_VERSION);
    if (rc == 0)
        rc = identities_print(w->shared->identities, out);
    if (rc == 0 && w->roster != NULL)
        rc = fleet_print_status(out, w->roster, w->shared->fleet);
    return rc;
}

static int tell_status(void *arg, struct buf *out)
{
    struct worker *w = arg;
    struct status s = {
        .version = CERTFERRY_VERSION,
        .not_ready = not_ready(w),
        .started = (time_t)w->shared->started,
        .now = time(NULL),
        .roster = w->roster,
        .connections = admission_total(w->shared->admission),
        .connections_max = w->snapshot->admission.total,
        .waiting = pacing_waiting(w->shared->pacing),
        .metrics = w->shared->metrics,
        .metrics_count = w->shared->worker_count,
    };
    return status_print(out, &s);
}

/* ---- accepting ---- */

static void on_accept(void *arg, int fd, const struct addr *client)
{
    struct entrance *e = arg;
    session_accept(&e->worker->ctx, e->door, fd, client);
}

static bool hold_accepting(void *arg)
{
    const struct entrance *e = arg;
    return admission_overrun(e->worker->shared->admission);
}

static void on_accept_pause(void *arg)
{
    const struct entrance *e = arg;
    struct worker *w = e->worker;
    uint64_t pauses = atomic_load(&w->metrics.value[METRIC_ACCEPT_PAUSES]);
    metrics_add(&w->metrics, METRIC_ACCEPT_PAUSES, 1);
    /* Summed: the first, then each hundredth, which is one line in ten seconds. */
    if (pauses % 100 == 0)
        log_line(LOG_WARNING,
                 "worker %u: out of file descriptors, accepting pauses (time %" PRIu64
                 "); raise LimitNOFILE or lower limit.connections",
                 w->ctx.worker, pauses + 1);
}

/* ---- the mailbox ---- */

static void apply_snapshot(struct worker *w, struct snapshot *next)
{
    struct snapshot *old = w->snapshot;
    w->snapshot = next;
    w->ctx.options = &next->session;
    parents_use_list(&w->ctx.parents, w->parents != NULL ? w->parents : next->parents);
    parents_use_list(&w->ctx.upstreams, next->gateway.upstreams);
    upstream_pool_reload(w->ctx.pool, &next->pool);
    pipes_set_limits(w->ctx.pipes, next->pipes_max, next->pipe_octets);
    document_release(&w->pvd);
    document_release(&w->pac);
    int rc = resolver_reload(w->ctx.net.resolver, &next->resolver);
    if (rc != 0)
        log_line(LOG_ERROR, "worker %u: resolver keeps its old settings: %s", w->ctx.worker,
                 uv_strerror(rc));
    snapshot_unref(old);
    (void)pthread_mutex_lock(&w->lock);
    w->generation = next->generation;
    (void)pthread_mutex_unlock(&w->lock);
    w->shared->on_reloaded(w->shared->arg);
}

static void apply_parents(struct worker *w, struct parents *next)
{
    parents_unref(w->parents);
    w->parents = next;
    parents_use_list(&w->ctx.parents, next);
}

static void apply_roster(struct worker *w, struct roster *next)
{
    roster_unref(w->roster);
    w->roster = next;
    document_release(&w->pvd);
    document_release(&w->pac);
}

static void close_listeners(struct worker *w)
{
    while (w->entrance_count > 0)
        listener_close(w->entrance[--w->entrance_count].listener);
}

/* The last thing on the loop: closes every handle, so that uv_run() returns. */
static void end_if_empty(struct worker *w)
{
    if (!w->ctx.draining || w->ending || !list_empty(&w->ctx.sessions))
        return;
    w->ending = true;
    session_forget_spares(&w->ctx);
    upstream_pool_destroy(w->ctx.pool);
    pipes_destroy(w->ctx.pipes);
    tls_mailbox_close(w->ctx.net.tls);
    resolver_destroy(w->ctx.net.resolver);
    poller_destroy(w->ctx.net.poller);
    deadlines_destroy(w->ctx.net.deadlines);
    (void)pthread_mutex_lock(&w->lock);
    w->gone = true;
    (void)pthread_mutex_unlock(&w->lock);
    uv_close((uv_handle_t *)&w->wake, NULL);
}

/* The last session has ended, perhaps deep inside the poller or the wheel: they are closed on the
 * next round. */
static void on_sessions_empty(void *arg)
{
    struct worker *w = arg;
    if (w->ctx.draining && !w->ending)
        (void)uv_async_send(&w->wake);
}

static void on_wake(uv_async_t *async)
{
    struct worker *w = async->data;
    (void)pthread_mutex_lock(&w->lock);
    struct snapshot *next = w->next;
    bool drain = w->drain, close_sessions = w->close_sessions;
    struct parents *next_parents = w->next_parents;
    struct roster *next_roster = w->next_roster;
    w->next = NULL;
    w->next_parents = NULL;
    w->next_roster = NULL;
    (void)pthread_mutex_unlock(&w->lock);

    if (next_roster != NULL) /* first: when a snapshot is told to be in force, its peers are too */
        apply_roster(w, next_roster);
    if (next != NULL)
        apply_snapshot(w, next);
    if (next_parents != NULL)
        apply_parents(w, next_parents);
    session_collect(&w->ctx);
    if (drain && !w->ctx.draining) {
        close_listeners(w);
        /* Whom the other would serve, had we not been faster to accept, is served by us. */
        session_drain_all(&w->ctx, w->shared->lasting || atomic_load(w->shared->handed_over));
    }
    if (close_sessions)
        session_close_all(&w->ctx);
    end_if_empty(w);
}

/* ---- life ---- */

static int open_loop(struct worker *w)
{
    struct netloop *net = &w->ctx.net;
    int rc = uv_loop_init(&w->loop);
    assert(rc == 0);
    net->loop = &w->loop;
    rc = uv_async_init(&w->loop, &w->wake, on_wake);
    w->wake.data = w;
    if (rc == 0)
        rc = poller_create(&net->poller, &w->loop);
    if (rc == 0)
        rc = deadlines_create(&net->deadlines, &w->loop);
    if (rc == 0)
        rc = resolver_create(&net->resolver, &w->loop, &w->snapshot->resolver);
    if (rc == 0 && (net->tls = tls_mailbox_create(&w->loop)) == NULL)
        rc = -ENOMEM;
    if (rc != 0)
        return rc;
    w->ctx.pool = upstream_pool_create(net);
    w->ctx.pipes = pipes_create();
    w->ctx.scratch = malloc(SCRATCH_OCTETS);
    if (w->ctx.pool == NULL || w->ctx.pipes == NULL || w->ctx.scratch == NULL)
        return -ENOMEM;
    parents_use_list(&w->ctx.parents, w->snapshot->parents);
    parents_use_list(&w->ctx.upstreams, w->snapshot->gateway.upstreams);
    upstream_pool_reload(w->ctx.pool, &w->snapshot->pool);
    pipes_set_limits(w->ctx.pipes, w->snapshot->pipes_max, w->snapshot->pipe_octets);
    return 0;
}

static int open_listeners(struct worker *w, const struct worker_listener *listeners, size_t count)
{
    w->entrance = calloc(count, sizeof *w->entrance);
    if (w->entrance == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct entrance *e = &w->entrance[i];
        struct listener_options o = {.fd = listeners[i].fd,
                                     .on_accept = on_accept,
                                     .hold = hold_accepting,
                                     .on_pause = on_accept_pause,
                                     .arg = e};
        *e = (struct entrance){.worker = w, .door = listeners[i].door};
        int rc = listener_create(&e->listener, &w->ctx.net, &o);
        if (rc != 0)
            return rc;
        w->entrance_count++;
    }
    return 0;
}

/* From any thread, under pacing's lock. A session of ours awaits what it tells, so the loop is
 * there. */
static void on_granted(void *arg)
{
    struct worker *w = arg;
    (void)uv_async_send(&w->wake);
}

static void fill_context(struct worker *w, unsigned number)
{
    w->facts = (struct control_facts){w, not_ready, tell_pvd, tell_pac, tell_metrics, tell_status};
    if (w->shared->agent != NULL) {
        w->facts.pvd = w->facts.pac = NULL;
        w->facts.status = NULL;
    }
    w->ctx = (struct session_context){
        .options = &w->snapshot->session,
        .metrics = &w->metrics,
        .access_log = w->shared->access_log,
        .admission = w->shared->admission,
        .pacing = w->shared->pacing,
        .paced = {.wake = on_granted, .arg = w},
        .authentication = w->shared->authentication,
        .identities = w->shared->identities,
        .loop_guard = w->shared->loop_guard,
        .reach = w->shared->reach,
        .facts = &w->facts,
        .worker = number,
        .scratch_octets = SCRATCH_OCTETS,
        .on_empty = on_sessions_empty,
        .on_empty_arg = w,
    };
    list_init(&w->ctx.sessions);
    list_init(&w->ctx.paced.granted);
}

int worker_create(struct worker **out, unsigned number, const struct worker_shared *shared,
                  struct snapshot *snapshot, const struct worker_listener *listeners, size_t count)
{
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->shared = shared;
    w->snapshot = snapshot_ref(snapshot);
    (void)pthread_mutex_init(&w->lock, NULL);
    fill_context(w, number);
    shared->metrics[number] = &w->metrics;
    int rc = open_loop(w);
    if (rc == 0)
        rc = open_listeners(w, listeners, count);
    /* Only at start, before anything is served: the process exits with the error, so nothing is
     * unwound here. */
    if (rc != 0)
        return rc;
    *out = w;
    return 0;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    w->shared->on_started(w->shared->arg);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&w->loop);
    assert(rc == 0);
    (void)rc;
    w->shared->on_ended(w->shared->arg);
    return NULL;
}

int worker_start(struct worker *w)
{
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    w->started = rc == 0;
    return -rc;
}

/* Under the lock: a worker that has served its last session closes its loop by itself. */
static void wake(struct worker *w)
{
    if (!w->gone)
        (void)uv_async_send(&w->wake);
}

void worker_reload(struct worker *w, struct snapshot *snapshot)
{
    (void)pthread_mutex_lock(&w->lock);
    struct snapshot *unseen = w->next;
    w->next = snapshot_ref(snapshot);
    wake(w);
    (void)pthread_mutex_unlock(&w->lock);
    if (unseen != NULL)
        snapshot_unref(unseen);
}

void worker_use_parents(struct worker *w, struct parents *parents)
{
    (void)pthread_mutex_lock(&w->lock);
    struct parents *unseen = w->next_parents;
    w->next_parents = parents_ref(parents);
    wake(w);
    (void)pthread_mutex_unlock(&w->lock);
    parents_unref(unseen);
}

void worker_publish(struct worker *w, struct roster *roster)
{
    (void)pthread_mutex_lock(&w->lock);
    struct roster *unseen = w->started ? w->next_roster : w->roster;
    *(w->started ? &w->next_roster : &w->roster) = roster_ref(roster);
    wake(w);
    (void)pthread_mutex_unlock(&w->lock);
    roster_unref(unseen);
}

unsigned worker_generation(struct worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    unsigned generation = w->gone ? UINT_MAX : w->generation;
    (void)pthread_mutex_unlock(&w->lock);
    return generation;
}

void worker_drain(struct worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->drain = true;
    wake(w);
    (void)pthread_mutex_unlock(&w->lock);
}

void worker_close_sessions(struct worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->drain = w->close_sessions = true;
    wake(w);
    (void)pthread_mutex_unlock(&w->lock);
}

void worker_join(struct worker *w)
{
    if (w->started)
        (void)pthread_join(w->thread, NULL);
    if (w->next != NULL)
        snapshot_unref(w->next);
    parents_use_list(&w->ctx.parents, NULL);
    parents_use_list(&w->ctx.upstreams, NULL);
    parents_unref(w->next_parents);
    roster_unref(w->next_roster);
    roster_unref(w->roster);
    parents_unref(w->parents);
    snapshot_unref(w->snapshot);
    document_release(&w->pvd);
    document_release(&w->pac);
    (void)pthread_mutex_destroy(&w->lock);
    free(w->entrance);
    free(w->ctx.scratch);
    free(w);
}

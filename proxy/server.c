#include "proxy/server.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/control_client.h"
#include "proxy/control_place.h"
#include "proxy/hardening.h"
#include "proxy/key_recovery.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_tickets.h"
#include "proxy/server_impl.h"
#include "proxy/watch.h"

enum {
    LOG_PATIENCE_MS = 2000,
    FETCHES_MAX = PROBE_AT_ONCE + 4 /* and two of etcd, with room */
};

/* ---- start ---- */

/* Descriptors are what a proxy runs out of first: take all that we may. */
static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

static size_t thread_count(const struct settings *s)
{
    cpu_set_t cpus;
    if (s->threads > 0)
        return (size_t)s->threads;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return n > WORKERS_MAX ? WORKERS_MAX : (size_t)n;
}

/* Leaves the calling thread the system calls of its role. False: told, and not to be gone on with.
 */
static bool confine(struct server *sv, enum hardening_role role)
{
    if (!sv->confining)
        return true;
    int rc = hardening_confine(role);
    if (rc == -ENOSYS || rc == -EINVAL) {
        if (role == HARDENING_MAIN)
            log_line(LOG_WARNING, "this kernel has no seccomp: system calls are not confined");
        return true;
    }
    if (rc != 0)
        log_line(LOG_ERROR, "cannot confine system calls: %s", uv_strerror(rc));
    return rc == 0;
}

static void on_worker_started(void *arg)
{
    if (!confine(arg, HARDENING_WORKER))
        abort();
}

static void on_writer_started(void *arg)
{
    if (!confine(arg, HARDENING_WRITER))
        abort();
}

static void on_key_thread(void *arg)
{
    if (!confine(arg, HARDENING_KEYS))
        abort();
}

static void on_worker_ended(void *arg)
{
    struct server *sv = arg;
    (void)atomic_fetch_add(&sv->workers_ended, 1);
    (void)uv_async_send(&sv->worker_news);
}

static void on_worker_reloaded(void *arg)
{
    struct server *sv = arg;
    (void)uv_async_send(&sv->worker_news);
}

/* Those that hold for the process and not for one worker. */
void server_set_limits(struct server *sv, const struct snapshot *snapshot)
{
    admission_set_limits(sv->shared.admission, &snapshot->admission);
    pacing_set_limits(sv->shared.pacing, snapshot->upstream_per_host_max, snapshot->queue_max);
    pacing_set_gateway_limit(sv->shared.pacing, snapshot->gateway.options.connections_max);
    identities_set_limit(sv->shared.identities, snapshot->identities_max);
    buf_budget_set(snapshot->memory_max);
}

void server_check_upstreams(struct server *sv, const struct snapshot *snapshot)
{
    const struct snapshot_gateway *g = &snapshot->gateway;
    upstream_check_use(sv->upstream_check, g->upstreams, snapshot->policy, &snapshot->session.dial,
                       g->check_ms);
}

static bool create_shared(struct server *sv)
{
    sv->tickets = tls_tickets_create();
    if (sv->tickets == NULL)
        return false;
    server_lend_tickets(sv, sv->snapshot);
    sv->shared = (struct worker_shared){
        .admission = admission_create(),
        .pacing = pacing_create(),
        .authentication = authentication_create(&sv->snapshot->authentication),
        .identities = identities_create(),
        .loop_guard = loop_guard_create(),
        .reach = reach_check_reach(sv->reach_check),
        .leaving = &sv->leaving,
        .handed_over = &sv->handed_over,
        .lasting = sv->bound.lasting,
        .agent = sv->agent != NULL ? agent_gauges(sv->agent) : NULL,
        .fleet = sv->fleet != NULL ? fleet_status(sv->fleet) : NULL,
        .access_log = line_writer_create(STDOUT_FILENO, (size_t)sv->settings->limit_log_queue,
                                         on_writer_started, sv),
        .metrics = sv->metrics,
        .worker_count = sv->worker_count,
        .started = (int64_t)time(NULL),
        .on_started = on_worker_started,
        .on_ended = on_worker_ended,
        .on_reloaded = on_worker_reloaded,
        .arg = sv,
    };
    if (sv->shared.admission == NULL || sv->shared.pacing == NULL ||
        sv->shared.authentication == NULL || sv->shared.identities == NULL ||
        sv->shared.loop_guard == NULL || sv->shared.access_log == NULL)
        return false;
    server_set_limits(sv, sv->snapshot);
    return true;
}

/* All are made before one runs, so that each finds all counters. */
static bool create_workers(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++) {
        size_t count;
        struct worker_listener *listeners = bound_deal(&sv->bound, i, sv->worker_count, &count);
        int rc = listeners == NULL ? -errno
                                   : worker_create(&sv->worker[i], (unsigned)i, &sv->shared,
                                                   sv->snapshot, listeners, count);
        free(listeners);
        if (rc != 0) {
            log_line(LOG_ERROR, "cannot make worker %zu: %s", i, uv_strerror(rc));
            return false;
        }
    }
    for (size_t i = 0; i < sv->worker_count; i++) {
        if (sv->fleet != NULL)
            worker_publish(sv->worker[i], fleet_roster(sv->fleet));
        int rc = worker_start(sv->worker[i]);
        if (rc != 0) {
            log_line(LOG_ERROR, "cannot start worker %zu: %s", i, uv_strerror(rc));
            return false;
        }
    }
    return true;
}

static void say_ready(const struct server *sv)
{
    struct buf text;
    buf_init(&text, 8192);
    bound_print(&sv->bound, &text);
    log_line(LOG_NOTICE, "ready: listening on %.*s (%zu workers, at most %zu connections)",
             SPAN_ARGS(buf_span(&text)), sv->worker_count, sv->snapshot->admission.total);
    buf_release(&text);
}

/* ---- the roster ---- */

static void on_roster(void *arg, struct roster *roster)
{
    struct server *sv = arg;
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_publish(sv->worker[i], roster);
}

/* Permille of limit.connections in use. */
static unsigned tell_load(void *arg)
{
    const struct server *sv = arg;
    size_t total = sv->snapshot->admission.total;
    return total > 0 ? (unsigned)(admission_total(sv->shared.admission) * 1000 / total) : 0;
}

struct fleet_options server_fleet_options(struct server *sv, const struct snapshot *snapshot)
{
    struct fleet_options o = *fleet_plan_options(snapshot->fleet);
    o.load = tell_load;
    o.on_roster = on_roster;
    o.arg = sv;
    return o;
}

/* ---- signals ---- */

/* Those that we answer. `before` may be NULL. */
static void block_signals(sigset_t *before)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, before);
}

void server_lend_sensors(struct server *sv, struct snapshot *snapshot)
{
    if (sv->agent == NULL)
        return;
    parents_unref(snapshot->parents);
    snapshot->parents = parents_ref(agent_parents(sv->agent));
}

static void on_reload(uv_signal_t *signal, int number)
{
    (void)number;
    server_want(signal->data, SERVER_RELOAD);
}

/* ---- the end ---- */

static void on_fleet_left(void *arg)
{
    struct server *sv = arg;
    drain_left(&sv->drain);
}

static void drain_leave(void *arg)
{
    struct server *sv = arg;
    atomic_store(&sv->leaving, true);
    if (sv->fleet != NULL)
        fleet_leave(sv->fleet, on_fleet_left, sv);
    else
        drain_left(&sv->drain);
}

static void drain_close_listeners(void *arg)
{
    struct server *sv = arg;
    server_keep_sockets(sv);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_drain(sv->worker[i]);
}

static void drain_cut_sessions(void *arg)
{
    struct server *sv = arg;
    server_keep_sockets(sv);
    atomic_store(&sv->leaving, true);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_close_sessions(sv->worker[i]);
}

static void drain_tell(void *arg, const char *line)
{
    struct server *sv = arg;
    log_line(LOG_NOTICE, "%s", line);
    if (sv->control != NULL)
        control_socket_tell(sv->control, line);
}

/* Somebody must be there to whom clients can go, or who sends them: otherwise the notice would only
 * hold up the end. */
static bool is_alone(const struct server *sv)
{
    bool others = sv->fleet != NULL && roster_count(fleet_roster(sv->fleet)) > 1;
    return !others && sv->snapshot->session.balancer_count == 0;
}

static void begin_drain(struct server *sv)
{
    notify_tell(&sv->notify, "STOPPING=1");
    drain_begin(&sv->drain, is_alone(sv) ? 0 : sv->settings->drain_notice,
                sv->settings->drain_grace);
}

static void on_stop(uv_signal_t *signal, int number)
{
    struct server *sv = signal->data;
    (void)number;
    if (sv->drain.stage == DRAIN_SERVING)
        begin_drain(sv);
    else
        drain_hurry(&sv->drain, "second signal");
}

static bool run_drain(void *arg, struct span operands, struct buf *answer)
{
    struct server *sv = arg;
    (void)operands;
    bool begun = sv->drain.stage != DRAIN_SERVING;
    (void)buf_printf(answer, "process %d %s\n", (int)getpid(),
                     begun ? "is draining already" : "begins to drain");
    if (!begun)
        begin_drain(sv);
    return true;
}

static void close_fleet(struct server *sv)
{
    if (sv->fleet == NULL)
        return;
    fleet_close(sv->fleet);
    fetcher_close(sv->fetcher);
}

static void on_worker_news(uv_async_t *async)
{
    struct server *sv = async->data;
    server_tell_reloaded(sv);
    if (atomic_load(&sv->workers_ended) < sv->worker_count)
        return;
    block_signals(NULL); /* one that comes now must not end us before the end */
    uv_close((uv_handle_t *)&sv->on_term, NULL);
    uv_close((uv_handle_t *)&sv->on_int, NULL);
    uv_close((uv_handle_t *)&sv->on_hup, NULL);
    uv_close((uv_handle_t *)&sv->worker_news, NULL);
    reach_check_close(sv->reach_check);
    upstream_check_close(sv->upstream_check);
    drain_end(&sv->drain);
    if (sv->control != NULL) {
        control_socket_tell(sv->control, "all connections have ended");
        control_socket_close(sv->control);
    }
    if (sv->agent != NULL)
        agent_close(sv->agent);
    close_fleet(sv);
    server_build_close(sv);
    key_recovery_close(sv->key_recovery);
    watch_close(sv->watch);
    resolver_destroy(sv->net.resolver);
    poller_destroy(sv->net.poller);
    deadlines_destroy(sv->net.deadlines);
}

static void on_way_out(void *arg, bool ready)
{
    struct server *sv = arg;
    if (sv->fleet != NULL)
        fleet_set_ready(sv->fleet, ready);
}

static int open_net(struct server *sv)
{
    sv->net.loop = &sv->loop;
    int rc = poller_create(&sv->net.poller, &sv->loop);
    if (rc == 0)
        rc = deadlines_create(&sv->net.deadlines, &sv->loop);
    if (rc == 0)
        rc = resolver_create(&sv->net.resolver, &sv->loop, &sv->snapshot->resolver);
    if (rc != 0)
        return rc;
    sv->reach_check = reach_check_create(&sv->net, on_way_out, sv);
    sv->upstream_check = upstream_check_create(&sv->net);
    if (sv->reach_check == NULL || sv->upstream_check == NULL)
        return -ENOMEM;
    server_check_upstreams(sv, sv->snapshot);
    reach_check_use(sv->reach_check, sv->snapshot->policy, sv->snapshot->parents,
                    &sv->snapshot->session.dial);
    return 0;
}

static bool open_control_socket(struct server *sv)
{
    static const struct control_socket_command commands[] = {
        {.name = "drain", .run = run_drain}, {.name = "listeners", .take = server_hand_over}};
    const struct control_socket_options o = {commands, sizeof commands / sizeof *commands, sv};
    return control_place_open(&sv->control, &sv->loop, sv->settings->control_socket,
                              settings_where(sv->settings, "control.socket"), &o,
                              sv->takeover.fd >= 0);
}

static void open_main_loop(struct server *sv)
{
    const struct drain_options drain = {drain_leave, drain_close_listeners, drain_cut_sessions,
                                        drain_tell, sv};
    int rc = uv_loop_init(&sv->loop);
    assert(rc == 0);
    (void)rc;
    (void)uv_signal_init(&sv->loop, &sv->on_term);
    (void)uv_signal_init(&sv->loop, &sv->on_int);
    (void)uv_signal_init(&sv->loop, &sv->on_hup);
    (void)uv_async_init(&sv->loop, &sv->worker_news, on_worker_news);
    sv->on_term.data = sv->on_int.data = sv->on_hup.data = sv->worker_news.data = sv;
    drain_init(&sv->drain, &sv->loop, &drain);
    (void)uv_signal_start(&sv->on_term, on_stop, SIGTERM);
    (void)uv_signal_start(&sv->on_int, on_stop, SIGINT);
    (void)uv_signal_start(&sv->on_hup, on_reload, SIGHUP);
}

/* ---- the whole ---- */

/*
 * Gives root away, then reads the configuration once more: what the service user may not read is an
 * error now and not at the first reload, and the roster names the port that was chosen for 0.
 */
static bool become_service(struct server *sv)
{
    struct settings_errors errors = {0};
    char why[256];
    if (hardening_drop(sv->settings->service_user, why, sizeof why) != 0) {
        log_line(LOG_ERROR, "%s: %s", settings_where(sv->settings, "service.user"), why);
        return false;
    }
    snapshot_unref(sv->snapshot);
    settings_free(sv->settings);
    if (configuration_load_again(&sv->source, bound_ports(&sv->bound), NULL, &sv->settings,
                                 &sv->snapshot, &errors))
        return true;
    configuration_print_errors(&errors);
    log_line(LOG_ERROR, "the configuration cannot be used as the service user (uid %u)",
             (unsigned)geteuid());
    return false;
}

/* The log's writer and the workers. Signals are the main thread's: the others inherit a mask that
 * leaves them to it. */
static bool start_threads(struct server *sv)
{
    sigset_t before;
    block_signals(&before);
    bool started = create_shared(sv);
    if (!started)
        log_line(LOG_ERROR, "cannot start: out of memory or threads");
    started = started && create_workers(sv);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* ---- certferry agent ---- */

static void on_parents(void *arg, struct parents *list)
{
    struct server *sv = arg;
    reach_check_use(sv->reach_check, sv->snapshot->policy, list, &sv->snapshot->session.dial);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_use_parents(sv->worker[i], list);
}

/* False: told, and not to be gone on with. */
static bool plan_agent(struct server *sv)
{
    struct settings_errors errors = {0};
    agent_plan_build(&sv->plan, sv->source.command, sv->settings, sv->source.fd, &errors);
    const struct believe_options o = {
        .ours = sv->bound.address, .our_count = sv->bound.count, .our_name = ""};
    for (size_t i = 0; errors.count == 0 && i < roster_count(sv->plan.seeds); i++) {
        if (believe_is_ourselves(roster_member(sv->plan.seeds, i), &o))
            settings_error(&errors, "certferry agent",
                           "sensor \"%s\" port %u is this agent itself; name a certferry elsewhere",
                           roster_member(sv->plan.seeds, i)->host, (unsigned)sv->bound.port);
    }
    bool good = errors.count == 0;
    configuration_print_errors(&errors);
    return good;
}

static bool open_agent(struct server *sv)
{
    if (sv->source.command == NULL)
        return true;
    if (!plan_agent(sv))
        return false;
    const struct agent_options o = {
        .loop = &sv->loop,
        .resolver = sv->net.resolver,
        .plan = &sv->plan,
        .ours = sv->bound.address,
        .our_count = sv->bound.count,
        .on_parents = on_parents,
        .arg = sv,
    };
    sv->agent = agent_create(&o);
    if (sv->agent == NULL) {
        log_line(LOG_ERROR, "cannot start: out of memory");
        return false;
    }
    server_lend_sensors(sv, sv->snapshot);
    return true;
}

/* Not in an agent: it has a roster of its own. */
static bool open_fleet(struct server *sv)
{
    if (sv->source.command != NULL)
        return true;
    const struct fleet_options o = server_fleet_options(sv, sv->snapshot);
    sv->fetcher = fetcher_create(&sv->loop, sv->net.resolver, FETCHES_MAX);
    if (sv->fetcher != NULL)
        sv->fleet = fleet_create(&sv->loop, sv->fetcher, sv->net.resolver, &o);
    if (sv->fleet == NULL)
        log_line(LOG_ERROR, "cannot start: out of memory");
    return sv->fleet != NULL;
}

static bool start(struct server *sv)
{
    struct settings_errors errors = {0};
    struct timespec since;
    (void)clock_gettime(CLOCK_REALTIME, &since);
    sv->source.fd = configuration_open(sv->source.dir);
    if (!configuration_load(&sv->source, (struct listen_ports){0}, &sv->settings, &sv->snapshot,
                            &errors)) {
        configuration_print_errors(&errors);
        return false;
    }
    sv->worker_count = thread_count(sv->settings);
    if (sv->taking_over && !server_take_over(sv))
        return false;
    if (!bound_open(&sv->bound, sv->settings, sv->worker_count, &sv->inherit))
        return false;
    inherit_end(&sv->inherit);
    control_place_prepare(sv->settings->control_socket, sv->settings->service_user);
    server_tell_kernel(sv);
    if (!become_service(sv))
        return false;
    sv->confining = sv->settings->seccomp;
    if (!confine(sv, HARDENING_PROCESS))
        return false;
    tls_provider_on_threads(on_key_thread, sv);
    open_main_loop(sv);
    int rc = open_net(sv);
    if (rc != 0)
        log_line(LOG_ERROR, "cannot start: %s", uv_strerror(rc));
    if (rc != 0 || !open_control_socket(sv) || !open_agent(sv) || !open_fleet(sv) ||
        !server_watch_open(sv, &since) || !server_keys_open(sv))
        return false;
    return start_threads(sv) &&
           confine(sv, tls_provider_is_any() ? HARDENING_KEYS : HARDENING_MAIN);
}

static void stop(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_join(sv->worker[i]);
    int rc = uv_loop_close(&sv->loop);
    assert(rc == 0);
    (void)rc;
    uint64_t dropped = line_writer_dropped(sv->shared.access_log);
    line_writer_destroy(sv->shared.access_log, LOG_PATIENCE_MS);
    admission_destroy(sv->shared.admission);
    pacing_destroy(sv->shared.pacing);
    agent_destroy(sv->agent);
    agent_plan_release(&sv->plan);
    authentication_destroy(sv->shared.authentication);
    identities_destroy(sv->shared.identities);
    loop_guard_destroy(sv->shared.loop_guard);
    snapshot_unref(sv->snapshot);
    tls_tickets_destroy(sv->tickets);
    settings_free(sv->settings);
    free(sv->bound.socket);
    notify_close(&sv->notify);
    if (dropped > 0)
        log_line(LOG_WARNING, "%llu access log lines were lost", (unsigned long long)dropped);
    log_line(LOG_NOTICE, "stopped");
}

int server_drain(const char *conf_dir, bool wait)
{
    struct settings_errors errors = {0};
    int fd = configuration_open(conf_dir);
    struct settings *settings = settings_load(fd, conf_dir, &errors);
    int status = 1;
    if (fd >= 0)
        (void)close(fd);
    if (settings == NULL || errors.count > 0)
        configuration_print_errors(&errors);
    else if (settings->control_socket[0] == '\0')
        (void)fprintf(stderr, "%s is empty: send SIGTERM instead\n",
                      settings_where(settings, "control.socket"));
    else
        status = control_client_ask(settings->control_socket, "drain", wait, wait);
    if (settings != NULL)
        settings_free(settings);
    return status;
}

static int run(const char *conf_dir, const struct agent_command *command, bool takeover)
{
    static struct server server; /* big, and there is one */
    (void)signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    server.source = (struct configuration_source){conf_dir, command, -1};
    server.takeover.fd = -1;
    server.taking_over = takeover;
    bool inherited = inherit_environment(&server.inherit); /* before anything is opened */
    notify_open(&server.notify);
    if (!inherited || !start(&server)) {
        if (server.control != NULL)
            control_socket_close(server.control); /* its file stays otherwise */
        return 1; /* nothing was served yet: the system takes everything back */
    }
    if (geteuid() == 0)
        log_line(LOG_WARNING, "running as root: service.user says so");
    server_tell_doubts(&server);
    say_ready(&server);
    server_taken_over(&server);
    notify_tell(&server.notify, "READY=1");
    (void)uv_run(&server.loop, UV_RUN_DEFAULT);
    stop(&server);
    return 0;
}

int server_run(const char *conf_dir, bool takeover)
{
    return run(conf_dir, NULL, takeover);
}

int server_run_agent(const char *conf_dir, const struct agent_command *command)
{
    return run(conf_dir, command, false);
}

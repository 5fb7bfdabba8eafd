#include "proxy/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "conf/settings.h"
#include "proxy/base/log.h"
#include "proxy/hardening.h"
#include "proxy/listener.h"
#include "proxy/port_holder.h"
#include "proxy/worker.h"

enum { LISTENERS_MAX = 64, WORKERS_MAX = 256, LOG_PATIENCE_MS = 2000 };

struct server {
    const char *conf_dir;
    int conf_fd;               /* open on it since the start, when more was readable; -1: none */
    struct settings *settings; /* in force */
    struct snapshot *snapshot;
    uint16_t port;
    uv_loop_t loop;
    uv_signal_t on_term, on_int, on_hup;
    uv_async_t worker_news; /* one has ended, or has a new snapshot in force */
    uv_timer_t grace;
    struct worker_shared shared;
    struct worker *worker[WORKERS_MAX];
    struct metrics *metrics[WORKERS_MAX];
    size_t worker_count;
    atomic_uint workers_ended;
    struct addr bound[LISTENERS_MAX];
    int fd[LISTENERS_MAX][WORKERS_MAX];
    size_t listener_count;
    bool confining; /* seccomp at the start: the threads look when a reload may have taken settings
                     */
    bool draining;
    unsigned reloads_untold; /* not yet in force everywhere */
};

/* ---- configuration ---- */

static void print_errors(struct settings_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++)
        (void)fprintf(stderr, "%s\n", errors->line[i]);
    settings_errors_free(errors);
}

/* A descriptor or a negative errno. */
static int open_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Settings and snapshot of the directory, or neither and all mistakes in `errors`. */
static bool load(int fd, const char *dir, uint16_t port, struct settings **settings,
                 struct snapshot **snapshot, struct settings_errors *errors)
{
    *snapshot = NULL;
    *settings = settings_load(fd, dir, errors);
    if (*settings == NULL) {
        settings_error(errors, dir, "out of memory");
        return false;
    }
    if (port == 0)
        port = (uint16_t)(*settings)->heartbeatport;
    /* Built also after a mistake in a file, so that one run tells all mistakes. */
    *snapshot = snapshot_build(*settings, fd, port, errors);
    if (errors->count == 0)
        return true;
    if (*snapshot != NULL)
        snapshot_unref(*snapshot);
    settings_free(*settings);
    *settings = NULL;
    *snapshot = NULL;
    return false;
}

/* As the service user, who may not be allowed to search the directories above. */
static bool load_again(struct server *sv, struct settings **settings, struct snapshot **snapshot,
                       struct settings_errors *errors)
{
    int fd = open_directory(sv->conf_dir);
    if (fd == -EACCES)
        return load(sv->conf_fd, sv->conf_dir, sv->port, settings, snapshot, errors);
    bool good = load(fd, sv->conf_dir, sv->port, settings, snapshot, errors);
    if (fd >= 0)
        (void)close(fd);
    return good;
}

int server_check(const char *conf_dir)
{
    struct settings_errors errors = {0};
    struct settings *settings;
    struct snapshot *snapshot;
    int fd = open_directory(conf_dir);
    bool good = load(fd, conf_dir, 0, &settings, &snapshot, &errors);
    if (fd >= 0)
        (void)close(fd);
    if (good) {
        (void)printf("%s: fine\n", conf_dir);
        snapshot_unref(snapshot);
        settings_free(settings);
    } else {
        print_errors(&errors);
    }
    return good ? 0 : 1;
}

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

static void explain_bind(const struct server *sv, const struct addr *address, int error)
{
    char text[ADDR_TEXT_MAX], why[512] = "";
    if (error == -EADDRINUSE)
        (void)port_holder_explain(addr_port(address), why, sizeof why);
    log_line(LOG_ERROR, "%s: cannot listen on %s: %s%s%s",
             settings_where(sv->settings, "listen.addresses"), addr_print_port(address, text),
             uv_strerror(error), why[0] != '\0' ? ": " : "", why);
}

/* A host without IPv6 is common: the default [::] is then left out. One that was asked for is an
 * error. */
static bool is_optional(const struct server *sv, const struct addr *address, int error)
{
    bool no_stack = error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL;
    bool defaulted = strstr(settings_where(sv->settings, "listen.addresses"), "(default)") != NULL;
    return address->sa.sa_family == AF_INET6 && no_stack && (defaulted || sv->listener_count > 0) &&
           IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

static bool open_listener(struct server *sv, const char *text)
{
    struct addr *address = &sv->bound[sv->listener_count];
    if (addr_parse(address, span_of(text), sv->port) != 0) {
        log_line(LOG_ERROR, "%s: \"%s\" is no IP address",
                 settings_where(sv->settings, "listen.addresses"), text);
        return false;
    }
    int rc = listener_open(address, (int)sv->settings->listen_backlog, sv->fd[sv->listener_count],
                           sv->worker_count);
    if (rc == 0) {
        sv->port = addr_port(address); /* port 0 is chosen once, for all addresses */
        sv->listener_count++;
        return true;
    }
    if (is_optional(sv, address, rc)) {
        log_line(LOG_WARNING, "no IPv6 here, not listening on %s: %s", text, uv_strerror(rc));
        return true;
    }
    explain_bind(sv, address, rc);
    return false;
}

static bool open_listeners(struct server *sv)
{
    sv->port = (uint16_t)sv->settings->heartbeatport;
    for (size_t i = 0; i < sv->settings->listen_addresses.count; i++) {
        if (!open_listener(sv, sv->settings->listen_addresses.item[i]))
            return false;
    }
    return sv->listener_count > 0;
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
static void set_limits(struct server *sv, const struct snapshot *snapshot)
{
    admission_set_limits(sv->shared.admission, &snapshot->admission);
    pacing_set_limits(sv->shared.pacing, snapshot->upstream_per_host_max, snapshot->queue_max);
    buf_budget_set(snapshot->memory_max);
}

static bool create_shared(struct server *sv)
{
    sv->shared = (struct worker_shared){
        .admission = admission_create(),
        .pacing = pacing_create(),
        .authentication = authentication_create(&sv->snapshot->authentication),
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
        sv->shared.authentication == NULL || sv->shared.access_log == NULL)
        return false;
    set_limits(sv, sv->snapshot);
    return true;
}

/* All are made before one runs, so that each finds all counters. */
static bool create_workers(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++) {
        int fds[LISTENERS_MAX];
        for (size_t l = 0; l < sv->listener_count; l++)
            fds[l] = sv->fd[l][i];
        int rc = worker_create(&sv->worker[i], (unsigned)i, &sv->shared, sv->snapshot, fds,
                               sv->listener_count);
        if (rc != 0) {
            log_line(LOG_ERROR, "cannot make worker %zu: %s", i, uv_strerror(rc));
            return false;
        }
    }
    for (size_t i = 0; i < sv->worker_count; i++) {
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
    char address[ADDR_TEXT_MAX];
    buf_init(&text, 8192);
    for (size_t i = 0; i < sv->listener_count; i++)
        (void)buf_printf(&text, "%s%s", i > 0 ? ", " : "", addr_print_port(&sv->bound[i], address));
    log_line(LOG_NOTICE, "ready: listening on %.*s (%zu workers, at most %zu connections)",
             SPAN_ARGS(buf_span(&text)), sv->worker_count, sv->snapshot->admission.total);
    buf_release(&text);
}

/* ---- signals ---- */

static void tell_restart_needed(void *arg, const char *key)
{
    (void)arg;
    log_line(LOG_WARNING, "reload: %s changed, but only a restart puts it in force", key);
}

/* Said when it is true for every worker, so that whoever reads the line may rely on it. */
static void tell_reloaded(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++) {
        if (worker_generation(sv->worker[i]) < sv->snapshot->generation)
            return;
    }
    for (; sv->reloads_untold > 0; sv->reloads_untold--)
        log_line(LOG_NOTICE, "reloaded: the configuration in %s is in force", sv->conf_dir);
}

static void on_reload(uv_signal_t *signal, int number)
{
    struct server *sv = signal->data;
    struct settings_errors errors = {0};
    struct settings *settings;
    struct snapshot *snapshot;
    (void)number;
    if (!load_again(sv, &settings, &snapshot, &errors)) {
        for (size_t i = 0; i < errors.count; i++)
            log_line(LOG_ERROR, "%s", errors.line[i]);
        log_line(LOG_ERROR, "reload refused: %zu mistakes, the old configuration stays in force",
                 errors.count);
        settings_errors_free(&errors);
        return;
    }
    snapshot->generation = sv->snapshot->generation + 1;
    settings_restart_needed(sv->settings, settings, tell_restart_needed, NULL);
    set_limits(sv, snapshot);
    authentication_reload(sv->shared.authentication, &snapshot->authentication);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_reload(sv->worker[i], snapshot);
    snapshot_unref(sv->snapshot);
    settings_free(sv->settings);
    sv->snapshot = snapshot;
    sv->settings = settings;
    sv->reloads_untold++;
    tell_reloaded(sv); /* every worker may be gone already */
}

static void close_sessions(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_close_sessions(sv->worker[i]);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct server *sv = timer->data;
    log_line(LOG_NOTICE, "drain.grace is over: closing what is left");
    close_sessions(sv);
}

static void on_stop(uv_signal_t *signal, int number)
{
    struct server *sv = signal->data;
    (void)number;
    if (sv->draining) {
        log_line(LOG_NOTICE, "second signal: closing what is left");
        close_sessions(sv);
        return;
    }
    sv->draining = true;
    log_line(LOG_NOTICE, "draining: no new connections, open ones may go on for %llu s",
             (unsigned long long)(sv->settings->drain_grace / 1000));
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_drain(sv->worker[i]);
    (void)uv_timer_start(&sv->grace, on_grace_over, sv->settings->drain_grace, 0);
}

static void on_worker_news(uv_async_t *async)
{
    struct server *sv = async->data;
    tell_reloaded(sv);
    if (atomic_load(&sv->workers_ended) < sv->worker_count)
        return;
    uv_close((uv_handle_t *)&sv->on_term, NULL);
    uv_close((uv_handle_t *)&sv->on_int, NULL);
    uv_close((uv_handle_t *)&sv->on_hup, NULL);
    uv_close((uv_handle_t *)&sv->grace, NULL);
    uv_close((uv_handle_t *)&sv->worker_news, NULL);
}

static void open_main_loop(struct server *sv)
{
    int rc = uv_loop_init(&sv->loop);
    assert(rc == 0);
    (void)rc;
    (void)uv_signal_init(&sv->loop, &sv->on_term);
    (void)uv_signal_init(&sv->loop, &sv->on_int);
    (void)uv_signal_init(&sv->loop, &sv->on_hup);
    (void)uv_timer_init(&sv->loop, &sv->grace);
    (void)uv_async_init(&sv->loop, &sv->worker_news, on_worker_news);
    sv->on_term.data = sv->on_int.data = sv->on_hup.data = sv->grace.data = sv->worker_news.data =
        sv;
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
    if (load_again(sv, &sv->settings, &sv->snapshot, &errors))
        return true;
    print_errors(&errors);
    log_line(LOG_ERROR, "the configuration cannot be used as the service user (uid %u)",
             (unsigned)geteuid());
    return false;
}

/* The log's writer and the workers. Signals are the main thread's: the others inherit a mask that
 * leaves them to it. */
static bool start_threads(struct server *sv)
{
    sigset_t signals, before;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
    bool started = create_shared(sv);
    if (!started)
        log_line(LOG_ERROR, "cannot start: out of memory or threads");
    started = started && create_workers(sv);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static bool start(struct server *sv)
{
    struct settings_errors errors = {0};
    sv->conf_fd = open_directory(sv->conf_dir);
    if (!load(sv->conf_fd, sv->conf_dir, 0, &sv->settings, &sv->snapshot, &errors)) {
        print_errors(&errors);
        return false;
    }
    sv->worker_count = thread_count(sv->settings);
    if (!open_listeners(sv) || !become_service(sv))
        return false;
    sv->confining = sv->settings->seccomp;
    if (!confine(sv, HARDENING_PROCESS))
        return false;
    open_main_loop(sv);
    return start_threads(sv) && confine(sv, HARDENING_MAIN);
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
    authentication_destroy(sv->shared.authentication);
    snapshot_unref(sv->snapshot);
    settings_free(sv->settings);
    if (dropped > 0)
        log_line(LOG_WARNING, "%llu access log lines were lost", (unsigned long long)dropped);
    log_line(LOG_NOTICE, "stopped");
}

int server_run(const char *conf_dir)
{
    static struct server server; /* big, and there is one */
    (void)signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    server.conf_dir = conf_dir;
    if (!start(&server))
        return 1; /* nothing was served yet: the system takes everything back */
    if (geteuid() == 0)
        log_line(LOG_WARNING, "running as root: service.user says so");
    say_ready(&server);
    (void)uv_run(&server.loop, UV_RUN_DEFAULT);
    stop(&server);
    return 0;
}

#include "tests/support/session_stage.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proxy/session/session.h"
#include "tests/support/session_fakes.h"
#include "tests/support/session_stage_make.h"

enum {
    ROUNDS_MAX = 20000, /* of one turn: a script has far fewer octets */
    SCRATCH = 16384,
    PIPES = 2, /* so that some tunnels have none */
    PIPE_OCTETS = 65536,
    NEAR_SEND_BUFFER = 2304 /* the least: what waits for a deaf end waits in the proxy */
};

static struct stage {
    uv_loop_t loop;
    struct netloop net;
    struct session_options *options; /* owned, and its policy */
    struct session_context ctx[STAGE_CLIENTS];
    struct admission *admission;
    struct loop_guard *loop_guard;
    enum door_kind door; /* by which clients come in */
    struct pacing *pacing;
    struct upstream_pool *pool;
    struct pipes *pipes;
    struct control_facts facts;
    struct metrics metrics;
    char scratch[SCRATCH];
    struct stage_end client[STAGE_CLIENTS], origin[STAGE_ORIGINS];
    bool client_there[STAGE_CLIENTS];
    size_t origins;
    unsigned refuse, hang; /* dials to come */
    bool woken;
    bool roomy;   /* sockets take much, so that turns are long */
    bool outside; /* our own address is no loopback one */
    bool has_refused;
    bool forbids; /* since the last reload */
    unsigned reloads;
    unsigned long moves; /* anything that happened between proxy and system */
    unsigned long tick;
    int lowest_fd;
} stage;

/* ---- time ---- */

static bool time_stands;
static uint64_t time_ns;

/*
 * Also libuv's: the program's symbols come before the C library's. Wall time goes on: only texts
 * show it, and a fuzzer has a watch of its own.
 */
int clock_gettime(clockid_t id, struct timespec *now)
{
    bool steady = id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE || id == CLOCK_BOOTTIME;
    if (!time_stands || !steady)
        return (int)syscall(SYS_clock_gettime, id, now);
    now->tv_sec = (time_t)(time_ns / 1000000000);
    now->tv_nsec = (long)(time_ns % 1000000000);
    return 0;
}

/* ---- descriptors ---- */

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size);
int __wrap_close(int fd);
int __wrap_getsockname(int fd, struct sockaddr *own, socklen_t *size);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t size);
ssize_t __wrap_recv(int fd, void *to, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_splice(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags);
ssize_t __real_splice(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_close(int fd);
int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t size);
ssize_t __real_recv(int fd, void *to, size_t size, int flags);
ssize_t __real_send(int fd, const void *from, size_t size, int flags);

static struct stage_end *end_of(int near)
{
    for (size_t i = 0; i < STAGE_CLIENTS; i++) {
        if (stage.client_there[i] && stage.client[i].near == near)
            return &stage.client[i];
    }
    for (size_t i = 0; i < stage.origins; i++) {
        if (stage.origin[i].near == near)
            return &stage.origin[i];
    }
    return NULL;
}

/* A pair; the proxy's end goes to `near`, or to a descriptor of its own when that is -1. */
static void end_open(struct stage_end *e, int near)
{
    int fd[2], room = NEAR_SEND_BUFFER;
    *e = (struct stage_end){0};
    int rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd);
    assert(rc == 0);
    if (!stage.roomy)
        rc = __real_setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    assert(rc == 0);
    if (near >= 0) {
        rc = dup2(fd[0], near);
        assert(rc == near);
        (void)__real_close(fd[0]);
    }
    e->near = near >= 0 ? near : fd[0];
    e->far = fd[1];
}

/* Takes all room there is, so that the dial does not become writable. */
static void end_fill(struct stage_end *e)
{
    char filler[512] = {0};
    ssize_t n;
    while ((n = __real_send(e->near, filler, sizeof filler, MSG_NOSIGNAL)) > 0)
        e->filler += (size_t)n;
    e->hangs = e->deaf = e->belated = true;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size)
{
    const struct sockaddr_in *in = (const void *)to;
    assert(size == sizeof *in && in->sin_family == AF_INET);
    /* The guard has seen it: anything else is what it is there to prevent. */
    uint16_t port = ntohs(in->sin_port);
    assert(in->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    assert(port == 80 || port == 8080 || port == 443 || port == 8443);
    /* At a gateway the policy in force counts, not that of when the request came. */
    assert(!stage.forbids || stage.door != DOOR_GATEWAY || port == 8443);
    stage.moves++;
    if (stage.refuse > 0 || stage.origins == STAGE_ORIGINS) {
        stage.refuse -= stage.refuse > 0;
        stage.has_refused = true;
        errno = ECONNREFUSED;
        return -1;
    }
    struct stage_end *e = &stage.origin[stage.origins];
    end_open(e, fd);
    stage.origins++;
    e->client = session_fakes_asker();
    e->port = port;
    memcpy(e->host, session_fakes_asked(), sizeof e->host);
    if (stage.hang > 0) {
        stage.hang--;
        end_fill(e);
    }
    errno = EINPROGRESS;
    return -1;
}

/* Where clients have come to. */
int __wrap_getsockname(int fd, struct sockaddr *own, socklen_t *size)
{
    struct addr address;
    assert(end_of(fd) != NULL && *size >= sizeof address.in);
    int rc = addr_parse(&address, stage.outside ? SPAN("198.51.100.1") : SPAN("127.0.0.1"),
                        STAGE_DOOR_PORT);
    assert(rc == 0);
    memcpy(own, &address.in, sizeof address.in);
    *size = sizeof address.in;
    return 0;
}

int __wrap_close(int fd)
{
    struct stage_end *e = end_of(fd);
    if (e != NULL) {
        e->near = -1;
        e->slot = NULL; /* closing ends the watch too, and the word may be another's next */
        stage.moves++;
    }
    return __real_close(fd);
}

/* A socket pair knows no reset: that one is wanted is all there is to see. */
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    struct stage_end *e = end_of(fd);
    if (e != NULL && level == SOL_SOCKET && option == SO_LINGER)
        e->aborted = ((const struct linger *)value)->l_onoff != 0;
    return __real_setsockopt(fd, level, option, value, size);
}

ssize_t __wrap_recv(int fd, void *to, size_t size, int flags)
{
    struct stage_end *e = end_of(fd);
    ssize_t n = __real_recv(fd, to, size, flags);
    stage.moves += n >= 0;
    if (n == 0 && size > 0 && e != NULL && e->reset) {
        errno = ECONNRESET;
        return -1;
    }
    return n;
}

ssize_t __wrap_send(int fd, const void *from, size_t size, int flags)
{
    struct stage_end *e = end_of(fd);
    ssize_t n = __real_send(fd, from, size, flags);
    stage.moves += n >= 0;
    if (e != NULL && n < (ssize_t)size)
        e->awaits_room = true;
    return n;
}

/* For what does not copy. Told also of a short move that found room: an edge too many, here only.
 */
ssize_t __wrap_splice(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags)
{
    struct stage_end *from = end_of(in), *to = end_of(out);
    ssize_t n = __real_splice(in, in_at, out, out_at, size, flags);
    stage.moves += n >= 0;
    if (to != NULL && n < (ssize_t)size)
        to->awaits_room = true;
    if (n == 0 && size > 0 && from != NULL && from->reset) {
        errno = ECONNRESET;
        return -1;
    }
    return n;
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    struct stage_end *e = end_of(fd);
    if (e != NULL) {
        e->slot = operation == EPOLL_CTL_DEL ? NULL : event->data.ptr;
        e->fresh = true;
    }
    return __real_epoll_ctl(epoll, operation, fd, event);
}

/*
 * Each octet that its peer reads gives a socket pair's end an edge to write again; TCP gives one
 * only to those who found no room. An edge too many would hide what the proxy forgets to go on
 * with.
 */
static bool is_due(const struct epoll_event *event)
{
    for (size_t i = 0; i < STAGE_CLIENTS + stage.origins; i++) {
        struct stage_end *e =
            i < STAGE_CLIENTS ? &stage.client[i] : &stage.origin[i - STAGE_CLIENTS];
        if (e->near < 0 || e->slot != event->data.ptr || (event->events & EPOLLOUT) == 0)
            continue;
        if (event->events == EPOLLOUT && !e->fresh && !e->awaits_room)
            return false;
        e->fresh = e->awaits_room = false;
    }
    return true;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    int n = __real_epoll_wait(epoll, events, most, timeout), kept = 0;
    for (int i = 0; i < n; i++) {
        if (is_due(&events[i]))
            events[kept++] = events[i];
    }
    return n < 0 ? n : kept;
}

/* ---- the far ends ---- */

static void text_add(struct stage_text *t, const void *p, size_t n)
{
    if (t->n + n > t->cap) {
        t->cap = 2 * t->cap + n + 256;
        t->p = realloc(t->p, t->cap);
        assert(t->p != NULL);
    }
    if (n > 0)
        memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void text_drop(struct stage_text *t, size_t n)
{
    memmove(t->p, t->p + n, t->n - n);
    t->n -= n;
}

static void mark_add(struct stage_end *e)
{
    /* Room is made at each power of two. */
    if ((e->marks & (e->marks - 1)) == 0) {
        e->mark = realloc(e->mark, (e->marks > 0 ? 2 * e->marks : 1) * sizeof *e->mark);
        assert(e->mark != NULL);
    }
    e->mark[e->marks++] = (struct stage_mark){e->got.n, e->sent.n, ++stage.tick};
}

static void end_hear(struct stage_end *e)
{
    char octets[4096];
    ssize_t n = 1;
    while (e->far >= 0 && !e->deaf && !e->ended && n > 0) {
        n = __real_recv(e->far, octets, sizeof octets, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        stage.moves++;
        if (n <= 0) {
            e->ended = true;
            e->aborted = e->aborted || n < 0;
            return;
        }
        size_t skip = (size_t)n < e->filler ? (size_t)n : e->filler;
        e->filler -= skip;
        if ((size_t)n > skip) {
            text_add(&e->got, octets + skip, (size_t)n - skip);
            mark_add(e);
        }
    }
}

static void end_speak(struct stage_end *e)
{
    if (e->far < 0 || e->fin_sent || e->hangs)
        return;
    while (e->due.n > 0) {
        ssize_t n = __real_send(e->far, e->due.p, e->due.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        stage.moves++;
        if (n < 0) {
            e->due.n = 0; /* the proxy is gone */
            break;
        }
        text_add(&e->sent, e->due.p, (size_t)n);
        text_drop(&e->due, (size_t)n);
    }
    if (e->fin_due) {
        e->fin_sent = true;
        stage.moves++;
        (void)shutdown(e->far, SHUT_WR);
    }
}

static void end_release(struct stage_end *e)
{
    assert(e->near == -1 && e->far == -1);
    free(e->sent.p);
    free(e->got.p);
    free(e->due.p);
    free(e->mark);
    *e = (struct stage_end){0};
}

void stage_say(struct stage_end *e, const void *p, size_t n)
{
    if (e->far >= 0 && !e->fin_due)
        text_add(&e->due, p, n);
}

void stage_fin(struct stage_end *e)
{
    e->fin_due = true;
}

/* What has arrived and will never be read is noted all the same. */
static void end_glance(struct stage_end *e)
{
    static char octets[1 << 18];
    ssize_t n = e->ended ? 0 : __real_recv(e->far, octets, sizeof octets, MSG_PEEK);
    if (n > (ssize_t)e->filler) {
        e->belated = true;
        text_add(&e->got, octets + e->filler, (size_t)n - e->filler);
        mark_add(e);
    }
}

void stage_leave(struct stage_end *e, bool reset)
{
    if (e->far < 0)
        return;
    end_speak(e);
    end_glance(e);
    e->left = true;
    e->reset = reset;
    (void)__real_close(e->far);
    e->far = -1;
}

void stage_deaf(struct stage_end *e, bool deaf)
{
    e->deaf = deaf || e->hangs;
    e->belated = e->belated || deaf;
}

bool stage_is_anybody_deaf(void)
{
    bool deaf = false;
    for (size_t i = 0; i < STAGE_CLIENTS; i++)
        deaf = deaf || stage.client[i].deaf;
    for (size_t i = 0; i < stage.origins; i++)
        deaf = deaf || stage.origin[i].deaf;
    return deaf;
}

bool stage_has_client(unsigned i)
{
    return stage.client_there[i];
}

struct stage_end *stage_client(unsigned i)
{
    struct stage_end *e = &stage.client[i];
    if (stage.client_there[i])
        return e;
    struct addr from;
    end_open(e, -1);
    stage.client_there[i] = true;
    int rc = addr_parse(&from, SPAN("192.0.2.0"), 40000);
    assert(rc == 0);
    from.in.sin_addr.s_addr = htonl(ntohl(from.in.sin_addr.s_addr) + i + 1);
    session_accept(&stage.ctx[i], stage.door, e->near, &from);
    return e;
}

struct stage_end *stage_origin(unsigned i)
{
    return i < stage.origins ? &stage.origin[i] : NULL;
}

/* ---- turning ---- */

static void all_ends(void (*act)(struct stage_end *e))
{
    for (size_t i = 0; i < STAGE_CLIENTS; i++) {
        if (stage.client_there[i])
            act(&stage.client[i]);
    }
    for (size_t i = 0; i < stage.origins; i++)
        act(&stage.origin[i]);
}

static void collect(void)
{
    while (stage.woken) {
        stage.woken = false;
        for (size_t i = 0; i < STAGE_CLIENTS; i++)
            session_collect(&stage.ctx[i]);
        stage.moves++;
    }
}

void stage_turn(void)
{
    unsigned rounds = 0;
    unsigned long before;
    do {
        before = stage.moves;
        all_ends(end_speak);
        (void)uv_run(&stage.loop, UV_RUN_NOWAIT);
        collect();
        all_ends(end_hear);
        rounds++;
        assert(rounds < ROUNDS_MAX);
        /* A resumed slot, or a deadline that is due, lets the loop not sleep. */
    } while (stage.moves != before || uv_backend_timeout(&stage.loop) == 0);
}

void stage_wait(uint64_t ms)
{
    stage_turn();
    time_ns += ms * 1000000;
    stage.moves += session_fakes_check();
    stage_turn();
}

static void end_listen(struct stage_end *e)
{
    stage_deaf(e, false);
    end_hear(e);
}

static void end_close_far(struct stage_end *e)
{
    stage_leave(e, false);
}

void stage_leave_all(void)
{
    size_t origins;
    /* A place that comes free may let another one dial. */
    do {
        origins = stage.origins;
        all_ends(end_listen);
        all_ends(end_close_far);
        stage_turn();
    } while (stage.origins != origins);
}

void stage_refuse_next(unsigned dials)
{
    stage.refuse = dials;
}

void stage_hang_next(unsigned dials)
{
    stage.hang = dials;
}

bool stage_has_refused(void)
{
    return stage.has_refused;
}

void stage_tell(unsigned upstream, bool down)
{
    struct parents *list = stage.ctx[0].upstreams.list;
    if (list != NULL && upstream < parents_count(list))
        parents_tell(list, upstream, down, "told");
}

static void end_connect(struct stage_end *e)
{
    if (e->hangs)
        e->hangs = e->deaf = false;
}

void stage_connect(void)
{
    all_ends(end_connect);
}

void stage_drain(void)
{
    for (size_t i = 0; i < STAGE_CLIENTS; i++)
        session_drain_all(&stage.ctx[i], false);
}

void stage_stop(void)
{
    stage_drain();
    for (size_t i = 0; i < STAGE_CLIENTS; i++)
        session_close_all(&stage.ctx[i]);
    stage.moves++;
}

bool stage_is_empty(void)
{
    for (size_t i = 0; i < STAGE_CLIENTS; i++) {
        if (!list_empty(&stage.ctx[i].sessions))
            return false;
    }
    return true;
}

/* ---- the proxy's side ---- */

static const char *tell_ready(void *arg)
{
    (void)arg;
    return NULL;
}

static int tell_document(void *arg, struct control_document *doc)
{
    (void)arg;
    *doc = (struct control_document){SPAN("{}"), "\"stage\"", 60, NULL};
    return 0;
}

static int tell_metrics(void *arg, struct buf *out)
{
    (void)arg;
    return buf_add_str(out, "stage 1\n");
}

/* The old ones are gone at once: nobody may have kept anything of them. */
static void options_use(struct session_options *o)
{
    const struct upstream_pool_options pool = {.most = 4, .most_per_host = 2, .idle_ms = 30000};
    struct session_options *old = stage.options;
    stage.options = o;
    for (size_t i = 0; i < STAGE_CLIENTS; i++)
        stage.ctx[i].options = o;
    upstream_pool_reload(stage.pool, &pool);
    if (old != NULL)
        stage_free_options(old);
}

static void use_upstreams(struct parents *list)
{
    for (unsigned i = 0; i < STAGE_CLIENTS; i++)
        parents_use_list(&stage.ctx[i].upstreams, list);
    parents_unref(list);
}

void stage_reload(const struct stage_options *options)
{
    options_use(stage_make_options(options));
    stage.reloads++;
    stage.forbids = options->forbids;
    if (options->gateway)
        use_upstreams(stage_make_upstreams(stage.reloads % 2 == 0));
    stage.moves++;
}

static void on_granted(void *arg)
{
    (void)arg;
    stage.woken = true;
}

static void fill_context(unsigned i)
{
    struct session_context *ctx = &stage.ctx[i];
    *ctx = (struct session_context){
        .net = stage.net,
        .metrics = &stage.metrics,
        .admission = stage.admission,
        .loop_guard = stage.loop_guard,
        .pacing = stage.pacing,
        .paced = {.wake = on_granted},
        .pool = stage.pool,
        .pipes = stage.pipes,
        .facts = &stage.facts,
        .worker = i,
        .accepted = (uint64_t)i << 32, /* one pool for all: no number is given twice */
        .scratch = stage.scratch,
        .scratch_octets = sizeof stage.scratch,
    };
    ctx->net.resolver = session_fakes_resolver(i);
    list_init(&ctx->sessions);
    list_init(&ctx->paced.granted);
}

static void use_parents(struct parents *list)
{
    for (unsigned i = 0; i < STAGE_CLIENTS; i++)
        parents_use_list(&stage.ctx[i].parents, list);
    parents_unref(list);
}

static int lowest_free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert(fd >= 0);
    (void)__real_close(fd);
    return fd;
}

void stage_open(const struct stage_options *options)
{
    time_stands = true;
    time_ns = UINT64_C(1000000) * 1000000000;
    memset(&stage, 0, sizeof stage);
    stage.roomy = options->roomy;
    stage.outside = options->outside;
    (void)signal(SIGPIPE, SIG_IGN); /* as server.c does */
    stage.lowest_fd = lowest_free_fd();
    int rc = uv_loop_init(&stage.loop);
    assert(rc == 0);
    stage.net.loop = &stage.loop;
    rc = poller_create(&stage.net.poller, &stage.loop);
    rc = rc == 0 ? deadlines_create(&stage.net.deadlines, &stage.loop) : rc;
    assert(rc == 0);
    stage.admission = admission_create();
    stage.loop_guard = loop_guard_create();
    stage.door = options->passthrough ? DOOR_PASSTHROUGH
                 : options->gateway   ? DOOR_GATEWAY
                 : options->redirect  ? DOOR_REDIRECT
                                      : DOOR_PROXY;
    stage.pacing = pacing_create();
    stage.pool = upstream_pool_create(&stage.net);
    stage.pipes = pipes_create();
    assert(stage.admission != NULL && stage.pacing != NULL && stage.loop_guard != NULL);
    assert(stage.pool != NULL && stage.pipes != NULL);
    pipes_set_limits(stage.pipes, options->copied ? 0 : PIPES, PIPE_OCTETS);
    admission_set_limits(stage.admission, &(struct admission_limits){STAGE_CLIENTS, 0, 64});
    pacing_set_limits(stage.pacing, options->paced ? 1 : 0, 2);
    pacing_set_gateway_limit(stage.pacing, options->paced ? 1 : 0);
    stage.facts =
        (struct control_facts){NULL, tell_ready, tell_document, tell_document, tell_metrics, NULL};
    for (unsigned i = 0; i < STAGE_CLIENTS; i++)
        fill_context(i);
    options_use(stage_make_options(options));
    if (options->parents)
        use_parents(stage_make_parents());
    if (options->gateway)
        use_upstreams(stage_make_upstreams(stage.reloads % 2 == 0));
}

static void check_counters(void)
{
    uint64_t accepted = stage.metrics.value[METRIC_ACCEPTED];
    uint64_t opened = stage.metrics.value[METRIC_TUNNELS_OPENED];
    uint64_t queued = stage.metrics.value[METRIC_QUEUED];
    assert(stage.metrics.value[METRIC_CLOSED] == accepted);
    assert(stage.metrics.value[METRIC_TUNNELS_CLOSED] == opened);
    assert(stage.metrics.value[METRIC_QUEUE_LEFT] == queued);
    assert(admission_total(stage.admission) == 0);
    assert(pacing_waiting(stage.pacing) == 0);
    assert(buf_budget_used() == 0);
}

void stage_close(void)
{
    assert(stage_is_empty());
    use_parents(NULL);
    use_upstreams(NULL);
    for (size_t i = 0; i < STAGE_CLIENTS; i++)
        session_forget_spares(&stage.ctx[i]);
    upstream_pool_destroy(stage.pool);
    pipes_destroy(stage.pipes);
    stage_free_options(stage.options);
    all_ends(end_close_far);
    check_counters();
    pacing_destroy(stage.pacing);
    admission_destroy(stage.admission);
    loop_guard_destroy(stage.loop_guard); /* asserts that nothing is on its way */
    poller_destroy(stage.net.poller);
    deadlines_destroy(stage.net.deadlines);
    (void)uv_run(&stage.loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&stage.loop);
    assert(rc == 0);
    all_ends(end_release);
    assert(lowest_free_fd() == stage.lowest_fd);
    time_stands = false;
}

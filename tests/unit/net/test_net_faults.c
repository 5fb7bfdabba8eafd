/* test_net_faults.c - no memory and no descriptors under the network modules, c-ares and libuv
 * included: the documented refusal, nothing left open, and the next one is served. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ares.h>
#include <cmocka.h>

#include "proxy/net/dial.h"
#include "proxy/net/dns_cache.h"
#include "proxy/net/stream.h"
#include "proxy/net/tls_thread.h"
#include "tests/support/faults.h"
#include "tests/unit/net/resolver_fixture.h"

/* No answer by then, in a run in which something was refused: it is in its time-out. */
enum { SILENCE_MS = 60 };

static struct fake_rule rules[] = {
    {.name = "a.example", .type = TYPE_A, .count = 2, .ttl = 60},
    {.name = "a.example", .type = TYPE_AAAA, .count = 1, .ttl = 60},
    {.name = "b.example", .type = TYPE_A, .count = 2, .ttl = 60},
    {.name = "b.example", .type = TYPE_AAAA, .count = 1, .ttl = 60},
};

static const struct resolver_options options = {
    .timeout_ms = PATIENCE_MS, .cache_entries = 16, .cache_max_ms = 600000};

/* ---- a worker's loop ---- */

static void assert_no_memory(int rc)
{
    assert_true(faults_struck());
    assert_int_equal(rc, -ENOMEM);
}

/* What a worker thread makes before it serves, taken apart from whatever point it has come to. */
static bool loop_made(void)
{
    uv_loop_t loop;
    struct netloop net = {.loop = &loop};
    int rc = uv_loop_init(&loop);
    if (rc != 0) {
        assert_no_memory(rc);
        return false;
    }
    rc = poller_create(&net.poller, &loop);
    if (rc == 0)
        rc = deadlines_create(&net.deadlines, &loop);
    if (rc == 0)
        rc = resolver_create(&net.resolver, &loop, &options);
    if (rc == 0 && (net.tls = tls_mailbox_create(&loop)) == NULL)
        rc = -ENOMEM;
    tls_mailbox_close(net.tls);
    if (net.resolver != NULL)
        resolver_destroy(net.resolver);
    if (net.deadlines != NULL)
        deadlines_destroy(net.deadlines);
    if (net.poller != NULL)
        poller_destroy(net.poller);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    if (rc != 0)
        assert_no_memory(rc);
    return rc == 0;
}

/* ---- a thread for a device ---- */

static void do_nothing(struct tls_job *job)
{
    (void)job;
}

static bool thread_used(void)
{
    struct tls_job call = {.run = do_nothing, .dispose = do_nothing}, last = call;
    struct tls_thread *thread = tls_thread_create(1);
    if (thread == NULL) {
        assert_true(faults_struck());
        return false;
    }
    assert_int_equal(tls_thread_call(thread, &call, PATIENCE_MS), 0);
    tls_thread_end(thread, &last);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    return true;
}

/* ---- look-ups ---- */

/* True when the answer has come. */
static bool look_waited(struct fixture *f, const struct look *look)
{
    uint64_t end = UINT64_MAX;
    while (look->calls == 0 && uv_now(&f->loop) < end) {
        if (faults_struck() && end == UINT64_MAX)
            end = uv_now(&f->loop) + SILENCE_MS;
        uv_timer_t tick;
        bool over = false;
        uv_timer_init(&f->loop, &tick);
        tick.data = &over;
        uv_timer_start(&tick, on_waited, 20, 0);
        uv_run(&f->loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)&tick, NULL);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    return look->calls > 0;
}

/* Only addresses of the names, and at least one. */
static void assert_known(const struct resolved *answer)
{
    assert_int_equal(answer->outcome, OUTCOME_OK);
    assert_true(answer->count >= 1 && answer->count <= 3);
    for (size_t i = 0; i < answer->count; i++) {
        char out[ADDR_TEXT_MAX];
        (void)addr_print(&answer->address[i], out);
        assert_true(strcmp(out, "2001:db8::1") == 0 || strcmp(out, "198.51.100.1") == 0 ||
                    strcmp(out, "198.51.100.2") == 0);
    }
}

/*
 * Whatever went wrong before: now there is memory, and the same resolver serves. Another name, as
 * the first one may still be waiting for its next try.
 */
static void assert_resolver_serves(struct fixture *f)
{
    struct look other = {0};
    faults_pause();
    look_up_now(f, &other, "b.example");
    assert_known(&other.answer);
    faults_resume();
}

static bool looked_up(struct fixture *f)
{
    struct look look = {.f = f};
    look.ticket = resolver_lookup(f->r, "a.example", on_looked_up, &look);
    if (look.ticket == NULL) {
        assert_true(faults_struck());
        return false;
    }
    if (!look_waited(f, &look)) {
        resolver_cancel(look.ticket);
        return false;
    }
    if (look.answer.outcome == OUTCOME_OK) {
        assert_known(&look.answer);
        return true;
    }
    assert_true(faults_struck());
    assert_true(look.answer.outcome == OUTCOME_DNS_FAILED ||
                look.answer.outcome == OUTCOME_DNS_TIMEOUT);
    return false;
}

/* With a resolver that was made in plenty. A half that was lost may be made up for by the other. */
static bool lookup(void)
{
    struct fixture f;
    faults_pause();
    SETUP(&f, rules, &options);
    faults_resume();
    bool done = looked_up(&f);
    assert_resolver_serves(&f);
    faults_pause();
    teardown(&f);
    faults_resume();
    return done;
}

/* The whole life of a resolver. */
static bool resolver_life(void)
{
    struct fixture f;
    struct resolver_options o = options;
    bool done = false;
    faults_pause();
    setup_without_resolver(&f, rules, sizeof rules / sizeof *rules);
    faults_resume();
    o.servers = f.dns.servers;
    int rc = resolver_create(&f.r, &f.loop, &o);
    if (rc == 0)
        done = looked_up(&f);
    else
        assert_no_memory(rc);
    faults_pause();
    teardown(&f);
    faults_resume();
    return done;
}

/* When a reload fails, the old servers go on to serve. */
static bool resolver_reloaded(void)
{
    struct fixture f;
    struct resolver_options o = options;
    faults_pause();
    SETUP(&f, rules, &options);
    o.servers = f.dns.servers;
    faults_resume();
    int rc = resolver_reload(f.r, &o);
    if (rc != 0)
        assert_no_memory(rc);
    assert_resolver_serves(&f);
    faults_pause();
    teardown(&f);
    faults_resume();
    return rc == 0;
}

/* A cache may forget, but what it tells is what it was told. */
static bool cache_kept(void)
{
    struct resolved told = {.outcome = OUTCOME_OK, .count = 2}, got;
    struct dns_cache *c = dns_cache_create(4);
    unsigned found = 0;
    if (c == NULL)
        return false;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 6; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "%u.example", i);
            addr_set_port(&told.address[0], (uint16_t)i);
            dns_cache_put(c, name, &told, 1000);
        }
    }
    for (unsigned i = 0; i < 6; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u.example", i);
        if (!dns_cache_get(c, name, 1, &got))
            continue;
        found++;
        assert_int_equal(got.count, 2);
        assert_int_equal(addr_port(&got.address[0]), i);
    }
    assert_true(found <= 4 && dns_cache_count(c) == found);
    dns_cache_destroy(c);
    return found == 4;
}

/* ---- dialling ---- */

struct world {
    struct fixture f;
    struct netloop net;
    int listener;
    uint16_t port;
};

static void world_make(struct world *w)
{
    struct addr a;
    socklen_t size = sizeof a;
    faults_pause();
    SETUP(&w->f, rules, &options);
    w->net = (struct netloop){.loop = &w->f.loop, .resolver = w->f.r};
    assert_int_equal(poller_create(&w->net.poller, &w->f.loop), 0);
    assert_int_equal(deadlines_create(&w->net.deadlines, &w->f.loop), 0);
    assert_int_equal(addr_parse(&a, SPAN("127.0.0.1"), 0), 0);
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(w->listener, &a.sa, addr_len(&a)), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    assert_int_equal(getsockname(w->listener, &a.sa, &size), 0);
    w->port = addr_port(&a);
    faults_resume();
}

static void world_end(struct world *w)
{
    faults_pause();
    poller_destroy(w->net.poller);
    deadlines_destroy(w->net.deadlines);
    teardown(&w->f);
    (void)close(w->listener);
    faults_resume();
}

struct caller {
    struct world *w;
    unsigned calls;
    enum outcome outcome;
    struct stream stream;
};

static void on_ready(struct stream *s)
{
    (void)s;
}

static enum outcome guard(void *arg, const struct addr *address)
{
    (void)arg;
    (void)address;
    return OUTCOME_OK;
}

static void on_done(void *arg, const struct dial_result *result)
{
    struct caller *c = arg;
    c->calls++;
    c->outcome = result->outcome;
    stream_init(&c->stream, on_ready);
    if (result->outcome == OUTCOME_OK)
        stream_adopt(&c->stream, c->w->net.poller, result->slot, result->fd, result->events);
}

/* What a refused request may make of a dial: its own outcome, or one of the look-up's. */
static bool dialled(struct world *w, const char *name, const char *literal)
{
    static const struct dial_options how = {.timeout_ms = 500, .addresses_max = 8};
    struct addr a = {0};
    struct caller c = {.w = w};
    if (literal != NULL)
        assert_int_equal(addr_parse(&a, span_of(literal), 0), 0);
    struct dial *d = dial_start(&w->net, &(struct dial_request){.name = name,
                                                                .literal = &a,
                                                                .port = w->port,
                                                                .options = &how,
                                                                .guard = guard,
                                                                .on_done = on_done,
                                                                .arg = &c});
    if (d == NULL) {
        assert_true(faults_struck());
        return false;
    }
    assert_int_equal(c.calls, 0);
    while (c.calls == 0)
        (void)uv_run(&w->f.loop, UV_RUN_ONCE);
    (void)uv_run(&w->f.loop, UV_RUN_NOWAIT);
    assert_int_equal(c.calls, 1);
    if (c.outcome == OUTCOME_OK) {
        stream_close(&c.stream);
        return true;
    }
    assert_true(faults_struck());
    /* What c-ares makes of a socket that it does not get differs from version to version; and
     * another address of the name, where nobody listens, may be tried instead. */
    assert_true(c.outcome == OUTCOME_NO_MEMORY ||
                (name != NULL &&
                 (c.outcome == OUTCOME_DNS_FAILED || c.outcome == OUTCOME_DNS_TIMEOUT ||
                  c.outcome == OUTCOME_DNS_NOT_FOUND || c.outcome == OUTCOME_CONNECT_REFUSED)));
    return false;
}

static bool dial_literal(void)
{
    struct world w;
    world_make(&w);
    bool done = dialled(&w, NULL, "127.0.0.1");
    world_end(&w);
    return done;
}

/* Of the hosts file: ::1 too, where nobody listens, so one attempt may make up for the other. */
static bool dial_name(void)
{
    struct world w;
    world_make(&w);
    bool done = dialled(&w, "localhost", NULL);
    world_end(&w);
    return done;
}

static bool stream_opened(void)
{
    struct world w;
    struct stream s;
    int fd[2];
    char octet;
    world_make(&w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    stream_init(&s, on_ready);
    int rc = stream_open(&s, w.net.poller, fd[0]);
    assert_int_equal(stream_is_open(&s), rc == 0);
    if (rc != 0) {
        assert_no_memory(rc);
        assert_int_equal(recv(fd[1], &octet, 1, MSG_DONTWAIT), 0); /* closed, as promised */
    }
    stream_close(&s);
    (void)close(fd[1]);
    world_end(&w);
    return rc == 0;
}

/* libuv aborts when its table of watchers cannot grow, so there it is given what it wants. */
static void *uv_realloc_spared(void *block, size_t size)
{
    faults_pause();
    void *moved = faults_realloc(block, size);
    faults_resume();
    return moved;
}

/*
 * Later ones leak and lose their way when they have no memory themselves, which is not ours to
 * mend; what we ask for around them is still refused.
 */
static int cares_init(void)
{
    enum { CARES_1_20 = 1 << 16 | 20 << 8 };
    int version;
    (void)ares_version(&version);
    return version < CARES_1_20 ? ares_library_init_mem(ARES_LIB_INIT_ALL, faults_malloc,
                                                        faults_free, faults_realloc)
                                : ares_library_init(ARES_LIB_INIT_ALL);
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"a worker's loop", loop_made, true},          {"a thread", thread_used, false},
        {"resolver: look-up", lookup, true},           {"resolver: life", resolver_life, true},
        {"resolver: reload", resolver_reloaded, true}, {"dns_cache", cache_kept, true},
        {"dial: literal", dial_literal, false},        {"dial: name", dial_name, true},
        {"stream_open", stream_opened, false},
    };
    if (uv_replace_allocator(faults_malloc, uv_realloc_spared, faults_calloc, faults_free) != 0 ||
        cares_init() != 0)
        return 1;
    return faults_main("net_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

/* test_dial.c - dialling: the guard's word, the race over addresses, refusals, the one deadline,
 * cancelling. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/dial.h"
#include "proxy/net/stream.h"

static uv_loop_t loop;
static struct netloop net;
static const struct dial_options options = {.timeout_ms = 3000, .addresses_max = 8};

struct caller {
    bool done;
    struct dial_result result;
    struct addr asked[8]; /* by the guard */
    size_t asked_count;
    enum outcome verdict;
    struct stream stream;
};

static void on_ready(struct stream *s)
{
    (void)s;
}

static enum outcome guard(void *arg, const struct addr *address)
{
    struct caller *c = arg;
    c->asked[c->asked_count++] = *address;
    return c->verdict;
}

static void on_done(void *arg, const struct dial_result *result)
{
    struct caller *c = arg;
    assert_false(c->done);
    c->done = true;
    c->result = *result;
    if (result->outcome == OUTCOME_OK) {
        stream_init(&c->stream, on_ready);
        stream_adopt(&c->stream, net.poller, result->slot, result->fd, result->events);
    }
}

static int setup(void **state)
{
    struct resolver_options none = {.timeout_ms = 1000, .cache_entries = 16, .cache_max_ms = 1000};
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    net.loop = &loop;
    assert_int_equal(poller_create(&net.poller, &loop), 0);
    assert_int_equal(deadlines_create(&net.deadlines, &loop), 0);
    return resolver_create(&net.resolver, &loop, &none);
}

static int teardown(void **state)
{
    (void)state;
    resolver_destroy(net.resolver);
    poller_destroy(net.poller);
    deadlines_destroy(net.deadlines);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* A listener on 127.0.0.1; its port in `*port`. */
static int listen_here(uint16_t *port)
{
    struct addr a;
    socklen_t size = sizeof a;
    assert_int_equal(addr_parse(&a, SPAN("127.0.0.1"), 0), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &a.sa, addr_len(&a)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, &a.sa, &size), 0);
    *port = addr_port(&a);
    return fd;
}

static struct dial *start(struct caller *c, const char *name, const char *literal, uint16_t port)
{
    struct addr a = {0};
    if (literal != NULL)
        assert_int_equal(addr_parse(&a, span_of(literal), 0), 0);
    struct dial_request r = {.name = name,
                             .literal = &a,
                             .port = port,
                             .options = &options,
                             .guard = guard,
                             .on_done = on_done,
                             .arg = c};
    struct dial *d = dial_start(&net, &r);
    assert_non_null(d);
    assert_false(c->done); /* never before the call returns */
    return d;
}

static void wait_done(struct caller *c)
{
    while (!c->done)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static void test_the_checked_address_is_dialled(void **state)
{
    struct caller c = {0};
    uint16_t port;
    char text[ADDR_TEXT_MAX];
    (void)state;
    int listener = listen_here(&port);
    (void)start(&c, NULL, "127.0.0.1", port);
    wait_done(&c);
    assert_int_equal(c.result.outcome, OUTCOME_OK);
    assert_int_equal(c.asked_count, 1);
    assert_string_equal(addr_print(&c.asked[0], text), "127.0.0.1");
    assert_int_equal(addr_port(&c.result.address), port);
    stream_close(&c.stream);
    (void)close(listener);
}

static void test_refused(void **state)
{
    struct caller c = {0};
    uint16_t port;
    (void)state;
    (void)close(listen_here(&port));
    (void)start(&c, NULL, "127.0.0.1", port);
    wait_done(&c);
    assert_int_equal(c.result.outcome, OUTCOME_CONNECT_REFUSED);
    assert_int_equal(c.result.error, -ECONNREFUSED);
}

static void test_guard_says_no_and_nothing_is_dialled(void **state)
{
    struct caller c = {.verdict = OUTCOME_ADDRESS_DENIED};
    uint16_t port;
    (void)state;
    int listener = listen_here(&port);
    (void)start(&c, NULL, "127.0.0.1", port);
    wait_done(&c);
    assert_int_equal(c.result.outcome, OUTCOME_ADDRESS_DENIED);
    assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(accept(listener, NULL, NULL), -1);
    (void)close(listener);
}

/* localhost has ::1 and 127.0.0.1 or the latter only: the refusal of one leads on to the other (RFC
 * 8305). */
static void test_next_address_after_a_failure(void **state)
{
    struct caller c = {0};
    uint16_t port;
    (void)state;
    int listener = listen_here(&port);
    (void)start(&c, "localhost", NULL, port);
    wait_done(&c);
    assert_int_equal(c.result.outcome, OUTCOME_OK);
    assert_int_equal(c.result.address.sa.sa_family, AF_INET);
    stream_close(&c.stream);
    (void)close(listener);
}

static void test_cancelled_at_every_stage(void **state)
{
    struct caller c = {0};
    uint16_t port;
    (void)state;
    int listener = listen_here(&port);
    dial_cancel(start(&c, NULL, "127.0.0.1", port));
    dial_cancel(start(&c, "localhost", NULL, port));
    c.verdict = OUTCOME_ADDRESS_DENIED;
    dial_cancel(start(&c, NULL, "127.0.0.1", port));
    for (int i = 0; i < 5; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_false(c.done);
    (void)close(listener);
}

/* A full backlog swallows the SYN on loopback: nobody answers, so only the deadline ends it. */
static void test_silence_ends_with_the_deadline(void **state)
{
    struct caller c = {0};
    uint16_t port;
    struct addr a;
    int filler[4];
    (void)state;
    int listener = listen_here(&port);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(addr_parse(&a, SPAN("127.0.0.1"), port), 0);
    for (int i = 0; i < 4; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(filler[i], &a.sa, addr_len(&a));
    }
    struct dial_options quick = {.timeout_ms = 200, .addresses_max = 1};
    struct dial_request r = {.literal = &a,
                             .port = port,
                             .options = &quick,
                             .guard = guard,
                             .on_done = on_done,
                             .arg = &c};
    assert_non_null(dial_start(&net, &r));
    wait_done(&c);
    assert_int_equal(c.result.outcome, OUTCOME_CONNECT_TIMEOUT);
    for (int i = 0; i < 4; i++)
        (void)close(filler[i]);
    (void)close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_checked_address_is_dialled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard_says_no_and_nothing_is_dialled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_address_after_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_at_every_stage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence_ends_with_the_deadline, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

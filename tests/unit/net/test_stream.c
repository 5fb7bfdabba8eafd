/* test_stream.c - streams over the poller: edges, FIN, reset, adoption, resumption, closing inside
 * callbacks. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/stream.h"

static uv_loop_t loop;
static struct poller *poller;

struct end {
    struct stream stream;
    unsigned ready;       /* callbacks so far */
    struct end *to_close; /* closed from this one's callback */
};

static void on_ready(struct stream *s)
{
    struct end *e = LIST_ITEM(s, struct end, stream);
    e->ready++;
    if (e->to_close != NULL)
        stream_close(&e->to_close->stream);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    return poller_create(&poller, &loop);
}

static int teardown(void **state)
{
    (void)state;
    poller_destroy(poller);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* A connected pair: our stream and the bare descriptor of its peer. */
static int open_pair(struct end *e)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    *e = (struct end){0};
    stream_init(&e->stream, on_ready);
    assert_int_equal(stream_open(&e->stream, poller, fd[0]), 0);
    return fd[1];
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void test_octets_and_fin(void **state)
{
    struct end e;
    char got[16];
    (void)state;
    int peer = open_pair(&e);
    turn();
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), -EAGAIN);
    assert_false(e.stream.can_read);
    assert_int_equal(write(peer, "hello", 5), 5);
    turn();
    assert_true(e.stream.can_read);
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 5);
    assert_false(e.stream.can_read); /* a short read has emptied it */
    assert_int_equal(write(peer, "last", 4), 4);
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    turn();
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 4);
    assert_true(e.stream.can_read); /* the FIN behind it */
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 0);
    assert_int_equal(stream_send(&e.stream, "still", 5), 5);
    stream_shutdown(&e.stream);
    stream_shutdown(&e.stream);
    assert_int_equal(read(peer, got, sizeof got), 5);
    assert_int_equal(read(peer, got, sizeof got), 0);
    stream_close(&e.stream);
    stream_close(&e.stream);
    (void)close(peer);
}

static void test_writable_again_after_full(void **state)
{
    struct end e;
    static char block[65536];
    size_t sent = 0, drained = 0;
    (void)state;
    int peer = open_pair(&e);
    turn();
    while (e.stream.can_write) {
        ssize_t n = stream_send(&e.stream, block, sizeof block);
        if (n > 0)
            sent += (size_t)n;
    }
    assert_true(sent > 0);
    turn();
    assert_false(e.stream.can_write);
    while (drained < sent) {
        ssize_t n = read(peer, block, sizeof block);
        assert_true(n > 0);
        drained += (size_t)n;
    }
    turn();
    assert_true(e.stream.can_write);
    stream_close(&e.stream);
    (void)close(peer);
}

/* Both events are fetched in one batch; the first callback closes the second stream. */
static void test_closing_a_neighbour_drops_its_event(void **state)
{
    struct end a, b;
    (void)state;
    int peer_a = open_pair(&a), peer_b = open_pair(&b);
    turn();
    a.ready = b.ready = 0;
    a.to_close = &b;
    b.to_close = &a;
    assert_int_equal(write(peer_a, "x", 1), 1);
    assert_int_equal(write(peer_b, "x", 1), 1);
    turn();
    assert_int_equal(a.ready + b.ready, 1);
    stream_close(&a.stream);
    stream_close(&b.stream);
    (void)close(peer_a);
    (void)close(peer_b);
}

static void test_adopted_stream_gets_the_events(void **state)
{
    struct end a, b = {0};
    char got[8];
    (void)state;
    int peer = open_pair(&a);
    stream_init(&b.stream, on_ready);
    turn();
    unsigned before = a.ready;
    stream_adopt(&b.stream, poller, &a.stream.slot, a.stream.fd, POLL_WRITABLE);
    a.stream.fd = -1;
    assert_int_equal(write(peer, "hi", 2), 2);
    turn();
    assert_int_equal(a.ready, before);
    assert_true(b.ready > 0);
    assert_int_equal(stream_receive(&b.stream, got, sizeof got), 2);
    stream_close(&b.stream);
    (void)close(peer);
}

static void test_resume_comes_once_on_the_next_round(void **state)
{
    struct end e;
    (void)state;
    int peer = open_pair(&e);
    turn();
    unsigned before = e.ready;
    stream_resume(&e.stream);
    stream_resume(&e.stream);
    assert_int_equal(e.ready, before);
    turn();
    assert_int_equal(e.ready, before + 1);
    turn();
    assert_int_equal(e.ready, before + 1);
    stream_resume(&e.stream);
    stream_close(&e.stream); /* takes the resumption along */
    turn();
    assert_int_equal(e.ready, before + 1);
    (void)close(peer);
}

/* A connected pair over TCP: other sockets have no low water mark. */
static int open_tcp_pair(struct end *e)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&at, size), 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    (void)close(listener);
    *e = (struct end){0};
    stream_init(&e->stream, on_ready);
    assert_int_equal(stream_open(&e->stream, poller, fd), 0);
    turn();
    e->stream.can_read = false;
    e->ready = 0;
    return peer;
}

static void test_gathering(void **state)
{
    struct end e;
    char got[16];
    (void)state;
    int peer = open_tcp_pair(&e);
    assert_int_equal(stream_gather(&e.stream, 8), 0);
    assert_int_equal(write(peer, "few", 3), 3);
    turn();
    assert_int_equal(e.ready, 0);
    assert_int_equal(write(peer, "enough", 6), 6);
    while (!e.stream.can_read)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_false(e.stream.late);
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 9);

    /* Back to usual: what waits is told. */
    assert_int_equal(write(peer, "few", 3), 3);
    turn();
    assert_false(e.stream.can_read);
    assert_int_equal(stream_gather(&e.stream, 1), 0);
    while (!e.stream.can_read)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 3);
    stream_close(&e.stream);
    (void)close(peer);
}

static void test_awaiting(void **state)
{
    struct end e;
    char got[16];
    (void)state;
    int peer = open_tcp_pair(&e);
    assert_int_equal(stream_gather(&e.stream, 8), 0);
    assert_int_equal(write(peer, "few", 3), 3);
    stream_await(&e.stream);
    stream_await(&e.stream);
    while (e.ready == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_true(e.stream.late && e.stream.can_read);
    assert_int_equal(stream_receive(&e.stream, got, sizeof got), 3);

    /* Told once; a FIN needs no await. */
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    while (!e.stream.fin_seen)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_false(e.stream.late);
    assert_int_equal(e.ready, 2);

    /* A resumption comes in its place; closing takes either along. */
    stream_await(&e.stream);
    stream_resume(&e.stream);
    turn();
    assert_int_equal(e.ready, 3);
    assert_false(e.stream.late);
    stream_await(&e.stream);
    stream_close(&e.stream);
    (void)close(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_octets_and_fin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writable_again_after_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing_a_neighbour_drops_its_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopted_stream_gets_the_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume_comes_once_on_the_next_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gathering, setup, teardown),
        cmocka_unit_test_setup_teardown(test_awaiting, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tunnel.c - the relay: everything arrives, half-close passes, back-pressure bounds memory,
 * resets end it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/session/tunnel.h"

enum { MAX = 8192 };

/* As many as fit: the other side may be full, or gone. */
static void put_octets(int fd, const void *octets, size_t size)
{
    ssize_t n = write(fd, octets, size);
    (void)n;
}

static uv_loop_t loop;
static struct poller *poller;
static struct stream client, origin;
static struct tunnel tunnel;
static struct pipes *pipes;
static int client_peer, origin_peer; /* the far ends */
static char scratch[65536];

static void on_ready(struct stream *s)
{
    (void)s;
}

static int open_end(struct stream *s)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    stream_init(s, on_ready);
    assert_int_equal(stream_open(s, poller, fd[0]), 0);
    return fd[1];
}

static int setup(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* as server.c does */
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(poller_create(&poller, &loop), 0);
    client_peer = open_end(&client);
    origin_peer = open_end(&origin);
    pipes = pipes_create();
    pipes_set_limits(pipes, 2, 65536);
    tunnel_init(&tunnel, MAX, pipes);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tunnel_release(&tunnel);
    pipes_destroy(pipes);
    stream_close(&client);
    stream_close(&origin);
    (void)close(client_peer);
    (void)close(origin_peer);
    poller_destroy(poller);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static enum tunnel_status turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    return tunnel_pump(&tunnel, &client, &origin, scratch, sizeof scratch);
}

static void test_both_ways_and_quiet_between(void **state)
{
    char got[32];
    (void)state;
    assert_int_equal(turn(), TUNNEL_QUIET);
    assert_int_equal(write(client_peer, "up", 2), 2);
    assert_int_equal(write(origin_peer, "down", 4), 4);
    assert_int_equal(turn(), TUNNEL_MOVED);
    assert_int_equal(read(origin_peer, got, sizeof got), 2);
    assert_int_equal(read(client_peer, got, sizeof got), 4);
    assert_int_equal(turn(), TUNNEL_QUIET);
    assert_int_equal(tunnel.way[TUNNEL_UP].octets, 2);
    assert_int_equal(tunnel.way[TUNNEL_DOWN].octets, 4);
    /* Idle, it holds no memory. */
    assert_null(tunnel.way[TUNNEL_UP].waiting.data);
    assert_null(tunnel.way[TUNNEL_DOWN].waiting.data);
}

static void test_half_close_passes_and_the_other_way_goes_on(void **state)
{
    char got[32];
    (void)state;
    assert_int_equal(write(client_peer, "all", 3), 3);
    assert_int_equal(shutdown(client_peer, SHUT_WR), 0);
    while (!tunnel_half_closed(&tunnel))
        assert_int_not_equal(turn(), TUNNEL_CLOSED);
    assert_int_equal(read(origin_peer, got, sizeof got), 3);
    assert_int_equal(read(origin_peer, got, sizeof got), 0);
    assert_int_equal(write(origin_peer, "answer", 6), 6);
    assert_int_equal(turn(), TUNNEL_MOVED);
    assert_int_equal(read(client_peer, got, sizeof got), 6);
    assert_int_equal(shutdown(origin_peer, SHUT_WR), 0);
    assert_int_equal(turn(), TUNNEL_CLOSED);
    assert_false(tunnel.client_broke || tunnel.origin_broke);
}

static void test_early_octets_come_first(void **state)
{
    struct buf early;
    char got[32];
    (void)state;
    buf_init(&early, 65536);
    assert_int_equal(buf_add_str(&early, "early "), 0);
    tunnel_take_early(&tunnel, TUNNEL_UP, &early);
    assert_int_equal(buf_len(&early), 0);
    assert_int_equal(write(client_peer, "late", 4), 4);
    assert_int_equal(turn(), TUNNEL_MOVED);
    assert_int_equal(read(origin_peer, got, sizeof got), 10);
    assert_memory_equal(got, "early late", 10);
}

/* A megabyte through a receiver that takes little at a time: all of it, in order, and never more
 * than MAX waiting. */
static void test_slow_receiver(void **state)
{
    static unsigned char sent[1 << 20], got[1 << 20];
    size_t written = 0, taken = 0;
    (void)state;
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (unsigned char)(i * 2654435761U >> 13);
    while (taken < sizeof sent) {
        if (written < sizeof sent) {
            ssize_t n = write(client_peer, sent + written, sizeof sent - written);
            written += n > 0 ? (size_t)n : 0;
        }
        assert_int_not_equal(turn(), TUNNEL_CLOSED);
        assert_true(buf_len(&tunnel.way[TUNNEL_UP].waiting) <= MAX);
        ssize_t n =
            read(origin_peer, got + taken, taken + 3001 > sizeof got ? sizeof got - taken : 3001);
        taken += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(sent, got, sizeof sent);
    assert_int_equal(tunnel.way[TUNNEL_UP].octets, sizeof sent);
}

/* Nobody reads: the sender is held back, what waits is bounded. */
static void test_stopped_receiver_stops_the_sender(void **state)
{
    static char block[65536];
    size_t written = 0;
    (void)state;
    for (int i = 0; i < 200; i++) {
        ssize_t n = write(client_peer, block, sizeof block);
        written += n > 0 ? (size_t)n : 0;
        (void)turn();
    }
    assert_true(written < 4U << 20);
    assert_true(buf_len(&tunnel.way[TUNNEL_UP].waiting) <= MAX);
    assert_int_equal(turn(), TUNNEL_QUIET);
}

/* Octets that found no memory are lost: no FIN may say that all have come. */
static void test_starved_tunnel_ends(void **state)
{
    static char octets[65536];
    enum tunnel_status status = TUNNEL_MOVED;
    (void)state;
    tunnel_release(&tunnel);
    tunnel_init(&tunnel, sizeof octets, NULL);
    buf_budget_set(16384); /* nobody reads at the other end, so something must wait soon */
    for (unsigned i = 0; i < 1000 && status != TUNNEL_CLOSED; i++) {
        put_octets(client_peer, octets, sizeof octets);
        status = turn();
    }
    buf_budget_set(SIZE_MAX);
    assert_int_equal(status, TUNNEL_CLOSED);
    assert_true(tunnel.way[TUNNEL_UP].starved);
    assert_false(tunnel.way[TUNNEL_UP].closed);
}

/* limit.tunnel.buffer holds although the early octets were more. */
static void test_early_octets_do_not_raise_the_limit(void **state)
{
    static char octets[4 * MAX];
    struct buf early;
    (void)state;
    pipes_set_limits(pipes, 0, 65536);
    buf_init(&early, sizeof octets);
    assert_int_equal(buf_add(&early, octets, sizeof octets), 0);
    tunnel_take_early(&tunnel, TUNNEL_UP, &early);
    for (unsigned i = 0; i < 1000; i++) {
        put_octets(client_peer, octets, sizeof octets);
        (void)turn();
        while (i < 10 && read(origin_peer, octets, sizeof octets) > 0) {
        }
    }
    assert_in_range(buf_len(&tunnel.way[TUNNEL_UP].waiting), 1, MAX);
    buf_release(&early);
}

/* Pours 4 MiB in at one end and reads them at the other, checking them; the most that waited. */
static size_t pour(void)
{
    enum { ALL = 4 * 1024 * 1024 };
    static unsigned char some[100000];
    size_t sent = 0, got = 0, most = 0;
    for (unsigned turns = 0; got < ALL && turns < 100000; turns++) {
        size_t n = ALL - sent < sizeof some ? ALL - sent : sizeof some;
        for (size_t i = 0; i < n; i++)
            some[i] = (unsigned char)((sent + i) * 31 >> 3);
        ssize_t took = n > 0 ? write(origin_peer, some, n) : 0;
        sent += took > 0 ? (size_t)took : 0;
        (void)turn();
        struct tunnel_way *w = &tunnel.way[TUNNEL_DOWN];
        size_t waits = buf_len(&w->waiting) + (w->pipe != NULL ? pipe_len(w->pipe) : 0);
        most = waits > most ? waits : most;
        ssize_t came = turns % 3 == 0 ? read(client_peer, some, sizeof some) : 0;
        for (ssize_t i = 0; i < came; i++)
            assert_int_equal(some[i], (unsigned char)((got + (size_t)i) * 31 >> 3));
        got += came > 0 ? (size_t)came : 0;
    }
    assert_int_equal(got, ALL);
    assert_int_equal(tunnel.way[TUNNEL_DOWN].octets, ALL);
    assert_null(tunnel.way[TUNNEL_DOWN].pipe); /* nothing is held when nothing moves */
    return most;
}

static void test_bulk_through_a_pipe(void **state)
{
    (void)state;
    size_t most = pour();
    assert_in_range(most, MAX + 1, MAX + 65536);
}

static void test_bulk_without_pipes(void **state)
{
    (void)state;
    pipes_set_limits(pipes, 0, 65536);
    assert_in_range(pour(), 1, MAX);
}

/* The origin comes over TCP: other sockets cannot gather. */
static void use_tcp_origin(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    stream_close(&origin);
    (void)close(origin_peer);
    origin_peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(origin_peer, (struct sockaddr *)&at, size), 0);
    assert_int_equal(fcntl(origin_peer, F_SETFL, O_NONBLOCK), 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_int_equal(stream_open(&origin, poller, fd), 0);
    (void)close(listener);
}

static size_t drain_client(void)
{
    static char block[65536];
    size_t got = 0;
    ssize_t n;
    while ((n = read(client_peer, block, sizeof block)) > 0)
        got += (size_t)n;
    return got;
}

/* Streams until the tunnel looks at the origin less often. Octets that are not at the client yet.
 */
static size_t rush(void)
{
    static char block[65536];
    size_t sent = 0, got = 0;
    while (!origin.gathers) {
        ssize_t n = write(origin_peer, block, sizeof block);
        sent += n > 0 ? (size_t)n : 0;
        (void)turn();
        got += drain_client();
    }
    return sent - got;
}

static void wait_for_client(size_t octets)
{
    size_t got = drain_client();
    while (got < octets) {
        (void)uv_run(&loop, UV_RUN_ONCE); /* nothing but the tunnel itself may wake it */
        (void)tunnel_pump(&tunnel, &client, &origin, scratch, sizeof scratch);
        got += drain_client();
    }
    assert_int_equal(got, octets);
}

static void test_a_rush_keeps_nothing_back(void **state)
{
    (void)state;
    use_tcp_origin();
    size_t left = rush();
    assert_int_equal(write(origin_peer, "last", 4), 4);
    wait_for_client(left + 4);
    while (origin.gathers) { /* it is over when nothing more comes */
        (void)uv_run(&loop, UV_RUN_ONCE);
        (void)tunnel_pump(&tunnel, &client, &origin, scratch, sizeof scratch);
    }
    assert_int_equal(write(origin_peer, "small", 5), 5);
    wait_for_client(5);
    assert_false(origin.gathers);
}

static void test_a_rush_may_end_with_a_fin(void **state)
{
    char octet;
    (void)state;
    use_tcp_origin();
    size_t left = rush();
    assert_int_equal(write(origin_peer, "last", 4), 4);
    assert_int_equal(shutdown(origin_peer, SHUT_WR), 0);
    wait_for_client(left + 4);
    while (!tunnel.way[TUNNEL_DOWN].closed)
        (void)turn();
    assert_int_equal(read(client_peer, &octet, 1), 0);
}

/* The pipe that a receiver left full is not lent to anybody else. */
static void test_pipe_with_lost_octets(void **state)
{
    static char octets[65536];
    (void)state;
    for (unsigned i = 0; i < 1000 && tunnel.way[TUNNEL_DOWN].pipe == NULL; i++) {
        put_octets(origin_peer, octets, sizeof octets);
        (void)turn();
    }
    assert_non_null(tunnel.way[TUNNEL_DOWN].pipe);
    tunnel_release(&tunnel);
    struct pipe *next = pipes_take(pipes);
    assert_non_null(next);
    assert_int_equal(pipe_len(next), 0);
    assert_int_equal(write(client_peer, "new", 3), 3);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(pipe_fill(next, &client), 3);
    assert_int_equal(pipe_drain(next, &origin), 3);
    pipes_give(pipes, next);
}

static void test_octets_before_a_break_still_arrive(void **state)
{
    char got[32];
    (void)state;
    assert_int_equal(write(origin_peer, "farewell", 8), 8);
    (void)close(origin_peer);
    origin_peer = dup(client_peer);
    while (!tunnel.way[TUNNEL_DOWN].closed)
        (void)turn();
    assert_int_equal(read(client_peer, got, sizeof got), 8);
    assert_int_equal(read(client_peer, got, sizeof got), 0);
    /* Nothing can be sent to one who is gone: the tunnel ends by itself. */
    put_octets(client_peer, "x", 1);
    enum tunnel_status status = TUNNEL_QUIET;
    for (int i = 0; i < 5 && status != TUNNEL_CLOSED; i++)
        status = turn();
    assert_int_equal(status, TUNNEL_CLOSED);
    assert_true(tunnel.origin_broke);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_ways_and_quiet_between, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_close_passes_and_the_other_way_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_early_octets_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_receiver, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_receiver_stops_the_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(test_octets_before_a_break_still_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bulk_through_a_pipe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rush_keeps_nothing_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rush_may_end_with_a_fin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bulk_without_pipes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipe_with_lost_octets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_starved_tunnel_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_octets_do_not_raise_the_limit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_upstream_pool.c - idle origins: reuse, affinity, bounds, and nothing unread is ever reused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/session/upstream_pool.h"

static uv_loop_t loop;
static struct netloop net;
static struct upstream_pool *pool;
enum { NOBODY, ANNA, BERT };

static void on_ready(struct stream *s)
{
    (void)s;
}

static int setup(void **state)
{
    const struct upstream_pool_options o = {.most = 3, .most_per_host = 2, .idle_ms = 60000};
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    net.loop = &loop;
    assert_int_equal(poller_create(&net.poller, &loop), 0);
    assert_int_equal(deadlines_create(&net.deadlines, &loop), 0);
    pool = upstream_pool_create(&net);
    upstream_pool_reload(pool, &o);
    return pool == NULL;
}

static int teardown(void **state)
{
    (void)state;
    upstream_pool_destroy(pool);
    poller_destroy(net.poller);
    deadlines_destroy(net.deadlines);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* Puts a fresh connection into the pool; returns its far end. */
static int put_as(const char *host, uint64_t user, bool bound)
{
    int fd[2];
    struct stream s;
    struct upstream_key key = {.host = host, .port = 80, .user = user};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    stream_init(&s, on_ready);
    assert_int_equal(stream_open(&s, net.poller, fd[0]), 0);
    const struct upstream_idle what = {.bound = bound};
    upstream_pool_put(pool, &key, &what, &s);
    assert_false(stream_is_open(&s));
    return fd[1];
}

static int put(const char *host, uint64_t user)
{
    return put_as(host, user, false);
}

/* Takes one; returns whether there was one. With `peer`, it must be that connection's near end. */
static bool take(const char *host, uint16_t port, uint64_t user, int peer)
{
    struct stream s;
    struct upstream_idle what;
    struct upstream_key key = {.host = host, .port = port, .user = user};
    char got;
    stream_init(&s, on_ready);
    if (!upstream_pool_take(pool, &key, &s, &what))
        return false;
    assert_int_equal(stream_send(&s, "!", 1), 1);
    if (peer >= 0)
        assert_int_equal(recv(peer, &got, 1, MSG_DONTWAIT), 1);
    stream_close(&s);
    return true;
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void test_host_and_port_must_match(void **state)
{
    (void)state;
    int peer = put("a.example", NOBODY);
    turn();
    assert_false(take("b.example", 80, NOBODY, -1));
    assert_false(take("a.example", 81, NOBODY, -1));
    assert_true(take("a.example", 80, NOBODY, peer));
    assert_false(take("a.example", 80, NOBODY, -1));
    (void)close(peer);
}

static void test_own_connection_first_else_youngest(void **state)
{
    (void)state;
    int first = put("a.example", ANNA);
    int second = put("a.example", BERT);
    assert_true(take("a.example", 80, ANNA, first));
    first = put("a.example", ANNA);
    assert_true(take("a.example", 80, NOBODY, first));
    assert_true(take("a.example", 80, NOBODY, second));
    (void)close(first);
    (void)close(second);
}

static void test_unread_octets_and_fins_throw_it_away(void **state)
{
    (void)state;
    /* Seen by the poller. */
    int peer = put("a.example", NOBODY);
    assert_int_equal(write(peer, "HTTP/1.1 200 OK\r\n", 17), 17);
    turn();
    assert_false(take("a.example", 80, NOBODY, -1));
    (void)close(peer);
    /* Not yet delivered by the poller: the last look before use. */
    peer = put("a.example", NOBODY);
    turn();
    assert_int_equal(write(peer, "x", 1), 1);
    assert_false(take("a.example", 80, NOBODY, -1));
    (void)close(peer);
    peer = put("a.example", NOBODY);
    (void)close(peer);
    assert_false(take("a.example", 80, NOBODY, -1));
}

static void test_bounds_push_out_the_oldest(void **state)
{
    char got;
    (void)state;
    int a1 = put("a.example", NOBODY), a2 = put("a.example", NOBODY), a3 = put("a.example", NOBODY);
    assert_int_equal(read(a1, &got, 1), 0); /* third of one host */
    int b = put("b.example", NOBODY), c = put("c.example", NOBODY);
    assert_int_equal(read(a2, &got, 1), 0); /* fourth in all */
    assert_true(take("a.example", 80, NOBODY, a3));
    assert_true(take("b.example", 80, NOBODY, b));
    assert_true(take("c.example", 80, NOBODY, c));
    int all[] = {a1, a2, a3, b, c};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)close(all[i]);
}

static void test_reload_closes_all(void **state)
{
    const struct upstream_pool_options none = {.most = 0};
    char got;
    (void)state;
    int a = put("a.example", NOBODY);
    upstream_pool_reload(pool, &none);
    assert_int_equal(read(a, &got, 1), 0);
    int b = put("a.example", NOBODY);
    assert_int_equal(read(b, &got, 1), 0); /* nothing is to be kept any more */
    (void)close(a);
    (void)close(b);
}

/* Whoever has authenticated on a connection gets it again, and nobody else. */
static void test_bound_ones_are_for_their_user(void **state)
{
    (void)state;
    int anna = put_as("a.example", ANNA, true);
    turn();
    assert_false(take("a.example", 80, BERT, -1));
    assert_false(take("a.example", 80, NOBODY, -1));
    int bert = put("a.example", BERT);
    turn();
    assert_true(take("a.example", 80, NOBODY, bert));
    assert_true(take("a.example", 80, ANNA, anna));
    (void)close(anna);
    (void)close(bert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_host_and_port_must_match, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_connection_first_else_youngest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unread_octets_and_fins_throw_it_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_push_out_the_oldest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reload_closes_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound_ones_are_for_their_user, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

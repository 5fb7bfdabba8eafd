/* test_tunnel_shorts.c - a tunnel over sockets that give and take little, or nothing for a while:
 * all octets arrive, in order, and then the FIN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/session/tunnel.h"
#include "tests/support/faults.h"

static uv_loop_t loop;
static struct poller *poller;

static int setup(void **state)
{
    (void)state;
    return uv_loop_init(&loop) != 0 || poller_create(&poller, &loop) != 0;
}

static int teardown(void **state)
{
    (void)state;
    poller_destroy(poller);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void on_ready(struct stream *s)
{
    (void)s;
}

enum { OCTETS = 3000 };

static void carry_through(const struct faults_io *plan)
{
    struct stream end[2];
    struct tunnel t;
    int fd[2][2];
    char scratch[4096], sent[OCTETS], got[OCTETS + 1];
    size_t have = 0;
    for (size_t i = 0; i < OCTETS; i++)
        sent[i] = (char)(i * 7);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd[i]), 0);
        stream_init(&end[i], on_ready);
        assert_int_equal(stream_open(&end[i], poller, fd[i][0]), 0);
    }
    tunnel_init(&t, 1024, NULL);
    assert_int_equal(write(fd[0][1], sent, OCTETS), OCTETS);
    assert_int_equal(shutdown(fd[0][1], SHUT_WR), 0);
    ssize_t n = -1;
    faults_io_set(plan);
    for (unsigned turn = 0; turn < 20000 && n != 0; turn++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        (void)tunnel_pump(&t, &end[0], &end[1], scratch, sizeof scratch);
        /* this call is not sent elsewhere */
        n = recvfrom(fd[1][1], got + have, sizeof got - have, MSG_DONTWAIT, NULL, NULL);
        have += n > 0 ? (size_t)n : 0;
    }
    assert_true(faults_io_struck() > 0 || plan->pattern == 0);
    faults_io_set(NULL);
    assert_int_equal(n, 0); /* its FIN, behind all of it */
    assert_int_equal(have, OCTETS);
    assert_memory_equal(got, sent, OCTETS);
    tunnel_release(&t);
    for (unsigned i = 0; i < 2; i++) {
        stream_close(&end[i]);
        (void)close(fd[i][1]);
    }
}

static void test_octet_by_octet(void **state)
{
    (void)state;
    carry_through(&(struct faults_io){.most = 1});
}

/* Every order of four whole, tiny, refused and interrupted calls. */
static void test_patterns(void **state)
{
    (void)state;
    for (uint64_t pattern = 0; pattern < 256; pattern++)
        carry_through(&(struct faults_io){.steps = 4, .pattern = pattern, .most = 700});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_octet_by_octet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patterns, setup, teardown),
    };
    return cmocka_run_group_tests_name("tunnel_shorts", tests, NULL, NULL);
}

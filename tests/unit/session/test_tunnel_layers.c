/* test_tunnel_layers.c - the relay over ends with a layer, such as TLS that the kernel does: each
 * way is spliced when both its ends can be, and what cannot be spliced is received. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/session/tunnel.h"

enum { MAX = 65536, MUCH = 1 << 20 };

static uv_loop_t loop;
static struct poller *poller;
static struct stream client, origin;
static struct tunnel tunnel;
static struct pipes *pipes;
static int client_peer, origin_peer; /* the far ends */
static char scratch[MAX];
static unsigned splices;  /* that moved octets */
static int alert_at = -1; /* a descriptor at which a splice meets what it cannot take */

/* The program's calls come here: what a kernel with TLS would say, this one may not. */
ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    if (in == alert_at) {
        errno = EINVAL;
        return -1;
    }
    ssize_t n = syscall(SYS_splice, in, in_at, out, out_at, size, flags);
    splices += n > 0;
    return n;
}

/* ---- a layer that changes nothing, as the kernel's TLS would ---- */

struct layer_state {
    bool in, out; /* what the kernel does */
    bool pending; /* the library has read something already */
    bool alert;   /* the next receive finds the peer's end */
    unsigned receives;
};

static struct layer_state of_client, of_origin;

static struct layer_state *state_of(const struct stream *s)
{
    return s->layer_state;
}

static ssize_t receive(struct stream *s, void *to, size_t size)
{
    state_of(s)->receives++;
    state_of(s)->pending = false;
    if (state_of(s)->alert) {
        s->fin_seen = true;
        s->can_read = false;
        return 0;
    }
    /* A record at most, as OpenSSL gives. */
    ssize_t n = recv(s->fd, to, size < 16384 ? size : 16384, 0);
    s->can_read = n >= 0;
    return n < 0 ? -errno : n;
}

static ssize_t give(struct stream *s, const void *from, size_t size)
{
    ssize_t n = send(s->fd, from, size < 16384 ? size : 16384, MSG_NOSIGNAL);
    s->can_write = n >= 0;
    return n < 0 ? -errno : n;
}

static void nothing(struct stream *s)
{
    (void)s;
}

static bool let_go(struct stream *s)
{
    (void)s;
    return false;
}

static bool splices_in(const struct stream *s)
{
    return state_of(s)->in && !state_of(s)->pending;
}

static bool splices_out(const struct stream *s)
{
    return state_of(s)->out;
}

static const struct stream_layer layer = {.receive = receive,
                                          .send = give,
                                          .shutdown = nothing,
                                          .release = let_go,
                                          .splices_in = splices_in,
                                          .splices_out = splices_out};

static void put_layer(struct stream *s, struct layer_state *state, bool in, bool out)
{
    *state = (struct layer_state){.in = in, .out = out};
    s->layer = &layer;
    s->layer_state = state;
}

/* ---- the stage ---- */

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
    splices = 0;
    alert_at = -1;
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

/* Much from one peer to the other; all of it, in order. */
static void carry(int from, int to)
{
    static unsigned char sent[MUCH], got[MUCH];
    size_t in = 0, out = 0;
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (unsigned char)(i * 31 + i / 251);
    while (out < sizeof got) {
        ssize_t n = in < sizeof sent ? write(from, sent + in, sizeof sent - in) : 0;
        in += n > 0 ? (size_t)n : 0;
        (void)turn();
        n = read(to, got + out, sizeof got - out);
        out += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(got, sent, sizeof got);
}

/* ---- the cases ---- */

static void test_without_layers(void **state)
{
    (void)state;
    carry(client_peer, origin_peer);
    assert_true(splices > 0);
}

static void test_kernel_both_ways(void **state)
{
    (void)state;
    put_layer(&client, &of_client, true, true);
    carry(client_peer, origin_peer);
    assert_true(splices > 0);
    splices = 0;
    carry(origin_peer, client_peer);
    assert_true(splices > 0);
}

/* OpenSSL 3.0 with TLS 1.3: the kernel encrypts, but does not decrypt. */
static void test_kernel_sends_only(void **state)
{
    (void)state;
    put_layer(&client, &of_client, false, true);
    carry(client_peer, origin_peer);
    assert_int_equal(splices, 0);
    carry(origin_peer, client_peer);
    assert_true(splices > 0);
}

static void test_kernel_has_none(void **state)
{
    (void)state;
    put_layer(&client, &of_client, false, false);
    carry(client_peer, origin_peer);
    carry(origin_peer, client_peer);
    assert_int_equal(splices, 0);
}

static void test_both_ends_count(void **state)
{
    (void)state;
    put_layer(&client, &of_client, true, true);
    put_layer(&origin, &of_origin, true, false);
    carry(client_peer, origin_peer);
    assert_int_equal(splices, 0);
    carry(origin_peer, client_peer);
    assert_true(splices > 0);
}

/* A way that was spliced goes on with what the library has read, before it is spliced again. */
static void test_nothing_is_overtaken(void **state)
{
    (void)state;
    put_layer(&client, &of_client, true, true);
    carry(client_peer, origin_peer);
    of_client.pending = true;
    unsigned before = of_client.receives;
    assert_int_equal(write(client_peer, "x", 1), 1);
    char got;
    while (read(origin_peer, &got, 1) != 1)
        (void)turn();
    assert_true(of_client.receives > before);
}

/* The peer's close_notify cannot be spliced: it is received, and passed on as a FIN. */
static void test_alert_ends_the_way(void **state)
{
    char got;
    (void)state;
    put_layer(&client, &of_client, true, true);
    carry(client_peer, origin_peer);
    alert_at = client.fd;
    of_client.alert = true;
    tunnel.way[TUNNEL_UP].bulk = true;
    assert_int_equal(write(client_peer, "!", 1), 1); /* the record, for the poller */
    while (!tunnel_half_closed(&tunnel))
        assert_int_not_equal(turn(), TUNNEL_CLOSED);
    assert_int_equal(read(origin_peer, &got, 1), 0);
    assert_false(tunnel.client_broke);
    assert_null(tunnel.way[TUNNEL_UP].pipe);
}

/* A record that cannot be spliced and is no end: a new ticket, a new key. Octets go on behind it.
 */
static void test_other_records_are_received(void **state)
{
    (void)state;
    put_layer(&client, &of_client, true, true);
    alert_at = client.fd;
    carry(client_peer, origin_peer);
    assert_int_equal(splices, 0);
    alert_at = -1;
    carry(client_peer, origin_peer);
    assert_true(splices > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_layers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel_sends_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_ends_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_overtaken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_ends_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_records_are_received, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

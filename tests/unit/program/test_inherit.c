/*
 * test_inherit.c - variables of every kind and for somebody else; descriptors that are no listening
 * TCP sockets; which address and door gets which; what is left is closed.
 */
#include "proxy/inherit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct inherit in;

static int bound_socket(int type, const char *text, bool only)
{
    struct addr a;
    const int on = 1, v6only = only;
    assert_int_equal(addr_parse(&a, span_of(text), 0), 0);
    int fd = socket(a.sa.sa_family, type, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    if (a.sa.sa_family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only), 0);
    assert_int_equal(bind(fd, &a.sa, addr_len(&a)), 0);
    return fd;
}

static int listener(const char *text)
{
    int fd = bound_socket(SOCK_STREAM, text, true);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static struct addr address_of(int fd)
{
    struct addr a = {0};
    socklen_t size = sizeof a;
    assert_int_equal(getsockname(fd, &a.sa, &size), 0);
    return a;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int setup(void **state)
{
    (void)state;
    in = (struct inherit){0};
    for (int fd = 3; fd < 20; fd++)
        (void)close(fd);
    return 0;
}

static void give(const char *pid, const char *fds, const char *names)
{
    char own[16];
    (void)snprintf(own, sizeof own, "%d", (int)getpid());
    assert_int_equal(unsetenv("LISTEN_PID") + unsetenv("LISTEN_FDS") + unsetenv("LISTEN_FDNAMES"),
                     0);
    if (pid != NULL)
        assert_int_equal(setenv("LISTEN_PID", strcmp(pid, "own") == 0 ? own : pid, 1), 0);
    if (fds != NULL)
        assert_int_equal(setenv("LISTEN_FDS", fds, 1), 0);
    if (names != NULL)
        assert_int_equal(setenv("LISTEN_FDNAMES", names, 1), 0);
}

static void test_variables(void **state)
{
    static const struct {
        const char *pid, *fds;
        bool good;
        size_t count;
    } rows[] = {
        {NULL, NULL, true, 0},
        {"own", NULL, true, 0},
        {NULL, "1", true, 0},
        {"own", "1", true, 1},
        {"own", "0", true, 0},
        {"own", "2", true, 1},
        {"own", "16384", true, 1},
        {"own", "00", true, 0},
        {"own", "", false, 0},
        {"own", "-1", false, 0},
        {"own", "+1", false, 0},
        {"own", " 1", false, 0},
        {"own", "1 ", false, 0},
        {"own", "x", false, 0},
        {"own", "0x1", false, 0},
        {"own", "16385", false, 0},
        {"own", "4294967297", false, 0},
        {"own", "99999999999999999999", false, 0},
        {"1", "1", true, 0},
        {"1", "x", true, 0},
        {"", "1", false, 0},
        {"-1", "1", false, 0},
        {"own ", "1", false, 0},
        {"4294967296", "1", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = listener("127.0.0.1");
        assert_int_equal(fd, 3);
        give(rows[i].pid, rows[i].fds, NULL);
        assert_int_equal(inherit_environment(&in), rows[i].good);
        assert_int_equal(in.count, rows[i].count);
        assert_null(getenv("LISTEN_PID"));
        assert_null(getenv("LISTEN_FDS"));
        assert_null(getenv("LISTEN_FDNAMES"));
        assert_true(is_open(fd)); /* what is not for us is not ours to close */
        inherit_end(&in);
        assert_int_equal(is_open(fd), rows[i].count == 0);
        (void)close(fd);
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *names;
        enum door_kind door[3];
    } rows[] = {
        {NULL, {DOOR_COUNT, DOOR_COUNT, DOOR_COUNT}},
        {"", {DOOR_COUNT, DOOR_COUNT, DOOR_COUNT}},
        {"proxy", {DOOR_PROXY, DOOR_COUNT, DOOR_COUNT}},
        {"proxy:tls:gateway", {DOOR_PROXY, DOOR_TLS, DOOR_GATEWAY}},
        {"certferry.socket::redirect:tls:tls", {DOOR_COUNT, DOOR_COUNT, DOOR_REDIRECT}},
        {":passthrough", {DOOR_COUNT, DOOR_PASSTHROUGH, DOOR_COUNT}},
        {"PROXY:tls :tl", {DOOR_COUNT, DOOR_COUNT, DOOR_COUNT}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int fd = 3; fd < 6; fd++)
            assert_int_equal(listener("127.0.0.1"), fd);
        give("own", "3", rows[i].names);
        assert_true(inherit_environment(&in));
        assert_int_equal(in.count, 3);
        for (size_t n = 0; n < 3; n++)
            assert_int_equal(in.item[n].door, rows[i].door[n]);
        inherit_end(&in);
    }
}

static void test_a_name_without_end(void **state)
{
    char *long_name = malloc(100001);
    (void)state;
    assert_non_null(long_name);
    memset(long_name, 'x', 100000);
    long_name[100000] = '\0';
    assert_int_equal(listener("127.0.0.1"), 3);
    give("own", "1", long_name);
    assert_true(inherit_environment(&in));
    assert_int_equal(in.count, 1);
    assert_int_equal(in.item[0].door, DOOR_COUNT);
    inherit_end(&in);
    free(long_name);
}

/* Each is closed, and none is used. */
static void test_no_listeners(void **state)
{
    (void)state;
    int connected[2], ends[2];
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    assert_int_equal(open("/dev/null", O_RDONLY), 3);
    assert_int_equal(bound_socket(SOCK_STREAM, "127.0.0.1", true), 4); /* does not listen */
    assert_int_equal(bound_socket(SOCK_DGRAM, "127.0.0.1", true), 5);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, connected), 0); /* 6 and 7 */
    assert_int_equal(pipe(ends), 0);                                     /* 8 and 9 */
    assert_int_equal(socket(AF_UNIX, SOCK_STREAM, 0), 10);
    assert_int_equal(bind(10, (struct sockaddr *)&path, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(10, 1), 0);
    assert_int_equal(socket(AF_INET, SOCK_STREAM, 0), 11);
    assert_int_equal(bound_socket(SOCK_STREAM, "::", false), 12); /* both families */
    assert_int_equal(listen(12, 1), 0);
    assert_int_equal(listener("127.0.0.1"), 13);
    give("own", "11", NULL);
    assert_true(inherit_environment(&in));
    assert_int_equal(in.count, 1);
    assert_int_equal(in.item[0].fd, 13);
    for (int fd = 3; fd < 13; fd++)
        assert_false(is_open(fd));
    inherit_end(&in);
}

static void test_a_connection(void **state)
{
    (void)state;
    int there = listener("127.0.0.1");
    struct addr a = address_of(there);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &a.sa, addr_len(&a)), 0);
    int accepted = accept(there, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(inherit_add(&in, accepted, "proxy"), 0);
    assert_int_equal(inherit_add(&in, client, "proxy"), 0);
    assert_int_equal(in.count, 0);
    assert_false(is_open(accepted) || is_open(client));
    (void)close(there);
}

static void test_flags(void **state)
{
    (void)state;
    assert_int_equal(listener("127.0.0.1"), 3);
    assert_int_equal(fcntl(3, F_GETFL) & O_NONBLOCK, 0);
    give("own", "1", NULL);
    assert_true(inherit_environment(&in));
    assert_int_equal(fcntl(3, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(3, F_GETFD), FD_CLOEXEC);
    inherit_end(&in);
}

/* From the service manager and from the process before us. */
static void test_the_same_socket_twice(void **state)
{
    (void)state;
    int first = listener("127.0.0.1");
    int second = dup(first);
    assert_int_equal(inherit_add(&in, first, "proxy"), 0);
    assert_int_equal(inherit_add(&in, second, "proxy"), 0);
    assert_int_equal(in.count, 1);
    assert_false(is_open(second));
    inherit_end(&in);
}

static struct addr at(const char *text, uint16_t port)
{
    struct addr a;
    assert_int_equal(addr_parse(&a, span_of(text), port), 0);
    return a;
}

static void test_who_gets_what(void **state)
{
    (void)state;
    int fd = listener("127.0.0.1");
    uint16_t port;
    struct addr a = address_of(fd);
    port = addr_port(&a);
    const struct {
        const char *name, *host;
        uint16_t port;
        enum door_kind door;
        bool gets;
    } rows[] = {
        {"", "127.0.0.1", port, DOOR_PROXY, true},
        {"", "127.0.0.1", port, DOOR_TLS, true},
        {"certferry.socket", "127.0.0.1", port, DOOR_TLS, true},
        {"tls", "127.0.0.1", port, DOOR_TLS, true},
        {"tls", "127.0.0.1", port, DOOR_PROXY, false},
        {"tls", "127.0.0.1", 0, DOOR_TLS, true},
        {"", "127.0.0.1", 0, DOOR_TLS, false}, /* any port of anybody */
        {"proxy", "127.0.0.1", 0, DOOR_TLS, false},
        {"tls", "127.0.0.2", port, DOOR_TLS, false},
        {"tls", "0.0.0.0", port, DOOR_TLS, false},
        {"tls", "::1", port, DOOR_TLS, false},
        {"tls", "127.0.0.1", (uint16_t)(port ^ 1), DOOR_TLS, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct addr wanted = at(rows[i].host, rows[i].port);
        assert_int_equal(inherit_add(&in, dup(fd), rows[i].name), 0);
        int got = inherit_take(&in, &wanted, rows[i].door);
        assert_int_equal(got >= 0, rows[i].gets);
        if (got >= 0) {
            assert_int_equal(addr_port(&wanted), port);
            assert_int_equal(inherit_take(&in, &wanted, rows[i].door), -ENOENT);
            (void)close(got);
        }
        inherit_end(&in);
    }
    (void)close(fd);
}

/* A group with SO_REUSEPORT: every one of them, and no other. */
static void test_all_of_a_group(void **state)
{
    (void)state;
    const int on = 1;
    int first = listener("127.0.0.1"), other = listener("127.0.0.1");
    struct addr a = address_of(first), b = address_of(other);
    assert_int_equal(inherit_add(&in, first, ""), 0);
    assert_int_equal(inherit_add(&in, other, ""), 0);
    for (int i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
        assert_int_equal(bind(fd, &a.sa, addr_len(&a)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(inherit_add(&in, fd, ""), 0);
    }
    for (int i = 0; i < 4; i++) {
        int fd = inherit_take(&in, &a, DOOR_PROXY);
        assert_true(fd >= 0 && fd != other);
        (void)close(fd);
    }
    assert_int_equal(inherit_take(&in, &a, DOOR_PROXY), -ENOENT);
    inherit_end(&in);
    assert_false(is_open(other));
    assert_int_equal(addr_port(&b) == addr_port(&a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_variables, setup),
        cmocka_unit_test_setup(test_names, setup),
        cmocka_unit_test_setup(test_a_name_without_end, setup),
        cmocka_unit_test_setup(test_no_listeners, setup),
        cmocka_unit_test_setup(test_a_connection, setup),
        cmocka_unit_test_setup(test_flags, setup),
        cmocka_unit_test_setup(test_the_same_socket_twice, setup),
        cmocka_unit_test_setup(test_who_gets_what, setup),
        cmocka_unit_test_setup(test_all_of_a_group, setup),
    };
    return cmocka_run_group_tests_name("inherit", tests, NULL, NULL);
}

/*
 * test_handover.c - both ends of a takeover: as many sockets as a message holds, and one more; a
 * successor that ends before its time, says something else, or does not read; an answer that is no
 * certferry's, breaks off, names more than it gives, gives more than it names.
 */
#include "proxy/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/control_client.h"
#include "proxy/takeover.h"

enum { SOCKETS_MAX = 300 };

static char directory[32], path[64];
static int door_fd = -1; /* the control socket's listener */
static uv_loop_t loop;
static pthread_t thread;

/* ---- the old one ---- */

static struct handover_socket offered[SOCKETS_MAX];
static size_t offered_count;
static int ended, taken;
static uint64_t patience_ms;

static void on_end(void *arg, bool was_taken)
{
    assert_ptr_equal(arg, &ended);
    ended++;
    taken += was_taken;
}

static void *serve_one(void *arg)
{
    char request[16] = "";
    const struct handover_options o = {offered, offered_count, patience_ms, on_end, &ended};
    pid_t process = 0;
    (void)arg;
    int fd = accept4(door_fd, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(recv(fd, request, 10, MSG_WAITALL), 10);
    assert_string_equal(request, "listeners\n");
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_non_null(handover_begin(&loop, fd, &o, &process));
    assert_int_equal(process, getpid());
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int make_listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int setup(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/handover-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/sock", directory);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    door_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(door_fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(door_fd, 4), 0);
    ended = taken = 0;
    patience_ms = HANDOVER_PATIENCE_MS;
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    (void)close(door_fd);
    (void)unlink(path);
    (void)rmdir(directory);
    return uv_loop_close(&loop);
}

static void offer(size_t count)
{
    offered_count = count;
    for (size_t i = 0; i < count; i++)
        offered[i] = (struct handover_socket){make_listener(), (enum door_kind)(i % DOOR_COUNT)};
    assert_int_equal(pthread_create(&thread, NULL, serve_one, NULL), 0);
}

static void end_offer(void)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < offered_count; i++)
        (void)close(offered[i].fd);
}

static int begin(struct takeover *t, struct inherit *in, char why[256])
{
    why[0] = '\0';
    return takeover_begin(t, path, geteuid(), in, why, 256);
}

static void test_all_sockets(void **state)
{
    static const size_t counts[] = {1, 2, 63, 64, 65, 128, 129, SOCKETS_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct takeover t;
        struct inherit in = {0};
        char why[256];
        int before = count_descriptors();
        offer(counts[i]);
        assert_int_equal(begin(&t, &in, why), 0);
        assert_string_equal(why, "");
        assert_int_equal(t.process, getpid());
        assert_int_equal(in.count, counts[i]);
        for (size_t n = 0; n < in.count; n++) {
            struct addr a = {0};
            socklen_t size = sizeof a;
            assert_int_equal(getsockname(offered[n].fd, &a.sa, &size), 0);
            assert_int_equal(addr_port(&a), addr_port(&in.item[n].address));
            assert_int_equal(in.item[n].door, offered[n].door);
            assert_int_equal(fcntl(in.item[n].fd, F_GETFD), FD_CLOEXEC);
        }
        assert_true(takeover_finish(&t));
        end_offer();
        assert_int_equal(ended, i + 1);
        assert_int_equal(taken, i + 1);
        inherit_end(&in);
        assert_int_equal(count_descriptors(), before);
    }
}

static void test_successor_ends_before(void **state)
{
    struct takeover t;
    struct inherit in = {0};
    char why[256];
    (void)state;
    patience_ms = UINT32_MAX; /* its end is seen, not waited for */
    offer(3);
    assert_int_equal(begin(&t, &in, why), 0);
    (void)close(t.fd);
    end_offer();
    assert_int_equal(ended, 1);
    assert_int_equal(taken, 0);
    inherit_end(&in);
}

static int ask(void)
{
    int fd = control_client_connect(path);
    assert_int_equal(send(fd, "listeners\n", 10, 0), 10);
    return fd;
}

static void test_successor_says_something_else(void **state)
{
    static const char *const words[] = {"x",       "take\n", "takes\n", "taken",
                                        "TAKEN\n", "\n",     "taker\n"};
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        offer(1);
        int fd = ask();
        (void)send(fd, words[i], strlen(words[i]), MSG_NOSIGNAL);
        if (strcmp(words[i], "taken") == 0) /* it might go on */
            (void)shutdown(fd, SHUT_WR);
        end_offer();
        assert_int_equal(ended, i + 1);
        assert_int_equal(taken, 0);
        (void)close(fd);
    }
}

/* Until the other end has read all that was sent. */
static void wait_read(int fd)
{
    int unread = 1;
    while (unread > 0) {
        assert_int_equal(ioctl(fd, SIOCOUTQ, &unread), 0);
        (void)sched_yield();
    }
}

static void test_taken_in_pieces(void **state)
{
    (void)state;
    offer(1);
    int fd = ask();
    for (const char *c = "taken\n"; *c != '\0'; c++) {
        assert_int_equal(send(fd, c, 1, 0), 1);
        wait_read(fd);
    }
    end_offer();
    assert_int_equal(taken, 1);
    (void)close(fd);
}

/* It asks and reads nothing: it holds up nobody, and with its end all is over. */
static void test_successor_that_does_not_read(void **state)
{
    (void)state;
    offer(SOCKETS_MAX);
    int fd = ask();
    (void)close(fd);
    end_offer();
    assert_int_equal(ended, 1);
    assert_int_equal(taken, 0);
}

/* Connected, and silent, after it has read all or nothing: those after it get their turn. */
static void test_successor_that_says_nothing(void **state)
{
    (void)state;
    patience_ms = 20;
    for (int i = 0; i < 2; i++) {
        struct takeover t;
        struct inherit in = {0};
        char why[256];
        offer(i == 0 ? 3 : SOCKETS_MAX);
        int fd = i == 0 ? -1 : ask();
        if (i == 0)
            assert_int_equal(begin(&t, &in, why), 0);
        end_offer();
        assert_int_equal(ended, i + 1);
        assert_int_equal(taken, 0);
        if (i == 0)
            assert_false(takeover_finish(&t)); /* and it hears that it is too late */
        else
            (void)close(fd);
        inherit_end(&in);
    }
}

/* ---- an old one that is none ---- */

struct script {
    const char *text;
    int fds; /* that go with it */
    bool listening;
    const char *why;
};

static void *play(void *arg)
{
    const struct script *s = arg;
    char request[16];
    union {
        struct cmsghdr header;
        char octets[CMSG_SPACE(200 * sizeof(int))];
    } control = {.octets = {0}};
    struct iovec part = {(void *)(uintptr_t)s->text, strlen(s->text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int fd = accept4(door_fd, NULL, NULL, SOCK_CLOEXEC);
    int sent = s->listening ? make_listener() : open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)recv(fd, request, sizeof request, 0);
    if (s->fds > 0) {
        control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)s->fds * sizeof(int)),
                                          .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS};
        for (int i = 0; i < s->fds; i++)
            memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof(int), &sent, sizeof sent);
        message.msg_control = control.octets;
        message.msg_controllen = CMSG_SPACE((size_t)s->fds * sizeof(int));
    }
    if (part.iov_len > 0)
        (void)sendmsg(fd, &message, MSG_NOSIGNAL);
    (void)close(fd);
    (void)close(sent);
    return NULL;
}

static void test_answers_that_are_none(void **state)
{
    static struct script rows[] = {
        {"", 0, true, "broke off"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 0, true, "broke off"},
        {"hello\n.\n", 0, true, "no certferry"},
        {"ok", 0, true, "broke off"},
        {"ok\nproxy\n", 1, true, "broke off"},
        {"error: unknown command\n.\n", 0, true, "too old"}, /* before there was "listeners" */
        {"error: not now\n.\n", 0, true, "not now"},
        {"ok\nproxy\n.\n", 0, true, "more sockets than it gives"},
        {"ok\nproxy\nproxy\n.\n", 1, true, "more sockets than it gives"},
        {"ok\n.\n", 1, true, "more sockets than it names"},
        {"ok\nproxy\n.\n", 2, true, "more sockets than it names"},
        {"ok\nproxy\n.\n", 129, true, "LimitNOFILE"},
        {"ok\nproxy\n.\nproxy\n.\n", 2, true, "more sockets than it names"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct takeover t;
        struct inherit in = {0};
        char why[256];
        int before = count_descriptors();
        assert_int_equal(pthread_create(&thread, NULL, play, &rows[i]), 0);
        int rc = begin(&t, &in, why);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(rc < 0 && rc != -ENOENT);
        assert_int_equal(t.fd, -1);
        if (strstr(why, rows[i].why) == NULL)
            fail_msg("row %zu: \"%s\" instead of \"%s\"", i, why, rows[i].why);
        inherit_end(&in);
        assert_int_equal(count_descriptors(), before);
    }
}

static void test_descriptors_that_are_no_sockets(void **state)
{
    static struct script row = {"ok\nproxy\n.\n", 1, false, ""};
    struct takeover t;
    struct inherit in = {0};
    char why[256];
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, play, &row), 0);
    assert_int_equal(begin(&t, &in, why), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(in.count, 0);
    (void)close(t.fd);
    inherit_end(&in);
}

static void test_nobody_there(void **state)
{
    struct takeover t;
    struct inherit in = {0};
    char why[256];
    (void)state;
    (void)close(door_fd);
    door_fd = -1;
    assert_int_equal(begin(&t, &in, why), -ENOENT); /* left behind */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(begin(&t, &in, why), -ENOENT);
    assert_int_equal(t.fd, -1);
}

static void test_refusal(void **state)
{
    char got[64] = "";
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    handover_refuse(pair[0], "not now");
    assert_int_equal(recv(pair[1], got, sizeof got - 1, MSG_WAITALL), 17);
    assert_string_equal(got, "error: not now\n.\n");
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_sockets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor_ends_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor_says_something_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor_that_does_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor_that_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors_that_are_no_sockets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal, setup, teardown),
    };
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}

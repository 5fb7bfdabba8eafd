/*
 * test_control_socket.c - requests whole, in pieces, too long and none at all; readers that do not
 * read; more than there is room for; the file: whose it is, left behind, in use, taken away.
 */
#include "proxy/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct control_socket *server;
static char directory[32], path[64];
static unsigned runs;

static bool run_echo(void *arg, struct span operands, struct buf *answer)
{
    assert_ptr_equal(arg, &runs);
    runs++;
    assert_int_equal(buf_printf(answer, "<%.*s>\n", SPAN_ARGS(operands)), 0);
    return false;
}

static bool run_stay(void *arg, struct span operands, struct buf *answer)
{
    (void)operands;
    assert_ptr_equal(arg, &runs);
    runs++;
    control_socket_tell(server, "before the answer");
    return buf_add_str(answer, "begun\n") == 0;
}

static bool run_big(void *arg, struct span operands, struct buf *answer)
{
    (void)arg;
    (void)operands;
    for (int i = 0; i < 10000; i++)
        assert_int_equal(buf_printf(answer, "{\"line\": %d, \"of\": \"many\"}\n", i), 0);
    return false;
}

/* The connection outlives the control socket's part in it. */
static void take_it(void *arg, int fd)
{
    assert_ptr_equal(arg, &runs);
    runs++;
    assert_int_equal(write(fd, "yours\n", 6), 6);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    (void)close(fd);
}

static const struct control_socket_command commands[] = {{"echo", run_echo, NULL},
                                                         {"stay", run_stay, NULL},
                                                         {"big", run_big, NULL},
                                                         {"take", NULL, take_it}};
static const struct control_socket_options options = {commands, 4, &runs};

static int setup(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* as server.c does */
    runs = 0;
    (void)snprintf(directory, sizeof directory, "/tmp/control-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/sock", directory);
    assert_int_equal(uv_loop_init(&loop), 0);
    return control_socket_open(&server, &loop, path, &options);
}

static int teardown(void **state)
{
    (void)state;
    if (server != NULL)
        control_socket_close(server);
    server = NULL;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(directory), 0);
    return uv_loop_close(&loop);
}

static int connect_to(const char *where)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", where);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* What came until the end, or until `until` stands in it. */
static char got[1024 * 1024];

static void listen_to(int fd, const char *until)
{
    size_t length = 0;
    for (;;) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        ssize_t n = read(fd, got + length, sizeof got - 1 - length);
        length += n > 0 ? (size_t)n : 0;
        got[length] = '\0';
        if (n == 0 || (n < 0 && errno != EAGAIN) || (until != NULL && strstr(got, until) != NULL))
            return;
    }
}

static void test_requests(void **state)
{
    static const struct {
        const char *request, *answer;
    } rows[] = {
        {"echo\n", "ok\n<>\n.\n"},
        {"echo a b\n", "ok\n<a b>\n.\n"},
        {"echo  a\n", "ok\n< a>\n.\n"},
        {"echo a\nstay\n", "ok\n<a>\n.\n"}, /* one request, and no more */
        {"take\n", "yours\n"},
        {"take it\necho\n", "yours\n"},
        {"\n", "error: unknown command\n.\n"},
        {"ech\n", "error: unknown command\n.\n"},
        {"echoes\n", "error: unknown command\n.\n"},
        {"ECHO\n", "error: unknown command\n.\n"},
        {" echo\n", "error: unknown command\n.\n"},
        {"GET /drain HTTP/1.1\r\n", "error: unknown command\n.\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = connect_to(path);
        say(fd, rows[i].request);
        listen_to(fd, NULL);
        assert_string_equal(got, rows[i].answer);
        (void)close(fd);
    }
    assert_int_equal(runs, 6);
}

/* A command that takes the connection needs a descriptor more; who asked is told. */
static void test_no_descriptor_left(void **state)
{
    struct rlimit before, none;
    (void)state;
    int fd = connect_to(path);
    say(fd, "ta");
    for (int i = 0; i < 10; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT); /* accepted */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int free_one = dup(0);
    none = before;
    none.rlim_cur = (rlim_t)free_one;
    (void)close(free_one);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    say(fd, "ke\n");
    listen_to(fd, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_string_equal(got, "error: no descriptor is left; raise LimitNOFILE\n.\n");
    assert_int_equal(runs, 0);
    (void)close(fd);
}

static void test_pieces(void **state)
{
    static const char request[] = "echo slow\n";
    int fd = connect_to(path);
    (void)state;
    for (const char *c = request; *c != '\0'; c++) {
        assert_int_equal(write(fd, c, 1), 1);
        for (int i = 0; i < 3; i++)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    listen_to(fd, NULL);
    assert_string_equal(got, "ok\n<slow>\n.\n");
    (void)close(fd);
}

static void test_length(void **state)
{
    char line[CONTROL_SOCKET_REQUEST_MAX + 2];
    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, "echo ", 5);
    line[CONTROL_SOCKET_REQUEST_MAX - 1] = '\n';
    line[CONTROL_SOCKET_REQUEST_MAX] = '\0';
    int fd = connect_to(path);
    say(fd, line);
    listen_to(fd, NULL);
    assert_int_equal(strncmp(got, "ok\n<xxx", 7), 0);
    (void)close(fd);
    memset(line, 'x', CONTROL_SOCKET_REQUEST_MAX);
    fd = connect_to(path);
    say(fd, line);
    listen_to(fd, NULL);
    assert_string_equal(got, "error: too long a request\n.\n");
    (void)close(fd);
}

static void test_big_answer(void **state)
{
    int fd = connect_to(path);
    (void)state;
    say(fd, "big\n");
    listen_to(fd, NULL);
    size_t length = strlen(got);
    assert_true(length > 250000);
    assert_string_equal(got + length - 3, "\n.\n");
    (void)close(fd);
}

/* Those who stay hear everything after their answer, and a last line at the end. */
static void test_staying(void **state)
{
    int fd = connect_to(path), idle = connect_to(path);
    (void)state;
    say(fd, "stay\n");
    listen_to(fd, "begun\n");
    assert_string_equal(got, "ok\nbegun\n");
    say(fd, "echo ignored\n");
    control_socket_tell(server, "one");
    listen_to(fd, "one\n");
    control_socket_tell(server, "two");
    control_socket_close(server);
    server = NULL;
    assert_int_equal(access(path, F_OK), -1);
    listen_to(fd, NULL);
    assert_string_equal(got, "two\n.\n");
    listen_to(idle, NULL);
    assert_string_equal(got, "");
    assert_int_equal(runs, 1);
    (void)close(fd);
    (void)close(idle);
}

/* Who goes away in the middle, or resets, is nobody's trouble. */
static void test_leavers(void **state)
{
    static const char *const words[] = {"", "ech", "echo\n", "stay\n", "big\n", "stay\nmore\n"};
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            int fd = connect_to(path);
            say(fd, words[i]);
            for (int turns = 0; turns < round; turns++)
                (void)uv_run(&loop, UV_RUN_NOWAIT);
            (void)close(fd);
            control_socket_tell(server, "still here?");
        }
    }
    int fd = connect_to(path);
    say(fd, "echo alive\n");
    listen_to(fd, NULL);
    assert_string_equal(got, "ok\n<alive>\n.\n");
    (void)close(fd);
}

static void test_reader_that_does_not_read(void **state)
{
    static char line[60000];
    int fd = connect_to(path);
    (void)state;
    say(fd, "stay\n");
    listen_to(fd, "begun\n");
    memset(line, 'x', sizeof line - 1);
    for (int i = 0; i < 100; i++) {
        control_socket_tell(server, line);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    size_t length = 0;
    for (ssize_t n = 1; n > 0; length += n > 0 ? (size_t)n : 0)
        n = read(fd, got, sizeof got);
    assert_true(length < CONTROL_SOCKET_UNREAD_MAX + 2 * sizeof line + 1048576);
    assert_int_equal(read(fd, got, sizeof got), 0); /* it was closed */
    (void)close(fd);
}

/* No more than there are places; the next one is served as soon as one is free. */
static void test_places(void **state)
{
    int fd[CONTROL_SOCKET_CLIENTS_MAX + 2];
    (void)state;
    for (size_t i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        fd[i] = connect_to(path);
        say(fd[i], "stay\n");
        listen_to(fd[i], "begun\n");
    }
    for (size_t i = CONTROL_SOCKET_CLIENTS_MAX; i < CONTROL_SOCKET_CLIENTS_MAX + 2; i++) {
        fd[i] = connect_to(path);
        say(fd[i], "echo late\n");
    }
    for (int i = 0; i < 20; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(runs, CONTROL_SOCKET_CLIENTS_MAX);
    (void)close(fd[3]);
    for (size_t i = CONTROL_SOCKET_CLIENTS_MAX; i < CONTROL_SOCKET_CLIENTS_MAX + 2; i++) {
        listen_to(fd[i], NULL);
        assert_string_equal(got, "ok\n<late>\n.\n");
        (void)close(fd[i]);
    }
    for (size_t i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        if (i != 3)
            (void)close(fd[i]);
    }
}

static void test_silence(void **state)
{
    int fd = connect_to(path);
    (void)state;
    say(fd, "echo without an en");
    uint64_t before = uv_hrtime() / 1000000;
    while (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_true(uv_hrtime() / 1000000 - before >= CONTROL_SOCKET_PATIENCE_MS - 100);
    listen_to(fd, NULL);
    assert_string_equal(got, "");
    (void)close(fd);
}

static void test_mode(void **state)
{
    struct stat st;
    mode_t mask = umask(0);
    (void)state;
    (void)umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_not_equal(mask, 0177);
}

static void test_in_use(void **state)
{
    struct control_socket *other = NULL;
    (void)state;
    assert_int_equal(control_socket_open(&other, &loop, path, &options), -EADDRINUSE);
    assert_null(other);
    int fd = connect_to(path);
    say(fd, "echo mine\n");
    listen_to(fd, NULL);
    assert_string_equal(got, "ok\n<mine>\n.\n");
    (void)close(fd);
}

/* Killed, it leaves its file; the next start takes the place. */
static void test_left_behind(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)state;
    control_socket_close(server);
    server = NULL;
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    (void)close(fd);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(control_socket_open(&server, &loop, path, &options), 0);
}

/* What is no socket of anybody is never taken away. */
static void test_other_files(void **state)
{
    struct control_socket *other = NULL;
    char file[64], missing[96], longest[200];
    (void)state;
    (void)snprintf(file, sizeof file, "%s/file", directory);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    assert_int_equal(control_socket_open(&other, &loop, file, &options), -EADDRINUSE);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink("/nowhere/at/all", file), 0);
    assert_int_equal(control_socket_open(&other, &loop, file, &options), -EADDRINUSE);
    assert_int_equal(unlink(file), 0);
    (void)snprintf(missing, sizeof missing, "%s/none/sock", directory);
    assert_int_equal(control_socket_open(&other, &loop, missing, &options), -ENOENT);
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(control_socket_open(&other, &loop, longest, &options), -ENAMETOOLONG);
}

/* In one step, over that of another, which does not take ours away at its end. */
static void test_rename(void **state)
{
    struct control_socket *other = NULL;
    char aside[80], longest[200];
    (void)state;
    (void)snprintf(aside, sizeof aside, "%s.new", path);
    assert_int_equal(control_socket_open(&other, &loop, aside, &options), 0);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(control_socket_rename(other, longest), -ENAMETOOLONG);
    assert_int_equal(control_socket_rename(other, "/nowhere/at/all"), -ENOENT);
    assert_int_equal(access(aside, F_OK), 0);
    assert_int_equal(control_socket_rename(other, path), 0);
    assert_int_equal(access(aside, F_OK), -1);
    control_socket_close(server);
    server = other;
    int fd = connect_to(path);
    say(fd, "echo new\n");
    listen_to(fd, NULL);
    assert_string_equal(got, "ok\n<new>\n.\n");
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_big_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_staying, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leavers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader_that_does_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rename, setup, teardown),
    };
    return cmocka_run_group_tests_name("control socket", tests, NULL, NULL);
}

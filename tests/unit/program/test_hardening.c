/*
 * test_hardening.c - what a confined thread may still do, what fails, and what ends the process:
 * each attempt in a child of its own, for each role.
 */
#include "proxy/hardening.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum outcome {
    ALLOWED,
    REFUSED, /* with EPERM, whatever the kernel itself would have said */
    KILLED,  /* the whole process, by SIGSYS */
    OUTCOME_COUNT
};
static const char *const outcome_name[OUTCOME_COUNT] = {"allowed", "refused", "killed"};

static const enum hardening_role roles[] = {HARDENING_MAIN, HARDENING_WORKER, HARDENING_WRITER};
static const char *const role_name[] = {"main", "worker", "writer"};
enum { ROLES = sizeof roles / sizeof *roles };

/* ---- attempts: system calls as such, since sanitizers put their own functions before libc's ----
 */

static long attempt_execve(void)
{
    char *none[] = {NULL};
    return syscall(SYS_execve, "/bin/true", none, none);
}

static long attempt_fork(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        syscall(SYS_exit_group, 0);
    return pid;
}

static void *nothing(void *arg)
{
    return arg;
}

static long attempt_thread(void)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, nothing, NULL);
    if (rc == 0)
        return pthread_join(thread, NULL);
    errno = rc;
    return -1;
}

static long attempt_ptrace(void)
{
    return syscall(SYS_ptrace, PTRACE_TRACEME, 0, NULL, NULL);
}

static long attempt_setuid(void)
{
    return syscall(SYS_setuid, 0);
}

static long attempt_memfd(void)
{
    return syscall(SYS_memfd_create, "x", 0);
}

static long attempt_executable_memory(void)
{
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long attempt_memory(void)
{
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);
}

static long attempt_make_executable(void)
{
    static char page[8192];
    uintptr_t start = ((uintptr_t)page + 4095) & ~(uintptr_t)4095;
    return syscall(SYS_mprotect, start, 4096, PROT_READ | PROT_EXEC);
}

static long attempt_read_file(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static long attempt_write_file(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY);
}

static long attempt_make_file(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/tmp", O_RDONLY | O_CREAT | O_TRUNC, 0600);
}

/* As the roster on disk is written: only where there is nothing yet. */
static long attempt_new_file(void)
{
    long fd = syscall(SYS_openat, AT_FDCWD, "/tmp",
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    return fd < 0 && errno == EEXIST ? 0 : fd; /* it may try */
}

static long attempt_replace(void)
{
    long rc = syscall(SYS_renameat, AT_FDCWD, "/tmp/certferry-no-such-file", AT_FDCWD,
                      "/tmp/certferry-no-such-file");
    return rc < 0 && errno == ENOENT ? 0 : rc;
}

static long attempt_openat2(void)
{
    uint64_t how[3] = {O_WRONLY, 0, 0};
    return syscall(437, AT_FDCWD, "/dev/null", how, sizeof how);
}

static long attempt_unlink(void)
{
    long rc = syscall(SYS_unlinkat, AT_FDCWD, "/tmp/certferry-no-such-file", 0);
    return rc < 0 && errno == ENOENT ? 0 : rc; /* it may try */
}

static long attempt_list(void)
{
    char octets[1024];
    long fd = syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
    return fd < 0 ? fd : syscall(SYS_getdents64, fd, octets, sizeof octets);
}

static long attempt_tcp(void)
{
    return syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long attempt_udp_6(void)
{
    return syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0);
}

static long attempt_unix(void)
{
    return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static long attempt_packet(void)
{
    return syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0);
}

static long attempt_netlink(void)
{
    return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}

static long attempt_raise_limit(void)
{
    const struct rlimit limit = {1024, 1024};
    return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
}

static long attempt_read_limit(void)
{
    struct rlimit limit;
    return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
}

static long attempt_dumpable(void)
{
    return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long attempt_kill_others(void)
{
    return syscall(SYS_kill, getppid(), 0);
}

static long attempt_write(void)
{
    return syscall(SYS_write, 1, "", 0);
}

static long attempt_io_uring(void)
{
    char parameters[256] = {0};
    return syscall(425, 1, parameters);
}

static const struct {
    const char *what;
    long (*make)(void);
    enum outcome outcome[ROLES]; /* main, worker, writer */
} attempts[] = {
    {"another program", attempt_execve, {KILLED, KILLED, KILLED}},
    {"another process", attempt_fork, {REFUSED, REFUSED, REFUSED}},
    {"a thread", attempt_thread, {REFUSED, ALLOWED, REFUSED}},
    {"tracing", attempt_ptrace, {KILLED, KILLED, KILLED}},
    {"another user", attempt_setuid, {KILLED, KILLED, KILLED}},
    {"a file in memory", attempt_memfd, {KILLED, KILLED, KILLED}},
    {"memory", attempt_memory, {ALLOWED, ALLOWED, ALLOWED}},
    {"executable memory", attempt_executable_memory, {REFUSED, REFUSED, REFUSED}},
    {"making memory executable", attempt_make_executable, {REFUSED, REFUSED, REFUSED}},
    {"reading a file", attempt_read_file, {ALLOWED, ALLOWED, REFUSED}},
    {"writing a file", attempt_write_file, {REFUSED, REFUSED, REFUSED}},
    {"making a file", attempt_make_file, {REFUSED, REFUSED, REFUSED}},
    {"making a file that is not there", attempt_new_file, {ALLOWED, REFUSED, REFUSED}},
    {"putting a file in another's place", attempt_replace, {ALLOWED, REFUSED, REFUSED}},
    {"opening with openat2", attempt_openat2, {REFUSED, REFUSED, REFUSED}},
    {"removing a file", attempt_unlink, {ALLOWED, REFUSED, REFUSED}}, /* the control socket's */
    {"listing a directory", attempt_list, {ALLOWED, REFUSED, REFUSED}},
    {"a TCP socket", attempt_tcp, {ALLOWED, ALLOWED, REFUSED}},
    {"a UDP socket over IPv6", attempt_udp_6, {ALLOWED, ALLOWED, REFUSED}},
    {"a local socket", attempt_unix, {REFUSED, REFUSED, REFUSED}},
    {"a packet socket", attempt_packet, {REFUSED, REFUSED, REFUSED}},
    {"a netlink socket", attempt_netlink, {REFUSED, REFUSED, REFUSED}},
    {"another limit", attempt_raise_limit, {REFUSED, REFUSED, REFUSED}},
    {"reading a limit", attempt_read_limit, {ALLOWED, ALLOWED, ALLOWED}},
    {"core files again", attempt_dumpable, {REFUSED, REFUSED, REFUSED}},
    {"a signal to another process", attempt_kill_others, {REFUSED, REFUSED, REFUSED}},
    {"io_uring, past every filter", attempt_io_uring, {REFUSED, REFUSED, REFUSED}},
    {"writing what is open", attempt_write, {ALLOWED, ALLOWED, ALLOWED}},
};

static long attempt_map_code(void)
{
    long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY);
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
}

static long attempt_map_code_to_write(void)
{
    long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY);
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0);
}

/* What main is left besides with a device's key, and what it is not. */
static const struct {
    const char *what;
    long (*make)(void);
    enum outcome outcome;
} with_keys[] = {
    {"another program", attempt_execve, KILLED},
    {"another process", attempt_fork, REFUSED},
    {"a thread", attempt_thread, ALLOWED},
    {"tracing", attempt_ptrace, KILLED},
    {"another user", attempt_setuid, KILLED},
    {"a file in memory", attempt_memfd, KILLED},
    {"code of a file", attempt_map_code, ALLOWED},
    {"code of a file, to be written", attempt_map_code_to_write, REFUSED},
    {"executable memory", attempt_executable_memory, REFUSED},
    {"making memory executable", attempt_make_executable, REFUSED},
    {"writing a file", attempt_write_file, ALLOWED},
    {"making a file that is not there", attempt_new_file, ALLOWED},
    {"listing a directory", attempt_list, ALLOWED},
    {"a local socket", attempt_unix, ALLOWED},
    {"a packet socket", attempt_packet, REFUSED},
    {"a netlink socket", attempt_netlink, REFUSED},
    {"another limit", attempt_raise_limit, REFUSED},
    {"core files again", attempt_dumpable, REFUSED},
    {"a signal to another process", attempt_kill_others, REFUSED},
    {"io_uring, past every filter", attempt_io_uring, REFUSED},
};

/* ---- the child ---- */

enum { CHILD_UNCONFINED = 100 };

/* Only what every role may do; no leak checker, which would look around. */
static void child(enum hardening_role role, long (*make)(void))
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || hardening_confine(role) != 0)
        _exit(CHILD_UNCONFINED);
    errno = 0;
    long rc = make();
    _exit(rc >= 0 ? ALLOWED : errno == EPERM ? REFUSED : OUTCOME_COUNT);
}

static enum outcome outcome_of(enum hardening_role role, long (*make)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(role, make);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGSYS);
        return KILLED;
    }
    assert_int_not_equal(WEXITSTATUS(status), CHILD_UNCONFINED);
    return (enum outcome)WEXITSTATUS(status);
}

static void test_calls(void **state)
{
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        for (size_t role = 0; role < ROLES; role++) {
            enum outcome got = outcome_of(roles[role], attempts[i].make);
            if (got == attempts[i].outcome[role])
                continue;
            print_error("%s as %s: %s\n", attempts[i].what, role_name[role],
                        got < OUTCOME_COUNT ? outcome_name[got] : "another error");
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_calls_with_keys(void **state)
{
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof with_keys / sizeof *with_keys; i++) {
        enum outcome got = outcome_of(HARDENING_KEYS, with_keys[i].make);
        if (got == with_keys[i].outcome)
            continue;
        print_error("%s with keys: %s\n", with_keys[i].what,
                    got < OUTCOME_COUNT ? outcome_name[got] : "another error");
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

/* The same attempts without a filter: else a kernel that refuses them by itself would pass. */
static void test_attempts_work_unconfined(void **state)
{
    static long (*const harmless[])(void) = {attempt_fork,
                                             attempt_thread,
                                             attempt_memfd,
                                             attempt_executable_memory,
                                             attempt_write_file,
                                             attempt_list,
                                             attempt_unix,
                                             attempt_netlink,
                                             attempt_dumpable,
                                             attempt_memory,
                                             attempt_make_executable,
                                             attempt_map_code,
                                             attempt_map_code_to_write};
    (void)state;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(harmless[i]() >= 0 ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
            print_error("attempt %zu failed without a filter\n", i);
        assert_int_equal(status, 0);
    }
}

static long without_rings(void)
{
    long rc = attempt_io_uring();
    return rc < 0 && errno == ENOSYS ? attempt_unix() : -1;
}

/* Before the loops are made: all is as before, but libuv finds a system without io_uring. */
static void test_process_has_no_rings(void **state)
{
    (void)state;
    assert_int_equal(outcome_of(HARDENING_PROCESS, without_rings), ALLOWED);
    assert_int_equal(outcome_of(HARDENING_PROCESS, attempt_fork), ALLOWED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attempts_work_unconfined),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_calls_with_keys),
        cmocka_unit_test(test_process_has_no_rings),
    };
    return cmocka_run_group_tests_name("hardening", tests, NULL, NULL);
}

/*
 * hardening_calls.c - the system calls of each role, as a seccomp filter for the calling thread.
 *
 * What is not listed fails with EPERM, so that a library that tries something new goes another way;
 * what only an attacker would call kills the process. Arguments are looked at where they decide: no
 * memory becomes executable, no process is made, no file that is there is opened for writing, no
 * other sockets than TCP and UDP.
 */
#include "proxy/hardening.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Names and not numbers: what an architecture or the installed libseccomp does not know is left
 * out. */
static const char *const fatal[] = {
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "bpf",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "perf_event_open",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "setreuid",
    "setregid",
    "setgroups",
    "capset",
    "reboot",
    "swapon",
    "swapoff",
    "open_by_handle_at",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "modify_ldt",
    "acct",
    "quotactl",
    "pidfd_getfd",
    "memfd_create",
};

/* Memory, waiting, ending: every thread. */
static const char *const every_thread[] = {
    "read",
    "write",
    "writev",
    "close",
    "poll",
    "ppoll",
    "futex",
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigreturn",
    "rt_sigprocmask",
    "rt_sigaction",
    "sigaltstack",
    "sched_yield",
    "getpid",
    "gettid",
    "tgkill",
    "set_robust_list",
    "rseq",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "getrandom",
    "fstat",
    "newfstatat",
    "fcntl",
    "membarrier",
    "getcpu",
};

/* Loops. */
static const char *const loop_thread[] = {
    "epoll_create1", "epoll_ctl", "epoll_wait",        "epoll_pwait",     "epoll_pwait2",
    "eventfd2",      "pipe2",     "sched_getaffinity", "set_tid_address", "uname",
    "sysinfo",       "getuid",    "geteuid",           "getgid",          "getegid",
    "statx",         "lseek",     "getrlimit",         "readv",           "pread64",
};

static const char *const network[] = {
    "bind",       "connect",    "accept4",     "accept",      "listen",   "shutdown",
    "getsockopt", "setsockopt", "getsockname", "getpeername", "sendto",   "recvfrom",
    "splice",     "sendmsg",    "recvmsg",     "recvmmsg",    "sendmmsg",
};

/* What is asked for over a ring no filter sees, and libuv makes one for each loop if it can;
 * without it goes another way. */
static const char *const rings[] = {"io_uring_setup", "io_uring_enter", "io_uring_register"};

/* Reading the configuration. */
static const char *const reader[] = {"getdents64", "faccessat", "faccessat2",
                                     "access",     "readlink",  "readlinkat"};

/* Taking the control socket's file away at the end; the service user has little that it might. */
static const char *const remover[] = {"unlink", "unlinkat"};

/* Keeping the last good roster: a new file is written, synced and renamed. */
static const char *const keeper[] = {"fsync", "fchmod", "renameat", "renameat2"};

/* What modules of OpenSSL providers and PKCS#11 tokens do: they lock and write files of their own,
 * and wait for each other by the means of System V. */
static const char *const modules[] = {
    "flock",
    "ftruncate",
    "fdatasync",
    "pwrite64",
    "writev",
    "mkdir",
    "mkdirat",
    "rmdir",
    "rename",
    "link",
    "linkat",
    "chmod",
    "umask",
    "stat",
    "lstat",
    "statfs",
    "fstatfs",
    "fchown",
    "utimensat",
    "getcwd",
    "select",
    "dup",
    "dup2",
    "dup3",
    "shmget",
    "shmat",
    "shmdt",
    "shmctl",
    "semget",
    "semop",
    "semctl",
    "semtimedop",
    "ioctl",
    "getppid",
    "getpgrp",
    "getgroups",
    "sched_getparam",
    "sched_getscheduler",
    "socketpair",
    "inotify_init1",
    "inotify_add_watch",
    "timerfd_create",
    "timerfd_settime",
};

static int add(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        int rc = number >= 0 ? seccomp_rule_add(filter, action, number, 0) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* `name` is allowed when the bits of `mask` in argument `arg` are `value`. */
static int allow_masked(scmp_filter_ctx filter, const char *name, unsigned arg, uint64_t mask,
                        uint64_t value)
{
    int number = seccomp_syscall_resolve_name(name);
    return number < 0 ? 0
                      : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
                                         SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

static int add_memory(scmp_filter_ctx filter)
{
    int rc = allow_masked(filter, "mmap", 2, PROT_EXEC, 0);
    if (rc == 0)
        rc = allow_masked(filter, "mprotect", 2, PROT_EXEC, 0);
    if (rc == 0) /* reading a limit, not setting one */
        rc = allow_masked(filter, "prlimit64", 2, UINT64_MAX, 0);
    return rc == 0 ? allow_masked(filter, "prctl", 0, UINT32_MAX, PR_SET_NAME) : rc;
}

/* Threads (of libuv's pool), never processes. glibc falls back to clone() without clone3(), whose
 * flags lie in memory where no filter sees them. */
static int add_threads(scmp_filter_ctx filter)
{
    int rc = allow_masked(filter, "clone", 0, CLONE_THREAD, CLONE_THREAD);
    int number = seccomp_syscall_resolve_name("clone3");
    if (rc == 0 && number >= 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
    return rc;
}

static int add_sockets(scmp_filter_ctx filter)
{
    int rc = allow_masked(filter, "socket", 0, UINT32_MAX, AF_INET);
    if (rc == 0)
        rc = allow_masked(filter, "socket", 0, UINT32_MAX, AF_INET6);
    if (rc == 0)
        rc = allow_masked(filter, "ioctl", 1, UINT32_MAX, FIONBIO);
    return rc == 0 ? allow_masked(filter, "ioctl", 1, UINT32_MAX, FIONREAD) : rc;
}

/* For reading only: hosts, resolv.conf, the configuration. */
static int add_files(scmp_filter_ctx filter)
{
    const uint64_t writes = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
    int rc = allow_masked(filter, "openat", 2, writes, O_RDONLY);
    return rc == 0 ? allow_masked(filter, "open", 1, writes, O_RDONLY) : rc;
}

/* A file that is not there yet can be made; none that is there can be written to. */
static int add_new_files(scmp_filter_ctx filter)
{
    const uint64_t looked_at =
        O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_DIRECTORY;
    const uint64_t new_file = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int rc = allow_masked(filter, "openat", 2, looked_at, new_file);
    return rc == 0 ? add(filter, SCMP_ACT_ALLOW, keeper, COUNT(keeper)) : rc;
}

/*
 * The modules themselves (code mapped from a file, but never to be written as well), files
 * they write, sockets to a resource manager, threads. What only an attacker would call still kills.
 */
static int add_modules(scmp_filter_ctx filter)
{
    int rc = add(filter, SCMP_ACT_ALLOW, modules, COUNT(modules));
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name("mmap"), 2,
                              SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC),
                              SCMP_CMP(3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, 0));
    if (rc == 0)
        rc = allow_masked(filter, "openat", 2, 0, 0);
    if (rc == 0)
        rc = allow_masked(filter, "open", 1, 0, 0);
    if (rc == 0)
        rc = allow_masked(filter, "socket", 0, UINT32_MAX, AF_UNIX);
    return rc == 0 ? add_threads(filter) : rc;
}

static int fill(scmp_filter_ctx filter, enum hardening_role role)
{
    bool is_main = role == HARDENING_MAIN || role == HARDENING_KEYS;
    if (role == HARDENING_PROCESS)
        return add(filter, SCMP_ACT_ERRNO(ENOSYS), rings, COUNT(rings));
    int rc = add(filter, SCMP_ACT_KILL_PROCESS, fatal, COUNT(fatal));
    if (rc == 0)
        rc = add(filter, SCMP_ACT_ALLOW, every_thread, COUNT(every_thread));
    if (rc == 0)
        rc = add_memory(filter);
    if (rc != 0 || role == HARDENING_WRITER)
        return rc;
    rc = add(filter, SCMP_ACT_ALLOW, loop_thread, COUNT(loop_thread));
    if (rc == 0)
        rc = add_files(filter);
    if (rc == 0 && is_main)
        rc = add(filter, SCMP_ACT_ALLOW, reader, COUNT(reader));
    if (rc == 0 && is_main)
        rc = add(filter, SCMP_ACT_ALLOW, remover, COUNT(remover));
    if (rc == 0 && is_main)
        rc = add_new_files(filter);
    if (rc == 0)
        rc = add(filter, SCMP_ACT_ALLOW, network, COUNT(network));
    if (rc == 0)
        rc = add_sockets(filter);
    if (rc == 0 && role == HARDENING_KEYS)
        return add_modules(filter);
    return rc == 0 && !is_main ? add_threads(filter) : rc;
}

int hardening_confine(enum hardening_role role)
{
    /* Also no core file and no tracer of the same user: the memory holds passwords for a moment. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return -errno;
    scmp_filter_ctx filter =
        seccomp_init(role == HARDENING_PROCESS ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return -ENOMEM;
    /* Only the kernel may say that it knows no seccomp. */
    int rc = fill(filter, role) == 0 ? seccomp_load(filter) : -EPROTO;
    seccomp_release(filter);
    return rc;
}

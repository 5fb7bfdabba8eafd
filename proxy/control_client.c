#include "proxy/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *path, const char *why)
{
    (void)fprintf(stderr, "certferry: %s: %s\n", path, why);
    return 1;
}

static bool send_line(int fd, const char *request)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s\n", request);
    return n > 0 && n < (int)sizeof line && send(fd, line, (size_t)n, MSG_NOSIGNAL) == n;
}

int control_client_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = CONTROL_CLIENT_PATIENCE_MS / 1000};
    if (fd >= 0) /* bounds the connect, too, when its queue is full */
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = -errno;
    if (fd >= 0)
        (void)close(fd);
    return error;
}

/* Becomes readable when the process at the other end is no more; -1: the kernel cannot tell. */
static int watch_process(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0)
        return -1;
    return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

static bool wait_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc;
    do {
        rc = poll(&p, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

/* Who answers may be somebody else: nothing of it shall drive a terminal. */
static void make_harmless(char *line)
{
    for (char *c = line; *c != '\0'; c++) {
        if (*c != '\n' && (*c < ' ' || *c > '~'))
            *c = '?';
    }
}

static char *read_line(FILE *from, char *line, int size)
{
    if (fgets(line, size, from) == NULL)
        return NULL;
    make_harmless(line);
    return line;
}

/* Copies lines until the one that is a dot. */
static int copy_answer(FILE *from, const char *path, bool follow)
{
    char line[4096];
    if (read_line(from, line, sizeof line) == NULL)
        return fail(path, "the answer broke off");
    if (strncmp(line, "error: ", 7) == 0) {
        line[strcspn(line, "\n")] = '\0';
        return fail(path, line + 7);
    }
    if (strcmp(line, "ok\n") != 0)
        return fail(path, "this is no certferry");
    while (read_line(from, line, sizeof line) != NULL) {
        if (strcmp(line, ".\n") == 0)
            return 0;
        (void)fputs(line, stdout);
        (void)fflush(stdout);
        if (!follow)
            return 0;
    }
    return fail(path, "the answer broke off: was the program killed?");
}

int control_client_ask(const char *path, const char *request, bool follow, bool until_gone)
{
    char why[256];
    int status = 1;
    int fd = control_client_connect(path);
    if (fd < 0) {
        (void)snprintf(why, sizeof why, "no certferry to talk to: %s%s", strerror(-fd),
                       fd == -EACCES ? "; ask as root or as the service user" : "");
        return fail(path, why);
    }
    int process = until_gone ? watch_process(fd) : -1;
    FILE *stream = fdopen(fd, "r");
    if (stream == NULL || !send_line(fd, request))
        (void)fail(path, strerror(errno));
    else if (!wait_readable(fd, CONTROL_CLIENT_PATIENCE_MS))
        (void)fail(path, "no answer");
    else
        status = copy_answer(stream, path, follow);
    if (status == 0 && process >= 0)
        (void)wait_readable(process, -1);
    if (stream != NULL)
        (void)fclose(stream);
    if (process >= 0)
        (void)close(process);
    return status;
}

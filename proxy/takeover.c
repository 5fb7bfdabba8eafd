#include "proxy/takeover.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/control_client.h"

enum {
    BATCH_MAX = 128,             /* descriptors in a message: twice what handover.h sends */
    TEXT_MAX = INHERIT_MAX * 24, /* octets of the answer */
};

/* The answer as it comes: the i-th descriptor belongs to the i-th line behind "ok". */
struct answer {
    struct buf text;
    int *fd; /* owned */
    size_t count, used;
};

static int fail(char *why, size_t size, int error, const char *text)
{
    (void)snprintf(why, size, "%s", text);
    return error;
}

/* ---- the other process ---- */

static int check_peer(struct takeover *t, uid_t service, char *why, size_t size)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    if (getsockopt(t->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return fail(why, size, -errno, strerror(errno));
    t->process = peer.pid;
    if (peer.uid == 0 || peer.uid == geteuid() || peer.uid == service)
        return 0;
    (void)snprintf(why, size,
                   "process %d listens there as user %u, who is neither root nor the service user",
                   (int)peer.pid, (unsigned)peer.uid);
    return -EPERM;
}

static int open_connection(struct takeover *t, const char *path, char *why, size_t size)
{
    const struct timeval patience = {.tv_sec = TAKEOVER_PATIENCE_MS / 1000};
    t->fd = control_client_connect(path);
    if (t->fd == -ENOENT || t->fd == -ECONNREFUSED) {
        t->fd = -1;
        return -ENOENT;
    }
    if (t->fd < 0)
        return fail(why, size, t->fd, strerror(-t->fd));
    (void)setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return 0;
}

/* ---- its answer ---- */

static int keep_descriptors(struct answer *a, struct cmsghdr *c)
{
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const unsigned char *data = CMSG_DATA(c);
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, data + i * sizeof fd, sizeof fd);
        if (a->count == INHERIT_MAX) {
            (void)close(fd);
            rc = -E2BIG;
        } else {
            a->fd[a->count++] = fd;
        }
    }
    return rc;
}

/* One message, or a part of its text. 0, -EPIPE at the end, or a negative errno. */
static int receive(int from, struct answer *a)
{
    char text[4096];
    union {
        struct cmsghdr header;
        char octets[CMSG_SPACE(BATCH_MAX * sizeof(int))];
    } control;
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.octets,
                             .msg_controllen = sizeof control.octets};
    ssize_t n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    int rc = n > 0 ? 0 : n == 0 ? -EPIPE : -errno;
    struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    for (; c != NULL; c = CMSG_NXTHDR(&message, c)) {
        int kept = 0;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            kept = keep_descriptors(a, c);
        rc = rc == 0 ? kept : rc;
    }
    if (rc == 0 && (message.msg_flags & MSG_CTRUNC))
        rc = -EMFILE; /* our own limit, or more than a message may hold: some are lost */
    return rc == 0 ? buf_add(&a->text, text, (size_t)n) : rc;
}

/* The next line; NULL when it is not whole yet, or none is left. */
static char *next_line(struct buf *text)
{
    char *line = buf_len(text) > 0 ? buf_head(text) : NULL;
    char *end = line != NULL ? memchr(line, '\n', buf_len(text)) : NULL;
    if (end == NULL)
        return NULL;
    *end = '\0';
    buf_consume(text, (size_t)(end - line) + 1);
    return line;
}

static bool is_whole(const struct buf *text)
{
    struct span s = buf_span(text);
    return s.len >= 3 && memcmp(s.ptr + s.len - 3, "\n.\n", 3) == 0;
}

static const char *describe(int error)
{
    return error == -EPIPE     ? "its answer broke off"
           : error == -EAGAIN  ? "no answer in time; if it hangs, end it and start as usual"
           : error == -ENOBUFS ? "its answer is too long"
           : error == -EMFILE  ? "more descriptors than this process may have; raise LimitNOFILE"
                               : strerror(-error);
}

/* Lines into sockets. The text was seen whole. */
static int take_lines(struct answer *a, struct inherit *in, char *why, size_t size)
{
    char *line = next_line(&a->text);
    if (line != NULL && strcmp(line, "error: unknown command") == 0)
        return fail(why, size, -EPROTO,
                    "the certferry there is too old to give its sockets away; restart it instead");
    if (line != NULL && strncmp(line, "error: ", 7) == 0)
        return fail(why, size, -EPROTO, line + 7);
    if (line == NULL || strcmp(line, "ok") != 0)
        return fail(why, size, -EPROTO, "this is no certferry");
    while ((line = next_line(&a->text)) != NULL && strcmp(line, ".") != 0) {
        if (a->used == a->count)
            return fail(why, size, -EPROTO, "it names more sockets than it gives");
        if (inherit_add(in, a->fd[a->used++], line) != 0)
            return fail(why, size, -ENOMEM, strerror(ENOMEM));
    }
    if (a->used < a->count)
        return fail(why, size, -EPROTO, "it gives more sockets than it names");
    return 0;
}

static int read_answer(int from, struct inherit *in, char *why, size_t size)
{
    struct answer a = {.fd = malloc(INHERIT_MAX * sizeof *a.fd)};
    int rc = a.fd != NULL ? 0 : -ENOMEM;
    buf_init(&a.text, TEXT_MAX);
    while (rc == 0 && !is_whole(&a.text))
        rc = receive(from, &a);
    if (rc == 0)
        rc = take_lines(&a, in, why, size);
    else
        rc = fail(why, size, rc == -ENOENT ? -EPROTO : rc, describe(rc));
    while (a.used < a.count)
        (void)close(a.fd[a.used++]);
    buf_release(&a.text);
    free(a.fd);
    return rc;
}

/* ---- the whole ---- */

int takeover_begin(struct takeover *t, const char *path, uid_t service, struct inherit *in,
                   char *why, size_t size)
{
    static const char request[] = "listeners\n";
    int rc = open_connection(t, path, why, size);
    if (rc != 0)
        return rc;
    rc = check_peer(t, service, why, size);
    if (rc == 0 && send(t->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        rc = fail(why, size, errno == ENOENT ? -EPROTO : -errno, strerror(errno));
    if (rc == 0)
        rc = read_answer(t->fd, in, why, size);
    if (rc != 0) {
        (void)close(t->fd);
        t->fd = -1;
    }
    return rc;
}

bool takeover_finish(struct takeover *t)
{
    static const char word[] = "taken\n";
    assert(t->fd >= 0);
    bool told = send(t->fd, word, sizeof word - 1, MSG_NOSIGNAL) == sizeof word - 1;
    (void)close(t->fd);
    t->fd = -1;
    return told;
}

#include "proxy/handover.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char taken_word[] = "taken\n";

enum {
    TAKEN_LENGTH = sizeof taken_word - 1,
    TEXT_MAX = HANDOVER_BATCH * 32 /* names of doors are short */
};

struct handover {
    uv_poll_t watch;
    uv_timer_t timer;
    unsigned handles; /* open ones; the last close frees */
    int fd;           /* owned */
    struct handover_options options;
    size_t sent;
    bool told;               /* all has gone, the other end has the word */
    char word[TAKEN_LENGTH]; /* what it has said so far */
    size_t said;
    struct handover_socket socket[];
};

static void on_closed(uv_handle_t *handle)
{
    struct handover *h = handle->data;
    if (--h->handles > 0)
        return;
    (void)close(h->fd);
    free(h);
}

void handover_stop(struct handover *h)
{
    uv_close((uv_handle_t *)&h->watch, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
}

static void end(struct handover *h, bool taken)
{
    handover_stop(h);
    h->options.on_end(h->options.arg, taken);
}

/* One that stays and says nothing would keep all later ones away. */
static void on_late(uv_timer_t *timer)
{
    end(timer->data, false);
}

/* ---- giving ---- */

/* The lines of the sockets `from` to `to`, with "ok" before the first and "." behind the last. */
static size_t print_lines(const struct handover *h, size_t from, size_t to, char text[TEXT_MAX])
{
    size_t len = 0;
    if (from == 0)
        len += (size_t)snprintf(text, TEXT_MAX, "ok\n");
    for (size_t i = from; i < to; i++)
        len += (size_t)snprintf(text + len, TEXT_MAX - len, "%s\n", door_name(h->socket[i].door));
    if (to == h->options.count)
        len += (size_t)snprintf(text + len, TEXT_MAX - len, ".\n");
    assert(len < TEXT_MAX);
    return len;
}

/* One message: text is never without the descriptors it tells of. 0 or a negative errno. */
static int send_batch(struct handover *h)
{
    char text[TEXT_MAX];
    union {
        struct cmsghdr header;
        char octets[CMSG_SPACE(HANDOVER_BATCH * sizeof(int))];
    } control = {.octets = {0}};
    size_t left = h->options.count - h->sent;
    size_t count = left < HANDOVER_BATCH ? left : HANDOVER_BATCH;
    struct iovec part = {text, print_lines(h, h->sent, h->sent + count, text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        int *fds = (int *)(void *)CMSG_DATA(&control.header);
        control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
                                          .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS};
        for (size_t i = 0; i < count; i++)
            fds[i] = h->socket[h->sent + i].fd;
        message.msg_control = control.octets;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    ssize_t n = sendmsg(h->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    h->sent += count;
    h->told = h->sent == h->options.count;
    return (size_t)n == part.iov_len ? 0 : -EPIPE; /* so short a text goes whole or not at all */
}

static void on_ready(uv_poll_t *watch, int status, int events);

static void give(struct handover *h)
{
    int rc = 0;
    while (rc == 0 && !h->told)
        rc = send_batch(h);
    if (rc == 0 || rc == -EAGAIN)
        rc =
            uv_poll_start(&h->watch, h->told ? UV_READABLE : UV_WRITABLE | UV_DISCONNECT, on_ready);
    if (rc != 0)
        end(h, false);
}

/* ---- hearing ---- */

static void hear(struct handover *h)
{
    ssize_t n = recv(h->fd, h->word + h->said, sizeof h->word - h->said, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    h->said += n > 0 ? (size_t)n : 0;
    bool fits = n > 0 && memcmp(h->word, taken_word, h->said) == 0;
    if (!fits || h->said == sizeof h->word)
        end(h, fits);
}

static void on_ready(uv_poll_t *watch, int status, int events)
{
    struct handover *h = watch->data;
    if (status < 0 || (!h->told && (events & UV_DISCONNECT)))
        end(h, false);
    else if (h->told)
        hear(h);
    else
        give(h);
}

/* ---- beginning ---- */

void handover_refuse(int fd, const char *why)
{
    char text[256];
    int n = snprintf(text, sizeof text, "error: %s\n.\n", why);
    assert(n > 0 && n < (int)sizeof text);
    (void)send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

/* The file's mode says it already; but a socket file is also what somebody makes of it. */
static bool is_ours(int fd, pid_t *process)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    *process = peer.pid;
    return peer.uid == 0 || peer.uid == geteuid();
}

struct handover *handover_begin(uv_loop_t *loop, int fd, const struct handover_options *options,
                                pid_t *process)
{
    struct handover *h = NULL;
    if (!is_ours(fd, process)) {
        handover_refuse(fd, "only root and the service user may take over");
        return NULL;
    }
    h = calloc(1, sizeof *h + options->count * sizeof *options->socket);
    if (h == NULL || uv_poll_init(loop, &h->watch, fd) != 0) {
        handover_refuse(fd, "out of memory");
        free(h);
        return NULL;
    }
    (void)uv_timer_init(loop, &h->timer);
    h->watch.data = h->timer.data = h;
    h->handles = 2;
    h->fd = fd;
    h->options = *options;
    memcpy(h->socket, options->socket, options->count * sizeof *options->socket);
    /* From the loop: what goes wrong is told after this has returned. */
    int rc = uv_poll_start(&h->watch, UV_WRITABLE | UV_DISCONNECT, on_ready);
    if (rc == 0)
        rc = uv_timer_start(&h->timer, on_late, options->patience_ms, 0);
    if (rc != 0) {
        handover_stop(h);
        return NULL;
    }
    return h;
}

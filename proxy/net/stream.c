#include "proxy/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(struct stream *s, unsigned events)
{
    s->can_read = s->can_read || (events & POLL_READABLE) != 0;
    s->can_write = s->can_write || (events & POLL_WRITABLE) != 0;
    s->fin_seen = s->fin_seen || (events & POLL_FIN) != 0;
    s->broken = s->broken || (events & POLL_BROKEN) != 0;
}

static void on_slot_ready(struct poll_slot *slot, unsigned events)
{
    struct stream *s = LIST_ITEM(slot, struct stream, slot);
    note(s, events);
    if (s->layer != NULL)
        s->can_read = s->can_write = true; /* either may have waited for the other */
    s->late = (events & POLL_LATE) != 0;
    if (s->gathers && (events & POLL_READABLE) != 0)
        poller_unresume(&s->slot); /* enough came in time */
    s->on_ready(s);
}

void stream_init(struct stream *s, stream_cb on_ready)
{
    *s = (struct stream){.on_ready = on_ready, .fd = -1};
    poll_slot_init(&s->slot, on_slot_ready);
}

static void start(struct stream *s, struct poller *poller, int fd)
{
    stream_init(s, s->on_ready);
    s->poller = poller;
    s->fd = fd;
}

int stream_open(struct stream *s, struct poller *poller, int fd)
{
    assert(!stream_is_open(s));
    start(s, poller, fd);
    /* The first edge tells the truth soon; until then trying costs no more than an EAGAIN. */
    s->can_read = s->can_write = true;
    int rc = poller_add(poller, &s->slot, fd);
    if (rc != 0) {
        (void)close(fd);
        s->fd = -1;
    }
    return rc;
}

void stream_adopt(struct stream *s, struct poller *poller, struct poll_slot *from, int fd,
                  unsigned events)
{
    assert(!stream_is_open(s));
    start(s, poller, fd);
    note(s, events);
    poller_move(poller, from, &s->slot, fd);
}

ssize_t stream_receive(struct stream *s, void *to, size_t size)
{
    ssize_t n;
    if (s->layer != NULL)
        return s->layer->receive(s, to, size);
    do {
        n = recv(s->fd, to, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        s->can_read = false;
        return -errno;
    }
    /* A short read has emptied the socket: the next octet or FIN makes a new edge (epoll(7)). */
    if (n == 0 || ((size_t)n < size && !s->fin_seen))
        s->can_read = false;
    return n;
}

ssize_t stream_peek(struct stream *s, void *to, size_t size)
{
    ssize_t n;
    assert(s->layer == NULL);
    do {
        n = recv(s->fd, to, size, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        s->can_read = false;
    return n < 0 ? -errno : n;
}

ssize_t stream_send_below(struct stream *s, const void *from, size_t size)
{
    ssize_t n;
    do {
        n = send(s->fd, from, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        s->can_write = false;
        return -errno;
    }
    if ((size_t)n < size)
        s->can_write = false;
    return n;
}

ssize_t stream_send(struct stream *s, const void *from, size_t size)
{
    return s->layer != NULL ? s->layer->send(s, from, size) : stream_send_below(s, from, size);
}

static ssize_t splice_some(int from, int to, size_t size)
{
    ssize_t n;
    do {
        n = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

bool stream_splices_in(const struct stream *s)
{
    return s->layer == NULL || (s->layer->splices_in != NULL && s->layer->splices_in(s));
}

bool stream_splices_out(const struct stream *s)
{
    return s->layer == NULL || (s->layer->splices_out != NULL && s->layer->splices_out(s));
}

/* A short move is no sign: a pipe is full of small pieces long before it is full of octets. */
ssize_t stream_receive_into(struct stream *s, int fd, size_t size)
{
    assert(stream_splices_in(s));
    ssize_t n = splice_some(s->fd, fd, size);
    if (n <= 0 && n != -EINVAL)
        s->can_read = false;
    return n;
}

ssize_t stream_send_from(struct stream *s, int fd, size_t size)
{
    assert(stream_splices_out(s));
    ssize_t n = splice_some(fd, s->fd, size); /* SIGPIPE is ignored (server.c) */
    if (n <= 0)
        s->can_write = false;
    return n == 0 ? -EPIPE : n;
}

void stream_shutdown(struct stream *s)
{
    if (s->fin_sent)
        return;
    s->fin_sent = true;
    if (s->layer != NULL)
        s->layer->shutdown(s);
    (void)shutdown(s->fd, SHUT_WR); /* fails only when the peer has reset: then reading tells */
}

void stream_resume(struct stream *s)
{
    poller_resume(s->poller, &s->slot);
}

/* Whether it keeps the descriptor. */
static bool release_layer(struct stream *s)
{
    bool keeps = s->layer->release(s);
    assert(!keeps || s->layer->may_keep);
    s->layer = NULL;
    return keeps;
}

void stream_drop_layer(struct stream *s)
{
    bool keeps = s->layer != NULL && release_layer(s);
    assert(!keeps);
    (void)keeps;
}

int stream_gather(struct stream *s, size_t octets)
{
    int least = (int)octets;
    if (setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least) != 0)
        return -errno;
    s->gathers = octets > 1;
    return 0;
}

void stream_await(struct stream *s)
{
    assert(s->gathers);
    poller_await(s->poller, &s->slot);
}

void stream_close(struct stream *s)
{
    if (!stream_is_open(s))
        return;
    bool keeps = false;
    if (s->layer != NULL && !s->fin_sent)
        s->layer->shutdown(s);
    if (s->layer != NULL && s->layer->may_keep) /* before another thread may close it */
        poller_unwatch(s->poller, &s->slot, s->fd);
    else
        poller_remove(s->poller, &s->slot, s->fd);
    if (s->layer != NULL)
        keeps = release_layer(s);
    if (!keeps)
        (void)close(s->fd);
    s->fd = -1;
}

void stream_abort(struct stream *s)
{
    if (!stream_is_open(s))
        return;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (s->layer != NULL && !s->layer->may_keep)
        (void)release_layer(s); /* without a word */
    stream_close(s);
}

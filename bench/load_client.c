#include "bench/load_client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/secure.h"
#include "bench/sockets.h"

enum { CHUNK = 256 * 1024, RECORDS = 64 /* of TLS, in one look at a stream */ };

static char scratch[CHUNK];

void client_close(struct client *c)
{
    if (c->tls != NULL)
        secure_end(c->tls);
    c->tls = NULL;
    if (c->phase != CLIENT_CLOSED)
        (void)close(c->fd);
    c->phase = CLIENT_CLOSED;
}

static enum client_result failed(struct client *c)
{
    client_close(c);
    return CLIENT_FAILED;
}

static ssize_t give(struct client *c, const char *from, size_t size)
{
    return c->tls != NULL ? secure_send(c->tls, from, size) : send(c->fd, from, size, MSG_NOSIGNAL);
}

static ssize_t take(struct client *c, int flags)
{
    return c->tls != NULL ? secure_receive(c->tls, scratch, sizeof scratch)
                          : recv(c->fd, scratch, sizeof scratch, flags);
}

static void ask(struct client *c)
{
    c->phase = CLIENT_ASKING;
    c->sent = c->got = 0;
    reply_begin(&c->reply);
}

/* False: the connection is gone. */
static bool send_rest(struct client *c, const char *text, size_t len)
{
    while (c->sent < len) {
        ssize_t n = give(c, text + c->sent, len - c->sent);
        if (n < 0)
            return errno == EAGAIN;
        c->sent += (size_t)n;
    }
    return true;
}

/* No two ClientHellos are alike: the same twice at once looks like a loop to who guards against it.
 */
static bool send_request(struct client *c, const struct plan *plan)
{
    static uint64_t serial;
    if (c->sent == 0 && plan->serial != NULL) {
        serial++;
        memcpy(plan->serial, &serial, sizeof serial);
    }
    return send_rest(c, plan->request, plan->request_len);
}

static void open_connection(struct client *c, const struct plan *plan, int epoll_fd)
{
    c->fd = socket_connect(plan->to);
    c->reused = false;
    ask(c);
    if (plan->opening != NULL)
        c->phase = CLIENT_OPENING;
    if (plan->tls != NULL) {
        c->tls = secure_begin(plan->tls, c->fd);
        c->phase = CLIENT_SHAKING;
    }
    /* Nothing is sent before the first edge tells that the connection stands. */
    socket_watch(epoll_fd, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
}

void client_begin(struct client *c, const struct plan *plan, int epoll_fd, uint64_t began_ns)
{
    c->began_ns = began_ns;
    if (c->phase == CLIENT_CLOSED) {
        open_connection(c, plan, epoll_fd);
        return;
    }
    ask(c);
    c->reused = true;
    /* What fails here fails again when epoll names it. */
    (void)send_request(c, plan);
}

static enum client_result done(struct client *c, bool close)
{
    c->phase = CLIENT_RESTING;
    if (close)
        client_close(c);
    return CLIENT_DONE;
}

/* The proxy may end a kept connection just when the next request begins: it is asked again. */
static enum client_result ended(struct client *c, const struct plan *plan, int epoll_fd)
{
    if (c->phase == CLIENT_ASKING && plan->kind == PLAN_HTTP) {
        if (reply_end(&c->reply) == REPLY_DONE)
            return done(c, true);
        if (c->reused && c->reply.head_len == 0) {
            client_close(c);
            open_connection(c, plan, epoll_fd);
            return CLIENT_PENDING;
        }
    }
    return failed(c);
}

static enum client_result take_echo(struct client *c, const struct plan *plan, size_t n)
{
    c->got += n;
    if (c->got > plan->request_len)
        return failed(c);
    if (c->got < plan->request_len)
        return CLIENT_PENDING;
    return done(c, plan->reconnect && !c->held);
}

static enum client_result take_answer(struct client *c, const struct plan *plan, size_t n)
{
    switch (reply_feed(&c->reply, scratch, n, true)) {
    case REPLY_MORE:
        return CLIENT_PENDING;
    case REPLY_DONE:
        return done(c, plan->reconnect || c->reply.close);
    case REPLY_BAD:
        break;
    }
    return failed(c);
}

/* False: the connection is gone. Records are small: several are taken in one look. */
static bool stream_in(struct client *c)
{
    for (unsigned i = 0; i < (c->tls != NULL ? RECORDS : 1); i++) {
        ssize_t n = take(c, MSG_TRUNC);
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        c->octets += (uint64_t)n;
    }
    return true;
}

static bool stream_out(struct client *c)
{
    for (unsigned i = 0; i < (c->tls != NULL ? RECORDS : 1); i++) {
        ssize_t n = give(c, scratch, sizeof scratch);
        if (n < 0)
            return errno == EAGAIN;
        c->octets += (uint64_t)n;
    }
    return true;
}

/*
 * One look is enough: the next batch's event tells of what comes later. MSG_TRUNC drops octets
 * instead of copying them (tcp(7)), so that the load is not the slowest part.
 */
static enum client_result stream(struct client *c, const struct plan *plan, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !stream_in(c))
        return failed(c);
    if (plan->sends && (events & EPOLLOUT) && !stream_out(c))
        return failed(c);
    return CLIENT_PENDING;
}

static enum client_result ask_or_stream(struct client *c, const struct plan *plan, int epoll_fd)
{
    if (!send_request(c, plan))
        return ended(c, plan, epoll_fd);
    if (plan->kind == PLAN_STREAM && c->sent == plan->request_len) {
        c->phase = CLIENT_STREAMING;
        socket_rewatch(epoll_fd, c->fd, EPOLLIN | (plan->sends ? (uint32_t)EPOLLOUT : 0), c);
    }
    return CLIENT_PENDING;
}

static enum client_result taken(struct client *c, const struct plan *plan, int epoll_fd, size_t n)
{
    if (c->phase == CLIENT_OPENING) {
        enum reply_state state = reply_feed(&c->reply, scratch, n, false);
        if (state == REPLY_BAD)
            return failed(c);
        if (state == REPLY_MORE)
            return CLIENT_PENDING;
        ask(c);
        return ask_or_stream(c, plan, epoll_fd);
    }
    if (c->phase != CLIENT_ASKING)
        return failed(c);
    return plan->kind == PLAN_HTTP ? take_answer(c, plan, n) : take_echo(c, plan, n);
}

static enum client_result exchange(struct client *c, const struct plan *plan, int epoll_fd)
{
    bool sent = c->phase == CLIENT_OPENING ? send_rest(c, plan->opening, plan->opening_len)
                                           : send_request(c, plan);
    if (!sent)
        return ended(c, plan, epoll_fd);
    if (plan->kind == PLAN_STREAM && c->phase == CLIENT_ASKING)
        return ask_or_stream(c, plan, epoll_fd);
    for (;;) {
        ssize_t n = take(c, 0);
        if (n < 0 && errno == EAGAIN)
            return CLIENT_PENDING;
        if (n <= 0)
            return ended(c, plan, epoll_fd);
        enum client_result result = taken(c, plan, epoll_fd, (size_t)n);
        if (result != CLIENT_PENDING || c->phase == CLIENT_STREAMING)
            return result;
    }
}

static enum client_result shake(struct client *c, const struct plan *plan, int epoll_fd)
{
    if (secure_shake(c->tls) != 0)
        return errno == EAGAIN ? CLIENT_PENDING : failed(c);
    c->phase = plan->opening != NULL ? CLIENT_OPENING : CLIENT_ASKING;
    return exchange(c, plan, epoll_fd);
}

enum client_result client_ready(struct client *c, const struct plan *plan, int epoll_fd,
                                uint32_t events)
{
    switch (c->phase) {
    case CLIENT_CLOSED:
        return CLIENT_PENDING;
    case CLIENT_RESTING:
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            client_close(c);
        return CLIENT_PENDING;
    case CLIENT_STREAMING:
        return stream(c, plan, events);
    case CLIENT_SHAKING:
        return shake(c, plan, epoll_fd);
    case CLIENT_OPENING:
    case CLIENT_ASKING:
        break;
    }
    return exchange(c, plan, epoll_fd);
}

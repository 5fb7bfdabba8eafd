/*
 * origin.c - the servers behind the proxy: bench_origin FIRST-PORT PROCESSES CERTIFICATE
 *
 * FIRST-PORT and the five after it: echo; a source (sends without end once anything has come); a
 * sink; both; HTTP; HTTPS with the file's certificate and key. Prints "ready" when all listen.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/origin_http.h"
#include "bench/secure.h"
#include "bench/sockets.h"
#include "bench/workers.h"

enum service {
    SERVICE_ECHO,
    SERVICE_SOURCE,
    SERVICE_SINK,
    SERVICE_BOTH,
    SERVICE_HTTP,
    SERVICE_HTTPS,
    SERVICES
};
enum { CHUNK = 256 * 1024, BATCH = 256, REQUEST_MAX = 32 * 1024 };

struct connection {
    int fd;
    struct ssl_st *tls; /* NULL: none */
    enum service service;
    bool listener;
    bool waits;      /* for room to send */
    bool close;      /* once all is sent */
    const char *out; /* what is still to be sent */
    size_t out_len;
    char *in; /* echo: what came; HTTP: an unfinished request */
    size_t in_len;
};

static int epoll_fd;
static struct ssl_ctx_st *tls;
static char scratch[CHUNK];

static void drop(struct connection *c)
{
    if (c->tls != NULL)
        secure_end(c->tls);
    (void)close(c->fd);
    free(c->in);
    c->fd = -1; /* main() frees */
}

static void watch(struct connection *c, bool waits)
{
    if (c->waits == waits)
        return;
    c->waits = waits;
    socket_rewatch(epoll_fd, c->fd, EPOLLIN | (waits ? (uint32_t)EPOLLOUT : 0), c);
}

static void flush(struct connection *c)
{
    while (c->out_len > 0) {
        ssize_t n = c->tls != NULL ? secure_send(c->tls, c->out, c->out_len)
                                   : send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            drop(c);
            return;
        }
        if (n < 0) {
            watch(c, true);
            return;
        }
        c->out += n;
        c->out_len -= (size_t)n;
    }
    if (c->close)
        drop(c);
    else
        watch(c, false);
}

/* Octets that came; 0 when the connection has ended and is gone. -1: nothing now. */
static ssize_t take(struct connection *c, char *to, size_t size, int flags)
{
    ssize_t n = c->tls != NULL ? secure_receive(c->tls, to, size) : recv(c->fd, to, size, flags);
    if (n < 0 && errno == EAGAIN)
        return -1;
    if (n <= 0) {
        drop(c);
        return 0;
    }
    return n;
}

static char *in_buffer(struct connection *c)
{
    if (c->in == NULL && (c->in = malloc(REQUEST_MAX)) == NULL)
        give_up("no memory for a connection of the origin");
    return c->in;
}

static void echo(struct connection *c)
{
    if (c->out_len > 0)
        return;
    ssize_t n = take(c, scratch, REQUEST_MAX, 0);
    if (n <= 0)
        return;
    ssize_t sent = send(c->fd, scratch, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    size_t done = sent > 0 ? (size_t)sent : 0;
    memcpy(in_buffer(c), scratch + done, (size_t)n - done);
    c->out = c->in;
    c->out_len = (size_t)n - done;
    flush(c);
}

static void http(struct connection *c)
{
    if (c->out_len > 0)
        return;
    char *in = in_buffer(c);
    ssize_t n = take(c, in + c->in_len, REQUEST_MAX - c->in_len, 0);
    if (n <= 0)
        return;
    c->in_len += (size_t)n;
    struct http_answer answer;
    size_t used = http_request(in, c->in_len, &answer);
    if (used == 0 && c->in_len == REQUEST_MAX)
        give_up("the HTTP origin got a request of more than %d octets", REQUEST_MAX);
    if (used == 0)
        return;
    memmove(in, in + used, c->in_len - used);
    c->in_len -= used;
    c->out = answer.data;
    c->out_len = answer.len;
    c->close = answer.close;
    flush(c);
}

static void stream(struct connection *c, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (take(c, scratch, sizeof scratch, MSG_TRUNC) == 0) /* dropped, not copied: tcp(7) */
            return;
        if (c->service != SERVICE_SINK)
            watch(c, true);
    }
    if (events & EPOLLOUT) {
        if (send(c->fd, scratch, sizeof scratch, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
            drop(c);
    }
}

static struct connection *new_connection(int fd, enum service service, bool listener)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        give_up("no memory for a connection of the origin");
    c->fd = fd;
    c->service = service;
    c->listener = listener;
    if (service == SERVICE_HTTPS && !listener)
        c->tls = secure_begin(tls, fd);
    socket_watch(epoll_fd, fd, EPOLLIN, c);
    return c;
}

static void accept_all(const struct connection *listener)
{
    int fd;
    while ((fd = socket_accept(listener->fd)) >= 0)
        (void)new_connection(fd, listener->service, false);
    if (errno == EMFILE || errno == ENFILE)
        give_up("the origin has no more descriptors; raise ulimit -n");
}

static void ready(struct connection *c, uint32_t events)
{
    if (c->listener)
        accept_all(c);
    else if (c->service != SERVICE_ECHO && c->service < SERVICE_HTTP)
        stream(c, events);
    else {
        if (events & EPOLLOUT)
            flush(c);
        if (c->fd >= 0 && (events & ~(uint32_t)EPOLLOUT))
            c->service == SERVICE_ECHO ? echo(c) : http(c);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        give_up("usage: bench_origin FIRST-PORT PROCESSES CERTIFICATE");
    unsigned long first = number_of(argv[1], "FIRST-PORT");
    pid_t parent = getpid();
    socket_raise_limit();
    tls = secure_server(argv[3]);
    workers_fork(number_of(argv[2], "PROCESSES"));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned s = 0; s < SERVICES; s++) {
        char port[16];
        (void)snprintf(port, sizeof port, "%lu", first + s);
        (void)new_connection(socket_listen(socket_address(port)), (enum service)s, true);
    }
    if (getpid() == parent) {
        (void)puts("ready");
        (void)fflush(stdout);
    }
    for (;;) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(epoll_fd, events, BATCH, -1);
        /* A descriptor has one event in a batch, so what is dropped has none after it. */
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            ready(c, events[i].events);
            if (c->fd < 0)
                free(c);
        }
    }
}

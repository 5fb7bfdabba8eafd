/*
 * relay.c - a relay that understands nothing, as the limit: bench_relay [--answer]
 * [--processes N] PORT:TARGET-PORT...
 *
 * What comes in on PORT goes to TARGET-PORT on loopback and back. No list, no limit, no deadline,
 * no log, no parsing. With --answer the first octets of a client are taken for a CONNECT, dropped
 * unread and answered with 200, so that as many packets pass as through a proxy.
 *
 * It relays as the proxy does at its best: one edge-triggered epoll, one buffer for all, and kernel
 * pipes (splice) once a receive has filled that buffer; pipes are held only while octets are in
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/sockets.h"
#include "bench/workers.h"

enum {
    CHUNK = 64 * 1024,
    PIPE = 1024 * 1024,
    PIPES_MAX = 64,
    BATCH = 256,
    TURN = 16 /* receives of one way in one turn */
};
#define ANSWER "HTTP/1.1 200 OK\r\n\r\n"

struct pipe {
    int from, to; /* descriptors; `from` is -1 when there is none */
    size_t len;   /* octets inside */
};

struct end {
    struct pair *pair; /* NULL: a listener */
    struct end *other;
    int fd;
    bool can_read, can_write, fin_seen, ended, fin_sent;
    bool bulk;        /* from here octets come faster than one buffer a time */
    struct pipe pipe; /* of octets that came from here */
    char *left;       /* the same when no pipe was used */
    size_t left_len, left_at;
    struct sockaddr_in target; /* listener */
};

struct pair {
    struct end client, origin;
    bool answered, broken, closed, resumed;
    struct pair *next_dead, *next_resumed;
};

static int epoll_fd;
static bool answers;
static char scratch[CHUNK];
static struct pipe pool[PIPES_MAX];
static size_t pool_count;
static struct pair *dead;    /* freed at the end of a batch: events may name them until then */
static struct pair *resumed; /* a long turn goes on after the others': no edge would tell */

/* ---- pipes ---- */

static bool pipe_take(struct pipe *p)
{
    int fds[2];
    if (pool_count > 0) {
        *p = pool[--pool_count];
        return true;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0)
        return false;
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE);
    *p = (struct pipe){fds[0], fds[1], 0};
    return true;
}

static void pipe_give_back(struct pipe *p)
{
    if (p->from < 0)
        return;
    if (p->len == 0 && pool_count < PIPES_MAX)
        pool[pool_count++] = *p;
    else {
        (void)close(p->from);
        (void)close(p->to);
    }
    p->from = -1;
    p->len = 0;
}

/* ---- one way ---- */

static size_t waiting(const struct end *from)
{
    return from->pipe.len + from->left_len - from->left_at;
}

/* Keeps what the receiver did not take. */
static void keep(struct end *from, const char *data, size_t len)
{
    from->left = malloc(len);
    if (from->left == NULL)
        give_up("no memory for %zu octets", len);
    memcpy(from->left, data, len);
    from->left_len = len;
    from->left_at = 0;
}

static void sent(struct end *to, ssize_t n)
{
    if (n >= 0)
        return;
    to->can_write = false;
    if (errno != EAGAIN)
        to->pair->broken = true;
}

static void flush_left(struct end *from, struct end *to)
{
    size_t len = from->left_len - from->left_at;
    ssize_t n = send(to->fd, from->left + from->left_at, len, MSG_NOSIGNAL);
    sent(to, n);
    from->left_at += n > 0 ? (size_t)n : 0;
    if (from->left_at < from->left_len)
        return;
    free(from->left);
    from->left = NULL;
    from->left_len = from->left_at = 0;
}

static void flush_pipe(struct end *from, struct end *to)
{
    struct pipe *p = &from->pipe;
    ssize_t n = splice(p->from, NULL, to->fd, NULL, p->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    sent(to, n);
    p->len -= n > 0 ? (size_t)n : 0;
    if (p->len == 0)
        pipe_give_back(p);
}

static void receive_ended(struct end *from, ssize_t n)
{
    from->can_read = false;
    if (n == 0)
        from->ended = true;
    else if (errno != EAGAIN)
        from->pair->broken = true;
}

static void receive_spliced(struct end *from)
{
    struct pipe *p = &from->pipe;
    ssize_t n = splice(from->fd, NULL, p->to, NULL, PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n <= 0) {
        pipe_give_back(p);
        receive_ended(from, n);
        return;
    }
    p->len += (size_t)n;
    from->bulk = n >= CHUNK;
}

static void receive_copied(struct end *from, struct end *to)
{
    ssize_t n = recv(from->fd, scratch, sizeof scratch, 0);
    if (n <= 0) {
        receive_ended(from, n);
        return;
    }
    from->bulk = (size_t)n == sizeof scratch;
    from->can_read = from->bulk || from->fin_seen; /* a short one has emptied the socket */
    ssize_t m = send(to->fd, scratch, (size_t)n, MSG_NOSIGNAL);
    sent(to, m);
    size_t done = m > 0 ? (size_t)m : 0;
    if (done < (size_t)n)
        keep(from, scratch + done, (size_t)n - done);
}

static void pump(struct end *from, struct end *to)
{
    for (unsigned turn = 0; turn < TURN && !from->pair->broken; turn++) {
        if (waiting(from) > 0 && !to->can_write)
            return;
        if (from->left != NULL)
            flush_left(from, to);
        else if (from->pipe.len > 0)
            flush_pipe(from, to);
        else if (!from->can_read || from->ended || !to->can_write)
            break;
        else if (from->bulk && pipe_take(&from->pipe))
            receive_spliced(from);
        else
            receive_copied(from, to);
    }
    if (from->ended && waiting(from) == 0 && !to->fin_sent) {
        to->fin_sent = true;
        (void)shutdown(to->fd, SHUT_WR);
    }
}

/* ---- pairs ---- */

static void end_close(struct end *e)
{
    if (e->fd >= 0)
        (void)close(e->fd);
    e->fd = -1;
    pipe_give_back(&e->pipe);
    free(e->left);
    e->left = NULL;
}

static void pair_close(struct pair *p)
{
    end_close(&p->client);
    end_close(&p->origin);
    p->closed = true;
    p->next_dead = dead;
    dead = p;
}

static void pair_connect(struct pair *p, struct sockaddr_in target)
{
    p->origin.fd = socket_connect(target);
    socket_watch(epoll_fd, p->origin.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &p->origin);
}

static void pair_answer(struct pair *p)
{
    if (p->origin.fd < 0) {
        ssize_t n = recv(p->client.fd, scratch, sizeof scratch, 0);
        if (n <= 0) {
            p->broken = n == 0 || errno != EAGAIN;
            return;
        }
        p->client.can_read = false;
        pair_connect(p, p->client.target);
    } else if (p->origin.can_write) {
        p->broken = send(p->client.fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0;
        p->answered = true;
    }
}

static bool can_go_on(const struct end *from, const struct end *to)
{
    return to->can_write && !from->ended && (from->can_read || waiting(from) > 0);
}

static void pair_resume(struct pair *p)
{
    if (p->resumed)
        return;
    p->resumed = true;
    p->next_resumed = resumed;
    resumed = p;
}

static void pair_ready(struct pair *p)
{
    if (!p->answered)
        pair_answer(p);
    if (p->answered && !p->broken) {
        pump(&p->client, &p->origin);
        pump(&p->origin, &p->client);
    }
    if (p->broken || (p->client.fin_sent && p->origin.fin_sent))
        pair_close(p);
    else if (p->answered &&
             (can_go_on(&p->client, &p->origin) || can_go_on(&p->origin, &p->client)))
        pair_resume(p);
}

static void resume_all(void)
{
    struct pair *p = resumed;
    resumed = NULL;
    while (p != NULL) {
        struct pair *next = p->next_resumed;
        p->resumed = false;
        if (!p->closed)
            pair_ready(p);
        p = next;
    }
}

static void accept_all(const struct end *listener)
{
    int fd;
    while ((fd = socket_accept(listener->fd)) >= 0) {
        struct pair *p = calloc(1, sizeof *p);
        if (p == NULL)
            give_up("no memory for a connection");
        p->client = (struct end){.pair = p, .other = &p->origin, .fd = fd, .pipe.from = -1};
        p->origin = (struct end){.pair = p, .other = &p->client, .fd = -1, .pipe.from = -1};
        p->client.target = listener->target;
        p->answered = !answers;
        socket_watch(epoll_fd, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &p->client);
        if (!answers)
            pair_connect(p, listener->target);
    }
    if (errno == EMFILE || errno == ENFILE)
        give_up("no more descriptors; raise ulimit -n");
}

static void ready(struct end *e, uint32_t events)
{
    if (e->pair == NULL) {
        accept_all(e);
        return;
    }
    if (e->fd < 0)
        return;
    e->can_read = e->can_read || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    e->can_write = e->can_write || (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    e->fin_seen = e->fin_seen || (events & EPOLLRDHUP) != 0;
    pair_ready(e->pair);
}

static void listen_on(const char *pair)
{
    const char *colon = strchr(pair, ':');
    char port[16];
    if (colon == NULL)
        give_up("%s: PORT:TARGET-PORT is needed", pair);
    (void)snprintf(port, sizeof port, "%.*s", (int)(colon - pair), pair);
    struct end *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        give_up("no memory");
    listener->fd = socket_listen(socket_address(port));
    listener->target = socket_address(colon + 1);
    socket_watch(epoll_fd, listener->fd, EPOLLIN, listener);
}

static void free_dead(void)
{
    while (dead != NULL) {
        struct pair *p = dead;
        dead = p->next_dead;
        free(p);
    }
}

int main(int argc, char **argv)
{
    unsigned long processes = 1;
    int first = 1;
    if (first < argc && strcmp(argv[first], "--answer") == 0) {
        answers = true;
        first++;
    }
    if (first + 1 < argc && strcmp(argv[first], "--processes") == 0) {
        processes = number_of(argv[first + 1], "--processes");
        first += 2;
    }
    if (argc <= first)
        give_up("usage: bench_relay [--answer] [--processes N] PORT:TARGET-PORT...");
    (void)signal(SIGPIPE, SIG_IGN); /* splice() knows no MSG_NOSIGNAL */
    socket_raise_limit();
    workers_fork(processes);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = first; i < argc; i++)
        listen_on(argv[i]);
    for (;;) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(epoll_fd, events, BATCH, resumed != NULL ? 0 : -1);
        for (int i = 0; i < n; i++)
            ready(events[i].data.ptr, events[i].events);
        resume_all();
        free_dead();
    }
}

#include "proxy/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TURN_ACCEPTS = 64,
    PAUSE_MS = 100 /* until the next try when descriptors ran out */
};

struct listener {
    struct netloop net;
    struct listener_options options;
    struct poll_slot slot;
    struct deadline pause;
};

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

/* Accepted sockets inherit these, which saves calls for each connection. */
static void set_inherited(int fd)
{
    (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 120);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 30);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

static int open_one(const struct addr *address, bool first)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    int rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && address->sa.sa_family == AF_INET6)
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (rc == 0 && !first)
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && bind(fd, &address->sa, addr_len(address)) != 0)
        rc = -errno;
    if (rc == 0 && first)
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    set_inherited(fd);
    return fd;
}

int listener_open(struct addr *address, int backlog, int *fds, size_t count)
{
    size_t opened = 0;
    int rc = 0;
    while (opened < count) {
        int fd = open_one(address, opened == 0);
        if (fd < 0) {
            rc = fd;
            break;
        }
        fds[opened++] = fd;
        socklen_t size = sizeof *address;
        /* After the first bind the port is known, also when the system chose it. */
        if (getsockname(fd, &address->sa, &size) != 0 || listen(fd, backlog) != 0) {
            rc = -errno;
            break;
        }
    }
    while (rc != 0 && opened > 0)
        (void)close(fds[--opened]);
    return rc;
}

int listener_adopt(int fd, int backlog)
{
    set_inherited(fd);
    return listen(fd, backlog) == 0 ? 0 : -errno;
}

/* One connection. 0, -EAGAIN when none waits, or a negative errno that asks for a pause. */
static int accept_one(struct listener *l)
{
    struct addr client = {0};
    socklen_t size = sizeof client;
    int fd = accept4(l->options.fd, &client.sa, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        l->options.on_accept(l->options.arg, fd, &client);
        return 0;
    }
    /* Errors of the connection itself are reported here too (accept(2)): the next one may be fine.
     */
    bool of_listener = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ||
                       errno == EAGAIN;
    return of_listener ? -errno : 0;
}

static void accept_some(struct listener *l)
{
    for (unsigned n = 0; n < TURN_ACCEPTS; n++) {
        bool held = l->options.hold(l->options.arg);
        int rc = held ? -EMFILE : accept_one(l);
        if (rc == -EAGAIN)
            return;
        if (rc != 0) {
            /* Edge-triggered: nothing calls again by itself, so nothing spins either. */
            if (!held)
                l->options.on_pause(l->options.arg);
            deadline_set(l->net.deadlines, &l->pause, PAUSE_MS);
            return;
        }
    }
    poller_resume(l->net.poller, &l->slot);
}

static void on_listener_ready(struct poll_slot *slot, unsigned events)
{
    (void)events;
    accept_some(LIST_ITEM(slot, struct listener, slot));
}

static void on_pause_over(struct deadline *d)
{
    accept_some(LIST_ITEM(d, struct listener, pause));
}

int listener_create(struct listener **out, const struct netloop *net,
                    const struct listener_options *options)
{
    struct listener *l = calloc(1, sizeof *l);
    int rc = -ENOMEM;
    if (l != NULL) {
        l->net = *net;
        l->options = *options;
        poll_slot_init(&l->slot, on_listener_ready);
        deadline_init(&l->pause, on_pause_over);
        rc = poller_add(net->poller, &l->slot, options->fd);
    }
    if (rc != 0) {
        (void)close(options->fd);
        free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void listener_close(struct listener *l)
{
    while (accept_one(l) == 0) {
    }
    /* Another worker or process may have the same socket. */
    poller_unwatch(l->net.poller, &l->slot, l->options.fd);
    deadline_clear(l->net.deadlines, &l->pause);
    (void)close(l->options.fd);
    free(l);
}

/*
 * listener.h - the listening sockets: bound once, one for each worker, and accepting on them.
 *
 * Knows no protocol. Opening: main thread. Accepting: the worker's loop.
 */
#ifndef CERTFERRY_LISTENER_H
#define CERTFERRY_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/net/netloop.h"

/*
 * Opens `count` sockets on `address`, one for each worker. Port 0 in `address` is replaced by the
 * one chosen. The first is bound without SO_REUSEPORT, which is set only afterwards: so a second
 * instance, or anybody else, finds the port taken instead of sharing it silently, and no lock and
 * no probe leave a gap in between. 0 with `fds` filled and owned by the caller, or a negative errno
 * with none open.
 */
int listener_open(struct addr *address, int backlog, int *fds, size_t count);

/* The same for a listening socket that is there already. 0 or a negative errno. */
int listener_adopt(int fd, int backlog);

struct listener;

/* `fd` is taken by the callee. */
typedef void (*listener_cb)(void *arg, int fd, const struct addr *client);

struct listener_options {
    int fd; /* taken */
    listener_cb on_accept;
    bool (*hold)(void *arg);     /* true: leave connections in the backlog for now */
    void (*on_pause)(void *arg); /* descriptors ran out */
    void *arg;
};

/* Returns owned in `*out`. 0 or a negative code, then the descriptor is closed. */
int listener_create(struct listener **out, const struct netloop *net,
                    const struct listener_options *options);

/* Accepts what is in the backlog, so that nobody is reset who came in time, then closes and frees.
 */
void listener_close(struct listener *l);

#endif

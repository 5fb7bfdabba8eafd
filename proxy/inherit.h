/*
 * inherit.h - listening sockets that were opened before us: by a service manager that hands them on
 * (sd_listen_fds(3)), or by the certferry that we take over from.
 *
 * Every socket of an address is kept: with SO_REUSEPORT each has a queue of its own, and what is in
 * it is lost with it. Which of them are used is the configuration's affair alone. Main thread.
 */
#ifndef CERTFERRY_INHERIT_H
#define CERTFERRY_INHERIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/session/door.h"

enum { INHERIT_MAX = 16384 /* sockets */ };

struct inherited {
    int fd;          /* owned */
    uint64_t cookie; /* the kernel's number for the socket; 0: it tells none */
    struct addr address;
    enum door_kind door; /* that it is for; DOOR_COUNT: not told */
    bool taken;          /* `fd` is somebody else's */
};

struct inherit {
    struct inherited *item; /* owned */
    size_t count;
};

/*
 * Takes the descriptors that LISTEN_FDS tells of, when LISTEN_PID is us, and takes the variables
 * away. What is no listening TCP socket is closed, with a line in the log. To be called before any
 * descriptor is opened. False: the variables make no sense, told.
 */
bool inherit_environment(struct inherit *in);

/*
 * One more socket, taken: closed when it cannot be used, with the reason in the log, or when it is
 * there already. From then on it does not block and is closed on exec. `name` is the door's, or any
 * text. 0 or -ENOMEM.
 */
int inherit_add(struct inherit *in, int fd, const char *name);

/*
 * The next socket that listens at `wanted`, unless it is named for another door: a descriptor,
 * owned by the caller. Port 0 takes the port of a socket that is named for this door, and is
 * replaced by it. -ENOENT: none is left.
 */
int inherit_take(struct inherit *in, struct addr *wanted, enum door_kind door);

/* Closes what nobody took, each address with a line in the log, and frees. */
void inherit_end(struct inherit *in);

#endif

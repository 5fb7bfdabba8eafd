/*
 * takeover.h - takes the listening sockets of the certferry that runs already, over its control
 * socket, and tells it to go once we are ready; handover.h is the other end.
 *
 * Until takeover_finish() the other one serves on as if nothing had been, whatever becomes of us.
 * Blocks; before the main loop and before system calls are confined.
 */
#ifndef CERTFERRY_TAKEOVER_H
#define CERTFERRY_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proxy/inherit.h"

enum { TAKEOVER_PATIENCE_MS = 10000 };

struct takeover {
    int fd;        /* the connection; -1: none */
    pid_t process; /* the other one */
};

/*
 * Asks whoever listens at `path`, who must run as root, as ourselves or as `service`, for all
 * sockets; they are added to `in`. 0; -ENOENT: nobody is there; another negative errno, with the
 * reason in `why`.
 */
int takeover_begin(struct takeover *t, const char *path, uid_t service, struct inherit *in,
                   char *why, size_t size);

/* We are ready: the other one may go. False: it did not wait so long, and is not told. */
bool takeover_finish(struct takeover *t);

#endif

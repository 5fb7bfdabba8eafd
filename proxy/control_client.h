/*
 * control_client.h - the other end of control_socket.h: commands that talk to a running certferry.
 *
 * A short-lived process of its own; blocks.
 */
#ifndef CERTFERRY_CONTROL_CLIENT_H
#define CERTFERRY_CONTROL_CLIENT_H

#include <stdbool.h>

enum {
    CONTROL_CLIENT_PATIENCE_MS = 10000, /* for the first line; the rest may take hours */
};

/* A connection to the program at the socket `path`: a descriptor, owned, or a negative errno. */
int control_client_connect(const char *path);

/*
 * Sends `request` (one line, without its end) to the program at the socket `path` and copies its
 * answer to standard output. `until_gone`: also waits until that process has ended. `follow` off:
 * the first lines are enough. Returns the exit status: 0; 1 with a line on standard error when
 * nobody is there, the answer is an error, or it breaks off.
 */
int control_client_ask(const char *path, const char *request, bool follow, bool until_gone);

#endif

/*
 * control_socket.h - where commands like `certferry drain` meet the running program: a Unix socket.
 *
 * Only root and the service user may connect (mode 0600). The protocol is lines of ASCII: one
 * request, "COMMAND [OPERANDS]", of at most CONTROL_SOCKET_REQUEST_MAX octets; the answer begins
 * with the line "ok" or "error: why", goes on with lines of text or JSON, none of which is a dot
 * alone, and is complete with the line ".". Then we close. Who sends no request in time, or
 * does not read, is closed; so is who comes when CONTROL_SOCKET_CLIENTS_MAX are there. Main thread.
 */
#ifndef CERTFERRY_CONTROL_SOCKET_H
#define CERTFERRY_CONTROL_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "proxy/base/buf.h"

enum {
    CONTROL_SOCKET_CLIENTS_MAX = 8,
    CONTROL_SOCKET_REQUEST_MAX = 256,       /* octets, with its end */
    CONTROL_SOCKET_PATIENCE_MS = 5000,      /* for the whole request */
    CONTROL_SOCKET_ANSWER_MAX = 1048576,    /* octets of an answer */
    CONTROL_SOCKET_UNREAD_MAX = 2 * 1048576 /* octets that a reader leaves waiting in us */
};

struct control_socket_command {
    const char *name;
    /* Writes whole lines to `answer`. False: that is all; true: control_socket_tell() adds lines
     * until control_socket_close(). */
    bool (*run)(void *arg, struct span operands, struct buf *answer);
    /* Instead of `run`, where it is not NULL: from here on the connection `fd`, taken, is the
     * command's own affair. It does not block. */
    void (*take)(void *arg, int fd);
};

struct control_socket_options {
    const struct control_socket_command *commands; /* borrowed */
    size_t command_count;
    void *arg; /* of `run` */
};

struct control_socket;

/*
 * Makes the socket file `path`. One that nobody listens on any more is replaced; one in use is
 * -EADDRINUSE. Returns owned in `*out`; 0 or a negative errno.
 */
int control_socket_open(struct control_socket **out, uv_loop_t *loop, const char *path,
                        const struct control_socket_options *options);

/* The file becomes `path`, of the same directory, in one step and in place of another's that is
 * there: who connects finds the one or the other. 0 or a negative errno. */
int control_socket_rename(struct control_socket *c, const char *path);

/* One more line, without its end, for all who stay. */
void control_socket_tell(struct control_socket *c, const char *line);

/* Completes the answers of those who stay, closes all, takes the file away if it is still ours.
 * Frees itself on the loop. */
void control_socket_close(struct control_socket *c);

#endif

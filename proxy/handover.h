/*
 * handover.h - gives our listening sockets to the certferry that takes over from us, over a
 * connection of the control socket; takeover.h is the other end.
 *
 * The answer is the line "ok", then one with the door of each socket, whose descriptor goes with it
 * (SCM_RIGHTS, at most HANDOVER_BATCH in a message), then ".". From then on both serve. The line
 * "taken" from the other end says that it is ready and that we may go; when the connection ends
 * before, or nothing is said for too long, we go on as if nothing had been. Main loop only.
 */
#ifndef CERTFERRY_HANDOVER_H
#define CERTFERRY_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "proxy/session/door.h"

enum {
    HANDOVER_BATCH = 64,
    HANDOVER_PATIENCE_MS = 60 * 1000 /* a start that loads keys from a slow TPM is over by then */
};

struct handover_socket {
    int fd; /* borrowed until handover_stop() or the end */
    enum door_kind door;
};

struct handover_options {
    const struct handover_socket *socket; /* copied */
    size_t count;
    uint64_t patience_ms; /* for the other end's word, from the beginning on */
    /* Once, and not before handover_begin() returns. Whether it took them: else all is as before.
     */
    void (*on_end)(void *arg, bool taken);
    void *arg;
};

struct handover;

/*
 * Begins on the connection `fd`, taken. Returns it, which frees itself with its end; NULL when the
 * other process is not ours, or out of memory: the connection is closed then. `process` is the
 * other end's.
 */
struct handover *handover_begin(uv_loop_t *loop, int fd, const struct handover_options *options,
                                pid_t *process);

/* The other way: the connection `fd`, taken, gets one line with the reason. */
void handover_refuse(int fd, const char *why);

/* No sockets are given any more, nothing is called. Frees itself on the loop. */
void handover_stop(struct handover *h);

#endif

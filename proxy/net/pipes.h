/*
 * pipes.h - kernel pipes through which octets go from one socket to another without being copied
 * into the process (splice(2)). A pool for each worker; a pipe is lent while octets are in it, so
 * that few serve many connections. Loop thread only.
 */
#ifndef CERTFERRY_NET_PIPES_H
#define CERTFERRY_NET_PIPES_H

#include <stddef.h>
#include <sys/types.h>

#include "proxy/net/stream.h"

struct pipes;
struct pipe;

/* Returns owned; NULL when out of memory. Lends nothing before pipes_set_limits(). */
struct pipes *pipes_create(void);

/* All must have been given back. */
void pipes_destroy(struct pipes *p);

/* At most `most` pipes (limit.pipes) of `octets` each (limit.pipe); those that are too many close
 * when they come back. */
void pipes_set_limits(struct pipes *p, size_t most, size_t octets);

/* An empty one, lent; NULL: none is to be had, copy instead. */
struct pipe *pipes_take(struct pipes *p);

/* Octets still in it are lost. */
void pipes_give(struct pipes *p, struct pipe *pipe);

/* Octets in it. */
size_t pipe_len(const struct pipe *pipe);

/*
 * Fills an empty pipe with what waits at `from`: octets moved (> 0), 0 at the peer's FIN, -EAGAIN
 * or another negative errno.
 */
ssize_t pipe_fill(struct pipe *pipe, struct stream *from);

/* Sends what is in it: octets taken (> 0), -EAGAIN or another negative errno. */
ssize_t pipe_drain(struct pipe *pipe, struct stream *to);

#endif

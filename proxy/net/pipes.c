#include "proxy/net/pipes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Less is slower than copying: what the kernel gives a user who has too many pipes. */
enum {
    WORTHWHILE_OCTETS = 65536,
    REFUSED_TAKES =
        4096 /* so many copy before the kernel is asked again: asking costs five calls */
};

struct pipe {
    struct pipe *next; /* in `idle` */
    int in, out;       /* descriptors: written to, read from */
    size_t octets;     /* it can hold */
    size_t len;        /* it holds */
};

struct pipes {
    struct pipe *idle;
    size_t count; /* idle and lent ones */
    size_t most, octets;
    unsigned refused; /* takes that still do without a new pipe */
};

struct pipes *pipes_create(void)
{
    return calloc(1, sizeof(struct pipes));
}

static void pipe_close(struct pipes *p, struct pipe *pipe)
{
    (void)close(pipe->in);
    (void)close(pipe->out);
    free(pipe);
    p->count--;
}

static void close_idle(struct pipes *p)
{
    while (p->idle != NULL) {
        struct pipe *pipe = p->idle;
        p->idle = pipe->next;
        pipe_close(p, pipe);
    }
}

void pipes_destroy(struct pipes *p)
{
    close_idle(p);
    assert(p->count == 0);
    free(p);
}

void pipes_set_limits(struct pipes *p, size_t most, size_t octets)
{
    if (p->most != most || p->octets != octets)
        close_idle(p);
    p->most = most;
    p->octets = octets;
    p->refused = 0;
}

static struct pipe *pipe_open(size_t octets)
{
    struct pipe *pipe = calloc(1, sizeof *pipe);
    int fd[2];
    if (pipe == NULL)
        return NULL;
    if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(pipe);
        return NULL;
    }
    pipe->out = fd[0];
    pipe->in = fd[1];
    int size = fcntl(pipe->in, F_SETPIPE_SZ, (int)octets);
    if (size < 0)
        size = fcntl(pipe->in, F_GETPIPE_SZ);
    pipe->octets = size > 0 ? (size_t)size : 0;
    return pipe;
}

struct pipe *pipes_take(struct pipes *p)
{
    struct pipe *pipe = p->idle;
    if (pipe != NULL) {
        p->idle = pipe->next;
        return pipe;
    }
    if (p->count >= p->most)
        return NULL;
    if (p->refused > 0) {
        p->refused--;
        return NULL;
    }
    pipe = pipe_open(p->octets);
    if (pipe != NULL) {
        p->count++;
        if (pipe->octets >= WORTHWHILE_OCTETS)
            return pipe;
        pipe_close(p, pipe);
    }
    p->refused = REFUSED_TAKES;
    return NULL;
}

void pipes_give(struct pipes *p, struct pipe *pipe)
{
    if (pipe->len > 0 || p->count > p->most) {
        pipe_close(p, pipe);
        return;
    }
    pipe->next = p->idle;
    p->idle = pipe;
}

size_t pipe_len(const struct pipe *pipe)
{
    return pipe->len;
}

ssize_t pipe_fill(struct pipe *pipe, struct stream *from)
{
    assert(pipe->len == 0); /* else -EAGAIN could mean that the pipe is full */
    ssize_t n = stream_receive_into(from, pipe->in, pipe->octets);
    if (n > 0)
        pipe->len = (size_t)n;
    return n;
}

ssize_t pipe_drain(struct pipe *pipe, struct stream *to)
{
    ssize_t n = stream_send_from(to, pipe->out, pipe->len);
    if (n > 0)
        pipe->len -= (size_t)n;
    return n;
}

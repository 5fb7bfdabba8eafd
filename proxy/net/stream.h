/*
 * stream.h - the one connection type: readiness-pull over a descriptor of ours.
 *
 * The owner is told when something may have become possible and then receives and sends until
 * -EAGAIN or until `can_read`/`can_write` say that nothing waits. Octets that were not sent belong
 * to the owner, never to the stream; the next send begins with them. What passes is not looked at;
 * they may be inside TLS of our own (stream_tls.h). Errors are negative errno values. Loop
 * thread only.
 */
#ifndef CERTFERRY_NET_STREAM_H
#define CERTFERRY_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proxy/net/poller.h"

struct stream;
typedef void (*stream_cb)(struct stream *s);

/* What stands between owner and descriptor, if anything does: see stream_tls.h. */
struct stream_layer {
    ssize_t (*receive)(struct stream *s, void *to, size_t size);
    ssize_t (*send)(struct stream *s, const void *from, size_t size);
    void (*shutdown)(struct stream *s);
    /* The layer ends. True: the descriptor is another thread's still, which closes it. */
    bool (*release)(struct stream *s);
    /* Whether the kernel does the layer's work now, so that octets can be spliced; may be NULL. */
    bool (*splices_in)(const struct stream *s);
    bool (*splices_out)(const struct stream *s);
    bool may_keep; /* release() may say true */
};

/* Embedded in its owner. */
struct stream {
    struct poll_slot slot;
    struct poller *poller;            /* borrowed */
    stream_cb on_ready;               /* never called from inside a stream_...() call */
    const struct stream_layer *layer; /* NULL: the octets of the descriptor are the owner's */
    void *layer_state;
    int fd;        /* -1: not open */
    bool can_read; /* a receive may succeed (octets, FIN or error wait) */
    bool can_write;
    bool fin_seen; /* the peer's FIN is queued or was received: a short read is not the end of news
                    */
    bool fin_sent; /* stream_shutdown() was called */
    bool gathers;  /* see stream_gather() */
    bool late;     /* `on_ready` comes because stream_await() was called and nothing came since */
    bool broken;   /* reset or failed; with fin_sent also the regular end of both sides */
};

/* A stream that is not open: the only state in which it may be forgotten. */
void stream_init(struct stream *s, stream_cb on_ready);

/* Takes `fd`, non-blocking and connected, and watches it. 0 or a negative code: then `fd` is
 * closed. */
int stream_open(struct stream *s, struct poller *poller, int fd);

/* The same for a descriptor that `from` watches already (a dial's or a pool's slot), which has been
 * told of `events`. */
void stream_adopt(struct stream *s, struct poller *poller, struct poll_slot *from, int fd,
                  unsigned events);

static inline bool stream_is_open(const struct stream *s)
{
    return s->fd >= 0;
}

/* Octets received (> 0), 0 at the peer's FIN, -EAGAIN or another negative errno. */
ssize_t stream_receive(struct stream *s, void *to, size_t size);

/* Octets taken (> 0), -EAGAIN or another negative errno. */
ssize_t stream_send(struct stream *s, const void *from, size_t size);

/* The same to the descriptor itself: for layers. */
ssize_t stream_send_below(struct stream *s, const void *from, size_t size);

/*
 * Looks at what waits without taking it: the results of stream_receive(). Only without a layer.
 * What has been looked at makes no new edge: look again when more has come.
 */
ssize_t stream_peek(struct stream *s, void *to, size_t size);

/* Whether stream_receive_into() and stream_send_from() may be called now. */
bool stream_splices_in(const struct stream *s);
bool stream_splices_out(const struct stream *s);

/*
 * The same from or into the pipe `fd`, uncopied (splice(2)); results as above. The pipe must have
 * room or octets, so that -EAGAIN is the socket's word. -EINVAL: what waits cannot be spliced (a
 * TLS alert), stream_receive() takes it.
 */
ssize_t stream_receive_into(struct stream *s, int fd, size_t size);
ssize_t stream_send_from(struct stream *s, int fd, size_t size);

/* From now on the octets of the descriptor are the owner's; the layer says nothing more. Harmless
 * without one. */
void stream_drop_layer(struct stream *s);

/* Sends our FIN behind what was sent. Twice is harmless. */
void stream_shutdown(struct stream *s);

/* `on_ready` comes again on the loop's next round: for work left over when a turn was long enough.
 */
void stream_resume(struct stream *s);

/*
 * For octets that come in plenty: from now on `on_ready` tells of octets once so many wait
 * (SO_RCVLOWAT), and of FIN and errors as ever. So that fewer do not wait for ever, stream_await()
 * is called when all there was is taken: unless there is news before, `on_ready` comes in 5 to
 * 10 ms with `late` set. 1 octet: as usual, and what waits is told. 0 or a negative errno.
 */
int stream_gather(struct stream *s, size_t octets);
void stream_await(struct stream *s);

/* Closes in order: octets taken by stream_send() still reach the peer. Harmless when not open. */
void stream_close(struct stream *s);

/* Closes with a reset, so that the peer cannot take what it has got for the whole. */
void stream_abort(struct stream *s);

#endif

/*
 * tunnel.h - both directions between two streams: back-pressure, half-close, bounded memory.
 *
 * Octets pass unread and unchanged; no TLS library is anywhere near. Holds memory only while a
 * receiver is slower than its sender, and then at most one receive's worth each way. Few octets are
 * received and sent; many go through a pipe of the kernel, held only while octets are in it. Serves
 * CONNECT; later SNI pass-through and the agent alike. Has no timers and no callbacks: its owner
 * calls tunnel_pump() when a stream is ready. Loop thread only.
 */
#ifndef CERTFERRY_SESSION_TUNNEL_H
#define CERTFERRY_SESSION_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/net/pipes.h"
#include "proxy/net/stream.h"

enum { TUNNEL_UP, TUNNEL_DOWN }; /* client to origin, origin to client */

struct tunnel_way {
    struct buf waiting;   /* received, not yet taken by the receiver */
    struct pipe *pipe;    /* lent: octets are in it, and none in `waiting`; NULL: none */
    uint64_t octets;      /* taken by the receiver so far */
    bool bulk;            /* the last receive was a full one: more waits */
    uint16_t spliced_kib; /* since the last look for a rush */
    bool ended;           /* the sender has sent its FIN, or failed */
    bool fin;             /* it was a FIN */
    bool closed;          /* and the receiver was told */
    bool starved;         /* octets were lost for want of memory */
};

struct tunnel {
    struct tunnel_way way[2];
    struct pipes *pipes; /* borrowed; NULL: all is copied */
    size_t receive_max;  /* octets of one receive, so that no more may have to wait */
    bool client_broke;   /* reset or failed: nothing can be delivered there */
    bool origin_broke;
    bool client_reset; /* broke without a FIN before: worth telling, behind one it is no news */
    bool origin_reset;
};

enum tunnel_status {
    TUNNEL_QUIET,  /* nothing moved; wait for a stream */
    TUNNEL_MOVED,  /* octets or a FIN moved; wait for a stream */
    TUNNEL_CLOSED, /* both ways are at their end, everything is delivered or undeliverable */
};

/* `max` octets may wait in each direction, besides those in a pipe. Allocates nothing. */
void tunnel_init(struct tunnel *t, size_t max, struct pipes *pipes);

/* Takes octets that were there before the tunnel was open, as the first of `way`; `early` is empty
 * afterwards. */
void tunnel_take_early(struct tunnel *t, unsigned way, struct buf *early);

/*
 * Moves what can be moved. `scratch` (of `size` octets) is used during the call only. A long turn
 * ends early and resumes itself on the loop's next round, so that one fast pair cannot starve the
 * others.
 */
enum tunnel_status tunnel_pump(struct tunnel *t, struct stream *client, struct stream *origin,
                               char *scratch, size_t size);

/* One way has ended, the other not. */
bool tunnel_half_closed(const struct tunnel *t);

/* Gives memory and pipes back. Harmless twice. */
void tunnel_release(struct tunnel *t);

#endif

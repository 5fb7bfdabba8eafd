/*
 * poller.h - readiness of many descriptors on one loop: an edge-triggered epoll of our own behind a
 * single uv_poll.
 *
 * One epoll_ctl per descriptor's life instead of one per change of interest: measured 8 % cheaper
 * per tunnel than a uv_poll each, and 160 octets less. The price: after an event the descriptor
 * must be used until EAGAIN, or the slot resumed. Errors are negative errno values, which are
 * libuv's codes. Loop thread only.
 */
#ifndef CERTFERRY_NET_POLLER_H
#define CERTFERRY_NET_POLLER_H

#include <uv.h>

#include "proxy/base/list.h"

enum poll_events {
    POLL_READABLE = 1, /* octets, the peer's FIN or an error wait to be read */
    POLL_WRITABLE = 2,
    POLL_FIN = 4,    /* the peer will send no more */
    POLL_BROKEN = 8, /* reset or failed, or both sides have ended */
    POLL_LATE = 16,  /* nothing else was told in time: see poller_await() */
};

struct poll_slot;
typedef void (*poll_cb)(struct poll_slot *slot, unsigned events);

/* Embedded in whatever owns a descriptor. */
struct poll_slot {
    poll_cb on_ready;
    struct list called; /* poller's own: resumed, or awaiting */
};

struct poller;

/* Returns owned in `*out`. 0 or a negative code. */
int poller_create(struct poller **out, uv_loop_t *loop);

/* All slots must have been removed. Frees itself on the loop. */
void poller_destroy(struct poller *p);

void poll_slot_init(struct poll_slot *slot, poll_cb on_ready);

/* Watches `fd` for everything from now on; the present state counts as the first edge. 0 or a
 * negative code. */
int poller_add(struct poller *p, struct poll_slot *slot, int fd);

/*
 * The watched `fd` goes from one slot to another, at no cost: events fetched but not delivered yet
 * go to `to`; what `from` was told before, its owner must pass on.
 */
void poller_move(struct poller *p, struct poll_slot *from, struct poll_slot *to, int fd);

/* No callback comes after this, also of events already fetched. The caller closes `fd` at once,
 * which is what ends the watch: a call less for each connection. */
void poller_remove(struct poller *p, struct poll_slot *slot, int fd);

/* The same for a descriptor whose socket others have too: closing it would not end the watch. */
void poller_unwatch(struct poller *p, struct poll_slot *slot, int fd);

/* Calls back with READABLE|WRITABLE on the loop's next round: for work left over when a turn was
 * long enough. */
void poller_resume(struct poller *p, struct poll_slot *slot);

/*
 * Calls back with READABLE|LATE in 5 to 10 ms, for a descriptor that tells of octets only when
 * there are many (SO_RCVLOWAT). Harmless when it awaits already.
 */
void poller_await(struct poller *p, struct poll_slot *slot);

/* Takes a resumption or an await back; harmless when there is none. */
void poller_unresume(struct poll_slot *slot);

#endif

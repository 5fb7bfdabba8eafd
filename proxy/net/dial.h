/*
 * dial.h - host and port -> a connected descriptor: resolve, ask a guard about each address, race,
 * one deadline.
 *
 * The address the guard has seen is the address dialled; there is no second look-up. Races after
 * RFC 8305: a new attempt each 250 ms or as soon as one fails. Serves origins, later also parents
 * and peers. Knows no policy. Loop thread only.
 */
#ifndef CERTFERRY_NET_DIAL_H
#define CERTFERRY_NET_DIAL_H

#include "proxy/base/addr.h"
#include "proxy/base/outcome.h"
#include "proxy/net/netloop.h"

struct dial_options {
    uint64_t timeout_ms;  /* timeout.connect: look-up and all attempts together */
    size_t addresses_max; /* limit.addresses */
    struct addr
        source[2]; /* source.address: [0] IPv4, [1] IPv6; sa_family 0 where the system chooses */
};

struct dial_result {
    enum outcome outcome; /* OUTCOME_OK or why not */
    int error;            /* negative errno of the deciding attempt, 0 if there is none */
    struct poll_slot
        *slot; /* OK: watches `fd` until the callback returns; take both with stream_adopt() */
    int fd;    /* OK: taken by the callback */
    unsigned events; /* OK: told to `slot` */
    struct addr
        address; /* OK: the peer; otherwise the last one tried or refused; sa_family 0 if none */
    uint64_t dns_us; /* 0 when nothing was asked */
    uint64_t connect_us;
};

/* OUTCOME_OK, or the outcome that the dial ends with when no other address may be used. */
typedef enum outcome (*dial_guard)(void *arg, const struct addr *address);
typedef void (*dial_cb)(void *arg, const struct dial_result *result);

struct dial_request {
    const char *name;           /* canonical host name; NULL for a literal */
    const struct addr *literal; /* used when `name` is NULL */
    uint16_t port;
    const struct dial_options *options; /* read during the call only */
    dial_guard guard;
    dial_cb on_done; /* once, never before dial_start() returns; the dial is gone then */
    void *arg;
};

struct dial;

/* Borrowed until `on_done` runs or dial_cancel(). NULL when out of memory. */
struct dial *dial_start(const struct netloop *net, const struct dial_request *request);

/* No callback comes; everything is closed. */
void dial_cancel(struct dial *d);

#endif

/*
 * netloop.h - what the network modules of one worker share: its loop, poller, wheel and resolver.
 *
 * A value; all members are borrowed. Loop thread only.
 */
#ifndef CERTFERRY_NET_NETLOOP_H
#define CERTFERRY_NET_NETLOOP_H

#include <uv.h>

#include "proxy/net/deadline.h"
#include "proxy/net/poller.h"
#include "proxy/net/resolver.h"

struct tls_mailbox;

struct netloop {
    uv_loop_t *loop;
    struct poller *poller;
    struct deadlines *deadlines;
    struct resolver *resolver;
    struct tls_mailbox *tls; /* results of handshakes from other threads; NULL: none can come */
};

#endif

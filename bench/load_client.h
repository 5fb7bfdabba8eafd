/*
 * load_client.h - one connection of the load: the way through the proxy, then one operation or
 * many.
 *
 * Knows neither rates nor measurements: load.c begins operations and counts their ends.
 */
#ifndef BENCH_LOAD_CLIENT_H
#define BENCH_LOAD_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load_reply.h"

enum plan_kind { PLAN_ECHO, PLAN_HTTP, PLAN_STREAM };

/* What every connection does. Texts are borrowed. */
struct plan {
    enum plan_kind kind;
    struct sockaddr_in to;
    struct ssl_ctx_st *tls; /* NULL: octets go as they are */
    const char *opening;    /* the CONNECT head; NULL: no tunnel is asked for */
    size_t opening_len;
    const char
        *request; /* what an echo must bring back, an HTTP message, or a stream's first octets */
    size_t request_len;
    unsigned char *serial; /* where in it a number makes each ClientHello another; NULL: nowhere */
    bool reconnect;        /* each operation on a connection of its own */
    bool sends;            /* a stream that the client fills */
};

enum client_phase {
    CLIENT_CLOSED,
    CLIENT_SHAKING, /* hands, in TLS */
    CLIENT_OPENING, /* CONNECT is on its way, 200 awaited */
    CLIENT_ASKING,
    CLIENT_STREAMING,
    CLIENT_RESTING /* open, between two operations */
};
enum client_result { CLIENT_PENDING, CLIENT_DONE, CLIENT_FAILED };

struct client {
    int fd;
    struct ssl_st *tls; /* NULL: none */
    enum client_phase phase;
    bool held;   /* one of those that stay idle */
    bool reused; /* this operation is not the connection's first */
    size_t sent, got;
    uint64_t began_ns;
    uint64_t octets; /* of a stream, both ways */
    struct reply reply;
};

/* Begins an operation on a closed or resting client. */
void client_begin(struct client *c, const struct plan *plan, int epoll_fd, uint64_t began_ns);

/* After epoll has named it. FAILED leaves it closed; DONE leaves it resting, or closed if the plan
 * or the answer says so. */
enum client_result client_ready(struct client *c, const struct plan *plan, int epoll_fd,
                                uint32_t events);

void client_close(struct client *c);

#endif

/*
 * fetch.h - HTTP requests of our own, for the control plane: etcd, probes, rosters of peers.
 *
 * libcurl's multi interface on a libuv loop; nothing here is on the way of a client's octets. A
 * proxy from the environment is never used, redirections are not followed, only http:// and
 * https:// are spoken, TLS is verified. Names are looked up by our own resolver, so that no thread
 * is made and what resolver.servers says holds. Loop thread only.
 */
#ifndef CERTFERRY_NET_FETCH_H
#define CERTFERRY_NET_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/span.h"
#include "proxy/net/resolver.h"

/* TLS to https:// servers; NULL or "" where nothing is named. Strings are read during a call only.
 */
struct fetch_tls {
    const char *ca_file;   /* PEM; else the system's */
    const char *cert_file; /* PEM, our own certificate */
    const char *key_file;  /* PEM */
};

struct fetch_result {
    const char *fault; /* NULL: a whole response came; else why not (until the callback returns) */
    unsigned status;   /* of the response, 0 if none began */
    struct span body;  /* unless on_data took it; until the callback returns */
    char etag[128];    /* "" none */
    struct span field; /* the one that was wanted; empty: none, or over FETCH_FIELD_MAX octets */
    uint64_t connect_us; /* look-up and connect, 0 if the connection was there already */
};

enum { FETCH_FIELD_MAX = 16384 };

/* Part of a long response. False: enough, end with a fault. */
typedef bool (*fetch_data_cb)(void *arg, struct span octets);
typedef void (*fetch_done_cb)(void *arg, const struct fetch_result *result);

struct fetch_request {
    const char *url;
    struct span body;          /* POST when it has a pointer, else GET; copied */
    const char *const *fields; /* "Name: value", NULL at the end; or NULL */
    const char *field;         /* name of a response field that is wanted; borrowed; or NULL */
    uint64_t timeout_ms;       /* the whole; 0: none (a watch), then TCP keep-alive watches */
    uint64_t connect_ms;       /* look-up, connect and TLS handshake; 0: as the whole */
    size_t octets_max;         /* of a body that is collected; more is a fault */
    bool fresh;                /* a connection of its own, not kept afterwards */
    const struct fetch_tls *tls;
    fetch_data_cb on_data; /* NULL: the body is collected */
    fetch_done_cb on_done; /* once, never before fetch_start() returns */
    void *arg;
};

struct fetcher;
struct fetch;

/*
 * At most `parallel_max` connections are open at once; others wait, within their time. `resolver`
 * is borrowed for the fetcher's life; NULL: only addresses can be fetched from. To be called before
 * the thread is confined. Returns owned; NULL when out of memory.
 */
struct fetcher *fetcher_create(uv_loop_t *loop, struct resolver *resolver, size_t parallel_max);

/* Ends all fetches without their callbacks. Its handles close on the loop's next rounds; the memory
 * goes then. Also from inside a callback. */
void fetcher_close(struct fetcher *f);

/* Borrowed until `on_done` runs or fetch_cancel(). NULL when out of memory. */
struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *request);

/* No callback comes. Also from inside any callback of another fetch, and from this one's on_data.
 */
void fetch_cancel(struct fetch *t);

#endif

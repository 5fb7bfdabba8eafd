/*
 * metrics.h - counters that one thread writes and any thread may read; summed and printed on
 * demand.
 *
 * A counter only grows; what is present now (a gauge) is the difference of two. Printing is
 * Prometheus text format 0.0.4.
 */
#ifndef CERTFERRY_BASE_METRICS_H
#define CERTFERRY_BASE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/outcome.h"
#include "proxy/base/protocol.h"

/* X(name, "prometheus_name", "help") */
#define METRICS_TABLE(X)                                                                           \
    X(ACCEPTED, "client_connections_total", "Client connections accepted")                         \
    X(CLOSED, "client_connections_closed_total", "Client connections ended")                       \
    X(REFUSALS_DROPPED, "refusals_dropped_total",                                                  \
      "Connections closed without a word: limit.refusals were waiting for one")                    \
    X(TUNNELS_OPENED, "tunnels_total", "Tunnels opened")                                           \
    X(TUNNELS_CLOSED, "tunnels_closed_total", "Tunnels ended")                                     \
    X(OCTETS_UP, "relayed_up_bytes_total", "Octets sent to origins")                               \
    X(OCTETS_DOWN, "relayed_down_bytes_total", "Octets sent to clients")                           \
    X(ORIGIN_CONNECTED, "origin_connections_total", "Connections to origins made")                 \
    X(ORIGIN_REUSED, "origin_connections_reused_total", "Idle origin connections used again")      \
    X(PARENT_SWITCHES, "parent_switches_total", "Times an exchange went on to another parent")     \
    X(UPSTREAM_RETRIES, "upstream_retries_total",                                                  \
      "Times the gateway asked another upstream, or the same once more")                           \
    X(UPSTREAM_HANDSHAKES, "upstream_tls_handshakes_total",                                        \
      "Whole TLS handshakes with upstreams of the gateway")                                        \
    X(UPSTREAM_RESUMED, "upstream_tls_resumed_total",                                              \
      "TLS sessions with upstreams of the gateway that were resumed")                              \
    X(PROXY_HEADERS, "proxy_protocol_headers_total", "PROXY protocol headers accepted")            \
    X(AUTH_CHECKS, "auth_checks_total", "Passwords computed")                                      \
    X(AUTH_REMEMBERED, "auth_remembered_total", "Passwords found in the cache")                    \
    X(AUTH_FAILURES, "auth_failures_total", "Passwords found wrong")                               \
    X(QUEUED, "queue_entered_total", "Requests that had to wait in the queue")                     \
    X(QUEUE_LEFT, "queue_left_total",                                                              \
      "Requests that left the queue, with or without a connection")                                \
    X(QUEUE_WAITED_MS, "queue_waited_milliseconds_total",                                          \
      "Time spent waiting in the queue by all requests")                                           \
    X(ACCEPT_PAUSES, "accept_pauses_total", "Times accepting paused for want of descriptors")      \
    X(DNS_LOOKUPS, "dns_lookups_total", "Name look-ups asked for")                                 \
    X(DNS_CACHE_HITS, "dns_cache_hits_total", "Name look-ups answered from the cache")             \
    X(DNS_FAILURES, "dns_failures_total", "Name look-ups that failed")                             \
    X(DNS_TIMEOUTS, "dns_timeouts_total", "Name look-ups without an answer in time")

enum metric {
#define METRIC_ENUM(name, text, help) METRIC_##name,
    METRICS_TABLE(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
};

/* What the gate made of a tunnel's first octets: X(name, "label") */
#define METRICS_HELLO_TABLE(X)                                                                     \
    X(MATCH, "match")     /* server name is the CONNECT host */                                    \
    X(ADDRESS, "address") /* tunnel to an address, server name allowlisted */                      \
    X(ABSENT, "absent")   /* no server name, which passes */                                       \
    X(MISSING, "missing") /* no server name, which tunnel.sni=strict refuses */                    \
    X(MISMATCH, "mismatch")                                                                        \
    X(NOT_TLS, "not-tls")                                                                          \
    X(MALFORMED, "malformed")                                                                      \
    X(TIMEOUT, "timeout")                                                                          \
    X(NAMED, "named")     /* pass-through: server name allowed, it says where to */                \
    X(UNGATED, "ungated") /* tunnel.sni=off, or a port of tunnel.raw.ports */

enum metrics_hello {
#define METRICS_HELLO_ENUM(name, label) METRICS_HELLO_##name,
    METRICS_HELLO_TABLE(METRICS_HELLO_ENUM)
#undef METRICS_HELLO_ENUM
        METRICS_HELLO_COUNT
};

/* What TLS handshakes with clients came to: X(name, "label") */
#define METRICS_HANDSHAKE_TABLE(X)                                                                 \
    X(FULL, "full")                                                                                \
    X(RESUMED, "resumed")                                                                          \
    X(FAILED, "failed")                                                                            \
    X(TIMEOUT, "timeout")                                                                          \
    X(CERTIFICATE, "certificate") /* the client's: missing, or not believed */                     \
    X(PLAIN, "plain")             /* it spoke HTTP without TLS */

enum metrics_handshake {
#define METRICS_HANDSHAKE_ENUM(name, label) METRICS_HANDSHAKE_##name,
    METRICS_HANDSHAKE_TABLE(METRICS_HANDSHAKE_ENUM)
#undef METRICS_HANDSHAKE_ENUM
        METRICS_HANDSHAKE_COUNT
};

/* The version that was agreed on, if it came to that. */
enum metrics_tls { METRICS_TLS_NONE, METRICS_TLS_12, METRICS_TLS_13, METRICS_TLS_COUNT };

/* One for each worker; all zero is the initial state. */
struct metrics {
    _Atomic uint64_t value[METRIC_COUNT];
    _Atomic uint64_t exchanges[PROTOCOL_COUNT][OUTCOME_COUNT];
    _Atomic uint64_t hellos[METRICS_HELLO_COUNT];
    _Atomic uint64_t handshakes[METRICS_HANDSHAKE_COUNT][METRICS_TLS_COUNT];
};

/* Only the owning thread calls these. */
static inline void metrics_count(_Atomic uint64_t *counter, uint64_t n)
{
    /* One writer: a load and a store, not a locked addition. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    metrics_count(&m->value[which], n);
}

static inline void metrics_set(struct metrics *m, enum metric which, uint64_t n)
{
    atomic_store_explicit(&m->value[which], n, memory_order_relaxed);
}

/* One gauge, for what is not counted here. 0, -ENOBUFS or -ENOMEM. */
int metrics_print_gauge(struct buf *out, const char *name, const char *help, uint64_t value);

/* Sums `count` workers' counters into text. 0, -ENOBUFS or -ENOMEM. Any thread. */
int metrics_print(struct buf *out, struct metrics *const *workers, size_t count);

#endif

/*
 * source_dns.h - members from one DNS name, asked for again and again: its SRV records when the
 * name is a service's ("_certferry._tcp.site.example"), else its addresses.
 *
 * SRV brings host, port, priority and weight (RFC 2782); addresses stand for members on our own
 * port. A failed look-up changes nothing. Loop thread only.
 */
#ifndef CERTFERRY_FAILOVER_SOURCE_DNS_H
#define CERTFERRY_FAILOVER_SOURCE_DNS_H

#include <uv.h>

#include "failover/source.h"
#include "proxy/net/resolver.h"

struct source_dns_options {
    const char *name;     /* canonical but for leading labels with an underscore */
    uint64_t interval_ms; /* roster.dns.interval */
    const char *servers;  /* as in struct resolver_options */
    uint64_t timeout_ms;  /* of one look-up */
    uint16_t port;        /* of members that are told by address */
};

struct source_dns;

/* Whether `name` is asked for SRV records. */
bool source_dns_is_service(const char *name);

/*
 * Options are copied, `resolver` is borrowed until source_dns_close(). Returns owned; NULL when out
 * of memory, or the servers are bad.
 */
struct source_dns *source_dns_create(uv_loop_t *loop, struct resolver *resolver,
                                     const struct source_dns_options *options,
                                     const struct source_events *events);

/* Nothing is called any more; frees itself on the loop. */
void source_dns_close(struct source_dns *s);

#endif

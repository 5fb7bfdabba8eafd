/*
 * document.h - a roster as text for clients: PvD JSON (RFC 8801, draft-ietf-intarea-proxy-config)
 * and PAC.
 *
 * No sockets, no clock: the time is given. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_DOCUMENT_H
#define CERTFERRY_FAILOVER_DOCUMENT_H

#include <time.h>

#include "allowlist/policy.h"
#include "failover/roster.h"

struct document_options {
    const char *identifier; /* host name clients know us by */
    const char *zone;
    const char *version;
    const struct roster *roster;
    const struct policy *policy; /* domains and ports for proxy-match and PAC */
    unsigned ttl_seconds;        /* roster.ttl */
    time_t now;
};

/* A finished document. Text and ETag are owned by the struct. */
struct document {
    char *text;
    size_t length;      /* octets */
    char etag[48];      /* with its quotes */
    unsigned max_age;   /* seconds for Cache-Control */
    time_t stale_after; /* make it anew from here on */
};

/* application/pvd+json. `expires` is quantised so that the text and so the ETag stay the same for a
 * while. 0 or -ENOMEM. */
int document_pvd(struct document *d, const struct document_options *o);

/* application/x-ns-proxy-autoconfig; ASCII; proxies only for what the policy allows, DIRECT for all
 * else. 0 or -ENOMEM. */
int document_pac(struct document *d, const struct document_options *o);

void document_release(struct document *d);

#endif

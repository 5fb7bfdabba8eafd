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

struct signature_key;

struct document_options {
    const char *identifier; /* host name clients know us by */
    const char *zone;
    const char *version;
    const struct roster *roster;
    const struct policy *policy;          /* domains and ports for proxy-match and PAC */
    const struct signature_key *sign_key; /* of the PvD document; NULL: it is not signed */
    unsigned ttl_seconds;                 /* roster.ttl */
    time_t now;
};

/* A finished document. Text, signature and ETag are owned by the struct. */
struct document {
    char *text;
    size_t length;      /* octets */
    char *signature;    /* of exactly these octets (signature.h); NULL: none */
    char etag[48];      /* with its quotes */
    unsigned max_age;   /* seconds for Cache-Control */
    time_t stale_after; /* make it anew from here on */
};

/*
 * Both list members in order of preference (roster_order()). Draining ones are not offered as long
 * as there are others that are up or not known to be down; vendor data of the PvD document tells of
 * them all the same. Down ones stand last: only we may be cut off from them.
 */

/*
 * application/pvd+json. `expires` and loads are quantised so that the text and so the ETag stay the
 * same for a while. 0, -ENOMEM, or -EIO when it cannot be signed.
 */
int document_pvd(struct document *d, const struct document_options *o);

/* application/x-ns-proxy-autoconfig; ASCII; proxies only for what the policy allows, DIRECT for all
 * else. 0 or -ENOMEM. */
int document_pac(struct document *d, const struct document_options *o);

void document_release(struct document *d);

#endif

/*
 * dns_channel.h - c-ares on one loop: its sockets under uv_poll, its timeouts under one uv_timer.
 *
 * The only file that sees c-ares. Hosts file and name servers are asked apart, so that a name of
 * the hosts file is never mixed with what DNS says of it, nor told to a name server. Knows no cache
 * and no ticket. Loop thread only.
 */
#ifndef CERTFERRY_NET_DNS_CHANNEL_H
#define CERTFERRY_NET_DNS_CHANNEL_H

#include <uv.h>

#include "proxy/net/resolved.h"

struct dns_channel;

struct dns_answer {
    struct resolved found; /* of more addresses the first ones */
    uint64_t ttl_ms;       /* the least of all records, CNAMEs included; 0 from the hosts file */
};

struct dns_ask;
typedef void (*dns_ask_cb)(struct dns_ask *ask, const struct dns_answer *answer);

/* Embedded in whoever asks; must live until `on_answer` runs or the channel is destroyed. */
struct dns_ask {
    dns_ask_cb on_answer;
};

/*
 * `servers` as in struct resolver_options. c-ares spreads its tries over `timeout_ms`, as far as it
 * can: the caller keeps a clock of his own. Returns owned in `*out`. 0 or a negative libuv code
 * (UV_EINVAL: bad servers).
 */
int dns_channel_create(struct dns_channel **out, uv_loop_t *loop, const char *servers,
                       uint64_t timeout_ms);

/* No answer comes any more. Closes its handles and frees itself on the loop. Not from inside
 * `on_answer`. */
void dns_channel_destroy(struct dns_channel *ch);

enum { DNS_SERVICES_MAX = 256 };

/* One SRV record (RFC 2782). */
struct dns_service {
    uint16_t priority, weight, port;
    char target[256]; /* as it was spelled; "" or ".": there is none */
};

struct dns_service_answer {
    enum outcome outcome; /* as of struct resolved; OK exactly when there are some */
    size_t count;         /* of more records the first ones */
    struct dns_service *service;
};

struct dns_service_ask;
typedef void (*dns_service_cb)(struct dns_service_ask *ask,
                               const struct dns_service_answer *answer);

/* Embedded, as struct dns_ask is. */
struct dns_service_ask {
    dns_service_cb on_answer;
};

/* What the hosts file says of `name`, both families; `localhost` is always known (RFC 6761
 * section 6.3). */
bool dns_channel_hosts(struct dns_channel *ch, const char *name, struct dns_answer *answer);

/* Asks the name servers for A (AF_INET) or AAAA (AF_INET6). `on_answer` runs once, perhaps before
 * this returns. */
void dns_channel_ask(struct dns_channel *ch, const char *name, int family, struct dns_ask *ask);

/* Asks the name servers for SRV. `on_answer` runs once, perhaps before this returns. */
void dns_channel_ask_services(struct dns_channel *ch, const char *name,
                              struct dns_service_ask *ask);

#endif

/*
 * policy.h - the questions others ask: may this client talk, may this request go out, may this
 * address be dialled?
 *
 * Default deny. Immutable once made, so any thread may ask without a lock. Outcomes are those of
 * base/outcome.h, OUTCOME_OK meaning yes.
 */
#ifndef CERTFERRY_ALLOWLIST_POLICY_H
#define CERTFERRY_ALLOWLIST_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allowlist/hostname.h"
#include "allowlist/rules.h"
#include "proxy/base/outcome.h"
#include "proxy/base/protocol.h"

struct port_range {
    uint16_t first;
    uint16_t last; /* inclusive */
};

struct policy;

/* Everything is copied but `rules`, which is taken. */
struct policy_options {
    struct rules *rules;
    const struct port_range *connect_ports;
    size_t connect_port_count;
    const struct port_range *http_ports;
    size_t http_port_count;
    const struct prefix *networks; /* allowed.networks */
    size_t network_count;
    const struct prefix *clients; /* clients.allow */
    size_t client_count;
    const struct prefix *control_clients; /* control.allow */
    size_t control_client_count;
    uint32_t protocols; /* of plain HTTP: bit 1 << enum protocol; 0: all */
    bool any_host;      /* whatever `rules` say: somebody behind us decides */
    bool reports;       /* see policy_reports() */
};

/* Returns owned; NULL when out of memory (then `options->rules` is still the caller's). */
struct policy *policy_create(const struct policy_options *options);
void policy_destroy(struct policy *p);

enum outcome policy_client(const struct policy *p, const struct addr *client);
enum outcome policy_control_client(const struct policy *p, const struct addr *client);

/* Port first, then the host: DESIGN order. `protocol` is PROTOCOL_TUNNEL for CONNECT. */
enum outcome policy_request(const struct policy *p, const struct hostname *host, uint16_t port,
                            enum protocol protocol);

/* The same for a server that we speak to inside TLS of ours: a port of CONNECT, and yet `protocol`
 * is seen. */
enum outcome policy_upstream(const struct policy *p, const struct hostname *host, uint16_t port,
                             enum protocol protocol);

/* What policy_request() refuses passes all the same and is only told: the rules are being tried.
 * policy_address() holds in any case. */
bool policy_reports(const struct policy *p);

/*
 * One resolved address or a literal. OUTCOME_OK or OUTCOME_ADDRESS_DENIED; `*why` then names the
 * range (static). A literal listed in allowed.hosts still needs allowed.networks when it is
 * special-purpose.
 */
enum outcome policy_address(const struct policy *p, const struct addr *address, const char **why);

/* For the documents; borrowed from the policy. */
const struct rules *policy_rules(const struct policy *p);
size_t policy_ports(const struct policy *p, bool connect, const struct port_range **ranges);

/* "443, 8080-8090" */
bool port_ranges_have(const struct port_range *ranges, size_t count, uint16_t port);

#endif

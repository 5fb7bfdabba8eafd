#include "allowlist/policy.h"

#include <assert.h>
#include <stdlib.h>

#include "allowlist/egress.h"

struct port_list {
    struct port_range *ranges; /* owned; NULL when empty */
    size_t count;
};

struct prefix_list {
    struct prefix *prefixes; /* owned; NULL when empty */
    size_t count;
};

struct policy {
    struct rules *rules; /* owned */
    bool any_host;
    struct port_list connect_ports;
    struct port_list http_ports;
    struct prefix_list networks;
    struct prefix_list clients;
    struct prefix_list control_clients;
    uint32_t protocols; /* 0: all */
    bool reports;
};

/* False when out of memory; an empty list stays empty. */
static bool ports_copy(struct port_list *to, const struct port_range *from, size_t count)
{
    if (count == 0)
        return true;
    to->ranges = calloc(count, sizeof *from);
    if (to->ranges == NULL)
        return false;
    memcpy(to->ranges, from, count * sizeof *from);
    to->count = count;
    return true;
}

static bool prefixes_copy(struct prefix_list *to, const struct prefix *from, size_t count)
{
    if (count == 0)
        return true;
    to->prefixes = calloc(count, sizeof *from);
    if (to->prefixes == NULL)
        return false;
    memcpy(to->prefixes, from, count * sizeof *from);
    to->count = count;
    return true;
}

struct policy *policy_create(const struct policy_options *o)
{
    assert(o->rules != NULL);
    struct policy *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    if (!ports_copy(&p->connect_ports, o->connect_ports, o->connect_port_count) ||
        !ports_copy(&p->http_ports, o->http_ports, o->http_port_count) ||
        !prefixes_copy(&p->networks, o->networks, o->network_count) ||
        !prefixes_copy(&p->clients, o->clients, o->client_count) ||
        !prefixes_copy(&p->control_clients, o->control_clients, o->control_client_count)) {
        policy_destroy(p);
        return NULL;
    }
    p->protocols = o->protocols;
    p->any_host = o->any_host;
    p->reports = o->reports;
    p->rules = o->rules; /* taken only now, when nothing can fail any more */
    return p;
}

void policy_destroy(struct policy *p)
{
    if (p == NULL)
        return;
    rules_destroy(p->rules);
    free(p->connect_ports.ranges);
    free(p->http_ports.ranges);
    free(p->networks.prefixes);
    free(p->clients.prefixes);
    free(p->control_clients.prefixes);
    free(p);
}

/* A listener for both families shows an IPv4 client as ::ffff:a.b.c.d; operators write 10.0.0.0/8.
 */
static bool client_listed(const struct prefix_list *list, const struct addr *client)
{
    struct addr plain = *client;
    addr_unmap(&plain);
    return prefix_match_any(list->prefixes, list->count, &plain);
}

enum outcome policy_client(const struct policy *p, const struct addr *client)
{
    return client_listed(&p->clients, client) ? OUTCOME_OK : OUTCOME_CLIENT_DENIED;
}

enum outcome policy_control_client(const struct policy *p, const struct addr *client)
{
    return client_listed(&p->control_clients, client) ? OUTCOME_OK : OUTCOME_CONTROL_DENIED;
}

bool port_ranges_have(const struct port_range *ranges, size_t count, uint16_t port)
{
    for (size_t i = 0; i < count; i++) {
        if (port >= ranges[i].first && port <= ranges[i].last)
            return true;
    }
    return false;
}

enum outcome policy_request(const struct policy *p, const struct hostname *host, uint16_t port,
                            enum protocol protocol)
{
    assert((unsigned)protocol < PROTOCOL_COUNT);
    const struct port_list *ports =
        protocol == PROTOCOL_TUNNEL ? &p->connect_ports : &p->http_ports;
    if (!port_ranges_have(ports->ranges, ports->count, port))
        return OUTCOME_PORT_DENIED;
    if (!p->any_host && !rules_allow(p->rules, host))
        return host->kind == HOST_NAME ? OUTCOME_HOST_DENIED : OUTCOME_LITERAL_DENIED;
    /* What is inside a tunnel is not looked at, so allowed.protocols cannot judge it. */
    bool judged = p->protocols != 0 && protocol != PROTOCOL_TUNNEL;
    if (judged && (p->protocols & UINT32_C(1) << protocol) == 0)
        return OUTCOME_PROTOCOL_DENIED;
    return OUTCOME_OK;
}

enum outcome policy_upstream(const struct policy *p, const struct hostname *host, uint16_t port,
                             enum protocol protocol)
{
    enum outcome verdict = policy_request(p, host, port, PROTOCOL_TUNNEL);
    bool judged = p->protocols != 0 && verdict == OUTCOME_OK;
    return judged && (p->protocols & UINT32_C(1) << protocol) == 0 ? OUTCOME_PROTOCOL_DENIED
                                                                   : verdict;
}

bool policy_reports(const struct policy *p)
{
    return p->reports;
}

enum outcome policy_address(const struct policy *p, const struct addr *address, const char **why)
{
    const char *special = egress_special(address, p->networks.prefixes, p->networks.count);
    if (special == NULL)
        return OUTCOME_OK;
    if (why != NULL)
        *why = special;
    return OUTCOME_ADDRESS_DENIED;
}

const struct rules *policy_rules(const struct policy *p)
{
    return p->rules;
}

size_t policy_ports(const struct policy *p, bool connect, const struct port_range **ranges)
{
    const struct port_list *ports = connect ? &p->connect_ports : &p->http_ports;
    *ranges = ports->ranges;
    return ports->count;
}

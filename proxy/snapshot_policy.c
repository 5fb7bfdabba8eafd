#include "proxy/snapshot_policy.h"

#include <stdlib.h>

#include "conf/settings.h"

/* Where the lists of one policy come from. */
struct source {
    const struct settings *settings;
    const struct role_settings *role; /* NULL: the general policy */
    struct settings_errors *errors;
};

static bool role_gives(const struct source *from, enum roles_file_key key)
{
    return from->role != NULL && from->role->line[key] > 0;
}

/* Where the value stands; NULL: it is the general one, whose mistakes are told with that. */
static const char *where(const struct source *from, enum roles_file_key key, const char *general)
{
    if (from->role == NULL)
        return settings_where(from->settings, general);
    return role_gives(from, key) ? settings_where_role(from->settings, from->role, key) : NULL;
}

static void add_rules(struct rules *rules, const struct source *from, const struct text_list *list,
                      enum roles_file_key key, const char *general)
{
    const char *why = NULL;
    bool domain = key == ROLES_FILE_allowed_domains;
    for (size_t i = 0; i < list->count; i++) {
        struct span text = span_of(list->item[i]);
        int rc = domain ? rules_add_domain(rules, text, &why) : rules_add_host(rules, text, &why);
        const char *place = rc != 0 ? where(from, key, general) : NULL;
        if (place != NULL)
            settings_error(from->errors, place, "\"%s\": %s", list->item[i], why);
    }
}

/* Domains and hosts are one thing to a role: who gives either has no more than that. */
static void add_all_rules(struct rules *rules, const struct source *from)
{
    bool own =
        role_gives(from, ROLES_FILE_allowed_domains) || role_gives(from, ROLES_FILE_allowed_hosts);
    const struct settings *st = from->settings;
    add_rules(rules, from, own ? &from->role->allowed_domains : &st->allowed_domains,
              ROLES_FILE_allowed_domains, "allowed.domains");
    add_rules(rules, from, own ? &from->role->allowed_hosts : &st->allowed_hosts,
              ROLES_FILE_allowed_hosts, "allowed.hosts");
}

static uint32_t protocol_bits(const struct source *from)
{
    const struct text_list *list = role_gives(from, ROLES_FILE_allowed_protocols)
                                       ? &from->role->allowed_protocols
                                       : &from->settings->allowed_protocols;
    uint32_t bits = 0;
    /* An empty general list means all, but all else that a role gives empty means none. */
    if (list->count == 0 && role_gives(from, ROLES_FILE_allowed_protocols))
        settings_error(from->errors, where(from, ROLES_FILE_allowed_protocols, NULL),
                       "is empty: name the protocols, or leave the line out for the general ones");
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->item[i];
        unsigned p = 0;
        while (p < PROTOCOL_COUNT && strcmp(protocol_name((enum protocol)p), text) != 0)
            p++;
        bool known = p < PROTOCOL_COUNT && p != PROTOCOL_TUNNEL && p != PROTOCOL_CONTROL;
        const char *place =
            known ? NULL : where(from, ROLES_FILE_allowed_protocols, "allowed.protocols");
        if (known)
            bits |= 1U << p;
        else if (place != NULL)
            settings_error(from->errors, place,
                           "\"%s\" is no protocol; use acme, est, scep, cmp, ocsp, crl, aia, other",
                           text);
    }
    return bits;
}

struct port_range *snapshot_ports(const struct port_list *list)
{
    struct port_range *ranges = calloc(list->count + 1, sizeof *ranges);
    for (size_t i = 0; ranges != NULL && i < list->count; i++)
        ranges[i] = (struct port_range){list->item[i].first, list->item[i].last};
    return ranges;
}

/* Takes `rules`, which may be NULL. */
static struct policy *policy_make(const struct source *from, struct rules *rules)
{
    const struct settings *st = from->settings;
    const struct port_list *connect = role_gives(from, ROLES_FILE_allowed_connect_ports)
                                          ? &from->role->allowed_connect_ports
                                          : &st->allowed_connect_ports;
    const struct port_list *http = role_gives(from, ROLES_FILE_allowed_http_ports)
                                       ? &from->role->allowed_http_ports
                                       : &st->allowed_http_ports;
    struct port_range *connect_ports = snapshot_ports(connect);
    struct port_range *http_ports = snapshot_ports(http);
    struct policy_options o = {
        .rules = rules,
        .any_host = st->role == SETTINGS_AGENT && st->allowed_domains.count == 0 &&
                    st->allowed_hosts.count == 0,
        .reports = from->role != NULL && from->role->mode == ROLES_FILE_REPORT,
        .connect_ports = connect_ports,
        .connect_port_count = connect->count,
        .http_ports = http_ports,
        .http_port_count = http->count,
        .networks = st->allowed_networks.item,
        .network_count = st->allowed_networks.count,
        .clients = st->clients_allow.item,
        .client_count = st->clients_allow.count,
        .control_clients = st->control_allow.item,
        .control_client_count = st->control_allow.count,
        .protocols = protocol_bits(from),
    };
    struct policy *made = NULL;
    if (rules != NULL && connect_ports != NULL && http_ports != NULL)
        made = policy_create(&o);
    if (made == NULL)
        rules_destroy(rules);
    free(connect_ports);
    free(http_ports);
    return made;
}

struct policy *snapshot_policy(const struct settings *settings, const struct role_settings *role,
                               struct settings_errors *errors)
{
    const struct source from = {settings, role, errors};
    struct rules *rules = rules_create();
    if (rules != NULL)
        add_all_rules(rules, &from);
    return policy_make(&from, rules);
}

struct policy *snapshot_policy_none(void)
{
    struct policy_options o = {.rules = rules_create()};
    struct policy *made = o.rules != NULL ? policy_create(&o) : NULL;
    if (made == NULL)
        rules_destroy(o.rules);
    return made;
}

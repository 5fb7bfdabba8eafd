#include "proxy/snapshot_roles.h"

#include <errno.h>
#include <stdio.h>

#include "conf/nearest.h"
#include "conf/settings.h"
#include "proxy/snapshot_policy.h"

_Static_assert((int)ROLES_FILE_ROLES_MAX <= (int)ROLES_MAX, "all roles of the file fit");
_Static_assert((int)ROLES_FILE_NAME_MAX <= (int)ROLE_NAME_MAX, "so do their names");

/* The keys that give a door's clients a role. */
static const struct door_role {
    enum door_kind door;
    const char *key;
    size_t offset; /* of the setting */
} door_roles[] = {
    {DOOR_TLS, "tls.role", offsetof(struct settings, tls_role)},
    {DOOR_GATEWAY, "gateway.role", offsetof(struct settings, gateway_role)},
    {DOOR_PASSTHROUGH, "passthrough.role", offsetof(struct settings, passthrough_role)},
};
enum { DOOR_ROLES = sizeof door_roles / sizeof *door_roles };

static const char *role_of_door(const struct settings *st, const struct door_role *d)
{
    return *(char *const *)(const void *)((const char *)st + d->offset);
}

static bool door_has(const struct settings *st, const char *role)
{
    for (size_t i = 0; i < DOOR_ROLES; i++) {
        if (strcmp(role_of_door(st, &door_roles[i]), role) == 0)
            return true;
    }
    return false;
}

static void out_of_memory(struct settings_errors *e)
{
    settings_error(e, "configuration", "out of memory");
}

static void add_identities(struct roles *roles, size_t place, const struct settings *st,
                           const struct role_settings *r, struct settings_errors *e)
{
    for (size_t i = 0; i < r->identities.count; i++) {
        const char *text = r->identities.item[i], *why = "";
        const struct role *other = NULL;
        if (roles_add_identity(roles, place, span_of(text), &why, &other) == 0)
            continue;
        settings_error(e, settings_where_role(st, r, ROLES_FILE_identities), "\"%.300s\": %s%s%s",
                       text, why, other != NULL ? "; it is of role " : "",
                       other != NULL ? other->name : "");
    }
}

/* Where the role is named first. */
static const char *where_named(const struct settings *st, const struct role_settings *r)
{
    int first = -1;
    for (int k = 0; k < ROLES_FILE_KEY_COUNT; k++) {
        if (r->line[k] > 0 && (first < 0 || r->line[k] < r->line[first]))
            first = k;
    }
    return settings_where_role(st, r, (enum roles_file_key)first);
}

static unsigned own_rules(const struct role_settings *r)
{
    bool hosts = r->line[ROLES_FILE_allowed_domains] > 0 || r->line[ROLES_FILE_allowed_hosts] > 0;
    return (hosts ? ROLE_OWN_HOSTS : 0U) |
           (r->line[ROLES_FILE_allowed_connect_ports] > 0 ? ROLE_OWN_CONNECT_PORTS : 0U) |
           (r->line[ROLES_FILE_allowed_http_ports] > 0 ? ROLE_OWN_HTTP_PORTS : 0U) |
           (r->line[ROLES_FILE_allowed_protocols] > 0 ? ROLE_OWN_PROTOCOLS : 0U);
}

static void add_role(struct roles *roles, const struct settings *st, const struct role_settings *r,
                     struct settings_errors *e)
{
    size_t place;
    struct role role = {.own = own_rules(r),
                        .connections_max = (size_t)r->limit_connections,
                        .per_identity_max = (size_t)r->limit_connections_per_identity};
    (void)snprintf(role.name, sizeof role.name, "%s", r->name);
    if (roles_add(roles, &role, snapshot_policy(st, r, e), &place) != 0) {
        out_of_memory(e);
        return;
    }
    add_identities(roles, place, st, r, e);
    /* A slip in the name of a role makes another one, which must not go unnoticed. */
    if (r->identities.count == 0 && !door_has(st, r->name))
        settings_error(e, where_named(st, r),
                       "nobody has role %s: give it identities, or name it in tls.role, "
                       "gateway.role or passthrough.role",
                       r->name);
}

static void role_unknown(const struct settings *st, const char *key, const char *name,
                         struct settings_errors *e)
{
    const char *names[ROLES_FILE_ROLES_MAX];
    for (size_t i = 0; i < st->roles.count; i++)
        names[i] = st->roles.role[i].name;
    const char *near = nearest_word(name, names, st->roles.count);
    settings_error(e, settings_where(st, key), "\"%s\" is no role of roles.properties%s%s%s", name,
                   near != NULL ? ", did you mean " : "", near != NULL ? near : "",
                   near != NULL ? "?" : "");
}

static void set_door_roles(const struct roles *roles, const struct settings *st,
                           struct door_options door[DOOR_COUNT], struct settings_errors *e)
{
    for (size_t i = 0; i < DOOR_ROLES; i++) {
        const char *name = role_of_door(st, &door_roles[i]);
        if (name[0] == '\0')
            continue;
        const struct role *role = roles != NULL ? roles_find(roles, name) : NULL;
        if (role == NULL)
            role_unknown(st, door_roles[i].key, name, e);
        door[door_roles[i].door].role = role;
    }
}

struct roles *snapshot_roles(const struct settings *settings, struct door_options door[DOOR_COUNT],
                             struct settings_errors *errors)
{
    struct roles *roles = NULL;
    if (settings->role == SETTINGS_AGENT) /* it has none of those doors */
        return NULL;
    if (settings->roles.count > 0) {
        roles = roles_create();
        if (roles == NULL) {
            out_of_memory(errors);
            return NULL;
        }
        for (size_t i = 0; i < settings->roles.count; i++)
            add_role(roles, settings, &settings->roles.role[i], errors);
        if (settings->tls_unknown_identity == TLS_UNKNOWN_IDENTITY_REFUSE &&
            roles_add_strangers(roles, snapshot_policy_none()) != 0)
            out_of_memory(errors);
    }
    set_door_roles(roles, settings, door, errors);
    return roles;
}

bool snapshot_roles_reporting(const struct roles *roles, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; roles != NULL && i < roles_count(roles); i++) {
        const struct role *r = roles_at(roles, i);
        if (!policy_reports(r->policy))
            continue;
        (void)buf_printf(out, "%s%s", any ? ", " : "", r->name);
        any = true;
    }
    return any;
}

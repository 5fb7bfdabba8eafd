/*
 * roles_file.h - roles.properties: which identities of client certificates have which role, and
 * what a role may do.
 *
 * Keys are ROLE.KEY, so this file has a table of its own. Checked here is what a value is, by type
 * and range; whether it means a host or whether two roles share an identity is for those who use
 * it. Main thread.
 */
#ifndef CONF_ROLES_FILE_H
#define CONF_ROLES_FILE_H

#include "conf/properties.h"
#include "conf/setting_values.h"

enum {
    ROLES_FILE_ROLES_MAX = 64,
    ROLES_FILE_NAME_MAX = 32, /* octets of a role's name, of [a-z0-9-] */
    ROLES_FILE_IDENTITIES_MAX = 100000
};

/*
 * The keys of a role:
 * K(field, "key", TYPE, "default", min, max, "one-line comment")
 * Types and ranges as in settings.h; the entries of `identities` may stand between double quotes,
 * so that they may hold commas.
 */
#define ROLES_FILE_TABLE(K)                                                                        \
    K(identities, "identities", LIST, "", 0, ROLES_FILE_IDENTITIES_MAX,                            \
      "names of the client certificates that have this role, exactly, or as *.suffix or prefix*; " \
      "one with commas stands between double quotes")                                              \
    K(allowed_domains, "allowed.domains", LIST, "", 0, 100000,                                     \
      "domains that the role may reach; without this and allowed.hosts: those of "                 \
      "useproxy.properties")                                                                       \
    K(allowed_hosts, "allowed.hosts", LIST, "", 0, 100000, "the same for single hosts")            \
    K(allowed_connect_ports, "allowed.connect.ports", PORTS, "", 0, 1024,                          \
      "ports that its CONNECT may reach; not given, as the next two: that of useproxy.properties") \
    K(allowed_http_ports, "allowed.http.ports", PORTS, "", 0, 1024,                                \
      "ports that its plain http:// may reach")                                                    \
    K(allowed_protocols, "allowed.protocols", LIST, "", 0, 16,                                     \
      "plain-HTTP protocols that may pass; never empty")                                           \
    K(limit_connections, "limit.connections", NUMBER, "0", 0, 10000000,                            \
      "connections of all its clients at once; 0: no such limit")                                  \
    K(limit_connections_per_identity, "limit.connections.per.identity", NUMBER, "0", 0, 10000000,  \
      "connections of one identity at once; 0: no such limit")                                     \
    K(mode, "mode", CHOICE, "enforce", 0, "enforce|report",                                        \
      "report: what the role may not reach passes all the same, and is logged and counted")

enum roles_file_key {
#define ROLES_FILE_ENUM(field, key, type, text, min, max, comment) ROLES_FILE_##field,
    ROLES_FILE_TABLE(ROLES_FILE_ENUM)
#undef ROLES_FILE_ENUM
        ROLES_FILE_KEY_COUNT
};

enum roles_file_mode { ROLES_FILE_ENFORCE, ROLES_FILE_REPORT };

struct role_settings {
    char name[ROLES_FILE_NAME_MAX + 1];
    unsigned line[ROLES_FILE_KEY_COUNT]; /* where each key stands; 0: nowhere */
#define ROLES_FILE_FIELD(field, key, type, text, min, max, comment) setting_##type field;
    ROLES_FILE_TABLE(ROLES_FILE_FIELD)
#undef ROLES_FILE_FIELD
};

/* All zero: no roles. */
struct roles_file {
    struct role_settings *role; /* owned; in the order in which they are first named */
    size_t count;
};

/*
 * Takes one line of the file, called `path` in messages. 0, also when mistakes were added to `e`
 * (the value then stays at its default); -ENOMEM.
 */
int roles_file_apply(struct roles_file *f, const char *path, const struct property *p,
                     struct settings_errors *e);
void roles_file_free(struct roles_file *f);

/* Whether "sensors.mode" and the like would be a key of this file. */
bool roles_file_knows(const char *key);

/* "conf/roles.properties:12: sensors.identities", for messages. Returns `out`. */
const char *roles_file_where(const char *path, const struct role_settings *role,
                             enum roles_file_key key, char *out, size_t size);

#endif

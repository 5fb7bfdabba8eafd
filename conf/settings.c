#include "conf/settings.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/nearest.h"
#include "conf/private_file.h"
#include "conf/properties.h"

#define ENDING ".properties"
/* The shortest patience of real clients. */
#define PATIENCE_MS 30000
#define MANUAL "certferry.properties(5) lists all keys"

/* What the max column holds depends on the type. */
#define RANGE_BOOL(low, high) .min = 0
#define RANGE_NUMBER(low, high) .min = (low), .max = (high)
#define RANGE_SIZE(low, high) .min = (low), .max = (high)
#define RANGE_TIME(low, high) .min = (low), .max = (high)
#define RANGE_TEXT(low, high) .min = 0
#define RANGE_LIST(low, high) .min = (low), .max = (high)
#define RANGE_PREFIXES(low, high) .min = (low), .max = (high)
#define RANGE_PORTS(low, high) .min = (low), .max = (high)
#define RANGE_CHOICE(low, high) .choices = (high)

enum { RESTART, RELOAD };

static const struct setting_info table[] = {
#define SETTING_INFO(field, name, in, kind, value, low, high, when, about)                         \
    {.key = (name),                                                                                \
     .file = SETTINGS_##in,                                                                        \
     .type = SETTING_##kind,                                                                       \
     .text = (value),                                                                              \
     RANGE_##kind(low, high),                                                                      \
     .reload = (when) == RELOAD,                                                                   \
     .comment = (about),                                                                           \
     .offset = offsetof(struct settings, field)},
    SETTINGS_TABLE(SETTING_INFO)
#undef SETTING_INFO
};
enum { KEY_COUNT = sizeof table / sizeof *table };

static const char *const file_names[SETTINGS_FILE_COUNT] = {
    [SETTINGS_WEBSERVER] = "webserver.properties", [SETTINGS_USEPROXY] = "useproxy.properties",
    [SETTINGS_FAILOVER] = "failover.properties",   [SETTINGS_GATEWAY] = "gateway.properties",
    [SETTINGS_ROLES] = "roles.properties",
};

struct settings_origins {
    char *path[SETTINGS_FILE_COUNT]; /* as the operator knows the file */
    bool seen[SETTINGS_FILE_COUNT];  /* the directory lists it */
    struct {
        int file;
        unsigned line; /* 0: the key stands nowhere */
    } set[KEY_COUNT];
};

const char *settings_file_name(enum settings_file file)
{
    return file_names[file];
}

static size_t key_index(const char *key)
{
    size_t i = 0;
    while (i < KEY_COUNT && strcmp(table[i].key, key) != 0)
        i++;
    return i;
}

static union setting_value field_get(const struct settings *s, const struct setting_info *info)
{
    union setting_value v;
    memset(&v, 0, sizeof v);
    memcpy(&v, (const char *)s + info->offset, setting_value_size(info->type));
    return v;
}

/* Takes the value in place of the one before. */
static void field_put(struct settings *s, const struct setting_info *info,
                      const union setting_value *v)
{
    union setting_value old = field_get(s, info);
    setting_value_free(info->type, &old);
    memcpy((char *)s + info->offset, v, setting_value_size(info->type));
}

enum { PLACE_MAX = PATH_MAX + 128 };

/* The four last texts of a thread stay, so that a message may name several places. */
static char *place_buffer(void)
{
    static _Thread_local char ring[4][PLACE_MAX];
    static _Thread_local unsigned turn;
    return ring[turn++ % 4];
}

/* "path:line: key"; a key that no table holds may be long. */
static const char *place(const char *path, unsigned line, const char *key)
{
    char *out = place_buffer();
    (void)snprintf(out, PLACE_MAX, "%s:%u: %.100s%s", path, line, key,
                   strlen(key) > 100 ? "..." : "");
    return out;
}

const char *settings_where(const struct settings *s, const char *key)
{
    size_t i = key_index(key);
    assert(i < KEY_COUNT);
    const struct settings_origins *o = s->origins;
    if (o->set[i].line > 0)
        return place(o->path[o->set[i].file], o->set[i].line, key);
    char *out = place_buffer();
    (void)snprintf(out, PLACE_MAX, "%s: %s (default)", o->path[table[i].file], key);
    return out;
}

const char *settings_where_role(const struct settings *s, const struct role_settings *role,
                                enum roles_file_key key)
{
    return roles_file_where(s->origins->path[SETTINGS_ROLES], role, key, place_buffer(), PLACE_MAX);
}

const char *settings_set_in(const struct settings *s, const char *key)
{
    size_t i = key_index(key);
    assert(i < KEY_COUNT);
    return s->origins->set[i].line > 0 ? file_names[s->origins->set[i].file] : NULL;
}

/* What certferry agent has instead of the table's defaults. */
static const struct preset {
    const char *key, *value;
} agent_presets[] = {
    {"listen.addresses", "127.0.0.1"},
    {"clients.allow", "127.0.0.0/8,::1"},
    {"threads", "1"},
    {"timeout.connect", "25s"}, /* for all sensors that are tried, one after the other */
    {"queue.timeout", "1s"},    /* nothing is queued */
    {"control.socket", ""},
    {"drain.notice", "0ms"},
    {"allowed.domains", ""},
    {"allowed.connect.ports", "1-65535"},
    {"allowed.http.ports", "1-65535"},
    {"allowed.networks", "0.0.0.0/0,::/0"},
    {"tunnel.sni", "off"},
};

/* What goes on while one file is read. */
struct loading {
    struct settings *settings;
    struct settings_errors *errors;
    int dir;
    enum settings_file file;
};

static void on_file_error(void *arg, const char *file, unsigned line, const char *message)
{
    struct loading *l = arg;
    char where[PLACE_MAX];
    if (line > 0)
        (void)snprintf(where, sizeof where, "%s:%u", file, line);
    else
        (void)snprintf(where, sizeof where, "%s", file);
    settings_error(l->errors, where, "%s", message);
}

static void key_unknown(struct settings_errors *e, const char *where, const char *key)
{
    const char *keys[KEY_COUNT];
    for (size_t i = 0; i < KEY_COUNT; i++)
        keys[i] = table[i].key;
    const char *near = nearest_word(key, keys, KEY_COUNT);
    if (*key == '\0')
        settings_error(e, where, "no key before the value, " MANUAL);
    else if (roles_file_knows(key))
        settings_error(e, where, "is the key of a role, which belongs into %s",
                       file_names[SETTINGS_ROLES]);
    else if (near != NULL)
        settings_error(e, where, "unknown key, did you mean %s?", near);
    else
        settings_error(e, where, "unknown key, " MANUAL);
}

/* 0, or -ENOMEM. Nothing but keys of roles may stand there. */
static int role_apply(const struct loading *l, const struct property *p)
{
    const char *path = l->settings->origins->path[l->file];
    if (key_index(p->key) == KEY_COUNT)
        return roles_file_apply(&l->settings->roles, path, p, l->errors);
    settings_error(l->errors, place(path, p->line, p->key),
                   "is no key of a role and belongs into %s",
                   file_names[table[key_index(p->key)].file]);
    return 0;
}

/* 0, or -ENOMEM. A key that is set twice keeps its first value. */
static int property_apply(const struct loading *l, const struct property *p)
{
    struct settings_origins *o = l->settings->origins;
    const char *where = place(o->path[l->file], p->line, p->key);
    size_t i = key_index(p->key);
    if (i == KEY_COUNT) {
        key_unknown(l->errors, where, p->key);
        return 0;
    }
    if (o->set[i].line > 0) {
        settings_error(l->errors, where, "given twice, first in %s:%u, allowed: once in all files",
                       o->path[o->set[i].file], o->set[i].line);
        return 0;
    }
    o->set[i].file = (int)l->file;
    o->set[i].line = p->line;
    union setting_value v;
    int rc = setting_value_parse(&v, &table[i], p->value, l->errors, where);
    if (rc == 0)
        field_put(l->settings, &table[i], &v);
    return rc == -ENOMEM ? rc : 0;
}

static int file_apply(struct loading *l)
{
    const struct settings_origins *o = l->settings->origins;
    struct properties p;
    int rc = properties_load(&p, l->dir, file_names[l->file], o->path[l->file], on_file_error, l);
    /* A link that leads nowhere must not pass for a file that is not there: its keys would be at
     * their defaults. */
    if (rc == -ENOENT && o->seen[l->file])
        settings_error(l->errors, o->path[l->file], "is a symbolic link that leads nowhere");
    for (size_t i = 0; i < p.count && rc != -ENOMEM; i++) {
        bool role = l->file == SETTINGS_ROLES;
        if ((role ? role_apply(l, &p.item[i]) : property_apply(l, &p.item[i])) == -ENOMEM)
            rc = -ENOMEM;
    }
    properties_free(&p);
    return rc == -ENOMEM ? rc : 0;
}

/* Hidden files are none of ours: editors keep such beside the one that is open. */
static int is_properties(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    size_t ending = sizeof ENDING - 1;
    return entry->d_name[0] != '.' && len > ending &&
           strcasecmp(entry->d_name + len - ending, ENDING) == 0;
}

static void name_check(struct settings_origins *o, const char *dir, const char *name,
                       struct settings_errors *e)
{
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++) {
        if (strcmp(name, file_names[f]) == 0) {
            o->seen[f] = true;
            return;
        }
    }
    const char *near = nearest_word(name, file_names, SETTINGS_FILE_COUNT);
    if (near != NULL)
        settings_error(e, dir, "%s is no file of certferry, did you mean %s?", name, near);
    else
        settings_error(e, dir,
                       "%s is no file of certferry, allowed: webserver.properties, "
                       "useproxy.properties, failover.properties, gateway.properties, "
                       "roles.properties",
                       name);
}

/* Which of our files are there; 0, or -EINVAL when there is nothing to read. */
static int directory_check(struct settings_origins *o, int fd, const char *dir,
                           struct settings_errors *e)
{
    struct dirent **entry;
    const char *why = "";
    if (fd >= 0 && private_directory_check(fd, &why) == -EPERM)
        settings_error(e, dir, "%s", why);
    errno = -fd;
    int count = fd >= 0 ? scandirat(fd, ".", &entry, is_properties, alphasort) : -1;
    if (count < 0) {
        settings_error(e, dir, "cannot be read: %m; name the directory of webserver.properties");
        return -EINVAL;
    }
    for (int i = 0; i < count; i++) {
        name_check(o, dir, entry[i]->d_name, e);
        free(entry[i]);
    }
    free(entry);
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++) {
        if (o->seen[f])
            return 0;
    }
    settings_error(e, dir,
                   "holds none of webserver.properties, useproxy.properties, failover.properties, "
                   "gateway.properties, roles.properties; name the directory that does");
    return -EINVAL;
}

static void cross_check(const struct settings *s, struct settings_errors *e)
{
    if (s->limit_request_line > s->limit_head) {
        char line[32];
        char head[32];
        settings_error(e, settings_where(s, "limit.request.line"),
                       "%s is more than limit.head allows for the whole head, allowed: at most %s",
                       setting_size_print(s->limit_request_line, line, sizeof line),
                       setting_size_print(s->limit_head, head, sizeof head));
    }
    /* Clients wait for both, one after the other. */
    if (s->queue_timeout + s->timeout_connect >= PATIENCE_MS)
        settings_error(
            e, settings_where(s, "queue.timeout"),
            "%llu ms, with timeout.connect=%llu ms, is 30s or more, which clients do not "
            "wait for, allowed: less together",
            (unsigned long long)s->queue_timeout, (unsigned long long)s->timeout_connect);
    static const struct setting_info per_client = {
        .type = SETTING_NUMBER, .text = "", .min = 0, .max = 10000000};
    if (*s->limit_connections_per_client != '\0') {
        union setting_value number;
        (void)setting_value_parse(&number, &per_client, s->limit_connections_per_client, e,
                                  settings_where(s, "limit.connections.per.client"));
    }
}

/* 0, or -ENOMEM. The text is ours and right. */
static int field_preset(struct settings *s, size_t i, const char *text)
{
    struct settings_errors none = {0};
    union setting_value v;
    int rc = setting_value_parse(&v, &table[i], text, &none, table[i].key);
    assert(rc != -EINVAL);
    if (rc == 0)
        field_put(s, &table[i], &v);
    return rc;
}

static int defaults_apply(struct settings *s)
{
    int rc = 0;
    size_t presets = s->role == SETTINGS_AGENT ? sizeof agent_presets / sizeof *agent_presets : 0;
    for (size_t i = 0; i < KEY_COUNT && rc == 0; i++)
        rc = field_preset(s, i, table[i].text);
    for (size_t i = 0; i < presets && rc == 0; i++)
        rc = field_preset(s, key_index(agent_presets[i].key), agent_presets[i].value);
    return rc;
}

/* Returns owned: everything at its default; NULL when out of memory. */
static struct settings *settings_create(const char *dir, enum settings_role role)
{
    struct settings *s = calloc(1, sizeof *s);
    if (s == NULL || (s->origins = calloc(1, sizeof *s->origins)) == NULL) {
        free(s);
        return NULL;
    }
    bool slash = *dir != '\0' && dir[strlen(dir) - 1] == '/';
    bool lost = false;
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++) {
        if (asprintf(&s->origins->path[f], "%s%s%s", dir, slash ? "" : "/", file_names[f]) < 0) {
            s->origins->path[f] = NULL;
            lost = true;
        }
    }
    s->role = role;
    if (!lost && defaults_apply(s) == 0)
        return s;
    settings_free(s);
    return NULL;
}

/* 0, or -ENOMEM. */
static int directory_apply(struct settings *s, int fd, const char *dir, struct settings_errors *e)
{
    if (directory_check(s->origins, fd, dir, e) != 0)
        return 0;
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++) {
        struct loading l = {s, e, fd, (enum settings_file)f};
        if (file_apply(&l) == -ENOMEM)
            return -ENOMEM;
    }
    return 0;
}

struct settings *settings_load(int fd, const char *dir, struct settings_errors *e)
{
    struct settings *s = settings_create(dir, SETTINGS_SENSOR);
    if (s != NULL && directory_apply(s, fd, dir, e) != 0) {
        settings_free(s);
        return NULL;
    }
    if (s != NULL)
        cross_check(s, e);
    return s;
}

/* "127.0.0.1:48999", "[::1]:48999": the port behind the last colon. */
static int listen_apply(struct settings *s, const char *text, struct settings_errors *e)
{
    static const char option[] = "--listen";
    const char *colon = strrchr(text, ':');
    size_t port = key_index("heartbeatport"), addresses = key_index("listen.addresses");
    union setting_value v;
    if (colon == NULL || colon == text || colon[1] == '\0') {
        settings_error(e, option, "\"%s\" is no address:port, such as 127.0.0.1:48999", text);
        return 0;
    }
    int rc = setting_value_parse(&v, &table[port], colon + 1, e, option);
    if (rc == 0)
        field_put(s, &table[port], &v);
    char *address = strndup(text, (size_t)(colon - text));
    if (address == NULL)
        return -ENOMEM;
    if (rc != -ENOMEM)
        rc = setting_value_parse(&v, &table[addresses], address, e, option);
    if (rc == 0)
        field_put(s, &table[addresses], &v);
    free(address);
    return rc == -ENOMEM ? rc : 0;
}

struct settings *settings_load_agent(int fd, const char *dir, const char *listen,
                                     struct settings_errors *e)
{
    struct settings *s = settings_create(dir != NULL ? dir : "certferry agent", SETTINGS_AGENT);
    int rc = s != NULL ? 0 : -ENOMEM;
    if (rc == 0 && dir != NULL)
        rc = directory_apply(s, fd, dir, e);
    if (rc == 0 && listen != NULL)
        rc = listen_apply(s, listen, e);
    if (rc != 0) {
        settings_free(s);
        return NULL;
    }
    cross_check(s, e);
    return s;
}

void settings_free(struct settings *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        union setting_value v = field_get(s, &table[i]);
        setting_value_free(table[i].type, &v);
    }
    roles_file_free(&s->roles);
    for (int f = 0; f < SETTINGS_FILE_COUNT; f++)
        free(s->origins->path[f]);
    free(s->origins);
    free(s);
}

void settings_restart_needed(const struct settings *old, const struct settings *new_,
                             void (*on_key)(void *arg, const char *key), void *arg)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        union setting_value a = field_get(old, &table[i]);
        union setting_value b = field_get(new_, &table[i]);
        if (!table[i].reload && !setting_value_same(table[i].type, &a, &b))
            on_key(arg, table[i].key);
    }
}

int settings_keep(struct settings *s, const struct settings *in_force)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        union setting_value kept, old = field_get(in_force, &table[i]);
        if (table[i].reload)
            continue;
        if (setting_value_copy(table[i].type, &kept, &old) != 0)
            return -ENOMEM;
        field_put(s, &table[i], &kept);
    }
    return 0;
}

/* "# word word", wrapped at 100 columns. */
static void comment_print(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t len = strlen(text);
        if (len > 98) {
            len = 98;
            while (len > 0 && text[len] != ' ')
                len--;
            len = len > 0 ? len : 98; /* one long word */
        }
        (void)fprintf(out, "# %.*s\n", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

void settings_print_defaults(FILE *out, enum settings_file file)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char allowed[256];
        char line[320];
        if (table[i].file != (int)file)
            continue;
        comment_print(out, table[i].comment);
        (void)snprintf(line, sizeof line, "(%s; %s)",
                       setting_value_allowed(&table[i], allowed, sizeof allowed),
                       table[i].reload ? "a reload is enough" : "needs a restart");
        comment_print(out, line);
        (void)fprintf(out, "%s=%s\n\n", table[i].key, table[i].text);
    }
}

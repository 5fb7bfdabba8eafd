#include "conf/roles_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/nearest.h"
#include "proxy/base/span.h"

#define MANUAL "certferry.properties(5) lists the keys of a role"

/* What the max column holds depends on the type. */
#define RANGE_NUMBER(low, high) .min = (low), .max = (high)
#define RANGE_LIST(low, high) .min = (low), .max = (high)
#define RANGE_PORTS(low, high) .min = (low), .max = (high)
#define RANGE_CHOICE(low, high) .choices = (high)

static const struct setting_info table[ROLES_FILE_KEY_COUNT] = {
#define ROLES_FILE_INFO(field, name, kind, value, low, high, about)                                \
    {.key = (name),                                                                                \
     .type = SETTING_##kind,                                                                       \
     .text = (value),                                                                              \
     RANGE_##kind(low, high),                                                                      \
     .reload = true,                                                                               \
     .comment = (about),                                                                           \
     .offset = offsetof(struct role_settings, field)},
    ROLES_FILE_TABLE(ROLES_FILE_INFO)
#undef ROLES_FILE_INFO
};

static size_t key_index(const char *key)
{
    size_t i = 0;
    while (i < ROLES_FILE_KEY_COUNT && strcmp(table[i].key, key) != 0)
        i++;
    return i;
}

bool roles_file_knows(const char *key)
{
    const char *dot = strchr(key, '.');
    return dot != NULL && key_index(dot + 1) < ROLES_FILE_KEY_COUNT;
}

const char *roles_file_where(const char *path, const struct role_settings *role,
                             enum roles_file_key key, char *out, size_t size)
{
    (void)snprintf(out, size, "%s:%u: %s.%s", path, role->line[key], role->name, table[key].key);
    return out;
}

static union setting_value field_get(const struct role_settings *r, const struct setting_info *info)
{
    union setting_value v;
    memset(&v, 0, sizeof v);
    memcpy(&v, (const char *)r + info->offset, setting_value_size(info->type));
    return v;
}

void roles_file_free(struct roles_file *f)
{
    for (size_t i = 0; i < f->count; i++) {
        for (size_t k = 0; k < ROLES_FILE_KEY_COUNT; k++) {
            union setting_value v = field_get(&f->role[i], &table[k]);
            setting_value_free(table[k].type, &v);
        }
    }
    free(f->role);
    *f = (struct roles_file){0};
}

/* ---- identities ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f' || c == '\n' || c == '\r' || c == '\v';
}

static void blanks_step(const char **at)
{
    while (is_blank(**at))
        ++*at;
}

/* One entry between double quotes, of which each that belongs to it is doubled. False: no end. */
static bool quoted_read(const char **at, char *out)
{
    for (++*at; **at != '\0'; ++*at) {
        if (**at == '"' && *++*at != '"') {
            *out = '\0';
            return true;
        }
        *out++ = **at;
    }
    return false;
}

static void plain_read(const char **at, char *out)
{
    size_t len = strcspn(*at, ",");
    const char *begin = *at;
    *at += len;
    while (len > 0 && is_blank(begin[len - 1]))
        len--;
    memcpy(out, begin, len);
    out[len] = '\0';
}

/*
 * The next entry to `out`, which has room for all of the text; `*at` ends on its comma or on the
 * end. NULL, or what is wrong.
 */
static const char *identity_read(const char **at, char *out)
{
    blanks_step(at);
    bool quoted = **at == '"';
    if (quoted && !quoted_read(at, out))
        return "has a quoted entry without an end, allowed: \"...\", a double quote in it doubled";
    if (quoted)
        blanks_step(at);
    else
        plain_read(at, out);
    if (**at != ',' && **at != '\0')
        return "has something behind a quoted entry, allowed: a comma";
    if (out[0] == '\0')
        return "has an empty entry, allowed: list, comma-separated; may be empty";
    if (!quoted && strchr(out, '"') != NULL)
        return "has a double quote inside an entry, allowed: the whole entry in double quotes";
    return NULL;
}

/* 0 with an owned list; -EINVAL with a mistake told; -ENOMEM. */
static int identities_parse(union setting_value *v, const char *text, struct settings_errors *e,
                            const char *where)
{
    const char *why = NULL;
    char *one = malloc(strlen(text) + 1);
    size_t most = 1;
    for (const char *at = text; *at != '\0'; at++)
        most += *at == ',';
    struct text_list *list = &v->list;
    *list = (struct text_list){.item = calloc(most, sizeof *list->item)};
    bool lost = one == NULL || list->item == NULL;
    const char *at = text;
    blanks_step(&at);
    for (bool more = !lost && *at != '\0'; more && why == NULL && !lost;) {
        why = identity_read(&at, one);
        if (why == NULL && list->count == ROLES_FILE_IDENTITIES_MAX)
            why = "has more than 100000 entries";
        if (why == NULL) {
            list->item[list->count] = strdup(one);
            lost = list->item[list->count++] == NULL;
        }
        more = *at == ',';
        at += more;
    }
    free(one);
    if (why == NULL && !lost)
        return 0;
    if (why != NULL)
        settings_error(e, where, "%s", why);
    setting_value_free(SETTING_LIST, v);
    return lost ? -ENOMEM : -EINVAL;
}

/* ---- one line ---- */

static bool name_is_valid(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= ROLES_FILE_NAME_MAX;
}

/* The role, new if it was not named before; NULL when a mistake was told, or out of memory. */
static struct role_settings *role_take(struct roles_file *f, struct span name, const char *where,
                                       struct settings_errors *e, int *rc)
{
    *rc = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (span_is(name, span_of(f->role[i].name)))
            return &f->role[i];
    }
    if (f->count == ROLES_FILE_ROLES_MAX) {
        settings_error(e, where, "one role too many, allowed: at most %d", ROLES_FILE_ROLES_MAX);
        return NULL;
    }
    struct role_settings *grown = realloc(f->role, (f->count + 1) * sizeof *grown);
    if (grown == NULL) {
        *rc = -ENOMEM;
        return NULL;
    }
    f->role = grown;
    struct role_settings *r = &grown[f->count++];
    *r = (struct role_settings){0}; /* which is every key's default */
    memcpy(r->name, name.ptr, name.len);
    return r;
}

static void key_unknown(struct settings_errors *e, const char *where, struct span role,
                        const char *key)
{
    const char *keys[ROLES_FILE_KEY_COUNT];
    for (size_t i = 0; i < ROLES_FILE_KEY_COUNT; i++)
        keys[i] = table[i].key;
    const char *near = nearest_word(key, keys, ROLES_FILE_KEY_COUNT);
    for (size_t i = 0; near == NULL && i < ROLES_FILE_KEY_COUNT; i++)
        near = strncmp(key, keys[i], 5) == 0 ? keys[i] : NULL; /* identity */
    if (near != NULL)
        settings_error(e, where, "unknown key, did you mean %.*s.%s?", SPAN_ARGS(role), near);
    else
        settings_error(e, where, "unknown key, " MANUAL);
}

static int value_apply(struct role_settings *r, size_t key, const struct property *p,
                       const char *where, struct settings_errors *e)
{
    const struct setting_info *info = &table[key];
    union setting_value v = {0};
    int rc = key == ROLES_FILE_identities ? identities_parse(&v, p->value, e, where)
                                          : setting_value_parse(&v, info, p->value, e, where);
    r->line[key] = p->line;
    if (rc == 0)
        memcpy((char *)r + info->offset, &v, setting_value_size(info->type));
    return rc == -ENOMEM ? rc : 0;
}

int roles_file_apply(struct roles_file *f, const char *path, const struct property *p,
                     struct settings_errors *e)
{
    char where[PATH_MAX + 160];
    const char *dot = strchr(p->key, '.');
    struct span name = {p->key, dot != NULL ? (size_t)(dot - p->key) : 0};
    int rc;
    (void)snprintf(where, sizeof where, "%s:%u: %.100s%s", path, p->line, p->key,
                   strlen(p->key) > 100 ? "..." : "");
    if (dot == NULL) {
        settings_error(e, where, "is no ROLE.KEY, such as sensors.identities; " MANUAL);
        return 0;
    }
    size_t key = key_index(dot + 1);
    if (!name_is_valid(name)) {
        settings_error(e, where,
                       "no name of a role before the first dot, allowed: 1 to %d of a-z, "
                       "0-9 and hyphen",
                       ROLES_FILE_NAME_MAX);
        return 0;
    }
    if (key == ROLES_FILE_KEY_COUNT) {
        key_unknown(e, where, name, dot + 1);
        return 0;
    }
    struct role_settings *r = role_take(f, name, where, e, &rc);
    if (r == NULL)
        return rc;
    if (r->line[key] > 0) {
        settings_error(e, where, "given twice, first in %s:%u", path, r->line[key]);
        return 0;
    }
    return value_apply(r, key, p, where, e);
}

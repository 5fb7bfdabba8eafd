#include "allowlist/roles.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "allowlist/name_index.h"

enum { PATTERNS_MAX = 1000 };

/* Names of the index, patterns without their star. A suffix is hashed from its end, all else from
 * its beginning; the value is the role. */
enum entry_kind { ENTRY_NAME, ENTRY_PREFIX, ENTRY_SUFFIX };

/* A role with what it owns. */
struct owned_role {
    struct role role;
    struct policy *policy;
};

struct roles {
    struct owned_role list[ROLES_MAX];
    size_t role_count;
    struct owned_role strangers; /* its policy NULL: there is none */
    struct name_index index;
    size_t patterns; /* of them */
};

static int refuse(const char **why, const char *text, int rc)
{
    if (why != NULL)
        *why = text;
    return rc;
}

/* ---- what a star may stand for ---- */

static bool is_star_octet(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

/* The octet at `i` of the name, as part of what a star stands for: a dot has something on either
 * side. */
static bool star_takes(struct span name, size_t i)
{
    if (!is_star_octet(name.ptr[i]))
        return false;
    bool dot = name.ptr[i] == '.';
    return !dot || (i > 0 && name.ptr[i - 1] != '.' && i + 1 < name.len && name.ptr[i + 1] != '.');
}

/* ---- asking ---- */

/* The longest that the name begins with, and whose star takes the rest. */
static const struct name_entry *find_prefix(const struct roles *r, struct span name,
                                            const uint32_t *hashes)
{
    for (size_t len = name.len - 1; len > 0 && star_takes(name, len); len--) {
        const struct name_entry *e =
            name_index_find(&r->index, ENTRY_PREFIX, (struct span){name.ptr, len}, hashes[len]);
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* The longest that the name ends with; it begins with a dot. */
static const struct name_entry *find_suffix(const struct roles *r, struct span name)
{
    uint32_t hashes[ROLE_IDENTITY_MAX + 1]; /* of what begins there */
    hashes[name.len] = name_hash_start;
    for (size_t i = name.len; i-- > 0;)
        hashes[i] = name_hash_step(hashes[i + 1], name.ptr[i]);
    for (size_t at = 1; at < name.len && star_takes(name, at - 1); at++) {
        if (name.ptr[at] != '.')
            continue;
        struct span end = {name.ptr + at, name.len - at};
        const struct name_entry *e = name_index_find(&r->index, ENTRY_SUFFIX, end, hashes[at]);
        if (e != NULL)
            return e;
    }
    return NULL;
}

static const struct name_entry *find_pattern(const struct roles *r, struct span name,
                                             const uint32_t *hashes)
{
    const struct name_entry *prefix = find_prefix(r, name, hashes);
    const struct name_entry *suffix = find_suffix(r, name);
    if (prefix == NULL || suffix == NULL)
        return prefix != NULL ? prefix : suffix;
    return prefix->name.len >= suffix->name.len ? prefix : suffix;
}

const struct role *roles_of(const struct roles *r, const char *identity)
{
    struct span name = span_of(identity);
    const struct name_entry *e = NULL;
    if (name.len > 0 && name.len <= ROLE_IDENTITY_MAX) {
        uint32_t hashes[ROLE_IDENTITY_MAX + 1]; /* of the first so many octets */
        hashes[0] = name_hash_start;
        for (size_t i = 0; i < name.len; i++)
            hashes[i + 1] = name_hash_step(hashes[i], name.ptr[i]);
        e = name_index_find(&r->index, ENTRY_NAME, name, hashes[name.len]);
        if (e == NULL && r->patterns > 0)
            e = find_pattern(r, name, hashes);
    }
    if (e != NULL)
        return e->value;
    return r->strangers.policy != NULL ? &r->strangers.role : NULL;
}

const struct role *roles_find(const struct roles *r, const char *name)
{
    for (size_t i = 0; i < r->role_count; i++) {
        if (strcmp(r->list[i].role.name, name) == 0)
            return &r->list[i].role;
    }
    return NULL;
}

size_t roles_count(const struct roles *r)
{
    return r->role_count;
}

const struct role *roles_at(const struct roles *r, size_t i)
{
    assert(i < r->role_count);
    return &r->list[i].role;
}

const char *role_rule(const struct role *role, enum outcome why, bool connect,
                      char out[ROLE_RULE_MAX])
{
    const char *key, *other = NULL;
    unsigned own = ROLE_OWN_HOSTS;
    if (why == OUTCOME_HOST_DENIED) {
        key = "allowed.domains";
        other = "allowed.hosts";
    } else if (why == OUTCOME_LITERAL_DENIED) {
        key = "allowed.hosts";
    } else if (why == OUTCOME_PORT_DENIED) {
        own = connect ? ROLE_OWN_CONNECT_PORTS : ROLE_OWN_HTTP_PORTS;
        key = connect ? "allowed.connect.ports" : "allowed.http.ports";
    } else if (why == OUTCOME_PROTOCOL_DENIED) {
        own = ROLE_OWN_PROTOCOLS;
        key = "allowed.protocols";
    } else {
        return NULL;
    }
    bool has = (role->own & own) != 0;
    const char *name = has ? role->name : "", *dot = has ? "." : "";
    (void)snprintf(out, ROLE_RULE_MAX, "%s%s%s%s%s%s%s in %s.properties", name, dot, key,
                   other != NULL ? " or " : "", other != NULL ? name : "", other != NULL ? dot : "",
                   other != NULL ? other : "", has ? "roles" : "useproxy");
    return out;
}

bool role_name_is_valid(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= ROLE_NAME_MAX;
}

/* ---- adding ---- */

struct roles *roles_create(void)
{
    return calloc(1, sizeof(struct roles));
}

void roles_destroy(struct roles *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->role_count; i++)
        policy_destroy(r->list[i].policy);
    policy_destroy(r->strangers.policy);
    name_index_release(&r->index);
    free(r);
}

int roles_add(struct roles *r, const struct role *role, struct policy *policy, size_t *place)
{
    assert(role_name_is_valid(span_of(role->name)) && roles_find(r, role->name) == NULL);
    assert(r->role_count < ROLES_MAX);
    if (policy == NULL)
        return -ENOMEM;
    struct owned_role *to = &r->list[r->role_count];
    *to = (struct owned_role){*role, policy};
    to->role.policy = policy;
    to->role.stranger = false;
    *place = r->role_count++;
    return 0;
}

int roles_add_strangers(struct roles *r, struct policy *policy)
{
    assert(r->strangers.policy == NULL);
    if (policy == NULL)
        return -ENOMEM;
    r->strangers = (struct owned_role){{.stranger = true, .policy = policy}, policy};
    return 0;
}

/* The text as what it means; the name is a part of it. */
static int entry_parse(struct name_entry *e, struct span text, const char **why)
{
    const char *star = text.len > 0 ? memchr(text.ptr, '*', text.len) : NULL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            return refuse(why,
                          "an identity is printable ASCII: copy it from the access log, where "
                          "other octets are escaped",
                          -EINVAL);
    }
    if (text.len == 0 || text.len > ROLE_IDENTITY_MAX)
        return refuse(why, "an identity has 1 to 255 octets", -EINVAL);
    *e = (struct name_entry){.kind = ENTRY_NAME, .name = text};
    if (star == NULL)
        return 0;
    if (text.len > 2 && star == text.ptr && text.ptr[1] == '.') {
        e->kind = ENTRY_SUFFIX;
        e->name = (struct span){text.ptr + 1, text.len - 1};
    } else if (text.len > 1 && star == text.ptr + text.len - 1) {
        e->kind = ENTRY_PREFIX;
        e->name = (struct span){text.ptr, text.len - 1};
    }
    if (e->kind == ENTRY_NAME || memchr(e->name.ptr, '*', e->name.len) != NULL)
        return refuse(why,
                      "a star stands before the dot of a suffix (*.plant.example) or behind a "
                      "prefix (sensor-*), once",
                      -EINVAL);
    return 0;
}

static uint32_t entry_hash(const struct name_entry *e)
{
    uint32_t hash = name_hash_start;
    size_t len = e->name.len;
    for (size_t i = 0; i < len; i++)
        hash = name_hash_step(hash, e->name.ptr[e->kind == ENTRY_SUFFIX ? len - 1 - i : i]);
    return hash;
}

static bool all_star_octets(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_star_octet(text[i]))
            return false;
    }
    return true;
}

/*
 * Whether one name may match both, which are of one length: then neither is more specific. The name
 * is longer than either by 1 to that length, where they overlap, or they do not overlap at all.
 */
static bool patterns_clash(struct span prefix, struct span suffix)
{
    size_t n = prefix.len;
    assert(suffix.len == n);
    for (size_t more = 1; more <= n; more++) {
        if (memcmp(prefix.ptr + more, suffix.ptr, n - more) == 0 &&
            all_star_octets(prefix.ptr, more) && all_star_octets(suffix.ptr + n - more, more))
            return true;
    }
    return false;
}

/* The role of another pattern that is as specific; NULL: none. */
static const struct role *find_clash(const struct roles *r, const struct name_entry *e)
{
    for (size_t i = 0; i < r->index.count; i++) {
        const struct name_entry *other = &r->index.entry[i];
        bool kinds = (e->kind == ENTRY_PREFIX && other->kind == ENTRY_SUFFIX) ||
                     (e->kind == ENTRY_SUFFIX && other->kind == ENTRY_PREFIX);
        if (kinds && other->name.len == e->name.len && other->value != e->value &&
            (e->kind == ENTRY_PREFIX ? patterns_clash(e->name, other->name)
                                     : patterns_clash(other->name, e->name)))
            return other->value;
    }
    return NULL;
}

int roles_add_identity(struct roles *r, size_t place, struct span text, const char **why,
                       const struct role **other)
{
    struct name_entry e;
    *other = NULL;
    assert(place < r->role_count);
    if (entry_parse(&e, text, why) != 0)
        return -EINVAL;
    e.hash = entry_hash(&e);
    e.value = &r->list[place].role;
    const struct name_entry *same = name_index_find(&r->index, e.kind, e.name, e.hash);
    if (same != NULL) {
        *other = same->value;
        return refuse(why, "is given twice", -EINVAL);
    }
    if (r->index.count == ROLES_IDENTITIES_MAX)
        return refuse(why, "more than 100000 identities in all", -EINVAL);
    if (e.kind != ENTRY_NAME && r->patterns == PATTERNS_MAX)
        return refuse(why, "more than 1000 patterns in all", -EINVAL);
    *other = e.kind != ENTRY_NAME ? find_clash(r, &e) : NULL;
    if (*other != NULL)
        return refuse(why, "may match the same name as a pattern of the same length", -EINVAL);
    if (name_index_add(&r->index, text, &e) != 0)
        return refuse(why, "out of memory", -ENOMEM);
    r->patterns += e.kind != ENTRY_NAME;
    return 0;
}

#include "allowlist/roles.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 64, LIST_FIRST = 16, PATTERNS_MAX = 1000 };

enum entry_kind { ENTRY_NAME, ENTRY_PREFIX, ENTRY_SUFFIX };

/* A name, or a pattern without its star. */
struct entry {
    char *text; /* owned */
    size_t len;
    uint32_t hash; /* of a suffix from its end, else from its beginning */
    enum entry_kind kind;
    const struct role *role;
};

/* A role with what it owns. */
struct owned_role {
    struct role role;
    struct policy *policy;
};

struct roles {
    struct owned_role list[ROLES_MAX];
    size_t role_count;
    struct owned_role strangers; /* its policy NULL: there is none */
    struct entry *entry;         /* in the order added */
    size_t count, cap, patterns;
    uint32_t *slots;   /* open addressing: index into `entry` plus one, 0 is free */
    size_t slot_count; /* a power of two, more than twice `count` */
};

static int refuse(const char **why, const char *text, int rc)
{
    if (why != NULL)
        *why = text;
    return rc;
}

/* FNV-1a, so that one pass over a name meets the hash of each of its beginnings, and one from its
 * end that of each of its ends. */
static const uint32_t hash_start = 2166136261U;

static uint32_t hash_step(uint32_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 16777619U;
}

static size_t hash_slot(const struct roles *r, uint32_t hash)
{
    return (hash ^ (hash >> 15)) & (r->slot_count - 1);
}

static const struct entry *entry_find(const struct roles *r, enum entry_kind kind,
                                      struct span literal, uint32_t hash)
{
    if (r->slot_count == 0)
        return NULL;
    for (size_t i = hash_slot(r, hash); r->slots[i] != 0; i = (i + 1) & (r->slot_count - 1)) {
        const struct entry *e = &r->entry[r->slots[i] - 1];
        if (e->hash == hash && e->kind == kind && span_is(literal, (struct span){e->text, e->len}))
            return e;
    }
    return NULL;
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
static const struct entry *find_prefix(const struct roles *r, struct span name,
                                       const uint32_t *hashes)
{
    for (size_t len = name.len - 1; len > 0 && star_takes(name, len); len--) {
        const struct entry *e =
            entry_find(r, ENTRY_PREFIX, (struct span){name.ptr, len}, hashes[len]);
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* The longest that the name ends with; it begins with a dot. */
static const struct entry *find_suffix(const struct roles *r, struct span name)
{
    uint32_t hashes[ROLE_IDENTITY_MAX + 1]; /* of what begins there */
    hashes[name.len] = hash_start;
    for (size_t i = name.len; i-- > 0;)
        hashes[i] = hash_step(hashes[i + 1], name.ptr[i]);
    for (size_t at = 1; at < name.len && star_takes(name, at - 1); at++) {
        if (name.ptr[at] != '.')
            continue;
        struct span end = {name.ptr + at, name.len - at};
        const struct entry *e = entry_find(r, ENTRY_SUFFIX, end, hashes[at]);
        if (e != NULL)
            return e;
    }
    return NULL;
}

static const struct entry *find_pattern(const struct roles *r, struct span name,
                                        const uint32_t *hashes)
{
    const struct entry *prefix = find_prefix(r, name, hashes);
    const struct entry *suffix = find_suffix(r, name);
    if (prefix == NULL || suffix == NULL)
        return prefix != NULL ? prefix : suffix;
    return prefix->len >= suffix->len ? prefix : suffix;
}

const struct role *roles_of(const struct roles *r, const char *identity)
{
    struct span name = span_of(identity);
    const struct entry *e = NULL;
    if (name.len > 0 && name.len <= ROLE_IDENTITY_MAX) {
        uint32_t hashes[ROLE_IDENTITY_MAX + 1]; /* of the first so many octets */
        hashes[0] = hash_start;
        for (size_t i = 0; i < name.len; i++)
            hashes[i + 1] = hash_step(hashes[i], name.ptr[i]);
        e = entry_find(r, ENTRY_NAME, name, hashes[name.len]);
        if (e == NULL && r->patterns > 0)
            e = find_pattern(r, name, hashes);
    }
    if (e != NULL)
        return e->role;
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
    for (size_t i = 0; i < r->count; i++)
        free(r->entry[i].text);
    for (size_t i = 0; i < r->role_count; i++)
        policy_destroy(r->list[i].policy);
    policy_destroy(r->strangers.policy);
    free(r->entry);
    free(r->slots);
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

static void slot_take(struct roles *r, size_t index)
{
    size_t i = hash_slot(r, r->entry[index].hash);
    while (r->slots[i] != 0)
        i = (i + 1) & (r->slot_count - 1);
    r->slots[i] = (uint32_t)(index + 1);
}

/* Keeps at least half of the slots free, so that a search ends soon. */
static int slots_grow(struct roles *r)
{
    if ((r->count + 1) * 2 < r->slot_count)
        return 0;
    size_t slot_count = r->slot_count == 0 ? SLOTS_FIRST : r->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    free(r->slots);
    r->slots = slots;
    r->slot_count = slot_count;
    for (size_t i = 0; i < r->count; i++)
        slot_take(r, i);
    return 0;
}

static int list_grow(struct roles *r)
{
    if (r->count < r->cap)
        return 0;
    size_t cap = r->cap == 0 ? LIST_FIRST : r->cap * 2;
    struct entry *entry = realloc(r->entry, cap * sizeof *entry);
    if (entry == NULL)
        return -ENOMEM;
    r->entry = entry;
    r->cap = cap;
    return 0;
}

/* The text as what it means, its star taken off; no memory of its own yet. */
static int entry_parse(struct entry *e, struct span *literal, struct span text, const char **why)
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
    *e = (struct entry){.kind = ENTRY_NAME};
    *literal = text;
    if (star == NULL)
        return 0;
    if (text.len > 2 && star == text.ptr && text.ptr[1] == '.') {
        e->kind = ENTRY_SUFFIX;
        *literal = (struct span){text.ptr + 1, text.len - 1};
    } else if (text.len > 1 && star == text.ptr + text.len - 1) {
        e->kind = ENTRY_PREFIX;
        *literal = (struct span){text.ptr, text.len - 1};
    }
    if (e->kind == ENTRY_NAME || memchr(literal->ptr, '*', literal->len) != NULL)
        return refuse(why,
                      "a star stands before the dot of a suffix (*.plant.example) or behind a "
                      "prefix (sensor-*), once",
                      -EINVAL);
    return 0;
}

static uint32_t literal_hash(enum entry_kind kind, struct span literal)
{
    uint32_t hash = hash_start;
    for (size_t i = 0; i < literal.len; i++)
        hash = hash_step(hash, literal.ptr[kind == ENTRY_SUFFIX ? literal.len - 1 - i : i]);
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
static const struct role *find_clash(const struct roles *r, const struct entry *e,
                                     struct span literal)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *other = &r->entry[i];
        struct span text = {other->text, other->len};
        bool kinds = (e->kind == ENTRY_PREFIX && other->kind == ENTRY_SUFFIX) ||
                     (e->kind == ENTRY_SUFFIX && other->kind == ENTRY_PREFIX);
        if (kinds && text.len == literal.len && other->role != e->role &&
            (e->kind == ENTRY_PREFIX ? patterns_clash(literal, text)
                                     : patterns_clash(text, literal)))
            return other->role;
    }
    return NULL;
}

int roles_add_identity(struct roles *r, size_t place, struct span text, const char **why,
                       const struct role **other)
{
    struct entry e;
    struct span literal;
    *other = NULL;
    assert(place < r->role_count);
    if (entry_parse(&e, &literal, text, why) != 0)
        return -EINVAL;
    e.hash = literal_hash(e.kind, literal);
    e.len = literal.len;
    e.role = &r->list[place].role;
    const struct entry *same = entry_find(r, e.kind, literal, e.hash);
    if (same != NULL) {
        *other = same->role;
        return refuse(why, "is given twice", -EINVAL);
    }
    if (r->count == ROLES_IDENTITIES_MAX)
        return refuse(why, "more than 100000 identities in all", -EINVAL);
    if (e.kind != ENTRY_NAME && r->patterns == PATTERNS_MAX)
        return refuse(why, "more than 1000 patterns in all", -EINVAL);
    *other = e.kind != ENTRY_NAME ? find_clash(r, &e, literal) : NULL;
    if (*other != NULL)
        return refuse(why, "may match the same name as a pattern of the same length", -EINVAL);
    if (list_grow(r) != 0 || slots_grow(r) != 0 ||
        (e.text = strndup(literal.ptr, literal.len)) == NULL)
        return refuse(why, "out of memory", -ENOMEM);
    r->entry[r->count] = e;
    slot_take(r, r->count);
    r->count++;
    r->patterns += e.kind != ENTRY_NAME;
    return 0;
}

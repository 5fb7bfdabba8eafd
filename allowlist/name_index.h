/*
 * name_index.h - a list of names of several kinds, in the order added, with a hash set over it:
 * what rules and roles are looked up in.
 *
 * Whoever asks brings the hash, since one pass over a long name meets those of all its beginnings,
 * or all its ends, on the way. Knows no host and no identity. Adding: one thread. Asking: any
 * thread.
 */
#ifndef CERTFERRY_ALLOWLIST_NAME_INDEX_H
#define CERTFERRY_ALLOWLIST_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

struct name_entry {
    char *text;        /* owned, ended by NUL; the user's spelling */
    struct span name;  /* the part of `text` that is looked up */
    const void *value; /* the user's; not owned */
    uint32_t hash;     /* of `name` */
    unsigned kind;     /* the user's; names of two kinds are never the same */
};

/* All zero: empty. The fields are for reading. */
struct name_index {
    struct name_entry *entry; /* owned; in the order added */
    size_t count, cap;
    uint32_t *slots;   /* owned; open addressing: index into `entry` plus one, 0 is free */
    size_t slot_count; /* a power of two, more than twice `count` */
};

/* FNV-1a, from either end of a name. */
static const uint32_t name_hash_start = 2166136261U;

static inline uint32_t name_hash_step(uint32_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 16777619U;
}

static inline size_t name_index_slot(const struct name_index *x, uint32_t hash)
{
    return (hash ^ (hash >> 15)) & (x->slot_count - 1);
}

/* NULL: not there. Here, since each request asks several times. */
static inline const struct name_entry *name_index_find(const struct name_index *x, unsigned kind,
                                                       struct span name, uint32_t hash)
{
    if (x->slot_count == 0)
        return NULL;
    for (size_t i = name_index_slot(x, hash); x->slots[i] != 0; i = (i + 1) & (x->slot_count - 1)) {
        const struct name_entry *e = &x->entry[x->slots[i] - 1];
        if (e->hash == hash && e->kind == kind && span_is(name, e->name))
            return e;
    }
    return NULL;
}

/*
 * Adds a name that is not there yet. `text` is copied, and e->name must be a part of it; the other
 * fields of `e` are taken as they are. 0, or -ENOMEM and nothing has changed.
 */
int name_index_add(struct name_index *x, struct span text, const struct name_entry *e);

/* Frees what it holds; it is empty then. */
void name_index_release(struct name_index *x);

#endif

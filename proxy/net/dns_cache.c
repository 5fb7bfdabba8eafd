#include "proxy/net/dns_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"

enum { BUCKETS_MIN = 16 };

struct entry {
    struct list use;     /* in `used`, longest unused first */
    struct entry *chain; /* same bucket */
    char *name;          /* behind the addresses, in the same allocation */
    uint64_t expires_ms;
    uint32_t hash;
    enum outcome outcome;
    size_t count;
    struct addr address[];
};

struct dns_cache {
    struct list used;
    size_t count, entries_max;
    size_t buckets; /* a power of two, not below entries_max */
    struct entry *bucket[];
};

/*
 * Without a secret: a client who makes names collide finds at most entries_max of them in one
 * chain, and comparing hashes there costs less than the look-up he has already caused.
 */
uint32_t dns_name_hash(const char *name)
{
    uint32_t hash = 2166136261U;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619U;
    return hash;
}

struct dns_cache *dns_cache_create(size_t entries_max)
{
    size_t buckets = BUCKETS_MIN;
    while (buckets < entries_max)
        buckets *= 2;
    struct dns_cache *c = calloc(1, sizeof *c + buckets * sizeof(struct entry *));
    if (c == NULL)
        return NULL;
    list_init(&c->used);
    c->entries_max = entries_max;
    c->buckets = buckets;
    return c;
}

/* Where the pointer to the entry of `name` is, or the NULL at the chain's end. */
static struct entry **find(struct dns_cache *c, const char *name, uint32_t hash)
{
    struct entry **at = &c->bucket[hash & (c->buckets - 1)];
    while (*at != NULL && ((*at)->hash != hash || strcmp((*at)->name, name) != 0))
        at = &(*at)->chain;
    return at;
}

static void forget(struct dns_cache *c, struct entry **at)
{
    struct entry *e = *at;
    assert(e != NULL);
    *at = e->chain;
    list_remove(&e->use);
    c->count--;
    free(e);
}

void dns_cache_destroy(struct dns_cache *c)
{
    for (size_t i = 0; i < c->buckets; i++) {
        while (c->bucket[i] != NULL)
            forget(c, &c->bucket[i]);
    }
    assert(c->count == 0 && list_empty(&c->used));
    free(c);
}

bool dns_cache_get(struct dns_cache *c, const char *name, uint64_t now_ms, struct resolved *answer)
{
    struct entry **at = find(c, name, dns_name_hash(name));
    struct entry *e = *at;
    if (e == NULL)
        return false;
    if (e->expires_ms <= now_ms) {
        forget(c, at);
        return false;
    }
    list_remove(&e->use);
    list_append(&c->used, &e->use);
    answer->outcome = e->outcome;
    answer->count = e->count;
    memcpy(answer->address, e->address, e->count * sizeof e->address[0]);
    return true;
}

static struct entry *entry_create(const char *name, const struct resolved *answer)
{
    size_t addresses_bytes = answer->count * sizeof answer->address[0];
    size_t name_bytes = strlen(name) + 1;
    struct entry *e = malloc(sizeof *e + addresses_bytes + name_bytes);
    if (e == NULL)
        return NULL;
    e->outcome = answer->outcome;
    e->count = answer->count;
    memcpy(e->address, answer->address, addresses_bytes);
    e->name = (char *)&e->address[e->count];
    memcpy(e->name, name, name_bytes);
    return e;
}

void dns_cache_put(struct dns_cache *c, const char *name, const struct resolved *answer,
                   uint64_t expires_ms)
{
    assert(answer->count <= RESOLVER_ADDRESSES_MAX);
    if (c->entries_max == 0)
        return;
    struct entry *e = entry_create(name, answer);
    if (e == NULL)
        return;
    e->hash = dns_name_hash(name);
    e->expires_ms = expires_ms;
    struct entry **at = find(c, name, e->hash);
    if (*at != NULL)
        forget(c, at);
    if (c->count == c->entries_max) {
        struct entry *oldest = LIST_ITEM(c->used.next, struct entry, use);
        forget(c, find(c, oldest->name, oldest->hash));
    }
    struct entry **head = &c->bucket[e->hash & (c->buckets - 1)];
    e->chain = *head;
    *head = e;
    list_append(&c->used, &e->use);
    c->count++;
}

size_t dns_cache_count(const struct dns_cache *c)
{
    return c->count;
}

/*
 * dns_cache.h - answers by name, each with its end, at most so many: the one not used for longest
 * goes first.
 *
 * Pure: time is a number of the caller's; no loop, no c-ares. One thread at a time.
 */
#ifndef CERTFERRY_NET_DNS_CACHE_H
#define CERTFERRY_NET_DNS_CACHE_H

#include "proxy/net/resolved.h"

struct dns_cache;

/* Returns owned; keeps at most `entries_max` names, 0 keeps none. NULL when out of memory. */
struct dns_cache *dns_cache_create(size_t entries_max);
void dns_cache_destroy(struct dns_cache *c);

/* The answer for `name` if it is good beyond `now_ms`, copied to `*answer`: true. An older one is
 * forgotten. */
bool dns_cache_get(struct dns_cache *c, const char *name, uint64_t now_ms, struct resolved *answer);

/*
 * Keeps a copy until `expires_ms`, in place of what was known of the name. Out of memory it keeps
 * what it had: a cache may forget, and the caller could do nothing about it.
 */
void dns_cache_put(struct dns_cache *c, const char *name, const struct resolved *answer,
                   uint64_t expires_ms);

/* Names kept, those included whose time is over but which nobody has asked for since. */
size_t dns_cache_count(const struct dns_cache *c);

/* FNV-1a, for tables of names. */
uint32_t dns_name_hash(const char *name);

#endif

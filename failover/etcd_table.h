/*
 * etcd_table.h - the members below our prefix in etcd, by key: what a range and then the events of
 * a watch make of them.
 *
 * Values are what anybody with the right to write there has put: those that are no member are
 * skipped, and those that stand below the key of another: rights in etcd go by keys, so who may
 * write its own speaks for itself only. Pure. One thread.
 */
#ifndef CERTFERRY_FAILOVER_ETCD_TABLE_H
#define CERTFERRY_FAILOVER_ETCD_TABLE_H

#include "failover/etcd_json.h"
#include "failover/roster.h"

enum { ETCD_KEY_MAX = 600 };

struct etcd_entry {
    char *key; /* owned, `key_len` octets */
    size_t key_len;
    struct member member;
};

struct etcd_table {
    const char *prefix; /* borrowed */
    size_t count;
    struct etcd_entry *entry; /* owned; ROSTER_MEMBERS_MAX */
    bool changed;             /* since its user set it to false */
    bool skipped;             /* a value that is no member */
    bool told;                /* of such a one; once, until a range finds none */
};

/* 0 or -ENOMEM. `prefix` is that of all keys. */
int etcd_table_init(struct etcd_table *t, const char *prefix);
void etcd_table_release(struct etcd_table *t);

/* Where `m` must stand: "prefix" "host:port", whatever its protocol; an IPv6 address gets its
 * brackets. */
void etcd_table_key(char out[ETCD_KEY_MAX], const char *prefix, const struct member *m);

/* A pair of a range or an event. */
void etcd_table_take(struct etcd_table *t, const struct etcd_pair *pair);

/* A range has filled `fresh`: it takes the place of what is there. True: something is different. */
bool etcd_table_replace(struct etcd_table *t, struct etcd_table *fresh);

/* The members as a roster. Returns owned; NULL when out of memory. */
struct roster *etcd_table_roster(const struct etcd_table *t);

#endif

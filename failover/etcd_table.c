#include "failover/etcd_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover/member_json.h"
#include "proxy/base/log.h"

int etcd_table_init(struct etcd_table *t, const char *prefix)
{
    *t = (struct etcd_table){.prefix = prefix,
                             .entry = calloc(ROSTER_MEMBERS_MAX, sizeof *t->entry)};
    return t->entry != NULL ? 0 : -ENOMEM;
}

void etcd_table_release(struct etcd_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->entry[i].key);
    free(t->entry);
    *t = (struct etcd_table){0};
}

static struct etcd_entry *entry_find(const struct etcd_table *t, struct span key)
{
    for (size_t i = 0; i < t->count; i++) {
        struct etcd_entry *e = &t->entry[i];
        if (span_is((struct span){e->key, e->key_len}, key))
            return e;
    }
    return NULL;
}

/* The order of the others stays: documents must not change more than the members do. */
static void entry_drop(struct etcd_table *t, struct etcd_entry *e)
{
    free(e->key);
    memmove(e, e + 1, (size_t)(t->entry + t->count - (e + 1)) * sizeof *e);
    t->count--;
    t->changed = true;
}

static bool same_member(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && a->priority == b->priority &&
           a->weight == b->weight && a->load == b->load && a->state == b->state &&
           a->started == b->started && strcmp(a->host, b->host) == 0 &&
           strcmp(a->zone, b->zone) == 0 && strcmp(a->version, b->version) == 0;
}

/* In order of keys, as a range tells them. */
static void entry_add(struct etcd_table *t, struct span key, const struct member *m)
{
    size_t at = t->count;
    char *copy = malloc(key.len);
    if (copy == NULL)
        return; /* the next range tells it again */
    memcpy(copy, key.ptr, key.len);
    while (at > 0) {
        const struct etcd_entry *before = &t->entry[at - 1];
        size_t shorter = before->key_len < key.len ? before->key_len : key.len;
        int order = memcmp(before->key, key.ptr, shorter);
        if (order < 0 || (order == 0 && before->key_len < key.len))
            break;
        t->entry[at] = *before;
        at--;
    }
    t->entry[at] = (struct etcd_entry){copy, key.len, *m};
    t->count++;
    t->changed = true;
}

static void tell_once(struct etcd_table *t, struct span key, const char *why)
{
    t->skipped = true;
    if (t->told)
        return;
    t->told = true;
    log_line(LOG_WARNING, "etcd: what stands at %.*s is passed over: %s; others like it too",
             key.len < 256 ? (int)key.len : 256, key.ptr, why);
}

void etcd_table_key(char out[ETCD_KEY_MAX], const char *prefix, const struct member *m)
{
    bool v6 = strchr(m->host, ':') != NULL;
    (void)snprintf(out, ETCD_KEY_MAX, "%s%s%s%s:%u", prefix, v6 ? "[" : "", m->host, v6 ? "]" : "",
                   (unsigned)m->port);
}

static int read_member(struct member *m, const struct etcd_table *t, const struct etcd_pair *pair,
                       const char **why)
{
    char key[ETCD_KEY_MAX];
    int rc = member_json_parse(m, pair->value, why);
    if (rc != 0)
        return rc;
    etcd_table_key(key, t->prefix, m);
    *why = "its host and port are not those of its key";
    return span_is(pair->key, span_of(key)) ? 0 : -EINVAL;
}

void etcd_table_take(struct etcd_table *t, const struct etcd_pair *pair)
{
    struct etcd_entry *known = entry_find(t, pair->key);
    struct member m;
    const char *why = "out of memory";
    if (pair->deleted) {
        if (known != NULL)
            entry_drop(t, known);
        return;
    }
    if (read_member(&m, t, pair, &why) != 0) {
        tell_once(t, pair->key, why);
        if (known != NULL)
            entry_drop(t, known);
    } else if (known == NULL && t->count == ROSTER_MEMBERS_MAX) {
        tell_once(t, pair->key, "there are more members than a roster holds");
    } else if (known == NULL) {
        entry_add(t, pair->key, &m);
    } else if (!same_member(&known->member, &m)) {
        known->member = m;
        t->changed = true;
    }
}

static bool same_tables(const struct etcd_table *a, const struct etcd_table *b)
{
    for (size_t i = 0; i < a->count && a->count == b->count; i++) {
        const struct etcd_entry *x = &a->entry[i], *y = &b->entry[i];
        if (!span_is((struct span){x->key, x->key_len}, (struct span){y->key, y->key_len}) ||
            !same_member(&x->member, &y->member))
            return false;
    }
    return a->count == b->count;
}

bool etcd_table_replace(struct etcd_table *t, struct etcd_table *fresh)
{
    bool differs = !same_tables(t, fresh);
    fresh->changed = t->changed || differs;
    fresh->told = fresh->skipped;
    etcd_table_release(t);
    *t = *fresh;
    *fresh = (struct etcd_table){0};
    return differs;
}

struct roster *etcd_table_roster(const struct etcd_table *t)
{
    struct roster *r = roster_create();
    for (size_t i = 0; i < t->count && r != NULL; i++) {
        if (roster_add(r, &t->entry[i].member) == -ENOMEM) {
            roster_unref(r);
            return NULL;
        }
    }
    return r;
}

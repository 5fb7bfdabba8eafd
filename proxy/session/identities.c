#include "proxy/session/identities.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/list.h"

enum {
    BUCKETS = 4096,
    NAME_OCTETS = 256,          /* of an identity or a role, with its NUL */
    ROLES_KEPT = 256,           /* also of configurations before */
    PRINT_MAX = 8 * 1024 * 1024 /* octets of metrics about identities: half of an answer */
};

/* Written by all workers: those of exchanges without the lock, since the place holds it. */
struct counters {
    uint64_t present, connections;
    _Atomic uint64_t exchanges, refused, would;
};

struct role_count {
    struct list node;
    struct counters c;
    char name[NAME_OCTETS];
};

struct identity_count {
    struct identity_count *next; /* in its bucket */
    struct list idle;            /* while it has no connection */
    struct counters c;
    char role[NAME_OCTETS]; /* that of the connection that came last */
    char name[];
};

struct identities {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can choose names that fall into one bucket */
    size_t most, count, role_count;
    uint64_t uncounted; /* connections whose identity found no room */
    struct list roles;
    struct list idle; /* the longest without a connection first */
    struct identity_count *bucket[BUCKETS];
};

struct identities *identities_create(void)
{
    struct identities *ids = calloc(1, sizeof *ids);
    if (ids == NULL)
        return NULL;
    (void)pthread_mutex_init(&ids->lock, NULL);
    if (getrandom(&ids->seed, sizeof ids->seed, 0) != (ssize_t)sizeof ids->seed)
        ids->seed = (uint64_t)(uintptr_t)ids;
    ids->most = 1;
    list_init(&ids->roles);
    list_init(&ids->idle);
    return ids;
}

/* ---- finding, under the lock ---- */

static struct identity_count **find_identity(struct identities *ids, const char *name)
{
    uint64_t h = ids->seed;
    for (const char *at = name; *at != '\0'; at++)
        h = ((h ^ (unsigned char)*at) * 0x9e3779b97f4a7c15U) ^ h >> 29;
    struct identity_count **at = &ids->bucket[(h >> 32) % BUCKETS];
    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void forget_identity(struct identities *ids, struct identity_count *i)
{
    assert(i->c.present == 0);
    *find_identity(ids, i->name) = i->next;
    list_remove(&i->idle);
    ids->count--;
    free(i);
}

/* Of those without a connection, as many as are too many once `more` have come. */
static void make_room(struct identities *ids, size_t more)
{
    while (ids->count + more > ids->most && !list_empty(&ids->idle))
        forget_identity(ids, LIST_ITEM(ids->idle.next, struct identity_count, idle));
}

/* NULL: no room, or no memory. It is among the idle ones if it is new. */
static struct identity_count *take_identity(struct identities *ids, const char *name)
{
    struct identity_count *i = *find_identity(ids, name);
    if (i != NULL)
        return i;
    make_room(ids, 1);
    if (ids->count >= ids->most)
        return NULL;
    size_t size = strlen(name) + 1;
    assert(size <= NAME_OCTETS);
    i = calloc(1, sizeof *i + size);
    if (i == NULL)
        return NULL;
    memcpy(i->name, name, size);
    *find_identity(ids, name) = i; /* the chain's end, after the room was made */
    list_append(&ids->idle, &i->idle);
    ids->count++;
    return i;
}

static void forget_role(struct identities *ids, struct role_count *r)
{
    assert(r->c.present == 0);
    list_remove(&r->node);
    ids->role_count--;
    free(r);
}

/* One of a configuration before, which nobody has any more. */
static void forget_idle_role(struct identities *ids)
{
    LIST_EACH_SAFE (at, after, &ids->roles) {
        struct role_count *r = LIST_ITEM(at, struct role_count, node);
        if (r->c.present == 0) {
            forget_role(ids, r);
            return;
        }
    }
}

static struct role_count *take_role(struct identities *ids, const char *name)
{
    LIST_EACH_SAFE (at, after, &ids->roles) {
        struct role_count *r = LIST_ITEM(at, struct role_count, node);
        if (strcmp(r->name, name) == 0)
            return r;
    }
    if (ids->role_count == ROLES_KEPT)
        forget_idle_role(ids);
    struct role_count *r = ids->role_count < ROLES_KEPT ? calloc(1, sizeof *r) : NULL;
    if (r == NULL)
        return NULL;
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    list_append(&ids->roles, &r->node);
    ids->role_count++;
    return r;
}

void identities_destroy(struct identities *ids)
{
    ids->most = 0;
    make_room(ids, 0);
    assert(ids->count == 0);
    while (!list_empty(&ids->roles))
        forget_role(ids, LIST_ITEM(ids->roles.next, struct role_count, node));
    (void)pthread_mutex_destroy(&ids->lock);
    free(ids);
}

void identities_set_limit(struct identities *ids, size_t most)
{
    (void)pthread_mutex_lock(&ids->lock);
    ids->most = most;
    make_room(ids, 0);
    (void)pthread_mutex_unlock(&ids->lock);
}

/* ---- coming and going ---- */

static void add(_Atomic uint64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Under the lock. */
static enum outcome judge(struct identities *ids, const struct identities_client *client,
                          struct identities_place *found)
{
    found->role = take_role(ids, client->role);
    found->identity = NULL;
    if (found->role == NULL)
        return OUTCOME_NO_MEMORY;
    if (client->identity != NULL) {
        found->identity = take_identity(ids, client->identity);
        if (found->identity == NULL)
            ids->uncounted++;
    }
    if (client->role_max > 0 && found->role->c.present >= client->role_max)
        return OUTCOME_ROLE_LIMIT;
    bool limited = client->identity != NULL && client->identity_max > 0;
    if (limited && (found->identity == NULL || found->identity->c.present >= client->identity_max))
        return OUTCOME_IDENTITY_LIMIT;
    return OUTCOME_OK;
}

static void come_in(const struct identities_place *place)
{
    struct identity_count *i = place->identity;
    place->role->c.present++;
    place->role->c.connections++;
    if (i == NULL)
        return;
    if (i->c.present++ == 0)
        list_remove(&i->idle);
    i->c.connections++;
    (void)snprintf(i->role, sizeof i->role, "%s", place->role->name);
}

static void note_refusal(const struct identities_place *place)
{
    if (place->role != NULL)
        add(&place->role->c.refused);
    if (place->identity != NULL)
        add(&place->identity->c.refused);
}

enum outcome identities_enter(struct identities *ids, const struct identities_client *client,
                              struct identities_place *place)
{
    struct identities_place found;
    *place = (struct identities_place){0};
    (void)pthread_mutex_lock(&ids->lock);
    enum outcome verdict = judge(ids, client, &found);
    if (verdict == OUTCOME_OK) {
        come_in(&found);
        *place = found;
    } else {
        note_refusal(&found);
    }
    (void)pthread_mutex_unlock(&ids->lock);
    return verdict;
}

void identities_leave(struct identities *ids, struct identities_place *place)
{
    struct identity_count *i = place->identity;
    if (place->role == NULL)
        return;
    (void)pthread_mutex_lock(&ids->lock);
    assert(place->role->c.present > 0 && (i == NULL || i->c.present > 0));
    place->role->c.present--;
    if (i != NULL && --i->c.present == 0) {
        list_append(&ids->idle, &i->idle);
        make_room(ids, 0); /* the limit may have been lowered */
    }
    (void)pthread_mutex_unlock(&ids->lock);
    *place = (struct identities_place){0};
}

bool identities_is_of(const struct identities_place *place, const char *role)
{
    return place->role != NULL && strcmp(place->role->name, role) == 0;
}

void identities_count(const struct identities_place *place, bool refused, bool would)
{
    struct counters *both[] = {place->role != NULL ? &place->role->c : NULL,
                               place->identity != NULL ? &place->identity->c : NULL};
    for (size_t i = 0; i < 2; i++) {
        if (both[i] == NULL)
            continue;
        add(&both[i]->exchanges);
        if (refused)
            add(&both[i]->refused);
        if (would)
            add(&both[i]->would);
    }
}

/* ---- metrics ---- */

enum { FIGURES = 5 };

static const struct {
    const char *name, *type, *help;
} figures[FIGURES] = {
    {"connections", "gauge", "Client connections open now"},
    {"connections_total", "counter", "Client connections"},
    {"exchanges_total", "counter", "Exchanges ended"},
    {"refused_total", "counter", "Exchanges and connections refused with 403 or 429"},
    {"would_deny_total", "counter", "Exchanges that passed only because the role reports"},
};

/* A copy, so that the lock is not held while it is printed. */
struct row {
    uint64_t figure[FIGURES];
    char labels[4 * NAME_OCTETS + 32]; /* escaped; names are printable */
};

/* Appends label="text" to the labels of `row`, which have room for two names wholly escaped. */
static void label_put(struct row *row, const char *label, const char *text)
{
    size_t at = strlen(row->labels);
    at += (size_t)snprintf(row->labels + at, sizeof row->labels - at, "%s=\"", label);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            row->labels[at++] = '\\';
        row->labels[at++] = *text;
    }
    row->labels[at++] = '"';
    row->labels[at] = '\0';
    assert(at < sizeof row->labels);
}

static void row_fill(struct row *row, const struct counters *c)
{
    row->figure[0] = c->present;
    row->figure[1] = c->connections;
    row->figure[2] = atomic_load_explicit(&c->exchanges, memory_order_relaxed);
    row->figure[3] = atomic_load_explicit(&c->refused, memory_order_relaxed);
    row->figure[4] = atomic_load_explicit(&c->would, memory_order_relaxed);
}

static size_t copy_roles(struct identities *ids, struct row *rows)
{
    size_t n = 0;
    LIST_EACH_SAFE (at, after, &ids->roles) {
        struct role_count *r = LIST_ITEM(at, struct role_count, node);
        row_fill(&rows[n], &r->c);
        label_put(&rows[n++], "role", r->name);
    }
    return n;
}

/* As many as are printed within PRINT_MAX. */
static size_t copy_identities(struct identities *ids, struct row *rows)
{
    size_t n = 0, octets = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (const struct identity_count *i = ids->bucket[b]; i != NULL; i = i->next) {
            struct row *row = &rows[n];
            row_fill(row, &i->c);
            label_put(row, "identity", i->name);
            label_put(row, ",role", i->role);
            octets += FIGURES * (strlen(row->labels) + 64);
            if (octets > PRINT_MAX)
                return n;
            n++;
        }
    }
    return n;
}

static int print_rows(struct buf *out, const char *what, const struct row *rows, size_t count)
{
    int rc = 0;
    for (size_t f = 0; f < FIGURES && rc == 0 && count > 0; f++) {
        rc = buf_printf(out,
                        "# HELP certferry_%s_%s %s, by %s.\n"
                        "# TYPE certferry_%s_%s %s\n",
                        what, figures[f].name, figures[f].help, what, what, figures[f].name,
                        figures[f].type);
        for (size_t i = 0; i < count && rc == 0; i++)
            rc = buf_printf(out, "certferry_%s_%s{%s} %" PRIu64 "\n", what, figures[f].name,
                            rows[i].labels, rows[i].figure[f]);
    }
    return rc;
}

static int print_room(struct buf *out, size_t count, uint64_t uncounted)
{
    return buf_printf(out,
                      "# HELP certferry_identities Identities counted against limit.identities.\n"
                      "# TYPE certferry_identities gauge\n"
                      "certferry_identities %zu\n"
                      "# HELP certferry_identities_uncounted_total Connections whose identity "
                      "found limit.identities used up.\n"
                      "# TYPE certferry_identities_uncounted_total counter\n"
                      "certferry_identities_uncounted_total %" PRIu64 "\n",
                      count, uncounted);
}

int identities_print(struct identities *ids, struct buf *out)
{
    (void)pthread_mutex_lock(&ids->lock);
    size_t count = ids->count, role_count = ids->role_count;
    uint64_t uncounted = ids->uncounted;
    struct row *rows = calloc(count + role_count + 1, sizeof *rows);
    if (rows != NULL) {
        role_count = copy_roles(ids, rows);
        count = copy_identities(ids, rows + role_count);
    }
    size_t all = ids->count;
    (void)pthread_mutex_unlock(&ids->lock);
    if (rows == NULL)
        return -ENOMEM;
    int rc = print_room(out, all, uncounted);
    if (rc == 0)
        rc = print_rows(out, "role", rows, role_count);
    if (rc == 0)
        rc = print_rows(out, "identity", rows + role_count, count);
    free(rows);
    return rc;
}

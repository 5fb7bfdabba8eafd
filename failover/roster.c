#include "failover/roster.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allowlist/hostname.h"

struct roster {
    atomic_uint refs;
    size_t count;
    struct member member[ROSTER_MEMBERS_MAX];
};

struct roster *roster_create(void)
{
    struct roster *r = calloc(1, sizeof *r);
    if (r != NULL)
        atomic_init(&r->refs, 1);
    return r;
}

struct roster *roster_ref(struct roster *r)
{
    (void)atomic_fetch_add(&r->refs, 1);
    return r;
}

void roster_unref(struct roster *r)
{
    if (atomic_fetch_sub(&r->refs, 1) == 1)
        free(r);
}

size_t roster_count(const struct roster *r)
{
    return r->count;
}

const struct member *roster_member(const struct roster *r, size_t i)
{
    return &r->member[i];
}

static bool same_place(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* What one source knows and the other does not. */
static void merge(struct member *known, const struct member *m)
{
    known->self = known->self || m->self;
    if (known->zone[0] == '\0')
        memcpy(known->zone, m->zone, sizeof known->zone);
    if (known->state == MEMBER_UNKNOWN)
        known->state = m->state;
    if (known->started == 0)
        known->started = m->started;
}

int roster_add(struct roster *r, const struct member *m)
{
    for (size_t i = 0; i < r->count; i++) {
        if (same_place(&r->member[i], m)) {
            merge(&r->member[i], m);
            return 0;
        }
    }
    if (r->count == ROSTER_MEMBERS_MAX)
        return -ENOSPC;
    r->member[r->count++] = *m;
    return 0;
}

/* Digits only, 1 to 65535. */
static bool parse_port(const char *text, uint16_t *port)
{
    unsigned long value = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    value = strtoul(text, NULL, 10);
    *port = (uint16_t)value;
    return value >= 1 && value <= 65535;
}

static int fault(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return -EINVAL;
}

int roster_parse_member(struct member *m, const char *url, const char **why)
{
    struct hostname host;
    char authority[ROSTER_TEXT_MAX + 16];
    *m = (struct member){.state = MEMBER_UNKNOWN, .weight = 100};
    if (strncmp(url, "https://", 8) == 0)
        m->protocol = MEMBER_HTTPS_CONNECT;
    else if (strncmp(url, "http://", 7) != 0)
        return fault(why, "write it as http://host:port or https://host:port");
    const char *begin = url + (m->protocol == MEMBER_HTTPS_CONNECT ? 8 : 7);
    size_t len = strcspn(begin, "/");
    if (begin[len] == '/' && begin[len + 1] != '\0')
        return fault(why, "a proxy has no path: leave out what follows host:port");
    if (len >= sizeof authority)
        return fault(why, "host name is too long");
    memcpy(authority, begin, len);
    authority[len] = '\0';
    char *colon = strrchr(authority, ':');
    if (colon == NULL || strchr(colon, ']') != NULL || !parse_port(colon + 1, &m->port))
        return fault(why, "the port is missing or no number from 1 to 65535: write http://host:48999");
    *colon = '\0';
    if (hostname_parse(&host, span_of(authority), why) != 0)
        return -EINVAL;
    (void)snprintf(m->host, sizeof m->host, "%s", host.text);
    return 0;
}

/* Smaller is better; members compare by these in turn. */
static int compare(const struct roster *r, const char *zone, size_t a, size_t b)
{
    const struct member *x = &r->member[a], *y = &r->member[b];
    if (x->state != y->state)
        return x->state < y->state ? -1 : 1;
    bool x_near = zone[0] != '\0' && strcmp(x->zone, zone) == 0;
    bool y_near = zone[0] != '\0' && strcmp(y->zone, zone) == 0;
    if (x_near != y_near)
        return x_near ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    if (x->self != y->self)
        return x->self ? -1 : 1;
    return a < b ? -1 : 1;
}

size_t roster_order(const struct roster *r, const char *zone, size_t *order)
{
    /* By insertion: a roster is small. */
    for (size_t n = 0; n < r->count; n++) {
        size_t at = n;
        while (at > 0 && compare(r, zone, n, order[at - 1]) < 0) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = n;
    }
    return r->count;
}

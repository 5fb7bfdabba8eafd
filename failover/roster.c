#include "failover/roster.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allowlist/hostname.h"
#include "proxy/base/span.h"

_Static_assert((int)ROSTER_TEXT_MAX >= (int)HOSTNAME_MAX, "a member holds every canonical host");

struct roster {
    atomic_uint owners;
    size_t count;
    struct member *member; /* owned; grows by doubling */
};

struct roster *roster_create(void)
{
    struct roster *r = calloc(1, sizeof *r);
    if (r != NULL)
        atomic_init(&r->owners, 1);
    return r;
}

struct roster *roster_ref(struct roster *r)
{
    (void)atomic_fetch_add_explicit(&r->owners, 1, memory_order_relaxed);
    return r;
}

void roster_unref(struct roster *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->owners, 1, memory_order_acq_rel) != 1)
        return;
    free(r->member);
    free(r);
}

size_t roster_count(const struct roster *r)
{
    return r->count;
}

const struct member *roster_member(const struct roster *r, size_t i)
{
    return i < r->count ? &r->member[i] : NULL;
}

/* The one spelling of the host, so that the same member is always seen as the same. */
static bool host_is_canonical(const char *host)
{
    char bracketed[ROSTER_TEXT_MAX + 3];
    struct hostname h;
    size_t len = strlen(host);
    bool v6 = strchr(host, ':') != NULL;
    struct span raw = {host, len};
    if (v6) {
        bracketed[0] = '[';
        memcpy(bracketed + 1, host, len);
        bracketed[len + 1] = ']';
        raw = (struct span){bracketed, len + 2};
    }
    return hostname_parse(&h, raw, NULL) == 0 && strcmp(h.text, host) == 0;
}

/* Documents and tables of people quote it: nothing in it needs an escape. */
static bool version_is_good(const struct member *m)
{
    size_t i = 0;
    for (; i < sizeof m->version && m->version[i] != '\0'; i++) {
        char c = m->version[i];
        if (c < ' ' || c > '~' || c == '"' || c == '\\')
            return false;
    }
    return i < sizeof m->version;
}

static bool member_is_valid(const struct member *m)
{
    return memchr(m->host, '\0', sizeof m->host) != NULL &&
           memchr(m->zone, '\0', sizeof m->zone) != NULL && version_is_good(m) && m->port != 0 &&
           (m->protocol == MEMBER_HTTP_CONNECT || m->protocol == MEMBER_HTTPS_CONNECT) &&
           m->state >= MEMBER_UP && m->state <= MEMBER_DOWN && host_is_canonical(m->host);
}

static bool member_same(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Facts that `known` lacks come from `other`. */
static void facts_fill(struct member *known, const struct member *other)
{
    if (known->zone[0] == '\0')
        memcpy(known->zone, other->zone, sizeof known->zone);
    if (known->state == MEMBER_UNKNOWN)
        known->state = other->state;
    if (known->load == ROSTER_LOAD_UNKNOWN)
        known->load = other->load;
    if (known->started == 0)
        known->started = other->started;
    if (known->version[0] == '\0')
        memcpy(known->version, other->version, sizeof known->version);
    if (known->tls_port == 0)
        known->tls_port = other->tls_port;
}

static void member_merge(struct member *known, const struct member *other)
{
    if (other->self && !known->self) {
        struct member before = *known;
        *known = *other;
        facts_fill(known, &before);
    } else {
        facts_fill(known, other);
    }
}

static int member_append(struct roster *r, const struct member *m)
{
    if (r->count == ROSTER_MEMBERS_MAX)
        return -ENOSPC;
    /* Full whenever the count is a power of two. */
    if ((r->count & (r->count - 1)) == 0) {
        size_t cap = r->count > 0 ? r->count * 2 : 1;
        struct member *grown = realloc(r->member, cap * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        r->member = grown;
    }
    r->member[r->count++] = *m;
    return 0;
}

static void numbers_bound(struct member *m)
{
    if (m->weight == 0)
        m->weight = ROSTER_WEIGHT_DEFAULT;
    if (m->weight > ROSTER_WEIGHT_MAX)
        m->weight = ROSTER_WEIGHT_MAX;
    if (m->priority > ROSTER_PRIORITY_MAX)
        m->priority = ROSTER_PRIORITY_MAX;
    if (m->load > ROSTER_LOAD_MAX)
        m->load = ROSTER_LOAD_UNKNOWN;
    if (m->started < 0)
        m->started = 0;
    if (m->protocol == MEMBER_HTTPS_CONNECT || m->tls_port == m->port)
        m->tls_port = 0;
}

/* Whether another member than `except` speaks https-connect there. */
static bool tls_place_taken(const struct roster *r, const char *host, uint16_t port,
                            const struct member *except)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct member *m = &r->member[i];
        uint16_t theirs = m->protocol == MEMBER_HTTPS_CONNECT ? m->port : m->tls_port;
        if (m != except && theirs == port && strcmp(m->host, host) == 0)
            return true;
    }
    return false;
}

static void tls_port_bound(const struct roster *r, struct member *m)
{
    if (m->tls_port != 0 && tls_place_taken(r, m->host, m->tls_port, m))
        m->tls_port = 0;
}

int roster_add(struct roster *r, const struct member *m)
{
    assert(atomic_load_explicit(&r->owners, memory_order_relaxed) == 1);
    if (!member_is_valid(m))
        return -EINVAL;
    struct member copy = *m;
    numbers_bound(&copy);
    for (size_t i = 0; i < r->count; i++) {
        if (member_same(&r->member[i], &copy)) {
            member_merge(&r->member[i], &copy);
            tls_port_bound(r, &r->member[i]);
            return 0;
        }
    }
    tls_port_bound(r, &copy);
    if (copy.protocol == MEMBER_HTTPS_CONNECT && tls_place_taken(r, copy.host, copy.port, NULL))
        return 0;
    return member_append(r, &copy);
}

static bool scheme_step(struct span *url, struct span scheme)
{
    if (url->len < scheme.len || !span_is_nocase((struct span){url->ptr, scheme.len}, scheme))
        return false;
    *url = (struct span){url->ptr + scheme.len, url->len - scheme.len};
    return true;
}

/* Decimal, 1 to 65535, without leading zeros. */
static bool port_parse(struct span text, uint16_t *port)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 5 || text.ptr[0] == '0')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

/* Splits at the last colon, unless that one is inside the brackets of an IPv6 address. */
static bool authority_split(struct span text, struct span *host, struct span *port)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != ':' && text.ptr[at - 1] != ']')
        at--;
    if (at == 0 || text.ptr[at - 1] != ':')
        return false;
    *host = (struct span){text.ptr, at - 1};
    *port = (struct span){text.ptr + at, text.len - at};
    return true;
}

static int refuse(const char **why, const char *reason)
{
    if (why != NULL)
        *why = reason;
    return -EINVAL;
}

int roster_parse_member(struct member *m, const char *url, const char **why)
{
    struct span rest = span_of(url);
    struct span host, port;
    struct hostname name;
    *m = (struct member){.state = MEMBER_UNKNOWN,
                         .priority = ROSTER_PRIORITY_DEFAULT,
                         .weight = ROSTER_WEIGHT_DEFAULT,
                         .load = ROSTER_LOAD_UNKNOWN};
    if (scheme_step(&rest, SPAN("https://")))
        m->protocol = MEMBER_HTTPS_CONNECT;
    else if (!scheme_step(&rest, SPAN("http://")))
        return refuse(why, "does not begin with http:// or https://");
    if (rest.len > 0 && rest.ptr[rest.len - 1] == '/')
        rest.len--;
    if (memchr(rest.ptr, '@', rest.len) != NULL)
        return refuse(why, "holds a user name or password");
    for (size_t i = 0; i < rest.len; i++) {
        if (strchr("/?#\\", rest.ptr[i]) != NULL)
            return refuse(why, "holds more than a host and a port");
    }
    if (!authority_split(rest, &host, &port))
        return refuse(why, "has no port");
    if (!port_parse(port, &m->port))
        return refuse(why, "has no port from 1 to 65535");
    if (hostname_parse(&name, host, why) != 0)
        return -EINVAL;
    memcpy(m->host, name.text, strlen(name.text) + 1);
    return 0;
}

/* "px1:48999" or "[2001:db8::1]:48999"; the colons of a bare IPv6 address are none of a port. */
static bool has_port(struct span rest)
{
    struct span host, port;
    return authority_split(rest, &host, &port) &&
           (memchr(host.ptr, ':', host.len) == NULL || host.ptr[0] == '[');
}

int roster_parse_sensor(struct member *m, const char *text, const char **why)
{
    char url[ROSTER_TEXT_MAX + 64];
    struct span rest = span_of(text);
    bool tls = scheme_step(&rest, SPAN("https://"));
    if (!tls)
        (void)scheme_step(&rest, SPAN("http://"));
    if (rest.len > 0 && rest.ptr[rest.len - 1] == '/')
        rest.len--;
    if (rest.len > ROSTER_TEXT_MAX + 16)
        return refuse(why, "is too long");
    int n = snprintf(url, sizeof url, "%s://%.*s", tls ? "https" : "http", (int)rest.len, rest.ptr);
    if (!has_port(rest))
        (void)snprintf(url + n, sizeof url - (size_t)n, ":%d", ROSTER_PORT_DEFAULT);
    return roster_parse_member(m, url, why);
}

/* Whether `a` goes before `b`; equals stay as they were added. */
static bool member_before(const struct member *a, const struct member *b, const char *zone)
{
    if (a->state != b->state)
        return a->state < b->state;
    if (zone != NULL && *zone != '\0') {
        bool a_near = strcmp(a->zone, zone) == 0;
        bool b_near = strcmp(b->zone, zone) == 0;
        if (a_near != b_near)
            return a_near;
    }
    if (a->priority != b->priority)
        return a->priority < b->priority;
    return a->self && !b->self;
}

size_t roster_order(const struct roster *r, const char *zone, size_t *order)
{
    /* By insertion: stable, and there are few. */
    for (size_t i = 0; i < r->count; i++) {
        size_t at = i;
        while (at > 0 && member_before(&r->member[i], &r->member[order[at - 1]], zone)) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    return r->count;
}

#include "failover/believe.h"

#include <errno.h>
#include <string.h>

#include "allowlist/hostname.h"

static bool is_loopback(const struct addr *a)
{
    struct addr plain = *a;
    addr_unmap(&plain);
    if (plain.sa.sa_family == AF_INET)
        return ntohl(plain.in.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&plain.in6.sin6_addr);
}

static bool is_any(const struct addr *a)
{
    return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == INADDR_ANY
                                      : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

/* The host of a member as a hostname, which roster_add() has seen to be canonical. */
static bool host_of(const struct member *m, struct hostname *host)
{
    char bracketed[ROSTER_TEXT_MAX + 3];
    size_t len = strlen(m->host);
    if (strchr(m->host, ':') == NULL)
        return hostname_parse(host, span_of(m->host), NULL) == 0;
    bracketed[0] = '[';
    memcpy(bracketed + 1, m->host, len);
    bracketed[len + 1] = ']';
    return hostname_parse(host, (struct span){bracketed, len + 2}, NULL) == 0;
}

/* Whether `host` leads to the listener on `own`, as far as this can be told without a look-up. */
static bool leads_to(const struct hostname *host, const struct addr *own, const char *our_name)
{
    if (host->kind != HOST_NAME)
        return addr_same_host(&host->addr, own) || (is_any(own) && is_loopback(&host->addr)) ||
               (is_any(&host->addr) && (is_any(own) || is_loopback(own)));
    if (strcmp(host->text, "localhost") == 0)
        return is_any(own) || is_loopback(own);
    return !is_loopback(own) && strcmp(host->text, our_name) == 0;
}

bool believe_is_ourselves(const struct member *m, const struct believe_options *o)
{
    struct hostname host;
    if (!host_of(m, &host))
        return false;
    for (size_t i = 0; i < o->our_count; i++) {
        if (m->port == addr_port(&o->ours[i]) && leads_to(&host, &o->ours[i], o->our_name))
            return true;
    }
    return false;
}

static bool is_believed(const struct member *m, bool is_signed, const struct believe_options *o,
                        struct disbelieved *left_out)
{
    struct hostname host;
    if (!host_of(m, &host) || (!is_signed && !rules_allow(o->hosts, &host))) {
        left_out->strangers++;
        return false;
    }
    if (believe_is_ourselves(m, o)) {
        left_out->ourselves++;
        return false;
    }
    if (m->protocol != MEMBER_HTTP_CONNECT) {
        left_out->protocols++;
        return false;
    }
    return true;
}

static int add_believed(struct roster *r, const struct roster *told, bool is_signed,
                        const struct believe_options *o, struct disbelieved *left_out)
{
    int rc = 0;
    for (size_t i = 0; told != NULL && rc == 0 && i < roster_count(told); i++) {
        struct member m = *roster_member(told, i);
        m.self = false; /* of the writer, who is not we */
        if (is_believed(&m, is_signed, o, left_out))
            rc = roster_add(r, &m);
    }
    return rc;
}

/* Behind all others: what a document says of its members says more than our command line. */
static int add_seeds(struct roster *r, const struct roster *seeds, bool alone)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < roster_count(seeds); i++) {
        struct member m = *roster_member(seeds, i);
        if (!alone)
            m.priority = ROSTER_PRIORITY_MAX;
        rc = roster_add(r, &m);
    }
    return rc == -ENOSPC ? 0 : rc; /* with so many others nobody misses them */
}

int believe_roster(struct roster **out, const struct roster *told, bool is_signed,
                   const struct believe_options *o, struct disbelieved *left_out)
{
    *left_out = (struct disbelieved){0};
    *out = roster_create();
    if (*out == NULL)
        return -ENOMEM;
    int rc = add_believed(*out, told, is_signed, o, left_out);
    if (rc == 0)
        rc = add_seeds(*out, o->seeds, roster_count(*out) == 0);
    if (rc != 0) {
        roster_unref(*out);
        *out = NULL;
    }
    return rc;
}

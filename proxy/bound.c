#include "proxy/bound.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "conf/settings.h"
#include "proxy/base/log.h"
#include "proxy/listener.h"
#include "proxy/port_holder.h"
#include "proxy/worker.h"

/* Where a door listens: the key that says so, and the port where that names none. */
struct place {
    const char *key;
    const struct text_list *texts;
    enum door_kind door;
    uint16_t port;
};

enum { PLACES = 5, ADDRESSES_OF_TEXT = 2 };

/* Returns how many: an agent has only the first. */
static size_t list_places(const struct settings *st, struct place places[PLACES])
{
    const struct place all[PLACES] = {
        {"listen.addresses", &st->listen_addresses, DOOR_PROXY, (uint16_t)st->heartbeatport},
        {"tls.listen", &st->tls_listen, DOOR_TLS, 48998},
        {"gateway.listen", &st->gateway_listen, DOOR_GATEWAY, 443},
        {"gateway.redirect.listen", &st->gateway_redirect_listen, DOOR_REDIRECT, 80},
        {"passthrough.listen", &st->passthrough_listen, DOOR_PASSTHROUGH, 443},
    };
    memcpy(places, all, sizeof all);
    return st->role == SETTINGS_AGENT ? 1 : PLACES;
}

/* ":443" */
static bool parse_port(const char *text, uint16_t *port)
{
    char *end;
    if (text[0] != ':' || text[1] < '0' || text[1] > '9')
        return false;
    unsigned long number = strtoul(text + 1, &end, 10);
    *port = (uint16_t)number;
    return *end == '\0' && number <= 65535;
}

/*
 * "192.0.2.1", "192.0.2.1:443", "[2001:db8::1]:443", ":443" and "on", which stand for every address
 * of both families. Returns how many addresses it is; 0: it is none.
 */
static size_t parse_text(const struct place *place, const char *text,
                         struct addr address[ADDRESSES_OF_TEXT])
{
    uint16_t port = place->port;
    const char *colon = strrchr(text, ':');
    if (addr_parse(address, span_of(text), port) == 0)
        return 1;
    if (place->door == DOOR_PROXY)
        return 0; /* its port has a key of its own */
    if (strcmp(text, "on") != 0 && (colon == NULL || !parse_port(colon, &port)))
        return 0;
    if (colon != NULL && colon > text)
        return addr_parse(address, (struct span){text, (size_t)(colon - text)}, port) == 0 ? 1 : 0;
    int rc = addr_parse(&address[0], SPAN("0.0.0.0"), port);
    rc = rc == 0 ? addr_parse(&address[1], SPAN("::"), port) : rc;
    assert(rc == 0);
    (void)rc;
    return 2;
}

/* Every address of its family. */
static bool is_wildcard(const struct addr *a)
{
    return a->sa.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr)
                                       : a->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* What is said to the gateway is secret; only what stays in the machine may go without TLS. */
static bool is_exposed(const struct settings *st, const struct place *place,
                       const struct addr *address)
{
    struct prefix v4, v6;
    (void)prefix_parse(&v4, SPAN("127.0.0.0/8"));
    (void)prefix_parse(&v6, SPAN("::1"));
    return place->door == DOOR_GATEWAY && !st->gateway_tls && !prefix_match(&v4, address) &&
           !prefix_match(&v6, address);
}

/* Whether no more than one of the two can be open: every address of a family is each of them, too.
 */
static bool overlap(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family || addr_port(a) == 0 || addr_port(a) != addr_port(b))
        return false;
    return addr_same_host(a, b) || is_wildcard(a) || is_wildcard(b);
}

/* Of two texts: the address where they meet. False: they do not. */
static bool find_meeting(const struct place *p, const char *text, const struct place *q,
                         const char *other_text, struct addr *where)
{
    struct addr mine[ADDRESSES_OF_TEXT], other[ADDRESSES_OF_TEXT];
    size_t mine_count = parse_text(p, text, mine), others = parse_text(q, other_text, other);
    for (size_t i = 0; i < mine_count; i++) {
        for (size_t k = 0; k < others; k++) {
            if (overlap(&mine[i], &other[k])) {
                *where = is_wildcard(&mine[i]) ? other[k] : mine[i];
                return true;
            }
        }
    }
    return false;
}

/* The `at`-th text of `p` and those before it, of the same key or another: the later one could not
 * be opened. */
static void check_clash(const struct settings *st, const struct place *places,
                        const struct place *p, size_t at, struct settings_errors *errors)
{
    const char *text = p->texts->item[at];
    char place[ADDR_TEXT_MAX];
    struct addr where;
    for (const struct place *q = places; q <= p; q++) {
        size_t count = q == p ? at : q->texts->count;
        for (size_t i = 0; i < count; i++) {
            if (!find_meeting(p, text, q, q->texts->item[i], &where))
                continue;
            settings_error(errors, settings_where(st, p->key),
                           "\"%s\" and \"%s\" of %s would both listen on %s; give one of them "
                           "another address or port",
                           text, q->texts->item[i], q->key, addr_print_port(&where, place));
            return;
        }
    }
}

void bound_check(const struct settings *settings, struct settings_errors *errors)
{
    struct place places[PLACES];
    struct addr address[ADDRESSES_OF_TEXT];
    size_t count = list_places(settings, places);
    for (size_t at = 0; at < count; at++) {
        for (size_t i = 0; i < places[at].texts->count; i++)
            check_clash(settings, places, &places[at], i, errors);
    }
    for (const struct place *p = places; p < places + count; p++) {
        for (size_t i = 0; i < p->texts->count; i++) {
            if (parse_text(p, p->texts->item[i], address) == 0)
                settings_error(errors, settings_where(settings, p->key),
                               p->door == DOOR_PROXY
                                   ? "\"%s\" is no IP address; the port stands in heartbeatport"
                                   : "\"%s\" is no address to listen on; write an IP address, "
                                     "address:port, :port or on",
                               p->texts->item[i]);
            else if (is_exposed(settings, p, &address[0]))
                settings_error(errors, settings_where(settings, p->key),
                               "\"%s\" with gateway.tls=off: plain HTTP is for loopback addresses "
                               "only",
                               p->texts->item[i]);
        }
    }
}

/* A socket that we were given may be what is in the way: at another door, or as wide as no key
 * says. */
static bool explain_by_inherited(const struct inherit *in, const struct addr *address, char *why,
                                 size_t size)
{
    char text[ADDR_TEXT_MAX];
    for (size_t i = 0; i < in->count; i++) {
        const struct inherited *one = &in->item[i];
        bool named = one->door != DOOR_COUNT;
        if (!overlap(&one->address, address))
            continue;
        (void)snprintf(why, size,
                       "the socket of %s that we were given%s%s has that port; keep to its address "
                       "and door, or stop who holds it, and start anew",
                       addr_print_port(&one->address, text), named ? " for door " : "",
                       named ? door_name(one->door) : "");
        return true;
    }
    return false;
}

static void explain(const struct settings *settings, const struct place *place,
                    const struct addr *address, const struct inherit *inherit, int error)
{
    char text[ADDR_TEXT_MAX], why[512] = "";
    if (error == -EADDRINUSE && !explain_by_inherited(inherit, address, why, sizeof why))
        (void)port_holder_explain(addr_port(address), why, sizeof why);
    else if (error == -EACCES)
        (void)snprintf(why, sizeof why,
                       "ports below 1024 are for root: start as root (service.user is taken on "
                       "afterwards), give CAP_NET_BIND_SERVICE, or let systemd hold the port "
                       "(certferry.socket)");
    log_line(LOG_ERROR, "%s: cannot listen on %s: %s%s%s", settings_where(settings, place->key),
             addr_print_port(address, text), uv_strerror(error), why[0] != '\0' ? ": " : "", why);
}

/* A host without IPv6 is common: [::] beside another address is then left out, and so is that of a
 * default. One that was asked for alone is an error. */
static bool is_optional(const struct bound *b, const struct settings *settings,
                        const struct place *place, const struct addr *address, int error)
{
    bool no_stack = error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL;
    bool defaulted = strstr(settings_where(settings, place->key), "(default)") != NULL;
    bool beside = b->count > 0 && b->door[b->count - 1] == place->door;
    return address->sa.sa_family == AF_INET6 && no_stack && (defaulted || beside) &&
           IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

static int add_sockets(struct bound *b, const int *fd, size_t count)
{
    size_t all = b->socket_count + count;
    struct bound_socket *socket = realloc(b->socket, all * sizeof *socket);
    if (socket == NULL)
        return -ENOMEM;
    b->socket = socket;
    for (size_t i = 0; i < count; i++)
        b->socket[b->socket_count++] = (struct bound_socket){fd[i], b->count};
    return 0;
}

/* All sockets of the address: what waits in the queue of one that is left out would be lost.
 * -ENOENT: there are none. */
static int open_inherited(struct bound *b, struct inherit *inherit, int backlog)
{
    int rc = -ENOENT;
    for (;;) {
        int fd = inherit_take(inherit, &b->address[b->count], b->door[b->count]);
        if (fd < 0)
            return rc;
        rc = listener_adopt(fd, backlog);
        if (rc == 0)
            rc = add_sockets(b, &fd, 1);
        if (rc != 0)
            return rc;
        b->lasting = true;
    }
}

static int open_own(struct bound *b, int backlog, size_t workers)
{
    int fd[WORKERS_MAX];
    int rc = listener_open(&b->address[b->count], backlog, fd, workers);
    return rc == 0 ? add_sockets(b, fd, workers) : rc;
}

static bool open_one(struct bound *b, const struct settings *settings, struct place *place,
                     struct addr address, size_t workers, struct inherit *inherit)
{
    char text[ADDR_TEXT_MAX];
    int backlog = (int)settings->listen_backlog;
    if (b->count == LISTENERS_MAX) {
        log_line(LOG_ERROR, "%s: more than %d addresses to listen on",
                 settings_where(settings, place->key), LISTENERS_MAX);
        return false;
    }
    b->door[b->count] = place->door;
    b->address[b->count] = address;
    int rc = open_inherited(b, inherit, backlog);
    if (rc == -ENOENT)
        rc = open_own(b, backlog, workers);
    if (rc == 0) {
        b->count++;
        return true;
    }
    if (is_optional(b, settings, place, &address, rc)) {
        log_line(LOG_WARNING, "no IPv6 here, not listening on %s: %s",
                 addr_print_port(&address, text), uv_strerror(rc));
        return true;
    }
    explain(settings, place, &address, inherit, rc);
    return false;
}

/* Port 0 is chosen once, for all addresses of a door that say 0. */
static bool open_place(struct bound *b, const struct settings *settings, struct place *place,
                       size_t workers, struct inherit *inherit)
{
    uint16_t chosen = 0;
    for (size_t i = 0; i < place->texts->count; i++) {
        struct addr address[ADDRESSES_OF_TEXT];
        size_t count = parse_text(place, place->texts->item[i], address);
        assert(count > 0); /* bound_check() */
        for (size_t a = 0; a < count; a++) {
            bool any = addr_port(&address[a]) == 0;
            if (any)
                addr_set_port(&address[a], chosen);
            size_t before = b->count;
            if (!open_one(b, settings, place, address[a], workers, inherit))
                return false;
            if (any && b->count > before)
                chosen = addr_port(&b->address[before]);
        }
    }
    return true;
}

bool bound_open(struct bound *b, const struct settings *settings, size_t workers,
                struct inherit *inherit)
{
    struct place places[PLACES];
    size_t count = list_places(settings, places);
    for (struct place *p = places; p < places + count; p++) {
        if (!open_place(b, settings, p, workers, inherit))
            return false;
        if (p->door == DOOR_PROXY && b->count > 0)
            b->port = addr_port(&b->address[0]);
    }
    return b->count > 0;
}

/* Of the `of` sockets of an address, with `workers` to serve them: whether `worker` serves the
 * `n`-th. */
static bool is_served_by(size_t n, size_t of, size_t worker, size_t workers)
{
    assert(of > 0 && workers > 0);
    return of >= workers ? n % workers == worker : worker % of == n;
}

static size_t count_sockets(const struct bound *b, size_t at)
{
    size_t count = 0;
    for (size_t i = 0; i < b->socket_count; i++)
        count += b->socket[i].at == at;
    return count;
}

struct worker_listener *bound_deal(const struct bound *b, size_t number, size_t workers,
                                   size_t *count)
{
    struct worker_listener *list = calloc(b->socket_count, sizeof *list);
    size_t first = 0, of = 0;
    *count = 0;
    for (size_t i = 0; list != NULL && i < b->socket_count; i++) {
        const struct bound_socket *socket = &b->socket[i];
        if (i == 0 || socket->at != b->socket[i - 1].at) {
            first = i;
            of = count_sockets(b, socket->at);
        }
        if (!is_served_by(i - first, of, number, workers))
            continue;
        /* Of those that share one, the first has the descriptor itself. */
        int fd = number < of ? socket->fd : fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);
        list[(*count)++] = (struct worker_listener){fd, b->door[socket->at]};
        if (fd < 0) {
            free(list); /* the process ends with this error */
            list = NULL;
        }
    }
    return list;
}

struct listen_ports bound_ports(const struct bound *b)
{
    struct listen_ports ports = {.proxy = b->port};
    for (size_t i = b->count; i > 0; i--) {
        if (b->door[i - 1] == DOOR_TLS)
            ports.tls = addr_port(&b->address[i - 1]);
    }
    return ports;
}

void bound_print(const struct bound *b, struct buf *out)
{
    char address[ADDR_TEXT_MAX];
    for (size_t i = 0; i < b->count; i++) {
        bool named = b->door[i] != DOOR_PROXY;
        (void)buf_printf(out, "%s%s%s%s", i > 0 ? ", " : "", named ? door_name(b->door[i]) : "",
                         named ? " " : "", addr_print_port(&b->address[i], address));
    }
}

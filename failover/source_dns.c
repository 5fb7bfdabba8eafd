#include "failover/source_dns.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allowlist/hostname.h"
#include "proxy/base/chance.h"
#include "proxy/base/list.h"
#include "proxy/net/dns_channel.h"

enum {
    RETRY_MS = 5000, /* after a failed look-up, if the interval is not shorter */
    OVERTIME_MS = 500
};

struct source_dns {
    uv_timer_t timer; /* the next question, or the end of waiting for an answer */
    struct source_events events;
    struct resolver *resolver;      /* borrowed */
    struct resolver_ticket *ticket; /* borrowed; NULL: none is under way */
    struct dns_channel *channel;    /* of SRV; NULL: addresses are asked for */
    struct dns_service_ask ask;
    bool asking; /* for SRV */
    char *name;
    uint64_t interval_ms, timeout_ms;
    uint16_t port;
};

static void on_timer(uv_timer_t *timer);

bool source_dns_is_service(const char *name)
{
    return name[0] == '_';
}

/* A tenth more or less, so that members that started together do not ask together for ever. */
static void ask_again(struct source_dns *s, uint64_t after_ms)
{
    (void)uv_timer_start(&s->timer, on_timer,
                         after_ms - after_ms / 10 + chance_below(after_ms / 5 + 1), 0);
}

static void trouble(struct source_dns *s, const char *why)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s: %s", s->name, why);
    ask_again(s, s->interval_ms < RETRY_MS ? s->interval_ms : RETRY_MS);
    s->events.on_trouble(s->events.arg, text);
}

static const char *words_of(enum outcome outcome)
{
    return outcome == OUTCOME_DNS_NOT_FOUND ? "there is no such name"
           : outcome == OUTCOME_DNS_TIMEOUT ? "no answer in time"
                                            : "the look-up failed";
}

/* Takes `members`, NULL when memory is out. */
static void tell(struct source_dns *s, struct roster *members)
{
    if (members == NULL || roster_count(members) == 0) {
        roster_unref(members);
        trouble(s, members == NULL ? "out of memory" : "none of its records is a host of ours");
        return;
    }
    ask_again(s, s->interval_ms);
    s->events.on_members(s->events.arg, members);
    s->events.on_trouble(s->events.arg, NULL);
    roster_unref(members);
}

/* ---- addresses ---- */

/* A socket of our own can be bound to it. */
static bool is_bindable(const struct addr *a)
{
    int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, &a->sa, addr_len(a)) == 0;
    if (fd >= 0)
        (void)close(fd);
    return bound;
}

/*
 * Whether it is this machine's: one of the name's addresses is ours. Asked of the system each time,
 * since addresses move (keepalived), and without netlink, which a confined process may not use.
 * Where any address can be bound (net.ipv4.ip_nonlocal_bind) none is taken for ours: to be listed
 * twice is better than to be alone.
 */
static bool is_own(const struct addr *a)
{
    struct addr nobodys; /* for documentation (RFC 5737, RFC 3849) */
    bool v6 = a->sa.sa_family == AF_INET6;
    int rc = addr_parse(&nobodys, v6 ? SPAN("2001:db8::1") : SPAN("192.0.2.1"), 0);
    assert(rc == 0);
    (void)rc;
    return is_bindable(a) && !is_bindable(&nobodys);
}

static void on_addresses(void *arg, const struct resolved *answer)
{
    struct source_dns *s = arg;
    s->ticket = NULL;
    if (answer->outcome != OUTCOME_OK) {
        trouble(s, words_of(answer->outcome));
        return;
    }
    struct roster *r = roster_create();
    for (size_t i = 0; i < answer->count && r != NULL; i++) {
        struct member m = {.protocol = MEMBER_HTTP_CONNECT,
                           .port = s->port,
                           .weight = ROSTER_WEIGHT_DEFAULT,
                           .load = ROSTER_LOAD_UNKNOWN,
                           .state = MEMBER_UNKNOWN,
                           .self = is_own(&answer->address[i])};
        char text[ADDR_TEXT_MAX];
        (void)snprintf(m.host, sizeof m.host, "%s", addr_print(&answer->address[i], text));
        if (roster_add(r, &m) == -ENOMEM) {
            roster_unref(r);
            r = NULL;
        }
    }
    tell(s, r);
}

/* ---- services ---- */

/* Weights go to 65535 there and to 100 here: in proportion, if one is greater. */
static unsigned weight_of(unsigned weight, unsigned greatest)
{
    if (greatest == 0)
        return ROSTER_WEIGHT_DEFAULT; /* nobody has made a difference */
    unsigned w = greatest > ROSTER_WEIGHT_MAX ? weight * ROSTER_WEIGHT_MAX / greatest : weight;
    return w > 0 ? w : 1; /* a small chance is not none (RFC 2782) */
}

static int add_service(struct roster *r, const struct dns_service *service, unsigned greatest)
{
    struct hostname host;
    struct member m = {.protocol = MEMBER_HTTP_CONNECT,
                       .port = service->port,
                       .priority = service->priority,
                       .weight = weight_of(service->weight, greatest),
                       .load = ROSTER_LOAD_UNKNOWN,
                       .state = MEMBER_UNKNOWN};
    if (hostname_parse(&host, span_of(service->target), NULL) != 0 || host.kind != HOST_NAME)
        return 0; /* "." says that there is no such service; others are nothing we could ask for */
    (void)snprintf(m.host, sizeof m.host, "%s", host.text);
    int rc = roster_add(r, &m);
    return rc == -ENOMEM ? rc : 0; /* port 0 is nobody's */
}

static void on_services(struct dns_service_ask *ask, const struct dns_service_answer *answer)
{
    struct source_dns *s = LIST_ITEM(ask, struct source_dns, ask);
    unsigned greatest = 0;
    s->asking = false;
    if (answer->outcome != OUTCOME_OK) {
        trouble(s, words_of(answer->outcome));
        return;
    }
    for (size_t i = 0; i < answer->count; i++) {
        if (answer->service[i].weight > greatest)
            greatest = answer->service[i].weight;
    }
    struct roster *r = roster_create();
    for (size_t i = 0; i < answer->count && r != NULL; i++) {
        if (add_service(r, &answer->service[i], greatest) != 0) {
            roster_unref(r);
            r = NULL;
        }
    }
    tell(s, r);
}

/* ---- asking ---- */

static void ask_now(struct source_dns *s)
{
    struct resolved known;
    if (s->channel != NULL) {
        s->asking = true;
        /* c-ares may take a little longer than it was told. */
        (void)uv_timer_start(&s->timer, on_timer, s->timeout_ms + OVERTIME_MS, 0);
        dns_channel_ask_services(s->channel, s->name, &s->ask);
    } else if (resolver_cached(s->resolver, s->name, &known)) {
        on_addresses(s, &known);
    } else {
        s->ticket = resolver_lookup(s->resolver, s->name, on_addresses, s);
        if (s->ticket == NULL)
            trouble(s, "out of memory");
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct source_dns *s = timer->data;
    if (s->asking)
        trouble(s, words_of(OUTCOME_DNS_TIMEOUT)); /* the answer is still awaited, and counts */
    else
        ask_now(s);
}

/* ---- life ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct source_dns *s = handle->data;
    free(s->name);
    free(s);
}

void source_dns_close(struct source_dns *s)
{
    if (s->ticket != NULL)
        resolver_cancel(s->ticket);
    if (s->channel != NULL)
        dns_channel_destroy(s->channel);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

struct source_dns *source_dns_create(uv_loop_t *loop, struct resolver *resolver,
                                     const struct source_dns_options *options,
                                     const struct source_events *events)
{
    struct source_dns *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->name = strdup(options->name);
    s->resolver = resolver;
    s->events = *events;
    s->ask.on_answer = on_services;
    s->interval_ms = options->interval_ms;
    s->timeout_ms = options->timeout_ms;
    s->port = options->port;
    if (s->name == NULL ||
        (source_dns_is_service(options->name) &&
         dns_channel_create(&s->channel, loop, options->servers, options->timeout_ms) != 0)) {
        free(s->name);
        free(s);
        return NULL;
    }
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    (void)uv_timer_start(&s->timer, on_timer, 0, 0);
    return s;
}

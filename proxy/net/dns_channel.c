#include "proxy/net/dns_channel.h"

/* ares_query() and ares_parse_srv_reply(): their successors are not in 1.18. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/list.h"

enum {
    /* A round over three servers twice, the second with doubled patience, is nine times the first
       patience. */
    TRIES = 2,
    TIMEOUT_PARTS = 9,
    SERVERS_TEXT_MAX = 4096,
    SERVER_PORT = 53,
};

struct dns_channel {
    ares_channel hosts;   /* reads the hosts file, never opens a socket */
    ares_channel servers; /* asks name servers, never reads the hosts file */
    uv_timer_t timer;     /* c-ares's next timeout */
    struct list sockets;
    struct dns_answer *hosts_answer; /* while dns_channel_hosts() runs */
    bool deaf;                       /* a socket of c-ares could not be watched */
};

/* One descriptor of c-ares under watch; lives until its own close callback, past the channel if
 * need be. */
struct dns_socket {
    uv_poll_t poll;
    struct list node;
    int fd;
    int events;
};

/* ---- c-ares's values to ours ---- */

static int error_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOMEM:
        return UV_ENOMEM;
    default:
        return UV_EIO; /* resolv.conf cannot be read */
    }
}

static enum outcome outcome_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return OUTCOME_OK;
    case ARES_ENOTFOUND: /* NXDOMAIN */
    case ARES_ENODATA:
    case ARES_EBADNAME: /* longer than DNS can say */
        return OUTCOME_DNS_NOT_FOUND;
    case ARES_ETIMEOUT:
        return OUTCOME_DNS_TIMEOUT;
    default:
        return OUTCOME_DNS_FAILED;
    }
}

/* A TTL with the top bit set counts as zero (RFC 2181 section 8). */
static uint64_t ttl_ms_of(int ttl)
{
    return ttl > 0 ? (uint64_t)ttl * 1000 : 0;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void add_address(struct resolved *to, const struct ares_addrinfo_node *node)
{
    if (to->count == RESOLVER_ADDRESSES_MAX)
        return;
    struct addr *a = &to->address[to->count];
    *a = (struct addr){0};
    if (node->ai_family == AF_INET)
        memcpy(&a->in, node->ai_addr, sizeof a->in);
    else if (node->ai_family == AF_INET6)
        memcpy(&a->in6, node->ai_addr, sizeof a->in6);
    else
        return;
    addr_set_port(a, 0);
    to->count++;
}

/* Takes `info`, which may be NULL. */
static void answer_fill(struct dns_answer *answer, int status, struct ares_addrinfo *info)
{
    struct resolved *found = &answer->found;
    answer->ttl_ms = UINT64_MAX;
    found->outcome = outcome_of(status);
    found->count = 0;
    if (info == NULL)
        return;
    for (const struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next) {
        add_address(found, n);
        answer->ttl_ms = lesser(answer->ttl_ms, ttl_ms_of(n->ai_ttl));
    }
    for (const struct ares_addrinfo_cname *n = info->cnames; n != NULL; n = n->next)
        answer->ttl_ms = lesser(answer->ttl_ms, ttl_ms_of(n->ttl));
    ares_freeaddrinfo(info);
    if (found->count == 0 && found->outcome == OUTCOME_OK)
        found->outcome = OUTCOME_DNS_NOT_FOUND;
}

/* ---- sockets and time ---- */

static void on_timer(uv_timer_t *timer);

/*
 * c-ares knows when its next try is due; the loop must wake it then. On a socket that nobody
 * watches it would wait in vain, and as long as it has questions it would use that socket for the
 * next ones as well: all of them fail at once, and it closes its sockets.
 */
static void arm(struct dns_channel *ch)
{
    struct timeval tv;
    if (ch->deaf) {
        ch->deaf = false;
        ares_cancel(ch->servers);
    }
    if (ares_timeout(ch->servers, NULL, &tv) == NULL) {
        (void)uv_timer_stop(&ch->timer);
        return;
    }
    /* Rounded up: earlier it would find nothing to do. */
    uint64_t ms = (uint64_t)tv.tv_sec * 1000 + ((uint64_t)tv.tv_usec + 999) / 1000;
    (void)uv_timer_start(&ch->timer, on_timer, ms > 0 ? ms : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct dns_channel *ch = timer->data;
    ares_process_fd(ch->servers, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(ch);
}

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
    struct dns_channel *ch = poll->data;
    struct dns_socket *s = LIST_ITEM(poll, struct dns_socket, poll);
    /* libuv stops a watcher that met an error (an ICMP refusal, say): c-ares learns of it by
     * reading and writing. */
    bool read = status < 0 || (events & UV_READABLE) != 0;
    bool write = status < 0 || (events & UV_WRITABLE) != 0;
    ares_process_fd(ch->servers, read ? s->fd : ARES_SOCKET_BAD, write ? s->fd : ARES_SOCKET_BAD);
    if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
        (void)uv_poll_start(poll, s->events, on_socket_ready);
    arm(ch);
}

static struct dns_socket *socket_find(const struct dns_channel *ch, int fd)
{
    LIST_EACH (at, &ch->sockets) {
        struct dns_socket *s = LIST_ITEM(at, struct dns_socket, node);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static struct dns_socket *socket_watch(struct dns_channel *ch, int fd)
{
    struct dns_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (uv_poll_init(ch->timer.loop, &s->poll, fd) != 0) {
        free(s);
        return NULL;
    }
    s->poll.data = ch;
    s->fd = fd;
    list_append(&ch->sockets, &s->node);
    return s;
}

static void on_socket_closed(uv_handle_t *handle)
{
    free(LIST_ITEM(handle, struct dns_socket, poll));
}

/* uv_poll_stop() takes the descriptor from the loop at once: c-ares closes it when we return. */
static void socket_drop(struct dns_socket *s)
{
    list_remove(&s->node);
    (void)uv_poll_stop(&s->poll);
    uv_close((uv_handle_t *)&s->poll, on_socket_closed);
}

/* c-ares tells what it waits for on a descriptor; nothing any more means that it will close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *ch = arg;
    struct dns_socket *s = socket_find(ch, fd);
    if (!readable && !writable) {
        if (s != NULL)
            socket_drop(s);
        return;
    }
    if (s == NULL)
        s = socket_watch(ch, fd);
    if (s == NULL) {
        ch->deaf = true; /* out of memory; not to be answered in here, c-ares is at work */
        return;
    }
    s->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    (void)uv_poll_start(&s->poll, s->events, on_socket_ready);
}

/* ---- making and ending ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int port_parse(struct span text, uint16_t *port)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 5 || text.ptr[0] == '0')
        return UV_EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return UV_EINVAL;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    if (value > UINT16_MAX)
        return UV_EINVAL;
    *port = (uint16_t)value;
    return 0;
}

/* "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]" or "[2001:db8::1]:53". */
static int server_parse(struct addr *a, struct span text)
{
    struct span host = text;
    uint16_t port = SERVER_PORT;
    const char *colon = memrchr(text.ptr, ':', text.len);
    bool brackets = text.len > 0 && text.ptr[0] == '[';
    bool with_port =
        colon != NULL && (brackets ? colon[-1] == ']' : memchr(text.ptr, ':', text.len) == colon);
    if (with_port) {
        host.len = (size_t)(colon - text.ptr);
        int rc = port_parse((struct span){colon + 1, text.len - host.len - 1}, &port);
        if (rc != 0)
            return rc;
    }
    return addr_parse(a, host, port);
}

static struct span trim(struct span s)
{
    for (; s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'); s.len--)
        s.ptr++;
    for (; s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'); s.len--)
        continue;
    return s;
}

/* Checked and written anew: the two c-ares of our systems read such lists by different rules. */
static int servers_text(struct buf *out, const char *servers)
{
    struct span rest = span_of(servers);
    for (;;) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        struct span item = {rest.ptr, comma != NULL ? (size_t)(comma - rest.ptr) : rest.len};
        struct addr a;
        char text[ADDR_TEXT_MAX];
        int rc = server_parse(&a, trim(item));
        if (rc == 0)
            rc = buf_printf(out, "%s%s", buf_len(out) > 0 ? "," : "", addr_print_port(&a, text));
        if (rc != 0)
            return rc == -ENOMEM ? UV_ENOMEM : UV_EINVAL;
        if (comma == NULL)
            return buf_add(out, "", 1) == 0 ? 0 : UV_EINVAL; /* the NUL */
        rest = (struct span){comma + 1, rest.len - item.len - 1};
    }
}

static int set_servers(struct dns_channel *ch, const char *servers)
{
    struct buf text;
    buf_init(&text, SERVERS_TEXT_MAX);
    int rc = servers_text(&text, servers);
    if (rc == 0)
        rc = error_of(ares_set_servers_ports_csv(ch->servers, buf_head(&text)));
    buf_release(&text);
    return rc;
}

/* `lookups`: "f" for the hosts file, "b" for the name servers. */
static int ares_open(ares_channel *out, struct dns_channel *ch, char *lookups, uint64_t timeout_ms)
{
    uint64_t patience_ms = lesser(timeout_ms / TIMEOUT_PARTS, INT32_MAX);
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = patience_ms > 0 ? (int)patience_ms : 1,
        .tries = TRIES,
        .ndomains = 0, /* 1.18 searches in spite of NOSEARCH */
        .lookups = lookups,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = ch,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_DOMAINS |
               ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    mask |=
        ARES_OPT_QUERY_CACHE; /* since 1.31 it keeps answers for an hour: ours is the cache here */
    options.qcache_max_ttl = 0;
#endif
#ifdef ARES_OPT_UDP_MAX_QUERIES
    mask |= ARES_OPT_UDP_MAX_QUERIES; /* a new port now and then is harder to guess (RFC 5452
                                         section 9.2) */
    options.udp_max_queries = 8;
#endif
    return error_of(ares_init_options(out, &options, mask));
}

int dns_channel_create(struct dns_channel **out, uv_loop_t *loop, const char *servers,
                       uint64_t timeout_ms)
{
    char files[] = "f", dns[] = "b";
    (void)pthread_once(&library_once, library_init);
    if (library_status != ARES_SUCCESS)
        return error_of(library_status);
    struct dns_channel *ch = calloc(1, sizeof *ch);
    if (ch == NULL)
        return UV_ENOMEM;
    list_init(&ch->sockets);
    int rc = ares_open(&ch->hosts, ch, files, timeout_ms);
    if (rc != 0)
        goto no_hosts;
    rc = ares_open(&ch->servers, ch, dns, timeout_ms);
    if (rc != 0)
        goto no_servers;
    if (servers != NULL && servers[0] != '\0')
        rc = set_servers(ch, servers);
    if (rc != 0)
        goto bad_servers;
    (void)uv_timer_init(loop, &ch->timer);
    ch->timer.data = ch;
    *out = ch;
    return 0;

bad_servers:
    ares_destroy(ch->servers);
no_servers:
    ares_destroy(ch->hosts);
no_hosts:
    free(ch);
    return rc;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void dns_channel_destroy(struct dns_channel *ch)
{
    ares_destroy(ch->servers); /* closes its sockets, and so our watchers */
    ares_destroy(ch->hosts);
    assert(list_empty(&ch->sockets));
    uv_close((uv_handle_t *)&ch->timer, on_timer_closed);
}

/* ---- questions ---- */

static void on_hosts(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_channel *ch = arg;
    (void)timeouts;
    if (ch->hosts_answer != NULL)
        answer_fill(ch->hosts_answer, status, info);
    else if (info != NULL)
        ares_freeaddrinfo(info);
}

bool dns_channel_hosts(struct dns_channel *ch, const char *name, struct dns_answer *answer)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC};
    answer->found.outcome = OUTCOME_DNS_FAILED;
    ch->hosts_answer = answer; /* without sockets c-ares calls back before it returns */
    ares_getaddrinfo(ch->hosts, name, NULL, &hints, on_hosts, ch);
    ch->hosts_answer = NULL;
    return answer->found.outcome == OUTCOME_OK;
}

static void on_found(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_ask *ask = arg;
    struct dns_answer answer;
    (void)timeouts;
    if (status == ARES_EDESTRUCTION)
        return;
    answer_fill(&answer, status, info);
    ask->on_answer(ask, &answer);
}

void dns_channel_ask(struct dns_channel *ch, const char *name, int family, struct dns_ask *ask)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = family};
    ares_getaddrinfo(ch->servers, name, NULL, &hints, on_found, ask);
    arm(ch);
}

/* ---- services ---- */

static void services_fill(struct dns_service_answer *answer, const struct ares_srv_reply *list)
{
    size_t count = 0;
    for (const struct ares_srv_reply *at = list; at != NULL; at = at->next)
        count += count < DNS_SERVICES_MAX;
    answer->service = calloc(count + 1, sizeof *answer->service);
    if (answer->service == NULL) {
        answer->outcome = OUTCOME_DNS_FAILED;
        return;
    }
    for (const struct ares_srv_reply *at = list; at != NULL && answer->count < count;
         at = at->next) {
        struct dns_service *to = &answer->service[answer->count++];
        to->priority = at->priority;
        to->weight = at->weight;
        to->port = at->port;
        (void)snprintf(to->target, sizeof to->target, "%s", at->host);
    }
    if (answer->count == 0)
        answer->outcome = OUTCOME_DNS_NOT_FOUND;
}

static void on_services(void *arg, int status, int timeouts, unsigned char *message, int octets)
{
    struct dns_service_ask *ask = arg;
    struct ares_srv_reply *list = NULL;
    (void)timeouts;
    if (status == ARES_EDESTRUCTION)
        return;
    if (status == ARES_SUCCESS)
        status = ares_parse_srv_reply(message, octets, &list);
    struct dns_service_answer answer = {.outcome = outcome_of(status)};
    if (status == ARES_SUCCESS)
        services_fill(&answer, list);
    if (list != NULL)
        ares_free_data(list);
    ask->on_answer(ask, &answer);
    free(answer.service);
}

void dns_channel_ask_services(struct dns_channel *ch, const char *name, struct dns_service_ask *ask)
{
    ares_query(ch->servers, name, 1 /* IN */, 33 /* SRV */, on_services, ask);
    arm(ch);
}

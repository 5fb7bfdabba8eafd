#include "proxy/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/private_file.h"
#include "conf/settings.h"
#include "proxy/snapshot_doors.h"
#include "proxy/snapshot_file.h"
#include "proxy/snapshot_key.h"
#include "proxy/snapshot_policy.h"
#include "proxy/snapshot_roles.h"
#include "proxy/snapshot_tls.h"
#include "proxy/snapshot_upstream.h"

enum {
    DESCRIPTORS_RESERVED = 128, /* listeners, logs, DNS, idle origins' margin */
    USERS_FILE_MAX = 16 * 1024 * 1024
};

/* ---- useproxy.properties ---- */

static void build_dial(struct snapshot *s, const struct settings *st, struct settings_errors *e)
{
    struct dial_options *d = &s->session.dial;
    d->timeout_ms = st->timeout_connect;
    d->addresses_max = (size_t)st->limit_addresses;
    for (size_t i = 0; i < st->source_address.count; i++) {
        struct addr a;
        const char *text = st->source_address.item[i];
        if (addr_parse(&a, span_of(text), 0) != 0) {
            settings_error(e, settings_where(st, "source.address"), "\"%s\" is no IP address",
                           text);
            continue;
        }
        struct addr *slot = &d->source[a.sa.sa_family == AF_INET6];
        if (slot->sa.sa_family != 0)
            settings_error(e, settings_where(st, "source.address"),
                           "\"%s\": at most one IPv4 and one IPv6 address", text);
        *slot = a;
    }
}

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353" */
static bool is_server(const char *text)
{
    struct addr a;
    if (addr_parse(&a, span_of(text), 53) == 0)
        return true;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] < '1' || colon[1] > '9')
        return false;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    return *end == '\0' && port <= 65535 &&
           addr_parse(&a, (struct span){text, (size_t)(colon - text)}, (uint16_t)port) == 0;
}

static void build_resolver(struct snapshot *s, const struct settings *st, struct settings_errors *e)
{
    struct buf servers;
    buf_init(&servers, 4096);
    for (size_t i = 0; i < st->resolver_servers.count; i++) {
        const char *text = st->resolver_servers.item[i];
        if (!is_server(text))
            settings_error(e, settings_where(st, "resolver.servers"),
                           "\"%s\" is no address or address:port", text);
        (void)buf_printf(&servers, "%s%s", i > 0 ? "," : "", text);
    }
    s->resolver_servers = strndup(buf_span(&servers).ptr, buf_len(&servers));
    buf_release(&servers);
    s->resolver = (struct resolver_options){
        .servers = s->resolver_servers,
        .timeout_ms = st->resolver_timeout,
        .cache_entries = (size_t)st->resolver_cache_entries,
        .cache_max_ms = st->resolver_cache_max,
        .cache_failure_ms = st->resolver_cache_failure,
    };
}

/* ---- webserver.properties ---- */

/* Two instances must not take each other for themselves in Via, and one stays itself over a reload.
 */
static const char *instance_name(void)
{
    static char name[32];
    uint32_t id = 0;
    if (name[0] == '\0') {
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            id = (uint32_t)getpid();
        (void)snprintf(name, sizeof name, "certferry-%08x", id);
    }
    return name;
}

/* A pseudonym of Via is a token here (RFC 9110 section 7.6.3), and a string of Proxy-Status needs
 * no escapes then. */
static bool is_pseudonym(const char *text)
{
    return text[0] != '\0' && strlen(text) < 64 &&
           text[strspn(
               text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")] == '\0';
}

/* Between quotes in Proxy-Authenticate, without escapes (RFC 9110 section 5.6.4). */
static bool is_realm(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
            return false;
    }
    return text[0] != '\0' && strlen(text) < 64;
}

static void add_users(struct users *users, const char *path, struct span text,
                      struct settings_errors *e)
{
    const char *why = "";
    for (unsigned line = 1; text.len > 0; line++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
        int rc = users_add_line(users, (struct span){text.ptr, len}, &why);
        if (rc != 0) {
            char where[PATH_MAX + 32];
            (void)snprintf(where, sizeof where, "%s:%u", path, line);
            settings_error(e, where, "%s", rc == -EINVAL ? why : "out of memory");
        }
        size_t used = end != NULL ? len + 1 : len;
        text = (struct span){text.ptr + used, text.len - used};
    }
}

static void build_users(struct snapshot *s, const struct settings *st, int dir,
                        struct settings_errors *e)
{
    struct buf text;
    const char *path = st->auth_file;
    if (path[0] == '\0')
        return;
    const struct snapshot_file f = {settings_where(st, "auth.file"), path, dir, PRIVATE_FILE_SECRET,
                                    USERS_FILE_MAX};
    bool good = snapshot_file_read(&f, &text, e);
    s->users = users_create();
    if (good && s->users == NULL)
        settings_error(e, path, "out of memory");
    else if (good)
        add_users(s->users, path, buf_span(&text), e);
    if (good && s->users != NULL && users_count(s->users) == 0)
        settings_error(e, settings_where(st, "auth.file"),
                       "\"%s\" names nobody; add a line with htpasswd -B", path);
    snapshot_file_wipe(&text);
}

/* Who stands before the first request: load balancers, users. */
static void build_front(struct snapshot *s, const struct settings *st, struct settings_errors *e)
{
    struct session_options *o = &s->session;
    size_t count = st->proxy_protocol_from.count;
    s->balancers = calloc(count + 1, sizeof *s->balancers);
    if (s->balancers != NULL && count > 0)
        memcpy(s->balancers, st->proxy_protocol_from.item, count * sizeof *s->balancers);
    o->balancers = s->balancers;
    o->balancer_count = s->balancers != NULL ? count : 0;
    o->users = s->users;
    if (!is_realm(st->auth_realm))
        settings_error(e, settings_where(st, "auth.realm"),
                       "use 1 to 63 printable ASCII characters without \" and \\");
    (void)snprintf(o->realm, sizeof o->realm, "%.63s", st->auth_realm);
    s->authentication = (struct authentication_options){
        .cache_ms = st->auth_cache_ttl,
        .cache_entries = (size_t)st->auth_cache_entries,
        .pending_max = (size_t)st->auth_pending_max,
        .failure_ms = st->auth_failure_delay,
        .failure_max_ms = st->auth_failure_delay_max,
        .failure_entries = (size_t)st->auth_failure_entries,
    };
}

static void build_session(struct snapshot *s, const struct settings *st, struct settings_errors *e)
{
    struct session_options *o = &s->session;
    o->policy = s->policy;
    o->roles = s->roles;
    o->head = (struct head_limits){(size_t)st->limit_head, (size_t)st->limit_request_line,
                                   (size_t)st->limit_fields};
    o->buffer_octets = (size_t)st->limit_tunnel_buffer;
    o->head_ms = st->timeout_head;
    o->keepalive_ms = st->timeout_keepalive;
    o->response_ms = st->timeout_response;
    o->body_ms = st->timeout_body;
    o->hello_ms = st->timeout_tunnel_hello;
    o->tunnel_idle_ms = st->timeout_tunnel_idle;
    o->halfclosed_ms = st->timeout_tunnel_halfclosed;
    o->linger_ms = st->timeout_linger;
    o->queue_ms = st->queue_timeout;
    o->tunnel_lifetime_ms = st->timeout_tunnel_lifetime;
    o->exchanges_max = st->limit_exchanges_per_connection;
    o->body_rate = st->limit_body_rate;
    o->paced = st->limit_upstream_per_host > 0;
    o->sni = st->tunnel_sni == TUNNEL_SNI_OFF      ? SESSION_SNI_OFF
             : st->tunnel_sni == TUNNEL_SNI_STRICT ? SESSION_SNI_STRICT
                                                   : SESSION_SNI_MATCH;
    s->raw_ports = snapshot_ports(&st->tunnel_raw_ports);
    o->raw_ports = s->raw_ports;
    o->raw_port_count = s->raw_ports != NULL ? st->tunnel_raw_ports.count : 0;
    build_front(s, st, e);
    o->access_log = st->log_access;
    o->forwarded_for = st->forwarded_for;
    const char *name = st->via_name[0] != '\0' ? st->via_name : instance_name();
    if (!is_pseudonym(name))
        settings_error(e, settings_where(st, "via.name"),
                       "use 1 to 63 letters, digits, dots, hyphens or underscores");
    (void)snprintf(o->name, sizeof o->name, "%.63s", name);
    s->pool = (struct upstream_pool_options){(size_t)st->limit_upstream_idle,
                                             (size_t)st->limit_upstream_idle_per_host,
                                             st->timeout_upstream_idle};
}

/* Two descriptors for each connection, one of the client and one of the origin. */
static size_t connections_by_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return 100000;
    return r.rlim_cur > 2 * DESCRIPTORS_RESERVED ? (size_t)(r.rlim_cur - DESCRIPTORS_RESERVED) / 2
                                                 : 16;
}

static void build_limits(struct snapshot *s, const struct settings *st)
{
    s->admission.total =
        st->limit_connections > 0 ? (size_t)st->limit_connections : connections_by_descriptors();
    const char *text = st->limit_connections_per_client;
    s->admission.per_client =
        text[0] == '\0' ? (s->admission.total + 1) / 2 : (size_t)strtoull(text, NULL, 10);
    s->admission.turned_away = (size_t)st->limit_refusals;
    s->upstream_per_host_max = (size_t)st->limit_upstream_per_host;
    s->queue_max = (size_t)st->queue_max;
    s->identities_max = (size_t)st->limit_identities;
    s->memory_max = (size_t)st->limit_memory;
    s->pipes_max = (size_t)st->limit_pipes;
    s->pipe_octets = (size_t)st->limit_pipe;
}

/* ---- failover.properties ---- */

static void build_fleet(struct snapshot *s, const struct settings *st, int dir,
                        struct listen_ports ports, struct settings_errors *e)
{
    s->fleet = fleet_plan_create(st, dir, ports, e);
    if (s->fleet == NULL)
        return;
    const struct member *self = fleet_plan_options(s->fleet)->self;
    (void)snprintf(s->advertise_host, sizeof s->advertise_host, "%s", self->host);
    (void)snprintf(s->zone, sizeof s->zone, "%s", self->zone);
    s->roster_ttl_seconds = (unsigned)(st->roster_ttl / 1000);
}

static void build_signature(struct snapshot *s, const struct settings *st, int dir,
                            struct settings_errors *e)
{
    struct buf key, certificates;
    const char *why = "out of memory";
    const char *key_path = st->document_sign_key, *path = st->document_sign_cert;
    if (key_path[0] == '\0' && path[0] != '\0')
        settings_error(e, settings_where(st, "document.sign.cert"),
                       "\"%s\" without document.sign.key: name the key too, or none", path);
    if (key_path[0] == '\0')
        return;
    const struct snapshot_file key_file = {settings_where(st, "document.sign.key"), key_path, dir,
                                           PRIVATE_FILE_SECRET, SIGNATURE_PEM_MAX};
    const struct snapshot_file file = {settings_where(st, "document.sign.cert"), path, dir, 0,
                                       SIGNATURE_PEM_MAX};
    bool good = snapshot_file_read(&key_file, &key, e);
    good = snapshot_file_read(&file, &certificates, e) && good;
    if (good && path[0] != '\0' && buf_len(&certificates) == 0)
        settings_error(e, settings_where(st, "document.sign.cert"), "\"%s\" is empty", path);
    else if (good &&
             signature_key_create(&s->sign_key, buf_span(&key), buf_span(&certificates), &why) != 0)
        settings_error(e, settings_where(st, "document.sign.key"), "\"%s\"%s%s: %s", key_path,
                       path[0] != '\0' ? " with " : "", path, why);
    snapshot_file_wipe(&key);
    snapshot_file_wipe(&certificates);
}

/* What is at the place now shows at start only. */
static void check_control_socket(const struct settings *st, struct settings_errors *e)
{
    const char *path = st->control_socket;
    if (path[0] != '\0' && path[0] != '/')
        settings_error(e, settings_where(st, "control.socket"),
                       "\"%s\" is no full path: it must begin with /", path);
    else if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        settings_error(e, settings_where(st, "control.socket"), "longer than %zu octets",
                       sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
}

/* ---- the whole ---- */

struct snapshot *snapshot_build(const struct settings *settings, int dir, struct listen_ports ports,
                                struct settings_errors *errors)
{
    size_t before = errors->count;
    struct snapshot *s = calloc(1, sizeof *s);
    if (s != NULL) {
        atomic_init(&s->refs, 1);
        snapshot_key_begin();
        s->policy = snapshot_policy(settings, NULL, errors);
        s->roles = snapshot_roles(settings, s->session.door, errors);
        build_dial(s, settings, errors);
        s->parents = settings->role == SETTINGS_AGENT
                         ? parents_create(&(struct parents_options){0}) /* never direct */
                         : snapshot_upstream(settings, dir, errors);
        build_resolver(s, settings, errors);
        build_users(s, settings, dir, errors);
        build_session(s, settings, errors);
        snapshot_passthrough(&s->session.door[DOOR_PASSTHROUGH], settings, s->policy, errors);
        snapshot_tls(&s->session.door[DOOR_TLS], DOOR_TLS, settings, dir, errors);
        if (settings->role == SETTINGS_SENSOR)
            snapshot_gateway(&s->gateway, &s->session, settings, dir, s->parents, errors);
        s->ticket_lifetime_ms = settings->tls_ticket_lifetime;
        s->ticket_rotate_ms = settings->tls_ticket_rotate;
        build_limits(s, settings);
        check_control_socket(settings, errors);
        build_signature(s, settings, dir, errors);
        build_fleet(s, settings, dir, ports, errors);
    }
    bool cut_off = s != NULL && settings->role == SETTINGS_AGENT && s->parents == NULL;
    if (s == NULL || cut_off || s->policy == NULL || s->fleet == NULL || s->raw_ports == NULL ||
        s->resolver_servers == NULL || s->balancers == NULL)
        settings_error(errors, "configuration", "out of memory");
    if (errors->count == before)
        return s;
    if (s != NULL)
        snapshot_unref(s);
    return NULL;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    (void)atomic_fetch_add(&s->refs, 1);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    if (s->policy != NULL)
        policy_destroy(s->policy);
    roles_destroy(s->roles);
    parents_unref(s->parents);
    snapshot_gateway_release(&s->gateway);
    fleet_plan_destroy(s->fleet);
    free(s->resolver_servers);
    free(s->raw_ports);
    free(s->balancers);
    snapshot_doors_release(s->session.door);
    snapshot_tls_release(s->session.door);
    if (s->users != NULL)
        users_destroy(s->users);
    signature_key_destroy(s->sign_key);
    free(s);
}

static int print_limit(struct buf *out, const char *name, uint64_t limit)
{
    return buf_printf(out, "certferry_limit{name=\"%s\"} %" PRIu64 "\n", name, limit);
}

int snapshot_print_limits(struct buf *out, const struct snapshot *s, size_t connections)
{
    const struct session_options *o = &s->session;
    const struct {
        const char *name;
        uint64_t limit;
    } limits[] = {
        {"limit.connections", s->admission.total},
        {"limit.connections.per.client", s->admission.per_client},
        {"limit.refusals", s->admission.turned_away},
        {"limit.exchanges.per.connection", o->exchanges_max},
        {"limit.upstream.per.host", s->upstream_per_host_max},
        {"limit.memory", s->memory_max},
        {"limit.head", o->head.head_octets},
        {"limit.request.line", o->head.request_line_octets},
        {"limit.fields", o->head.fields},
        {"limit.body.rate", o->body_rate},
        {"limit.tunnel.buffer", o->buffer_octets},
        {"limit.pipes", s->pipes_max},
        {"limit.pipe", s->pipe_octets},
        {"queue.max", s->queue_max},
        {"gateway.limit.connections", s->gateway.options.connections_max},
        {"limit.identities", s->identities_max},
        {"auth.pending.max", s->authentication.pending_max},
    };
    int rc = buf_add_str(out, "# HELP certferry_limit Limits in force, by key; 0: no such limit.\n"
                              "# TYPE certferry_limit gauge\n");
    for (size_t i = 0; i < sizeof limits / sizeof *limits && rc == 0; i++)
        rc = print_limit(out, limits[i].name, limits[i].limit);
    if (rc == 0)
        rc = metrics_print_gauge(out, "admitted_connections",
                                 "Connections counted against limit.connections", connections);
    return rc == 0 ? metrics_print_gauge(out, "buffer_bytes", "Octets counted against limit.memory",
                                         buf_budget_used())
                   : rc;
}

#include "proxy/snapshot_fleet.h"
#include "proxy/snapshot_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "allowlist/hostname.h"
#include "conf/private_file.h"
#include "conf/settings.h"

enum {
    PASSWORD_FILE_MAX = 4096,
    PEM_FILE_MAX = 1024 * 1024,
    ETCD_CHECK_MS = 30 * 1000,
    ETCD_PAUSE_MS = 250,
    URL_MAX = ROSTER_TEXT_MAX + 32
};

struct fleet_plan {
    struct fleet_options options;
    struct member self;
    struct roster *peers; /* counted */
    char endpoint[SOURCE_ETCD_ENDPOINTS_MAX][URL_MAX];
    const char *endpoints[SOURCE_ETCD_ENDPOINTS_MAX];
    char *text[16]; /* owned: copies of the settings' texts */
    size_t text_count;
    char *password; /* owned */
    char *servers;  /* owned */
    bool no_memory;
};

static const char *keep(struct fleet_plan *p, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        p->no_memory = true;
        return "";
    }
    p->text[p->text_count++] = copy;
    return copy;
}

/* ---- ourselves and peers= ---- */

/* When this process began: a reload is no new start. */
static int64_t process_started(void)
{
    static int64_t started;
    if (started == 0)
        started = (int64_t)time(NULL);
    return started;
}

static void plan_self(struct fleet_plan *p, const struct settings *st, struct listen_ports ports,
                      struct settings_errors *e)
{
    struct hostname host;
    char system_name[256] = "";
    const char *why = NULL;
    const char *text = st->advertise_host;
    if (text[0] == '\0' && gethostname(system_name, sizeof system_name - 1) == 0)
        text = system_name;
    if (hostname_parse(&host, span_of(text), &why) != 0) {
        if (st->advertise_host[0] != '\0')
            settings_error(e, settings_where(st, "advertise.host"), "\"%s\": %s", text, why);
        (void)hostname_parse(&host, SPAN("localhost"), NULL);
    }
    p->self = (struct member){.protocol = MEMBER_HTTP_CONNECT,
                              .port = ports.proxy,
                              .tls_port = ports.tls,
                              .priority = (unsigned)st->advertise_priority,
                              .weight = (unsigned)st->advertise_weight,
                              .load = ROSTER_LOAD_UNKNOWN,
                              .self = true,
                              .state = MEMBER_UP,
                              .started = process_started(),
                              .version = CERTFERRY_VERSION};
    (void)snprintf(p->self.host, sizeof p->self.host, "%s", host.text);
    if (strlen(st->zone) >= sizeof p->self.zone)
        settings_error(e, settings_where(st, "zone"), "longer than %zu octets",
                       sizeof p->self.zone - 1);
    (void)snprintf(p->self.zone, sizeof p->self.zone, "%.63s", st->zone);
}

static void plan_peers(struct fleet_plan *p, const struct settings *st, struct settings_errors *e)
{
    p->peers = roster_create();
    for (size_t i = 0; i < st->peers.count && p->peers != NULL; i++) {
        struct member m;
        const char *why = NULL;
        const char *url = st->peers.item[i];
        if (roster_parse_member(&m, url, &why) != 0)
            settings_error(e, settings_where(st, "peers"), "\"%s\": %s", url, why);
        else if (roster_add(p->peers, &m) == -ENOSPC)
            settings_error(e, settings_where(st, "peers"), "more than %d members",
                           ROSTER_MEMBERS_MAX);
    }
    p->no_memory = p->no_memory || p->peers == NULL;
}

/* ---- etcd ---- */

static void plan_endpoints(struct fleet_plan *p, const struct settings *st,
                           struct settings_errors *e)
{
    size_t count = 0;
    for (size_t i = 0; i < st->etcd_endpoints.count && count < SOURCE_ETCD_ENDPOINTS_MAX; i++) {
        struct member m;
        const char *why = NULL;
        const char *url = st->etcd_endpoints.item[i];
        if (roster_parse_member(&m, url, &why) != 0) {
            settings_error(e, settings_where(st, "etcd.endpoints"), "\"%s\": %s", url, why);
            continue;
        }
        (void)snprintf(p->endpoint[count], URL_MAX,
                       strchr(m.host, ':') != NULL ? "%s://[%s]:%u" : "%s://%s:%u",
                       m.protocol == MEMBER_HTTPS_CONNECT ? "https" : "http", m.host,
                       (unsigned)m.port);
        p->endpoints[count] = p->endpoint[count];
        count++;
    }
    p->options.etcd.endpoints = p->endpoints;
    p->options.etcd.endpoint_count = count;
}

/* curl reads these by their path whenever it connects. */
static const char *plan_pem(struct fleet_plan *p, const struct settings *st, const char *key,
                            const char *path, unsigned flags, int dir, struct settings_errors *e)
{
    struct buf text;
    if (path[0] == '\0')
        return "";
    if (path[0] != '/') {
        settings_error(e, settings_where(st, key), "\"%s\" is no full path: it must begin with /",
                       path);
        return "";
    }
    const struct snapshot_file f = {settings_where(st, key), path, dir, flags, PEM_FILE_MAX};
    (void)snapshot_file_read(&f, &text, e);
    snapshot_file_wipe(&text);
    return keep(p, path);
}

/* The first line. What JSON could not say as it is would be another password. */
static const char *take_password(struct fleet_plan *p, struct span text)
{
    const char *end = memchr(text.ptr, '\n', text.len);
    if (end != NULL)
        text.len = (size_t)(end - text.ptr);
    if (text.len > 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            return "its first line must be printable ASCII";
    }
    if (text.len == 0)
        return "its first line is empty";
    p->password = strndup(text.ptr, text.len);
    p->no_memory = p->no_memory || p->password == NULL;
    return NULL;
}

static void plan_password(struct fleet_plan *p, const struct settings *st, int dir,
                          struct settings_errors *e)
{
    struct buf text;
    const char *path = st->etcd_password_file;
    if ((st->etcd_user[0] == '\0') != (path[0] == '\0'))
        settings_error(e, settings_where(st, "etcd.user"),
                       "etcd.user and etcd.password.file go together: name both or none");
    if (path[0] == '\0')
        return;
    const struct snapshot_file f = {settings_where(st, "etcd.password.file"), path, dir,
                                    PRIVATE_FILE_SECRET, PASSWORD_FILE_MAX};
    const char *why = snapshot_file_read(&f, &text, e) ? take_password(p, buf_span(&text)) : NULL;
    if (why != NULL)
        settings_error(e, f.where, "\"%s\": %s", path, why);
    snapshot_file_wipe(&text);
}

static void plan_etcd(struct fleet_plan *p, const struct settings *st, int dir,
                      struct settings_errors *e)
{
    struct source_etcd_options *o = &p->options.etcd;
    const char *prefix = st->etcd_prefix;
    size_t len = strlen(prefix);
    plan_endpoints(p, st, e);
    plan_password(p, st, dir, e);
    if (len == 0 || len > 200 || prefix[len - 1] != '/')
        settings_error(e, settings_where(st, "etcd.prefix"),
                       "must end with a slash and have 1 to 200 octets");
    if (st->etcd_lease_ttl % 1000 != 0)
        settings_error(e, settings_where(st, "etcd.lease.ttl"), "must be whole seconds");
    o->prefix = keep(p, prefix);
    o->lease_ttl_s = st->etcd_lease_ttl / 1000;
    o->timeout_ms = st->etcd_timeout;
    o->check_ms = ETCD_CHECK_MS;
    o->pause_ms = ETCD_PAUSE_MS;
    o->user = keep(p, st->etcd_user);
    o->password = p->password;
    o->tls.ca_file = plan_pem(p, st, "etcd.ca", st->etcd_ca, 0, dir, e);
    o->tls.cert_file = plan_pem(p, st, "etcd.cert", st->etcd_cert, 0, dir, e);
    o->tls.key_file = plan_pem(p, st, "etcd.key", st->etcd_key, PRIVATE_FILE_SECRET, dir, e);
}

/* ---- DNS ---- */

/* Labels with an underscore stand first and are no host name's; the rest is one. */
static bool is_name(const char *text, const char **why)
{
    struct hostname host;
    bool service = source_dns_is_service(text);
    while (text[0] == '_' && strchr(text, '.') != NULL)
        text = strchr(text, '.') + 1;
    if (hostname_parse(&host, span_of(text), why) != 0)
        return false;
    *why = host.kind != HOST_NAME                     ? "is an address and not a name"
           : !service && strcmp(host.text, text) != 0 ? "write it in lower case, without a last dot"
                                                      : NULL;
    return *why == NULL;
}

static void plan_dns(struct fleet_plan *p, const struct settings *st, struct settings_errors *e)
{
    struct source_dns_options *o = &p->options.dns;
    struct buf servers;
    const char *why = NULL;
    if (st->roster_dns[0] != '\0' && !is_name(st->roster_dns, &why))
        settings_error(e, settings_where(st, "roster.dns"), "\"%s\": %s", st->roster_dns, why);
    buf_init(&servers, 4096);
    for (size_t i = 0; i < st->resolver_servers.count; i++)
        (void)buf_printf(&servers, "%s%s", i > 0 ? "," : "", st->resolver_servers.item[i]);
    p->servers = strndup(buf_span(&servers).ptr, buf_len(&servers));
    buf_release(&servers);
    p->no_memory = p->no_memory || p->servers == NULL;
    o->name = keep(p, st->roster_dns);
    o->interval_ms = st->roster_dns_interval;
    o->servers = p->servers;
    o->timeout_ms = st->resolver_timeout;
    o->port = p->self.port;
}

/* ---- the whole ---- */

static void plan_cache(struct fleet_plan *p, const struct settings *st)
{
    char path[4096] = "";
    const char *state = getenv("STATE_DIRECTORY"); /* systemd's; of several the first is ours */
    if (st->roster_cache[0] != '\0')
        (void)snprintf(path, sizeof path, "%s", st->roster_cache);
    else if (state != NULL && state[0] == '/')
        (void)snprintf(path, sizeof path, "%.*s/roster.json", (int)strcspn(state, ":"), state);
    p->options.cache = keep(p, path);
}

struct fleet_plan *fleet_plan_create(const struct settings *settings, int dir,
                                     struct listen_ports ports, struct settings_errors *errors)
{
    struct fleet_plan *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    plan_self(p, settings, ports, errors);
    plan_peers(p, settings, errors);
    plan_etcd(p, settings, dir, errors);
    plan_dns(p, settings, errors);
    plan_cache(p, settings);
    p->options.self = &p->self;
    p->options.peers = p->peers;
    p->options.probe = (struct probe_options){
        .interval_ms = settings->probe_interval,
        .timeout_ms = settings->probe_timeout,
        .rule = {(unsigned)settings->probe_rise, (unsigned)settings->probe_fall},
        .ca_file = plan_pem(p, settings, "probe.ca", settings->probe_ca, 0, dir, errors),
    };
    if (!p->no_memory)
        return p;
    fleet_plan_destroy(p);
    return NULL;
}

void fleet_plan_destroy(struct fleet_plan *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->text_count; i++)
        free(p->text[i]);
    if (p->password != NULL)
        explicit_bzero(p->password, strlen(p->password));
    free(p->password);
    free(p->servers);
    roster_unref(p->peers);
    free(p);
}

const struct fleet_options *fleet_plan_options(const struct fleet_plan *p)
{
    return &p->options;
}

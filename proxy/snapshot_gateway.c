#include "proxy/snapshot_gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/private_file.h"
#include "conf/settings.h"
#include "proxy/net/tls_client.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_provider.h"
#include "proxy/snapshot_doors.h"
#include "proxy/snapshot_file.h"
#include "proxy/snapshot_key.h"
#include "proxy/snapshot_tls.h"

enum { HTTPS_PORT = 443, PEM_FILE_MAX = 4 * 1024 * 1024 };

/* ---- what is let through ---- */

static void add_paths(struct gateway_options *o, const struct settings *st,
                      struct settings_errors *e)
{
    const char *why = "";
    o->paths = paths_create();
    for (size_t i = 0; o->paths != NULL && i < st->gateway_paths.count; i++) {
        const char *text = st->gateway_paths.item[i];
        int rc = paths_add(o->paths, span_of(text), &why);
        if (rc != 0)
            settings_error(e, settings_where(st, "gateway.paths"), "\"%s\": %s", text,
                           rc == -EINVAL ? why : "out of memory");
    }
}

static void add_names(struct gateway_options *o, const struct settings *st,
                      struct settings_errors *e)
{
    const char *why = "";
    o->names = calloc(st->gateway_names.count + 1, sizeof *o->names);
    for (size_t i = 0; o->names != NULL && i < st->gateway_names.count; i++) {
        const char *text = st->gateway_names.item[i];
        if (hostname_parse(&o->names[o->name_count], span_of(text), &why) == 0)
            o->name_count++;
        else
            settings_error(e, settings_where(st, "gateway.names"), "\"%s\": %s", text, why);
    }
}

/* False: out of memory. */
static bool build_options(struct gateway_options *o, const struct settings *st,
                          struct settings_errors *e)
{
    const struct prefix_list *except = &st->gateway_forwarded_except;
    *o = (struct gateway_options){
        .forwarded_for = st->gateway_forwarded_for,
        .forwarded_proto = st->gateway_forwarded_proto,
        .forwarded_port = st->gateway_forwarded_port,
        .client_cert_field = st->gateway_client_cert_field,
        .connections_max = (size_t)st->gateway_limit_connections,
        .redirect_port = (uint16_t)st->gateway_redirect_port,
    };
    if (o->client_cert_field && st->gateway_client_ca[0] == '\0')
        settings_error(e, settings_where(st, "gateway.client.cert.field"),
                       "has nothing to show without gateway.client.ca: name the CA of the clients' "
                       "certificates, or switch it off");
    add_paths(o, st, e);
    add_names(o, st, e);
    o->forwarded_except = calloc(except->count + 1, sizeof *o->forwarded_except);
    if (o->paths == NULL || o->names == NULL || o->forwarded_except == NULL)
        return false;
    if (except->count > 0)
        memcpy(o->forwarded_except, except->item, except->count * sizeof *except->item);
    o->forwarded_except_count = except->count;
    return true;
}

/* ---- TLS with upstreams ---- */

/* False: told. An empty path reads as nothing. */
static bool read_file(const struct settings *st, int dir, const char *key, const char *path,
                      unsigned flags, struct buf *text, struct settings_errors *e)
{
    const struct snapshot_file f = {settings_where(st, key), path, dir, flags, PEM_FILE_MAX};
    bool good = snapshot_file_read(&f, text, e);
    if (!good || path[0] == '\0' || buf_len(text) > 0)
        return good;
    settings_error(e, f.where, "\"%s\": is empty", path);
    return false;
}

/* Our own certificate, where upstreams want one. False: told. */
static bool add_certificate(struct tls_client *tls, const struct settings *st, int dir,
                            struct settings_errors *e)
{
    const char *cert = st->gateway_upstream_cert, *beside = st->gateway_upstream_key;
    const struct snapshot_key from = {st, "gateway.upstream", dir, e};
    struct tls_provider *provider = NULL;
    struct tls_key *key = NULL;
    char why[256] = "";
    struct buf chain;
    if (cert[0] == '\0' && beside[0] != '\0')
        settings_error(e, settings_where(st, "gateway.upstream.key"),
                       "without gateway.upstream.cert");
    if (cert[0] == '\0')
        return beside[0] == '\0';
    buf_init(&chain, 0);
    bool good = snapshot_key_may_certify(&from, cert) &&
                read_file(st, dir, "gateway.upstream.cert", cert, 0, &chain, e) &&
                snapshot_key_provider(&from, &provider);
    if (good)
        key = snapshot_key_load(&from, provider, beside[0] != '\0' ? "key" : "cert",
                                beside[0] != '\0' ? beside : cert, buf_span(&chain));
    good = key != NULL;
    if (good && tls_client_show(tls, buf_span(&chain), key, why, sizeof why) != 0) {
        settings_error(e, settings_where(st, "gateway.upstream.cert"), "\"%s\": %s", cert, why);
        good = false;
    }
    tls_key_unref(key);
    tls_provider_unref(provider);
    snapshot_file_wipe(&chain);
    return good;
}

/* Owned; NULL after a mistake. */
static struct tls_client *create_tls(const struct settings *st, int dir, struct settings_errors *e)
{
    const char *path = st->gateway_upstream_ca, *why = "";
    struct tls_client *tls = NULL;
    struct buf cas;
    if (read_file(st, dir, "gateway.upstream.ca", path, 0, &cas, e)) {
        tls = tls_client_create(buf_span(&cas), &why);
        if (tls == NULL)
            settings_error(e, settings_where(st, "gateway.upstream.ca"), "\"%s\": %s", path, why);
    }
    buf_release(&cas);
    if (tls != NULL && st->gateway_upstream_resume && !tls_client_resume(tls)) {
        settings_error(e, settings_where(st, "gateway.upstream.resume"), "out of memory");
        tls_client_destroy(tls);
        tls = NULL;
    }
    if (tls != NULL && !add_certificate(tls, st, dir, e)) {
        tls_client_destroy(tls);
        tls = NULL;
    }
    return tls;
}

/* ---- upstreams ---- */

/* "https://host[:port]"; a password has no place in it, nor a priority. */
static int parse_upstream(struct parent *p, const char *text, const char **why)
{
    char whole[PARENT_LABEL_MAX + 16];
    size_t len = strlen(text);
    *why =
        "an upstream is written as https://host or https://host:port: its TLS is verified always";
    if (len < sizeof "https://" || strncasecmp(text, "https://", 8) != 0 ||
        len >= sizeof whole - 8 || strpbrk(text + 8, "@;?#") != NULL)
        return -EINVAL;
    size_t slash = strcspn(text + 8, "/") + 8;
    if (text[slash] != '\0' && text[slash + 1] != '\0') {
        *why = "an upstream has no path: gateway.paths says which are asked for";
        return -EINVAL;
    }
    const char *host = text + 8, *end = text + slash;
    const char *bracket = memchr(host, ']', (size_t)(end - host));
    const char *from = bracket != NULL ? bracket : host;
    bool has_port = memchr(from, ':', (size_t)(end - from)) != NULL;
    (void)snprintf(whole, sizeof whole, "%.*s%s", (int)slash, text, has_port ? "" : ":443");
    return parent_parse(p, span_of(whole), why);
}

/* The Host it is sent. */
static void set_authority(struct parent *p, const char *host)
{
    bool v6 = p->host.kind == HOST_IPV6;
    int len = 0;
    if (host[0] != '\0')
        (void)snprintf(p->authority, sizeof p->authority, "%s", host);
    else
        len = snprintf(p->authority, sizeof p->authority, "%s%s%s", v6 ? "[" : "", p->host.text,
                       v6 ? "]" : "");
    if (host[0] == '\0' && p->port != HTTPS_PORT)
        (void)snprintf(p->authority + len, sizeof p->authority - (size_t)len, ":%u",
                       (unsigned)p->port);
}

/* What can be known of the way to it before anybody asks. */
static const char *way_fault(const struct parent *p, const struct settings *st,
                             const struct policy *policy, const struct parents *parents)
{
    if (parents != NULL && !parents_pass_by(parents, &p->host))
        return "with upstream.proxies the gateway's upstreams must be in no.proxy: it goes to them "
               "directly";
    bool certified = st->gateway_client_ca[0] != '\0' && st->roles.count > 0;
    if (policy == NULL || certified || st->gateway_role[0] != '\0') /* a role has its own rules */
        return NULL;
    enum outcome verdict = policy_request(policy, &p->host, p->port, PROTOCOL_TUNNEL);
    if (verdict == OUTCOME_OK && p->host.kind != HOST_NAME)
        verdict = policy_address(policy, &p->host.addr, NULL);
    if (verdict == OUTCOME_HOST_DENIED || verdict == OUTCOME_LITERAL_DENIED)
        return "not in the allowlist: add it to allowed.hosts in useproxy.properties";
    if (verdict == OUTCOME_PORT_DENIED)
        return "Port not in the allowlist: add it to allowed.connect.ports in useproxy.properties";
    return verdict != OUTCOME_OK ? outcome_info(verdict)->phrase : NULL;
}

static void add_upstreams(struct parents *list, const struct settings *st,
                          const struct policy *policy, const struct parents *parents,
                          struct settings_errors *e)
{
    const char *where = settings_where(st, "gateway.upstreams");
    for (size_t i = 0; i < st->gateway_upstreams.count; i++) {
        const char *text = st->gateway_upstreams.item[i], *why = NULL;
        struct parent p;
        if (parse_upstream(&p, text, &why) == 0)
            why = way_fault(&p, st, policy, parents);
        if (why != NULL) {
            settings_error(e, where, "\"%s\": %s", text, why);
            continue;
        }
        set_authority(&p, st->gateway_upstream_host);
        if (parents_add(list, &p) != 0)
            settings_error(e, where, "\"%s\" stands there twice", text);
    }
}

/* As strict as an upstream, which it stands for, and in the form that goes out: no U-label. */
static void check_host(const struct settings *st, struct settings_errors *e)
{
    const char *text = st->gateway_upstream_host, *why = NULL;
    const char *plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:[]";
    char whole[sizeof "https://" + sizeof((struct parent *)NULL)->authority];
    struct parent p;
    if (text[0] == '\0')
        return;
    (void)snprintf(whole, sizeof whole, "https://%s", text);
    if (strlen(text) >= sizeof p.authority || text[strspn(text, plain)] != '\0' ||
        parse_upstream(&p, whole, &why) != 0)
        settings_error(e, settings_where(st, "gateway.upstream.host"),
                       "\"%s\" is no host or host:port", text);
}

/* Until when upstreams believe us. Without memory for its name nothing is told of it. */
static void note_certificate(struct snapshot_gateway *g, const struct tls_client *tls,
                             const struct settings *st)
{
    struct tls_server_certificate *c = &g->shown;
    if (tls != NULL && tls_client_certificate(tls, &c->not_before, &c->not_after))
        c->name = strdup(st->gateway_upstream_cert);
}

static struct parents *create_list(struct snapshot_gateway *g, const struct settings *st, int dir,
                                   struct settings_errors *e)
{
    struct parents_options o = {
        .origins = true,
        .attempts_max = 1 + (unsigned)st->gateway_retries,
        .attempt_ms = st->gateway_timeout_connect,
        .retry_after_ms = st->upstream_retry_after,
        .retry_max_ms = st->upstream_retry_max,
        .tls = create_tls(st, dir, e),
    };
    note_certificate(g, o.tls, st);
    struct parents *list = parents_create(&o);
    if (list == NULL)
        tls_client_destroy(o.tls);
    return list;
}

/* ---- the whole ---- */

/* Who may come in, for how long, and TLS with them. */
static void build_doors(struct door_options doors[DOOR_COUNT], const struct settings *st, int dir,
                        struct settings_errors *e)
{
    struct door_options *gateway = &doors[DOOR_GATEWAY], *redirect = &doors[DOOR_REDIRECT];
    gateway->idle_ms = redirect->idle_ms = st->gateway_timeout_idle;
    gateway->queue_ms = st->gateway_timeout_queue;
    (void)snapshot_door_clients(redirect, &st->gateway_clients_allow, e);
    if (st->gateway_tls)
        snapshot_tls(gateway, DOOR_GATEWAY, st, dir, e);
    else
        (void)snapshot_door_clients(gateway, &st->gateway_clients_allow, e);
}

void snapshot_gateway(struct snapshot_gateway *g, struct session_options *session,
                      const struct settings *settings, int dir, const struct parents *parents,
                      struct settings_errors *errors)
{
    bool door = settings->gateway_listen.count > 0;
    bool redirect = settings->gateway_redirect_listen.count > 0;
    build_doors(session->door, settings, dir, errors);
    g->check_ms = settings->gateway_check_interval;
    check_host(settings, errors);
    bool good = build_options(&g->options, settings, errors);
    if (settings->gateway_upstreams.count > 0) {
        g->upstreams = create_list(g, settings, dir, errors);
        good = good && g->upstreams != NULL;
    } else if (door) {
        settings_error(errors, settings_where(settings, "gateway.listen"),
                       "needs gateway.upstreams: the servers behind it");
    }
    if (!good)
        settings_error(errors, "configuration", "out of memory");
    if (good && g->upstreams != NULL)
        add_upstreams(g->upstreams, settings, session->policy, parents, errors);
    session->gateway = good && (door || redirect) ? &g->options : NULL;
}

void snapshot_gateway_release(struct snapshot_gateway *g)
{
    paths_destroy(g->options.paths);
    free(g->options.names);
    free(g->options.forwarded_except);
    parents_unref(g->upstreams);
    free(g->shown.name);
    *g = (struct snapshot_gateway){.upstreams = NULL};
}

/* Whether the key names networks, and less than everybody. */
static bool is_narrow(const struct prefix_list *clients)
{
    for (size_t i = 0; i < clients->count; i++) {
        if (clients->item[i].bits == 0)
            return false;
    }
    return clients->count > 0;
}

const char *snapshot_gateway_doubt(const struct settings *st)
{
    bool asked = st->gateway_client_ca[0] != '\0' && st->gateway_client_auth == 0; /* required */
    if (st->gateway_listen.count == 0 || st->gateway_upstream_cert[0] == '\0' || asked ||
        is_narrow(&st->gateway_clients_allow))
        return NULL;
    return "upstreams vouch for whoever comes in, so everybody in clients.allow enrolls in our "
           "name: set gateway.client.ca with gateway.client.auth=required, or give "
           "gateway.clients.allow the devices' networks";
}

void snapshot_gateway_files(const struct settings *settings,
                            void (*on_file)(void *arg, const char *path), void *arg)
{
    const char *const files[] = {settings->gateway_upstream_ca, settings->gateway_upstream_cert,
                                 settings->gateway_upstream_key};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i][0] != '\0')
            on_file(arg, files[i]);
    }
}

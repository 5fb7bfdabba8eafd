#include "proxy/snapshot_tls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "conf/private_file.h"
#include "conf/settings.h"
#include "proxy/base/log.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_server.h"
#include "proxy/snapshot_doors.h"
#include "proxy/snapshot_file.h"
#include "proxy/snapshot_key.h"

enum {
    PEM_FILE_MAX = 4 * 1024 * 1024,
    PAIRS_MAX = 64, /* the tables of keys allow no more */
    CRLS_MAX = 64,
    LISTS = 3, /* of files */
    DAY_S = 24 * 60 * 60,
    WARN_DAYS = 14
};

/* What upstreams see of us is no door's, but its end is told beside theirs. */
#define UPSTREAM "gateway.upstream"

/* One door's keys. */
struct keys {
    const char *prefix;
    const struct text_list *cert, *key, *crl, *listen;
    const struct prefix_list *clients;
    const char *ca, *ciphers;
    unsigned min_version, auth, identity;
    bool ktls;
};

static struct keys keys_of(const struct settings *st, enum door_kind kind)
{
    if (kind == DOOR_TLS)
        return (struct keys){"tls",
                             &st->tls_cert,
                             &st->tls_key,
                             &st->tls_client_crl,
                             &st->tls_listen,
                             &st->tls_clients_allow,
                             st->tls_client_ca,
                             st->tls_ciphers,
                             st->tls_min_version,
                             st->tls_client_auth,
                             st->tls_client_identity,
                             st->tls_ktls};
    return (struct keys){"gateway",
                         &st->gateway_cert,
                         &st->gateway_key,
                         &st->gateway_client_crl,
                         &st->gateway_listen,
                         &st->gateway_clients_allow,
                         st->gateway_client_ca,
                         st->gateway_ciphers,
                         st->gateway_min_version,
                         st->gateway_client_auth,
                         st->gateway_client_identity,
                         st->gateway_ktls};
}

/* What is being made; all texts live until the tls_server is there. */
struct draft {
    const struct settings *settings;
    struct settings_errors *errors;
    struct keys keys;
    int dir;
    struct buf chain[PAIRS_MAX], crl[CRLS_MAX], ca;
    struct tls_provider *provider; /* NULL: keys are in files */
    struct tls_pair pair[PAIRS_MAX];
    size_t pair_count;
    struct span crl_text[CRLS_MAX];
};

/* "tls" and "cert": tls.cert */
static const char *where(const struct draft *d, const char *rest)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%s.%s", d->keys.prefix, rest);
    return settings_where(d->settings, key);
}

/* False: told. */
static bool read_file(const struct draft *d, const char *rest, const char *path, unsigned flags,
                      struct buf *text)
{
    const struct snapshot_file f = {where(d, rest), path, d->dir, flags, PEM_FILE_MAX};
    return snapshot_file_read(&f, text, d->errors);
}

/* ---- keys ---- */

/* The key of the certificate number `i`; NULL: told. */
static struct tls_key *load_key(const struct draft *d, const struct snapshot_key *from, size_t i)
{
    bool beside = d->keys.key->count > 0;
    return snapshot_key_load(from, d->provider, beside ? "key" : "cert",
                             beside ? d->keys.key->item[i] : d->keys.cert->item[i],
                             buf_span(&d->chain[i]));
}

static bool load_pairs(struct draft *d)
{
    const struct text_list *cert = d->keys.cert, *key = d->keys.key;
    if (key->count > 0 && key->count != cert->count) {
        settings_error(d->errors, where(d, "key"),
                       "names %zu files for the %zu of %s.cert: write one for each, or none",
                       key->count, cert->count, d->keys.prefix);
        return false;
    }
    const struct snapshot_key from = {d->settings, d->keys.prefix, d->dir, d->errors};
    bool good = snapshot_key_provider(&from, &d->provider);
    for (size_t i = 0; i < cert->count; i++) {
        const char *path = cert->item[i];
        unsigned flags = key->count == 0 ? PRIVATE_FILE_SECRET : 0;
        struct tls_pair *p = &d->pair[d->pair_count++];
        good = snapshot_key_may_certify(&from, path) &&
               read_file(d, "cert", path, flags, &d->chain[i]) && good;
        p->key = good ? load_key(d, &from, i) : NULL;
        p->chain = buf_span(&d->chain[i]);
        p->name = path;
        good = good && p->key != NULL;
    }
    return good;
}

/* ---- clients ---- */

/* One file at a time, so that its mistake is told of it. */
static bool may_trust(const struct draft *d, const char *rest, const char *path,
                      const struct span *crl)
{
    const char *why = "";
    struct tls_trust *trust = tls_trust_create(buf_span(&d->ca), crl, crl != NULL ? 1 : 0, &why);
    if (trust == NULL)
        settings_error(d->errors, where(d, rest), "\"%s\": %s", path, why);
    tls_trust_destroy(trust);
    return trust != NULL;
}

static bool load_clients(struct draft *d)
{
    const struct text_list *crl = d->keys.crl;
    if (d->keys.ca[0] == '\0' && crl->count > 0) {
        settings_error(d->errors, where(d, "client.crl"),
                       "without %s.client.ca no client certificate is asked for", d->keys.prefix);
        return false;
    }
    bool good = d->keys.ca[0] == '\0' || (read_file(d, "client.ca", d->keys.ca, 0, &d->ca) &&
                                          may_trust(d, "client.ca", d->keys.ca, NULL));
    for (size_t i = 0; i < crl->count; i++) {
        const char *path = crl->item[i];
        good = read_file(d, "client.crl", path, 0, &d->crl[i]) && good;
        d->crl_text[i] = buf_span(&d->crl[i]);
        good = good && may_trust(d, "client.crl", path, &d->crl_text[i]);
    }
    return good;
}

/* ---- the whole ---- */

static struct tls_server *create(const struct draft *d)
{
    static const enum tls_identity identities[] = {TLS_IDENTITY_SUBJECT, TLS_IDENTITY_CN,
                                                   TLS_IDENTITY_DNS, TLS_IDENTITY_URI,
                                                   TLS_IDENTITY_EMAIL};
    char why[512] = "";
    const struct tls_server_options o = {
        .door = d->keys.prefix,
        .pair = d->pair,
        .pair_count = d->pair_count,
        .auth = d->keys.ca[0] == '\0' ? TLS_CLIENT_NONE
                : d->keys.auth == 0   ? TLS_CLIENT_REQUIRED
                                      : TLS_CLIENT_OPTIONAL,
        .identity = identities[d->keys.identity],
        .client_ca = buf_span(&d->ca),
        .client_crl = d->crl_text,
        .client_crl_count = d->keys.crl->count,
        .tls12 = d->keys.min_version == 0,
        .ciphers = d->keys.ciphers,
        .ktls = d->keys.ktls,
    };
    struct tls_server *tls = tls_server_create(&o, why, sizeof why);
    if (tls == NULL)
        settings_error(d->errors, where(d, "cert"), "%s", why);
    return tls;
}

static struct tls_server *build(struct draft *d)
{
    bool good = load_pairs(d);
    good = load_clients(d) && good;
    if (!tls_server_has_ciphers(d->keys.ciphers)) {
        settings_error(d->errors, where(d, "ciphers"),
                       "\"%s\": names none that may be used; leave it empty, or write names "
                       "that openssl ciphers -tls1_2 -s lists",
                       d->keys.ciphers);
        good = false;
    }
    struct tls_server *tls = good ? create(d) : NULL;
    for (size_t i = 0; i < d->pair_count; i++) {
        if (d->pair[i].key != NULL)
            tls_key_unref(d->pair[i].key);
        snapshot_file_wipe(&d->chain[i]);
    }
    tls_provider_unref(d->provider);
    for (size_t i = 0; i < d->keys.crl->count; i++)
        buf_release(&d->crl[i]);
    buf_release(&d->ca);
    return tls;
}

void snapshot_tls(struct door_options *door, enum door_kind kind, const struct settings *settings,
                  int dir, struct settings_errors *errors)
{
    struct draft *d = calloc(1, sizeof *d);
    if (d == NULL) {
        settings_error(errors, "configuration", "out of memory");
        return;
    }
    d->settings = settings;
    d->errors = errors;
    d->keys = keys_of(settings, kind);
    d->dir = dir;
    door->handshake_ms = settings->timeout_tls_handshake;
    (void)snapshot_door_clients(door, d->keys.clients, errors);
    if (d->keys.cert->count > 0)
        door->tls = build(d);
    else if (d->keys.listen->count > 0)
        settings_error(
            errors, where(d, "listen"),
            "needs %s.cert: a PEM file with our certificate and, there or in %s.key, its "
            "key",
            d->keys.prefix, d->keys.prefix);
    free(d);
}

void snapshot_tls_use_tickets(const struct door_options doors[DOOR_COUNT],
                              struct tls_tickets *tickets)
{
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        if (doors[i].tls != NULL)
            tls_server_use_tickets(doors[i].tls, tickets);
    }
}

void snapshot_tls_release(struct door_options doors[DOOR_COUNT])
{
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        tls_server_unref(doors[i].tls);
        doors[i].tls = NULL;
    }
}

/* ---- what may change by itself ---- */

void snapshot_tls_files(const struct settings *settings,
                        void (*on_file)(void *arg, const char *path), void *arg)
{
    static const enum door_kind kinds[] = {DOOR_TLS, DOOR_GATEWAY};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const struct keys keys = keys_of(settings, kinds[k]);
        const struct text_list *const lists[LISTS] = {keys.cert, keys.key, keys.crl};
        for (size_t l = 0; l < LISTS; l++) {
            for (size_t i = 0; i < lists[l]->count; i++) {
                if (snapshot_key_is_file(lists[l]->item[i]))
                    on_file(arg, lists[l]->item[i]);
            }
        }
        if (keys.ca[0] != '\0')
            on_file(arg, keys.ca);
    }
}

bool snapshot_tls_wants_kernel(const struct settings *settings)
{
    return (settings->tls_listen.count > 0 && settings->tls_ktls) ||
           (settings->gateway_listen.count > 0 && settings->gateway_cert.count > 0 &&
            settings->gateway_ktls);
}

/* Two weeks, but a certificate that lives shorter than ten is not always about to expire. */
static bool is_near(int64_t from, int64_t until, int64_t now)
{
    int64_t fifth = (until - from) / 5;
    return until - now < (fifth < WARN_DAYS * DAY_S ? fifth : WARN_DAYS * DAY_S);
}

static void warn(const char *door, const char *what, const char *name, int64_t until, int64_t now)
{
    char when[32];
    struct tm tm;
    time_t at = (time_t)until;
    (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", gmtime_r(&at, &tm));
    log_line(LOG_WARNING, "%s: %s%s%s%s %s %s: put a new one in its place", door, what,
             name[0] != '\0' ? " \"" : "", name, name[0] != '\0' ? "\"" : "",
             until <= now ? "has expired on" : "expires on", when);
}

static void warn_of_one(const char *door, const struct tls_server_certificate *c, int64_t now)
{
    if (is_near(c->not_before, c->not_after, now))
        warn(door, "certificate", c->name, c->not_after, now);
    else if (c->not_before > now)
        log_line(LOG_WARNING, "%s: certificate \"%s\" is not valid yet", door, c->name);
}

void snapshot_tls_warn(const struct door_options doors[DOOR_COUNT],
                       const struct tls_server_certificate *shown, int64_t now)
{
    if (shown->name != NULL)
        warn_of_one(UPSTREAM, shown, now);
    for (size_t k = 0; k < DOOR_COUNT; k++) {
        const struct tls_server_certificate *c;
        const char *door = door_name((enum door_kind)k);
        if (doors[k].tls == NULL)
            continue;
        size_t count = tls_server_certificates(doors[k].tls, &c);
        for (size_t i = 0; i < count; i++)
            warn_of_one(door, &c[i], now);
        int64_t crl_until = tls_server_crl_until(doors[k].tls);
        if (crl_until != 0 && crl_until <= now)
            warn(door, "a CRL, without which no client certificate is believed,", "", crl_until,
                 now);
    }
}

static int print_one(struct buf *out, const char *door, const struct tls_server_certificate *c)
{
    int rc = buf_printf(out, "certferry_tls_certificate_not_after_seconds{door=\"%s\",name=", door);
    if (rc == 0)
        rc = log_json_string(out, span_of(c->name));
    return rc == 0 ? buf_printf(out, "} %" PRId64 "\n", c->not_after) : rc;
}

int snapshot_tls_print(struct buf *out, const struct door_options doors[DOOR_COUNT],
                       const struct tls_server_certificate *shown)
{
    int rc = buf_add_str(out, "# HELP certferry_tls_certificate_not_after_seconds Until when our "
                              "certificates are good, Unix time.\n"
                              "# TYPE certferry_tls_certificate_not_after_seconds gauge\n");
    for (size_t k = 0; k < DOOR_COUNT && rc == 0; k++) {
        const struct tls_server_certificate *c;
        size_t count = doors[k].tls != NULL ? tls_server_certificates(doors[k].tls, &c) : 0;
        for (size_t i = 0; i < count && rc == 0; i++)
            rc = print_one(out, door_name((enum door_kind)k), &c[i]);
    }
    if (rc == 0 && shown->name != NULL)
        rc = print_one(out, UPSTREAM, shown);
    if (rc == 0)
        rc = buf_add_str(out, "# HELP certferry_tls_crl_next_update_seconds When the first CRL of "
                              "clients is too old, Unix time.\n"
                              "# TYPE certferry_tls_crl_next_update_seconds gauge\n");
    for (size_t k = 0; k < DOOR_COUNT && rc == 0; k++) {
        int64_t until = doors[k].tls != NULL ? tls_server_crl_until(doors[k].tls) : 0;
        if (until != 0)
            rc = buf_printf(out, "certferry_tls_crl_next_update_seconds{door=\"%s\"} %" PRId64 "\n",
                            door_name((enum door_kind)k), until);
    }
    return rc;
}

#include "proxy/snapshot_upstream.h"
#include "proxy/snapshot_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/private_file.h"
#include "conf/settings.h"

_Static_assert(PARENTS_MAX >= 64, "as many as upstream.proxies may hold");

enum { CREDENTIALS_FILE_MAX = 64 * 1024, CA_FILE_MAX = 4 * 1024 * 1024 };

/* What is written down, until it is a list. */
struct draft {
    const struct settings *settings;
    struct settings_errors *errors;
    struct parent parent[PARENTS_MAX];
    size_t count;
    bool tls; /* one of them, at least, is written as https:// */
};

/*
 * "...@host:port" for messages. Whatever stands before the last "@" may be a password, and so may
 * the rest when it does not look like a port: a comma in a password makes two entries of one.
 */
static const char *without_password(const char *text, char *out, size_t size)
{
    const char *at = strrchr(text, '@');
    const char *shown = at != NULL ? at + 1 : text;
    const char *slashes = strstr(shown, "//");
    const char *host = slashes != NULL ? slashes + 2 : shown;
    const char *port = host[0] == '[' ? strstr(host, "]:") : strchr(host, ':');
    port = port != NULL && *port == ']' ? port + 1 : port;
    size_t digits = port != NULL ? strspn(port + 1, "0123456789") : 0;
    bool plain = digits > 0 && strchr("/;", port[1 + digits]) != NULL; /* or nothing behind them */
    (void)snprintf(out, size, "%s%.200s", at != NULL ? "...@" : "", plain ? shown : "...");
    return out;
}

/* A password in a file that everybody can read is none. */
static void check_place_of_password(const struct draft *d, int dir)
{
    const char *why = "", *file = settings_set_in(d->settings, "upstream.proxies");
    struct buf nothing;
    buf_init(&nothing, 0);
    int rc = file != NULL ? private_file_read(dir, file, PRIVATE_FILE_SECRET, &nothing, &why) : 0;
    buf_release(&nothing);
    if (rc != 0)
        settings_error(d->errors, settings_where(d->settings, "upstream.proxies"),
                       "holds a password, but of its file: %s; or move the password to "
                       "upstream.credentials.file",
                       rc == -EPERM ? why : strerror(-rc));
}

static void add_proxies(struct draft *d, int dir)
{
    const char *where = settings_where(d->settings, "upstream.proxies");
    const char *why = "";
    bool password = false;
    char shown[256];
    for (size_t i = 0; i < d->settings->upstream_proxies.count; i++) {
        const char *text = d->settings->upstream_proxies.item[i];
        struct parent *p = &d->parent[d->count];
        if (parent_parse(p, span_of(text), &why) != 0) {
            settings_error(d->errors, where, "entry %zu, \"%s\": %s", i + 1,
                           without_password(text, shown, sizeof shown), why);
        } else {
            d->tls = d->tls || p->tls;
            password = password || p->authorization[0] != '\0';
            d->count++;
        }
    }
    if (password)
        check_place_of_password(d, dir);
}

/* ---- upstream.credentials.file ---- */

/* "host:port user:password" */
static const char *apply_line(struct draft *d, struct span line)
{
    char url[PARENT_LABEL_MAX];
    const char *why = "";
    struct parent named;
    size_t len = 0;
    bool found = false;
    while (len < line.len && line.ptr[len] != ' ' && line.ptr[len] != '\t')
        len++;
    size_t at = len;
    while (at < line.len && (line.ptr[at] == ' ' || line.ptr[at] == '\t'))
        at++;
    if (len + sizeof "http://" > sizeof url || at == line.len)
        return "a line is host:port user:password";
    (void)snprintf(url, sizeof url, "http://%.*s", (int)len, line.ptr);
    if (parent_parse(&named, span_of(url), &why) != 0)
        return why;
    for (size_t i = 0; i < d->count; i++) {
        struct parent *p = &d->parent[i];
        if (p->port != named.port || strcmp(p->host.text, named.host.text) != 0)
            continue;
        if (parent_set_credentials(p, (struct span){line.ptr + at, line.len - at}, &why) != 0)
            return why;
        found = true;
    }
    return found ? NULL : "upstream.proxies names no such host and port";
}

static void apply_lines(struct draft *d, struct span text)
{
    const char *path = d->settings->upstream_credentials_file;
    for (unsigned number = 1; text.len > 0; number++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
        struct span line = {text.ptr, len};
        size_t used = end != NULL ? len + 1 : len;
        text = (struct span){text.ptr + used, text.len - used};
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        const char *why = apply_line(d, line);
        if (why != NULL) {
            char where[PATH_MAX + 32];
            (void)snprintf(where, sizeof where, "%s:%u", path, number);
            settings_error(d->errors, where, "%s", why);
        }
    }
}

static void add_credentials(struct draft *d, int dir)
{
    const char *path = d->settings->upstream_credentials_file;
    struct buf text;
    if (path[0] == '\0')
        return;
    const struct snapshot_file f = {settings_where(d->settings, "upstream.credentials.file"), path,
                                    dir, PRIVATE_FILE_SECRET, CREDENTIALS_FILE_MAX};
    if (snapshot_file_read(&f, &text, d->errors))
        apply_lines(d, buf_span(&text));
    snapshot_file_wipe(&text);
}

/* ---- no.proxy ---- */

static void add_direct(const struct draft *d, struct rules *names, struct prefix *networks,
                       size_t *network_count)
{
    for (size_t i = 0; i < d->settings->no_proxy.count; i++) {
        const char *text = d->settings->no_proxy.item[i], *why = "";
        int rc = prefix_parse(&networks[*network_count], span_of(text));
        if (rc == 0) {
            (*network_count)++;
            continue;
        }
        if (rc == -ERANGE)
            why = "bits behind the prefix are set";
        else if (strcmp(text, "*") == 0)
            why = "for every host to be reached directly leave upstream.proxies empty";
        else if (strchr(text, '.') == NULL) /* localhost and the like: no domain */
            rc = rules_add_host(names, span_of(text), &why);
        else
            rc = rules_add_domain(names, span_of(text), &why);
        if (rc != 0)
            settings_error(d->errors, settings_where(d->settings, "no.proxy"), "\"%s\": %s", text,
                           why);
    }
}

/* ---- TLS ---- */

/* Owned; NULL when it is not needed, or after a mistake. */
static struct tls_client *create_tls(const struct draft *d, int dir)
{
    const char *path = d->settings->upstream_ca, *why = "";
    struct tls_client *tls = NULL;
    struct buf cas;
    if (!d->tls && path[0] == '\0')
        return NULL;
    buf_init(&cas, CA_FILE_MAX);
    int rc = path[0] != '\0' ? private_file_read(dir, path, 0, &cas, &why) : 0;
    if (rc == 0 && path[0] != '\0' && buf_len(&cas) == 0)
        rc = -ENODATA;
    if (rc == 0)
        tls = tls_client_create(buf_span(&cas), &why);
    if (tls == NULL)
        settings_error(d->errors, settings_where(d->settings, "upstream.ca"), "\"%s\": %s", path,
                       rc == 0 || rc == -EPERM ? why
                       : rc == -EISDIR         ? "is no regular file"
                       : rc == -ENODATA        ? "is empty"
                                               : strerror(-rc));
    buf_release(&cas);
    return tls;
}

/* NULL when out of memory. */
static struct parents *create_list(const struct draft *d, int dir)
{
    const struct settings *st = d->settings;
    struct rules *names = rules_create();
    struct prefix *networks = calloc(st->no_proxy.count + 1, sizeof *networks);
    struct parents_options o = {
        .attempt_ms = st->upstream_attempt_timeout,
        .retry_after_ms = st->upstream_retry_after,
        .retry_max_ms = st->upstream_retry_max,
        .direct = names,
        .direct_networks = networks,
        .tls = create_tls(d, dir),
    };
    struct parents *list = NULL;
    if (names != NULL && networks != NULL) {
        add_direct(d, names, networks, &o.direct_network_count);
        list = parents_create(&o);
    }
    if (list == NULL) {
        rules_destroy(names);
        tls_client_destroy(o.tls);
    }
    free(networks);
    return list;
}

/* ---- the whole ---- */

static struct parents *build(struct draft *d, int dir)
{
    add_proxies(d, dir);
    add_credentials(d, dir);
    struct parents *list = create_list(d, dir);
    if (list == NULL)
        settings_error(d->errors, "upstream.proxies", "out of memory");
    for (size_t i = 0; list != NULL && i < d->count; i++) {
        if (parents_add(list, &d->parent[i]) == -EEXIST)
            settings_error(d->errors, settings_where(d->settings, "upstream.proxies"),
                           "\"%s\" stands there twice", d->parent[i].label);
    }
    if (list != NULL && d->settings->upstream_proxies.count == 0) {
        parents_unref(list); /* looked at for its mistakes only: without parents all is direct */
        list = NULL;
    }
    return list;
}

struct parents *snapshot_upstream(const struct settings *settings, int dir,
                                  struct settings_errors *errors)
{
    struct draft *d = calloc(1, sizeof *d);
    if (d == NULL) {
        settings_error(errors, "upstream.proxies", "out of memory");
        return NULL;
    }
    d->settings = settings;
    d->errors = errors;
    struct parents *list = build(d, dir);
    for (size_t i = 0; i < d->count; i++)
        parent_wipe(&d->parent[i]);
    free(d);
    return list;
}

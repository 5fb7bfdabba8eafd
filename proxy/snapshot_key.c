#include "proxy/snapshot_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/private_file.h"
#include "conf/settings.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_provider.h"
#include "proxy/snapshot_file.h"

enum {
    KEY_FILE_MAX = 4 * 1024 * 1024,
    CONFIGURATION_FILE_MAX = 1024 * 1024,
    PIN_FILE_MAX = 4096,
    WHY_MAX = 1536
};

/* One user's keys. */
struct keys {
    const char *prefix;
    const char *provider, *path, *config, *query, *pin_file, *pin_env;
    uint64_t queue;
};

static struct keys keys_of(const struct snapshot_key *from)
{
    const struct settings *st = from->settings;
    const struct keys all[] = {
        {"tls", st->tls_provider, st->tls_provider_path, st->tls_provider_config, st->tls_propquery,
         st->tls_pin_file, st->tls_pin_env, st->tls_handshake_queue},
        {"gateway", st->gateway_provider, st->gateway_provider_path, st->gateway_provider_config,
         st->gateway_propquery, st->gateway_pin_file, st->gateway_pin_env,
         st->gateway_handshake_queue},
        {"gateway.upstream", st->gateway_upstream_provider, st->gateway_upstream_provider_path,
         st->gateway_upstream_provider_config, st->gateway_upstream_propquery,
         st->gateway_upstream_pin_file, st->gateway_upstream_pin_env,
         st->gateway_upstream_handshake_queue},
    };
    size_t i = sizeof all / sizeof *all - 1;
    while (i > 0 && strcmp(all[i].prefix, from->prefix) != 0)
        i--;
    return all[i];
}

static const char *where(const struct snapshot_key *from, const char *rest)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%s.%s", from->prefix, rest);
    return settings_where(from->settings, key);
}

/* A private file that may be `max` octets long. False: told. */
static bool read_file(const struct snapshot_key *from, const char *rest, const char *path,
                      size_t max, struct buf *text)
{
    const struct snapshot_file f = {where(from, rest), path, from->dir, PRIVATE_FILE_SECRET, max};
    return snapshot_file_read(&f, text, from->errors);
}

/* ---- the provider ---- */

/* An editor's line end is no part of a PIN. */
static struct span without_line_end(struct span text)
{
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
        text.len--;
    return text;
}

/* `file` is the caller's to wipe. False: told. */
static bool read_pin(const struct snapshot_key *from, const struct keys *k, struct buf *file,
                     struct span *pin)
{
    *pin = SPAN("");
    if (k->pin_file[0] != '\0' && k->pin_env[0] != '\0') {
        settings_error(from->errors, where(from, "pin.env"), "%s.pin.file is set too: use one",
                       k->prefix);
        return false;
    }
    if (k->pin_file[0] != '\0') {
        if (!read_file(from, "pin.file", k->pin_file, PIN_FILE_MAX, file))
            return false;
        *pin = without_line_end(buf_span(file));
    } else if (k->pin_env[0] != '\0') {
        const char *text = getenv(k->pin_env);
        *pin = span_of(text != NULL ? text : "");
    } else {
        return true;
    }
    const char *rest = k->pin_file[0] != '\0' ? "pin.file" : "pin.env";
    if (pin->len == 0)
        settings_error(from->errors, where(from, rest), "\"%s\" holds no PIN",
                       k->pin_file[0] != '\0' ? k->pin_file : k->pin_env);
    return pin->len > 0;
}

static bool is_full_path(const struct snapshot_key *from, const char *rest, const char *path)
{
    if (path[0] == '\0' || path[0] == '/')
        return true;
    settings_error(from->errors, where(from, rest), "\"%s\" is no full path: it must begin with /",
                   path);
    return false;
}

/* Modules are code: whoever can put one there is the service. */
static bool check_directory(const struct snapshot_key *from, const char *path)
{
    const char *why = "";
    if (!is_full_path(from, "provider.path", path) || path[0] == '\0')
        return path[0] == '\0';
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 ? private_directory_check(fd, &why) : -errno;
    if (fd >= 0)
        (void)close(fd);
    if (rc != 0)
        settings_error(from->errors, where(from, "provider.path"), "\"%s\": %s", path,
                       rc == -EPERM ? why : strerror(-rc));
    return rc == 0;
}

/* The PIN itself, and not "file:" with its place. */
static bool has_pin(struct span text)
{
    static const char key[] = "pkcs11-module-token-pin", file[] = "file:";
    const char *at = text.len > 0 ? memmem(text.ptr, text.len, key, strlen(key)) : NULL;
    while (at != NULL) {
        struct span rest = {at + strlen(key), text.len - (size_t)(at - text.ptr) - strlen(key)};
        while (rest.len > 0 && strchr(" \t=", *rest.ptr) != NULL)
            rest = (struct span){rest.ptr + 1, rest.len - 1};
        if (rest.len < strlen(file) || memcmp(rest.ptr, file, strlen(file)) != 0)
            return true;
        text = rest;
        at = memmem(text.ptr, text.len, key, strlen(key));
    }
    return false;
}

/* It names modules, which are code, and may hold a PIN. */
static bool check_configuration(const struct snapshot_key *from, const char *path)
{
    struct snapshot_file f = {where(from, "provider.config"), path, from->dir, 0,
                              CONFIGURATION_FILE_MAX};
    struct buf text;
    if (!is_full_path(from, "provider.config", path))
        return false;
    bool good = snapshot_file_read(&f, &text, from->errors);
    bool secret = good && has_pin(buf_span(&text));
    snapshot_file_wipe(&text);
    if (!secret)
        return good;
    f.flags = PRIVATE_FILE_SECRET;
    good = snapshot_file_read(&f, &text, from->errors);
    snapshot_file_wipe(&text);
    return good;
}

/*
 * The provider tpm2 reads its TPM's address from the environment and nowhere else, and the
 * environment is not to be changed once there are threads: so the first value counts.
 */
static void set_tcti(const struct settings *st)
{
    static bool is_set;
    if (is_set)
        return;
    is_set = true;
    if (st->tls_tpm_tcti[0] != '\0')
        (void)setenv("TPM2OPENSSL_TCTI", st->tls_tpm_tcti, 1);
    (void)setenv("TSS2_LOG", "all+none", 0); /* its libraries write to standard error */
}

static bool open_provider(const struct snapshot_key *from, const struct keys *k, struct span pin,
                          struct tls_provider **provider)
{
    char why[WHY_MAX];
    const struct tls_provider_options o = {
        .names = k->provider,
        .path = k->path,
        .config = k->config,
        .query = k->query,
        .pin = pin,
        .queue_max = (size_t)k->queue,
        .patience_ms = from->settings->tls_provider_timeout,
    };
    *provider = tls_provider_open(&o, why, sizeof why);
    if (*provider == NULL)
        settings_error(from->errors, where(from, "provider"), "\"%s\": %s", k->provider, why);
    return *provider != NULL;
}

bool snapshot_key_provider(const struct snapshot_key *from, struct tls_provider **provider)
{
    const struct keys k = keys_of(from);
    struct buf file;
    struct span pin;
    *provider = NULL;
    set_tcti(from->settings); /* also for a provider that a reload may bring */
    if (k.provider[0] == '\0')
        return true;
    buf_init(&file, 0);
    bool good = check_directory(from, k.path);
    good = check_configuration(from, k.config) && good;
    good = read_pin(from, &k, &file, &pin) && good;
    good = good && open_provider(from, &k, pin, provider);
    snapshot_file_wipe(&file);
    return good;
}

/* ---- keys ---- */

static uint64_t refused_before; /* PINs, when the snapshot was begun */

bool snapshot_key_is_file(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    return len == 0 || text[len] != ':';
}

/* What a URI begins with: the rest may hold what is to stand in no log. */
static int scheme_length(const char *uri)
{
    return (int)strcspn(uri, ":") + 1;
}

/* Whether it may be a URI of ours. False: told. */
static bool check_uri(const struct snapshot_key *from, const char *rest, const char *uri,
                      const struct tls_provider *provider)
{
    if (strcasestr(uri, "pin-value") != NULL) {
        settings_error(from->errors, where(from, rest),
                       "\"%.*s...\": a PIN does not belong here, where everybody may read it: use "
                       "%s.pin.file or %s.pin.env",
                       scheme_length(uri), uri, from->prefix, from->prefix);
        return false;
    }
    if (provider == NULL)
        settings_error(from->errors, where(from, rest),
                       "\"%s\": a URI needs the provider that knows it, as tpm2 or pkcs11: name it "
                       "in %s.provider",
                       uri, from->prefix);
    return provider != NULL;
}

bool snapshot_key_may_certify(const struct snapshot_key *from, const char *text)
{
    if (snapshot_key_is_file(text))
        return true;
    settings_error(from->errors, where(from, "cert"),
                   "\"%.*s...\": certificates are read from files, only their keys may be in a "
                   "device: write it to a PEM file and name that",
                   scheme_length(text), text);
    return false;
}

/* Files of devices' keys tell which. */
static const char *provider_for(struct span pem)
{
    static const struct {
        const char *begin, *name;
    } known[] = {{"-----BEGIN TSS2 PRIVATE KEY", "tpm2"},
                 {"-----BEGIN PKCS#11 PROVIDER URI", "pkcs11"}};
    for (size_t i = 0; pem.len > 0 && i < sizeof known / sizeof *known; i++) {
        if (memmem(pem.ptr, pem.len, known[i].begin, strlen(known[i].begin)) != NULL)
            return known[i].name;
    }
    return NULL;
}

static struct tls_key *load_file_key(const struct snapshot_key *from, struct span pem,
                                     char why[WHY_MAX])
{
    const char *name = provider_for(pem);
    if (name == NULL)
        return tls_key_from_pem(pem, why, WHY_MAX);
    (void)snprintf(why, WHY_MAX, "it is the key of a device: %s.provider=%s can use it",
                   from->prefix, name);
    return NULL;
}

/* One wrong PIN, not one for each door that has it: a token locks itself after a few. */
static struct tls_key *load_device_key(struct tls_provider *provider,
                                       const struct tls_key_place *place, char why[WHY_MAX])
{
    if (tls_provider_pins_refused() == refused_before)
        return tls_key_from_provider(provider, place, why, WHY_MAX);
    (void)snprintf(why, WHY_MAX,
                   "not tried, since a PIN was in vain just now and the device may lock itself: "
                   "mend that first");
    return NULL;
}

void snapshot_key_begin(void)
{
    refused_before = tls_provider_pins_refused();
}

struct tls_key *snapshot_key_load(const struct snapshot_key *from, struct tls_provider *provider,
                                  const char *rest, const char *text, struct span certificate)
{
    char why[WHY_MAX] = "";
    struct buf pem;
    struct tls_key *key = NULL;
    bool is_file = snapshot_key_is_file(text);
    buf_init(&pem, 0);
    if (is_file ? read_file(from, rest, text, KEY_FILE_MAX, &pem)
                : check_uri(from, rest, text, provider)) {
        const struct tls_key_place place = {from->prefix, is_file ? NULL : text, buf_span(&pem),
                                            certificate};
        key = provider != NULL ? load_device_key(provider, &place, why)
                               : load_file_key(from, buf_span(&pem), why);
        if (key == NULL)
            settings_error(from->errors, where(from, rest), "\"%s\": %s%s", text, why,
                           strcmp(rest, "cert") != 0
                               ? ""
                               : "; without a key file of its own the certificate's must hold the "
                                 "key");
    }
    snapshot_file_wipe(&pem);
    return key;
}

#include "proxy/net/tls_provider.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/storeerr.h>
#include <openssl/ui.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/metrics.h"
#include "proxy/net/tls_provider_impl.h"

/* All that there are, until their last reference is given back; and who hears of losses. */
static struct {
    pthread_mutex_t lock;
    struct list providers;
    void (*on_lost)(void *arg);
    void *arg;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER, .providers = {&known.providers, &known.providers}};
static _Atomic uint64_t lost_count, refused_count;

/* ---- what OpenSSL says ---- */

/* Whether what a provider says of an error, a whole URI perhaps, must not stand in a log. */
static bool tells_pin(const struct tls_provider *p, const char *data)
{
    return strcasestr(data, "pin-value") != NULL ||
           (p->pin_len > 0 && memmem(data, strlen(data), p->pin, p->pin_len) != NULL);
}

/* Each loader of a store is asked for each URI; those who do not know it say so first. */
static bool is_cause(unsigned long error)
{
    return ERR_GET_LIB(error) != ERR_LIB_OSSL_STORE ||
           ERR_GET_REASON(error) != OSSL_STORE_R_UNREGISTERED_SCHEME;
}

void tls_provider_first_error(const struct tls_provider *p, char *out, size_t size)
{
    const char *data = NULL;
    int flags = 0;
    while (!is_cause(ERR_peek_error()))
        (void)ERR_get_error();
    unsigned long error = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    const char *reason = ERR_reason_error_string(error);
    bool has_data =
        data != NULL && data[0] != '\0' && (flags & ERR_TXT_STRING) != 0 && !tells_pin(p, data);
    (void)snprintf(out, size, "%s%s%s%s", reason != NULL ? reason : "no reason given",
                   has_data ? " (" : "", has_data ? data : "", has_data ? ")" : "");
    ERR_clear_error();
}

/* Of a configuration only where it is wrong: OpenSSL repeats what stands there, perhaps a PIN. */
static void tell_configuration(const struct tls_provider *p, char *why, size_t size)
{
    static const char line[] = "line ";
    const char *data = NULL, *at = NULL;
    int flags = 0;
    const char *reason =
        ERR_reason_error_string(ERR_get_error_all(NULL, NULL, NULL, &data, &flags));
    bool is_text = data != NULL && (flags & ERR_TXT_STRING) != 0;
    for (const char *next = is_text ? strstr(data, line) : NULL; next != NULL;
         next = strstr(next + 1, line))
        at = next;
    unsigned long number = at != NULL ? strtoul(at + strlen(line), NULL, 10) : 0;
    (void)snprintf(why, size, "\"%s\" is no OpenSSL configuration: %s", p->config,
                   reason != NULL ? reason : "no reason given");
    size_t used = strlen(why);
    if (number > 0)
        (void)snprintf(why + used, size - used, " in line %lu", number);
    ERR_clear_error();
}

bool tls_provider_blames(const struct tls_provider *p, unsigned long error)
{
    const char *library = ERR_lib_error_string(error);
    for (size_t i = 0; library != NULL && i < p->name_count; i++) {
        if (strcmp(library, p->name[i]) == 0)
            return true;
    }
    return false;
}

bool tls_provider_has_name(const struct tls_provider *p, const char *name)
{
    for (size_t i = 0; i < p->name_count; i++) {
        if (strcmp(p->name[i], name) == 0)
            return true;
    }
    return false;
}

/* ---- the provider, on the thread ---- */

static bool load_one(struct tls_provider *p, const char *name, char *why, size_t size)
{
    char reason[256];
    OSSL_PROVIDER *loaded = OSSL_PROVIDER_load(p->lib, name);
    if (loaded != NULL)
        p->loaded[p->loaded_count++] = loaded;
    if (loaded != NULL && OSSL_PROVIDER_available(p->lib, name) == 1)
        return true;
    tls_provider_first_error(p, reason, sizeof reason);
    (void)snprintf(why, size,
                   "provider %s cannot be loaded: %s; is its package (tpm2-openssl, "
                   "pkcs11-provider) installed, and does its device answer?%s",
                   name, reason,
                   strcmp(name, "tpm2") == 0 ? " tls.tpm.tcti says where it is, and the service "
                                               "user must be able to open that"
                                             : "");
    return false;
}

/* `default` first: of what both can do OpenSSL takes the first, and a TPM would do all hashing. */
static bool load_all(struct tls_provider *p, char *why, size_t size)
{
    p->lib = OSSL_LIB_CTX_new();
    (void)snprintf(why, size, "out of memory");
    if (p->lib == NULL ||
        (p->path[0] != '\0' && OSSL_PROVIDER_set_default_search_path(p->lib, p->path) != 1))
        return false;
    if (!load_one(p, "default", why, size))
        return false;
    if (p->config[0] != '\0' && OSSL_LIB_CTX_load_config(p->lib, p->config) != 1) {
        tell_configuration(p, why, size);
        return false;
    }
    for (size_t i = 0; i < p->name_count; i++) {
        if (!load_one(p, p->name[i], why, size))
            return false;
    }
    return true;
}

static void unload_all(struct tls_provider *p)
{
    while (p->loaded_count > 0)
        (void)OSSL_PROVIDER_unload(p->loaded[--p->loaded_count]);
    OSSL_LIB_CTX_free(p->lib);
    p->lib = NULL;
    ERR_clear_error();
}

/* At once, not with its last user: many devices let nobody in before we have left. */
static void lose(struct tls_provider *p)
{
    atomic_store(&p->lost, true);
    tls_thread_refuse(p->thread);
    while (!list_empty(&p->keys))
        tls_device_key_close(LIST_ITEM(p->keys.next, struct tls_device_key, node));
    unload_all(p);
    (void)atomic_fetch_add(&lost_count, 1);
    (void)pthread_mutex_lock(&known.lock);
    if (known.on_lost != NULL)
        known.on_lost(known.arg);
    (void)pthread_mutex_unlock(&known.lock);
}

bool tls_provider_suspect(struct tls_provider *p)
{
    bool suspicious = false;
    for (unsigned long error = ERR_get_error(); error != 0; error = ERR_get_error())
        suspicious = suspicious || tls_provider_blames(p, error);
    if (atomic_load(&p->lost))
        return true;
    if (!suspicious)
        return false;
    LIST_EACH (at, &p->keys) {
        const struct tls_device_key *k = LIST_ITEM(at, struct tls_device_key, node);
        if (tls_device_key_signs(k))
            continue;
        lose(p);
        break;
    }
    ERR_clear_error();
    return atomic_load(&p->lost);
}

static void free_provider(struct tls_job *job)
{
    struct tls_provider *p = LIST_ITEM(job, struct tls_provider, end);
    if (p->pin != NULL)
        OPENSSL_cleanse(p->pin, p->pin_len);
    free(p->pin);
    free(p->names);
    free(p->path);
    free(p->config);
    free(p->query);
    free(p);
}

static void run_end(struct tls_job *job)
{
    unload_all(LIST_ITEM(job, struct tls_provider, end));
    OPENSSL_thread_stop();
}

/* ---- loading, with patience ---- */

void tls_loading_dispose(struct tls_job *job)
{
    struct tls_loading *l = LIST_ITEM(job, struct tls_loading, job);
    struct tls_provider *p = l->provider;
    (void)pthread_mutex_lock(&known.lock);
    p->stalled = false;
    (void)pthread_mutex_unlock(&known.lock);
    tls_device_key_unref(l->made);
    EVP_PKEY_free(l->public_key);
    if (l->pem != NULL)
        OPENSSL_cleanse(l->pem, l->pem_len);
    free(l->pem);
    free(l->uri);
    free(l);
    tls_provider_unref(p);
}

struct tls_loading *tls_loading_create(struct tls_provider *p, void (*run)(struct tls_job *))
{
    struct tls_loading *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->job = (struct tls_job){.run = run, .dispose = tls_loading_dispose};
    l->provider = tls_provider_ref(p);
    return l;
}

bool tls_loading_await(struct tls_loading *l, char *why, size_t size)
{
    struct tls_provider *p = l->provider;
    (void)pthread_mutex_lock(&known.lock);
    p->stalled = true;
    (void)pthread_mutex_unlock(&known.lock);
    if (tls_thread_call(p->thread, &l->job, p->patience_ms) != 0) {
        (void)snprintf(why, size,
                       "the device has not answered within %llu ms (tls.provider.timeout): does it "
                       "stand still, or is another program at it?",
                       (unsigned long long)p->patience_ms);
        return false;
    }
    (void)pthread_mutex_lock(&known.lock);
    p->stalled = false;
    (void)pthread_mutex_unlock(&known.lock);
    if (l->good)
        return true;
    (void)snprintf(why, size, "%s", l->why);
    tls_loading_dispose(&l->job);
    return false;
}

static void run_open(struct tls_job *job)
{
    struct tls_loading *l = LIST_ITEM(job, struct tls_loading, job);
    ERR_clear_error();
    l->good = load_all(l->provider, l->why, sizeof l->why);
    ERR_clear_error();
}

/* ---- opening ---- */

static bool split_names(struct tls_provider *p)
{
    const char *at = p->names;
    while (*at != '\0') {
        size_t len = strcspn(at, ", ");
        if (len >= TLS_PROVIDER_NAME_MAX || (len > 0 && p->name_count == TLS_PROVIDER_NAMES_MAX))
            return false;
        if (len > 0)
            (void)snprintf(p->name[p->name_count++], TLS_PROVIDER_NAME_MAX, "%.*s", (int)len, at);
        at += len + (at[len] != '\0');
    }
    return p->name_count > 0;
}

static struct tls_provider *create(const struct tls_provider_options *o)
{
    struct tls_provider *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    list_init(&p->node);
    list_init(&p->keys);
    atomic_init(&p->lost, false);
    p->refs = 1;
    p->names = strdup(o->names);
    p->path = strdup(o->path);
    p->config = strdup(o->config);
    p->query = strdup(o->query);
    p->pin = malloc(o->pin.len + 1);
    p->pin_len = o->pin.len;
    p->queue_max = o->queue_max;
    p->patience_ms = o->patience_ms;
    p->end = (struct tls_job){.run = run_end, .dispose = free_provider};
    bool good = p->names != NULL && p->path != NULL && p->config != NULL && p->query != NULL &&
                p->pin != NULL;
    if (p->pin != NULL && o->pin.len > 0)
        memcpy(p->pin, o->pin.ptr, o->pin.len);
    if (good && split_names(p))
        p->thread = tls_thread_create(o->queue_max);
    if (p->thread != NULL)
        return p;
    free_provider(&p->end);
    return NULL;
}

static bool is_same(const struct tls_provider *p, const struct tls_provider_options *o)
{
    return strcmp(p->names, o->names) == 0 && strcmp(p->path, o->path) == 0 &&
           strcmp(p->config, o->config) == 0 && strcmp(p->query, o->query) == 0 &&
           p->pin_len == o->pin.len &&
           (p->pin_len == 0 || CRYPTO_memcmp(p->pin, o->pin.ptr, p->pin_len) == 0) &&
           p->queue_max == o->queue_max && !atomic_load(&p->lost);
}

/* A reference to one that is open already. `*stalled`: it is still being opened, in vain so far. */
static struct tls_provider *find(const struct tls_provider_options *o, bool *stalled)
{
    struct tls_provider *found = NULL;
    *stalled = false;
    (void)pthread_mutex_lock(&known.lock);
    LIST_EACH (at, &known.providers) {
        struct tls_provider *p = LIST_ITEM(at, struct tls_provider, node);
        if (!is_same(p, o))
            continue;
        *stalled = p->stalled;
        if (!p->stalled) {
            p->refs++;
            found = p;
        }
        break;
    }
    (void)pthread_mutex_unlock(&known.lock);
    return found;
}

struct tls_provider *tls_provider_open(const struct tls_provider_options *options, char *why,
                                       size_t size)
{
    bool stalled;
    struct tls_provider *p = find(options, &stalled);
    if (p != NULL)
        return p;
    if (stalled) {
        (void)snprintf(why, size,
                       "the device has not answered yet, since it was asked last: does it stand "
                       "still, or is another program at it?");
        return NULL;
    }
    UI_set_default_method(UI_null());                    /* nothing may ask at a terminal */
    (void)tls_threads_wait(options->patience_ms, false); /* our predecessor may be on its way */
    (void)snprintf(
        why, size,
        "with seccomp=on the first provider needs a restart; else memory or threads have "
        "run out");
    p = create(options);
    if (p == NULL)
        return NULL;
    (void)pthread_mutex_lock(&known.lock);
    list_append(&known.providers, &p->node);
    (void)pthread_mutex_unlock(&known.lock);
    struct tls_loading *l = tls_loading_create(p, run_open);
    bool good = l != NULL && tls_loading_await(l, why, size);
    if (good)
        tls_loading_dispose(&l->job);
    else
        tls_provider_unref(p);
    return good ? p : NULL;
}

struct tls_provider *tls_provider_ref(struct tls_provider *p)
{
    (void)pthread_mutex_lock(&known.lock);
    p->refs++;
    (void)pthread_mutex_unlock(&known.lock);
    return p;
}

void tls_provider_unref(struct tls_provider *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&known.lock);
    bool last = --p->refs == 0;
    if (last)
        list_remove(&p->node);
    (void)pthread_mutex_unlock(&known.lock);
    if (last)
        tls_thread_end(p->thread, &p->end);
}

struct tls_thread *tls_provider_thread(struct tls_provider *p)
{
    return p->thread;
}

bool tls_provider_is_lost(const struct tls_provider *p)
{
    return atomic_load(&p->lost);
}

void tls_provider_watch(void (*on_lost)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&known.lock);
    known.on_lost = on_lost;
    known.arg = arg;
    (void)pthread_mutex_unlock(&known.lock);
}

bool tls_provider_is_any(void)
{
    (void)pthread_mutex_lock(&known.lock);
    bool any = !list_empty(&known.providers);
    (void)pthread_mutex_unlock(&known.lock);
    return any;
}

struct errand {
    struct tls_job job;
    void (*run)(void *arg);
    void *arg;
};

static void run_errand(struct tls_job *job)
{
    const struct errand *e = LIST_ITEM(job, struct errand, job);
    e->run(e->arg);
}

static void free_errand(struct tls_job *job)
{
    free(LIST_ITEM(job, struct errand, job));
}

void tls_provider_on_threads(void (*run)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&known.lock);
    LIST_EACH (at, &known.providers) {
        struct errand *e = calloc(1, sizeof *e);
        if (e == NULL)
            abort(); /* at start: it would go on unconfined */
        *e = (struct errand){{.run = run_errand, .dispose = free_errand}, run, arg};
        tls_thread_put(LIST_ITEM(at, struct tls_provider, node)->thread, &e->job);
    }
    (void)pthread_mutex_unlock(&known.lock);
}

void tls_provider_count_refused(void)
{
    (void)atomic_fetch_add(&refused_count, 1);
}

uint64_t tls_provider_pins_refused(void)
{
    return atomic_load(&refused_count);
}

int tls_provider_print(struct buf *out)
{
    return buf_printf(out,
                      "# HELP certferry_tls_devices_lost_total Times the device of a TLS key was "
                      "lost.\n"
                      "# TYPE certferry_tls_devices_lost_total counter\n"
                      "certferry_tls_devices_lost_total %llu\n",
                      (unsigned long long)atomic_load(&lost_count));
}

/*
 * tls_provider_impl.h - what the two files of a device's provider share: tls_provider.c (open,
 * lost, closed) and tls_device_key.c (its keys).
 *
 * Nobody else includes this. On the provider's thread, but for what is said otherwise.
 */
#ifndef CERTFERRY_NET_TLS_PROVIDER_IMPL_H
#define CERTFERRY_NET_TLS_PROVIDER_IMPL_H

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdatomic.h>

#include "proxy/base/list.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_thread.h"

enum {
    TLS_PROVIDER_NAMES_MAX = 8,
    TLS_PROVIDER_NAME_MAX = 64,
    TLS_DEVICE_KEY_PLACE = 32,
};

/* All but what is said otherwise belongs to the provider's thread. */
struct tls_provider {
    struct list node; /* of all that there are, with `refs` and `stalled`, under their lock */
    unsigned refs;
    bool stalled; /* who opened it, or a key of it, has not waited for the end */
    char *names, *path, *config, *query;
    char *pin;
    size_t pin_len, queue_max;
    uint64_t patience_ms;
    struct tls_thread *thread;
    atomic_bool lost;
    OSSL_LIB_CTX *lib;
    char name[TLS_PROVIDER_NAMES_MAX][TLS_PROVIDER_NAME_MAX];
    OSSL_PROVIDER *loaded[TLS_PROVIDER_NAMES_MAX + 1]; /* the first is `default` */
    size_t name_count, loaded_count;
    unsigned pin_asked; /* while a key is loaded */
    struct list keys;
    struct tls_job end;
};

struct tls_device_key {
    atomic_uint refs;
    struct tls_provider *provider; /* a reference */
    struct list node;
    unsigned char place[TLS_DEVICE_KEY_PLACE]; /* digest of the URI or text it was loaded from */
    EVP_PKEY *key;                             /* NULL: lost */
    EVP_PKEY *public_key;                      /* for test signatures */
    const char *query;                         /* the provider's or static; "": none */
    struct tls_job end;
};

/* What somebody waits for, with patience: the provider's opening, or a key's loading. */
struct tls_loading {
    struct tls_job job;
    struct tls_provider *provider; /* a reference */
    const char *prefix;            /* tls_key_place's */
    char *uri;                     /* owned, as all below */
    char *pem;
    size_t pem_len;
    EVP_PKEY *public_key;
    struct tls_device_key *made; /* a reference */
    bool good;
    char why[1024];
};

/* ---- tls_provider.c ---- */

/* Whoever opens or loads. NULL: out of memory. */
struct tls_loading *tls_loading_create(struct tls_provider *p, void (*run)(struct tls_job *));

/* The same. Takes `l` unless it succeeds. */
bool tls_loading_await(struct tls_loading *l, char *why, size_t size);
void tls_loading_dispose(struct tls_job *job); /* any thread */

/* Empties OpenSSL's queue of errors into words: the first is the cause, those behind it its
 * consequences. No PIN is in them. */
void tls_provider_first_error(const struct tls_provider *p, char *out, size_t size);

/* A key was not loaded though the PIN was given. */
void tls_provider_count_refused(void);

/* Whether the error was raised by a provider of the device. */
bool tls_provider_blames(const struct tls_provider *p, unsigned long error);
bool tls_provider_has_name(const struct tls_provider *p, const char *name);

/* ---- tls_device_key.c ---- */

/* Whether it still does. */
bool tls_device_key_signs(const struct tls_device_key *k);

/* The device is lost, or nobody wants the key any more. */
void tls_device_key_close(struct tls_device_key *k);

#endif

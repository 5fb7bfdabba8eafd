/*
 * tls_key.h - a private key for TLS: from a PEM file, or by OSSL_STORE from a TPM or an HSM.
 *
 * A key of a provider lives in an OSSL_LIB_CTX of its listener's own, so that the rest of the
 * process never meets the provider, and its handshakes go on a thread of its own (tls_thread.h).
 * Counted. Making: main thread. Using and counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_KEY_H
#define CERTFERRY_NET_TLS_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* ---- a listener's provider ---- */

struct tls_provider; /* an OSSL_LIB_CTX with what was loaded into it, and a thread; counted */

struct tls_provider_options {
    const char *names;  /* comma-separated, loaded behind `default`: "tpm2", "pkcs11"; never "" */
    const char *path;   /* directory of provider modules; "": OpenSSL's */
    const char *config; /* full path of an OpenSSL configuration for it alone; "": none */
    const char *propquery;      /* for the SSL_CTX: "?tpm2.signature"; "": none */
    struct span pin;            /* copied, and wiped at the end; empty: none */
    size_t queue_max;           /* handshakes that may wait */
    uint64_t patience_ms;       /* for one answer of the device while we start */
    void (*on_lost)(void *arg); /* any thread, once: the device is gone; build everything anew */
    void *arg;
};

/* Returns owned; NULL with a reason and what to do in `why`. */
struct tls_provider *tls_provider_create(const struct tls_provider_options *options, char *why,
                                         size_t size);
struct tls_provider *tls_provider_ref(struct tls_provider *p);
void tls_provider_unref(struct tls_provider *p);

/* ---- a key ---- */

struct tls_key;

/* From the text of a PEM file, in OpenSSL's default context. NULL with a reason in `why`. */
struct tls_key *tls_key_from_pem(struct span pem, char *why, size_t size);

/*
 * From a path, "file:", "handle:", "pkcs11:" or whatever else OSSL_STORE opens with the provider.
 * Signs once to see that it can: a wrong password shows only then. NULL with a reason in `why`.
 */
struct tls_key *tls_key_from_provider(struct tls_provider *p, const char *uri, char *why,
                                      size_t size);
struct tls_key *tls_key_ref(struct tls_key *k);
void tls_key_unref(struct tls_key *k);

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

/* Borrowed. The provider is NULL for keys of files. */
struct evp_pkey_st *tls_key_pkey(const struct tls_key *k);
struct tls_provider *tls_key_provider(const struct tls_key *k);

struct ossl_lib_ctx_st; /* OpenSSL's OSSL_LIB_CTX */

/* For the SSL_CTX and the certificates of that key (SSL_CTX_new_ex, X509_new_ex); both NULL for
 * keys of files. Borrowed. */
struct ossl_lib_ctx_st *tls_key_library(const struct tls_key *k);
const char *tls_key_propquery(const struct tls_key *k);

#endif

/*
 * tls_provider.h - an OpenSSL provider that keeps keys in a device (tpm2, pkcs11), in a library
 * context and on a thread of its own.
 *
 * The rest of the process never meets the provider: it is loaded, asked and thrown away on its
 * thread (tls_thread.h) alone, whatever the device takes for an answer. Doors and snapshots that
 * want the same get the same one, since many devices know one user at a time. Once a signature
 * fails it is lost for ever, and closed, so that another one can be opened. Opening: one
 * thread at a time. Counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_PROVIDER_H
#define CERTFERRY_NET_TLS_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/span.h"

struct tls_provider;
struct tls_thread;

struct tls_provider_options {
    const char *names;    /* comma-separated, loaded behind `default`: "tpm2", "pkcs11"; never "" */
    const char *path;     /* directory of provider modules; "": OpenSSL's */
    const char *config;   /* full path of an OpenSSL configuration for it alone; "": none */
    const char *query;    /* property query for its signatures; "": what is found to work */
    struct span pin;      /* copied, and wiped at the end; empty: none */
    size_t queue_max;     /* handshakes that may wait */
    uint64_t patience_ms; /* for one answer of the device while we load */
};

/* Returns owned; NULL with a reason and what to do in `why`. */
struct tls_provider *tls_provider_open(const struct tls_provider_options *options, char *why,
                                       size_t size);
struct tls_provider *tls_provider_ref(struct tls_provider *p);
void tls_provider_unref(struct tls_provider *p);

/* Borrowed. */
struct tls_thread *tls_provider_thread(struct tls_provider *p);

/* Any thread. */
bool tls_provider_is_lost(const struct tls_provider *p);

/*
 * On its thread, after a handshake failed, with OpenSSL's errors still in the queue: if the device
 * may be to blame it must sign once more, or it is lost. Whether it is.
 */
bool tls_provider_suspect(struct tls_provider *p);

/* Whether there is any; and `run` on the threads of all there are, before what else they do. */
bool tls_provider_is_any(void);
void tls_provider_on_threads(void (*run)(void *arg), void *arg);

/* The loss of one, any, is told here, on its thread; NULL: nobody listens any more. */
void tls_provider_watch(void (*on_lost)(void *arg), void *arg);

/*
 * How many loads of keys have failed, since the start, after the device had asked for the PIN and
 * got it. It is wrong then, as far as anybody can tell, and each further try brings the device
 * nearer to locking itself for good. Any thread.
 */
uint64_t tls_provider_pins_refused(void);

/* How many have been lost since the start, as a metric. 0, -ENOBUFS or -ENOMEM. Any thread. */
int tls_provider_print(struct buf *out);

/* ---- keys ---- */

struct tls_device_key; /* counted */
struct evp_pkey_st;    /* OpenSSL's EVP_PKEY */

/* Where a key of a provider is. */
struct tls_key_place {
    const char *prefix;      /* static: of the keys that a remedy names: "tls", "gateway" */
    const char *uri;         /* "handle:", "pkcs11:" and so on; NULL: it is in `pem` */
    struct span pem;         /* "TSS2 PRIVATE KEY", "PKCS#11 PROVIDER URI", whatever it decodes */
    struct span certificate; /* PEM; the first one is the key's */
};

/*
 * The private key at that place, if by URI whatever OSSL_STORE opens there. It signs once to see
 * that it can, and that it is the half of `public_key`: a wrong password may show only then.
 * Returns owned; NULL with a reason in `why`.
 */
struct tls_device_key *tls_device_key_load(struct tls_provider *p,
                                           const struct tls_key_place *place,
                                           struct evp_pkey_st *public_key, char *why, size_t size);
void tls_device_key_unref(struct tls_device_key *k);

struct evp_md_ctx_st;
struct evp_pkey_ctx_st;
struct ossl_param_st;

/* Begins a signature on the provider's thread. False: not there, or lost. */
bool tls_device_key_begin(struct tls_device_key *k, struct evp_md_ctx_st *digest,
                          struct evp_pkey_ctx_st **pctx, const char *digest_name,
                          const struct ossl_param_st *params);

#endif

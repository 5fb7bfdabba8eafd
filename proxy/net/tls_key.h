/*
 * tls_key.h - a private key for TLS: from a PEM file, or in a TPM or an HSM.
 *
 * Either fits into any SSL_CTX: signatures of a device's key are sent on to its provider
 * (tls_forward.h). Handshakes that need one must be made on the provider's thread
 * (tls_offload.h). Counted. Making: one thread at a time. Using and counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_KEY_H
#define CERTFERRY_NET_TLS_KEY_H

#include <stddef.h>

#include "proxy/base/span.h"

struct tls_key;
struct tls_key_place; /* tls_provider.h */
struct tls_provider;

/* From the text of a PEM file. NULL with a reason in `why`. */
struct tls_key *tls_key_from_pem(struct span pem, char *why, size_t size);

/* Signs once to see that it can, and as the certificate says. NULL with a reason in `why`. */
struct tls_key *tls_key_from_provider(struct tls_provider *p, const struct tls_key_place *place,
                                      char *why, size_t size);

/* NULL is harmless. */
struct tls_key *tls_key_ref(struct tls_key *k);
void tls_key_unref(struct tls_key *k);

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

/* Borrowed. The provider is NULL for keys of files. */
struct evp_pkey_st *tls_key_pkey(const struct tls_key *k);
struct tls_provider *tls_key_provider(const struct tls_key *k);

#endif

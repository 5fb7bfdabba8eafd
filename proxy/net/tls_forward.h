/*
 * tls_forward.h - a private key whose signatures another key makes, perhaps in another library
 * context, as an EVP_PKEY that fits into any SSL_CTX.
 *
 * So the rest of TLS - key exchange, the client's certificates, tickets - stays in OpenSSL's own
 * software, with any provider and without a property query: keys of a TPM would otherwise draw all
 * of that to the TPM, and a provider that exports the public half of a key as the whole
 * (tpm2-openssl 1.1.1) would fail. It is a small provider of ours, which knows RSA and EC keys, and
 * signing. Making, using: any thread that the signing key can bear.
 */
#ifndef CERTFERRY_NET_TLS_FORWARD_H
#define CERTFERRY_NET_TLS_FORWARD_H

#include <stdbool.h>

struct evp_pkey_st; /* OpenSSL's EVP_PKEY, EVP_PKEY_CTX, EVP_MD_CTX and OSSL_PARAM */
struct evp_pkey_ctx_st;
struct evp_md_ctx_st;
struct ossl_param_st;

struct tls_forward_to {
    /* EVP_DigestSignInit_ex() with the key that signs. False: it cannot. */
    bool (*begin)(void *owner, struct evp_md_ctx_st *digest, struct evp_pkey_ctx_st **pctx,
                  const char *digest_name, const struct ossl_param_st *params);
    /* Once, when nothing uses the new key any more. Any thread. */
    void (*unref)(void *owner);
    void *owner;
};

/*
 * `public_key` is what the signatures verify with, from the certificate: a reference is taken, and
 * `to->owner` with success only. Returns owned; NULL for other kinds of keys, or without memory.
 */
struct evp_pkey_st *tls_forward_create(struct evp_pkey_st *public_key,
                                       const struct tls_forward_to *to);

#endif

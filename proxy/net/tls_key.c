#include "proxy/net/tls_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/net/tls_forward.h"
#include "proxy/net/tls_provider.h"

struct tls_key {
    atomic_uint refs;
    EVP_PKEY *pkey;
    struct tls_provider *provider; /* a reference */
};

/* Takes `pkey`, and `provider` unless NULL. NULL without memory. */
static struct tls_key *create(EVP_PKEY *pkey, struct tls_provider *provider)
{
    struct tls_key *k = calloc(1, sizeof *k);
    if (k == NULL) {
        EVP_PKEY_free(pkey);
        tls_provider_unref(provider);
        return NULL;
    }
    atomic_init(&k->refs, 1);
    k->pkey = pkey;
    k->provider = provider;
    return k;
}

/* Nobody is at a terminal. */
static int on_passphrase(char *to, int size, int writes, void *asked)
{
    (void)to;
    (void)size;
    (void)writes;
    *(bool *)asked = true;
    return -1;
}

struct tls_key *tls_key_from_pem(struct span pem, char *why, size_t size)
{
    bool asked = false;
    BIO *text = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *pkey =
        text != NULL ? PEM_read_bio_PrivateKey(text, NULL, on_passphrase, &asked) : NULL;
    BIO_free(text);
    ERR_clear_error();
    if (pkey == NULL) {
        (void)snprintf(why, size, "%s",
                       asked ? "the key is encrypted: decrypt it with openssl pkey, and let nobody "
                               "else read the file"
                             : "holds no private key in PEM form");
        return NULL;
    }
    (void)snprintf(why, size, "out of memory");
    return create(pkey, NULL);
}

/* ---- of a device ---- */

static EVP_PKEY *public_key_of(struct span certificate)
{
    BIO *text = BIO_new_mem_buf(certificate.ptr, (int)certificate.len);
    X509 *x = text != NULL ? PEM_read_bio_X509(text, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = x != NULL ? X509_get_pubkey(x) : NULL;
    X509_free(x);
    BIO_free(text);
    ERR_clear_error();
    return key;
}

static bool begin(void *owner, EVP_MD_CTX *digest, EVP_PKEY_CTX **pctx, const char *digest_name,
                  const OSSL_PARAM *params)
{
    return tls_device_key_begin(owner, digest, pctx, digest_name, params);
}

static void unref(void *owner)
{
    tls_device_key_unref(owner);
}

static EVP_PKEY *load(struct tls_provider *p, const struct tls_key_place *place,
                      EVP_PKEY *public_key, char *why, size_t size)
{
    struct tls_forward_to to = {.begin = begin, .unref = unref};
    if (!EVP_PKEY_is_a(public_key, "RSA") && !EVP_PKEY_is_a(public_key, "EC")) {
        (void)snprintf(why, size, "a key of a provider must be RSA or EC, and this is %s",
                       EVP_PKEY_get0_type_name(public_key));
        return NULL;
    }
    to.owner = tls_device_key_load(p, place, public_key, why, size);
    if (to.owner == NULL)
        return NULL;
    EVP_PKEY *pkey = tls_forward_create(public_key, &to);
    (void)snprintf(why, size, "out of memory");
    if (pkey == NULL)
        tls_device_key_unref(to.owner);
    return pkey;
}

struct tls_key *tls_key_from_provider(struct tls_provider *p, const struct tls_key_place *place,
                                      char *why, size_t size)
{
    EVP_PKEY *public_key = public_key_of(place->certificate);
    if (public_key == NULL) {
        (void)snprintf(why, size,
                       "its certificate cannot be read: it must be the first of its file");
        return NULL;
    }
    EVP_PKEY *pkey = load(p, place, public_key, why, size);
    EVP_PKEY_free(public_key);
    ERR_clear_error();
    return pkey != NULL ? create(pkey, tls_provider_ref(p)) : NULL;
}

struct tls_key *tls_key_ref(struct tls_key *k)
{
    if (k != NULL)
        (void)atomic_fetch_add(&k->refs, 1);
    return k;
}

void tls_key_unref(struct tls_key *k)
{
    if (k == NULL || atomic_fetch_sub(&k->refs, 1) > 1)
        return;
    EVP_PKEY_free(k->pkey);
    tls_provider_unref(k->provider);
    free(k);
}

EVP_PKEY *tls_key_pkey(const struct tls_key *k)
{
    return k->pkey;
}

struct tls_provider *tls_key_provider(const struct tls_key *k)
{
    return k->provider;
}

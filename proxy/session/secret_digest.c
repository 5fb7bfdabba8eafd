#include "proxy/session/secret_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

/* HMAC() would look the algorithm up by its name each time, for half of what a digest costs. */
static EVP_MAC_CTX *keyed(const unsigned char *octet, size_t size)
{
    char hash[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", hash, 0),
                                 OSSL_PARAM_END};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac); /* the context has a reference of its own */
    if (ctx != NULL && EVP_MAC_init(ctx, octet, size, params) == 1)
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

bool secret_digest_key_make(struct secret_digest_key *key)
{
    unsigned char octet[32];
    key->mac = NULL;
    if (getrandom(octet, sizeof octet, 0) == (ssize_t)sizeof octet)
        key->mac = keyed(octet, sizeof octet);
    OPENSSL_cleanse(octet, sizeof octet);
    return key->mac != NULL;
}

void secret_digest_key_release(struct secret_digest_key *key)
{
    EVP_MAC_CTX_free(key->mac);
    key->mac = NULL;
}

bool secret_digest_make(const struct secret_digest_key *key, const void *data, size_t len,
                        unsigned char digest[SECRET_DIGEST_OCTETS])
{
    size_t size = 0;
    EVP_MAC_CTX *own = EVP_MAC_CTX_dup(key->mac); /* the key's is only read: any thread may */
    bool made = own != NULL && EVP_MAC_update(own, data, len) == 1 &&
                EVP_MAC_final(own, digest, &size, SECRET_DIGEST_OCTETS) == 1 &&
                size == SECRET_DIGEST_OCTETS;
    EVP_MAC_CTX_free(own);
    return made;
}

bool secret_same(const char *a, const char *b)
{
    size_t len = strlen(a);
    return strlen(b) == len && CRYPTO_memcmp(a, b, len) == 0;
}

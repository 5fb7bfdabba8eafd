#include "proxy/session/secret_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>

bool secret_digest_key_make(struct secret_digest_key *key)
{
    return getrandom(key->octet, sizeof key->octet, 0) == (ssize_t)sizeof key->octet;
}

bool secret_digest_make(const struct secret_digest_key *key, const void *data, size_t len,
                        unsigned char digest[SECRET_DIGEST_OCTETS])
{
    return HMAC(EVP_sha256(), key->octet, sizeof key->octet, data, len, digest, NULL) != NULL;
}

bool secret_same(const char *a, const char *b)
{
    size_t len = strlen(a);
    return strlen(b) == len && CRYPTO_memcmp(a, b, len) == 0;
}

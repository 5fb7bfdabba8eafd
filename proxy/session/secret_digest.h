/*
 * secret_digest.h - digests that only this process can make, so that a secret need not be kept to
 * be known again; and comparing without telling by the time where two texts differ.
 *
 * HMAC-SHA-256 under a random key. Making digests and comparing: any thread.
 */
#ifndef CERTFERRY_SESSION_SECRET_DIGEST_H
#define CERTFERRY_SESSION_SECRET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

enum { SECRET_DIGEST_OCTETS = 32 };

struct evp_mac_ctx_st; /* OpenSSL's EVP_MAC_CTX */

struct secret_digest_key {
    struct evp_mac_ctx_st *mac; /* with the key in it; never changed any more */
};

/* False, with nothing to release, when out of memory, or the system has no random octets. */
bool secret_digest_key_make(struct secret_digest_key *key);

void secret_digest_key_release(struct secret_digest_key *key);

/* False when out of memory. */
bool secret_digest_make(const struct secret_digest_key *key, const void *data, size_t len,
                        unsigned char digest[SECRET_DIGEST_OCTETS]);

/* Takes as long for equal texts as for different ones of the same length. */
bool secret_same(const char *a, const char *b);

#endif

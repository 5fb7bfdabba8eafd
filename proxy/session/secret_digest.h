/*
 * secret_digest.h - digests that only this process can make, so that a secret need not be kept to
 * be known again; and comparing without telling by the time where two texts differ.
 *
 * HMAC-SHA-256 under a random key. Any thread.
 */
#ifndef CERTFERRY_SESSION_SECRET_DIGEST_H
#define CERTFERRY_SESSION_SECRET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

enum { SECRET_DIGEST_OCTETS = 32 };

struct secret_digest_key {
    unsigned char octet[32];
};

/* False when the system has no random octets to give. */
bool secret_digest_key_make(struct secret_digest_key *key);

/* False when out of memory. */
bool secret_digest_make(const struct secret_digest_key *key, const void *data, size_t len,
                        unsigned char digest[SECRET_DIGEST_OCTETS]);

/* Takes as long for equal texts as for different ones of the same length. */
bool secret_same(const char *a, const char *b);

#endif

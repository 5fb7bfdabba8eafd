/*
 * signature_impl.h - what making and verifying signatures share.
 */
#ifndef CERTFERRY_FAILOVER_SIGNATURE_IMPL_H
#define CERTFERRY_FAILOVER_SIGNATURE_IMPL_H

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "failover/signature.h"
#include "proxy/base/buf.h"

enum {
    SIGNATURE_RSA_BITS_MIN = 2048,
    SIGNATURE_RSA_BITS_MAX = 8192,
    SIGNATURE_OCTETS_MAX = SIGNATURE_RSA_BITS_MAX / 8,
    SIGNATURE_COORDINATE = 32 /* octets of each half of an ES256 signature */
};

#define SIGNATURE_TYPE "pvd+json" /* `typ`: application/pvd+json (RFC 7515 section 4.1.9) */

struct signature_trust {
    EVP_PKEY *key[SIGNATURE_TRUSTED_MAX]; /* of certificates too */
    size_t key_count;
    X509_STORE *store;
};

/* The key decides, never the header. NULL with `*why`: none that we sign with. */
const char *signature_algorithm(EVP_PKEY *key, const char **why);
const EVP_MD *signature_digest(EVP_PKEY *key);

/* BASE64URL(header) "." BASE64URL(text): what is signed (RFC 7515 section 5.1). Fills `out`, which
 * is to be released in any case. `header` is in base64url already. 0, -ENOBUFS or -ENOMEM. */
int signature_input(struct buf *out, struct span header, struct span text);

#endif

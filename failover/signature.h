/*
 * signature.h - who made a roster document: a detached JSON Web Signature over its exact octets
 * (RFC 7515 appendix F).
 *
 * The document goes over plain HTTP, so anybody on the way could write another. The signature
 * travels in a response field:
 *
 *     Certferry-Signature: BASE64URL(protected header)..BASE64URL(signature)
 *
 * The protected header names the algorithm, which is the key's own (ES256: P-256, RS256: RSA of
 * 2048 bits and more, EdDSA: Ed25519; RFC 7518 section 3, RFC 8037 section 3.1), `typ` "pvd+json",
 * so that nothing else that this key signs is taken for a roster, `kid`, the SHA-256 of the public
 * key (DER), and, if the signer has certificates, `x5c`, the signer's first.
 *
 * Of the wire's own words nothing is believed before the signature is: the reader's trust says
 * which keys may sign. No sockets, no files, no clock. Any thread once made.
 */
#ifndef CERTFERRY_FAILOVER_SIGNATURE_H
#define CERTFERRY_FAILOVER_SIGNATURE_H

#include <time.h>

#include "proxy/base/span.h"

#define SIGNATURE_FIELD "Certferry-Signature"

enum {
    SIGNATURE_FIELD_MAX = 16384,    /* octets of the field's value, certificates included */
    SIGNATURE_CERTIFICATES_MAX = 8, /* of a chain */
    SIGNATURE_TRUSTED_MAX = 64,     /* certificates and keys of a trust */
    SIGNATURE_PEM_MAX = 256 * 1024  /* octets of a PEM file */
};

/* A private key and the protected header that goes with it. */
struct signature_key;

/*
 * `key` is PEM (not encrypted), `certificates` PEM too: the key's own first, then those that
 * certify it; may be empty. Returns owned in `*out`. 0; -EINVAL with `*why` (static); -ENOMEM.
 */
int signature_key_create(struct signature_key **out, struct span key, struct span certificates,
                         const char **why);
void signature_key_destroy(struct signature_key *k);

/* The field's value for `text`. Returns owned in `*out`. 0, -ENOMEM, or -EIO (the key cannot sign).
 */
int signature_make(char **out, const struct signature_key *key, struct span text);

/* Whom to believe: public keys and certificates. */
struct signature_trust;

/* Reads all of PEM's "PUBLIC KEY" and "CERTIFICATE", at least one. Returns owned in `*out`. 0;
 * -EINVAL with `*why` (static); -ENOMEM. */
int signature_trust_create(struct signature_trust **out, struct span pem, const char **why);
void signature_trust_destroy(struct signature_trust *t);

/*
 * Whether `field` signs `text` and one of these is true of the signer:
 * - its key is one of the trust's, or of one of its certificates (whatever their dates);
 * - its certificate (`x5c`) leads to a certificate of the trust, holds at `now`, may be used for
 *   signatures, and names `host`, the one that was asked, itself and not by a wildcard: whoever
 *   else has a certificate of the same CA is not believed. `host` NULL: only keys count.
 * 0; -EPERM with `*why` (static); -ENOMEM.
 */
int signature_verify(const struct signature_trust *t, struct span text, struct span field,
                     const char *host, time_t now, const char **why);

#endif

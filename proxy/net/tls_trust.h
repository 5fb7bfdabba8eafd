/*
 * tls_trust.h - which client certificates are believed, and who they say the client is.
 *
 * A chain ends at any certificate of the CA file, also at one that another CA has certified, so
 * that an operator can believe one issuing CA alone. Immutable. Making: main thread. Using: any
 * thread.
 */
#ifndef CERTFERRY_NET_TLS_TRUST_H
#define CERTFERRY_NET_TLS_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

struct tls_trust;

/* OpenSSL's SSL_CTX, X509 and STACK_OF(X509). */
struct ssl_ctx_st;
struct x509_st;
struct stack_st_X509;

/*
 * Of the PEM certificates in `cas`, and the PEM CRLs in `crls`; with CRLs, each CA on the way below
 * the believed one needs a present one. Returns owned; NULL with `*why` (static).
 */
struct tls_trust *tls_trust_create(struct span cas, const struct span *crls, size_t crl_count,
                                   const char **why);
void tls_trust_destroy(struct tls_trust *t);

/* From now on `ctx` asks clients for a certificate. */
void tls_trust_apply(const struct tls_trust *t, struct ssl_ctx_st *ctx, bool required);

/* Whether a client's certificate, with what it has sent along (NULL: nothing), is believed now.
 * False: `*why` (static). */
bool tls_trust_verify(const struct tls_trust *t, struct x509_st *certificate,
                      struct stack_st_X509 *chain, const char **why);

/* The earliest (Unix time) of `until`, the ends of what is in the verified `chain` (or NULL), and
 * that of the CRLs. */
int64_t tls_trust_until(const struct tls_trust *t, const struct stack_st_X509 *chain,
                        int64_t until);

/* When the first CRL is too old; 0: there are none. */
int64_t tls_trust_crl_until(const struct tls_trust *t);

/* ---- who it is ---- */

/* Where in a client's certificate its identity stands. */
enum tls_identity {
    TLS_IDENTITY_SUBJECT, /* the whole distinguished name, as RFC 4514 writes it */
    TLS_IDENTITY_CN,      /* its common name; of several the last */
    TLS_IDENTITY_DNS,     /* the first subjectAltName of that kind, in lower case; and so below */
    TLS_IDENTITY_URI,
    TLS_IDENTITY_EMAIL,
};

enum { TLS_IDENTITY_MAX = 255 /* octets; a longer one is none */ };

/* NUL-terminated printable ASCII. False: the certificate has none of that kind. */
bool tls_trust_identity(const struct x509_st *certificate, enum tls_identity kind,
                        char identity[TLS_IDENTITY_MAX + 1]);

#endif

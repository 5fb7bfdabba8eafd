/*
 * tls_pem.h - the certificates and CRLs of a PEM text: all of them or a reason. A damaged one is
 * not the end of the list, or a CA behind it would be forgotten without a word.
 *
 * What else stands in the text (keys, words) is passed over. Any thread.
 */
#ifndef CERTFERRY_NET_TLS_PEM_H
#define CERTFERRY_NET_TLS_PEM_H

#include <stdint.h>

#include "proxy/base/span.h"

/* OpenSSL's STACK_OF(X509) and STACK_OF(X509_CRL), and ASN1_TIME. */
struct stack_st_X509;
struct stack_st_X509_CRL;
struct asn1_string_st;

/* Return owned, with one at least, in the text's order; NULL with `*why` (static). */
struct stack_st_X509 *tls_pem_certificates(struct span text, const char **why);
struct stack_st_X509_CRL *tls_pem_crls(struct span text, const char **why);

/* A date in one of them as Unix time; `otherwise`: it is missing (NULL) or none. */
int64_t tls_pem_time(const struct asn1_string_st *at, int64_t otherwise);

#endif

#include "proxy/net/tls_pem.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <time.h>

static BIO *open_text(struct span text)
{
    ERR_clear_error();
    return text.len <= INT_MAX ? BIO_new_mem_buf(text.ptr, (int)text.len) : NULL;
}

/* Whether nothing more of the kind was there when reading came to its end. */
static bool is_whole(void)
{
    unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

STACK_OF(X509) * tls_pem_certificates(struct span text, const char **why)
{
    BIO *from = open_text(text);
    STACK_OF(X509) *list = sk_X509_new_null();
    X509 *next = NULL;
    *why = "out of memory";
    bool good = from != NULL && list != NULL;
    while (good && (next = PEM_read_bio_X509(from, NULL, NULL, NULL)) != NULL)
        good = sk_X509_push(list, next) > 0 || (X509_free(next), false);
    if (good) {
        good = is_whole() && sk_X509_num(list) > 0;
        *why = is_whole() ? "holds no certificate in PEM form"
                          : "holds a certificate that cannot be read: damaged, or cut off";
    }
    BIO_free(from);
    ERR_clear_error();
    if (good)
        return list;
    sk_X509_pop_free(list, X509_free);
    return NULL;
}

STACK_OF(X509_CRL) * tls_pem_crls(struct span text, const char **why)
{
    BIO *from = open_text(text);
    STACK_OF(X509_CRL) *list = sk_X509_CRL_new_null();
    X509_CRL *next = NULL;
    *why = "out of memory";
    bool good = from != NULL && list != NULL;
    while (good && (next = PEM_read_bio_X509_CRL(from, NULL, NULL, NULL)) != NULL)
        good = sk_X509_CRL_push(list, next) > 0 || (X509_CRL_free(next), false);
    if (good) {
        good = is_whole() && sk_X509_CRL_num(list) > 0;
        *why = is_whole() ? "holds no CRL in PEM form"
                          : "holds a CRL that cannot be read: damaged, or cut off";
    }
    BIO_free(from);
    ERR_clear_error();
    if (good)
        return list;
    sk_X509_CRL_pop_free(list, X509_CRL_free);
    return NULL;
}

int64_t tls_pem_time(const ASN1_TIME *at, int64_t otherwise)
{
    struct tm tm;
    return at != NULL && ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) : otherwise;
}

#include "proxy/net/tls_probe.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTERRUPTIONS_MAX = 16 /* of one handshake */ };

static void note_fault(struct tls_probe *t, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    bool late = code == 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    (void)snprintf(t->fault, sizeof t->fault, "%s: %s", what,
                   reason != NULL ? reason
                   : late         ? "no answer in time"
                   : errno != 0   ? strerror(errno)
                                  : "the server ended the connection");
    ERR_clear_error();
}

static SSL_CTX *make_context(const char *ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return NULL;
    /* Verified all the same; the handshake goes on, so that the chain can be shown. */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    int rc = ca != NULL ? SSL_CTX_load_verify_file(ctx, ca) : SSL_CTX_set_default_verify_paths(ctx);
    if (rc == 1)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* An address stands in the certificate as such, and is no name for SNI. */
static bool set_host(SSL *ssl, const char *name, const char *literal)
{
    if (name == NULL)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), literal) == 1;
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static void describe(const X509 *certificate, char text[TLS_PROBE_TEXT_MAX])
{
    char subject[160] = "", issuer[160] = "";
    struct tm end = {0};
    (void)X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
    (void)X509_NAME_oneline(X509_get_issuer_name(certificate), issuer, sizeof issuer);
    (void)ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end);
    (void)snprintf(text, TLS_PROBE_TEXT_MAX, "%s, until %04d-%02d-%02d, by %s", subject,
                   end.tm_year + 1900, end.tm_mon + 1, end.tm_mday, issuer);
}

static void read_session(struct tls_probe *t, SSL *ssl)
{
    const STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int count = chain != NULL ? sk_X509_num(chain) : 0;
    (void)snprintf(t->session, sizeof t->session, "%s, %s", SSL_get_version(ssl),
                   SSL_get_cipher_name(ssl));
    for (int i = 0; i < count && t->count < TLS_PROBE_CERTIFICATES_MAX; i++)
        describe(sk_X509_value(chain, i), t->certificate[t->count++]);
    long result = SSL_get_verify_result(ssl);
    if (result != X509_V_OK)
        (void)snprintf(t->disbelief, sizeof t->disbelief, "%s",
                       X509_verify_cert_error_string(result));
    else if (count == 0)
        (void)snprintf(t->disbelief, sizeof t->disbelief, "the server has no certificate");
}

/* A read with a time limit ends with EINTR when the process was stopped and goes on (signal(7)). */
static bool shake_hands(SSL *ssl)
{
    int rc = -1;
    for (unsigned turn = 0; rc != 1 && turn < INTERRUPTIONS_MAX; turn++) {
        errno = 0;
        rc = SSL_connect(ssl);
        if (rc != 1 && errno != EINTR)
            break;
    }
    return rc == 1;
}

void tls_probe_run(struct tls_probe *t, int fd, const char *name, const char *literal,
                   const char *ca)
{
    *t = (struct tls_probe){.count = 0};
    ERR_clear_error();
    errno = 0;
    SSL_CTX *ctx = make_context(ca);
    SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    if (ssl == NULL || !set_host(ssl, name, literal) || SSL_set_fd(ssl, fd) != 1)
        note_fault(t, ctx == NULL && ca != NULL ? ca : "cannot begin TLS");
    else if (!shake_hands(ssl))
        note_fault(t, "no TLS handshake");
    else
        read_session(t, ssl);
    if (t->fault[0] == '\0')
        (void)SSL_shutdown(ssl);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

/* ---- PKCS #7 ---- */

/* Returns owned, or NULL. */
static PKCS7 *read_pkcs7(struct span body)
{
    unsigned char *der = malloc(body.len + 4);
    EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
    PKCS7 *p7 = NULL;
    int len = 0, rest = 0;
    if (der != NULL && ctx != NULL && body.len > 0 && body.len < INT32_MAX) {
        EVP_DecodeInit(ctx);
        bool text =
            body.ptr[0] != 0x30 &&
            EVP_DecodeUpdate(ctx, der, &len, (const unsigned char *)body.ptr, (int)body.len) >= 0 &&
            EVP_DecodeFinal(ctx, der + len, &rest) == 1;
        const unsigned char *at = text ? der : (const unsigned char *)body.ptr;
        p7 = d2i_PKCS7(NULL, &at, text ? len + rest : (long)body.len);
    }
    EVP_ENCODE_CTX_free(ctx);
    free(der);
    return p7;
}

size_t tls_probe_certificates(struct span body, char subject[TLS_PROBE_TEXT_MAX])
{
    PKCS7 *p7 = read_pkcs7(body);
    bool sign = p7 != NULL && PKCS7_type_is_signed(p7) && p7->d.sign != NULL;
    int count = sign ? sk_X509_num(p7->d.sign->cert) : 0;
    subject[0] = '\0';
    if (count > 0)
        (void)X509_NAME_oneline(X509_get_subject_name(sk_X509_value(p7->d.sign->cert, 0)), subject,
                                TLS_PROBE_TEXT_MAX);
    PKCS7_free(p7);
    ERR_clear_error();
    return count > 0 ? (size_t)count : 0;
}

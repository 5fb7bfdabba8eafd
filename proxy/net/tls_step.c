#include "proxy/net/tls_step.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* Only what is OpenSSL's own text for ever: those of a provider go with it. */
static const char *reason_of(unsigned long error)
{
    const char *reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_reason_error_string(error) : NULL;
    return reason != NULL ? reason : "closed in the TLS handshake";
}

int tls_step(SSL *ssl, const char **why)
{
    errno = 0;
    ERR_clear_error();
    int result = SSL_do_handshake(ssl);
    if (result == 1)
        return 0;
    int kind = SSL_get_error(ssl, result);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
        ERR_clear_error();
        return -EAGAIN;
    }
    unsigned long error = ERR_peek_error();
    long verdict = SSL_get_verify_result(ssl);
    *why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : reason_of(error);
    if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
        ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return -ENOKEY;
    return verdict != X509_V_OK ? -EKEYREJECTED : -EPROTO;
}

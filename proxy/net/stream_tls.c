#include "proxy/net/stream_tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL *ssl_of(const struct stream *s)
{
    return s->layer_state;
}

/* What a result that is no progress means; `*can` is false then until the next edge. */
static ssize_t judge(struct stream *s, int result, bool *can)
{
    int error = SSL_get_error(ssl_of(s), result), number = errno;
    *can = false;
    ERR_clear_error();
    switch (error) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        s->fin_seen = true;
        return 0;
    case SSL_ERROR_SYSCALL:
        return number != 0 ? -number : -ECONNRESET;
    default:
        return -ECONNRESET;
    }
}

static int length_of(size_t size)
{
    return size < INT_MAX ? (int)size : INT_MAX;
}

int stream_tls_handshake(struct stream *s, const char **why)
{
    errno = 0;
    ERR_clear_error();
    int result = SSL_do_handshake(ssl_of(s));
    if (result == 1) {
        s->can_read = s->can_write = true;
        return 0;
    }
    long verdict = SSL_get_verify_result(ssl_of(s));
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ssize_t rc = judge(s, result, &s->can_read);
    if (rc == -EAGAIN)
        return -EAGAIN;
    *why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
           : reason != NULL     ? reason
                                : "closed in the TLS handshake";
    return verdict != X509_V_OK ? -EKEYREJECTED : -EPROTO;
}

static ssize_t tls_receive(struct stream *s, void *to, size_t size)
{
    errno = 0;
    ERR_clear_error();
    int n = SSL_read(ssl_of(s), to, length_of(size));
    /* More may wait inside: only -EAGAIN says that nothing does. */
    return n > 0 ? n : judge(s, n, &s->can_read);
}

static ssize_t tls_send(struct stream *s, const void *from, size_t size)
{
    errno = 0;
    ERR_clear_error();
    int n = SSL_write(ssl_of(s), from, length_of(size));
    ssize_t rc = n > 0 ? n : judge(s, n, &s->can_write);
    return rc == 0 ? -EPIPE : rc;
}

static void tls_shutdown(struct stream *s)
{
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_of(s)))
        (void)SSL_shutdown(ssl_of(s)); /* if there is no room for it, the FIN alone must do */
    ERR_clear_error();
}

static void tls_release(struct stream *s)
{
    SSL_free(ssl_of(s));
    s->layer_state = NULL;
}

void stream_tls_take(struct stream *s, struct ssl_st *ssl)
{
    static const struct stream_layer layer = {tls_receive, tls_send, tls_shutdown, tls_release};
    s->layer = &layer;
    s->layer_state = ssl;
    s->can_read = s->can_write = true; /* either may be what the handshake waits for */
}

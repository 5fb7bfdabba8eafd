#include "proxy/net/stream_tls.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/tls_offload.h"
#include "proxy/net/tls_step.h"

enum { MESSAGES_MAX = 32 }; /* of the peer's handshake protocol, with no octet of data between */

static SSL *ssl_of(const struct stream *s)
{
    return s->layer_state;
}

/* ---- what the peer says besides data ---- */

/*
 * KeyUpdate, NewSessionTicket, HelloRequest, a ClientHello that asks for another handshake: each
 * costs the peer a few octets and us cryptography, and OpenSSL reads on behind them for as long as
 * there are more. They are counted where OpenSSL hands them out, and too many are the end: it
 * throws away what comes behind this mark, and whoever reads is told by judge().
 */
static void on_message(int is_ours, int version, int type, const void *data, size_t size, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)data;
    (void)size;
    (void)arg;
    if (is_ours || type != SSL3_RT_HANDSHAKE)
        return;
    uintptr_t count = (uintptr_t)SSL_get_app_data(ssl) + 1;
    (void)SSL_set_app_data(ssl, (void *)count); // NOLINT(performance-no-int-to-ptr)
    if (count > MESSAGES_MAX)
        SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

static size_t messages_of(const SSL *ssl)
{
    return (uintptr_t)SSL_get_app_data(ssl);
}

void stream_tls_prepare(struct ssl_ctx_st *ctx)
{
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_msg_callback(ctx, on_message);
}

/* ---- octets ---- */

/* What SSL_get_error() would take for the next call's. ERR_clear_error() goes through the whole
 * queue even when it is empty, 800 instructions, and a request needs that eight times. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* What a result that is no progress means; `*can` is false then until the next edge. */
static ssize_t judge(struct stream *s, int result, bool *can)
{
    int error = SSL_get_error(ssl_of(s), result), number = errno;
    *can = false;
    forget_errors();
    if (messages_of(ssl_of(s)) > MESSAGES_MAX)
        return -ECONNRESET;
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
    if (tls_offload_has(s)) {
        struct ssl_st *ssl;
        int rc = tls_offload_handshake(s, &ssl, why);
        if (rc == 0)
            stream_tls_take(s, ssl);
        return rc;
    }
    int rc = tls_step(ssl_of(s), why);
    forget_errors();
    if (rc == 0)
        s->can_read = s->can_write = true;
    else
        s->can_read = false;
    return rc;
}

const char *stream_tls_version(const struct stream *s)
{
    return SSL_get_version(ssl_of(s));
}

bool stream_tls_resumed(const struct stream *s)
{
    return SSL_session_reused(ssl_of(s)) == 1;
}

bool stream_tls_in_kernel(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* A socket that is not connected gets no TLS, but -ENOENT says that there is none to get. */
    int rc = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls" - 1);
    bool has = rc == 0 || errno == ENOTCONN;
    (void)close(fd);
    return has;
}

static ssize_t tls_receive(struct stream *s, void *to, size_t size)
{
    SSL *ssl = ssl_of(s);
    size_t before = messages_of(ssl);
    errno = 0;
    forget_errors();
    int n = SSL_read(ssl, to, length_of(size));
    if (n > 0) { /* more may wait inside: only -EAGAIN says that nothing does */
        (void)SSL_set_app_data(ssl, NULL);
        return n;
    }
    ssize_t rc = judge(s, n, &s->can_read);
    /* A message was the whole of this turn: what is behind it has made its edge already. */
    if (rc == -EAGAIN && messages_of(ssl) != before)
        stream_resume(s);
    return rc;
}

/*
 * Where the kernel encrypts, plain octets are all that it wants. SSL_write() would do the same, but
 * OpenSSL 3.0 then keeps a pointer to what the socket did not take, and sends from there the next
 * time, whatever is there by then: SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER does not hold.
 */
static ssize_t tls_send(struct stream *s, const void *from, size_t size)
{
    if (BIO_get_ktls_send(SSL_get_wbio(ssl_of(s))))
        return stream_send_below(s, from, size);
    errno = 0;
    forget_errors();
    int n = SSL_write(ssl_of(s), from, length_of(size));
    ssize_t rc = n > 0 ? n : judge(s, n, &s->can_write);
    return rc == 0 ? -EPIPE : rc;
}

static void tls_shutdown(struct stream *s)
{
    forget_errors();
    if (SSL_is_init_finished(ssl_of(s)))
        (void)SSL_shutdown(ssl_of(s)); /* if there is no room for it, the FIN alone must do */
    forget_errors();
}

static bool tls_release(struct stream *s)
{
    SSL_free(ssl_of(s));
    s->layer_state = NULL;
    return false;
}

/* Nothing that OpenSSL has read already may be overtaken. */
static bool tls_splices_in(const struct stream *s)
{
    return BIO_get_ktls_recv(SSL_get_rbio(ssl_of(s))) && !SSL_has_pending(ssl_of(s));
}

/* Nothing waits in OpenSSL then: see tls_send(). */
static bool tls_splices_out(const struct stream *s)
{
    return BIO_get_ktls_send(SSL_get_wbio(ssl_of(s)));
}

void stream_tls_take(struct stream *s, struct ssl_st *ssl)
{
    static const struct stream_layer layer = {
        tls_receive, tls_send, tls_shutdown, tls_release, tls_splices_in, tls_splices_out, false};
    s->layer = &layer;
    s->layer_state = ssl;
    s->can_read = s->can_write = true; /* either may be what the handshake waits for */
}

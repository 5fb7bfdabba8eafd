#include "bench/secure.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

#include "bench/sockets.h"

#define NAME "proxy.bench.test" /* as a client that was given the proxy by name */

static SSL_SESSION *newest;
static struct secure_count counted;

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
        give_up("OpenSSL has no TLS 1.3");
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    (void)SSL_CTX_set_mode(ctx,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Not every proxy says close_notify. */
    (void)SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    return ctx;
}

/* Tickets come behind the handshake, with the first octets. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(newest);
    newest = session;
    return 1; /* its reference is ours now */
}

SSL_CTX *secure_client(bool resume)
{
    static const unsigned char http[] = "\x08http/1.1";
    SSL_CTX *ctx = new_context(TLS_client_method());
    if (SSL_CTX_set_alpn_protos(ctx, http, sizeof http - 1) != 0)
        give_up("no memory for TLS");
    if (resume) {
        (void)SSL_CTX_set_session_cache_mode(ctx,
                                             SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
    }
    return ctx;
}

SSL_CTX *secure_server(const char *file)
{
    SSL_CTX *ctx = new_context(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(ctx, file) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM) != 1)
        give_up("cannot use certificate and key of %s", file);
    return ctx;
}

/* OpenSSL lets a client use a session once; others may be on their way with this one. */
static void use_newest(SSL *ssl)
{
    SSL_SESSION *own = SSL_SESSION_dup(newest);
    if (own == NULL || SSL_set_session(ssl, own) != 1)
        give_up("no memory for TLS");
    SSL_SESSION_free(own);
}

SSL *secure_begin(SSL_CTX *ctx, int fd)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
        give_up("no memory for TLS");
    if (SSL_is_server(ssl)) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    (void)SSL_set_tlsext_host_name(ssl, NAME);
    if (newest != NULL)
        use_newest(ssl);
    return ssl;
}

/* What a result that is no progress means, in errno; 0: the end. */
static int judge(SSL *ssl, int result)
{
    int error = SSL_get_error(ssl, result);
    ERR_clear_error();
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

int secure_shake(SSL *ssl)
{
    int result = SSL_do_handshake(ssl);
    if (result != 1) {
        if (judge(ssl, result) == 0)
            errno = ECONNRESET;
        return -1;
    }
    counted.all++;
    counted.resumed += SSL_session_reused(ssl) == 1;
    return 0;
}

static int length_of(size_t size)
{
    return size < INT_MAX ? (int)size : INT_MAX;
}

ssize_t secure_receive(SSL *ssl, void *to, size_t size)
{
    int n = SSL_read(ssl, to, length_of(size));
    return n > 0 ? n : judge(ssl, n);
}

ssize_t secure_send(SSL *ssl, const void *from, size_t size)
{
    int n = SSL_write(ssl, from, length_of(size));
    if (n > 0)
        return n;
    if (judge(ssl, n) == 0)
        errno = EPIPE;
    return -1;
}

void secure_end(SSL *ssl)
{
    if (SSL_is_init_finished(ssl))
        (void)SSL_shutdown(ssl);
    SSL_free(ssl);
    ERR_clear_error();
}

struct secure_count secure_counted(void)
{
    return counted;
}

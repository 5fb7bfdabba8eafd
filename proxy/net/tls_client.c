#include "proxy/net/tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_offload.h"
#include "proxy/net/tls_pem.h"
#include "proxy/net/tls_sessions.h"

struct tls_client {
    SSL_CTX *ctx;
    struct tls_key *key; /* a reference; NULL: we have no certificate */
};

/* True: all of the text are believed now. */
static bool add_cas(SSL_CTX *ctx, struct span text, const char **why)
{
    STACK_OF(X509) *cas = tls_pem_certificates(text, why);
    bool added = cas != NULL;
    for (int i = 0; added && i < sk_X509_num(cas); i++) {
        *why = "out of memory";
        added = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), sk_X509_value(cas, i)) == 1;
    }
    sk_X509_pop_free(cas, X509_free);
    return added;
}

static bool set_up(SSL_CTX *ctx)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* a record's head and the rest of it in one receive */
    stream_tls_prepare(ctx);
    /* Who asks for it would have us sign on the loop's thread, as often as he likes. */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_alpn_protos(ctx, protocols, sizeof protocols - 1) == 0;
}

struct tls_client *tls_client_create(struct span cas, const char **why)
{
    struct tls_client *c = calloc(1, sizeof *c);
    *why = "out of memory";
    if (c == NULL)
        return NULL;
    c->ctx = SSL_CTX_new(TLS_client_method());
    bool good = c->ctx != NULL && set_up(c->ctx);
    if (good && cas.len > 0)
        good = add_cas(c->ctx, cas, why);
    else if (good)
        good = SSL_CTX_set_default_verify_paths(c->ctx) == 1;
    if (good)
        return c;
    tls_client_destroy(c);
    ERR_clear_error();
    return NULL;
}

void tls_client_destroy(struct tls_client *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ctx);
    tls_key_unref(c->key);
    free(c);
}

int tls_client_show(struct tls_client *c, struct span chain, struct tls_key *key, char *why,
                    size_t size)
{
    const char *fault = "";
    STACK_OF(X509) *others = tls_pem_certificates(chain, &fault);
    X509 *own = others != NULL ? sk_X509_shift(others) : NULL;
    bool good = own != NULL;
    if (good) {
        good = X509_check_private_key(own, tls_key_pkey(key)) == 1;
        fault = "the key is not the certificate's";
    }
    if (good) {
        good = SSL_CTX_use_cert_and_key(c->ctx, own, tls_key_pkey(key), others, 1) == 1;
        fault = "OpenSSL does not take the certificate";
    }
    X509_free(own);
    sk_X509_pop_free(others, X509_free);
    ERR_clear_error();
    if (!good) {
        (void)snprintf(why, size, "%s", fault);
        return -EINVAL;
    }
    c->key = tls_key_ref(key);
    return 0;
}

bool tls_client_resume(struct tls_client *c)
{
    return tls_sessions_add(c->ctx);
}

bool tls_client_certificate(const struct tls_client *c, int64_t *not_before, int64_t *not_after)
{
    X509 *own = SSL_CTX_get0_certificate(c->ctx);
    if (own == NULL)
        return false;
    *not_before = tls_pem_time(X509_get0_notBefore(own), 0);
    *not_after = tls_pem_time(X509_get0_notAfter(own), 0);
    return true;
}

bool tls_client_has_device(const struct tls_client *c)
{
    return c->key != NULL && tls_key_provider(c->key) != NULL;
}

/* Only a name is sent as server name (RFC 6066 section 3). */
static bool expect(SSL *ssl, const char *name, const struct addr *literal)
{
    char text[ADDR_TEXT_MAX];
    /* RFC 9525: a subject's common name is no host name, and a wildcard is a whole label. */
    SSL_set_hostflags(ssl,
                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (name != NULL)
        return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), addr_print(literal, text)) == 1;
}

int tls_client_begin(struct tls_client *c, struct stream *s, struct tls_mailbox *mailbox,
                     const char *name, const struct addr *literal, uint16_t port)
{
    char text[ADDR_TEXT_MAX];
    struct tls_provider *device = c->key != NULL ? tls_key_provider(c->key) : NULL;
    SSL *ssl = SSL_new(c->ctx);
    if (ssl == NULL || !expect(ssl, name, literal) || SSL_set_fd(ssl, s->fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return -ENOMEM;
    }
    SSL_set_connect_state(ssl);
    if (port != 0)
        tls_sessions_use(ssl, name != NULL ? name : addr_print(literal, text), port);
    if (device == NULL) {
        stream_tls_take(s, ssl);
        return 0;
    }
    int rc = tls_offload_begin(s, ssl, device, mailbox);
    if (rc != 0)
        SSL_free(ssl);
    return rc;
}

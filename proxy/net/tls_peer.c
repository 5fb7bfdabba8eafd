#include "proxy/net/tls_peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

static int add_base64(struct buf *out, const unsigned char *der, int len)
{
    size_t size = (size_t)(len + 2) / 3 * 4;
    int rc = buf_add_str(out, ":");
    char *room = rc == 0 ? buf_reserve(out, size + 1) : NULL; /* and a NUL */
    if (room == NULL)
        return rc != 0 ? rc : -errno;
    buf_commit(out, (size_t)EVP_EncodeBlock((unsigned char *)room, der, len));
    return buf_add_str(out, ":");
}

int tls_peer_field(const struct stream *s, struct buf *out)
{
    const SSL *ssl = s->layer != NULL ? s->layer_state : NULL;
    X509 *shown = ssl != NULL ? SSL_get1_peer_certificate(ssl) : NULL;
    unsigned char *der = NULL;
    if (shown == NULL)
        return 0;
    int len = i2d_X509(shown, &der);
    int rc = len > 0 ? add_base64(out, der, len) : -ENOMEM;
    OPENSSL_free(der);
    X509_free(shown);
    ERR_clear_error();
    return rc;
}

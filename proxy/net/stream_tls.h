/*
 * stream_tls.h - a stream's octets inside TLS: the same calls and the same readiness, by a layer
 * (stream.h) over OpenSSL.
 *
 * Its octets cannot be spliced. An end without close_notify is -ECONNRESET: what came before it may
 * have been cut (RFC 8446 section 6.1). Loop thread only.
 */
#ifndef CERTFERRY_NET_STREAM_TLS_H
#define CERTFERRY_NET_STREAM_TLS_H

#include "proxy/net/stream.h"

struct ssl_st; /* OpenSSL's SSL */

/* Takes `ssl`, set up for the stream's descriptor. */
void stream_tls_take(struct stream *s, struct ssl_st *ssl);

/* Goes on with the handshake: 0 when it is over, -EAGAIN, or another negative errno with `*why`
 * (static). -EKEYREJECTED: the certificate is not believed. */
int stream_tls_handshake(struct stream *s, const char **why);

#endif

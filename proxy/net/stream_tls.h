/*
 * stream_tls.h - a stream's octets inside TLS: the same calls and the same readiness, by a layer
 * (stream.h) over OpenSSL.
 *
 * Its octets can be spliced while the kernel does the work (kTLS), each way for itself. An end
 * without close_notify is -ECONNRESET: what came before it may have been cut (RFC 8446
 * section 6.1), unless the SSL says otherwise. Loop thread only.
 */
#ifndef CERTFERRY_NET_STREAM_TLS_H
#define CERTFERRY_NET_STREAM_TLS_H

#include "proxy/net/stream.h"

struct ssl_st; /* OpenSSL's SSL */
struct ssl_ctx_st;

/*
 * Before any SSL is made of it, for servers and clients alike: messages of the handshake protocol
 * after the handshake end the turn at the latest when all that was read ahead is used, and too many
 * without data between them are -ECONNRESET. An SSL's app data is the layer's own.
 */
void stream_tls_prepare(struct ssl_ctx_st *ctx);

/* Takes `ssl`, set up for the stream's descriptor. */
void stream_tls_take(struct stream *s, struct ssl_st *ssl);

/* Goes on with the handshake: 0 when it is over, -EAGAIN, or another negative errno with `*why`
 * (static). -EKEYREJECTED: the certificate is not believed. -ENOKEY: the client showed none. Where
 * it is made on another thread (tls_offload.h) also -ENOBUFS and -ENODEV. */
int stream_tls_handshake(struct stream *s, const char **why);

/* After it: "TLSv1.2" or "TLSv1.3" (static), and whether an earlier session went on. */
const char *stream_tls_version(const struct stream *s);
bool stream_tls_resumed(const struct stream *s);

/* Whether this kernel has TLS of its own. Asks it each time: two system calls. */
bool stream_tls_in_kernel(void);

#endif

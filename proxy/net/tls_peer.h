/*
 * tls_peer.h - the certificate that the other side of a TLS connection has shown, as HTTP repeats
 * it.
 *
 * Loop thread only.
 */
#ifndef CERTFERRY_NET_TLS_PEER_H
#define CERTFERRY_NET_TLS_PEER_H

#include "proxy/base/buf.h"
#include "proxy/net/stream.h"

/*
 * Adds ":base64 of its DER:" (RFC 9440 section 2.2, RFC 8941 section 3.3.5), or nothing when it has
 * shown none or there is no TLS. The handshake is over, and has verified it. 0, -ENOBUFS or
 * -ENOMEM.
 */
int tls_peer_field(const struct stream *s, struct buf *out);

#endif

/*
 * tls_client.h - what all TLS connections that we open have in common: whom we believe, and the
 * versions we speak.
 *
 * Only for parent proxies: what passes in a tunnel is never ours to decrypt. Making: main thread.
 * Using and counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_CLIENT_H
#define CERTFERRY_NET_TLS_CLIENT_H

#include "proxy/base/addr.h"
#include "proxy/net/stream.h"

struct tls_client;

/*
 * TLS 1.2 or later, certificates verified against the PEM certificates in `cas`, or the system's
 * when that is empty. Returns owned; NULL with `*why` (static) when there is none in it, or memory
 * is out.
 */
struct tls_client *tls_client_create(struct span cas, const char **why);
void tls_client_destroy(struct tls_client *c);

/*
 * The open stream becomes a TLS client's, of a server that must prove to be `name`, or, where that
 * is NULL, `literal`. 0 or -ENOMEM. stream_tls_handshake() comes next.
 */
int tls_client_begin(struct tls_client *c, struct stream *s, const char *name,
                     const struct addr *literal);

#endif

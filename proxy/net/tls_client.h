/*
 * tls_client.h - what all TLS connections that we open have in common: whom we believe, and the
 * versions we speak.
 *
 * For parent proxies and the gateway's upstreams: what passes in a tunnel is never ours to decrypt.
 * Making: main thread. Using and counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_CLIENT_H
#define CERTFERRY_NET_TLS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/net/stream.h"

struct tls_client;
struct tls_key;     /* tls_key.h */
struct tls_mailbox; /* tls_thread.h */

/*
 * TLS 1.2 or later, certificates verified against the PEM certificates in `cas`, or the system's
 * when that is empty. Returns owned; NULL with `*why` (static) when there is none in it, or memory
 * is out.
 */
struct tls_client *tls_client_create(struct span cas, const char **why);
void tls_client_destroy(struct tls_client *c);

/* The certificate that servers are shown who ask for one: `chain` in PEM, our own first, and its
 * key (a reference is taken). 0; -EINVAL with a reason in `why`. */
int tls_client_show(struct tls_client *c, struct span chain, struct tls_key *key, char *why,
                    size_t size);

/* Sessions of servers are kept and resumed (tls_sessions.h). Before the first connection. False:
 * out of memory. */
bool tls_client_resume(struct tls_client *c);

/* From and until when (Unix time) that certificate is good. False: we show none. */
bool tls_client_certificate(const struct tls_client *c, int64_t *not_before, int64_t *not_after);

/* Whether that key is in a device, so that handshakes need a mailbox. */
bool tls_client_has_device(const struct tls_client *c);

/*
 * The open stream becomes a TLS client's, of a server that must prove to be `name`, or, where that
 * is NULL, `literal`. At `port` sessions are resumed, if tls_client_resume() said so; 0: it is to
 * prove it this time. 0; -ENOMEM; -ENODEV (our key's device is lost). stream_tls_handshake() comes
 * next; with a key of a device its results come through `mailbox`, which is of this loop.
 */
int tls_client_begin(struct tls_client *c, struct stream *s, struct tls_mailbox *mailbox,
                     const char *name, const struct addr *literal, uint16_t port);

#endif

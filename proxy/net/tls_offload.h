/*
 * tls_offload.h - a stream whose TLS handshake is made on the thread of its key's provider.
 *
 * While the thread has it, neither SSL nor descriptor are the stream's: it neither receives nor
 * sends, and when it is closed the thread closes both once the device has answered. Loop thread
 * only.
 */
#ifndef CERTFERRY_NET_TLS_OFFLOAD_H
#define CERTFERRY_NET_TLS_OFFLOAD_H

#include <stdbool.h>

#include "proxy/net/stream.h"

struct ssl_st; /* OpenSSL's SSL */
struct tls_mailbox;
struct tls_provider;

/* Takes `ssl`, set up for the stream's descriptor, with success only. 0; -ENOMEM; -ENODEV: the
 * provider is lost. tls_offload_handshake() comes next. */
int tls_offload_begin(struct stream *s, struct ssl_st *ssl, struct tls_provider *p,
                      struct tls_mailbox *m);

/* Whether the stream's handshake is still such a one. */
bool tls_offload_has(const struct stream *s);

/*
 * Goes on with it: the results of tls_step(), and with 0 the SSL, the caller's again; also
 * -ENOBUFS: too many wait (limit of the queue), -ENODEV: the device is lost. -EAGAIN: the stream's
 * `on_ready` comes when there is more to say.
 */
int tls_offload_handshake(struct stream *s, struct ssl_st **ssl, const char **why);

#endif

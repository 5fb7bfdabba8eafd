/*
 * tls_sessions.h - TLS sessions that servers have given us, to be resumed.
 *
 * Resuming asks for no certificate again, so a session is only for whom it was verified: they are
 * the SSL_CTX's own, with its CAs and its certificate, apart for each server, and live no longer
 * than either. Each is used once; one of TLS 1.2 comes back when that went well. Any thread.
 */
#ifndef CERTFERRY_NET_TLS_SESSIONS_H
#define CERTFERRY_NET_TLS_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>

struct ssl_st; /* OpenSSL's SSL */
struct ssl_ctx_st;

/* So many servers, and so many sessions of each; what is more is not kept. */
enum { TLS_SESSIONS_SERVERS_MAX = 64, TLS_SESSIONS_EACH_MAX = 16 };

/* How long after a whole handshake the last one that goes back to it is used. */
enum { TLS_SESSIONS_LIFETIME_S = 24 * 3600 };

/* From here on sessions of the SSLs that are made of it are kept, if tls_sessions_use() is called
 * for them. Main thread. False: out of memory. */
bool tls_sessions_add(struct ssl_ctx_st *ctx);

/* Before the handshake with the server that must prove to be `name` (as text, an address too), at
 * `port`: offers what is kept of it, and keeps what comes. Without tls_sessions_add(): nothing. */
void tls_sessions_use(struct ssl_st *ssl, const char *name, uint16_t port);

#endif

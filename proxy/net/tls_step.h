/*
 * tls_step.h - one step of a TLS handshake, and what its result means. On whatever thread has the
 * SSL.
 */
#ifndef CERTFERRY_NET_TLS_STEP_H
#define CERTFERRY_NET_TLS_STEP_H

struct ssl_st; /* OpenSSL's SSL */

/*
 * 0 when the handshake is over; -EAGAIN: it waits for the peer; or another negative errno with
 * `*why` (static). -EKEYREJECTED: the certificate is not believed. -ENOKEY: the client showed none.
 * After another error than these, what OpenSSL told is still in this thread's error queue.
 */
int tls_step(struct ssl_st *ssl, const char **why);

#endif

/*
 * tls_probe.h - for `certferry check`: one TLS handshake as a client of a CA has it, and what it
 * tells - version, chain, whether that is believed - and what certificates a PKCS #7 holds.
 *
 * Blocks as long as the descriptor does. Knows no loop. Any thread.
 */
#ifndef CERTFERRY_NET_TLS_PROBE_H
#define CERTFERRY_NET_TLS_PROBE_H

#include <stddef.h>

#include "proxy/base/span.h"

enum { TLS_PROBE_CERTIFICATES_MAX = 8, TLS_PROBE_TEXT_MAX = 512 };

/* Texts may hold any octets of the server's. */
struct tls_probe {
    char fault[TLS_PROBE_TEXT_MAX];     /* no handshake; "": there was one */
    char session[TLS_PROBE_TEXT_MAX];   /* version and cipher */
    char disbelief[TLS_PROBE_TEXT_MAX]; /* "": the chain leads to a root, and is the host's */
    size_t count;
    char certificate[TLS_PROBE_CERTIFICATES_MAX][TLS_PROBE_TEXT_MAX]; /* as sent */
};

/* `fd` is borrowed. The server must prove to be `name`, or, where that is NULL, the address
 * `literal`. `ca`: PEM file, or NULL for the system's roots. */
void tls_probe_run(struct tls_probe *t, int fd, const char *name, const char *literal,
                   const char *ca);

/*
 * How many certificates the certs-only PKCS #7 in `body` holds, in base64 (RFC 8951) or, as some
 * servers have it, in DER; 0 also when it is none. The first one's subject in `subject`.
 */
size_t tls_probe_certificates(struct span body, char subject[TLS_PROBE_TEXT_MAX]);

#endif

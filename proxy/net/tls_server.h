/*
 * tls_server.h - what all TLS connections that clients open to a door of ours have in common:
 * certificates by server name, whom we believe, versions, tickets.
 *
 * What passes in a tunnel is never ours to decrypt: this is the client's hop to us alone (RFC 9110
 * section 3.7). Immutable and counted. Making: main thread. Using and counting: any thread.
 */
#ifndef CERTFERRY_NET_TLS_SERVER_H
#define CERTFERRY_NET_TLS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"
#include "proxy/net/netloop.h"
#include "proxy/net/stream.h"

struct tls_server;
struct tls_key;     /* tls_key.h: a private key, from a file or a provider */
struct tls_tickets; /* tls_tickets.h: keys of session tickets, of the process */

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

/* Where in a client's certificate its identity stands. */
enum tls_identity {
    TLS_IDENTITY_SUBJECT, /* the whole distinguished name, as RFC 4514 writes it */
    TLS_IDENTITY_CN,      /* its common name; of several the last */
    TLS_IDENTITY_DNS,     /* the first subjectAltName of that kind, and so below */
    TLS_IDENTITY_URI,
    TLS_IDENTITY_EMAIL,
};

enum { TLS_IDENTITY_MAX = 256 /* octets; a longer one is none */ };

/* A certificate with those that certify it, and its key. */
struct tls_pair {
    struct span chain;   /* PEM, the server's own first */
    struct tls_key *key; /* a reference is taken */
    const char *name;    /* for messages: the file's */
};

struct tls_server_options {
    const struct tls_pair *pair; /* the first is for clients without a server name, and the rest */
    size_t pair_count;
    enum tls_client_auth auth;
    enum tls_identity identity;
    struct span client_ca;         /* PEM, of clients; empty with TLS_CLIENT_NONE */
    const struct span *client_crl; /* PEM */
    size_t client_crl_count;
    struct tls_tickets *tickets; /* borrowed, outlives us; NULL: no resumption */
    bool tls12;                  /* TLS 1.2 too, not only 1.3 */
    const char *ciphers;         /* of TLS 1.2, as OpenSSL writes them; "": ours */
    bool ktls;                   /* where the kernel has it */
};

/* Returns owned, with one reference; NULL with a reason that names the pair in `why`. */
struct tls_server *tls_server_create(const struct tls_server_options *options, char *why,
                                     size_t size);
struct tls_server *tls_server_ref(struct tls_server *t);
void tls_server_unref(struct tls_server *t);

/*
 * The open stream becomes a TLS server's; stream_tls_handshake() comes next. 0; -ENOMEM; -ENOBUFS
 * (the queue of handshakes of the key's thread is full); -ENODEV (the key's device is lost).
 */
int tls_server_begin(struct tls_server *t, struct stream *s, const struct netloop *net);

/*
 * After the handshake: the identity of the client's certificate, NUL-terminated printable ASCII, or
 * "" when it showed none, or one without that name. -EKEYREJECTED: the certificate is not valid
 * (any more: of a resumed session), with `*why` (static).
 */
int tls_server_identity(const struct tls_server *t, const struct stream *s,
                        char identity[TLS_IDENTITY_MAX + 1], const char **why);

#endif

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
#include <stdint.h>

#include "proxy/base/span.h"
#include "proxy/net/netloop.h"
#include "proxy/net/stream.h"
#include "proxy/net/tls_trust.h"

struct tls_server;
struct tls_key;     /* tls_key.h: a private key, from a file or a provider */
struct tls_tickets; /* tls_tickets.h: keys of session tickets, of the process */

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

/* A certificate with those that certify it, and its key. */
struct tls_pair {
    struct span chain;   /* PEM, the server's own first */
    struct tls_key *key; /* a reference is taken; keys of providers are all of the same one */
    const char *name;    /* for messages: the file's */
};

struct tls_server_options {
    const char *door;            /* a session of one is not resumed at another */
    const struct tls_pair *pair; /* the first is for clients without a server name, and the rest */
    size_t pair_count;
    enum tls_client_auth auth;
    enum tls_identity identity;
    struct span client_ca; /* PEM, of clients; empty with TLS_CLIENT_NONE */
    const struct span
        *client_crl; /* PEM; with one, every CA below the believed one needs its own */
    size_t client_crl_count;
    bool tls12;          /* TLS 1.2 too, not only 1.3 */
    const char *ciphers; /* of TLS 1.2, as OpenSSL writes them; "": ours */
    bool ktls;           /* where the kernel has it */
};

/* Whether any cipher of such a list may be used. */
bool tls_server_has_ciphers(const char *ciphers);

/* Returns owned, with one reference; NULL with a reason that names the pair in `why`. */
struct tls_server *tls_server_create(const struct tls_server_options *options, char *why,
                                     size_t size);
struct tls_server *tls_server_ref(struct tls_server *t);
void tls_server_unref(struct tls_server *t);

/* Sessions can be resumed with `tickets` (borrowed, outlives us) from now on. Before it is shared.
 */
void tls_server_use_tickets(struct tls_server *t, struct tls_tickets *tickets);

/* The certificate that clients see: its file's name (borrowed), until when (Unix time) it is good.
 */
struct tls_server_certificate {
    char *name;
    int64_t not_before, not_after;
};

size_t tls_server_certificates(const struct tls_server *t,
                               const struct tls_server_certificate **list);

/* The time (Unix) from which a CRL is too old to be believed; 0: there are none. */
int64_t tls_server_crl_until(const struct tls_server *t);

/*
 * The open stream becomes a TLS server's; stream_tls_handshake() comes next. 0; -ENOMEM; -ENOBUFS
 * (the queue of handshakes of the key's thread is full); -ENODEV (the key's device is lost).
 */
int tls_server_begin(struct tls_server *t, struct stream *s, const struct netloop *net);

/* ---- after the handshake, of a stream that tls_server_begin() had ---- */

/*
 * The identity of the client's certificate, NUL-terminated printable ASCII; "" when the certificate
 * has no such name. False: it showed none.
 */
bool tls_server_identity(const struct stream *s, char identity[TLS_IDENTITY_MAX + 1]);

/*
 * Whether `t`, which may have come with a reload since, believes the client too, who from now on is
 * named by its rules. False: `*why` (static).
 */
bool tls_server_judge(struct tls_server *t, const struct stream *s, const char **why);

/* Whether its handshake was with `t`, or `t` has judged it last: nothing is new. */
bool tls_server_has_judged(const struct tls_server *t, const struct stream *s);

#endif

/*
 * tls_tickets.h - the keys of session tickets: rotated by time, the same for all workers and over
 * reloads, so that a client can resume wherever its next connection lands.
 *
 * They live in this process's memory alone (RFC 5077 section 5.5, RFC 8446 appendix C.4): whoever
 * gets hold of one can read TLS 1.2 sessions that were made under it, so none is kept longer than
 * its tickets are good for. Any thread.
 */
#ifndef CERTFERRY_NET_TLS_TICKETS_H
#define CERTFERRY_NET_TLS_TICKETS_H

#include <stddef.h>
#include <stdint.h>

struct tls_tickets;

struct evp_cipher_ctx_st; /* OpenSSL's EVP_CIPHER_CTX */
struct evp_mac_ctx_st;    /* and EVP_MAC_CTX */

/* Returns owned, without tickets until tls_tickets_set(); NULL when out of memory. */
struct tls_tickets *tls_tickets_create(void);

/* Nobody uses it any more. The keys are wiped. */
void tls_tickets_destroy(struct tls_tickets *t);

/* A ticket is good for `lifetime_ms` (0: there are none), a key makes them for `rotate_ms`. */
void tls_tickets_set(struct tls_tickets *t, uint64_t lifetime_ms, uint64_t rotate_ms);
uint64_t tls_tickets_lifetime_ms(struct tls_tickets *t);

/* Keys that could still open a ticket. */
size_t tls_tickets_count(struct tls_tickets *t);

/* What a ticket may ask for. */
enum tls_ticket_result {
    TLS_TICKET_ERROR = -1,
    TLS_TICKET_NONE = 0,  /* no such key, or tickets are off: a full handshake */
    TLS_TICKET_GOOD = 1,  /* both contexts are set up */
    TLS_TICKET_RENEW = 2, /* the same, but the key makes no more tickets: send a new one */
};

enum { TLS_TICKET_NAME = 16, TLS_TICKET_IV = 16 };

/*
 * What OpenSSL's SSL_CTX_set_tlsext_ticket_key_evp_cb() asks for: sets up `cipher` and `mac` to
 * make a ticket, whose key's name and IV are written, or to open one that bears them.
 */
enum tls_ticket_result tls_tickets_seal(struct tls_tickets *t, unsigned char name[TLS_TICKET_NAME],
                                        unsigned char iv[TLS_TICKET_IV],
                                        struct evp_cipher_ctx_st *cipher,
                                        struct evp_mac_ctx_st *mac);
enum tls_ticket_result tls_tickets_open(struct tls_tickets *t,
                                        const unsigned char name[TLS_TICKET_NAME],
                                        const unsigned char iv[TLS_TICKET_IV],
                                        struct evp_cipher_ctx_st *cipher,
                                        struct evp_mac_ctx_st *mac);

#endif

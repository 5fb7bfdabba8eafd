#include "proxy/net/tls_server.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_offload.h"
#include "proxy/net/tls_pem.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_tickets.h"

/*
 * Forward secrecy and authenticated encryption only (RFC 9325 section 4.2). TLS 1.3 has no others.
 * The second list is taken off whatever tls.ciphers says.
 */
#define OUR_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
#define NEVER ":!aNULL:!eNULL:!EXPORT:!LOW:!RC4:!3DES:!DES:!IDEA:!SEED:!MD5:!PSK:!SRP:@SECLEVEL=2"

enum {
    CLIENT_CHAIN_OCTETS = 32 * 1024, /* of a client's Certificate message */
    TICKET_CHAIN_OCTETS = 4 * 1024,  /* of that, what a ticket repeats; mostly one CA, 600 octets */
    TRUST_OCTETS = 32
};

/* Certificates for the same names, with keys of different kinds: the client's algorithms choose. */
struct group {
    SSL_CTX *ctx;
    X509 *first; /* of the one whose names are looked at; borrowed from `ctx` */
};

struct tls_server {
    atomic_uint refs;
    struct group *group; /* owned; the first is the default */
    size_t group_count;
    struct tls_server_certificate *certificate; /* owned, with their names */
    size_t certificate_count;
    enum tls_identity identity;
    bool required;           /* clients must show a certificate */
    struct tls_trust *trust; /* owned; NULL: clients are not asked for a certificate */
    struct tls_tickets *tickets;
    struct tls_provider *provider; /* a reference; on its thread are the handshakes; NULL: ours */
    unsigned char trust_id[TRUST_OCTETS]; /* door, CAs and CRLs: the session id context */
};

/* ---- a connection's server ---- */

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int index_of_server = -1; /* of an SSL's reference to its server */

static void drop_reference(void *parent, void *server, CRYPTO_EX_DATA *data, int index, long argl,
                           void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    if (server != NULL)
        tls_server_unref(server);
}

static void make_index(void)
{
    index_of_server = SSL_get_ex_new_index(0, NULL, NULL, NULL, drop_reference);
}

static struct tls_server *server_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, index_of_server);
}

/* ---- callbacks of the handshake ---- */

/* Whole names before wildcards, so that the order of tls.cert decides nothing. */
static SSL_CTX *choose(const struct tls_server *t, const char *name)
{
    static const unsigned flags[] = {X509_CHECK_FLAG_NO_WILDCARDS,
                                     X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS};
    for (size_t pass = 0; pass < sizeof flags / sizeof *flags; pass++) {
        for (size_t i = 0; i < t->group_count; i++) {
            if (X509_check_host(t->group[i].first, name, 0, flags[pass], NULL) == 1)
                return t->group[i].ctx;
        }
    }
    return t->group[0].ctx;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    (void)arg;
    const struct tls_server *t = server_of(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL || t->group_count == 1)
        return name == NULL ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
    return SSL_set_SSL_CTX(ssl, choose(t, name)) != NULL ? SSL_TLSEXT_ERR_OK
                                                         : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Who offers only other protocols would not understand us: no_application_protocol (RFC 7301). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *offered, unsigned offered_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    (void)ssl;
    (void)arg;
    unsigned char *chosen = NULL;
    int found =
        SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, offered, offered_len);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seals)
{
    struct tls_tickets *tickets = server_of(ssl)->tickets;
    return seals ? (int)tls_tickets_seal(tickets, name, iv, cipher, mac)
                 : (int)tls_tickets_open(tickets, name, iv, cipher, mac);
}

/* ---- what a ticket carries besides the session, with the client's certificate ---- */

struct ticket {
    int64_t until;                            /* Unix time */
    unsigned char chain[TICKET_CHAIN_OCTETS]; /* DER, one behind the other */
};

/*
 * What the client has sent along with its certificate, so that a resumed connection can be judged
 * by the CRLs of a later reload as well. Returns the octets; what is too long is left out, and its
 * client must connect anew then.
 */
static size_t write_chain(const SSL *ssl, unsigned char chain[TICKET_CHAIN_OCTETS])
{
    STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl);
    unsigned char *at = chain;
    for (int i = 0; sent != NULL && i < sk_X509_num(sent); i++) {
        int len = i2d_X509(sk_X509_value(sent, i), NULL);
        if (len < 0 || len > chain + TICKET_CHAIN_OCTETS - at)
            break;
        (void)i2d_X509(sk_X509_value(sent, i), &at);
    }
    return (size_t)(at - chain);
}

/* The same, owned; NULL: none. */
static STACK_OF(X509) * read_chain(const SSL *ssl)
{
    void *data = NULL;
    size_t len = 0;
    STACK_OF(X509) *chain = sk_X509_new_null();
    if (SSL_SESSION_get0_ticket_appdata(SSL_get_session(ssl), &data, &len) != 1)
        len = 0;
    size_t head = offsetof(struct ticket, chain);
    const unsigned char *at = data, *end = at + len;
    at += len > head ? head : len;
    while (chain != NULL && at < end) {
        X509 *next = d2i_X509(NULL, &at, end - at);
        if (next == NULL || sk_X509_push(chain, next) <= 0) {
            X509_free(next);
            break;
        }
    }
    return chain;
}

/*
 * A ticket carries until when it may be used: the lifetime since the last whole handshake, and no
 * longer than all that was verified then is valid. Whoever resumes with a ticket gets one with the
 * same end, so that nobody puts off being looked at again.
 */
static int on_ticket_made(SSL *ssl, void *arg)
{
    (void)arg;
    const struct tls_server *t = server_of(ssl);
    if (SSL_session_reused(ssl))
        return 1; /* it carries that already */
    struct ticket ticket;
    ticket.until = (int64_t)time(NULL) + (int64_t)(tls_tickets_lifetime_ms(t->tickets) / 1000);
    if (t->trust != NULL)
        ticket.until = tls_trust_until(t->trust, SSL_get0_verified_chain(ssl), ticket.until);
    size_t len = offsetof(struct ticket, chain) + write_chain(ssl, ticket.chain);
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &ticket, len);
}

static SSL_TICKET_RETURN on_ticket_shown(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                         size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    void *data = NULL;
    size_t len = 0;
    int64_t until;
    (void)name;
    (void)name_len;
    (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 || len < sizeof until)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    memcpy(&until, data, sizeof until);
    if ((int64_t)time(NULL) >= until)
        return SSL_TICKET_RETURN_IGNORE_RENEW; /* the whole handshake says what is wrong */
    /* A client of TLS 1.3 uses a ticket once (RFC 8446 appendix C.4) and needs another for the next
     * time; OpenSSL makes it only if told so. */
    bool again = SSL_version(ssl) < TLS1_3_VERSION && status == SSL_TICKET_SUCCESS;
    return again ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* ---- making ---- */

static bool set_ciphers(SSL_CTX *ctx, const char *wanted)
{
    char ciphers[2048];
    int n = snprintf(ciphers, sizeof ciphers, "%s" NEVER, wanted[0] != '\0' ? wanted : OUR_CIPHERS);
    return n > 0 && (size_t)n < sizeof ciphers && SSL_CTX_set_cipher_list(ctx, ciphers) == 1;
}

bool tls_server_has_ciphers(const char *ciphers)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool has = ctx != NULL && set_ciphers(ctx, ciphers);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return has;
}

/* A connection that ends without close_notify is common among HTTP clients, and whoever cuts one
 * gains nothing: framing and the tunnel's own TLS show it (RFC 9112 section 9.8). */
static bool set_up(SSL_CTX *ctx, const struct tls_server_options *o)
{
    if (!set_ciphers(ctx, o->ciphers))
        return false;
    uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                       SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET;
    bool kernel = o->ktls && stream_tls_in_kernel();
    (void)SSL_CTX_set_options(ctx, kernel ? options | SSL_OP_ENABLE_KTLS : options);
    /* A record's head and the rest of it in one receive. What has been read so could not be given
     * back to a kernel that is to decrypt. */
    SSL_CTX_set_read_ahead(ctx, !kernel);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS |
                                    SSL_MODE_NO_AUTO_CHAIN);
    stream_tls_prepare(ctx);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_OCTETS);
    (void)SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, o->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1; /* it could be played again */
}

/* The same subject and the same alternative names. */
static bool same_names(X509 *a, X509 *b)
{
    int at_a = X509_get_ext_by_NID(a, NID_subject_alt_name, -1);
    int at_b = X509_get_ext_by_NID(b, NID_subject_alt_name, -1);
    if (at_a < 0 || at_b < 0)
        return at_a < 0 && at_b < 0 &&
               X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)) == 0;
    return ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(a, at_a)),
                                 X509_EXTENSION_get_data(X509_get_ext(b, at_b))) == 0;
}

static bool has_key_like(SSL_CTX *ctx, EVP_PKEY *key)
{
    for (long rc = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); rc == 1;
         rc = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT)) {
        if (EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(ctx))) ==
            EVP_PKEY_get_base_id(key))
            return true;
    }
    return false;
}

/* The group whose names these are, or a new one. NULL: `*why` says why not. */
static struct group *group_for(struct tls_server *t, const struct tls_server_options *o, X509 *own,
                               const char **why)
{
    for (size_t i = 0; i < t->group_count; i++) {
        if (!same_names(t->group[i].first, own))
            continue;
        *why = "another certificate has the same names and the same kind of key; leave one out";
        return has_key_like(t->group[i].ctx, X509_get0_pubkey(own)) ? NULL : &t->group[i];
    }
    struct group *g = &t->group[t->group_count];
    *why = "out of memory";
    g->ctx = SSL_CTX_new(TLS_server_method());
    if (g->ctx == NULL)
        return NULL;
    t->group_count++;
    *why = "of its ciphers none may be used";
    return set_up(g->ctx, o) ? g : NULL;
}

static bool add_pair(struct tls_server *t, const struct tls_server_options *o,
                     const struct tls_pair *pair, const char **why)
{
    STACK_OF(X509) *others = tls_pem_certificates(pair->chain, why);
    X509 *own = others != NULL ? sk_X509_shift(others) : NULL; /* ours is the first of them */
    struct group *g = own != NULL ? group_for(t, o, own, why) : NULL;
    bool added = false;
    if (g != NULL) {
        *why = "the key is not that of the certificate, which is the first of its file";
        if (EVP_PKEY_eq(X509_get0_pubkey(own), tls_key_pkey(pair->key)) == 1) {
            added = SSL_CTX_use_cert_and_key(g->ctx, own, tls_key_pkey(pair->key), others, 0) == 1;
            *why = ERR_reason_error_string(ERR_peek_last_error());
        }
    }
    if (added && g->first == NULL)
        g->first = SSL_CTX_get0_certificate(g->ctx);
    if (added)
        t->certificate[t->certificate_count++] = (struct tls_server_certificate){
            strdup(pair->name), tls_pem_time(X509_get0_notBefore(own), 0),
            tls_pem_time(X509_get0_notAfter(own), 0)};
    if (added && t->provider == NULL && tls_key_provider(pair->key) != NULL)
        t->provider = tls_provider_ref(tls_key_provider(pair->key));
    X509_free(own);
    sk_X509_pop_free(others, X509_free);
    ERR_clear_error();
    if (added && t->certificate[t->certificate_count - 1].name == NULL) {
        *why = "out of memory";
        added = false;
    }
    return added;
}

/* Whoever was believed under other CAs or CRLs, or at another door, is not resumed. */
static bool make_trust_id(struct tls_server *t, const struct tls_server_options *o)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    const unsigned char kind = (unsigned char)o->auth;
    bool good = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(md, o->door, strlen(o->door) + 1) == 1 &&
                EVP_DigestUpdate(md, &kind, sizeof kind) == 1 &&
                EVP_DigestUpdate(md, o->client_ca.ptr, o->client_ca.len) == 1;
    for (size_t i = 0; good && i < o->client_crl_count; i++)
        good = EVP_DigestUpdate(md, "\n", 1) == 1 &&
               EVP_DigestUpdate(md, o->client_crl[i].ptr, o->client_crl[i].len) == 1;
    good = good && EVP_DigestFinal_ex(md, t->trust_id, NULL) == 1;
    EVP_MD_CTX_free(md);
    return good;
}

static bool believe(struct tls_server *t, const struct tls_server_options *o, const char **why)
{
    *why = "out of memory";
    if (!make_trust_id(t, o))
        return false;
    for (size_t i = 0; i < t->group_count; i++)
        (void)SSL_CTX_set_session_id_context(t->group[i].ctx, t->trust_id, TRUST_OCTETS);
    if (o->auth == TLS_CLIENT_NONE)
        return true;
    t->trust = tls_trust_create(o->client_ca, o->client_crl, o->client_crl_count, why);
    for (size_t i = 0; t->trust != NULL && i < t->group_count; i++)
        tls_trust_apply(t->trust, t->group[i].ctx, o->auth == TLS_CLIENT_REQUIRED);
    return t->trust != NULL;
}

struct tls_server *tls_server_create(const struct tls_server_options *options, char *why,
                                     size_t size)
{
    const char *reason = "out of memory", *name = "";
    (void)pthread_once(&index_once, make_index);
    struct tls_server *t = calloc(1, sizeof *t);
    if (t != NULL) {
        atomic_init(&t->refs, 1);
        t->identity = options->identity;
        t->required = options->auth == TLS_CLIENT_REQUIRED;
        t->group = calloc(options->pair_count, sizeof *t->group);
        t->certificate = calloc(options->pair_count, sizeof *t->certificate);
    }
    bool good = t != NULL && t->group != NULL && t->certificate != NULL && index_of_server >= 0;
    for (size_t i = 0; good && i < options->pair_count; i++) {
        name = options->pair[i].name;
        good = add_pair(t, options, &options->pair[i], &reason);
    }
    if (good) {
        name = "";
        good = believe(t, options, &reason);
    }
    if (good)
        return t;
    (void)snprintf(why, size, "%s%s%s%s", name[0] != '\0' ? "\"" : "", name,
                   name[0] != '\0' ? "\": " : "", reason != NULL ? reason : "cannot be used");
    ERR_clear_error();
    if (t != NULL)
        tls_server_unref(t);
    return NULL;
}

struct tls_server *tls_server_ref(struct tls_server *t)
{
    (void)atomic_fetch_add(&t->refs, 1);
    return t;
}

void tls_server_unref(struct tls_server *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    for (size_t i = 0; i < t->group_count; i++)
        SSL_CTX_free(t->group[i].ctx);
    for (size_t i = 0; i < t->certificate_count; i++)
        free(t->certificate[i].name);
    tls_trust_destroy(t->trust);
    tls_provider_unref(t->provider);
    free(t->certificate);
    free(t->group);
    free(t);
}

void tls_server_use_tickets(struct tls_server *t, struct tls_tickets *tickets)
{
    uint64_t lifetime_ms = tls_tickets_lifetime_ms(tickets);
    if (lifetime_ms == 0)
        return;
    t->tickets = tickets;
    for (size_t i = 0; i < t->group_count; i++) {
        SSL_CTX *ctx = t->group[i].ctx;
        (void)SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(ctx, 1);
        (void)SSL_CTX_set_timeout(ctx, (long)(lifetime_ms / 1000));
        (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket_key);
        (void)SSL_CTX_set_session_ticket_cb(ctx, on_ticket_made, on_ticket_shown, NULL);
    }
}

size_t tls_server_certificates(const struct tls_server *t,
                               const struct tls_server_certificate **list)
{
    *list = t->certificate;
    return t->certificate_count;
}

int64_t tls_server_crl_until(const struct tls_server *t)
{
    return t->trust != NULL ? tls_trust_crl_until(t->trust) : 0;
}

/* ---- a connection ---- */

int tls_server_begin(struct tls_server *t, struct stream *s, const struct netloop *net)
{
    if (t->provider != NULL && tls_provider_is_lost(t->provider))
        return -ENODEV;
    SSL *ssl = SSL_new(t->group[0].ctx);
    if (ssl == NULL || SSL_set_fd(ssl, s->fd) != 1 ||
        SSL_set_ex_data(ssl, index_of_server, t) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return -ENOMEM;
    }
    (void)tls_server_ref(t);
    SSL_set_accept_state(ssl);
    int rc = 0;
    if (t->provider == NULL)
        stream_tls_take(s, ssl);
    else
        rc = tls_offload_begin(s, ssl, t->provider, net->tls);
    if (rc != 0)
        SSL_free(ssl);
    return rc;
}

bool tls_server_identity(const struct stream *s, char identity[TLS_IDENTITY_MAX + 1])
{
    const SSL *ssl = s->layer_state;
    const X509 *shown = SSL_get0_peer_certificate(ssl);
    if (shown != NULL)
        (void)tls_trust_identity(shown, server_of(ssl)->identity, identity);
    return shown != NULL;
}

static bool still_believed(const struct tls_server *t, SSL *ssl, const char **why)
{
    X509 *shown = SSL_get0_peer_certificate(ssl);
    *why = "no certificate was shown";
    if (shown == NULL)
        return !t->required;
    STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl);
    STACK_OF(X509) *kept = sent == NULL ? read_chain(ssl) : NULL;
    bool believed = tls_trust_verify(t->trust, shown, sent != NULL ? sent : kept, why);
    sk_X509_pop_free(kept, X509_free);
    return believed;
}

bool tls_server_has_judged(const struct tls_server *t, const struct stream *s)
{
    return server_of(s->layer_state) == t;
}

bool tls_server_judge(struct tls_server *t, const struct stream *s, const char **why)
{
    SSL *ssl = s->layer_state;
    struct tls_server *before = server_of(ssl);
    bool same = t->trust == NULL || memcmp(t->trust_id, before->trust_id, TRUST_OCTETS) == 0;
    if (!same && !still_believed(t, ssl, why))
        return false;
    /* Remembered, so that each of its requests does not cost as much. */
    if (SSL_set_ex_data(ssl, index_of_server, t) == 1) {
        (void)tls_server_ref(t);
        tls_server_unref(before);
    }
    return true;
}

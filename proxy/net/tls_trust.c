#include "proxy/net/tls_trust.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "proxy/net/tls_pem.h"

enum {
    CHAIN_DEPTH = 8, /* CAs between a client and the one that is believed */
    LEVEL = 2        /* OpenSSL's: no key of less than 112 bits of security, no SHA-1 */
};

struct tls_trust {
    X509_STORE *store;
    STACK_OF(X509_NAME) * names; /* of the CAs, for clients to choose by */
    int64_t crl_until;           /* 0: there are no CRLs */
};

/* ---- making ---- */

static bool add_ca(struct tls_trust *t, X509 *ca)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));
    if (name == NULL || X509_STORE_add_cert(t->store, ca) != 1 ||
        sk_X509_NAME_push(t->names, name) <= 0) {
        X509_NAME_free(name);
        return false;
    }
    return true;
}

/* True: all of them. */
static bool add_cas(struct tls_trust *t, struct span text, const char **why)
{
    STACK_OF(X509) *cas = tls_pem_certificates(text, why);
    bool added = cas != NULL;
    for (int i = 0; added && i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        *why = "out of memory";
        /* OpenSSL reads its extensions when it is first needed: now, while nobody shares it. */
        (void)X509_check_purpose(ca, -1, 0);
        added = add_ca(t, ca);
    }
    sk_X509_pop_free(cas, X509_free);
    return added;
}

static bool add_crls(struct tls_trust *t, struct span text, const char **why)
{
    STACK_OF(X509_CRL) *crls = tls_pem_crls(text, why);
    bool added = crls != NULL;
    for (int i = 0; added && i < sk_X509_CRL_num(crls); i++) {
        X509_CRL *crl = sk_X509_CRL_value(crls, i);
        int64_t until = tls_pem_time(X509_CRL_get0_nextUpdate(crl), INT64_MAX);
        *why = "out of memory";
        added = X509_STORE_add_crl(t->store, crl) == 1;
        t->crl_until = t->crl_until == 0 || until < t->crl_until ? until : t->crl_until;
    }
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return added;
}

/* A believed CA is where the path begins, and no CRL speaks of that (RFC 5280 section 6.1); OpenSSL
 * would ask for one all the same. */
static int on_verified(int good, X509_STORE_CTX *at)
{
    int error = X509_STORE_CTX_get_error(at);
    int last = sk_X509_num(X509_STORE_CTX_get0_chain(at)) - 1;
    if (good || error != X509_V_ERR_UNABLE_TO_GET_CRL || last < 1 ||
        X509_STORE_CTX_get_error_depth(at) != last)
        return good;
    X509_STORE_CTX_set_error(at, X509_V_OK);
    return 1;
}

struct tls_trust *tls_trust_create(struct span cas, const struct span *crls, size_t crl_count,
                                   const char **why)
{
    struct tls_trust *t = calloc(1, sizeof *t);
    *why = "out of memory";
    if (t == NULL)
        return NULL;
    t->store = X509_STORE_new();
    t->names = sk_X509_NAME_new_null();
    bool good = t->store != NULL && t->names != NULL && add_cas(t, cas, why);
    for (size_t i = 0; good && i < crl_count; i++)
        good = add_crls(t, crls[i], why);
    if (!good) {
        tls_trust_destroy(t);
        return NULL;
    }
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    if (crl_count > 0)
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    (void)X509_STORE_set_flags(t->store, flags);
    return t;
}

void tls_trust_destroy(struct tls_trust *t)
{
    if (t == NULL)
        return;
    X509_STORE_free(t->store);
    sk_X509_NAME_pop_free(t->names, X509_NAME_free);
    free(t);
}

void tls_trust_apply(const struct tls_trust *t, SSL_CTX *ctx, bool required)
{
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       on_verified);
    SSL_CTX_set1_cert_store(ctx, t->store);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
    SSL_CTX_set_security_level(ctx, LEVEL);
    SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(t->names));
}

bool tls_trust_verify(const struct tls_trust *t, X509 *certificate, STACK_OF(X509) * chain,
                      const char **why)
{
    X509_STORE_CTX *at = X509_STORE_CTX_new();
    *why = "out of memory";
    bool good = at != NULL && X509_STORE_CTX_init(at, t->store, certificate, chain) == 1 &&
                X509_STORE_CTX_set_default(at, "ssl_client") == 1;
    if (good) { /* by the rules of a handshake */
        X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(at);
        X509_VERIFY_PARAM_set_depth(rules, CHAIN_DEPTH);
        X509_VERIFY_PARAM_set_auth_level(rules, LEVEL);
        X509_STORE_CTX_set_verify_cb(at, on_verified);
        good = X509_verify_cert(at) == 1;
        *why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(at));
    }
    X509_STORE_CTX_free(at);
    ERR_clear_error();
    return good;
}

/* ---- how long ---- */

int64_t tls_trust_until(const struct tls_trust *t, const STACK_OF(X509) * chain, int64_t until)
{
    if (t->crl_until != 0 && t->crl_until < until)
        until = t->crl_until;
    for (int i = 0; chain != NULL && i < sk_X509_num(chain); i++) {
        int64_t end = tls_pem_time(X509_get0_notAfter(sk_X509_value(chain, i)), INT64_MAX);
        until = end < until ? end : until;
    }
    return until;
}

int64_t tls_trust_crl_until(const struct tls_trust *t)
{
    return t->crl_until;
}

/* ---- who it is ---- */

/* Nothing that could be taken for another name, or for two, in a file of roles or a log line. */
static bool take(char identity[TLS_IDENTITY_MAX + 1], const unsigned char *text, int len,
                 bool as_host)
{
    if (len <= 0 || len > TLS_IDENTITY_MAX)
        return false;
    for (int i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
        bool upper = as_host && text[i] >= 'A' && text[i] <= 'Z';
        identity[i] = (char)(upper ? text[i] - 'A' + 'a' : text[i]);
    }
    identity[len] = '\0';
    return true;
}

static bool take_subject(X509_NAME *name, char identity[TLS_IDENTITY_MAX + 1])
{
    char *text = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    bool taken = false;
    if (out != NULL && X509_NAME_entry_count(name) > 0 &&
        X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(out, &text);
        if (len > 0 && len <= TLS_IDENTITY_MAX)
            taken = take(identity, (const unsigned char *)text, (int)len, false);
    }
    BIO_free(out);
    return taken;
}

static bool take_common_name(X509_NAME *name, char identity[TLS_IDENTITY_MAX + 1])
{
    int at = -1, last = -1;
    while ((at = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
        last = at;
    unsigned char *text = NULL;
    int len =
        last < 0
            ? -1
            : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
    bool taken = len > 0 && take(identity, text, len, false);
    if (len >= 0)
        OPENSSL_free(text);
    return taken;
}

static bool take_alternative(const X509 *certificate, int kind, char identity[TLS_IDENTITY_MAX + 1])
{
    bool taken = false;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type != kind)
            continue;
        taken = take(identity, ASN1_STRING_get0_data(value), ASN1_STRING_length(value),
                     kind == GEN_DNS);
        break;
    }
    GENERAL_NAMES_free(names);
    return taken;
}

bool tls_trust_identity(const X509 *certificate, enum tls_identity kind,
                        char identity[TLS_IDENTITY_MAX + 1])
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    bool taken = false;
    switch (kind) {
    case TLS_IDENTITY_SUBJECT:
        taken = take_subject(subject, identity);
        break;
    case TLS_IDENTITY_CN:
        taken = take_common_name(subject, identity);
        break;
    case TLS_IDENTITY_DNS:
        taken = take_alternative(certificate, GEN_DNS, identity);
        break;
    case TLS_IDENTITY_URI:
        taken = take_alternative(certificate, GEN_URI, identity);
        break;
    case TLS_IDENTITY_EMAIL:
        taken = take_alternative(certificate, GEN_EMAIL, identity);
        break;
    }
    ERR_clear_error();
    if (!taken)
        identity[0] = '\0';
    return taken;
}

/*
 * tls_made.h - certificates made for a test: a CA, and what it signs, with any name and end.
 */
#ifndef TESTS_UNIT_NET_TLS_MADE_H
#define TESTS_UNIT_NET_TLS_MADE_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct made {
    EVP_PKEY *key;
    X509 *certificate;
};

/* What a certificate is to be. */
struct made_request {
    const char *name;          /* its common name */
    const struct made *issuer; /* NULL: itself */
    long end_s;                /* from now */
};

static inline struct made made_unsigned(const struct made_request *r)
{
    struct made m = {EVP_EC_gen("P-256"), X509_new()};
    X509_NAME *name = X509_get_subject_name(m.certificate);
    assert_non_null(m.key);
    assert_int_equal(X509_set_version(m.certificate, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(m.certificate), (long)(size_t)m.key),
                     1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(m.certificate), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(m.certificate), r->end_s));
    if (r->name != NULL)
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                    (const unsigned char *)r->name, -1, -1, 0),
                         1);
    assert_int_equal(X509_set_pubkey(m.certificate, m.key), 1);
    assert_int_equal(X509_set_issuer_name(
                         m.certificate,
                         r->issuer != NULL ? X509_get_subject_name(r->issuer->certificate) : name),
                     1);
    return m;
}

static inline void made_sign(struct made *m, const struct made *issuer)
{
    EVP_PKEY *key = issuer != NULL ? issuer->key : m->key;
    assert_true(X509_sign(m->certificate, key, EVP_sha256()) > 0);
}

static inline void made_add(struct made *m, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(m->certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline struct made made_ca(const char *name)
{
    struct made m = made_unsigned(&(struct made_request){name, NULL, 86400});
    made_add(&m, NID_basic_constraints, "critical,CA:TRUE");
    made_sign(&m, NULL);
    return m;
}

static inline struct made made_by(const struct made *issuer, const char *name, long end_s)
{
    struct made m = made_unsigned(&(struct made_request){name, issuer, end_s});
    made_sign(&m, issuer);
    return m;
}

static inline void made_free(struct made *m)
{
    EVP_PKEY_free(m->key);
    X509_free(m->certificate);
}

/* PEM, into `to`; its length. */
static inline size_t made_print(char *to, size_t size, const struct made *m, int with_key)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text;
    assert_int_equal(PEM_write_bio_X509(out, m->certificate), 1);
    if (with_key)
        assert_int_equal(PEM_write_bio_PrivateKey(out, m->key, NULL, NULL, 0, NULL, NULL), 1);
    size_t len = (size_t)BIO_get_mem_data(out, &text);
    assert_true(len < size);
    memcpy(to, text, len);
    BIO_free(out);
    return len;
}

#endif

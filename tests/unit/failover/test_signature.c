/* test_signature.c - signatures of roster documents: what we sign verifies; what is wrong, missing,
 * of somebody else or of something else does not. Keys and certificates are made here. */
#include "failover/signature.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "failover/base64url.h"

#define NOW ((time_t)1795176000) /* 2026-11-20T12:00:00Z */
#define DAY 86400
#define TEXT SPAN("{\"identifier\":\"px1.plant7.example\"}")

enum kind { EC, RSA_KEY, ED, KINDS };

static EVP_PKEY *key_made(enum kind kind)
{
    EVP_PKEY *key = kind == EC        ? EVP_EC_gen("P-256")
                    : kind == RSA_KEY ? EVP_RSA_gen(2048)
                                      : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key);
    return key;
}

/* What was written to a memory BIO; a static buffer for each slot. Takes the BIO. */
static struct span pem_of(BIO *out, unsigned slot)
{
    static char text[8][65536];
    int n = BIO_read(out, text[slot], sizeof text[slot]);
    BIO_free(out);
    return (struct span){text[slot], n > 0 ? (size_t)n : 0};
}

static struct span private_pem(EVP_PKEY *key, unsigned slot)
{
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    return pem_of(out, slot);
}

static struct span public_pem(EVP_PKEY *key, unsigned slot)
{
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(out, key), 1);
    return pem_of(out, slot);
}

static void extension_add(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

struct wish {
    EVP_PKEY *key;
    const char *name, *alternative, *usage; /* NULL: without */
    X509 *issuer;                           /* NULL: self-signed */
    EVP_PKEY *issuer_key;
    bool ca;
    time_t first, last;
};

static X509 *certificate_made(const struct wish *w)
{
    static long serial;
    X509 *x = X509_new();
    assert_non_null(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), w->first > 0 ? w->first : NOW - DAY));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), w->last > 0 ? w->last : NOW + DAY));
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)w->name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(w->issuer != NULL ? w->issuer : x));
    X509_set_pubkey(x, w->key);
    if (w->ca)
        extension_add(x, NID_basic_constraints, "critical,CA:TRUE");
    if (w->alternative != NULL)
        extension_add(x, NID_subject_alt_name, w->alternative);
    if (w->usage != NULL)
        extension_add(x, NID_key_usage, w->usage);
    assert_true(X509_sign(x, w->issuer_key != NULL ? w->issuer_key : w->key, EVP_sha256()) > 0);
    return x;
}

static struct span chain_pem(X509 *first, X509 *second, unsigned slot)
{
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(out, first), 1);
    if (second != NULL)
        assert_int_equal(PEM_write_bio_X509(out, second), 1);
    return pem_of(out, slot);
}

static struct signature_key *key_of(EVP_PKEY *key, struct span certificates)
{
    struct signature_key *k = NULL;
    const char *why = "";
    if (signature_key_create(&k, private_pem(key, 0), certificates, &why) != 0)
        fail_msg("%s", why);
    return k;
}

static struct signature_trust *trust_of(struct span pem)
{
    struct signature_trust *t = NULL;
    const char *why = "";
    if (signature_trust_create(&t, pem, &why) != 0)
        fail_msg("%s", why);
    return t;
}

static char *made(const struct signature_key *k, struct span text)
{
    char *field = NULL;
    assert_int_equal(signature_make(&field, k, text), 0);
    assert_non_null(field);
    return field;
}

static bool verified(const struct signature_trust *t, struct span text, const char *field,
                     const char *host, const char **why)
{
    *why = NULL;
    /* Exactly that size, so that a sanitizer sees one octet too far. */
    size_t len = strlen(field);
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, field, len);
    int rc = signature_verify(t, text, (struct span){exact, len}, host, NOW, why);
    free(exact);
    assert_true(rc == 0 || (rc == -EPERM && *why != NULL));
    assert_int_equal(ERR_peek_error(), 0);
    return rc == 0;
}

/* The protected header as JSON; static. */
static const char *header_of(const char *field)
{
    static char text[SIGNATURE_FIELD_MAX];
    struct buf b;
    size_t len = strcspn(field, ".");
    buf_init(&b, sizeof text - 1);
    assert_int_equal(base64url_read(&b, (struct span){field, len}), 0);
    (void)snprintf(text, sizeof text, "%.*s", SPAN_ARGS(buf_span(&b)));
    buf_release(&b);
    return text;
}

static void what_we_sign_verifies(void **state)
{
    (void)state;
    static const char *const algorithms[] = {"ES256", "RS256", "EdDSA"};
    for (unsigned kind = 0; kind < KINDS; kind++) {
        EVP_PKEY *key = key_made((enum kind)kind), *other = key_made((enum kind)kind);
        struct signature_key *k = key_of(key, (struct span){"", 0});
        struct signature_trust *t = trust_of(public_pem(key, 1));
        struct signature_trust *stranger = trust_of(public_pem(other, 2));
        char *field = made(k, TEXT);
        const char *why;
        assert_true(verified(t, TEXT, field, "whoever", &why));
        assert_false(verified(stranger, TEXT, field, "whoever", &why));
        assert_string_equal(why, "it is not of this document, or of nobody who is trusted");
        assert_false(verified(t, SPAN("{\"identifier\":\"px2.plant7.example\"}"), field, "", &why));
        assert_false(verified(t, SPAN(""), field, "whoever", &why));
        const char *header = header_of(field);
        assert_non_null(strstr(header, algorithms[kind]));
        assert_non_null(strstr(header, "\"typ\":\"pvd+json\""));
        assert_null(strstr(header, "x5c"));
        free(field);
        field = made(k, SPAN("")); /* nothing is something that can be signed */
        assert_true(verified(t, SPAN(""), field, "whoever", &why));
        free(field);
        signature_trust_destroy(t);
        signature_trust_destroy(stranger);
        signature_key_destroy(k);
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
    }
}

/* Each octet changed, cut off at each place, two fields run together: none is taken. */
static void damaged_ones_are_refused(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        EVP_PKEY *key = key_made((enum kind)kind);
        struct signature_key *k = key_of(key, (struct span){"", 0});
        struct signature_trust *t = trust_of(public_pem(key, 1));
        char *field = made(k, TEXT);
        size_t len = strlen(field);
        char *copy = malloc(2 * len + 8);
        const char *why;
        assert_non_null(copy);
        for (size_t i = 0; i < len; i += kind == RSA_KEY ? 7 : 1) {
            memcpy(copy, field, len + 1);
            copy[i] = copy[i] == 'A' ? 'B' : 'A';
            if (verified(t, TEXT, copy, "whoever", &why))
                fail_msg("octet %zu may be another", i);
            memcpy(copy, field, i);
            copy[i] = '\0';
            if (verified(t, TEXT, copy, "whoever", &why))
                fail_msg("%zu octets are enough", i);
        }
        static const char *const forms[] = {
            "%s,%s", "%s.%s", "%s%s", "%s =", " %s", "%s..", "..%s"};
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
            (void)snprintf(copy, 2 * len + 8, forms[i], field, field);
#pragma GCC diagnostic pop
            assert_false(verified(t, TEXT, copy, "whoever", &why));
        }
        free(copy);
        free(field);
        signature_trust_destroy(t);
        signature_key_destroy(k);
        EVP_PKEY_free(key);
    }
}

/* A field of this header and the key's own good signature over it: only the header is wrong.
 * Returns owned. */
static char *signed_header(EVP_PKEY *key, const char *header, struct span text)
{
    unsigned char octets[1024];
    size_t length = sizeof octets;
    struct buf b;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    buf_init(&b, 65536);
    assert_int_equal(base64url_add(&b, span_of(header)), 0);
    size_t end = buf_len(&b);
    assert_int_equal(buf_add(&b, ".", 1), 0);
    assert_int_equal(base64url_add(&b, text), 0);
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
    assert_int_equal(
        EVP_DigestSign(ctx, octets, &length, (unsigned char *)buf_head(&b), buf_len(&b)), 1);
    EVP_MD_CTX_free(ctx);
    struct buf field;
    buf_init(&field, 65536);
    assert_int_equal(buf_add(&field, buf_head(&b), end), 0);
    assert_int_equal(buf_add_str(&field, ".."), 0);
    assert_int_equal(base64url_add(&field, (struct span){(char *)octets, length}), 0);
    assert_int_equal(buf_add(&field, "", 1), 0);
    char *copy = strdup(buf_head(&field));
    buf_release(&field);
    buf_release(&b);
    return copy;
}

/* RFC 8725: the algorithm is the key's, "none" is none, what is critical must be understood, and a
 * signature made for something else is not one of a roster. */
static void headers_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        bool good;
    } cases[] = {
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\"}", true},
        {" {\"typ\" : \"pvd+json\", \"alg\":\"EdDSA\",\"kid\":[]} ", true},
        {"{\"alg\":\"none\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"HS256\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"ES256\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"RS256\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"eddsa\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":null,\"typ\":\"pvd+json\"}", false},
        {"{\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"EdDSA\"}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":1}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\",\"crit\":[\"b64\"],\"b64\":false}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\",\"crit\":[]}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\",\"b64\":true}", false},
        {"{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"typ\":\"pvd+json\"}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\",\"x5c\":\"MII\"}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\"} {}", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\"", false},
        {"[\"EdDSA\"]", false},
        {"\"EdDSA\"", false},
        {"{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\",\"x\":[[[[]]]]}", false},
        {"\xef\xbb\xbf{\"alg\":\"EdDSA\",\"typ\":\"pvd+json\"}", false},
    };
    EVP_PKEY *key = key_made(ED);
    struct signature_trust *t = trust_of(public_pem(key, 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why;
        char *field = signed_header(key, cases[i].header, TEXT);
        if (verified(t, TEXT, field, "whoever", &why) != cases[i].good)
            fail_msg("%s: %s", cases[i].header, why);
        free(field);
    }
    signature_trust_destroy(t);
    EVP_PKEY_free(key);
}

/* The key that a stranger sends along proves that he has it, and nothing more. */
static void fields_that_are_none(void **state)
{
    (void)state;
    static const char *const fields[] = {"",       ".",           "..",       "...", "a",
                                         "a.b.c",  "a..",         "..a",      "e30", "e30..",
                                         "e30..!", "e30==..e30=", "e30..e30", "a..a"};
    EVP_PKEY *key = key_made(ED);
    struct signature_trust *t = trust_of(public_pem(key, 1));
    const char *why;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        assert_false(verified(t, TEXT, fields[i], "whoever", &why));
    char *long_one = malloc(SIGNATURE_FIELD_MAX + 2);
    assert_non_null(long_one);
    memset(long_one, 'A', SIGNATURE_FIELD_MAX + 1);
    long_one[SIGNATURE_FIELD_MAX + 1] = '\0';
    assert_false(verified(t, TEXT, long_one, "whoever", &why));
    assert_string_equal(why, "it is too long");
    free(long_one);
    signature_trust_destroy(t);
    EVP_PKEY_free(key);
}

/* ---- certificates ---- */

struct authority {
    EVP_PKEY *key, *middle_key;
    X509 *root, *middle;
};

static struct authority authority_made(void)
{
    struct authority a = {key_made(EC), key_made(EC), NULL, NULL};
    const struct wish root = {.key = a.key, .name = "root", .ca = true};
    a.root = certificate_made(&root);
    const struct wish middle = {
        .key = a.middle_key, .name = "middle", .ca = true, .issuer = a.root, .issuer_key = a.key};
    a.middle = certificate_made(&middle);
    return a;
}

static void authority_end(struct authority *a)
{
    X509_free(a->root);
    X509_free(a->middle);
    EVP_PKEY_free(a->key);
    EVP_PKEY_free(a->middle_key);
}

/* Who has a certificate of the CA, of its own name and for now, is believed about itself only. */
static void chains(void **state)
{
    (void)state;
    static const struct {
        const char *alternative, *usage, *host;
        time_t first, last;
        const char *why; /* NULL: good */
    } cases[] = {
        {"DNS:px1.plant7.example", NULL, "px1.plant7.example", 0, 0, NULL},
        {"DNS:px1.plant7.example", "digitalSignature", "px1.plant7.example", 0, 0, NULL},
        {"DNS:*.plant7.example", NULL, "px1.plant7.example", 0, 0,
         "its signer's certificate names another host than the one asked"},
        {"IP:192.0.2.1", NULL, "192.0.2.1", 0, 0, NULL},
        {"IP:2001:db8::1", NULL, "2001:db8::1", 0, 0, NULL},
        {"DNS:px2.plant7.example", NULL, "px1.plant7.example", 0, 0,
         "its signer's certificate names another host than the one asked"},
        {NULL, NULL, "px1.plant7.example", 0, 0, /* the subject is no host name */
         "its signer's certificate names another host than the one asked"},
        {"DNS:192.0.2.1", NULL, "192.0.2.1", 0, 0,
         "its signer's certificate names another host than the one asked"},
        {"DNS:px1.plant7.example", "keyEncipherment", "px1.plant7.example", 0, 0,
         "its signer's certificate is not for signatures"},
        {"DNS:px1.plant7.example", NULL, "px1.plant7.example", NOW - 9 * DAY, NOW - 1,
         "a certificate of its signer is not valid now"},
        {"DNS:px1.plant7.example", NULL, "px1.plant7.example", NOW + 9, NOW + DAY,
         "a certificate of its signer is not valid now"},
    };
    struct authority a = authority_made();
    struct signature_trust *t = trust_of(chain_pem(a.root, NULL, 1));
    struct signature_trust *of_middle = trust_of(chain_pem(a.middle, NULL, 2));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EVP_PKEY *key = key_made((enum kind)(i % 2 == 0 ? EC : ED));
        const struct wish w = {key,
                               "px1.plant7.example",
                               cases[i].alternative,
                               cases[i].usage,
                               a.middle,
                               a.middle_key,
                               false,
                               cases[i].first,
                               cases[i].last};
        X509 *x = certificate_made(&w);
        struct signature_key *k = key_of(key, chain_pem(x, a.middle, 3));
        struct signature_key *short_of = key_of(key, chain_pem(x, NULL, 3));
        struct signature_trust *pinned = trust_of(chain_pem(x, NULL, 3));
        char *field = made(k, TEXT), *alone = made(short_of, TEXT);
        const char *why;
        bool good = verified(t, TEXT, field, cases[i].host, &why);
        if (good != (cases[i].why == NULL) || (!good && strcmp(why, cases[i].why) != 0))
            fail_msg("%s for %s: %s", cases[i].alternative, cases[i].host, why);
        assert_int_equal(verified(of_middle, TEXT, alone, cases[i].host, &why), good);
        assert_false(verified(t, TEXT, alone, cases[i].host, &why)); /* the middle is missing */
        assert_false(verified(t, SPAN("{}"), field, cases[i].host, &why));
        assert_false(verified(t, TEXT, field, NULL, &why)); /* not one of those that may */
        /* Its own certificate among the trusted ones stands for its key. */
        assert_true(verified(pinned, TEXT, field, cases[i].host, &why));
        assert_true(verified(pinned, TEXT, field, NULL, &why));
        free(field);
        free(alone);
        signature_trust_destroy(pinned);
        signature_key_destroy(k);
        signature_key_destroy(short_of);
        X509_free(x);
        EVP_PKEY_free(key);
    }
    signature_trust_destroy(t);
    signature_trust_destroy(of_middle);
    authority_end(&a);
}

/* A CA on the way whose key others may have found out by now. */
static void weak_authorities(void **state)
{
    (void)state;
    struct authority a = authority_made();
    EVP_PKEY *ca_keys[] = {EVP_RSA_gen(2048), EVP_RSA_gen(1024)}, *key = key_made(EC);
    struct signature_trust *t = trust_of(chain_pem(a.root, NULL, 1));
    for (size_t i = 0; i < 2; i++) {
        const struct wish middle = {
            .key = ca_keys[i], .name = "other", .ca = true, .issuer = a.root, .issuer_key = a.key};
        X509 *ca = certificate_made(&middle);
        const struct wish leaf = {.key = key,
                                  .name = "px1",
                                  .alternative = "DNS:px1.plant7.example",
                                  .issuer = ca,
                                  .issuer_key = ca_keys[i]};
        X509 *x = certificate_made(&leaf);
        struct signature_key *k = key_of(key, chain_pem(x, ca, 2));
        char *field = made(k, TEXT);
        const char *why;
        assert_int_equal(verified(t, TEXT, field, "px1.plant7.example", &why), i == 0);
        free(field);
        signature_key_destroy(k);
        X509_free(x);
        X509_free(ca);
        EVP_PKEY_free(ca_keys[i]);
    }
    signature_trust_destroy(t);
    authority_end(&a);
    EVP_PKEY_free(key);
}

/* Its own CA under the same names; a leaf that plays the CA. */
static void strangers(void **state)
{
    (void)state;
    struct authority a = authority_made(), b = authority_made();
    EVP_PKEY *key = key_made(EC), *leaf_key = key_made(EC);
    const struct wish leaf = {.key = leaf_key,
                              .name = "px2.plant7.example",
                              .alternative = "DNS:px2.plant7.example",
                              .issuer = a.middle,
                              .issuer_key = a.middle_key};
    X509 *real = certificate_made(&leaf);
    const struct wish wishes[] = {
        {.key = key,
         .name = "px1",
         .alternative = "DNS:px1.plant7.example",
         .issuer = b.middle,
         .issuer_key = b.middle_key},
        {.key = key,
         .name = "px1",
         .alternative = "DNS:px1.plant7.example",
         .issuer = real,
         .issuer_key = leaf_key},
        {.key = key, .name = "px1", .alternative = "DNS:px1.plant7.example", .ca = true},
    };
    X509 *const seconds[] = {b.middle, real, NULL};
    struct signature_trust *t = trust_of(chain_pem(a.root, a.middle, 1));
    for (size_t i = 0; i < 3; i++) {
        X509 *x = certificate_made(&wishes[i]);
        struct signature_key *k = key_of(key, chain_pem(x, seconds[i], 2));
        char *field = made(k, TEXT);
        const char *why;
        assert_false(verified(t, TEXT, field, "px1.plant7.example", &why));
        assert_string_equal(why, "its signer's certificate leads to none that is trusted");
        free(field);
        signature_key_destroy(k);
        X509_free(x);
    }
    signature_trust_destroy(t);
    X509_free(real);
    EVP_PKEY_free(key);
    EVP_PKEY_free(leaf_key);
    authority_end(&a);
    authority_end(&b);
}

/* ---- files ---- */

static void key_refused(struct span key, struct span certificates, const char *reason)
{
    struct signature_key *k = NULL;
    const char *why = "";
    assert_int_equal(signature_key_create(&k, key, certificates, &why), -EINVAL);
    assert_null(k);
    assert_string_equal(why, reason);
    assert_int_equal(ERR_peek_error(), 0);
}

static void keys_that_do_not_sign(void **state)
{
    (void)state;
    const struct span none = {"", 0};
    EVP_PKEY *key = key_made(EC), *other = key_made(EC), *p384 = EVP_EC_gen("P-384");
    EVP_PKEY *small = EVP_RSA_gen(1024), *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    const struct wish w = {.key = other, .name = "px1"};
    X509 *x = certificate_made(&w);
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
    key_refused(pem_of(out, 1), none, "is encrypted; take its pass phrase off with openssl pkey");
    key_refused(SPAN("not PEM"), none, "holds no private key in PEM");
    key_refused(SPAN(""), none, "holds no private key in PEM");
    key_refused(public_pem(key, 1), none, "holds no private key in PEM");
    key_refused(private_pem(p384, 1), none, "has an elliptic curve other than P-256");
    key_refused(private_pem(small, 1), none, "has fewer than 2048 bits, or more than 8192");
    key_refused(private_pem(x25519, 1), none, "is neither P-256, nor RSA, nor Ed25519");
    key_refused(private_pem(key, 1), chain_pem(x, NULL, 2),
                "does not begin with the certificate of the key");
    key_refused(private_pem(key, 1), SPAN("x"), "holds no certificate in PEM, or a broken one");
    key_refused(private_pem(key, 1), public_pem(key, 2),
                "holds something else than certificates, or a broken one");
    struct span cut = chain_pem(x, NULL, 2);
    cut.len /= 2;
    key_refused(private_pem(key, 1), cut, "holds no certificate in PEM, or a broken one");
    X509_free(x);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(small);
    EVP_PKEY_free(x25519);
}

static void trust_refused(struct span pem, const char *reason)
{
    struct signature_trust *t = NULL;
    const char *why = "";
    assert_int_equal(signature_trust_create(&t, pem, &why), -EINVAL);
    assert_null(t);
    assert_string_equal(why, reason);
    assert_int_equal(ERR_peek_error(), 0);
}

static void trusts(void **state)
{
    (void)state;
    EVP_PKEY *key = key_made(EC), *other = key_made(ED);
    static char many[SIGNATURE_TRUSTED_MAX * 400];
    struct span one = public_pem(key, 1);
    trust_refused(SPAN(""), "holds no certificate and no public key in PEM");
    trust_refused(SPAN("hello"), "holds no certificate and no public key in PEM");
    trust_refused(private_pem(key, 2),
                  "holds something else than certificates and public keys, or a broken one");
    trust_refused((struct span){one.ptr, one.len - 30}, "is broken PEM");
    size_t at = 0;
    for (int i = 0; i <= SIGNATURE_TRUSTED_MAX; i++, at += one.len)
        memcpy(many + at, one.ptr, one.len);
    trust_refused((struct span){many, at}, "holds more than 64 keys and certificates");
    signature_trust_destroy(trust_of((struct span){many, at - one.len}));
    /* Any of several. */
    memcpy(many, one.ptr, one.len);
    struct span two = public_pem(other, 2);
    memcpy(many + one.len, two.ptr, two.len);
    struct signature_trust *t = trust_of((struct span){many, one.len + two.len});
    EVP_PKEY *keys[] = {key, other};
    for (size_t i = 0; i < 2; i++) {
        struct signature_key *k = key_of(keys[i], (struct span){"", 0});
        const char *why;
        char *field = made(k, TEXT);
        assert_true(verified(t, TEXT, field, "whoever", &why));
        free(field);
        signature_key_destroy(k);
    }
    signature_trust_destroy(t);
    signature_trust_destroy(NULL);
    signature_key_destroy(NULL);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* The largest chain of a field; one octet more and it is refused when the key is read. */
static void long_chains(void **state)
{
    (void)state;
    EVP_PKEY *key = key_made(EC);
    char name[4000] = "DNS:";
    const char *why = "";
    int refused_at = 0;
    for (int labels = 20; labels <= 200 && refused_at == 0; labels += 20) {
        size_t at = 4;
        for (int i = 0; i < labels; i++)
            at += (size_t)snprintf(name + at, sizeof name - at, "%sabcdefghij%03d",
                                   i > 0 ? ",DNS:" : "", i);
        const struct wish w = {.key = key, .name = "px1", .alternative = name};
        X509 *x = certificate_made(&w), *copies[4] = {x, x, x, x};
        BIO *out = BIO_new(BIO_s_mem());
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(PEM_write_bio_X509(out, copies[i]), 1);
        struct signature_key *k = NULL;
        int rc = signature_key_create(&k, private_pem(key, 0), pem_of(out, 1), &why);
        if (rc == 0) {
            char *field = made(k, TEXT);
            assert_true(strlen(field) <= SIGNATURE_FIELD_MAX);
            free(field);
        } else {
            assert_string_equal(why, "holds certificates that are too large together");
            refused_at = labels;
        }
        signature_key_destroy(k);
        X509_free(x);
    }
    assert_true(refused_at > 20);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_sign_verifies),
        cmocka_unit_test(damaged_ones_are_refused),
        cmocka_unit_test(headers_that_lie),
        cmocka_unit_test(fields_that_are_none),
        cmocka_unit_test(chains),
        cmocka_unit_test(weak_authorities),
        cmocka_unit_test(strangers),
        cmocka_unit_test(keys_that_do_not_sign),
        cmocka_unit_test(trusts),
        cmocka_unit_test(long_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

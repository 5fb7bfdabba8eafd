#include "failover/signature_impl.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <openssl/bn.h>
#include <openssl/err.h>

#include "failover/base64url.h"
#include "failover/json_strict.h"
#include "proxy/base/addr.h"

enum {
    HEADER_VALUES_MAX = 64,
    HEADER_MEMBERS_MAX = 16,
    HEADER_DEPTH_MAX = 3,
    AUTH_LEVEL = 2, /* OpenSSL's: keys and digests of 112 bits and more */
    X5C_TEXT_MAX = SIGNATURE_FIELD_MAX
};

/* A field, taken apart. */
struct signed_by {
    struct span header; /* in base64url, as it came */
    struct buf octets;  /* the signature */
    cJSON *root;        /* the header */
    const char *algorithm;
    const cJSON *x5c; /* NULL: none */
};

/* A key that fits, or a chain of certificates, is being looked for. */
struct question {
    struct span input;
    const char *host;
    time_t now;
};

static int deny(const char **why, const char *reason)
{
    *why = reason;
    ERR_clear_error(); /* it is the thread's, and others look there for their own */
    return -EPERM;
}

/* ---- taking the field apart ---- */

static bool has_twins(const cJSON *object)
{
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        for (const cJSON *other = item->next; other != NULL; other = other->next) {
            if (strcmp(item->string, other->string) == 0)
                return true;
        }
    }
    return false;
}

static const cJSON *find(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* `crit` names what a reader must understand, and we understand nothing beyond; `b64` would change
 * what is signed (RFC 7797). */
static int header_check(struct signed_by *s, const char **why)
{
    const char *type = cJSON_GetStringValue(find(s->root, "typ"));
    if (!cJSON_IsObject(s->root) || has_twins(s->root))
        return deny(why, "its header is no JSON object whose members differ");
    if (find(s->root, "crit") != NULL || find(s->root, "b64") != NULL)
        return deny(why, "its header asks for more than we know");
    if (type == NULL || strcmp(type, SIGNATURE_TYPE) != 0)
        return deny(why, "it is no signature of a roster document");
    s->algorithm = cJSON_GetStringValue(find(s->root, "alg"));
    s->x5c = find(s->root, "x5c");
    if (s->algorithm == NULL)
        return deny(why, "its header names no algorithm");
    if (s->x5c != NULL && !cJSON_IsArray(s->x5c))
        return deny(why, "its certificates are no array");
    return 0;
}

static int header_read(struct signed_by *s, const char **why)
{
    static const struct json_strict_limits limits = {SIGNATURE_FIELD_MAX, HEADER_VALUES_MAX,
                                                     HEADER_MEMBERS_MAX, HEADER_DEPTH_MAX};
    struct buf json;
    size_t octet;
    buf_init(&json, SIGNATURE_FIELD_MAX);
    int rc = base64url_read(&json, s->header);
    if (rc == -EINVAL || (rc == 0 && json_strict_fault(buf_span(&json), &limits, &octet) != NULL))
        rc = deny(why, "its header is no JSON in base64url");
    if (rc == 0) {
        s->root = cJSON_ParseWithLength(buf_head(&json), buf_len(&json));
        rc = s->root != NULL ? header_check(s, why) : -ENOMEM;
    }
    buf_release(&json);
    return rc;
}

/* header ".." signature: between the dots the document would stand, were it not detached. */
static int field_read(struct signed_by *s, struct span field, const char **why)
{
    *s = (struct signed_by){.header = {0}};
    buf_init(&s->octets, SIGNATURE_OCTETS_MAX);
    if (field.len == 0 || field.len > SIGNATURE_FIELD_MAX)
        return deny(why, field.len == 0 ? "it is empty" : "it is too long");
    const char *dot = memchr(field.ptr, '.', field.len);
    const char *end = field.ptr + field.len;
    if (dot == NULL || dot == field.ptr || end - dot < 3 || dot[1] != '.' ||
        memchr(dot + 2, '.', (size_t)(end - dot - 2)) != NULL)
        return deny(why, "it is no detached JSON Web Signature");
    s->header = (struct span){field.ptr, (size_t)(dot - field.ptr)};
    int rc = base64url_read(&s->octets, (struct span){dot + 2, (size_t)(end - dot - 2)});
    if (rc == -EINVAL || rc == -ENOBUFS)
        return deny(why, "its signature is no base64url, or too long");
    return rc == 0 ? header_read(s, why) : rc;
}

static void field_release(struct signed_by *s)
{
    buf_release(&s->octets);
    cJSON_Delete(s->root);
}

/* ---- one key ---- */

/* Returns owned; NULL when out of memory. */
static unsigned char *ecdsa_to_der(const unsigned char *raw, size_t *length)
{
    unsigned char *der = NULL;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, SIGNATURE_COORDINATE, NULL);
    BIGNUM *s = BN_bin2bn(raw + SIGNATURE_COORDINATE, SIGNATURE_COORDINATE, NULL);
    int n = -1;
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        n = i2d_ECDSA_SIG(sig, &der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    *length = n > 0 ? (size_t)n : 0;
    return n > 0 ? der : NULL;
}

static bool octets_verify(EVP_PKEY *key, struct span input, const unsigned char *octets,
                          size_t length)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good =
        ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, signature_digest(key), NULL, key) == 1 &&
        EVP_DigestVerify(ctx, octets, length, (const unsigned char *)input.ptr, input.len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

/* The algorithm is the key's; a header that names another one is not for this key. */
static bool key_verify(EVP_PKEY *key, const struct signed_by *s, struct span input)
{
    const char *ignored;
    const char *algorithm = signature_algorithm(key, &ignored);
    const unsigned char *octets = (const unsigned char *)buf_head(&s->octets);
    size_t length = buf_len(&s->octets);
    if (algorithm == NULL || strcmp(algorithm, s->algorithm) != 0)
        return false;
    if (strcmp(algorithm, "ES256") != 0)
        return octets_verify(key, input, octets, length);
    if (length != 2 * (size_t)SIGNATURE_COORDINATE)
        return false;
    unsigned char *der = ecdsa_to_der(octets, &length);
    bool good = der != NULL && octets_verify(key, input, der, length);
    OPENSSL_free(der);
    return good;
}

/* ---- a chain of certificates ---- */

/* One of `x5c`: DER in plain base64 with padding. Returns owned; NULL: none. */
static X509 *x5c_certificate(const cJSON *item)
{
    const char *text = cJSON_GetStringValue(item);
    size_t length = text != NULL ? strlen(text) : 0;
    X509 *certificate = NULL;
    if (length == 0 || length % 4 != 0 || length > X5C_TEXT_MAX)
        return NULL;
    unsigned char *der = malloc(length);
    int n = der != NULL ? EVP_DecodeBlock(der, (const unsigned char *)text, (int)length) : -1;
    /* It counts what padding stands for as octets. */
    if (n > 0 && text[length - 1] == '=')
        n -= text[length - 2] == '=' ? 2 : 1;
    if (n > 0) {
        const unsigned char *p = der;
        certificate = d2i_X509(NULL, &p, n);
        if (certificate != NULL && p != der + n) {
            X509_free(certificate);
            certificate = NULL;
        }
    }
    free(der);
    return certificate;
}

/* All of `x5c` but its first goes to `others`. Returns the first, owned; NULL when any is bad. */
static X509 *x5c_read(const cJSON *x5c, STACK_OF(X509) * others)
{
    const cJSON *item;
    X509 *first = NULL;
    if (cJSON_GetArraySize(x5c) > SIGNATURE_CERTIFICATES_MAX)
        return NULL;
    cJSON_ArrayForEach(item, x5c)
    {
        X509 *certificate = x5c_certificate(item);
        if (certificate != NULL && first == NULL) {
            first = certificate;
        } else if (certificate == NULL || sk_X509_push(others, certificate) == 0) {
            X509_free(certificate);
            X509_free(first);
            return NULL;
        }
    }
    return first;
}

/* An address is one in the certificate too: as a name it would be anybody's to buy. A wildcard is
 * held by web servers and others that are no sensor. */
static bool certificate_names(X509 *certificate, const char *host)
{
    struct addr ignored;
    if (addr_parse(&ignored, span_of(host), 0) == 0)
        return X509_check_ip_asc(certificate, host, 0) == 1;
    return X509_check_host(certificate, host, 0,
                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_WILDCARDS,
                           NULL) == 1;
}

/* A certificate of the trust ends the chain, also one that another CA has certified. */
static int chain_verify(const struct signature_trust *t, X509 *first, STACK_OF(X509) * others,
                        const struct question *q, const char **why)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, t->store, first, others) != 1) {
        X509_STORE_CTX_free(ctx);
        return -ENOMEM;
    }
    X509_STORE_CTX_set_time(ctx, 0, q->now);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(ctx), AUTH_LEVEL);
    bool good = X509_verify_cert(ctx) == 1;
    int fault = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    if (!good && fault == X509_V_ERR_OUT_OF_MEM)
        return -ENOMEM;
    if (!good)
        return deny(why,
                    fault == X509_V_ERR_CERT_HAS_EXPIRED || fault == X509_V_ERR_CERT_NOT_YET_VALID
                        ? "a certificate of its signer is not valid now"
                        : "its signer's certificate leads to none that is trusted");
    if ((X509_get_key_usage(first) & KU_DIGITAL_SIGNATURE) == 0)
        return deny(why, "its signer's certificate is not for signatures");
    return certificate_names(first, q->host)
               ? 0
               : deny(why, "its signer's certificate names another host than the one asked");
}

static int chain_check(const struct signature_trust *t, const struct signed_by *s,
                       const struct question *q, const char **why)
{
    STACK_OF(X509) *others = sk_X509_new_null();
    X509 *first = others != NULL ? x5c_read(s->x5c, others) : NULL;
    int rc = first != NULL ? chain_verify(t, first, others, q, why)
                           : deny(why, "its certificates are broken");
    if (rc == 0 && !key_verify(X509_get0_pubkey(first), s, q->input))
        rc = deny(why, "it is not of this document");
    X509_free(first);
    sk_X509_pop_free(others, X509_free);
    return rc;
}

/* ---- the whole ---- */

static int signer_find(const struct signature_trust *t, const struct signed_by *s,
                       const struct question *q, const char **why)
{
    for (size_t i = 0; i < t->key_count; i++) {
        if (key_verify(t->key[i], s, q->input))
            return 0;
    }
    if (s->x5c != NULL && q->host == NULL)
        return deny(why, "its signer is known by a certificate only, and that counts for none but "
                         "the sensors that we were told of");
    if (s->x5c != NULL)
        return chain_check(t, s, q, why);
    return deny(why, "it is not of this document, or of nobody who is trusted");
}

int signature_verify(const struct signature_trust *t, struct span text, struct span field,
                     const char *host, time_t now, const char **why)
{
    struct signed_by s;
    struct buf input;
    int rc = field_read(&s, field, why);
    if (rc == 0) {
        rc = signature_input(&input, s.header, text);
        struct question q = {buf_span(&input), host, now};
        if (rc == 0)
            rc = signer_find(t, &s, &q, why);
        buf_release(&input);
    }
    field_release(&s);
    ERR_clear_error();
    return rc == -ENOBUFS ? deny(why, "the document is too long") : rc;
}

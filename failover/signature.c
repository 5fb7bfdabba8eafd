#include "failover/signature.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "failover/base64url.h"
#include "failover/signature_impl.h"

enum { TEXT_MAX = 64 * 1024 * 1024 /* octets of a document, as base64url */ };

struct signature_key {
    EVP_PKEY *key;
    struct buf header; /* protected, in base64url */
};

static int refuse(const char **why, const char *reason)
{
    *why = reason;
    ERR_clear_error(); /* it is the thread's, and others look there for their own */
    return -EINVAL;
}

/* ---- algorithms ---- */

const char *signature_algorithm(EVP_PKEY *key, const char **why)
{
    char group[32] = "";
    size_t length = 0;
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
        return "EdDSA";
    case EVP_PKEY_EC:
        (void)EVP_PKEY_get_group_name(key, group, sizeof group, &length);
        if (strcmp(group, "prime256v1") == 0)
            return "ES256";
        *why = "has an elliptic curve other than P-256";
        return NULL;
    case EVP_PKEY_RSA:
        if (EVP_PKEY_get_bits(key) >= SIGNATURE_RSA_BITS_MIN &&
            EVP_PKEY_get_bits(key) <= SIGNATURE_RSA_BITS_MAX)
            return "RS256";
        *why = "has fewer than 2048 bits, or more than 8192";
        return NULL;
    default:
        *why = "is neither P-256, nor RSA, nor Ed25519";
        return NULL;
    }
}

/* Ed25519 hashes by itself. */
const EVP_MD *signature_digest(EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
}

int signature_input(struct buf *out, struct span header, struct span text)
{
    buf_init(out, TEXT_MAX);
    int rc = buf_add_span(out, header);
    if (rc == 0)
        rc = buf_add(out, ".", 1);
    return rc == 0 ? base64url_add(out, text) : rc;
}

/* RFC 7518 section 3.4: R and S one after the other, not in DER. */
static bool ecdsa_to_raw(unsigned char *octets, size_t *length)
{
    const unsigned char *p = octets;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)*length);
    bool ok =
        sig != NULL &&
        BN_bn2binpad(ECDSA_SIG_get0_r(sig), octets, SIGNATURE_COORDINATE) == SIGNATURE_COORDINATE &&
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), octets + SIGNATURE_COORDINATE, SIGNATURE_COORDINATE) ==
            SIGNATURE_COORDINATE;
    ECDSA_SIG_free(sig);
    *length = 2 * (size_t)SIGNATURE_COORDINATE;
    return ok;
}

/* ---- PEM ---- */

/* Nobody is there to be asked. */
static int on_passphrase(char *out, int size, int writing, void *asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static BIO *bio_of(struct span pem)
{
    return pem.len <= SIGNATURE_PEM_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
}

static int read_private_key(EVP_PKEY **key, struct span pem, const char **why)
{
    bool encrypted = false;
    BIO *in = bio_of(pem);
    if (in == NULL)
        return pem.len <= SIGNATURE_PEM_MAX ? -ENOMEM : refuse(why, "is too large for a key");
    *key = PEM_read_bio_PrivateKey(in, NULL, on_passphrase, &encrypted);
    BIO_free(in);
    if (*key == NULL)
        return refuse(why, encrypted ? "is encrypted; take its pass phrase off with openssl pkey"
                                     : "holds no private key in PEM");
    return signature_algorithm(*key, why) != NULL ? 0 : refuse(why, *why);
}

/* The next block of PEM: what it is called and its octets. */
struct block {
    char *name;
    char *header;
    unsigned char *octets;
    long length;
};

/* 1, or 0 at the end; -EINVAL where it is broken. What it holds is for block_end(). */
static int block_next(struct block *b, BIO *in)
{
    *b = (struct block){0};
    if (PEM_read_bio(in, &b->name, &b->header, &b->octets, &b->length) == 1)
        return 1;
    int rc = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? 0 : -EINVAL;
    ERR_clear_error();
    return rc;
}

static void block_end(struct block *b)
{
    OPENSSL_free(b->name);
    OPENSSL_free(b->header);
    OPENSSL_free(b->octets);
}

/* Returns owned; NULL: it is no certificate, or more than one. */
static X509 *block_certificate(const struct block *b)
{
    const unsigned char *p = b->octets;
    if (strcmp(b->name, PEM_STRING_X509) != 0)
        return NULL;
    X509 *certificate = d2i_X509(NULL, &p, b->length);
    if (certificate != NULL && p == b->octets + b->length)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static EVP_PKEY *block_public_key(const struct block *b)
{
    const unsigned char *p = b->octets;
    if (strcmp(b->name, PEM_STRING_PUBLIC) != 0)
        return NULL;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &p, b->length);
    if (key != NULL && p == b->octets + b->length)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

/* ---- a key of ours ---- */

/* `x5c` holds DER in plain base64 (RFC 7515 section 4.1.6). */
static bool certificate_put(cJSON *array, X509 *certificate)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    unsigned char *text = length > 0 ? malloc((size_t)length / 3 * 4 + 5) : NULL;
    cJSON *item = NULL;
    if (text != NULL && EVP_EncodeBlock(text, der, length) > 0)
        item = cJSON_CreateString((const char *)text);
    free(text);
    OPENSSL_free(der);
    if (item != NULL && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static int chain_put(cJSON *array, const struct block *b, EVP_PKEY *key, const char **why)
{
    bool first = array->child == NULL;
    X509 *certificate = block_certificate(b);
    int rc = 0;
    if (certificate == NULL)
        rc = refuse(why, "holds something else than certificates, or a broken one");
    else if (first && X509_check_private_key(certificate, key) != 1)
        rc = refuse(why, "does not begin with the certificate of the key");
    else if (cJSON_GetArraySize(array) == SIGNATURE_CERTIFICATES_MAX)
        rc = refuse(why, "holds more than 8 certificates");
    else if (!certificate_put(array, certificate))
        rc = -ENOMEM;
    X509_free(certificate);
    return rc;
}

static int certificates_put(cJSON *header, struct span pem, EVP_PKEY *key, const char **why)
{
    cJSON *array = cJSON_AddArrayToObject(header, "x5c");
    BIO *in = bio_of(pem);
    struct block b = {0};
    int more = 1;
    int rc = array != NULL && in != NULL ? 0 : -ENOMEM;
    while (rc == 0 && (more = block_next(&b, in)) == 1) {
        rc = chain_put(array, &b, key, why);
        block_end(&b);
    }
    BIO_free(in);
    if (rc == 0 && (more != 0 || array->child == NULL))
        rc = refuse(why, "holds no certificate in PEM, or a broken one");
    return rc;
}

/* The SHA-256 of SubjectPublicKeyInfo names a key wherever it is written down. */
static bool key_id_put(cJSON *header, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    struct buf id;
    int n = i2d_PUBKEY(key, &der);
    bool ok = n > 0 && EVP_Digest(der, (size_t)n, digest, &length, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    buf_init(&id, 64);
    ok = ok && base64url_add(&id, (struct span){(char *)digest, length}) == 0 &&
         buf_add(&id, "", 1) == 0 && cJSON_AddStringToObject(header, "kid", buf_head(&id)) != NULL;
    buf_release(&id);
    return ok;
}

static int header_make(struct signature_key *k, struct span certificates, const char **why)
{
    cJSON *header = cJSON_CreateObject();
    char *text = NULL;
    bool ok = cJSON_AddStringToObject(header, "alg", signature_algorithm(k->key, why)) != NULL &&
              cJSON_AddStringToObject(header, "typ", SIGNATURE_TYPE) != NULL &&
              key_id_put(header, k->key);
    int rc = ok ? 0 : -ENOMEM;
    if (rc == 0 && certificates.len > SIGNATURE_PEM_MAX)
        rc = refuse(why, "is too large");
    if (rc == 0 && certificates.len > 0)
        rc = certificates_put(header, certificates, k->key, why);
    if (rc == 0) {
        text = cJSON_PrintUnformatted(header);
        rc = text != NULL ? base64url_add(&k->header, span_of(text)) : -ENOMEM;
    }
    cJSON_free(text);
    cJSON_Delete(header);
    return rc == -ENOBUFS ? refuse(why, "holds certificates that are too large together") : rc;
}

int signature_key_create(struct signature_key **out, struct span key, struct span certificates,
                         const char **why)
{
    struct signature_key *k = *out = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    buf_init(&k->header, SIGNATURE_FIELD_MAX - SIGNATURE_OCTETS_MAX * 2);
    int rc = read_private_key(&k->key, key, why);
    if (rc == 0)
        rc = header_make(k, certificates, why);
    if (rc != 0) {
        signature_key_destroy(k);
        *out = NULL;
    }
    return rc;
}

void signature_key_destroy(struct signature_key *k)
{
    if (k == NULL)
        return;
    EVP_PKEY_free(k->key);
    buf_release(&k->header);
    free(k);
}

static bool sign(EVP_PKEY *key, struct span input, unsigned char *octets, size_t *length)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, signature_digest(key), NULL, key) == 1 &&
              EVP_DigestSign(ctx, octets, length, (const unsigned char *)input.ptr, input.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (ok && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC)
        ok = ecdsa_to_raw(octets, length);
    ERR_clear_error();
    return ok;
}

int signature_make(char **out, const struct signature_key *key, struct span text)
{
    unsigned char octets[SIGNATURE_OCTETS_MAX];
    size_t length = sizeof octets;
    struct buf b;
    *out = NULL;
    int rc = signature_input(&b, buf_span(&key->header), text);
    if (rc == 0 && !sign(key->key, buf_span(&b), octets, &length))
        rc = -EIO;
    buf_release(&b);
    buf_init(&b, SIGNATURE_FIELD_MAX + 1);
    if (rc == 0)
        rc = buf_add_span(&b, buf_span(&key->header));
    if (rc == 0)
        rc = buf_add_str(&b, "..");
    if (rc == 0)
        rc = base64url_add(&b, (struct span){(char *)octets, length});
    if (rc == 0) {
        *out = strndup(buf_head(&b), buf_len(&b));
        rc = *out != NULL ? 0 : -ENOMEM;
    }
    buf_release(&b);
    return rc;
}

/* ---- trust ---- */

/* Takes the key. */
static int trust_key(struct signature_trust *t, EVP_PKEY *key, const char **why)
{
    if (signature_algorithm(key, why) == NULL) {
        EVP_PKEY_free(key);
        return refuse(why, *why);
    }
    t->key[t->key_count++] = key;
    return 0;
}

static int trust_certificate(struct signature_trust *t, X509 *certificate, const char **why)
{
    EVP_PKEY *key = X509_get_pubkey(certificate);
    if (key == NULL)
        return refuse(why, "holds a certificate with a key of an unknown kind");
    if (X509_STORE_add_cert(t->store, certificate) != 1) {
        EVP_PKEY_free(key);
        return -ENOMEM;
    }
    return trust_key(t, key, why);
}

static int trust_block(struct signature_trust *t, const struct block *b, const char **why)
{
    X509 *certificate = block_certificate(b);
    if (certificate != NULL) {
        int rc = trust_certificate(t, certificate, why);
        X509_free(certificate);
        return rc;
    }
    EVP_PKEY *key = block_public_key(b);
    return key != NULL ? trust_key(t, key, why)
                       : refuse(why, "holds something else than certificates and public keys, or "
                                     "a broken one");
}

static int trust_read(struct signature_trust *t, struct span pem, const char **why)
{
    struct block b = {0};
    size_t found = 0;
    int more = 1;
    BIO *in = bio_of(pem);
    int rc = in != NULL ? 0 : -ENOMEM;
    while (rc == 0 && (more = block_next(&b, in)) == 1) {
        rc = ++found > SIGNATURE_TRUSTED_MAX
                 ? refuse(why, "holds more than 64 keys and certificates")
                 : trust_block(t, &b, why);
        block_end(&b);
    }
    BIO_free(in);
    if (rc == 0 && more != 0)
        rc = refuse(why, "is broken PEM");
    return rc == 0 && found == 0 ? refuse(why, "holds no certificate and no public key in PEM")
                                 : rc;
}

int signature_trust_create(struct signature_trust **out, struct span pem, const char **why)
{
    struct signature_trust *t = *out = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->store = X509_STORE_new();
    int rc = t->store == NULL               ? -ENOMEM
             : pem.len <= SIGNATURE_PEM_MAX ? trust_read(t, pem, why)
                                            : refuse(why, "is too large");
    if (rc != 0) {
        signature_trust_destroy(t);
        *out = NULL;
    }
    return rc;
}

void signature_trust_destroy(struct signature_trust *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->key_count; i++)
        EVP_PKEY_free(t->key[i]);
    X509_STORE_free(t->store);
    free(t);
}

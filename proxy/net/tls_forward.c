#include "proxy/net/tls_forward.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define OUR_NAME "certferry"
#define OUR_QUERY "provider=" OUR_NAME
/* Not a number of OpenSSL's: carries a pointer of our own from tls_forward_create() to
 * import_key().
 */
#define PARAM_KEY "certferry-key"

/* What OpenSSL knows as the key. */
struct key {
    atomic_uint refs;         /* a signature under way has one too */
    EVP_PKEY *public_key;     /* in software; answers all questions */
    struct tls_forward_to to; /* `begin` NULL: only the public half, for a comparison */
};

/* One signature. */
struct signing {
    struct key *key;
    EVP_MD_CTX *digest; /* in the other context */
    EVP_PKEY_CTX *pctx; /* part of it */
};

/* ---- keys ---- */

static void *new_key(void *provider)
{
    struct key *k = calloc(1, sizeof *k);
    (void)provider;
    if (k != NULL)
        atomic_init(&k->refs, 1);
    return k;
}

static void free_key(void *data)
{
    struct key *k = data;
    if (k == NULL || atomic_fetch_sub(&k->refs, 1) > 1)
        return;
    EVP_PKEY_free(k->public_key);
    if (k->to.unref != NULL)
        k->to.unref(k->to.owner);
    free(k);
}

static int has_parts(const void *data, int selection)
{
    const struct key *k = data;
    bool private_asked = (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
    return k->public_key != NULL && (!private_asked || k->to.begin != NULL);
}

/* The private half never comes out, so the public one must do. */
static int keys_match(const void *one, const void *other, int selection)
{
    const struct key *a = one, *b = other;
    (void)selection;
    return a->public_key != NULL && b->public_key != NULL &&
           EVP_PKEY_eq(a->public_key, b->public_key) == 1;
}

static int get_key_params(void *data, OSSL_PARAM params[])
{
    const struct key *k = data;
    return EVP_PKEY_get_params(k->public_key, params);
}

/* What TLS and X.509 ask of a key. */
static const OSSL_PARAM *gettable_key_params(void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_FIELD_TYPE, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provider;
    return params;
}

/* A public key to compare with, from its numbers. */
static int import_public(struct key *k, const char *type, const OSSL_PARAM params[])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *ours = OSSL_PARAM_dup(params);
    int good = ctx != NULL && ours != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
               EVP_PKEY_fromdata(ctx, &k->public_key, EVP_PKEY_PUBLIC_KEY, ours) == 1;
    OSSL_PARAM_free(ours);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static int import_key(struct key *k, const char *type, const OSSL_PARAM params[])
{
    const OSSL_PARAM *ours = OSSL_PARAM_locate_const(params, PARAM_KEY);
    const void *at = NULL;
    size_t size = 0;
    if (ours == NULL)
        return import_public(k, type, params);
    if (OSSL_PARAM_get_octet_string_ptr(ours, &at, &size) != 1 || size != sizeof *k)
        return 0;
    const struct key *from = at;
    if (EVP_PKEY_up_ref(from->public_key) != 1)
        return 0;
    k->public_key = from->public_key;
    k->to = from->to;
    return 1;
}

static int import_rsa(void *data, int selection, const OSSL_PARAM params[])
{
    (void)selection;
    return import_key(data, "RSA", params);
}

static int import_ec(void *data, int selection, const OSSL_PARAM params[])
{
    (void)selection;
    return import_key(data, "EC", params);
}

static const OSSL_PARAM *import_types(int selection)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(PARAM_KEY, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)selection;
    return params;
}

static const char *signature_of_ec(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

/* ---- signatures ---- */

static void *new_signing(void *provider, const char *query)
{
    (void)provider;
    (void)query;
    return calloc(1, sizeof(struct signing));
}

static void free_signing(void *data)
{
    struct signing *s = data;
    if (s == NULL)
        return;
    EVP_MD_CTX_free(s->digest);
    free_key(s->key);
    free(s);
}

static int begin(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct signing *s = data;
    struct key *k = key;
    EVP_MD_CTX_free(s->digest);
    s->digest = NULL;
    if (k == NULL)
        k = s->key;
    if (k == NULL || k->to.begin == NULL)
        return 0;
    if (k != s->key) {
        (void)atomic_fetch_add(&k->refs, 1);
        free_key(s->key);
        s->key = k;
    }
    s->digest = EVP_MD_CTX_new();
    return s->digest != NULL && k->to.begin(k->to.owner, s->digest, &s->pctx, digest, params);
}

/* In one piece, which is how TLS signs. Without `signature`: how long it may be. */
static int sign(void *data, unsigned char *signature, size_t *length, size_t size,
                const unsigned char *octets, size_t count)
{
    struct signing *s = data;
    if (signature != NULL)
        *length = size;
    return s->digest != NULL && EVP_DigestSign(s->digest, signature, length, octets, count) == 1;
}

static int set_params(void *data, const OSSL_PARAM params[])
{
    const struct signing *s = data;
    return s->digest != NULL && EVP_PKEY_CTX_set_params(s->pctx, params) == 1;
}

static const OSSL_PARAM *settable_params(void *data, void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)data;
    (void)provider;
    return params;
}

/* ---- the provider ---- */

#define CALL(number, function)                                                                     \
    {                                                                                              \
        number, (void (*)(void))(function)                                                         \
    }

static const OSSL_DISPATCH rsa_keys[] = {
    CALL(OSSL_FUNC_KEYMGMT_NEW, new_key),
    CALL(OSSL_FUNC_KEYMGMT_FREE, free_key),
    CALL(OSSL_FUNC_KEYMGMT_HAS, has_parts),
    CALL(OSSL_FUNC_KEYMGMT_MATCH, keys_match),
    CALL(OSSL_FUNC_KEYMGMT_GET_PARAMS, get_key_params),
    CALL(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, gettable_key_params),
    CALL(OSSL_FUNC_KEYMGMT_IMPORT, import_rsa),
    CALL(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, import_types),
    {0, NULL},
};

static const OSSL_DISPATCH ec_keys[] = {
    CALL(OSSL_FUNC_KEYMGMT_NEW, new_key),
    CALL(OSSL_FUNC_KEYMGMT_FREE, free_key),
    CALL(OSSL_FUNC_KEYMGMT_HAS, has_parts),
    CALL(OSSL_FUNC_KEYMGMT_MATCH, keys_match),
    CALL(OSSL_FUNC_KEYMGMT_GET_PARAMS, get_key_params),
    CALL(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, gettable_key_params),
    CALL(OSSL_FUNC_KEYMGMT_IMPORT, import_ec),
    CALL(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, import_types),
    CALL(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, signature_of_ec),
    {0, NULL},
};

static const OSSL_DISPATCH signing[] = {
    CALL(OSSL_FUNC_SIGNATURE_NEWCTX, new_signing),
    CALL(OSSL_FUNC_SIGNATURE_FREECTX, free_signing),
    CALL(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, begin),
    CALL(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
    CALL(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, set_params),
    CALL(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, settable_params),
    {0, NULL},
};

static const OSSL_ALGORITHM *query_operation(void *provider, int operation, int *no_cache)
{
    static const OSSL_ALGORITHM keys[] = {
        {"RSA:rsaEncryption", OUR_QUERY, rsa_keys, NULL},
        {"EC:id-ecPublicKey", OUR_QUERY, ec_keys, NULL},
        {NULL, NULL, NULL, NULL},
    };
    static const OSSL_ALGORITHM signatures[] = {
        {"RSA:rsaEncryption", OUR_QUERY, signing, NULL},
        {"ECDSA", OUR_QUERY, signing, NULL},
        {NULL, NULL, NULL, NULL},
    };
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int open_provider(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **context)
{
    static const OSSL_DISPATCH calls[] = {
        CALL(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query_operation),
        {0, NULL},
    };
    static char nothing; /* but NULL would be a failure */
    (void)core;
    (void)in;
    *out = calls;
    *context = &nothing;
    return 1;
}

/* The context that our provider stands in, alone: nobody else's keys come there. Kept for ever. */
static OSSL_LIB_CTX *ours;

static void open_ours(void)
{
    ours = OSSL_LIB_CTX_new();
    if (ours != NULL && (OSSL_PROVIDER_add_builtin(ours, OUR_NAME, open_provider) != 1 ||
                         OSSL_PROVIDER_load(ours, OUR_NAME) == NULL)) {
        OSSL_LIB_CTX_free(ours);
        ours = NULL;
    }
}

EVP_PKEY *tls_forward_create(EVP_PKEY *public_key, const struct tls_forward_to *to)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *type = EVP_PKEY_is_a(public_key, "RSA")  ? "RSA"
                       : EVP_PKEY_is_a(public_key, "EC") ? "EC"
                                                         : NULL;
    struct key made = {.public_key = public_key, .to = *to};
    EVP_PKEY *key = NULL;
    (void)pthread_once(&once, open_ours);
    if (ours == NULL || type == NULL)
        return NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(PARAM_KEY, &made, sizeof made),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(ours, type, OUR_QUERY);
    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

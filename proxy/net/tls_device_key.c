#include "proxy/net/tls_provider_impl.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What tpm2-openssl before 1.2 needs: it gives the public half of a key away as if it were all. */
#define QUERY_OF_TPM2 "?tpm2.signature"

enum { OBJECTS_MAX = 64 /* looked at in one store */, SIGNATURE_MAX = 1024 };

/* ---- the PIN ---- */

/* A wrong PIN counts against the token each time it is tried: it is given once for each key. */
static int on_pin(char *to, int size, int writes, void *arg)
{
    struct tls_provider *p = arg;
    bool gives = p->pin_asked++ == 0 && p->pin_len > 0 && p->pin_len <= (size_t)size;
    if (writes != 0 || !gives)
        return -1;
    memcpy(to, p->pin, p->pin_len);
    return (int)p->pin_len;
}

/* ---- test signatures ---- */

enum signed_as { SIGNED, SIGNED_BY_ANOTHER, NOT_SIGNED };

static bool use_padding(EVP_PKEY_CTX *ctx, const EVP_PKEY *key)
{
    return !EVP_PKEY_is_a(key, "RSA") ||
           (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* As TLS 1.3 signs, RSA by PSS (RFC 8446 section 4.2.3). */
static enum signed_as sign_once(const struct tls_device_key *k, const char *query,
                                EVP_PKEY *public_key)
{
    static const unsigned char text[] = "certferry: a signature to see that the key can sign";
    unsigned char signature[SIGNATURE_MAX];
    size_t length = sizeof signature;
    EVP_PKEY_CTX *pctx = NULL;
    enum signed_as how = NOT_SIGNED;
    EVP_MD_CTX *md = EVP_MD_CTX_new(), *check = EVP_MD_CTX_new();
    if (md != NULL && check != NULL &&
        EVP_DigestSignInit_ex(md, &pctx, "SHA256", k->provider->lib,
                              query[0] != '\0' ? query : NULL, k->key, NULL) == 1 &&
        use_padding(pctx, public_key) &&
        EVP_DigestSign(md, signature, &length, text, sizeof text) == 1) {
        bool right =
            EVP_DigestVerifyInit_ex(check, &pctx, "SHA256", NULL, NULL, public_key, NULL) == 1 &&
            use_padding(pctx, public_key) &&
            EVP_DigestVerify(check, signature, length, text, sizeof text) == 1;
        how = right ? SIGNED : SIGNED_BY_ANOTHER;
    }
    EVP_MD_CTX_free(check);
    EVP_MD_CTX_free(md);
    return how;
}

bool tls_device_key_signs(const struct tls_device_key *k)
{
    return sign_once(k, k->query, k->public_key) == SIGNED;
}

/* Also finds the property query it needs. A second try only where the first one never came to the
 * device: each of a wrong password counts. */
static enum signed_as sign_first(struct tls_device_key *k, EVP_PKEY *public_key)
{
    const struct tls_provider *p = k->provider;
    k->query = p->query;
    ERR_clear_error();
    enum signed_as how = sign_once(k, k->query, public_key);
    if (how != NOT_SIGNED || p->query[0] != '\0' || !tls_provider_has_name(p, "tpm2") ||
        tls_provider_blames(p, ERR_peek_error()))
        return how;
    ERR_clear_error();
    k->query = QUERY_OF_TPM2;
    return sign_once(k, k->query, public_key);
}

/* ---- life ---- */

void tls_device_key_close(struct tls_device_key *k)
{
    EVP_PKEY_free(k->key);
    k->key = NULL;
    list_remove(&k->node);
}

static void run_end_of_key(struct tls_job *job)
{
    struct tls_device_key *k = LIST_ITEM(job, struct tls_device_key, end);
    tls_device_key_close(k);
    EVP_PKEY_free(k->public_key);
    ERR_clear_error();
}

static void free_key(struct tls_job *job)
{
    free(LIST_ITEM(job, struct tls_device_key, end));
}

void tls_device_key_unref(struct tls_device_key *k)
{
    if (k == NULL || atomic_fetch_sub(&k->refs, 1) > 1)
        return;
    /* What the device keeps for it is given back there, before the thread may end. */
    struct tls_provider *p = k->provider;
    k->end = (struct tls_job){.run = run_end_of_key, .dispose = free_key};
    tls_thread_put(p->thread, &k->end);
    tls_provider_unref(p);
}

bool tls_device_key_begin(struct tls_device_key *k, EVP_MD_CTX *digest, EVP_PKEY_CTX **pctx,
                          const char *digest_name, const OSSL_PARAM *params)
{
    if (k->key == NULL)
        return false;
    return EVP_DigestSignInit_ex(digest, pctx, digest_name, k->provider->lib,
                                 k->query[0] != '\0' ? k->query : NULL, k->key, params) == 1;
}

/* ---- loading ---- */

static OSSL_STORE_CTX *open_store(struct tls_provider *p, const char *uri, BIO *text, UI_METHOD *ui)
{
    p->pin_asked = 0;
    return uri != NULL ? OSSL_STORE_open_ex(uri, p->lib, NULL, ui, p, NULL, NULL, NULL)
                       : OSSL_STORE_attach(text, "file", p->lib, NULL, ui, p, NULL, NULL, NULL);
}

static EVP_PKEY *read_store(struct tls_provider *p, const char *uri, struct span pem)
{
    UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(on_pin, 0);
    BIO *text = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    OSSL_STORE_CTX *store = ui != NULL && text != NULL ? open_store(p, uri, text, ui) : NULL;
    EVP_PKEY *key = NULL;
    if (store != NULL)
        (void)OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
    for (size_t i = 0; store != NULL && key == NULL && i < OBJECTS_MAX && !OSSL_STORE_eof(store);
         i++) {
        OSSL_STORE_INFO *found = OSSL_STORE_load(store);
        if (found != NULL && OSSL_STORE_INFO_get_type(found) == OSSL_STORE_INFO_PKEY)
            key = OSSL_STORE_INFO_get1_PKEY(found);
        OSSL_STORE_INFO_free(found);
    }
    (void)OSSL_STORE_close(store);
    BIO_free(text);
    UI_destroy_method(ui);
    return key;
}

/* The same place is the same key: sessions may hold it for long, and a TPM has room for few. */
static struct tls_device_key *find_key(struct tls_provider *p, const unsigned char *place)
{
    LIST_EACH (at, &p->keys) {
        struct tls_device_key *k = LIST_ITEM(at, struct tls_device_key, node);
        unsigned refs = atomic_load(&k->refs);
        if (memcmp(k->place, place, TLS_DEVICE_KEY_PLACE) != 0)
            continue;
        while (refs > 0 && !atomic_compare_exchange_weak(&k->refs, &refs, refs + 1)) {
        }
        if (refs > 0)
            return k;
    }
    return NULL;
}

static struct tls_device_key *create_key(struct tls_provider *p, EVP_PKEY *key,
                                         EVP_PKEY *public_key, const unsigned char *place)
{
    struct tls_device_key *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    atomic_init(&k->refs, 1);
    k->provider = tls_provider_ref(p);
    k->key = key;
    (void)EVP_PKEY_up_ref(public_key);
    k->public_key = public_key;
    k->query = p->query;
    memcpy(k->place, place, TLS_DEVICE_KEY_PLACE);
    list_append(&p->keys, &k->node);
    return k;
}

/* Which module a token is behind must be told to the provider; it may not know any. */
static void tell_module(const struct tls_loading *l, char *out, size_t size)
{
    const struct tls_provider *p = l->provider;
    if (p->config[0] != '\0')
        (void)snprintf(out, size, "; is pkcs11-module-path in \"%s\" right?", p->config);
    else
        (void)snprintf(out, size,
                       "; no module of it was named: write pkcs11-module-path = /full/path.so into "
                       "an OpenSSL configuration, as docs/doors.md has it, and the path of that "
                       "into %s.provider.config",
                       l->prefix);
}

/* The loaders say nothing of use: wrong PIN, no PIN, no such object and no device look alike. */
static void tell_no_key(struct tls_loading *l)
{
    const struct tls_provider *p = l->provider;
    bool is_pkcs11 = tls_provider_has_name(p, "pkcs11");
    char reason[256], what[512];
    tls_provider_first_error(p, reason, sizeof reason);
    if (p->pin_asked > 0 && p->pin_len == 0)
        (void)snprintf(
            what, sizeof what,
            "the key wants a PIN: name its file in %s.pin.file or its variable in %s.pin.env",
            l->prefix, l->prefix);
    else if (p->pin_asked > 0)
        (void)snprintf(what, sizeof what,
                       "no key: the PIN may be wrong (the device counts wrong ones), or there is "
                       "no such object");
    else
        (void)snprintf(what, sizeof what,
                       "no key there: no such object or token, or the device is away");
    size_t used = strlen(what);
    if (is_pkcs11 && p->pin_asked == 0)
        tell_module(l, what + used, sizeof what - used);
    (void)snprintf(
        l->why, sizeof l->why, "%s; OpenSSL says only: %s%s", what, reason,
        is_pkcs11 ? "; PKCS11_PROVIDER_DEBUG=file:/dev/stderr in the environment tells more" : "");
}

static void tell_no_signature(struct tls_loading *l, enum signed_as how)
{
    char reason[256];
    tls_provider_first_error(l->provider, reason, sizeof reason);
    if (how == SIGNED_BY_ANOTHER)
        (void)snprintf(l->why, sizeof l->why, "the key is not that of the certificate");
    else
        (void)snprintf(l->why, sizeof l->why,
                       "the key was found but does not sign: %s; is the PIN or password right (the "
                       "device counts wrong ones), and may the key sign?",
                       reason);
}

static bool digest_place(const struct tls_loading *l, unsigned char place[TLS_DEVICE_KEY_PLACE])
{
    return l->uri != NULL ? EVP_Digest(l->uri, strlen(l->uri), place, NULL, EVP_sha256(), NULL) == 1
                          : EVP_Digest(l->pem, l->pem_len, place, NULL, EVP_sha256(), NULL) == 1;
}

static void load_key(struct tls_loading *l)
{
    struct tls_provider *p = l->provider;
    unsigned char place[TLS_DEVICE_KEY_PLACE];
    ERR_clear_error();
    (void)snprintf(l->why, sizeof l->why, "the device is lost");
    if (atomic_load(&p->lost) || !digest_place(l, place))
        return;
    l->made = find_key(p, place);
    if (l->made == NULL) {
        EVP_PKEY *key = read_store(p, l->uri, (struct span){l->pem, l->pem_len});
        if (key == NULL) {
            tell_no_key(l);
            return;
        }
        l->made = create_key(p, key, l->public_key, place);
        if (l->made == NULL) {
            EVP_PKEY_free(key);
            return;
        }
    }
    enum signed_as how = sign_first(l->made, l->public_key);
    l->good = how == SIGNED;
    if (!l->good)
        tell_no_signature(l, how);
    ERR_clear_error();
}

/* Whoever waits for it may have gone: what a PIN in vain means for later is counted here. */
static void run_load(struct tls_job *job)
{
    struct tls_loading *l = LIST_ITEM(job, struct tls_loading, job);
    struct tls_provider *p = l->provider;
    p->pin_asked = 0;
    load_key(l);
    if (!l->good && p->pin_asked > 0 && p->pin_len > 0)
        tls_provider_count_refused();
}

struct tls_device_key *tls_device_key_load(struct tls_provider *p,
                                           const struct tls_key_place *place, EVP_PKEY *public_key,
                                           char *why, size_t size)
{
    const char *uri = place->uri;
    struct span pem = place->pem;
    struct tls_loading *l = tls_loading_create(p, run_load);
    (void)snprintf(why, size, "out of memory");
    if (l == NULL)
        return NULL;
    (void)EVP_PKEY_up_ref(public_key);
    l->public_key = public_key;
    l->prefix = place->prefix;
    l->uri = uri != NULL ? strdup(uri) : NULL;
    l->pem = malloc(pem.len + 1);
    l->pem_len = pem.len;
    if (l->pem == NULL || (uri != NULL && l->uri == NULL)) {
        l->pem_len = 0;
        tls_loading_dispose(&l->job);
        return NULL;
    }
    if (pem.len > 0)
        memcpy(l->pem, pem.ptr, pem.len);
    if (!tls_loading_await(l, why, size))
        return NULL;
    struct tls_device_key *made = l->made;
    l->made = NULL;
    tls_loading_dispose(&l->job);
    return made;
}

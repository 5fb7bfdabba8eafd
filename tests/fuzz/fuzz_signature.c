/*
 * fuzz_signature.c - any octets for the field Certferry-Signature: refused with a reason, or the
 * one signature that there is.
 *
 * Input: the field's value. Oracle: only an Ed25519 signature made here over the one text passes
 * (it has one spelling), and never for another text; whatever happens, no error of OpenSSL stays
 * behind.
 */
#include "failover/signature.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT SPAN("{\"identifier\":\"px1.plant7.example\"}")
#define NOW ((time_t)1795176000)

static struct signature_trust *trust;
static char *good; /* the field for TEXT, always the same */

static struct span written(BIO *out, char *text, size_t size)
{
    int n = BIO_read(out, text, (int)size);
    assert(n > 0);
    BIO_free(out);
    return (struct span){text, (size_t)n};
}

/* A key of fixed octets: the corpus holds a signature of it. It protects nothing. */
static void world_make(void)
{
    unsigned char seed[32];
    char text[4096];
    const char *why;
    struct signature_key *k;
    memset(seed, 'k', sizeof seed);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    assert(key != NULL);
    BIO *out = BIO_new(BIO_s_mem());
    assert(PEM_write_bio_PUBKEY(out, key) == 1);
    assert(signature_trust_create(&trust, written(out, text, sizeof text), &why) == 0);
    out = BIO_new(BIO_s_mem());
    assert(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    assert(signature_key_create(&k, written(out, text, sizeof text), (struct span){"", 0}, &why) ==
           0);
    assert(signature_make(&good, k, TEXT) == 0);
    signature_key_destroy(k);
    EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span field = {(const char *)data, size};
    const char *why = NULL;
    if (trust == NULL)
        world_make();
    int rc = signature_verify(trust, TEXT, field, "px1.plant7.example", NOW, &why);
    assert(rc == 0 || (rc == -EPERM && why != NULL));
    /* Another header may have been signed by nobody: the key is not for sale. */
    assert((rc == 0) == span_is(field, span_of(good)));
    assert(signature_verify(trust, SPAN("{}"), field, "px1.plant7.example", NOW, &why) == -EPERM);
    assert(ERR_peek_error() == 0);
    return 0;
}

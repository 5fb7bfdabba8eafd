/* test_secret_digest.c - the same digest for the same octets, by any thread, and under one key
 * alone.
 */
#include "proxy/session/secret_digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct secret_digest_key make_key(void)
{
    struct secret_digest_key key;
    assert_true(secret_digest_key_make(&key));
    return key;
}

static void making_changes_nothing(void **state)
{
    struct secret_digest_key key = make_key();
    unsigned char first[SECRET_DIGEST_OCTETS], other[SECRET_DIGEST_OCTETS];
    static const char *const different[] = {"hell", "hello ", "Hello", "", "hellohello"};
    (void)state;
    assert_true(secret_digest_make(&key, "hello", 5, first));
    for (size_t i = 0; i < sizeof different / sizeof *different; i++) {
        assert_true(secret_digest_make(&key, different[i], strlen(different[i]), other));
        assert_memory_not_equal(first, other, sizeof first);
        assert_true(secret_digest_make(&key, "hello", 5, other));
        assert_memory_equal(first, other, sizeof first);
    }
    secret_digest_key_release(&key);
    assert_null(key.mac);
    secret_digest_key_release(&key);
}

static void keys_differ(void **state)
{
    struct secret_digest_key one = make_key(), two = make_key();
    unsigned char first[SECRET_DIGEST_OCTETS], other[SECRET_DIGEST_OCTETS];
    (void)state;
    assert_true(secret_digest_make(&one, "hello", 5, first));
    assert_true(secret_digest_make(&two, "hello", 5, other));
    assert_memory_not_equal(first, other, sizeof first);
    secret_digest_key_release(&one);
    secret_digest_key_release(&two);
}

static void is_hmac_sha256(void **state)
{
    struct secret_digest_key key = make_key();
    unsigned char plain[SECRET_DIGEST_OCTETS], digest[SECRET_DIGEST_OCTETS];
    (void)state;
    assert_true(EVP_MAC_is_a(EVP_MAC_CTX_get0_mac(key.mac), "HMAC"));
    assert_int_equal(EVP_MAC_CTX_get_mac_size(key.mac), SECRET_DIGEST_OCTETS);
    assert_int_equal(EVP_Digest("hello", 5, plain, NULL, EVP_sha256(), NULL), 1);
    assert_true(secret_digest_make(&key, "hello", 5, digest));
    assert_memory_not_equal(plain, digest, sizeof plain);
    secret_digest_key_release(&key);
}

struct maker {
    const struct secret_digest_key *key;
    pthread_t thread;
    unsigned char text[64], expected[SECRET_DIGEST_OCTETS];
    unsigned wrong;
};

static void *make_many(void *arg)
{
    struct maker *m = arg;
    for (int i = 0; i < 2000; i++) {
        unsigned char digest[SECRET_DIGEST_OCTETS];
        bool made = secret_digest_make(m->key, m->text, sizeof m->text, digest);
        m->wrong += !made || memcmp(digest, m->expected, sizeof digest) != 0;
    }
    return NULL;
}

static void threads_share_a_key(void **state)
{
    enum { THREADS = 4 };
    struct secret_digest_key key = make_key();
    struct maker maker[THREADS] = {0};
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        maker[i].key = &key;
        memset(maker[i].text, 'a' + i, sizeof maker[i].text);
        assert_true(
            secret_digest_make(&key, maker[i].text, sizeof maker[i].text, maker[i].expected));
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&maker[i].thread, NULL, make_many, &maker[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(maker[i].thread, NULL), 0);
        assert_int_equal(maker[i].wrong, 0);
    }
    secret_digest_key_release(&key);
}

static void compares(void **state)
{
    (void)state;
    assert_true(secret_same("", ""));
    assert_true(secret_same("secret", "secret"));
    assert_false(secret_same("secret", "secreT"));
    assert_false(secret_same("secret", "secre"));
    assert_false(secret_same("", "s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(making_changes_nothing),
        cmocka_unit_test(keys_differ),
        cmocka_unit_test(is_hmac_sha256),
        cmocka_unit_test(threads_share_a_key),
        cmocka_unit_test(compares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

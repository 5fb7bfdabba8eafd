/* test_tls_tickets.c - keys of session tickets: what is sealed opens, also after a rotation, and
 * nothing else does; none is kept too long. */
#include "proxy/net/tls_tickets.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/clock.h"

enum { HOUR_MS = 3600 * 1000, TEXT = 32 };

static struct tls_tickets *tickets;

static int setup(void **state)
{
    (void)state;
    tickets = tls_tickets_create();
    return tickets != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tls_tickets_destroy(tickets);
    return 0;
}

/* As OpenSSL makes one of the key's name and IV, the text under the cipher, and the digest. */
struct ticket {
    unsigned char name[TLS_TICKET_NAME], iv[TLS_TICKET_IV], text[TEXT + 32], digest[32];
    int length;
};

static const char secret[TEXT] = "what a session is made of, here";

struct contexts {
    EVP_CIPHER_CTX *cipher;
    EVP_MAC *kind;
    EVP_MAC_CTX *mac;
};

static struct contexts open_contexts(void)
{
    struct contexts c = {EVP_CIPHER_CTX_new(), EVP_MAC_fetch(NULL, "HMAC", NULL), NULL};
    c.mac = EVP_MAC_CTX_new(c.kind);
    return c;
}

static void close_contexts(struct contexts *c)
{
    EVP_CIPHER_CTX_free(c->cipher);
    EVP_MAC_CTX_free(c->mac);
    EVP_MAC_free(c->kind);
}

static void digest(EVP_MAC_CTX *mac, const struct ticket *t, unsigned char out[32])
{
    size_t len;
    assert_int_equal(EVP_MAC_init(mac, NULL, 0, NULL), 1);
    assert_int_equal(EVP_MAC_update(mac, t->text, (size_t)t->length), 1);
    assert_int_equal(EVP_MAC_final(mac, out, &len, 32), 1);
    assert_int_equal(len, 32);
}

static void seal(struct ticket *t)
{
    struct contexts c = open_contexts();
    int more;
    *t = (struct ticket){.length = 0};
    assert_int_equal(tls_tickets_seal(tickets, t->name, t->iv, c.cipher, c.mac), TLS_TICKET_GOOD);
    assert_int_equal(
        EVP_EncryptUpdate(c.cipher, t->text, &t->length, (const unsigned char *)secret, TEXT), 1);
    assert_int_equal(EVP_EncryptFinal_ex(c.cipher, t->text + t->length, &more), 1);
    t->length += more;
    digest(c.mac, t, t->digest);
    close_contexts(&c);
}

/* What it is taken for; when it opens, its text and digest are right. */
static enum tls_ticket_result open_ticket(const struct ticket *t)
{
    struct contexts c = open_contexts();
    unsigned char text[TEXT + 32], own[32];
    int length, more;
    enum tls_ticket_result result = tls_tickets_open(tickets, t->name, t->iv, c.cipher, c.mac);
    if (result == TLS_TICKET_GOOD || result == TLS_TICKET_RENEW) {
        digest(c.mac, t, own);
        assert_memory_equal(own, t->digest, sizeof own);
        assert_int_equal(EVP_DecryptUpdate(c.cipher, text, &length, t->text, t->length), 1);
        assert_int_equal(EVP_DecryptFinal_ex(c.cipher, text + length, &more), 1);
        assert_int_equal(length + more, TEXT);
        assert_memory_equal(text, secret, TEXT);
    }
    close_contexts(&c);
    return result;
}

static void test_what_is_sealed_opens(void **state)
{
    struct ticket first, second;
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, HOUR_MS);
    seal(&first);
    seal(&second);
    assert_int_equal(open_ticket(&first), TLS_TICKET_GOOD);
    assert_int_equal(open_ticket(&second), TLS_TICKET_GOOD);
    assert_memory_equal(first.name, second.name, sizeof first.name);
    assert_memory_not_equal(first.iv, second.iv, sizeof first.iv);
    assert_int_equal(tls_tickets_count(tickets), 1);
}

static void test_what_is_not_ours_does_not(void **state)
{
    struct ticket t;
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, HOUR_MS);
    seal(&t);
    t.name[15] ^= 1;
    assert_int_equal(open_ticket(&t), TLS_TICKET_NONE);
    memset(t.name, 0, sizeof t.name);
    assert_int_equal(open_ticket(&t), TLS_TICKET_NONE);
}

static void test_rotation(void **state)
{
    struct ticket first, second;
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, 0); /* each key makes one ticket */
    seal(&first);
    seal(&second);
    assert_memory_not_equal(first.name, second.name, sizeof first.name);
    assert_int_equal(open_ticket(&first), TLS_TICKET_RENEW);
    assert_int_equal(open_ticket(&second), TLS_TICKET_RENEW);
    assert_int_equal(tls_tickets_count(tickets), 2);
}

static void test_keys_are_bounded(void **state)
{
    struct ticket first, last;
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, 0);
    seal(&first);
    for (unsigned i = 0; i < 200; i++)
        seal(&last);
    assert_int_equal(tls_tickets_count(tickets), 64);
    assert_int_equal(open_ticket(&first), TLS_TICKET_NONE);
    assert_int_equal(open_ticket(&last), TLS_TICKET_RENEW);
}

static void test_no_key_outlives_its_tickets(void **state)
{
    struct ticket t;
    (void)state;
    tls_tickets_set(tickets, 1, 1);
    seal(&t);
    while (tls_tickets_count(tickets) > 0)
        ;
    assert_int_equal(open_ticket(&t), TLS_TICKET_NONE);
}

/* A ticket that a key made in its last moment lives as long as that of its first. */
static void test_a_key_lives_as_long_as_its_last_ticket(void **state)
{
    struct ticket t;
    (void)state;
    tls_tickets_set(tickets, 1, HOUR_MS);
    seal(&t);
    uint64_t sealed_ms = clock_ms();
    while (clock_ms() - sealed_ms < 3)
        ;
    assert_int_equal(open_ticket(&t), TLS_TICKET_GOOD);
}

static void test_reload_keeps_keys(void **state)
{
    struct ticket t;
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, HOUR_MS);
    seal(&t);
    tls_tickets_set(tickets, HOUR_MS, HOUR_MS);
    assert_int_equal(open_ticket(&t), TLS_TICKET_GOOD);
    tls_tickets_set(tickets, HOUR_MS, 0);
    assert_int_equal(open_ticket(&t), TLS_TICKET_RENEW);
}

static void test_switched_off(void **state)
{
    struct ticket t;
    (void)state;
    assert_int_equal(tls_tickets_lifetime_ms(tickets), 0);
    tls_tickets_set(tickets, HOUR_MS, HOUR_MS);
    seal(&t);
    tls_tickets_set(tickets, 0, HOUR_MS);
    assert_int_equal(tls_tickets_count(tickets), 0);
    assert_int_equal(open_ticket(&t), TLS_TICKET_NONE);
    seal(&t); /* a handshake that has promised one */
    assert_int_equal(open_ticket(&t), TLS_TICKET_NONE);
}

static void *seal_many(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 200; i++) {
        struct ticket t;
        seal(&t);
        /* Other threads' keys may have taken this one's place by now. */
        enum tls_ticket_result result = open_ticket(&t);
        assert_true(result == TLS_TICKET_RENEW || result == TLS_TICKET_NONE);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t thread[4];
    (void)state;
    tls_tickets_set(tickets, HOUR_MS, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, seal_many, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_sealed_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_ours_does_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_key_outlives_its_tickets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_lives_as_long_as_its_last_ticket, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_reload_keeps_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_switched_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "proxy/net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"

enum { KEYS_MAX = 64, SECRET_OCTETS = 32 };

struct ticket_key {
    unsigned char name[TLS_TICKET_NAME];
    unsigned char cipher[SECRET_OCTETS], mac[SECRET_OCTETS];
    uint64_t born_ms;
};

struct tls_tickets {
    pthread_mutex_t lock;
    uint64_t lifetime_ms, rotate_ms;
    size_t count;
    struct ticket_key key[KEYS_MAX]; /* the newest first */
};

struct tls_tickets *tls_tickets_create(void)
{
    struct tls_tickets *t = calloc(1, sizeof *t);
    if (t != NULL)
        (void)pthread_mutex_init(&t->lock, NULL);
    return t;
}

void tls_tickets_destroy(struct tls_tickets *t)
{
    if (t == NULL)
        return;
    (void)pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
}

/* Under the lock. */
static void forget_old(struct tls_tickets *t, uint64_t now)
{
    while (t->count > 0) {
        struct ticket_key *oldest = &t->key[t->count - 1];
        bool open = t->lifetime_ms > 0 && now - oldest->born_ms < t->rotate_ms + t->lifetime_ms;
        if (open)
            return;
        OPENSSL_cleanse(oldest, sizeof *oldest);
        t->count--;
    }
}

/* Under the lock. When the table is full the oldest goes early. */
static bool add_key(struct tls_tickets *t, uint64_t now)
{
    struct ticket_key fresh = {.born_ms = now};
    bool made = RAND_bytes(fresh.name, sizeof fresh.name) == 1 &&
                RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) == 1 &&
                RAND_priv_bytes(fresh.mac, sizeof fresh.mac) == 1;
    if (made) {
        t->count -= t->count == KEYS_MAX;
        memmove(&t->key[1], &t->key[0], t->count * sizeof *t->key);
        t->key[0] = fresh;
        t->count++;
    }
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return made;
}

void tls_tickets_set(struct tls_tickets *t, uint64_t lifetime_ms, uint64_t rotate_ms)
{
    (void)pthread_mutex_lock(&t->lock);
    t->lifetime_ms = lifetime_ms;
    t->rotate_ms = rotate_ms;
    forget_old(t, clock_ms());
    (void)pthread_mutex_unlock(&t->lock);
}

uint64_t tls_tickets_lifetime_ms(struct tls_tickets *t)
{
    (void)pthread_mutex_lock(&t->lock);
    uint64_t lifetime_ms = t->lifetime_ms;
    (void)pthread_mutex_unlock(&t->lock);
    return lifetime_ms;
}

size_t tls_tickets_count(struct tls_tickets *t)
{
    (void)pthread_mutex_lock(&t->lock);
    forget_old(t, clock_ms());
    size_t count = t->count;
    (void)pthread_mutex_unlock(&t->lock);
    return count;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

enum tls_ticket_result tls_tickets_seal(struct tls_tickets *t, unsigned char name[TLS_TICKET_NAME],
                                        unsigned char iv[TLS_TICKET_IV], EVP_CIPHER_CTX *cipher,
                                        EVP_MAC_CTX *mac)
{
    enum tls_ticket_result result = TLS_TICKET_ERROR;
    (void)pthread_mutex_lock(&t->lock);
    uint64_t now = clock_ms();
    forget_old(t, now);
    bool fresh = t->count > 0 && now - t->key[0].born_ms < t->rotate_ms;
    /* Also when a reload has just switched tickets off: a handshake that has promised one gets one
     * that nobody will open. */
    if (fresh || add_key(t, now)) {
        struct ticket_key *key = &t->key[0];
        memcpy(name, key->name, sizeof key->name);
        if (RAND_bytes(iv, TLS_TICKET_IV) == 1 &&
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 &&
            set_mac(mac, key))
            result = TLS_TICKET_GOOD;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return result;
}

/* Under the lock. */
static struct ticket_key *find(struct tls_tickets *t, const unsigned char name[TLS_TICKET_NAME])
{
    for (size_t i = 0; i < t->count; i++) {
        if (memcmp(t->key[i].name, name, TLS_TICKET_NAME) == 0) /* the name is no secret */
            return &t->key[i];
    }
    return NULL;
}

enum tls_ticket_result tls_tickets_open(struct tls_tickets *t,
                                        const unsigned char name[TLS_TICKET_NAME],
                                        const unsigned char iv[TLS_TICKET_IV],
                                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    enum tls_ticket_result result = TLS_TICKET_NONE;
    (void)pthread_mutex_lock(&t->lock);
    uint64_t now = clock_ms();
    forget_old(t, now);
    struct ticket_key *key = find(t, name);
    if (key != NULL) {
        bool set_up = set_mac(mac, key) &&
                      EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1;
        result = !set_up                              ? TLS_TICKET_ERROR
                 : now - key->born_ms >= t->rotate_ms ? TLS_TICKET_RENEW
                                                      : TLS_TICKET_GOOD;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return result;
}

/* test_tls_key.c - keys of providers without a device (OpenSSL's own `base` stands for one): what
 * is loaded and what is not, and handshakes that another thread makes. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_offload.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_thread.h"

enum { TEXT_MAX = 8192, PATIENCE_MS = 20000 };
#define PIN "barley"

/* A self-signed certificate and its key. */
struct pair {
    EVP_PKEY *pkey;
    char key[TEXT_MAX], locked[TEXT_MAX], certificate[TEXT_MAX];
};

static struct pair rsa, ec, ed25519, other;
static uv_loop_t loop;
static struct poller *poller;
static struct tls_mailbox *mailbox;

/* ---- making ---- */

static void take(BIO *from, char to[TEXT_MAX])
{
    int n = BIO_read(from, to, TEXT_MAX - 1);
    assert_in_range(n, 1, TEXT_MAX - 2);
    to[n] = '\0';
    BIO_free(from);
}

static void make(struct pair *p, EVP_PKEY *pkey)
{
    X509 *x = X509_new();
    BIO *key = BIO_new(BIO_s_mem()), *locked = BIO_new(BIO_s_mem()), *cert = BIO_new(BIO_s_mem());
    p->pkey = pkey;
    (void)X509_set_version(x, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    (void)X509_set_pubkey(x, pkey);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                     (const unsigned char *)"localhost", -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(x));
    assert_true(X509_sign(x, pkey, EVP_PKEY_is_a(pkey, "ED25519") ? NULL : EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(cert, x), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key, pkey, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(locked, pkey, EVP_aes_128_cbc(),
                                              (const unsigned char *)PIN, sizeof PIN - 1, NULL,
                                              NULL),
                     1);
    take(cert, p->certificate);
    take(key, p->key);
    take(locked, p->locked);
    X509_free(x);
}

static struct tls_provider *open_base(const char *names, const char *pin, char why[TEXT_MAX])
{
    const struct tls_provider_options o = {.names = names,
                                           .path = "",
                                           .config = "",
                                           .query = "",
                                           .pin = span_of(pin),
                                           .queue_max = 4,
                                           .patience_ms = PATIENCE_MS};
    return tls_provider_open(&o, why, TEXT_MAX);
}

static struct tls_key *load(struct tls_provider *p, const char *pem, const struct pair *of,
                            char why[TEXT_MAX])
{
    const struct tls_key_place place = {"tls", NULL, span_of(pem), span_of(of->certificate)};
    return tls_key_from_provider(p, &place, why, TEXT_MAX);
}

static int setup_all(void **state)
{
    (void)state;
    make(&rsa, EVP_RSA_gen(2048));
    make(&ec, EVP_EC_gen("P-256"));
    make(&other, EVP_EC_gen("P-256"));
    make(&ed25519, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    return 0;
}

static int teardown_all(void **state)
{
    struct pair *const all[] = {&rsa, &ec, &other, &ed25519};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        EVP_PKEY_free(all[i]->pkey);
    return 0;
}

/* ---- loading ---- */

static void test_files(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_key *key = tls_key_from_pem(span_of(ec.key), why, sizeof why);
    assert_non_null(key);
    assert_int_equal(EVP_PKEY_eq(tls_key_pkey(key), ec.pkey), 1);
    assert_null(tls_key_provider(key));
    tls_key_unref(tls_key_ref(key));
    tls_key_unref(key);
    assert_null(tls_key_from_pem(span_of(ec.certificate), why, sizeof why));
    assert_non_null(strstr(why, "no private key in PEM form"));
    assert_null(tls_key_from_pem(span_of(ec.locked), why, sizeof why));
    assert_non_null(strstr(why, "is encrypted"));
    assert_null(tls_key_from_pem(SPAN(""), why, sizeof why));
}

static void test_refused(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", "", why);
    const struct {
        const char *pem;
        const struct pair *of;
        const char *words;
    } rows[] = {
        {other.key, &ec, "not that of the certificate"},
        {rsa.key, &ec, ""}, /* another kind: it may fail in either way */
        {ed25519.key, &ed25519, "must be RSA or EC, and this is ED25519"},
        {ec.certificate, &ec, "no key there"},
        {"", &ec, "no key there"},
        {ec.locked, &ec, "wants a PIN"},
    };
    assert_non_null(p);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_null(load(p, rows[i].pem, rows[i].of, why));
        assert_non_null(strstr(why, rows[i].words));
    }
    const struct tls_key_place nowhere = {"tls", NULL, span_of(ec.key), SPAN("no certificate")};
    assert_null(tls_key_from_provider(p, &nowhere, why, sizeof why));
    tls_provider_unref(p);
    assert_null(open_base("no-such-provider", "", why));
    assert_non_null(strstr(why, "no-such-provider cannot be loaded"));
    assert_null(open_base(",", "", why));
}

static void test_pin(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", PIN, why);
    struct tls_key *key = load(p, ec.locked, &ec, why);
    assert_non_null(key);
    tls_key_unref(key);
    tls_provider_unref(p);
    p = open_base("base", "rye", why);
    assert_null(load(p, ec.locked, &ec, why));
    assert_non_null(strstr(why, "the PIN may be wrong"));
    assert_null(strstr(why, "rye"));
    tls_provider_unref(p);
}

/* Many devices know one user at a time. */
static void test_shared(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", "", why), *same = open_base("base", "", why);
    struct tls_provider *another = open_base("base", "pin", why);
    assert_ptr_equal(p, same);
    assert_ptr_not_equal(p, another);
    assert_true(tls_provider_is_any());
    tls_provider_unref(p);
    tls_provider_unref(same);
    tls_provider_unref(another);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    assert_false(tls_provider_is_any());
}

/* It outlives whoever opened the provider. */
static void test_key_keeps_its_provider(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", "", why);
    struct tls_key *key = load(p, rsa.key, &rsa, why), *again = load(p, rsa.key, &rsa, why);
    tls_provider_unref(p);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, tls_key_pkey(key)), 1);
    tls_key_unref(key);
    tls_key_unref(again);
    assert_true(tls_provider_is_any());
    SSL_CTX_free(ctx);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    assert_false(tls_provider_is_any());
}

/* ---- handshakes ---- */

struct server {
    struct stream stream;
    int result; /* of the handshake; -EAGAIN: it goes on */
    const char *why;
};

static void on_ready(struct stream *s)
{
    struct server *server = LIST_ITEM(s, struct server, stream);
    if (server->result == -EAGAIN)
        server->result = stream_tls_handshake(s, &server->why);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    mailbox = tls_mailbox_create(&loop);
    return poller_create(&poller, &loop);
}

static int teardown(void **state)
{
    (void)state;
    poller_destroy(poller);
    tls_mailbox_close(mailbox);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return tls_threads_wait(PATIENCE_MS, true) ? 0 : -1;
}

/* The server's end of a new connection, its handshake begun; the client's SSL. */
static SSL *begin(struct server *server, SSL_CTX *ctx, SSL_CTX *client_ctx, struct tls_provider *p)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    *server = (struct server){.result = -EAGAIN};
    stream_init(&server->stream, on_ready);
    assert_int_equal(stream_open(&server->stream, poller, fd[0]), 0);
    SSL *ssl = SSL_new(ctx), *client = SSL_new(client_ctx);
    SSL_set_accept_state(ssl);
    SSL_set_connect_state(client);
    assert_int_equal(SSL_set_fd(ssl, fd[0]), 1);
    assert_int_equal(SSL_set_fd(client, fd[1]), 1);
    assert_int_equal(tls_offload_begin(&server->stream, ssl, p, mailbox), 0);
    assert_true(tls_offload_has(&server->stream));
    return client;
}

static void end_client(SSL *client)
{
    int fd = SSL_get_fd(client);
    SSL_free(client);
    (void)close(fd);
}

static void shake_hands(struct server *server, SSL *client)
{
    int rc = 0;
    while (server->result == -EAGAIN || rc != 1) {
        if (rc != 1)
            rc = SSL_do_handshake(client);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static SSL_CTX *server_context(const struct pair *pair, struct tls_key *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    BIO *text = BIO_new_mem_buf(pair->certificate, -1);
    X509 *x = PEM_read_bio_X509(text, NULL, NULL, NULL);
    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, x, tls_key_pkey(key), NULL, 1), 1);
    assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
    X509_free(x);
    BIO_free(text);
    return ctx;
}

static void test_handshakes(void **state)
{
    const struct pair *const pairs[] = {&rsa, &ec};
    char why[TEXT_MAX] = "", got[8];
    (void)state;
    struct tls_provider *p = open_base("base", "", why);
    for (size_t i = 0; i < 4; i++) {
        const struct pair *pair = pairs[i / 2];
        struct tls_key *key = load(p, pair->key, pair, why);
        assert_non_null(key);
        SSL_CTX *ctx = server_context(pair, key), *clients = SSL_CTX_new(TLS_client_method());
        int version = i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        (void)SSL_CTX_set_min_proto_version(clients, version);
        (void)SSL_CTX_set_max_proto_version(clients, version);
        struct server server;
        SSL *client = begin(&server, ctx, clients, p);
        shake_hands(&server, client);
        assert_int_equal(server.result, 0);
        assert_false(tls_offload_has(&server.stream));
        assert_int_equal(SSL_version(client), version);
        assert_int_equal(SSL_write(client, "hello", 5), 5);
        while (stream_receive(&server.stream, got, sizeof got) != 5)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        assert_memory_equal(got, "hello", 5);
        stream_close(&server.stream);
        end_client(client);
        SSL_CTX_free(clients);
        SSL_CTX_free(ctx);
        tls_key_unref(key);
    }
    tls_provider_unref(p);
}

/* ---- a peer that does not read ---- */

static atomic_uint steps; /* of the one that is stuck */

static void on_info(const SSL *ssl, int where, int result)
{
    (void)ssl;
    (void)result;
    if (where == SSL_CB_ACCEPT_EXIT)
        (void)atomic_fetch_add(&steps, 1);
}

/* A first flight that no small socket takes. */
static SSL_CTX *talkative_context(const struct pair *pair, struct tls_key *key)
{
    SSL_CTX *ctx = server_context(pair, key);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, SSL_CTX_get0_certificate(ctx)), 1);
    SSL_CTX_set_info_callback(ctx, on_info);
    return ctx;
}

/* The thread is for those who go on; it serves in turn, so that a stuck one would be seen there. */
static void test_no_room_is_waited_for(void **state)
{
    char why[TEXT_MAX] = "";
    int small = 1;
    unsigned before = 0;
    struct server stuck, server;
    (void)state;
    atomic_init(&steps, 0);
    struct tls_provider *p = open_base("base", "", why);
    struct tls_key *key = load(p, ec.key, &ec, why);
    SSL_CTX *ctx = server_context(&ec, key), *talkative = talkative_context(&ec, key);
    SSL_CTX *clients = SSL_CTX_new(TLS_client_method());
    SSL *deaf = begin(&stuck, talkative, clients, p);
    assert_int_equal(setsockopt(stuck.stream.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(SSL_do_handshake(deaf), -1);
    while (atomic_load(&steps) == 0)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(write(SSL_get_fd(deaf), "more", 4), 4); /* there is something to read */
    for (unsigned i = 0; i < 8; i++) {
        if (i == 3) /* every edge is over */
            before = atomic_load(&steps);
        SSL *client = begin(&server, ctx, clients, p);
        shake_hands(&server, client);
        stream_close(&server.stream);
        end_client(client);
    }
    assert_int_equal(stuck.result, -EAGAIN);
    assert_int_equal(atomic_load(&steps), before);
    stream_close(&stuck.stream);
    end_client(deaf);
    SSL_CTX_free(clients);
    SSL_CTX_free(talkative);
    SSL_CTX_free(ctx);
    tls_key_unref(key);
    tls_provider_unref(p);
}

/* Closed after each number of rounds: queued, on the thread, on its way back, or over. */
static void test_closed_at_any_moment(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", "", why);
    struct tls_key *key = load(p, rsa.key, &rsa, why);
    SSL_CTX *ctx = server_context(&rsa, key), *clients = SSL_CTX_new(TLS_client_method());
    for (unsigned rounds = 0; rounds < 60; rounds++) {
        struct server server;
        SSL *client = begin(&server, ctx, clients, p);
        (void)SSL_do_handshake(client);
        for (unsigned i = 0; i < rounds; i++)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        if (rounds % 2 == 0)
            stream_close(&server.stream);
        else
            stream_abort(&server.stream);
        assert_false(stream_is_open(&server.stream));
        end_client(client);
    }
    SSL_CTX_free(clients);
    SSL_CTX_free(ctx);
    tls_key_unref(key);
    tls_provider_unref(p);
}

static void test_a_client_that_speaks_no_tls(void **state)
{
    char why[TEXT_MAX] = "";
    (void)state;
    struct tls_provider *p = open_base("base", "", why);
    struct tls_key *key = load(p, ec.key, &ec, why);
    SSL_CTX *ctx = server_context(&ec, key), *clients = SSL_CTX_new(TLS_client_method());
    struct server server;
    SSL *client = begin(&server, ctx, clients, p);
    assert_int_equal(write(SSL_get_fd(client), "GET / HTTP/1.1\r\n\r\n", 18), 18);
    while (server.result == -EAGAIN)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(server.result, -EPROTO);
    assert_false(tls_provider_is_lost(p)); /* no fault of the device */
    stream_drop_layer(&server.stream);
    stream_close(&server.stream);
    end_client(client);
    SSL_CTX_free(clients);
    SSL_CTX_free(ctx);
    tls_key_unref(key);
    tls_provider_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
        TEST(test_files),
        TEST(test_refused),
        TEST(test_pin),
        TEST(test_shared),
        TEST(test_key_keeps_its_provider),
        TEST(test_handshakes),
        TEST(test_no_room_is_waited_for),
        TEST(test_closed_at_any_moment),
        TEST(test_a_client_that_speaks_no_tls),
#undef TEST
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}

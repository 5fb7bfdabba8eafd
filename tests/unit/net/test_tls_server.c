/* test_tls_server.c - what a door's TLS keeps over reloads and resumptions, who a certificate says
 * its client is, and until when that is believed. The handshakes themselves are in
 * functional/test_tls_door.py. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_client.h"
#include "proxy/net/tls_key.h"
#include "proxy/net/tls_server.h"
#include "proxy/net/tls_tickets.h"
#include "tests/unit/net/tls_made.h"

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S, PEM_MAX = 8192 };

static struct made ca, own;
static uv_loop_t loop;
static struct netloop net = {.loop = &loop};
static struct tls_tickets *tickets;
static struct span crl;          /* that servers are made with; empty: none */
static const char *door = "tls"; /* that they are for */

static int setup(void **state)
{
    (void)state;
    ca = made_ca("Test CA");
    own = made_by(&ca, "localhost", DAY_S);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(poller_create(&net.poller, &loop), 0);
    tickets = tls_tickets_create();
    tls_tickets_set(tickets, (uint64_t)10 * HOUR_S * 1000, (uint64_t)HOUR_S * 1000);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    made_free(&ca);
    made_free(&own);
    tls_tickets_destroy(tickets);
    poller_destroy(net.poller);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static struct tls_server *make(const struct made *of_clients, enum tls_client_auth auth)
{
    char chain[PEM_MAX], cas[PEM_MAX], why[256] = "";
    size_t chain_len = made_print(chain, sizeof chain, &own, 1);
    size_t ca_len = of_clients != NULL ? made_print(cas, sizeof cas, of_clients, 0) : 0;
    struct tls_key *key = tls_key_from_pem((struct span){chain, chain_len}, why, sizeof why);
    assert_non_null(key);
    const struct tls_pair pair = {{chain, chain_len}, key, "own.pem"};
    const struct tls_server_options o = {
        .door = door,
        .pair = &pair,
        .pair_count = 1,
        .auth = auth,
        .identity = TLS_IDENTITY_CN,
        .client_ca = {cas, ca_len},
        .client_crl = &crl,
        .client_crl_count = crl.len > 0,
        .tls12 = true,
        .ciphers = "",
        .ktls = true,
    };
    struct tls_server *t = tls_server_create(&o, why, sizeof why);
    tls_key_unref(key);
    if (t == NULL)
        fail_msg("%s", why);
    tls_server_use_tickets(t, tickets);
    return t;
}

/* ---- a connection ---- */

struct talk {
    struct stream stream;
    SSL_CTX *ctx;
    SSL *client;
    int peer;
};

static void on_ready(struct stream *s)
{
    (void)s;
}

static void open_talk(struct talk *k, struct tls_server *t, const struct made *identity,
                      SSL_SESSION *session)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    *k = (struct talk){.ctx = SSL_CTX_new(TLS_client_method()), .peer = fd[1]};
    stream_init(&k->stream, on_ready);
    assert_int_equal(stream_open(&k->stream, net.poller, fd[0]), 0);
    assert_int_equal(tls_server_begin(t, &k->stream, &net), 0);
    if (identity != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(k->ctx, identity->certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(k->ctx, identity->key), 1);
    }
    /* Its tickets come with the handshake. */
    assert_int_equal(SSL_CTX_set_max_proto_version(k->ctx, TLS1_2_VERSION), 1);
    k->client = SSL_new(k->ctx);
    assert_int_equal(SSL_set_fd(k->client, k->peer), 1);
    if (session != NULL)
        assert_int_equal(SSL_set_session(k->client, session), 1);
    SSL_set_connect_state(k->client);
}

/* The server's result. */
static int shake_hands(struct talk *k)
{
    const char *why = "";
    int rc = -EAGAIN, mine = 0;
    while (rc == -EAGAIN || (rc == 0 && mine != 1)) {
        mine = mine == 1 ? 1 : SSL_do_handshake(k->client);
        if (rc == -EAGAIN)
            rc = stream_tls_handshake(&k->stream, &why);
    }
    return rc;
}

static void close_talk(struct talk *k)
{
    SSL_set_shutdown(k->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* for its session */
    SSL_free(k->client);
    SSL_CTX_free(k->ctx);
    stream_close(&k->stream);
    (void)close(k->peer);
}

/* Until when the session's ticket may be used, as the server has written into it. */
static int64_t ticket_until(const struct talk *k)
{
    void *data = NULL;
    size_t len = 0;
    int64_t until;
    SSL_SESSION *session = SSL_get_session(k->stream.layer_state);
    assert_int_equal(SSL_SESSION_get0_ticket_appdata(session, &data, &len), 1);
    assert_true(len >= sizeof until);
    memcpy(&until, data, sizeof until);
    return until;
}

static void assert_about(int64_t at, int64_t in_s)
{
    int64_t away = at - ((int64_t)time(NULL) + in_s);
    assert_true(away >= -60 && away <= 60);
}

/* ---- the cases ---- */

static void test_connections_keep_their_server(void **state)
{
    struct talk k;
    char identity[TLS_IDENTITY_MAX + 1];
    struct made device = made_by(&ca, "device", DAY_S);
    struct tls_server *t = make(&ca, TLS_CLIENT_REQUIRED);
    (void)state;
    open_talk(&k, t, &device, NULL);
    tls_server_unref(t); /* a reload has another one */
    assert_int_equal(shake_hands(&k), 0);
    assert_true(tls_server_identity(&k.stream, identity));
    assert_string_equal(identity, "device");
    assert_string_equal(stream_tls_version(&k.stream), "TLSv1.2");
    /* Over this socket no kernel does TLS: nothing may be spliced past OpenSSL. */
    assert_false(stream_splices_in(&k.stream));
    assert_false(stream_splices_out(&k.stream));
    close_talk(&k);
    made_free(&device);
}

static void test_tickets_end_with_what_was_verified(void **state)
{
    struct talk k;
    struct made soon = made_by(&ca, "soon", HOUR_S), later = made_by(&ca, "later", DAY_S / 2);
    struct tls_server *t = make(&ca, TLS_CLIENT_OPTIONAL);
    (void)state;
    open_talk(&k, t, &soon, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_about(ticket_until(&k), HOUR_S);
    close_talk(&k);
    open_talk(&k, t, &later, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_about(ticket_until(&k), 10 * HOUR_S); /* tls.ticket.lifetime */
    close_talk(&k);
    open_talk(&k, t, NULL, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_about(ticket_until(&k), 10 * HOUR_S);
    close_talk(&k);
    tls_server_unref(t);
    made_free(&soon);
    made_free(&later);
}

/* Resumes a session made with `first` at `second`. */
static bool resumes(struct tls_server *first, struct tls_server *second,
                    const struct made *identity, int64_t *until)
{
    struct talk k;
    open_talk(&k, first, identity, NULL);
    assert_int_equal(shake_hands(&k), 0);
    int64_t before = ticket_until(&k);
    SSL_SESSION *session = SSL_get1_session(k.client);
    close_talk(&k);
    open_talk(&k, second, identity, session);
    int rc = shake_hands(&k);
    bool resumed = rc == 0 && stream_tls_resumed(&k.stream);
    *until = resumed ? ticket_until(&k) - before : 0;
    SSL_SESSION_free(session);
    close_talk(&k);
    return resumed;
}

static void test_resuming_puts_nothing_off(void **state)
{
    int64_t later;
    struct made device = made_by(&ca, "device", HOUR_S);
    struct tls_server *t = make(&ca, TLS_CLIENT_REQUIRED);
    struct tls_server *again = make(&ca, TLS_CLIENT_REQUIRED);
    (void)state;
    assert_true(resumes(t, t, &device, &later));
    assert_int_equal(later, 0);
    assert_true(resumes(t, again, &device, &later));
    tls_server_unref(t);
    tls_server_unref(again);
    made_free(&device);
}

/* Nor does a reload, for those that were looked at before it. */
static void test_a_longer_lifetime_is_for_later_handshakes(void **state)
{
    struct talk k;
    struct tls_server *t = make(NULL, TLS_CLIENT_NONE);
    (void)state;
    open_talk(&k, t, NULL, NULL);
    assert_int_equal(shake_hands(&k), 0);
    int64_t before = ticket_until(&k);
    SSL_SESSION *session = SSL_get1_session(k.client);
    close_talk(&k);
    tls_tickets_set(tickets, (uint64_t)20 * HOUR_S * 1000, 0); /* and it gets a new ticket */
    open_talk(&k, t, NULL, session);
    assert_int_equal(shake_hands(&k), 0);
    assert_true(stream_tls_resumed(&k.stream));
    assert_int_equal(ticket_until(&k), before);
    close_talk(&k);
    SSL_SESSION_free(session);
    tls_server_unref(t);
}

/* A CRL of the CA, that is good for so long; in PEM. */
static struct span make_crl(char text[PEM_MAX], long end_s)
{
    char *made;
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *at = X509_gmtime_adj(NULL, -DAY_S);
    assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
    assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(ca.certificate)), 1);
    assert_int_equal(X509_CRL_set1_lastUpdate(list, at), 1);
    assert_non_null(X509_gmtime_adj(at, end_s));
    assert_int_equal(X509_CRL_set1_nextUpdate(list, at), 1);
    assert_true(X509_CRL_sign(list, ca.key, EVP_sha256()) > 0);
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_CRL(out, list), 1);
    size_t len = (size_t)BIO_get_mem_data(out, &made);
    assert_true(len < PEM_MAX);
    memcpy(text, made, len);
    BIO_free(out);
    ASN1_TIME_free(at);
    X509_CRL_free(list);
    return (struct span){text, len};
}

/* By which a client is believed that shows a certificate, or may do without. */
static void test_tickets_end_with_the_crl(void **state)
{
    char text[PEM_MAX];
    int64_t later;
    struct talk k;
    struct made device = made_by(&ca, "device", DAY_S);
    (void)state;
    crl = make_crl(text, 2 * HOUR_S);
    struct tls_server *t = make(&ca, TLS_CLIENT_REQUIRED);
    open_talk(&k, t, &device, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_about(ticket_until(&k), 2 * HOUR_S);
    close_talk(&k);
    assert_true(resumes(t, t, &device, &later));
    tls_server_unref(t);
    crl = make_crl(text, -HOUR_S);
    t = make(&ca, TLS_CLIENT_OPTIONAL);
    assert_false(resumes(t, t, NULL, &later)); /* it has ended before it began */
    tls_server_unref(t);
    crl = (struct span){NULL, 0};
    made_free(&device);
}

static void test_other_trust_resumes_nothing(void **state)
{
    int64_t later;
    struct made other = made_ca("Other CA"), device = made_by(&ca, "device", HOUR_S);
    struct tls_server *t = make(&ca, TLS_CLIENT_OPTIONAL);
    struct tls_server *strict = make(&ca, TLS_CLIENT_REQUIRED);
    struct tls_server *stranger = make(&other, TLS_CLIENT_OPTIONAL);
    struct tls_server *careless = make(NULL, TLS_CLIENT_NONE);
    (void)state;
    assert_false(resumes(t, strict, &device, &later));
    assert_false(resumes(t, stranger, &device, &later));
    assert_false(resumes(careless, t, NULL, &later));
    assert_false(resumes(t, careless, &device, &later));
    door = "gateway";
    struct tls_server *elsewhere = make(&ca, TLS_CLIENT_OPTIONAL);
    door = "tls";
    assert_false(resumes(t, elsewhere, &device, &later));
    tls_server_unref(elsewhere);
    tls_server_unref(t);
    tls_server_unref(strict);
    tls_server_unref(stranger);
    tls_server_unref(careless);
    made_free(&other);
    made_free(&device);
}

static void test_open_connection_is_judged(void **state)
{
    struct talk k;
    const char *why = "";
    struct made other = made_ca("Other CA"), device = made_by(&ca, "device", HOUR_S);
    struct tls_server *t = make(&ca, TLS_CLIENT_OPTIONAL);
    struct tls_server *same = make(&ca, TLS_CLIENT_REQUIRED);
    struct tls_server *stranger = make(&other, TLS_CLIENT_OPTIONAL);
    struct tls_server *careless = make(NULL, TLS_CLIENT_NONE);
    (void)state;
    open_talk(&k, t, &device, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_true(tls_server_judge(t, &k.stream, &why));
    assert_true(tls_server_judge(same, &k.stream, &why));
    assert_true(tls_server_judge(same, &k.stream, &why));
    assert_false(tls_server_judge(stranger, &k.stream, &why));
    assert_string_equal(why, "unable to get local issuer certificate");
    assert_true(tls_server_judge(careless, &k.stream, &why)); /* which asks for none */
    close_talk(&k);
    open_talk(&k, t, NULL, NULL);
    assert_int_equal(shake_hands(&k), 0);
    assert_false(tls_server_judge(same, &k.stream, &why));
    assert_true(tls_server_judge(stranger, &k.stream, &why));
    close_talk(&k);
    tls_server_unref(careless);
    tls_server_unref(t);
    tls_server_unref(same);
    tls_server_unref(stranger);
    made_free(&other);
    made_free(&device);
}

/* ---- the kernel's TLS ---- */

static long ktls_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_GET_KTLS_SEND || cmd == BIO_CTRL_GET_KTLS_RECV || cmd == BIO_CTRL_FLUSH;
}

static int ktls_write(BIO *b, const char *from, int size)
{
    (void)b;
    (void)from;
    (void)size;
    fail_msg("OpenSSL writes where the kernel encrypts");
    return -1;
}

/* What OpenSSL says of a socket whose TLS the kernel does. */
static BIO *ktls_bio(BIO_METHOD **method)
{
    *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kernel");
    assert_int_equal(BIO_meth_set_ctrl(*method, ktls_ctrl), 1);
    assert_int_equal(BIO_meth_set_write(*method, ktls_write), 1);
    BIO *b = BIO_new(*method);
    assert_non_null(b);
    BIO_set_init(b, 1);
    return b;
}

/* Octets go to the descriptor as they are, whatever their buffer does between two tries; and it may
 * be spliced. */
static void test_kernel_gets_plain_octets(void **state)
{
    struct talk k;
    BIO_METHOD *method;
    char got[16];
    struct tls_server *t = make(NULL, TLS_CLIENT_NONE);
    (void)state;
    open_talk(&k, t, NULL, NULL);
    tls_server_unref(t);
    assert_int_equal(shake_hands(&k), 0);
    while (read(k.peer, got, sizeof got) > 0)
        ;
    SSL *ssl = k.stream.layer_state;
    BIO *kernel = ktls_bio(&method);
    if (!BIO_get_ktls_send(kernel)) { /* this OpenSSL was built without it */
        BIO_free(kernel);
        BIO_meth_free(method);
        close_talk(&k);
        skip();
    }
    SSL_set0_wbio(ssl, kernel);
    assert_true(stream_splices_out(&k.stream));
    assert_false(stream_splices_in(&k.stream));
    assert_int_equal(stream_send(&k.stream, "plain", 5), 5);
    assert_int_equal(read(k.peer, got, sizeof got), 5);
    assert_memory_equal(got, "plain", 5);
    SSL_set_quiet_shutdown(ssl, 1);
    close_talk(&k);
    BIO_meth_free(method);
}

/* ---- who it is ---- */

static void put_name(X509_NAME *name, const char *kind, int type, const char *text, int len)
{
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, kind, type, (const unsigned char *)text, len, -1, 0), 1);
}

static void check_common_name(int type, const char *text, int len, const char *identity)
{
    char got[TLS_IDENTITY_MAX + 1];
    struct made m = made_unsigned(&(struct made_request){NULL, NULL, HOUR_S});
    put_name(X509_get_subject_name(m.certificate), "CN", type, text, len);
    assert_int_equal(tls_trust_identity(m.certificate, TLS_IDENTITY_CN, got), identity != NULL);
    assert_string_equal(got, identity != NULL ? identity : "");
    made_free(&m);
}

static void test_common_names(void **state)
{
    (void)state;
    check_common_name(V_ASN1_UTF8STRING, "sensor 7", 8, "sensor 7");
    check_common_name(V_ASN1_PRINTABLESTRING, "sensor", 6, "sensor");
    check_common_name(V_ASN1_BMPSTRING, "\0s\0e\0n", 6, "sen");
    /* What looks like another name to whoever reads it carelessly. */
    check_common_name(V_ASN1_UTF8STRING, "admin\0x", 7, NULL);
    check_common_name(V_ASN1_BMPSTRING, "\0a\0\0\0b", 6, NULL);
    check_common_name(V_ASN1_BMPSTRING, "\x04\x30\0b", 4, NULL); /* a Cyrillic a */
    check_common_name(V_ASN1_UTF8STRING, "s\xc3\xa9nsor", 7, NULL);
    check_common_name(V_ASN1_UTF8STRING, "a\nb", 3, NULL);
    check_common_name(V_ASN1_UTF8STRING, "\x7f", 1, NULL);
}

static void test_several_and_none(void **state)
{
    char got[TLS_IDENTITY_MAX + 1];
    struct made m = made_unsigned(&(struct made_request){"first", NULL, HOUR_S});
    (void)state;
    put_name(X509_get_subject_name(m.certificate), "CN", V_ASN1_UTF8STRING, "last", 4);
    assert_true(tls_trust_identity(m.certificate, TLS_IDENTITY_CN, got));
    assert_string_equal(got, "last");
    assert_true(tls_trust_identity(m.certificate, TLS_IDENTITY_SUBJECT, got));
    assert_string_equal(got, "CN=last,CN=first");
    assert_false(tls_trust_identity(m.certificate, TLS_IDENTITY_DNS, got));
    made_add(&m, NID_subject_alt_name,
             "IP:192.0.2.1,email:a@b.test,URI:urn:x,DNS:Up.Test,DNS:second.test");
    assert_true(tls_trust_identity(m.certificate, TLS_IDENTITY_DNS, got));
    assert_string_equal(got, "up.test");
    assert_true(tls_trust_identity(m.certificate, TLS_IDENTITY_URI, got));
    assert_string_equal(got, "urn:x");
    assert_true(tls_trust_identity(m.certificate, TLS_IDENTITY_EMAIL, got));
    assert_string_equal(got, "a@b.test");
    made_free(&m);
    m = made_unsigned(&(struct made_request){NULL, NULL, HOUR_S});
    assert_false(tls_trust_identity(m.certificate, TLS_IDENTITY_SUBJECT, got));
    assert_false(tls_trust_identity(m.certificate, TLS_IDENTITY_CN, got));
    assert_string_equal(got, "");
    made_free(&m);
}

/* A longer one is none: its beginning might be somebody else's. */
static void test_length(void **state)
{
    char got[TLS_IDENTITY_MAX + 1], uri[TLS_IDENTITY_MAX + 16];
    (void)state;
    for (size_t len = TLS_IDENTITY_MAX - 1; len <= TLS_IDENTITY_MAX + 1; len++) {
        struct made m = made_unsigned(&(struct made_request){NULL, NULL, HOUR_S});
        memset(uri, 'u', sizeof uri);
        memcpy(uri, "URI:", 4);
        uri[4 + len] = '\0';
        made_add(&m, NID_subject_alt_name, uri);
        bool fits = len <= TLS_IDENTITY_MAX;
        assert_int_equal(tls_trust_identity(m.certificate, TLS_IDENTITY_URI, got), fits);
        assert_int_equal(strlen(got), fits ? len : 0);
        made_free(&m);
    }
}

/* ---- messages without data ---- */

enum { FLOOD = 40, FEW = 20 }; /* the first is too many in a row */

/* The result of the stream once there is one, each turn of the loop as its owner is called. */
static ssize_t receive_in_turns(struct stream *s)
{
    char octet;
    ssize_t n = -EAGAIN;
    for (unsigned turns = 0; n == -EAGAIN && turns < 2 * FLOOD; turns++) {
        s->can_read = false;
        (void)uv_run(&loop, UV_RUN_NOWAIT); /* resumed, or an edge */
        if (s->can_read)
            n = stream_receive(s, &octet, 1);
    }
    return n;
}

static void update_keys(SSL *ssl, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
    }
}

static void test_key_updates_without_end(void **state)
{
    struct tls_server *t = make(NULL, TLS_CLIENT_NONE);
    struct talk k;
    (void)state;
    open_talk(&k, t, NULL, NULL);
    assert_int_equal(SSL_set_max_proto_version(k.client, TLS1_3_VERSION), 1);
    assert_int_equal(shake_hands(&k), 0);
    for (unsigned i = 0; i < 3; i++) { /* what a client may do that has something to say */
        update_keys(k.client, FEW);
        assert_int_equal(SSL_write(k.client, "x", 1), 1);
        assert_int_equal(receive_in_turns(&k.stream), 1);
    }
    update_keys(k.client, FLOOD);
    assert_int_equal(SSL_write(k.client, "x", 1), 1);
    assert_int_equal(receive_in_turns(&k.stream), -ECONNRESET);
    close_talk(&k);
    tls_server_unref(t);
}

/* A server of the test's own, that our client believes; its SSL. */
static SSL *open_client(struct tls_client *c, struct stream *s, SSL_CTX *servers, int version)
{
    const char *why = "";
    int fd[2], rc = -EAGAIN, theirs = 0;
    SSL *ssl = SSL_new(servers);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    stream_init(s, on_ready);
    assert_int_equal(stream_open(s, net.poller, fd[0]), 0);
    assert_int_equal(tls_client_begin(c, s, NULL, "localhost", NULL, 443), 0);
    assert_int_equal(SSL_set_fd(ssl, fd[1]), 1);
    assert_int_equal(SSL_set_max_proto_version(ssl, version), 1);
    SSL_set_accept_state(ssl);
    while (rc == -EAGAIN || theirs != 1) {
        if (rc == -EAGAIN)
            rc = stream_tls_handshake(s, &why);
        assert_true(rc == 0 || rc == -EAGAIN);
        theirs = theirs == 1 ? 1 : SSL_do_handshake(ssl);
    }
    return ssl;
}

static void end_client(struct stream *s, SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    stream_close(s);
    SSL_free(ssl);
    (void)close(fd);
}

static void ask_again(SSL *ssl, unsigned times)
{
    for (unsigned i = 0; i < times; i++) { /* HelloRequest */
        assert_int_equal(SSL_renegotiate(ssl), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
    }
}

/* A server that we ask is no friend either. */
static void test_server_that_says_nothing(void **state)
{
    char cas[PEM_MAX], octet;
    const char *why = "";
    struct stream s;
    (void)state;
    struct made named = made_unsigned(&(struct made_request){"server", &ca, DAY_S});
    made_add(&named, NID_subject_alt_name, "DNS:localhost");
    made_sign(&named, &ca);
    size_t ca_len = made_print(cas, sizeof cas, &ca, 0);
    struct tls_client *c = tls_client_create((struct span){cas, ca_len}, &why);
    SSL_CTX *servers = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(servers, named.certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(servers, named.key), 1);
    SSL *ssl = open_client(c, &s, servers, TLS1_3_VERSION);
    update_keys(ssl, FEW);
    assert_int_equal(SSL_write(ssl, "x", 1), 1);
    assert_int_equal(receive_in_turns(&s), 1);
    update_keys(ssl, FLOOD);
    assert_int_equal(receive_in_turns(&s), -ECONNRESET);
    end_client(&s, ssl);
    /* Another handshake would be a signature of ours each time: the answer is an alert. */
    ssl = open_client(c, &s, servers, TLS1_2_VERSION);
    ask_again(ssl, 1);
    assert_int_equal(receive_in_turns(&s), -EAGAIN);
    assert_int_equal(SSL_read(ssl, &octet, 1), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    end_client(&s, ssl);
    ssl = open_client(c, &s, servers, TLS1_2_VERSION);
    ask_again(ssl, FLOOD);
    assert_int_equal(receive_in_turns(&s), -ECONNRESET);
    end_client(&s, ssl);
    SSL_CTX_free(servers);
    tls_client_destroy(c);
    made_free(&named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_connections_keep_their_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tickets_end_with_what_was_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resuming_puts_nothing_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_longer_lifetime_is_for_later_handshakes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_tickets_end_with_the_crl, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_trust_resumes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_connection_is_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel_gets_plain_octets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_updates_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_that_says_nothing, setup, teardown),
        cmocka_unit_test(test_common_names),
        cmocka_unit_test(test_several_and_none),
        cmocka_unit_test(test_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

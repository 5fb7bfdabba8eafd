/* test_tls_sessions.c - which session of a server is offered to it again, and until when. */
#include "proxy/net/tls_sessions.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tests/unit/net/tls_made.h"

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S, PORT = 443 };

static struct made ca;
static SSL_CTX *client, *server;
static long clock_offset_s;

/* The clock of all that is linked here, OpenSSL included. */
time_t time(time_t *to)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (to != NULL)
        *to = now.tv_sec + clock_offset_s;
    return now.tv_sec + clock_offset_s;
}

/* ---- both sides ---- */

static SSL_CTX *make_client(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca.certificate), 1);
    assert_true(tls_sessions_add(ctx));
    return ctx;
}

static void certify(SSL_CTX *ctx, const char *name, long end_s)
{
    struct made m = made_unsigned(&(struct made_request){"server", &ca, end_s});
    made_add(&m, NID_subject_alt_name, name);
    made_sign(&m, &ca);
    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, m.certificate, m.key, NULL, 1), 1);
    made_free(&m);
}

static SSL_CTX *make_server(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    certify(ctx, "DNS:localhost", 2L * DAY_S);
    assert_int_equal(SSL_CTX_set_max_early_data(ctx, 16384), 1);
    (void)SSL_CTX_set_options(ctx,
                              SSL_OP_NO_ANTI_REPLAY); /* tickets, and not the server's memory */
    (void)SSL_CTX_set_timeout(ctx, 3L * DAY_S);
    return ctx;
}

static int setup(void **state)
{
    (void)state;
    clock_offset_s = 0;
    ca = made_ca("Test CA");
    client = make_client();
    server = make_server();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    made_free(&ca);
    return 0;
}

/* One connection. */
struct talk {
    SSL_CTX *from, *to;
    const char *name;
    int version;
    uint16_t port;
    SSL *ours, *theirs;
    int fd[2];
    bool offered, resumed, early;
};

static void begin(struct talk *k)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, k->fd), 0);
    k->ours = SSL_new(k->from);
    k->theirs = SSL_new(k->to);
    assert_int_equal(SSL_set_max_proto_version(k->theirs, k->version), 1);
    assert_int_equal(SSL_set1_host(k->ours, k->name), 1);
    assert_int_equal(SSL_set_fd(k->ours, k->fd[0]), 1);
    assert_int_equal(SSL_set_fd(k->theirs, k->fd[1]), 1);
    SSL_set_connect_state(k->ours);
    SSL_set_accept_state(k->theirs);
    tls_sessions_use(k->ours, k->name, k->port);
    k->offered = SSL_get0_session(k->ours) != NULL;
}

static bool waits(SSL *ssl, int result)
{
    int error = SSL_get_error(ssl, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* True: the handshake went well, and what the server says behind it has come. */
static bool go(struct talk *k)
{
    int ours = 0, theirs = 0;
    char octet;
    for (int i = 0; i < 20 && (ours != 1 || theirs != 1); i++) {
        ERR_clear_error();
        if (ours != 1 && (ours = SSL_do_handshake(k->ours)) != 1 && !waits(k->ours, ours))
            return false;
        ERR_clear_error();
        if (theirs != 1)
            theirs = SSL_do_handshake(k->theirs);
    }
    if (ours != 1 || theirs != 1 || SSL_write(k->theirs, "x", 1) != 1 ||
        SSL_read(k->ours, &octet, 1) != 1)
        return false;
    k->resumed = SSL_session_reused(k->ours) == 1 && SSL_session_reused(k->theirs) == 1;
    k->early = SSL_get_early_data_status(k->theirs) == SSL_EARLY_DATA_ACCEPTED ||
               SSL_get_early_data_status(k->theirs) == SSL_EARLY_DATA_REJECTED;
    return true;
}

/* Without a word: a session must not mind. */
static void end(struct talk *k)
{
    SSL_free(k->ours);
    SSL_free(k->theirs);
    (void)close(k->fd[0]);
    (void)close(k->fd[1]);
    ERR_clear_error();
}

static struct talk usual(int version)
{
    return (struct talk){
        .from = client, .to = server, .name = "localhost", .version = version, .port = PORT};
}

enum came_to { FAILED, WHOLE, REFUSED /* offered, but a whole one */, RESUMED };

static enum came_to meet(struct talk k)
{
    begin(&k);
    bool good = go(&k);
    assert_false(k.early);
    end(&k);
    return !good ? FAILED : k.resumed ? RESUMED : k.offered ? REFUSED : WHOLE;
}

enum { VERSIONS = 2 };
static const int versions[VERSIONS] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* Whether one is offered now; it is used up by that. */
static bool is_offered(struct talk k)
{
    begin(&k);
    end(&k);
    return k.offered;
}

/* ---- who is offered what ---- */

static void goes_on_and_on(void **state)
{
    (void)state;
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        assert_int_equal(meet(k), WHOLE);
        for (int i = 0; i < 5; i++)
            assert_int_equal(meet(k), RESUMED);
    }
}

static void only_where_it_was_verified(void **state)
{
    SSL_CTX *reloaded = make_client();
    (void)state;
    certify(server, "DNS:localhost,DNS:other", 2L * DAY_S);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]), other = k;
        k.port = other.port = (uint16_t)(PORT + 2 * v);
        assert_int_equal(meet(k), WHOLE);
        other.name = "other";
        assert_int_equal(meet(other), WHOLE);
        other = k;
        other.port++;
        assert_int_equal(meet(other), WHOLE);
        other = k;
        other.from = reloaded;
        assert_int_equal(meet(other), WHOLE);
        assert_int_equal(meet(k), RESUMED);
    }
    SSL_CTX_free(reloaded);
}

static void failed_handshake_forgets(void **state)
{
    (void)state;
    (void)SSL_CTX_set_num_tickets(server, 1);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        assert_int_equal(meet(k), WHOLE);
        assert_true(is_offered(k)); /* and its connection ends there */
        assert_int_equal(meet(k), WHOLE);
        assert_int_equal(meet(k), RESUMED);
    }
}

static void unbelieved_server_leaves_none(void **state)
{
    (void)state;
    certify(server, "DNS:evil", DAY_S);
    for (unsigned v = 0; v < VERSIONS; v++) {
        assert_int_equal(meet(usual(versions[v])), FAILED);
        assert_false(is_offered(usual(versions[v])));
    }
}

static void refused_ticket_is_a_whole_handshake(void **state)
{
    SSL_CTX *forgetful = make_server(), *evil = make_server();
    (void)state;
    certify(evil, "DNS:evil", DAY_S);
    (void)SSL_CTX_set_num_tickets(server, 1);
    (void)SSL_CTX_set_num_tickets(forgetful, 1);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]), other = k;
        k.port = other.port = (uint16_t)(PORT + v);
        assert_int_equal(meet(k), WHOLE);
        other.to = forgetful; /* other keys of tickets */
        assert_int_equal(meet(other), REFUSED);
        assert_int_equal(meet(other), RESUMED);
        other.to = evil;
        assert_int_equal(meet(other), FAILED);
        assert_false(is_offered(other));
    }
    SSL_CTX_free(forgetful);
    SSL_CTX_free(evil);
}

/* ---- until when ---- */

static void ends_with_the_certificate(void **state)
{
    (void)state;
    certify(server, "DNS:localhost", HOUR_S);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        clock_offset_s = 0;
        assert_int_equal(meet(k), WHOLE);
        clock_offset_s = HOUR_S - 60;
        assert_int_equal(meet(k), RESUMED); /* which puts nothing off */
        clock_offset_s = HOUR_S + 1;
        assert_false(is_offered(k));
        assert_int_equal(meet(k), FAILED);
    }
}

static void ends_with_the_ca(void **state)
{
    (void)state;
    made_free(&ca);
    ca = made_unsigned(&(struct made_request){"Short CA", NULL, HOUR_S});
    made_add(&ca, NID_basic_constraints, "critical,CA:TRUE");
    made_sign(&ca, NULL);
    SSL_CTX_free(client);
    client = make_client();
    certify(server, "DNS:localhost", DAY_S);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        clock_offset_s = 0;
        assert_int_equal(meet(k), WHOLE);
        clock_offset_s = HOUR_S + 1;
        assert_false(is_offered(k));
        assert_int_equal(meet(k), FAILED);
    }
}

static void ends_with_the_ticket(void **state)
{
    (void)state;
    (void)SSL_CTX_set_timeout(server, 100);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        clock_offset_s = 0;
        assert_int_equal(meet(k), WHOLE);
        clock_offset_s = 200;
        assert_false(is_offered(k));
    }
}

static void ends_a_day_after_the_whole_handshake(void **state)
{
    (void)state;
    made_free(&ca);
    ca = made_unsigned(&(struct made_request){"Long CA", NULL, 9L * DAY_S});
    made_add(&ca, NID_basic_constraints, "critical,CA:TRUE");
    made_sign(&ca, NULL);
    SSL_CTX_free(client);
    client = make_client();
    certify(server, "DNS:localhost", 3L * DAY_S);
    for (unsigned v = 0; v < VERSIONS; v++) {
        struct talk k = usual(versions[v]);
        k.port = (uint16_t)(PORT + v);
        clock_offset_s = 0;
        assert_int_equal(meet(k), WHOLE);
        clock_offset_s = 10L * HOUR_S;
        assert_int_equal(meet(k), RESUMED);
        clock_offset_s = 20L * HOUR_S;
        assert_int_equal(meet(k), RESUMED);
        clock_offset_s = 25L * HOUR_S;
        assert_int_equal(meet(k), WHOLE);
        assert_int_equal(meet(k), RESUMED);
    }
}

static void clock_that_was_put_back(void **state)
{
    (void)state;
    assert_int_equal(meet(usual(TLS1_3_VERSION)), WHOLE);
    clock_offset_s = -600;
    assert_false(is_offered(usual(TLS1_3_VERSION)));
}

/* ---- bounds and threads ---- */

static void servers_are_bounded(void **state)
{
    struct talk k = usual(TLS1_3_VERSION);
    (void)state;
    for (unsigned i = 0; i < TLS_SESSIONS_SERVERS_MAX; i++, k.port++)
        assert_int_equal(meet(k), WHOLE);
    assert_int_equal(meet(k), WHOLE);
    assert_int_equal(meet(k), WHOLE);
    k.port--;
    assert_int_equal(meet(k), RESUMED);
}

static void sessions_are_bounded(void **state)
{
    struct talk k = usual(TLS1_3_VERSION);
    (void)state;
    (void)SSL_CTX_set_num_tickets(server, TLS_SESSIONS_EACH_MAX + 3);
    assert_int_equal(meet(k), WHOLE);
    for (unsigned i = 0; i < TLS_SESSIONS_EACH_MAX; i++)
        assert_true(is_offered(k));
    assert_false(is_offered(k));
}

/* A connection may outlive the client that it was begun with: a reload. */
static void ssl_outlives_its_client(void **state)
{
    struct talk k = usual(TLS1_3_VERSION);
    (void)state;
    begin(&k);
    SSL_CTX_free(client);
    client = NULL;
    assert_true(go(&k));
    end(&k);
}

static void without_a_table(void **state)
{
    struct talk k = usual(TLS1_3_VERSION);
    (void)state;
    k.from = SSL_CTX_new(TLS_client_method());
    assert_int_equal(meet(k), WHOLE);
    assert_int_equal(meet(k), WHOLE);
    SSL_CTX_free(k.from);
}

struct worker {
    pthread_t thread;
    int version;
    unsigned failed, resumed;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 50; i++) {
        enum came_to it = meet(usual(w->version));
        w->failed += it == FAILED;
        w->resumed += it == RESUMED;
    }
    return NULL;
}

static void threads_share_a_table(void **state)
{
    enum { THREADS = 4 };
    struct worker worker[THREADS] = {0};
    unsigned resumed = 0;
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        worker[i].version = i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
        assert_int_equal(worker[i].failed, 0);
        resumed += worker[i].resumed;
    }
    assert_true(resumed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_on_and_on, setup, teardown),
        cmocka_unit_test_setup_teardown(only_where_it_was_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_handshake_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(unbelieved_server_leaves_none, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_ticket_is_a_whole_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_with_the_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_with_the_ca, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_with_the_ticket, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_a_day_after_the_whole_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(clock_that_was_put_back, setup, teardown),
        cmocka_unit_test_setup_teardown(servers_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(ssl_outlives_its_client, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_table, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_share_a_table, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

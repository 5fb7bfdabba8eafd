/* test_tls_faults.c - a door's TLS while memory runs out: made whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/net/tls_key.h"
#include "proxy/net/tls_server.h"
#include "proxy/net/tls_tickets.h"
#include "tests/support/faults.h"
#include "tests/unit/net/tls_made.h"

enum { DAY_S = 86400, PEM_MAX = 8192 };

static char chain[PEM_MAX], cas[PEM_MAX];
static size_t chain_len, ca_len;

/* Once: the certificates are the test's own, not what is tested. */
static void make_files(void)
{
    if (chain_len > 0)
        return;
    faults_pause();
    struct made ca = made_ca("Test CA"), own = made_by(&ca, "localhost", DAY_S);
    ca_len = made_print(cas, sizeof cas, &ca, 0);
    chain_len = made_print(chain, sizeof chain, &own, 1);
    made_free(&ca);
    made_free(&own);
    faults_resume();
}

static bool server_is_made(void)
{
    char why[256] = "";
    make_files();
    struct tls_key *key = tls_key_from_pem((struct span){chain, chain_len}, why, sizeof why);
    if (key == NULL) {
        assert_true(faults_struck());
        return false;
    }
    const struct tls_pair pair = {{chain, chain_len}, key, "own.pem"};
    const struct tls_server_options o = {.door = "tls",
                                         .pair = &pair,
                                         .pair_count = 1,
                                         .auth = TLS_CLIENT_REQUIRED,
                                         .client_ca = {cas, ca_len},
                                         .ciphers = ""};
    struct tls_server *t = tls_server_create(&o, why, sizeof why);
    tls_key_unref(key);
    if (t == NULL) {
        assert_true(faults_struck());
        assert_non_null(strstr(why, "out of memory"));
        return false;
    }
    const struct tls_server_certificate *list;
    assert_int_equal(tls_server_certificates(t, &list), 1);
    assert_string_equal(list[0].name, "own.pem");
    tls_server_unref(t);
    return true;
}

static bool tickets_are_made(void)
{
    struct tls_tickets *t = tls_tickets_create();
    if (t == NULL)
        return false;
    assert_int_equal(tls_tickets_lifetime_ms(t), 0);
    tls_tickets_destroy(t);
    return true;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"a door's TLS", server_is_made, false},
        {"keys of tickets", tickets_are_made, false},
    };
    return faults_main("tls_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

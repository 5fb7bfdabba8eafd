/* test_failover_faults.c - no memory for a roster or its documents, cJSON's own included: -ENOMEM
 * and no half a document. */
#include "failover/document.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "failover/document_read.h"
#include "failover/peers_print.h"
#include "failover/signature.h"

#include "tests/support/faults.h"

enum { MEMBERS = 9 };

static struct member member_of(unsigned i)
{
    struct member m = {.protocol = i % 3 == 0 ? MEMBER_HTTPS_CONNECT : MEMBER_HTTP_CONNECT,
                       .port = 48999,
                       .zone = "plant\"7",
                       .state = MEMBER_UP,
                       .self = i == 2};
    (void)snprintf(m.host, sizeof m.host, "px%u.plant7.example", i);
    return m;
}

/* Members that found no room are not there, the others are as they were given. */
static bool roster_built(void)
{
    struct roster *r = roster_create();
    unsigned added = 0;
    if (r == NULL)
        return false;
    for (; added < MEMBERS; added++) {
        struct member m = member_of(added);
        int rc = roster_add(r, &m);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            break;
        }
    }
    assert_int_equal(roster_count(r), added);
    for (unsigned i = 0; i < added; i++) {
        struct member m = member_of(i);
        assert_string_equal(roster_member(r, i)->host, m.host);
        assert_int_equal(roster_member(r, i)->self, m.self);
    }
    roster_unref(roster_ref(r));
    roster_unref(r);
    return added == MEMBERS;
}

/* ---- documents ---- */

static struct roster *roster;
static struct policy *policy;

static void world_make(void)
{
    static const struct port_range connect[] = {{443, 443}}, http[] = {{80, 80}, {8080, 8090}};
    static const char *const domains[] = {"digicert.com", "globalsign.com"};
    struct rules *rules = rules_create();
    for (size_t i = 0; i < 2; i++)
        (void)rules_add_domain(rules, span_of(domains[i]), NULL);
    (void)rules_add_host(rules, SPAN("192.0.2.7"), NULL);
    struct policy_options o = {.rules = rules,
                               .connect_ports = connect,
                               .connect_port_count = 1,
                               .http_ports = http,
                               .http_port_count = 2};
    policy = policy_create(&o);
    roster = roster_create();
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member m = member_of(i);
        (void)roster_add(roster, &m);
    }
}

static void world_end(void)
{
    roster_unref(roster);
    policy_destroy(policy);
}

/* The text is the one that plenty of memory gives, or there is none. */
static bool document_made(int (*make)(struct document *d, const struct document_options *o))
{
    const struct document_options o = {.identifier = "px2.plant7.example",
                                       .zone = "plant\"7",
                                       .version = "0.1.0",
                                       .roster = roster,
                                       .policy = policy,
                                       .ttl_seconds = 600,
                                       .now = 1795176000};
    struct document d, whole;
    int rc = make(&d, &o);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    if (rc != 0) {
        assert_null(d.text);
        document_release(&d);
        return false;
    }
    faults_pause();
    assert_int_equal(make(&whole, &o), 0);
    assert_string_equal(d.text, whole.text);
    assert_string_equal(d.etag, whole.etag);
    document_release(&whole);
    faults_resume();
    document_release(&d);
    return true;
}

static bool pvd_made(void)
{
    return document_made(document_pvd);
}

static bool pac_made(void)
{
    return document_made(document_pac);
}

/* ---- documents that are read, printed, signed ---- */

static char *pvd_text; /* good, of the world */

static void text_make(void)
{
    const struct document_options o = {.identifier = "px2.plant7.example",
                                       .zone = "",
                                       .version = "0.1.0",
                                       .roster = roster,
                                       .policy = policy,
                                       .ttl_seconds = 600,
                                       .now = 1795176000};
    struct document d;
    if (document_pvd(&d, &o) == 0)
        pvd_text = d.text;
}

static bool pvd_read(void)
{
    char fault[DOCUMENT_FAULT_MAX];
    struct document_content c;
    struct rules *rules = rules_create();
    if (rules == NULL)
        return false;
    int rc = document_read_rules(&c, span_of(pvd_text), rules, fault);
    if (rc != 0) {
        assert_int_equal(rc, -ENOMEM);
        assert_null(c.roster);
    } else {
        assert_int_equal(roster_count(c.roster), MEMBERS);
        assert_int_equal(rules_count(rules), 3);
    }
    roster_unref(c.roster);
    rules_destroy(rules);
    return rc == 0;
}

static bool roster_printed(void)
{
    const struct peers_view v = {"http://px1:48999", "px1", 1795176000, false, roster};
    struct buf b;
    buf_init(&b, 65536);
    int rc = peers_print_table(&b, &v);
    if (rc == 0)
        rc = peers_print_json(&b, &v);
    assert_true(rc == 0 || rc == -ENOMEM);
    buf_release(&b);
    return rc == 0;
}

static char key_pem[512], public_pem[512];

static void keys_make(void)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    BIO *out = BIO_new(BIO_s_mem());
    (void)PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    (void)BIO_read(out, key_pem, sizeof key_pem - 1);
    (void)PEM_write_bio_PUBKEY(out, key);
    (void)BIO_read(out, public_pem, sizeof public_pem - 1);
    BIO_free(out);
    EVP_PKEY_free(key);
}

/* Made and verified, or -ENOMEM: never a signature that is none. */
static bool document_signed(void)
{
    struct signature_key *key = NULL;
    struct signature_trust *trust = NULL;
    const char *why = NULL;
    char *field = NULL;
    int rc = signature_key_create(&key, span_of(key_pem), (struct span){"", 0}, &why);
    if (rc == 0)
        rc = signature_trust_create(&trust, span_of(public_pem), &why);
    if (rc == 0)
        rc = signature_make(&field, key, span_of(pvd_text));
    if (rc == 0)
        rc = signature_verify(trust, span_of(pvd_text), span_of(field), "px1", 1795176000, &why);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    free(field);
    signature_trust_destroy(trust);
    signature_key_destroy(key);
    return rc == 0;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"roster", roster_built, false},        {"document_pvd", pvd_made, false},
        {"document_pac", pac_made, false},      {"document_read", pvd_read, false},
        {"peers_print", roster_printed, false}, {"signature", document_signed, false},
    };
    cJSON_Hooks hooks = {faults_malloc, faults_free};
    cJSON_InitHooks(&hooks);
    world_make();
    text_make();
    keys_make();
    int failed = faults_main("failover_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    free(pvd_text);
    world_end();
    return failed;
}

/*
 * test_check_answer.c - which question a URL leads to; answers that are none, cut anywhere, or
 * hostile.
 */
#include "proxy/check_answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_questions(void **state)
{
    static const struct {
        const char *path;
        enum check_kind kind;
        const char *asked;
    } rows[] = {
        {"", CHECK_ACME_OR_OTHER, "/"},
        {"/", CHECK_ACME_OR_OTHER, "/"},
        {"?a=b", CHECK_ACME_OR_OTHER, "/?a=b"},
        {"/dir", CHECK_ACME_OR_OTHER, "/dir"},
        {"/dir?x=/scep", CHECK_ACME_OR_OTHER, "/dir?x=/scep"},
        {"/.well-known/est", CHECK_EST, "/.well-known/est/cacerts"},
        {"/.well-known/est/", CHECK_EST, "/.well-known/est/cacerts"},
        {"/.well-known/est/cacerts", CHECK_EST, "/.well-known/est/cacerts"},
        {"/.well-known/est/simpleenroll?a", CHECK_EST, "/.well-known/est/cacerts"},
        {"/.well-known/est/plant7/simplereenroll", CHECK_EST, "/.well-known/est/plant7/cacerts"},
        {"/.well-known/est/plant7", CHECK_EST, "/.well-known/est/plant7/cacerts"},
        {"/tenant/.well-known/est/csrattrs", CHECK_EST, "/tenant/.well-known/est/cacerts"},
        {"/scep", CHECK_SCEP, "/scep?operation=GetCACaps"},
        {"/scep?operation=PKIOperation&message=x", CHECK_SCEP, "/scep?operation=GetCACaps"},
        {"/cgi-bin/pkiclient.exe", CHECK_SCEP, "/cgi-bin/pkiclient.exe?operation=GetCACaps"},
        {"/ca?operation=GetCACert", CHECK_SCEP, "/ca?operation=GetCACaps"},
        {"/certsrv/mscep/mscep.dll", CHECK_SCEP, "/certsrv/mscep/mscep.dll?operation=GetCACaps"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct check_question q;
        assert_int_equal(check_question(&q, span_of(rows[i].path)), 0);
        assert_int_equal(q.kind, rows[i].kind);
        assert_string_equal(q.path, rows[i].asked);
    }
}

static void test_long_paths(void **state)
{
    static char path[CHECK_PATH_MAX + 64];
    struct check_question q;
    (void)state;
    memset(path, 'x', sizeof path);
    path[0] = '/';
    assert_int_equal(check_question(&q, (struct span){path, CHECK_PATH_MAX - 1}), 0);
    assert_int_equal(check_question(&q, (struct span){path, CHECK_PATH_MAX}), -ENAMETOOLONG);
    memcpy(path, "/scep/", 6); /* fits as it is, but not with what is added */
    assert_int_equal(check_question(&q, (struct span){path, CHECK_PATH_MAX - 1}), -ENAMETOOLONG);
}

static bool judge(enum check_kind kind, unsigned status, struct span body)
{
    const struct check_question q = {.kind = kind};
    char text[CHECK_TEXT_MAX] = "";
    /* Its end must not be looked beyond. */
    char *copy = malloc(body.len + 1);
    assert_non_null(copy);
    char *at = copy;
    if (body.len > 0)
        memcpy(copy, body.ptr, body.len);
    at = realloc(copy, body.len > 0 ? body.len : 1);
    assert_non_null(at);
    bool good = check_answer(&q, status, (struct span){at, body.len}, text);
    assert_true(strlen(text) > 0 && strlen(text) < CHECK_TEXT_MAX);
    free(at);
    return good;
}

static void test_directories(void **state)
{
    static const char good[] =
        "{\"newNonce\": \"https://ca.test/nonce\", \"newAccount\": "
        "\"https://ca.test/account\", \"newOrder\": \"https://ca.test/order\"}";
    const struct check_question q = {.kind = CHECK_ACME_OR_OTHER};
    char text[CHECK_TEXT_MAX];
    (void)state;
    for (size_t len = 0; len <= sizeof good - 1; len++) {
        assert_true(check_answer(&q, 200, (struct span){good, len}, text)); /* a page, at least */
        assert_int_equal(strcmp(text, "ACME directory") == 0, len == sizeof good - 1);
    }
    for (const char *name = strchr(good, 'n'); name != NULL; name = strstr(name + 1, "new")) {
        char other[sizeof good];
        memcpy(other, good, sizeof good);
        other[name - good] = 'N'; /* one of the three goes by another name */
        assert_true(check_answer(&q, 200, span_of(other), text));
        assert_string_not_equal(text, "ACME directory");
    }
    assert_true(judge(CHECK_ACME_OR_OTHER, 404, SPAN("")));
    assert_true(judge(CHECK_ACME_OR_OTHER, 200, SPAN("[{}]")));
    assert_false(judge(CHECK_ACME_OR_OTHER, 500, SPAN("")));
    assert_false(judge(CHECK_ACME_OR_OTHER, 503, span_of(good)));
}

static void test_capabilities(void **state)
{
    char many[2000];
    (void)state;
    assert_true(judge(CHECK_SCEP, 200, SPAN("POSTPKIOperation\r\nSHA-256\nAES")));
    assert_true(judge(CHECK_SCEP, 200, SPAN("Renewal")));
    assert_false(judge(CHECK_SCEP, 404, SPAN("Renewal")));
    assert_false(judge(CHECK_SCEP, 200, SPAN("")));
    assert_false(judge(CHECK_SCEP, 200, SPAN("<html>")));
    assert_false(judge(CHECK_SCEP, 200, SPAN("Renewal\0")));
    assert_false(judge(CHECK_SCEP, 200, SPAN("Renewal\x1b[2J")));
    assert_false(judge(CHECK_SCEP, 200, SPAN("\xc3\xb6")));
    memset(many, 'x', sizeof many);
    assert_false(judge(CHECK_SCEP, 200, (struct span){many, sizeof many}));
}

/* A degenerate SignedData without a certificate, as `openssl crl2pkcs7 -nocrl` makes it. */
static const char empty[] = "MCcGCSqGSIb3DQEHAqAaMBgCAQExADALBgkqhkiG9w0BBwGgADEAMQA=";

static void test_certificates(void **state)
{
    static const char *const bodies[] = {
        "",       "0",  "MA==", "MII=", "AAAA", "====", "0\x82\xff\xff", "-----BEGIN PKCS7-----\n",
        "<html>", empty};
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_false(judge(CHECK_EST, 200, span_of(bodies[i])));
    for (size_t len = 0; len < sizeof empty; len++)
        assert_false(judge(CHECK_EST, 200, (struct span){empty, len}));
    assert_false(judge(CHECK_EST, 401, span_of(empty)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),    cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_directories),  cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_certificates),
    };
    return cmocka_run_group_tests_name("check answer", tests, NULL, NULL);
}

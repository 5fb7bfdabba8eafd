/*
 * Requests of real clients and their class; and requests that only look like them.
 */
#include "proxy/wire/classify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

/* A request of openssl ocsp, in base64 as RFC 6960 appendix A.1 has it. */
#define OCSP_GET                                                                                   \
    "MFUwUzBRME8wTTAJBgUrDgMCGgUABBRCTvM2bYsX5PmGXqeEn+ECutGoLgQUCd9+shC24M1knU7TdQiNRwSbDxcCFCc"  \
    "+ZsjeEDaJ75dsRSIa3XWOWm1A"
/* The same with slashes in its base64, not escaped. */
#define OCSP_SLASHES                                                                               \
    "MFUwUzBRME8wTTAJBgUrDgMCGgUABBRCTvM2/YsX5PmGXqeEn//MutGoLgQUCd9+shC24M1knU7TdQiNRwSbDxcCFCc"  \
    "+ZsjeEDaJ75dsRSIa3XWOWm1A"

struct classify_case {
    const char *method;
    const char *path; /* with the query */
    const char *type; /* Content-Type, NULL for none */
    enum protocol protocol;
    const char *operation;
};

static const struct classify_case acme_cases[] = {
    {"GET", "/directory", NULL, PROTOCOL_ACME, "directory"},
    {"GET", "/v2/acme/directory/", NULL, PROTOCOL_ACME, "directory"},
    {"GET", "/acme/acme/directory", NULL, PROTOCOL_ACME, "directory"},
    {"GET", "/directory/", NULL, PROTOCOL_ACME, "directory"},
    {"HEAD", "/acme/new-nonce", NULL, PROTOCOL_ACME, "newNonce"},
    {"POST", "/acme/new-acct", "application/jose+json", PROTOCOL_ACME, "newAccount"},
    {"POST", "/acme/new-account", "application/jose+json", PROTOCOL_ACME, "newAccount"},
    {"POST", "/acme/new-order", "application/jose+json", PROTOCOL_ACME, "newOrder"},
    {"POST", "/acme/order/1/2", "application/jose+json", PROTOCOL_ACME, "order"},
    {"POST", "/acme/order/1/finalize", "application/jose+json", PROTOCOL_ACME, "finalize"},
    {"POST", "/acme/authz/1", "application/jose+json", PROTOCOL_ACME, "authz"},
    {"POST", "/acme/chall/1/2/3", "application/jose+json", PROTOCOL_ACME, "challenge"},
    {"POST", "/acme/cert/abc", "application/jose+json", PROTOCOL_ACME, "certificate"},
    {"POST", "/acme/revoke-cert", "application/jose+json", PROTOCOL_ACME, "revokeCert"},
    {"POST", "/acme/key-change", "application/jose+json", PROTOCOL_ACME, "keyChange"},
    {"GET", "/acme/renewal-info/x.y", NULL, PROTOCOL_ACME, "renewalInfo"},
    {"POST", "/order-plz", "Application/JOSE+JSON", PROTOCOL_ACME, ""},
    {"POST", "/x", "application/jose+json; charset=utf-8", PROTOCOL_ACME, ""},
    {"POST", "/x", "application/jose+json ;a=b", PROTOCOL_ACME, ""},
    {"GET", "/acme", NULL, PROTOCOL_ACME, ""},
    {"GET", "/.well-known/acme-challenge/token", NULL, PROTOCOL_ACME, "http-01"},

    {"GET", "/.well-known/acme-challenge/", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/acme-challenges/token", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/directory/x", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/some/directory", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/acmecorp/x", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x?acme/", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x", "application/jose+json", PROTOCOL_OTHER, ""},
    {"POST", "/x", "application/jose+jsonx", PROTOCOL_OTHER, ""},
    {"POST", "/x", "text/plain; application/jose+json", PROTOCOL_OTHER, ""},
};

static const struct classify_case est_cases[] = {
    {"GET", "/.well-known/est/cacerts", NULL, PROTOCOL_EST, "cacerts"},
    {"POST", "/.well-known/est/simpleenroll", "application/pkcs10", PROTOCOL_EST, "simpleenroll"},
    {"POST", "/.well-known/est/simplereenroll", NULL, PROTOCOL_EST, "simplereenroll"},
    {"POST", "/.well-known/est/fullcmc", NULL, PROTOCOL_EST, "fullcmc"},
    {"POST", "/.well-known/est/serverkeygen", NULL, PROTOCOL_EST, "serverkeygen"},
    {"GET", "/.well-known/est/csrattrs", NULL, PROTOCOL_EST, "csrattrs"},
    {"GET", "/.well-known/est/label/cacerts", NULL, PROTOCOL_EST, "cacerts"},
    {"GET", "/.well-known/est/label/cacerts?x=y", NULL, PROTOCOL_EST, "cacerts"},
    {"POST", "/mpki/api/.well-known/est/IOT_1/simpleenroll", NULL, PROTOCOL_EST, "simpleenroll"},
    /* The path is worth more than the media type. */
    {"POST", "/.well-known/est/fullcmc", "application/jose+json", PROTOCOL_EST, "fullcmc"},

    {"GET", "/.well-known/est", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/admin", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/a/b/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/cacerts/", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/cacerts/x", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/estate/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/EST/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x?/.well-known/est/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/%2ewell-known/est/cacerts", NULL, PROTOCOL_OTHER, ""},
    /* RFC 3986 5.2.4: the path is not what it looks like */
    {"GET", "/.well-known/est/../../admin/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/../cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/./cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/%2e%2E/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/.%2e/cacerts", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/.well-known/est/.../cacerts", NULL, PROTOCOL_EST, "cacerts"},
};

static const struct classify_case scep_cases[] = {
    {"GET", "/scep?operation=GetCACaps", NULL, PROTOCOL_SCEP, "GetCACaps"},
    {"GET", "/scep?operation=GetCACert&message=ca", NULL, PROTOCOL_SCEP, "GetCACert"},
    {"GET", "/scep?message=ca&operation=GetNextCACert", NULL, PROTOCOL_SCEP, "GetNextCACert"},
    {"POST", "/scep?operation=PKIOperation", "application/x-pki-message", PROTOCOL_SCEP,
     "PKIOperation"},
    {"GET", "/cgi-bin/pkiclient.exe?operation=PKIOperation&message=MIIx%2B", NULL, PROTOCOL_SCEP,
     "PKIOperation"},
    {"GET", "/certsrv/mscep/mscep.dll?Operation=GetCACert", NULL, PROTOCOL_SCEP, "GetCACert"},
    {"GET", "/x?OPERATION=getcacaps", NULL, PROTOCOL_SCEP, "GetCACaps"},
    {"GET", "?operation=GetCACaps", NULL, PROTOCOL_SCEP, "GetCACaps"},
    {"GET", "/certsrv/mscep/mscep.dll/pkiclient.exe", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/certsrv/mscep/PKIClient.EXE?a=b", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/scep", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/api/v1/scep/profile", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/scep?operation=Format", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/scep?operation=", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/scep?operation", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/scep?&&=&operation=GetCACaps&", NULL, PROTOCOL_SCEP, "GetCACaps"},
    /* Which of two the CA takes is not known. */
    {"GET", "/scep?operation=GetCACaps&operation=PKIOperation", NULL, PROTOCOL_SCEP, ""},
    {"GET", "/x?operation=GetCACaps&Operation=x", NULL, PROTOCOL_OTHER, ""},

    {"GET", "/x?operation=Format", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x?operation=GetCACapsX", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x?xoperation=GetCACaps", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x&operation=GetCACaps", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/pkiclient.exe.txt", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/xpkiclient.exe", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/sceptre", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x/../scep?operation=GetCACaps", NULL, PROTOCOL_OTHER, ""},
};

static const struct classify_case other_cases[] = {
    {"POST", "/.well-known/cmp", "application/pkixcmp", PROTOCOL_CMP, ""},
    {"POST", "/.well-known/cmp/p/iot/initialization", "application/pkixcmp", PROTOCOL_CMP,
     "initialization"},
    {"POST", "/.well-known/cmp/keyupdate", NULL, PROTOCOL_CMP, "keyupdate"},
    {"POST", "/.well-known/cmp/getcacerts", NULL, PROTOCOL_CMP, "getcacerts"},
    {"POST", "/pkix/", "application/pkixcmp", PROTOCOL_CMP, ""},
    {"POST", "/.well-known/cmpx", NULL, PROTOCOL_OTHER, ""},
    {"POST", "/pkix/", "application/pkixcmp-poll", PROTOCOL_OTHER, ""},

    {"POST", "/", "application/ocsp-request", PROTOCOL_OCSP, "request"},
    {"POST", "", "application/ocsp-request", PROTOCOL_OCSP, "request"},
    {"POST", "/ocsp", NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/ejbca/publicweb/status/OCSP", NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/ocsp/" OCSP_GET, NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/" OCSP_GET, NULL, PROTOCOL_OCSP, "request"},
    {"GET", "//" OCSP_GET, NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/status/" OCSP_GET, NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/M/" OCSP_GET, NULL, PROTOCOL_OCSP, "request"},
    {"GET", "/" OCSP_SLASHES, NULL, PROTOCOL_OCSP, "request"},
    /* An octet less, an octet more, another length inside, not base64: no DER of that size. */
    {"GET", "/M" OCSP_GET, NULL, PROTOCOL_OTHER, ""},
    {"GET", "/" OCSP_GET "AAAA", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/" OCSP_GET "/x", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/MFUwUzBRME8wTTAJBgUrDgMCGgUABBRCTvM2bYsX5PmGXqeEnECutGoLgQUCd9shC24M1knU7TdQiN", NULL,
     PROTOCOL_OTHER, ""},
    {"GET", "/Marketing-pages-that-are-quite-long-and-begin-with-the-same-letter-as-DER", NULL,
     PROTOCOL_OTHER, ""},
    {"POST", "/" OCSP_GET, NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x/myocsp", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/", "application/ocsp-request", PROTOCOL_OTHER, ""},

    {"GET", "/DigiCertGlobalRootCA.crl", NULL, PROTOCOL_CRL, "fetch"},
    {"HEAD", "/a/b.CRL?x=y", NULL, PROTOCOL_CRL, "fetch"},
    {"GET", "/acme/1.crl", NULL, PROTOCOL_CRL, "fetch"},
    {"GET", "/x.crlx", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x?y=z.crl", NULL, PROTOCOL_OTHER, ""},
    {"POST", "/x.crl", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/x/../y.crl", NULL, PROTOCOL_OTHER, ""},

    {"GET", "/DigiCertGlobalRootG2.crt", NULL, PROTOCOL_AIA, "fetch"},
    {"GET", "/x.cer", NULL, PROTOCOL_AIA, "fetch"},
    {"GET", "/x.p7c", NULL, PROTOCOL_AIA, "fetch"},
    {"GET", "/x.DER", NULL, PROTOCOL_AIA, "fetch"},
    {"GET", "/scep/ca.crt", NULL, PROTOCOL_AIA, "fetch"},
    {"PUT", "/x.crt", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/crt", NULL, PROTOCOL_OTHER, ""},

    {"GET", "", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/", NULL, PROTOCOL_OTHER, ""},
    {"GET", "?", NULL, PROTOCOL_OTHER, ""},
    {"GET", "/index.html", NULL, PROTOCOL_OTHER, ""},
    {"POST", "/login", "application/x-www-form-urlencoded", PROTOCOL_OTHER, ""},
    {"POST", "/x", "", PROTOCOL_OTHER, ""},
};

static void check(const struct classify_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct classify_case *c = &cases[i];
        struct head h = {.kind = HEAD_REQUEST, .minor = 1, .method = span_of(c->method)};
        struct target t = {.form = TARGET_ABSOLUTE, .host = SPAN("ca.example"), .port = 80};
        t.path = c->path[0] != '\0' ? span_of(c->path) : (struct span){NULL, 0};
        if (c->type != NULL)
            h.field[h.field_count++] = (struct head_field){SPAN("content-type"), span_of(c->type)};
        struct classified got = classify_request(&h, &t);
        if (got.protocol != c->protocol || strcmp(got.operation, c->operation) != 0)
            fail_msg("%s %s (%s): %s '%s' instead of %s '%s'", c->method, c->path,
                     c->type != NULL ? c->type : "-", protocol_name(got.protocol), got.operation,
                     protocol_name(c->protocol), c->operation);
    }
}

#define CHECK(table) check((table), sizeof(table) / sizeof *(table))

static void test_acme(void **state)
{
    (void)state;
    CHECK(acme_cases);
}

static void test_est(void **state)
{
    (void)state;
    CHECK(est_cases);
}

static void test_scep(void **state)
{
    (void)state;
    CHECK(scep_cases);
}

static void test_others(void **state)
{
    (void)state;
    CHECK(other_cases);
}

/*
 * Writes the base64 of `size` octets, "head" first and zeros behind, as a path. `escape` writes
 * %2B, %2F, %3D.
 */
static void base64_path(char *out, const char *head, size_t head_len, size_t size, bool escape)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char der[1024] = {0};
    assert_true(size + 3 < sizeof der && head_len <= size);
    memcpy(der, head, head_len);
    *out++ = '/';
    for (size_t at = 0; at < size; at += 3) {
        unsigned bits = (unsigned)der[at] << 16 | (unsigned)der[at + 1] << 8 | der[at + 2];
        for (size_t i = 0; i < 4; i++) {
            char c = i > size - at ? '=' : alphabet[bits >> (18 - 6 * i) & 63];
            if (escape && strchr("+/=", c) != NULL) {
                const char *text = c == '+' ? "%2B" : c == '/' ? "%2f" : "%3D";
                memcpy(out, text, 3);
                out += 3;
            } else {
                *out++ = c;
            }
        }
    }
    *out = '\0';
}

static enum protocol class_of_get(const char *path)
{
    struct head h = {.kind = HEAD_REQUEST, .method = SPAN("GET")};
    struct target t = {.form = TARGET_ABSOLUTE, .path = span_of(path)};
    return classify_request(&h, &t).protocol;
}

/* RFC 6960 appendix A.1: which octets in base64 are taken for an OCSPRequest. */
static void test_ocsp_der(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        struct span head;
        size_t size;
        bool yes;
    } cases[] = {
        {"short form", {"\x30\x50\x30", 3}, 0x52, true},
        {"short form, one pad", {"\x30\x51\x30", 3}, 0x53, true},
        {"short form, no pad", {"\x30\x52\x30", 3}, 0x54, true},
        {"the longest short form", {"\x30\x7f\x30", 3}, 0x81, true},
        {"one octet of length", {"\x30\x81\xa0\x30", 4}, 0xa3, true},
        {"two octets of length", {"\x30\x82\x01\x03\x30", 5}, 0x107, true},
        {"plus and slash", {"\x30\x50\x30\xff\xff\xff\xfb\xef\xbe", 9}, 0x52, true},
        {"an octet less than it says", {"\x30\x51\x30", 3}, 0x52, false},
        {"an octet more than it says", {"\x30\x4f\x30", 3}, 0x52, false},
        {"long form, an octet less", {"\x30\x81\xa0\x30", 4}, 0xa2, false},
        {"long form, an octet more", {"\x30\x82\x01\x03\x30", 5}, 0x108, false},
        {"RFC 5280 appendix A: indefinite length is not DER", {"\x30\x80\x30", 3}, 0x82, false},
        {"three octets of length", {"\x30\x83\x00\x01\x03\x30", 6}, 0x108, false},
        {"no SEQUENCE inside", {"\x30\x50\x02", 3}, 0x52, false},
        {"no SEQUENCE", {"\x31\x50\x30", 3}, 0x52, false},
        {"no SEQUENCE, though it begins with M", {"\x33\x50\x30", 3}, 0x52, false},
        {"too short for a request", {"\x30\x20\x30", 3}, 0x22, false},
        {"longer than GET is for", {"\x30\x82\x01\x80\x30", 5}, 0x184, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum protocol expected = cases[i].yes ? PROTOCOL_OCSP : PROTOCOL_OTHER;
        char path[2048];
        for (int escape = 0; escape < 2; escape++) {
            base64_path(path, cases[i].head.ptr, cases[i].head.len, cases[i].size, escape != 0);
            if (class_of_get(path) != expected)
                fail_msg("%s: %s", cases[i].reason, path);
        }
    }
}

/* The same octets with something wrong in the text. */
static void test_ocsp_base64(void **state)
{
    (void)state;
    char path[2048];
    base64_path(path, "\x30\x50\x30", 3, 0x52, false);
    size_t len = strlen(path);
    assert_string_equal(path + len - 2, "==");
    assert_int_equal(class_of_get(path), PROTOCOL_OCSP);
    for (const char *c = "-_ .~%,;:@\x80"; *c != '\0'; c++) {
        path[40] = *c;
        assert_int_equal(class_of_get(path), PROTOCOL_OTHER);
    }
    path[40] = '='; /* a pad in the middle */
    assert_int_equal(class_of_get(path), PROTOCOL_OTHER);
    path[40] = 'A';
    path[len - 1] = '\0'; /* a pad missing */
    assert_int_equal(class_of_get(path), PROTOCOL_OTHER);
    path[len - 3] = path[len - 1] = '='; /* a pad too many */
    assert_int_equal(class_of_get(path), PROTOCOL_OTHER);
}

/* A path made to cost time: every segment could begin a request. */
static void test_ocsp_cost(void **state)
{
    (void)state;
    static char path[32 * 1024];
    for (size_t i = 0; i + 2 < sizeof path; i += 2)
        memcpy(path + i, "/M", 2);
    for (int i = 0; i < 200; i++)
        assert_int_equal(class_of_get(path), PROTOCOL_OTHER);
}

/* RFC 9110 section 8.3: with two Content-Types nobody knows what is sent. */
static void test_two_types(void **state)
{
    (void)state;
    struct head h = {.kind = HEAD_REQUEST, .method = SPAN("POST"), .field_count = 2};
    struct target t = {.form = TARGET_ABSOLUTE, .path = SPAN("/")};
    h.field[0] = (struct head_field){SPAN("Content-Type"), SPAN("application/pkixcmp")};
    h.field[1] = (struct head_field){SPAN("Content-Type"), SPAN("application/pkixcmp")};
    assert_int_equal(classify_request(&h, &t).protocol, PROTOCOL_OTHER);
    h.field_count = 1;
    assert_int_equal(classify_request(&h, &t).protocol, PROTOCOL_CMP);
}

static void test_orders(void **state)
{
    static const struct {
        const char *path;
        bool order;
    } cases[] = {
        {"/scep?operation=PKIOperation&message=MIIB", true},
        {"/scep?message=MIIB&operation=PKIOperation", true},
        {"/scep?OPERATION=pkioperation", true},
        {"/?operation=PKIOperation", true},
        {"/a/../scep?operation=PKIOperation", true}, /* no class, and an order all the same */
        {"/.well-known/est/cacerts?operation=PKIOperation", true},
        {"/scep?operation=GetCACaps&operation=PKIOperation", true},
        {"/scep?operation=PKIOperation&operation=GetCACaps", true},
        {"/scep?a;operation=PKIOperation", true},
        {"/scep?%6fperation=PKIOperation", true},
        {"/scep?operation=%50KIOperation", true},
        {"/scep?operation=PKI+Operation", true},
        {"/scep?operation=", true},
        {"/scep?operation", true},
        {"/scep?x?operation=y&operation=z", true},

        {"/scep?operation=GetCACaps", false},
        {"/scep?operation=GetCACert&message=operation", false},
        {"/scep?operation=getnextcacert;message=ca", false},
        {"/scep?message=a%2Fb%3D", false},
        {"/operation=PKIOperation", false},
        {"/scep", false},
        {"/scep?", false},
        {"/scep?=&;&", false},
        {"/", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t = {.form = TARGET_ORIGIN, .path = span_of(cases[i].path)};
        if (classify_is_order(&t) != cases[i].order)
            fail_msg("%s", cases[i].path);
    }
}

static void test_forms(void **state)
{
    (void)state;
    struct head h = {.kind = HEAD_REQUEST, .method = SPAN("CONNECT")};
    struct target authority = {.form = TARGET_AUTHORITY, .host = SPAN("acme.example"), .port = 443};
    struct target asterisk = {.form = TARGET_ASTERISK};
    struct target origin = {.form = TARGET_ORIGIN, .path = SPAN("/.well-known/est/cacerts")};
    assert_int_equal(classify_request(&h, &authority).protocol, PROTOCOL_TUNNEL);
    h.method = SPAN("OPTIONS");
    assert_int_equal(classify_request(&h, &asterisk).protocol, PROTOCOL_OTHER);
    h.method = SPAN("GET");
    assert_int_equal(classify_request(&h, &origin).protocol, PROTOCOL_EST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acme),      cmocka_unit_test(test_est),
        cmocka_unit_test(test_scep),      cmocka_unit_test(test_others),
        cmocka_unit_test(test_ocsp_der),  cmocka_unit_test(test_ocsp_base64),
        cmocka_unit_test(test_ocsp_cost), cmocka_unit_test(test_two_types),
        cmocka_unit_test(test_forms),     cmocka_unit_test(test_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_tls_identity.c - from a certificate to one identity: every kind of string that a CA may
 * have written, and that no two subjects have the same.
 */
#include "proxy/net/tls_trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(literal) (literal), sizeof(literal) - 1

struct text {
    const char *octets;
    size_t len;
};

/* False: OpenSSL takes no such string, so neither does it read a certificate with it. */
static bool try_put(X509 *x, const char *oid, int type, struct text value, int set)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 0);
    int rc =
        X509_NAME_add_entry_by_OBJ(X509_get_subject_name(x), object, type,
                                   (const unsigned char *)value.octets, (int)value.len, -1, set);
    ASN1_OBJECT_free(object);
    return rc == 1;
}

static void put(X509 *x, const char *oid, int type, struct text value, int set)
{
    assert_true(try_put(x, oid, type, value, set));
}

static void check(const X509 *x, enum tls_identity kind, const char *wanted)
{
    char got[TLS_IDENTITY_MAX + 1];
    assert_int_equal(tls_trust_identity(x, kind, got), wanted != NULL);
    assert_string_equal(got, wanted != NULL ? wanted : "");
}

/* ---- common names ---- */

/* All that means the same letters is one name; what is no text, or no whole text, is none. */
static void test_string_types(void **state)
{
    static const struct {
        int type;
        struct text value;
        const char *identity;
    } cases[] = {
        {V_ASN1_T61STRING, {TEXT("admin")}, "admin"},
        {V_ASN1_IA5STRING, {TEXT("admin")}, "admin"},
        {V_ASN1_NUMERICSTRING, {TEXT("7")}, "7"},
        {V_ASN1_BMPSTRING, {TEXT("\0a\0d")}, "ad"},
        {V_ASN1_UNIVERSALSTRING, {TEXT("\0\0\0a\0\0\0d")}, "ad"},
        {V_ASN1_T61STRING, {TEXT("adm\xedn")}, NULL},
        {V_ASN1_T61STRING, {TEXT("admin\0evil")}, NULL},
        {V_ASN1_IA5STRING, {TEXT("admin\0")}, NULL},
        {V_ASN1_PRINTABLESTRING, {TEXT("sensor-1\0evil")}, NULL},
        {V_ASN1_BMPSTRING, {TEXT("\0a\0d\0")}, NULL},    /* half a letter */
        {V_ASN1_BMPSTRING, {TEXT("\xff\x41\0d")}, NULL}, /* a full-width A */
        {V_ASN1_BMPSTRING, {TEXT("ad")}, NULL},          /* U+6164 */
        {V_ASN1_UNIVERSALSTRING, {TEXT("\0\0\0a\0\0")}, NULL},
        {V_ASN1_UNIVERSALSTRING, {TEXT("\0\x11\0a")}, NULL}, /* no such code point */
        {V_ASN1_UTF8STRING, {TEXT("\xc1\xa1 dmin")}, NULL},  /* overlong a */
        {V_ASN1_UTF8STRING, {TEXT("admin\xe2\x80\x8b")}, NULL},
        {V_ASN1_UTF8STRING, {TEXT("admin\xc3")}, NULL},
        {V_ASN1_BIT_STRING, {TEXT("admin")}, NULL},
        {V_ASN1_UTF8STRING, {TEXT("")}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        X509 *x = X509_new();
        if (try_put(x, "CN", cases[i].type, cases[i].value, 0))
            check(x, TLS_IDENTITY_CN, cases[i].identity);
        else
            assert_null(cases[i].identity);
        X509_free(x);
    }
}

/* The last counts, also where it is no name and where one RDN has both. */
static void test_several_common_names(void **state)
{
    (void)state;
    for (int set = -1; set <= 0; set++) {
        X509 *x = X509_new();
        put(x, "CN", V_ASN1_UTF8STRING, (struct text){TEXT("admin")}, 0);
        put(x, "CN", V_ASN1_UTF8STRING, (struct text){TEXT("evil")}, set);
        check(x, TLS_IDENTITY_CN, "evil");
        check(x, TLS_IDENTITY_SUBJECT, set == 0 ? "CN=evil,CN=admin" : "CN=evil+CN=admin");
        put(x, "CN", V_ASN1_UTF8STRING, (struct text){TEXT("\0")}, set);
        check(x, TLS_IDENTITY_CN, NULL);
        X509_free(x);
    }
}

/* ---- subjects ---- */

static const struct text values[] = {
    {TEXT("a")},        {TEXT("a,O=b")},    {TEXT("a+O=b")},  {TEXT("a\\,O=b")}, {TEXT("a\\")},
    {TEXT("a\\\\")},    {TEXT("\"a\"")},    {TEXT("a ")},     {TEXT(" a")},      {TEXT("a\\ ")},
    {TEXT("#0C01a")},   {TEXT("\\#0C01a")}, {TEXT("a\0")},    {TEXT("a\\00")},   {TEXT("\xc3\xa9")},
    {TEXT("\\C3\\A9")}, {TEXT("a\nb")},     {TEXT("a\\0Ab")}, {TEXT("a;b")},     {TEXT("a=b")},
    {TEXT("")},         {TEXT("b")},        {TEXT("a\x7f")},  {TEXT("CN=a")},
};
static const char *const kinds[] = {"CN", "O", "1.2.3.4"};

enum { ONE = COUNT(kinds) * COUNT(values), SUBJECTS_MAX = ONE + 2 * ONE * ONE };

static char (*told)[TLS_IDENTITY_MAX + 1];
static size_t told_count;

static void tell(const X509 *x)
{
    assert_true(told_count < SUBJECTS_MAX);
    assert_true(tls_trust_identity(x, TLS_IDENTITY_SUBJECT, told[told_count]));
    told_count++;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* A second attribute, in an RDN of its own or in that of the first. */
static void tell_pairs(size_t first, int set)
{
    for (size_t second = 0; second < ONE; second++) {
        X509 *x = X509_new();
        put(x, kinds[first % COUNT(kinds)], V_ASN1_UTF8STRING, values[first / COUNT(kinds)], 0);
        put(x, kinds[second % COUNT(kinds)], V_ASN1_UTF8STRING, values[second / COUNT(kinds)], set);
        tell(x);
        X509_free(x);
    }
}

static void test_subjects_are_different(void **state)
{
    (void)state;
    told = calloc(SUBJECTS_MAX, sizeof *told);
    assert_non_null(told);
    for (size_t first = 0; first < ONE; first++) {
        X509 *x = X509_new();
        put(x, kinds[first % COUNT(kinds)], V_ASN1_UTF8STRING, values[first / COUNT(kinds)], 0);
        tell(x);
        X509_free(x);
        tell_pairs(first, 0);
        tell_pairs(first, -1);
    }
    assert_int_equal(told_count, SUBJECTS_MAX);
    qsort(told, told_count, sizeof *told, compare);
    for (size_t i = 1; i < told_count; i++) {
        if (strcmp(told[i - 1], told[i]) == 0)
            fail_msg("two subjects are %s", told[i]);
    }
    free(told);
}

/* ---- subjectAltName ---- */

static void add_name(GENERAL_NAMES *names, int type, struct text value)
{
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    assert_int_equal(ASN1_STRING_set(text, value.octets, (int)value.len), 1);
    GENERAL_NAME_set0_value(name, type, text);
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
}

/* In an extension of their own each time. */
static void add_names(X509 *x, GENERAL_NAMES *names)
{
    assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND), 1);
    GENERAL_NAMES_free(names);
}

static void check_names(const struct text *list, size_t count, int type, enum tls_identity kind,
                        const char *wanted)
{
    X509 *x = X509_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    for (size_t i = 0; i < count; i++)
        add_name(names, type, list[i]);
    add_names(x, names);
    check(x, kind, wanted);
    X509_free(x);
}

static void test_alternative_names(void **state)
{
    static const struct {
        struct text first, second;
        const char *dns, *uri; /* or an e-mail address */
    } cases[] = {
        {{TEXT("a.plant")}, {TEXT("b.plant")}, "a.plant", "a.plant"},
        {{TEXT("A.Plant")}, {TEXT("a.plant")}, "a.plant", "A.Plant"},
        {{TEXT("XN--BCHER-KVA.plant")}, {TEXT("")}, "xn--bcher-kva.plant", "XN--BCHER-KVA.plant"},
        {{TEXT("a.plant.")}, {TEXT("a.plant")}, "a.plant.", "a.plant."}, /* not repaired */
        {{TEXT("")}, {TEXT("a.plant")}, NULL, NULL},                     /* nor passed over */
        {{TEXT("a.plant\0.evil")}, {TEXT("a.plant")}, NULL, NULL},
        {{TEXT("\0")}, {TEXT("a.plant")}, NULL, NULL},
        {{TEXT("b\xc3\xbc\x63her.plant")}, {TEXT("a.plant")}, NULL, NULL},
        {{TEXT("a.plant\n")}, {TEXT("a.plant")}, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct text both[] = {cases[i].first, cases[i].second};
        check_names(both, 2, GEN_DNS, TLS_IDENTITY_DNS, cases[i].dns);
        check_names(both, 2, GEN_URI, TLS_IDENTITY_URI, cases[i].uri);
        check_names(both, 2, GEN_EMAIL, TLS_IDENTITY_EMAIL, cases[i].uri);
        check_names(both, 2, GEN_DNS, TLS_IDENTITY_URI, NULL);
        check_names(both, 2, GEN_URI, TLS_IDENTITY_EMAIL, NULL);
        check_names(both, 2, GEN_EMAIL, TLS_IDENTITY_DNS, NULL);
    }
    check_names(NULL, 0, GEN_DNS, TLS_IDENTITY_DNS, NULL);
}

/* The first of the kind; other kinds may stand before it. Two lists are none (RFC 5280
 * section 4.2).
 */
static void test_lists_of_names(void **state)
{
    X509 *x = X509_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    (void)state;
    add_name(names, GEN_URI, (struct text){TEXT("spiffe://plant/a")});
    add_name(names, GEN_EMAIL, (struct text){TEXT("admin")});
    add_name(names, GEN_DNS, (struct text){TEXT("a.plant")});
    add_names(x, names);
    check(x, TLS_IDENTITY_DNS, "a.plant");
    names = GENERAL_NAMES_new();
    add_name(names, GEN_DNS, (struct text){TEXT("admin")});
    add_names(x, names);
    check(x, TLS_IDENTITY_DNS, NULL);
    check(x, TLS_IDENTITY_URI, NULL);
    X509_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string_types),           cmocka_unit_test(test_several_common_names),
        cmocka_unit_test(test_subjects_are_different), cmocka_unit_test(test_alternative_names),
        cmocka_unit_test(test_lists_of_names),
    };
    return cmocka_run_group_tests_name("tls_identity", tests, NULL, NULL);
}

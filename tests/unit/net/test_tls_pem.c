/* test_tls_pem.c - a PEM text is read whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/net/tls_pem.h"
#include "tests/unit/net/tls_made.h"

enum { DAY_S = 86400, PEM_MAX = 8192 };

#define NONE "holds no certificate in PEM form"
#define DAMAGED "holds a certificate that cannot be read: damaged, or cut off"

static char one[PEM_MAX], with_key[PEM_MAX];

static int setup(void **state)
{
    (void)state;
    struct made m = made_ca("Test CA");
    one[made_print(one, sizeof one - 1, &m, 0)] = '\0';
    with_key[made_print(with_key, sizeof with_key - 1, &m, 1)] = '\0';
    made_free(&m);
    return 0;
}

/* `count` certificates, or the reason why there are none. */
static void check(struct span text, int count, const char *reason)
{
    const char *why = "";
    STACK_OF(X509) *list = tls_pem_certificates(text, &why);
    assert_int_equal(list != NULL ? sk_X509_num(list) : 0, count);
    if (list == NULL)
        assert_string_equal(why, reason);
    sk_X509_pop_free(list, X509_free);
}

static void check_text(const char *text, int count, const char *reason)
{
    check(span_of(text), count, reason);
}

static void test_all_of_them(void **state)
{
    char text[4 * PEM_MAX];
    (void)state;
    check_text(one, 1, "");
    (void)snprintf(text, sizeof text, "words\n%s\nmore = words\n%s", with_key, one);
    check_text(text, 2, "");
}

static void test_none(void **state)
{
    (void)state;
    check_text("", 0, NONE);
    check_text("words\n", 0, NONE);
    check_text(strstr(with_key, "-----BEGIN PRIVATE KEY"), 0, NONE);
    check((struct span){"\0\0", 2}, 0, NONE);
}

/* Wherever its octets are cut, and whatever stands before and behind it. */
static void test_cut(void **state)
{
    char text[3 * PEM_MAX];
    size_t head = strlen("-----BEGIN CERTIFICATE-----\n");
    size_t end = (size_t)(strstr(one, "-----END") - one) - 4; /* what is left is whole base64 */
    (void)state;
    for (size_t cut = head; cut < end; cut += 7) {
        int n = snprintf(text, sizeof text, "%s%.*s\n", one, (int)cut, one);
        check((struct span){text, (size_t)n}, 0, DAMAGED);
        n = snprintf(text, sizeof text, "%.*s\n%s", (int)cut, one, one);
        check((struct span){text, (size_t)n}, 0, DAMAGED);
    }
}

static void test_damaged(void **state)
{
    char text[3 * PEM_MAX];
    (void)state;
    (void)snprintf(text, sizeof text, "%s%s%s", one, one, one);
    char *second = text + strlen(one);
    for (size_t at = 60; at < strlen(one) - 60; at += 50) {
        char was = second[at];
        second[at] = '!';
        check_text(text, 0, DAMAGED);
        second[at] = was;
    }
    check_text(text, 3, "");
    second[40] = 'A'; /* base64 still, but no certificate: the length of its first field */
    second[31] = 'A';
    check_text(text, 0, DAMAGED);
}

static void test_crls(void **state)
{
    const char *why = "";
    (void)state;
    assert_null(tls_pem_crls(span_of(one), &why));
    assert_string_equal(why, "holds no CRL in PEM form");
    assert_null(
        tls_pem_crls(SPAN("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), &why));
    assert_string_equal(why, "holds a CRL that cannot be read: damaged, or cut off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_them), cmocka_unit_test(test_none), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),     cmocka_unit_test(test_crls),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

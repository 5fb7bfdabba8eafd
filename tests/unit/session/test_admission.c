/* test_admission.c - connection limits: in all, of one IPv4 address, of one IPv6 /64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/session/admission.h"

static struct addr address(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse(&a, span_of(text), 1234), 0);
    return a;
}

static void test_total(void **state)
{
    struct admission *a = admission_create();
    (void)state;
    admission_set_limits(a, 2, 0);
    struct addr one = address("192.0.2.1"), two = address("192.0.2.2"),
                three = address("192.0.2.3");
    assert_int_equal(admission_enter(a, &one), OUTCOME_OK);
    assert_int_equal(admission_enter(a, &two), OUTCOME_OK);
    assert_int_equal(admission_enter(a, &three), OUTCOME_CONNECTIONS_LIMIT);
    admission_leave(a, &three);
    admission_leave(a, &one);
    assert_int_equal(admission_enter(a, &three), OUTCOME_OK);
    admission_leave(a, &two);
    admission_leave(a, &three);
    admission_destroy(a);
}

static void test_per_client(void **state)
{
    static const struct {
        const char *address;
        enum outcome expected;
    } cases[] = {
        {"192.0.2.1", OUTCOME_OK},
        {"192.0.2.1", OUTCOME_CLIENT_LIMIT},
        {"192.0.2.2", OUTCOME_OK},
        {"2001:db8:0:1::1", OUTCOME_OK},
        {"2001:db8:0:1:ffff::2", OUTCOME_CLIENT_LIMIT}, /* the same /64 */
        {"2001:db8:0:2::1", OUTCOME_OK},
        {"c000:201::", OUTCOME_OK}, /* begins with the octets of 192.0.2.1 */
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    struct admission *a = admission_create();
    (void)state;
    admission_set_limits(a, 100, 1);
    for (size_t i = 0; i < COUNT; i++) {
        struct addr client = address(cases[i].address);
        assert_int_equal(admission_enter(a, &client), cases[i].expected);
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct addr client = address(cases[i].address);
        admission_leave(a, &client);
    }
    struct addr again = address("192.0.2.1");
    assert_int_equal(admission_enter(a, &again), OUTCOME_OK);
    admission_leave(a, &again);
    admission_destroy(a);
}

static void test_overrun_and_many_clients(void **state)
{
    struct admission *a = admission_create();
    char text[32];
    (void)state;
    admission_set_limits(a, 10, 0);
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct addr client = address(text);
        (void)admission_enter(a, &client);
        assert_int_equal(admission_overrun(a), i + 1 >= 10 + 64);
    }
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct addr client = address(text);
        admission_leave(a, &client);
    }
    assert_false(admission_overrun(a));
    admission_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_per_client),
        cmocka_unit_test(test_overrun_and_many_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

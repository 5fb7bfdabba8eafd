/* test_admission.c - connection limits: in all, of one IPv4 address, of one IPv6 /64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
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
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_int_equal(admission_enter(a), OUTCOME_CONNECTIONS_LIMIT);
    assert_int_equal(admission_total(a), 3);
    admission_leave(a);
    admission_leave(a);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    admission_leave(a);
    admission_leave(a);
    assert_int_equal(admission_total(a), 0);
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
        assert_int_equal(admission_enter_client(a, &client), cases[i].expected);
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct addr client = address(cases[i].address);
        admission_leave_client(a, &client);
    }
    struct addr again = address("192.0.2.1");
    assert_int_equal(admission_enter_client(a, &again), OUTCOME_OK);
    admission_leave_client(a, &again);
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
        (void)admission_enter(a);
        assert_int_equal(admission_enter_client(a, &client), OUTCOME_OK);
        assert_int_equal(admission_overrun(a), i + 1 >= 10 + 64);
    }
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct addr client = address(text);
        admission_leave_client(a, &client);
        admission_leave(a);
    }
    assert_false(admission_overrun(a));
    admission_destroy(a);
}

/* Full buffers turn those who come away; nobody who is there is sent off. */
static void test_memory(void **state)
{
    struct admission *a = admission_create();
    struct buf hog;
    (void)state;
    admission_set_limits(a, 10, 0);
    buf_init(&hog, 65536);
    assert_non_null(buf_reserve(&hog, 40000));
    buf_budget_set(100000);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    buf_budget_set(32768);
    assert_int_equal(admission_enter(a), OUTCOME_MEMORY_LIMIT);
    buf_release(&hog);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    for (unsigned i = 0; i < 3; i++)
        admission_leave(a);
    buf_budget_set(SIZE_MAX);
    admission_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_per_client),
        cmocka_unit_test(test_overrun_and_many_clients),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

static void set_limits(struct admission *a, size_t total, size_t per_client, size_t turned_away)
{
    const struct admission_limits limits = {total, per_client, turned_away};
    admission_set_limits(a, &limits);
}

static void test_total(void **state)
{
    struct admission *a = admission_create();
    (void)state;
    set_limits(a, 2, 0, 64);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_int_equal(admission_enter(a), OUTCOME_CONNECTIONS_LIMIT);
    assert_int_equal(admission_total(a), 2);
    admission_leave(a, true);
    assert_int_equal(admission_enter(a), OUTCOME_OK); /* who was turned away takes no place */
    admission_leave(a, false);
    admission_leave(a, true);
    admission_leave(a, true);
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
    set_limits(a, 100, 1, 64);
    for (size_t i = 0; i < COUNT; i++) {
        struct addr client = address(cases[i].address);
        assert_int_equal(admission_enter_client(a, &client), cases[i].expected);
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct addr client = address(cases[i].address);
        if (cases[i].expected == OUTCOME_OK)
            admission_leave_client(a, &client);
    }
    struct addr again = address("192.0.2.1");
    assert_int_equal(admission_enter_client(a, &again), OUTCOME_OK);
    admission_leave_client(a, &again);
    admission_destroy(a);
}

static void test_many_clients(void **state)
{
    struct admission *a = admission_create();
    char text[32];
    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct addr client = address(text);
        assert_int_equal(admission_enter_client(a, &client), OUTCOME_OK);
    }
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof text, "10.0.%u.%u", i / 250, i % 250);
        struct addr client = address(text);
        admission_leave_client(a, &client);
    }
    admission_destroy(a);
}

/* They wait for their refusal, so many and no more, and leave the places to others. */
static void test_turned_away(void **state)
{
    struct admission *a = admission_create();
    (void)state;
    set_limits(a, 2, 0, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(admission_enter(a), OUTCOME_OK);
        admission_turn_away(a); /* say, not in clients.allow */
        assert_false(admission_crowded(a));
    }
    assert_int_equal(admission_total(a), 0);
    assert_false(admission_overrun(a)); /* places are free */
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    admission_turn_away(a);
    assert_true(admission_crowded(a)); /* this one is to be closed */
    admission_leave(a, false);
    assert_false(admission_crowded(a));
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    assert_true(admission_overrun(a));
    admission_leave(a, false);
    assert_false(admission_overrun(a)); /* one more could be told */
    assert_int_equal(admission_enter(a), OUTCOME_CONNECTIONS_LIMIT);
    for (unsigned i = 0; i < 5; i++)
        admission_leave(a, i < 2);
    assert_int_equal(admission_total(a), 0);
    admission_destroy(a);
}

/* Full buffers turn those who come away; nobody who is there is sent off. */
static void test_memory(void **state)
{
    struct admission *a = admission_create();
    struct buf hog;
    (void)state;
    set_limits(a, 10, 0, 64);
    buf_init(&hog, 65536);
    assert_non_null(buf_reserve(&hog, 40000));
    buf_budget_set(100000);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    buf_budget_set(32768);
    assert_int_equal(admission_enter(a), OUTCOME_MEMORY_LIMIT);
    buf_release(&hog);
    assert_int_equal(admission_enter(a), OUTCOME_OK);
    for (unsigned i = 0; i < 3; i++)
        admission_leave(a, i < 2);
    buf_budget_set(SIZE_MAX);
    admission_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total),        cmocka_unit_test(test_per_client),
        cmocka_unit_test(test_many_clients), cmocka_unit_test(test_turned_away),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

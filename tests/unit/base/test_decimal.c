#include "proxy/base/decimal.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void check(uint64_t n)
{
    char digits[DECIMAL_DIGITS_MAX], expected[32];
    struct span text = decimal_text(n, digits);
    (void)snprintf(expected, sizeof expected, "%" PRIu64, n);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.ptr, expected, text.len);
    assert_true(text.ptr >= digits && text.ptr + text.len == digits + DECIMAL_DIGITS_MAX);
}

/* As printf() writes it: zero, the largest, and both sides of every power of ten. */
static void test_like_printf(void **state)
{
    (void)state;
    check(0);
    check(UINT64_MAX);
    for (uint64_t power = 1; power <= UINT64_MAX / 10; power *= 10) {
        check(power - 1);
        check(power);
        check(power + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_printf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

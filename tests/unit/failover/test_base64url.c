/* test_base64url.c - RFC 4648 section 10 without padding; one spelling for each text. */
#include "failover/base64url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void both_ways(void **state)
{
    (void)state;
    static const struct {
        struct span octets, text;
    } cases[] = {
        {{"", 0}, {"", 0}},
        {{"f", 1}, {"Zg", 2}},
        {{"fo", 2}, {"Zm8", 3}},
        {{"foo", 3}, {"Zm9v", 4}},
        {{"foob", 4}, {"Zm9vYg", 6}},
        {{"fooba", 5}, {"Zm9vYmE", 7}},
        {{"foobar", 6}, {"Zm9vYmFy", 8}},
        {{"\xff\xef\xbe", 3}, {"_---", 4}},
        {{"\0\0", 2}, {"AAA", 3}},
        /* RFC 7515 appendix C */
        {{"\x03\xec\xff\xe0\xc1", 5}, {"A-z_4ME", 7}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 64);
        assert_int_equal(base64url_add(&b, cases[i].octets), 0);
        assert_true(span_is(buf_span(&b), cases[i].text));
        buf_consume(&b, buf_len(&b));
        assert_int_equal(base64url_read(&b, cases[i].text), 0);
        assert_true(span_is(buf_span(&b), cases[i].octets));
        buf_release(&b);
    }
}

static void other_spellings_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"A",    "Zg==",   "Zg=",   "Zh",    "Zm9",   "Zm+v",
                                        "Zm/v", "Zm9v\n", " Zm9v", "Zm 9v", "Zm9vY", "Zm9\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf b;
        buf_init(&b, 64);
        if (base64url_read(&b, span_of(texts[i])) != -EINVAL)
            fail_msg("taken: %s", texts[i]);
        assert_int_equal(buf_len(&b), 0);
        buf_release(&b);
    }
    struct buf b;
    buf_init(&b, 64);
    assert_int_equal(base64url_read(&b, (struct span){"Z\0m9", 4}), -EINVAL);
    buf_release(&b);
}

static void room_is_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 3);
    assert_int_equal(base64url_add(&b, SPAN("foo")), -ENOBUFS);
    assert_int_equal(base64url_read(&b, SPAN("Zm9vYg")), -ENOBUFS);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(base64url_add(&b, SPAN("fo")), 0);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(other_spellings_are_refused),
        cmocka_unit_test(room_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_client_hello_repeat.c - what may be sent to a server twice: a ClientHello alone, without
 * early data, and nothing that could be anything else. */
#include "proxy/wire/client_hello_repeat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/wire/client_hello.h"

struct octets {
    unsigned char at[512];
    size_t len;
};

static void put(struct octets *o, const void *data, size_t len)
{
    assert_true(o->len + len <= sizeof o->at);
    memcpy(o->at + o->len, data, len);
    o->len += len;
}

static void put_number(struct octets *o, size_t n, unsigned octets)
{
    while (octets-- > 0)
        put(o, &(unsigned char){(unsigned char)(n >> 8 * octets)}, 1);
}

static void put_extension(struct octets *o, unsigned type, const char *data, size_t len)
{
    put_number(o, type, 2);
    put_number(o, len, 2);
    put(o, data, len);
}

/* A ClientHello (RFC 8446 section 4.1.2) in one record; NULL: no extensions at all. */
static struct octets hello_with(const struct octets *extensions)
{
    struct octets body = {.len = 0}, hello = {.len = 0};
    static const char random[32] = "0123456789abcdef0123456789abcde";
    put_number(&body, 0x0303, 2);
    put(&body, random, sizeof random);
    put_number(&body, 0, 1);
    put(&body, "\x00\x02\x13\x01\x01\x00", 6);
    if (extensions != NULL) {
        put_number(&body, extensions->len, 2);
        put(&body, extensions->at, extensions->len);
    }
    put(&hello, "\x16\x03\x01", 3);
    put_number(&hello, body.len + 4, 2);
    put_number(&hello, 1, 1);
    put_number(&hello, body.len, 3);
    put(&hello, body.at, body.len);
    return hello;
}

static void expect(const struct octets *o, size_t len, enum client_hello_repeat wanted)
{
    enum client_hello_repeat got = client_hello_repeat((const char *)o->at, len);
    if (got != wanted)
        fail_msg("%zu of %zu octets: %d, not %d", len, o->len, (int)got, (int)wanted);
}

static struct octets common(bool early_data)
{
    struct octets e = {.len = 0};
    put_extension(&e, 0,
                  "\x00\x0a\x00\x00\x07"
                  "ca.test",
                  12);
    put_extension(&e, 0x0a0a, "", 0); /* GREASE, RFC 8701 */
    put_extension(&e, 41, "\x00\x00", 2);
    if (early_data)
        put_extension(&e, 42, "", 0);
    put_extension(&e, 21, "\0\0\0", 3);
    return e;
}

static void test_whole(void **state)
{
    struct octets e = common(false), none = {.len = 0};
    struct octets hello = hello_with(&e);
    (void)state;
    for (size_t len = 0; len < hello.len; len++)
        expect(&hello, len, CLIENT_HELLO_REPEAT_SO_FAR);
    expect(&hello, hello.len, CLIENT_HELLO_REPEAT_YES);
    hello = hello_with(NULL);
    expect(&hello, hello.len, CLIENT_HELLO_REPEAT_YES);
    hello = hello_with(&none);
    expect(&hello, hello.len, CLIENT_HELLO_REPEAT_YES);
}

static void test_early_data(void **state)
{
    struct octets e = common(true);
    struct octets hello = hello_with(&e);
    (void)state;
    expect(&hello, hello.len, CLIENT_HELLO_REPEAT_NO);
}

static void test_more_behind_it(void **state)
{
    struct octets e = common(false);
    struct octets hello = hello_with(&e);
    (void)state;
    put_number(&hello, 0x17, 1);
    expect(&hello, hello.len, CLIENT_HELLO_REPEAT_NO);
}

static void test_others(void **state)
{
    static const struct octets others[] = {
        {"GET / HTTP/1.1\r\n", 16},
        {"\x15\x03\x01\x00\x02\x02\x28", 7},
        {"\x80\x2e\x01\x03\x01\x00\x15\x00", 8}, /* SSL 2.0 */
        {"\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9},
        {"\x16\x03\x01\x00\x00", 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect(&others[i], others[i].len, CLIENT_HELLO_REPEAT_NO);
}

/* Nothing that is altered in one octet of a length, or has two records, is believed blindly: it may
 * be a no or not yet, and is never more than what the gate's own reader takes. */
static void test_altered(void **state)
{
    struct octets e = common(false);
    const struct octets hello = hello_with(&e);
    (void)state;
    for (size_t i = 0; i < hello.len; i++) {
        for (unsigned k = 1; k < 256; k++) {
            struct octets altered = hello;
            struct client_hello parsed;
            altered.at[i] = (unsigned char)(altered.at[i] ^ k);
            const char *data = (const char *)altered.at;
            if (client_hello_repeat(data, altered.len) == CLIENT_HELLO_REPEAT_YES)
                assert_int_equal(client_hello_parse(&parsed, data, altered.len), CLIENT_HELLO_OK);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),          cmocka_unit_test(test_early_data),
        cmocka_unit_test(test_more_behind_it), cmocka_unit_test(test_others),
        cmocka_unit_test(test_altered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

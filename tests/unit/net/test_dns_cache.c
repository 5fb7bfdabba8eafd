#include "proxy/net/dns_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct resolved answer_of(size_t count, unsigned mark)
{
    struct resolved answer = {.outcome = OUTCOME_OK, .count = count};
    for (size_t i = 0; i < count; i++) {
        answer.address[i].in.sin_family = AF_INET;
        answer.address[i].in.sin_addr.s_addr = htonl(mark + (unsigned)i);
    }
    return answer;
}

static bool has(struct dns_cache *c, const char *name, uint64_t now_ms)
{
    struct resolved out;
    return dns_cache_get(c, name, now_ms, &out);
}

static void test_keeps_and_expires(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(4);
    struct resolved in = answer_of(3, 0xc6336401), out;
    dns_cache_put(c, "ca.test", &in, 1000);
    assert_false(has(c, "ca.tes", 0));
    assert_false(has(c, "ca.test.", 0));
    assert_true(dns_cache_get(c, "ca.test", 999, &out));
    assert_int_equal(out.outcome, OUTCOME_OK);
    assert_int_equal(out.count, 3);
    assert_memory_equal(out.address, in.address, 3 * sizeof in.address[0]);
    assert_int_equal(dns_cache_count(c), 1);
    assert_false(has(c, "ca.test", 1000)); /* its time is over, and it is gone for good */
    assert_false(has(c, "ca.test", 0));
    assert_int_equal(dns_cache_count(c), 0);
    dns_cache_destroy(c);
}

static void test_failures_and_most_addresses(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(4);
    struct resolved failed = {.outcome = OUTCOME_DNS_FAILED}, out;
    struct resolved most = answer_of(RESOLVER_ADDRESSES_MAX, 1);
    dns_cache_put(c, "bad.test", &failed, 10);
    dns_cache_put(c, "most.test", &most, 10);
    assert_true(dns_cache_get(c, "bad.test", 1, &out));
    assert_int_equal(out.outcome, OUTCOME_DNS_FAILED);
    assert_int_equal(out.count, 0);
    assert_true(dns_cache_get(c, "most.test", 1, &out));
    assert_memory_equal(out.address, most.address, sizeof most.address);
    dns_cache_destroy(c);
}

static void test_replaces(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(2);
    struct resolved one = answer_of(1, 1), two = answer_of(2, 7), out;
    dns_cache_put(c, "a.test", &one, 10);
    dns_cache_put(c, "b.test", &one, 10);
    dns_cache_put(c, "a.test", &two, 20); /* not a third: b stays */
    assert_int_equal(dns_cache_count(c), 2);
    assert_true(has(c, "b.test", 5));
    assert_true(dns_cache_get(c, "a.test", 15, &out));
    assert_int_equal(out.count, 2);
    dns_cache_destroy(c);
}

static void test_longest_unused_goes(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(3);
    struct resolved one = answer_of(1, 1);
    dns_cache_put(c, "a.test", &one, 10);
    dns_cache_put(c, "b.test", &one, 10);
    dns_cache_put(c, "c.test", &one, 10);
    assert_true(has(c, "a.test", 1)); /* used, as a new one is */
    dns_cache_put(c, "b.test", &one, 10);
    dns_cache_put(c, "d.test", &one, 10);
    assert_false(has(c, "c.test", 1));
    assert_true(has(c, "a.test", 1));
    assert_true(has(c, "b.test", 1));
    assert_true(has(c, "d.test", 1));
    dns_cache_destroy(c);
}

static void test_keeps_none(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(0);
    struct resolved one = answer_of(1, 1);
    dns_cache_put(c, "a.test", &one, 10);
    assert_false(has(c, "a.test", 1));
    assert_int_equal(dns_cache_count(c), 0);
    dns_cache_destroy(c);
}

/* Against a plain array: names that come and go, many to a bucket, at random (fixed seed). */
static void test_like_an_array(void **state)
{
    (void)state;
    enum { NAMES = 200, STEPS = 50000 };
    struct {
        bool known;
        uint64_t expires_ms;
        unsigned mark;
    } model[NAMES] = {0};
    struct dns_cache *c = dns_cache_create(NAMES);
    unsigned short seed[3] = {1, 2, 3};
    for (unsigned step = 0; step < STEPS; step++) {
        size_t i = (size_t)nrand48(seed) % NAMES;
        uint64_t now_ms = step;
        char name[16];
        struct resolved out;
        (void)snprintf(name, sizeof name, "n%zu", i);
        if (nrand48(seed) % 3 == 0) {
            struct resolved in = answer_of(1 + step % 3, step);
            model[i].known = true;
            model[i].expires_ms = now_ms + (uint64_t)nrand48(seed) % 1000;
            model[i].mark = step;
            dns_cache_put(c, name, &in, model[i].expires_ms);
            continue;
        }
        bool expected = model[i].known && model[i].expires_ms > now_ms;
        assert_int_equal(dns_cache_get(c, name, now_ms, &out), expected);
        if (expected) {
            assert_int_equal(out.count, 1 + model[i].mark % 3);
            assert_int_equal(ntohl(out.address[0].in.sin_addr.s_addr), model[i].mark);
        }
    }
    dns_cache_destroy(c);
}

static void test_bound_holds(void **state)
{
    (void)state;
    struct dns_cache *c = dns_cache_create(37);
    struct resolved one = answer_of(1, 1);
    char name[16];
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        dns_cache_put(c, name, &one, 10);
        assert_true(dns_cache_count(c) <= 37);
    }
    for (unsigned i = 5000 - 37; i < 5000; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        assert_true(has(c, name, 1));
    }
    dns_cache_destroy(c);
}

/* The published values of FNV-1a, 32 bits. */
static void test_hash(void **state)
{
    (void)state;
    assert_int_equal(dns_name_hash(""), 0x811c9dc5);
    assert_int_equal(dns_name_hash("a"), 0xe40c292c);
    assert_int_equal(dns_name_hash("foobar"), 0xbf9cf968);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_and_expires),
        cmocka_unit_test(test_failures_and_most_addresses),
        cmocka_unit_test(test_replaces),
        cmocka_unit_test(test_longest_unused_goes),
        cmocka_unit_test(test_keeps_none),
        cmocka_unit_test(test_like_an_array),
        cmocka_unit_test(test_bound_holds),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

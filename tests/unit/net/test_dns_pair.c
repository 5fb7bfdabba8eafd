#include "proxy/net/dns_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* `v6` and `v4` addresses, mixed as a server may mix them. */
static struct resolved found(size_t v6, size_t v4)
{
    struct resolved f = {.outcome = OUTCOME_OK};
    for (size_t i = 0; i < v6 || i < v4; i++) {
        if (i < v4) {
            f.address[f.count].in.sin_family = AF_INET;
            f.address[f.count++].in.sin_addr.s_addr = htonl((unsigned)i + 1);
        }
        if (i < v6) {
            f.address[f.count].in6.sin6_family = AF_INET6;
            f.address[f.count++].in6.sin6_addr.s6_addr[15] = (unsigned char)(i + 1);
        }
    }
    return f;
}

#define OK OUTCOME_OK
#define NOT_FOUND OUTCOME_DNS_NOT_FOUND
#define FAILED OUTCOME_DNS_FAILED
#define TIMEOUT OUTCOME_DNS_TIMEOUT

/* What two halves make of it; TIMEOUT also stands for "no answer yet". */
static void test_outcomes(void **state)
{
    (void)state;
    static const enum outcome halves[] = {OK, NOT_FOUND, FAILED, TIMEOUT};
    static const enum outcome both[4][4] = {
        {OK, OK, OK, OK},
        {OK, NOT_FOUND, FAILED, TIMEOUT},
        {OK, FAILED, FAILED, FAILED},
        {OK, TIMEOUT, FAILED, TIMEOUT},
    };
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct resolved v6 = found(i == 0, 0), v4 = found(0, k == 0), answer;
            struct dns_pair p;
            v6.outcome = halves[i];
            v4.outcome = halves[k];
            dns_pair_init(&p);
            dns_pair_store(&p, DNS_V6, &v6, 100);
            dns_pair_store(&p, DNS_V4, &v4, 200);
            dns_pair_answer(&p, &answer);
            assert_int_equal(answer.outcome, both[i][k]);
            assert_int_equal(answer.count, (i == 0) + (k == 0));
            assert_int_equal(dns_pair_has_address(&p), i == 0 || k == 0);
            assert_int_equal(dns_pair_expires_ms(&p), i == 0 ? 100 : k == 0 ? 200 : UINT64_MAX);
            dns_pair_clear(&p);
        }
    }
}

static void test_nothing_known(void **state)
{
    (void)state;
    struct dns_pair p;
    struct resolved answer, v4 = found(0, 1);
    dns_pair_init(&p);
    dns_pair_answer(&p, &answer);
    assert_int_equal(answer.outcome, TIMEOUT);
    assert_int_equal(answer.count, 0);
    dns_pair_store(&p, DNS_V4, &v4, 1);
    dns_pair_store(&p, DNS_V4, &v4, 2); /* anew */
    assert_int_equal(dns_pair_expires_ms(&p), 2);
    dns_pair_clear(&p);
    dns_pair_answer(&p, &answer);
    assert_int_equal(answer.outcome, TIMEOUT);
}

/* RFC 8305 section 4: in turns, IPv6 first, then what is left of the longer one. */
static void test_turns(void **state)
{
    (void)state;
    static const struct {
        size_t v6, v4, v6_kept, v4_kept;
    } cases[] = {
        {1, 1, 1, 1},     {3, 1, 3, 1},   {1, 3, 1, 3},   {0, 2, 0, 2},   {2, 0, 2, 0},
        {32, 32, 32, 32}, {64, 0, 64, 0}, {0, 64, 0, 64}, {60, 4, 60, 4}, {4, 60, 4, 60},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct resolved both = found(cases[i].v6, cases[i].v4), answer;
        struct dns_pair p;
        size_t v6 = 0, v4 = 0;
        dns_pair_init(&p);
        dns_pair_store(&p, DNS_V6, &both, 1); /* takes its own of both, as from the hosts file */
        dns_pair_store(&p, DNS_V4, &both, 1);
        dns_pair_answer(&p, &answer);
        for (size_t k = 0; k < answer.count; k++) {
            bool is_v6 = answer.address[k].sa.sa_family == AF_INET6;
            if (v6 < cases[i].v6_kept && v4 < cases[i].v4_kept)
                assert_int_equal(is_v6, v6 == v4);
            if (is_v6)
                assert_int_equal(answer.address[k].in6.sin6_addr.s6_addr[15], ++v6);
            else
                assert_int_equal(ntohl(answer.address[k].in.sin_addr.s_addr), ++v4);
        }
        assert_int_equal(v6, cases[i].v6_kept);
        assert_int_equal(v4, cases[i].v4_kept);
        dns_pair_clear(&p);
    }
}

static void test_more_than_fits(void **state)
{
    (void)state;
    struct resolved v6 = found(64, 0), v4 = found(0, 64), answer;
    struct dns_pair p;
    dns_pair_init(&p);
    dns_pair_store(&p, DNS_V6, &v6, 1);
    dns_pair_store(&p, DNS_V4, &v4, 1);
    dns_pair_answer(&p, &answer);
    assert_int_equal(answer.count, RESOLVER_ADDRESSES_MAX);
    assert_int_equal(answer.address[0].sa.sa_family, AF_INET6);
    assert_int_equal(answer.address[63].sa.sa_family, AF_INET);
    dns_pair_clear(&p);
}

/* An answer with addresses of the other family only is none. */
static void test_wrong_family(void **state)
{
    (void)state;
    struct resolved v4 = found(0, 2), answer;
    struct dns_pair p;
    dns_pair_init(&p);
    dns_pair_store(&p, DNS_V6, &v4, 1);
    dns_pair_store(&p, DNS_V4, &(struct resolved){.outcome = NOT_FOUND}, 1);
    dns_pair_answer(&p, &answer);
    assert_int_equal(answer.outcome, NOT_FOUND);
    assert_int_equal(answer.count, 0);
    dns_pair_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),     cmocka_unit_test(test_nothing_known),
        cmocka_unit_test(test_turns),        cmocka_unit_test(test_more_than_fits),
        cmocka_unit_test(test_wrong_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

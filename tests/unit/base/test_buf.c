#include "proxy/base/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The sanitizers' allocators would rather abort than say no to test_out_of_memory(). */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void assert_holds(const struct buf *b, const char *text)
{
    struct span s = buf_span(b);
    assert_int_equal(buf_len(b), strlen(text));
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.ptr, text, s.len);
}

static void test_empty(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_null(b.data);
    assert_int_equal(buf_room(&b), 100);
    assert_non_null(buf_span(&b).ptr);
    assert_holds(&b, "");
    assert_int_equal(buf_add(&b, NULL, 0), 0);
    assert_int_equal(buf_add_str(&b, ""), 0);
    assert_int_equal(buf_printf(&b, "%s", ""), 0);
    buf_consume(&b, 0);
    assert_null(b.data); /* nothing was worth memory */
    buf_release(&b);
    assert_null(b.data);
}

static void test_release_and_again(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(buf_add_str(&b, "12345678"), 0);
    buf_consume(&b, 3);
    buf_release(&b);
    assert_null(b.data);
    assert_int_equal(buf_room(&b), 8);
    assert_int_equal(buf_add_str(&b, "abcdefgh"), 0);
    assert_holds(&b, "abcdefgh");
    buf_release(&b);
    buf_release(&b);
}

static void test_clear(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    buf_clear(&b, 0);
    assert_null(b.data);
    assert_int_equal(buf_add_str(&b, "12345678"), 0);
    buf_consume(&b, 3);
    char *data = b.data;
    size_t used = buf_budget_used();
    buf_clear(&b, b.cap);
    assert_ptr_equal(b.data, data);
    assert_holds(&b, "");
    assert_int_equal(buf_room(&b), 4096);
    assert_int_equal(buf_add_str(&b, "abcdefgh"), 0);
    assert_ptr_equal(b.data, data);
    assert_holds(&b, "abcdefgh");
    assert_int_equal(buf_budget_used(), used);
    buf_clear(&b, b.cap - 1);
    assert_null(b.data);
    assert_int_equal(buf_budget_used(), 0);
    buf_release(&b);
}

/* In every portion up to the maximum exactly, and not one octet more. */
static void test_limits(void **state)
{
    (void)state;
    static const size_t maxima[] = {0, 1, 2, 3, 1023, 1024, 1025, 2047, 2049, 5000, 65537};
    static const size_t portions[] = {1, 7, 1000, 1024, 65537};
    char *octets = malloc(65537);
    assert_non_null(octets);
    for (size_t i = 0; i < 65537; i++)
        octets[i] = (char)(i * 31);
    for (size_t m = 0; m < sizeof maxima / sizeof maxima[0]; m++) {
        for (size_t p = 0; p < sizeof portions / sizeof portions[0]; p++) {
            size_t max = maxima[m], portion = portions[p];
            struct buf b;
            buf_init(&b, max);
            while (buf_room(&b) > 0) {
                size_t n = portion < buf_room(&b) ? portion : buf_room(&b);
                assert_int_equal(buf_add(&b, octets + buf_len(&b), n), 0);
                assert_true(b.cap <= max);
            }
            assert_int_equal(buf_len(&b), max);
            assert_int_equal(buf_add(&b, "x", 1), -ENOBUFS);
            assert_int_equal(buf_add_str(&b, "x"), -ENOBUFS);
            assert_int_equal(buf_add_span(&b, SPAN("x")), -ENOBUFS);
            assert_int_equal(buf_printf(&b, "x"), -ENOBUFS);
            errno = 0;
            assert_null(buf_reserve(&b, 1));
            assert_int_equal(errno, ENOBUFS);
            assert_int_equal(buf_len(&b), max);
            if (max > 0)
                assert_memory_equal(buf_head(&b), octets, max);
            buf_release(&b);
        }
    }
    free(octets);
}

/* Octet by octet: doubling keeps the copies few. */
static void test_growth(void **state)
{
    (void)state;
    struct buf b;
    unsigned grown = 0;
    buf_init(&b, 65536);
    while (buf_room(&b) > 0) {
        size_t cap = b.cap;
        assert_int_equal(buf_add(&b, "x", 1), 0);
        grown += b.cap != cap;
    }
    assert_in_range(grown, 1, 12);
    buf_release(&b);
}

static void test_refusal_changes_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_add_str(&b, "123456"), 0);
    buf_consume(&b, 2);
    const struct buf before = b;
    assert_int_equal(buf_add_str(&b, "7 octets"), -ENOBUFS);
    assert_int_equal(buf_printf(&b, "%d", 12345678), -ENOBUFS);
    assert_null(buf_reserve(&b, 7));
    assert_null(buf_reserve(&b, SIZE_MAX)); /* a sum that wraps round */
    assert_null(buf_reserve(&b, SIZE_MAX - 3));
    assert_null(buf_reserve(&b, (size_t)PTRDIFF_MAX + 1));
    assert_memory_equal(&before, &b, sizeof b);
    assert_holds(&b, "3456");
    assert_int_equal(buf_add_str(&b, "six567"), 0);
    assert_holds(&b, "3456six567");
    buf_release(&b);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_int_equal(buf_add_str(&b, "abc"), 0);
    const struct buf before = b;
    errno = 0;
    assert_null(buf_reserve(&b, SIZE_MAX - 3));
    assert_int_equal(errno, ENOMEM);
    assert_null(buf_reserve(&b, SIZE_MAX - 2));
    assert_int_equal(errno, ENOBUFS);
    assert_memory_equal(&before, &b, sizeof b);
    assert_holds(&b, "abc");
    buf_release(&b);
}

static void test_reserve_and_commit(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    char *to = buf_reserve(&b, 10);
    assert_non_null(to);
    memcpy(to, "0123456789", 10);
    assert_int_equal(buf_len(&b), 0); /* not before it is committed */
    buf_commit(&b, 4);
    assert_holds(&b, "0123");
    buf_commit(&b, 0);
    assert_holds(&b, "0123");
    assert_ptr_equal(buf_reserve(&b, 6), to + 4); /* there was room: nothing moves */
    assert_non_null(buf_reserve(&b, 0));
    assert_holds(&b, "0123");
    buf_release(&b);
}

/* Octets that were consumed give their room back without more memory. */
static void test_consume(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 16);
    assert_int_equal(buf_add_str(&b, "0123456789abcdef"), 0);
    size_t cap = b.cap;
    for (unsigned i = 0; i < 1000; i++) {
        char first = *buf_head(&b);
        buf_consume(&b, 1);
        assert_int_equal(buf_room(&b), 1);
        assert_int_equal(buf_add(&b, &first, 1), 0);
        assert_int_equal(b.cap, cap);
    }
    assert_holds(&b, "89abcdef01234567"); /* turned by 1000 mod 16 */
    buf_consume(&b, 6);
    assert_holds(&b, "ef01234567");
    buf_consume(&b, 10);
    assert_holds(&b, "");
    assert_int_equal(b.cap, cap); /* kept for what comes */
    buf_release(&b);
}

static void test_any_octets(void **state)
{
    (void)state;
    static const char octets[] = {0, 'a', 0, (char)0xff, '%', 's', 0};
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_add(&b, octets, sizeof octets), 0);
    assert_int_equal(buf_add_span(&b, (struct span){octets, 2}), 0);
    assert_int_equal(buf_add_str(&b, "%s%n"), 0); /* no format */
    assert_int_equal(buf_len(&b), sizeof octets + 2 + 4);
    assert_memory_equal(buf_head(&b), octets, sizeof octets);
    assert_memory_equal(buf_head(&b) + sizeof octets, octets, 2);
    assert_memory_equal(buf_head(&b) + sizeof octets + 2, "%s%n", 4);
    buf_release(&b);
}

static void test_printf(void **state)
{
    (void)state;
    static const int widths[] = {1, 2, 1022, 1023, 1024, 1025, 5000};
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_printf(&b, "%s:%u%%", "host", 443U), 0);
    assert_int_equal(buf_printf(&b, " %.*s", SPAN_ARGS(SPAN("and more"))), 0);
    assert_holds(&b, "host:443% and more");
    buf_release(&b);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        size_t width = (size_t)widths[i];
        buf_init(&b, 8 + width);
        assert_int_equal(buf_add_str(&b, "before"), 0);
        assert_int_equal(buf_printf(&b, "%*d", widths[i], 7), 0);
        assert_int_equal(buf_len(&b), 6 + width); /* and no NUL */
        assert_memory_equal(buf_head(&b), "before", 6);
        assert_int_equal(buf_head(&b)[6 + width - 1], '7');
        for (size_t k = 6; k < 6 + width - 1; k++)
            assert_int_equal(buf_head(&b)[k], ' ');
        assert_int_equal(buf_printf(&b, "%*d", widths[i] + 2, 7), -ENOBUFS);
        assert_int_equal(buf_len(&b), 6 + width);
        assert_int_equal(buf_add_str(&b, "!!"), 0);
        buf_release(&b);
    }
}

/* ---- against a model: the same steps on a plain array ---- */

enum { MODEL_MAX = 9000, STEPS = 30000 };

struct model {
    unsigned char octet[MODEL_MAX];
    size_t len, max;
    unsigned char next; /* what is added counts up, so that no two neighbours look alike */
};

static size_t below(unsigned short seed[3], size_t n)
{
    return n == 0 ? 0 : (size_t)nrand48(seed) % n;
}

/* Mostly small, sometimes about the maximum. */
static size_t some_size(unsigned short seed[3], size_t max)
{
    static const size_t ranges[] = {2, 16, 200, 1500};
    size_t which = below(seed, 5);
    return which < 4 ? below(seed, ranges[which]) : below(seed, max + 2);
}

static void model_make(struct model *m, unsigned char *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = m->next++;
}

static void model_append(struct model *m, const void *octets, size_t n)
{
    memcpy(m->octet + m->len, octets, n);
    m->len += n;
}

static void step_add(struct buf *b, struct model *m, unsigned short seed[3])
{
    static unsigned char octets[MODEL_MAX + 2];
    size_t n = some_size(seed, m->max);
    unsigned char before = m->next;
    model_make(m, octets, n);
    int rc = buf_add(b, octets, n);
    assert_int_equal(rc, n > m->max - m->len ? -ENOBUFS : 0);
    if (rc == 0)
        model_append(m, octets, n);
    else
        m->next = before;
}

static void step_reserve(struct buf *b, struct model *m, unsigned short seed[3])
{
    size_t n = some_size(seed, m->max), used = below(seed, n + 1);
    char *to = buf_reserve(b, n);
    assert_int_equal(to == NULL, n > m->max - m->len);
    if (to == NULL || n > MODEL_MAX)
        return;
    memset(to, 0xee, n); /* all of it is ours, whatever is committed */
    model_make(m, (unsigned char *)to, used);
    model_append(m, to, used);
    buf_commit(b, used);
}

static void step_printf(struct buf *b, struct model *m, unsigned short seed[3])
{
    char text[3000];
    size_t n = below(seed, sizeof text - 1);
    memset(text, 'p', n);
    text[n] = '\0';
    if (n + 1 > m->max - m->len)
        return; /* see test_printf for the limit */
    assert_int_equal(buf_printf(b, "%s", text), 0);
    model_append(m, text, n);
}

static void step_consume(struct buf *b, struct model *m, unsigned short seed[3])
{
    size_t n = below(seed, 4) == 0 ? m->len : below(seed, m->len + 1);
    buf_consume(b, n);
    m->len -= n;
    memmove(m->octet, m->octet + n, m->len);
}

static void test_like_a_model(void **state)
{
    (void)state;
    static const size_t maxima[] = {0, 1, 5, 1023, 1024, 1025, 3000, MODEL_MAX};
    static void (*const steps[])(struct buf *, struct model *, unsigned short[3]) = {
        step_add, step_reserve, step_printf, step_consume, step_consume};
    static struct model m;
    unsigned short seed[3] = {0x330e, 42, 7};
    for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
        struct buf b;
        m = (struct model){.max = maxima[i]};
        buf_init(&b, m.max);
        for (unsigned step = 0; step < STEPS; step++) {
            steps[below(seed, 5)](&b, &m, seed);
            if (below(seed, 500) == 0) {
                buf_release(&b);
                m.len = 0;
            }
            assert_int_equal(buf_len(&b), m.len);
            assert_int_equal(buf_room(&b), m.max - m.len);
            assert_true(b.cap <= m.max);
            if (m.len > 0)
                assert_memory_equal(buf_span(&b).ptr, m.octet, m.len);
        }
        buf_release(&b);
    }
}

/* All buffers together: a big one stops at the budget, a small one a little later, and nothing is
 * lost or counted twice. */
static void test_budget(void **state)
{
    struct buf big, small;
    size_t before = buf_budget_used();
    (void)state;
    assert_int_equal(before, 0); /* whatever the other tests did was given back */
    buf_init(&big, 1 << 20);
    buf_init(&small, 1 << 20);
    buf_budget_set(100000);
    assert_non_null(buf_reserve(&big, 60000));
    assert_int_equal(buf_budget_used(), big.cap);
    assert_false(buf_budget_spent());
    assert_null(buf_reserve(&small, 60000));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(buf_budget_used(), big.cap);
    assert_int_equal(buf_add_str(&small, "503"), 0);
    buf_budget_set(big.cap);
    assert_true(buf_budget_spent());
    buf_release(&small);
    assert_int_equal(buf_add_str(&small, "503"), 0); /* by the eighth */
    buf_budget_set(big.cap / 2);
    buf_release(&small);
    assert_int_equal(buf_add_str(&small, "503"), -ENOMEM);
    buf_release(&small);
    buf_release(&big);
    assert_int_equal(buf_budget_used(), 0);
    buf_budget_set(SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),         cmocka_unit_test(test_release_and_again),
        cmocka_unit_test(test_clear),         cmocka_unit_test(test_limits),
        cmocka_unit_test(test_growth),        cmocka_unit_test(test_refusal_changes_nothing),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_reserve_and_commit),
        cmocka_unit_test(test_consume),       cmocka_unit_test(test_any_octets),
        cmocka_unit_test(test_printf),        cmocka_unit_test(test_like_a_model),
        cmocka_unit_test(test_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_name_index.c - names by kind and octets, also those whose hashes are the same; the order in
 * which they were added; growth.
 */
#include "allowlist/name_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { KIND_A, KIND_B, MANY = 5000 };

static uint32_t hash_of(struct span name)
{
    uint32_t hash = name_hash_start;
    for (size_t i = 0; i < name.len; i++)
        hash = name_hash_step(hash, name.ptr[i]);
    return hash;
}

static void add(struct name_index *x, unsigned kind, struct span name, uint32_t hash,
                const void *value)
{
    const struct name_entry e = {.name = name, .hash = hash, .kind = kind, .value = value};
    assert_int_equal(name_index_add(x, name, &e), 0);
}

static void test_empty(void **state)
{
    struct name_index x = {0};
    (void)state;
    assert_null(name_index_find(&x, KIND_A, SPAN(""), name_hash_start));
    assert_null(name_index_find(&x, KIND_A, SPAN("a"), 0));
    name_index_release(&x);
    name_index_release(&x);
}

static void test_kind_and_octets(void **state)
{
    static const int one, two;
    struct name_index x = {0};
    (void)state;
    add(&x, KIND_A, SPAN("a"), 1, &one);
    add(&x, KIND_B, SPAN("a"), 1, &two);
    add(&x, KIND_A, SPAN(""), 1, NULL);
    add(&x, KIND_A, SPAN("a\0b"), 1, NULL);
    assert_ptr_equal(name_index_find(&x, KIND_A, SPAN("a"), 1)->value, &one);
    assert_ptr_equal(name_index_find(&x, KIND_B, SPAN("a"), 1)->value, &two);
    assert_ptr_equal(name_index_find(&x, KIND_A, SPAN(""), 1), &x.entry[2]);
    assert_ptr_equal(name_index_find(&x, KIND_A, SPAN("a\0b"), 1), &x.entry[3]);
    assert_null(name_index_find(&x, KIND_B, SPAN(""), 1));
    assert_null(name_index_find(&x, KIND_A, SPAN("A"), 1));
    assert_null(name_index_find(&x, KIND_A, SPAN("a\0"), 1));
    assert_null(name_index_find(&x, KIND_A, SPAN("a\0c"), 1));
    assert_null(name_index_find(&x, KIND_A, SPAN("a"), 2));
    name_index_release(&x);
    assert_null(name_index_find(&x, KIND_A, SPAN("a"), 1));
}

/* What is kept is the whole text, and what is found the part of it. */
static void test_part_of_a_text(void **state)
{
    char text[] = "*.plant";
    const struct span part = {text + 1, 6};
    const struct name_entry e = {.name = part, .hash = hash_of(part)};
    struct name_index x = {0};
    (void)state;
    assert_int_equal(name_index_add(&x, span_of(text), &e), 0);
    memset(text, 'x', sizeof text - 1); /* it was copied */
    assert_null(name_index_find(&x, KIND_A, SPAN("*.plant"), hash_of(SPAN("*.plant"))));
    const struct name_entry *found =
        name_index_find(&x, KIND_A, SPAN(".plant"), hash_of(SPAN(".plant")));
    assert_non_null(found);
    assert_string_equal(found->text, "*.plant");
    name_index_release(&x);
}

/* `same`: all of them have one hash, so that a search meets all of them. */
static void check_many(unsigned count, bool same)
{
    struct name_index x = {0};
    char text[32];
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(text, sizeof text, "sensor-%u", i);
        add(&x, i % 2, span_of(text), same ? 7 : hash_of(span_of(text)), NULL);
        assert_true(x.slot_count > 2 * x.count); /* so that each search meets a free slot */
    }
    assert_int_equal(x.count, count);
    for (unsigned i = 0; i < count + 10; i++) {
        (void)snprintf(text, sizeof text, "sensor-%u", i);
        uint32_t hash = same ? 7 : hash_of(span_of(text));
        const struct name_entry *found = name_index_find(&x, i % 2, span_of(text), hash);
        assert_ptr_equal(found, i < count ? &x.entry[i] : NULL);
        assert_null(name_index_find(&x, (i + 1) % 2, span_of(text), hash));
    }
    name_index_release(&x);
}

static void test_many(void **state)
{
    (void)state;
    check_many(MANY, false);
}

static void test_one_hash(void **state)
{
    (void)state;
    check_many(200, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),          cmocka_unit_test(test_kind_and_octets),
        cmocka_unit_test(test_part_of_a_text), cmocka_unit_test(test_many),
        cmocka_unit_test(test_one_hash),
    };
    return cmocka_run_group_tests_name("name_index", tests, NULL, NULL);
}

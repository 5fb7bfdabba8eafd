#include "conf/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void distances(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned steps;
    } cases[] = {
        {"", "", 0},          {"abc", "", 3},
        {"zone", "zone", 0},  {"zone", "ZONE", 0},
        {"zone", "zoen", 1},  {"zone", "one", 1},
        {"peer", "peers", 1}, {"kitten", "sitting", 3},
        {"ca", "abc", 3},     {"threads", "treads", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(nearest_distance(cases[i].a, cases[i].b), cases[i].steps);
        assert_int_equal(nearest_distance(cases[i].b, cases[i].a), cases[i].steps);
    }
}

static void nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"allowed.hosts", "allowed.domains", "zone", "peers"};
    static const struct {
        const char *asked, *word;
    } cases[] = {
        {"allowed.host", "allowed.hosts"},
        {"allowedDomains", "allowed.domains"},
        {"Zone", "zone"},
        {"peer", "peers"},
        {"acl", NULL},
        {"", NULL},
        {"http_access", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *word = nearest_word(cases[i].asked, words, 4);
        if (cases[i].word == NULL)
            assert_null(word);
        else
            assert_string_equal(word, cases[i].word);
    }
}

/* A key of a megabyte in a file must cost nothing. */
static void long_words_are_near_to_nothing(void **state)
{
    (void)state;
    char asked[NEAREST_WORD_MAX + 2];
    memset(asked, 'a', sizeof asked - 1);
    asked[NEAREST_WORD_MAX + 1] = '\0';
    const char *const words[] = {
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    assert_null(nearest_word(asked, words, 1));
    asked[NEAREST_WORD_MAX] = '\0';
    assert_non_null(nearest_word(asked, words, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(nearest),
        cmocka_unit_test(long_words_are_near_to_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

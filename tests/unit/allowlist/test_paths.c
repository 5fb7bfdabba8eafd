/*
 * Paths of the gateway: one spelling only, whole patterns, nothing by default.
 */
#include "allowlist/paths.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    struct span path;
    const char *fault; /* a part of it; NULL: none */
} spellings[] = {
    {{"/", 1}, NULL},
    {{"/.well-known/est/cacerts", 24}, NULL},
    {{"/scep/", 6}, NULL},
    {{"/a.b/c..d/...", 13}, NULL},
    {{"/a%20b", 6}, NULL}, /* a space can be written in no other way */
    {{"/a!$&'()*+,=:@b", 15}, NULL},
    {{"", 0}, "slash"},
    {{"x", 1}, "slash"},
    {{"*", 1}, "slash"},
    /* dot segments, as they are and escaped (RFC 3986 section 5.2.4) */
    {{"/.", 2}, "dot segment"},
    {{"/..", 3}, "dot segment"},
    {{"/../", 4}, "dot segment"},
    {{"/.well-known/est/./cacerts", 26}, "dot segment"},
    {{"/.well-known/est/../../admin", 28}, "dot segment"},
    {{"/.well-known/est/..", 19}, "dot segment"},
    {{"/.well-known/est/%2e%2e/admin", 29}, "encoded dot"},
    {{"/.well-known/est/.%2E/admin", 27}, "encoded dot"},
    {{"/%2e", 4}, "encoded dot"},
    {{"/.well-known/est/%252e%252e/x", 29}, "delimiter"}, /* decoded twice */
    /* slashes that are none, or more than one */
    {{"/.well-known/est/..%2fadmin", 27}, "encoded slash"},
    {{"/.well-known%2Fest/cacerts", 26}, "encoded slash"},
    {{"/.well-known/est/..%5cadmin", 27}, "encoded slash"},
    {{"/.well-known\\est\\cacerts", 24}, "backslash"},
    {{"/.well-known/est/..\\admin", 25}, "backslash"},
    {{"//evil.test/.well-known/est/x", 29}, "empty segment"},
    {{"/.well-known//est/cacerts", 25}, "empty segment"},
    {{"/scep//", 7}, "empty segment"},
    /* path parameters, which some servers cut off before they resolve dots */
    {{"/.well-known/est/..;/admin", 26}, "parameter"},
    {{"/.well-known/est;x=y/cacerts", 28}, "parameter"},
    {{"/.well-known/est/..%3b/admin", 28}, "delimiter"},
    /* a query or fragment that is none */
    {{"/.well-known/est/cacerts%3Fx", 28}, "delimiter"},
    {{"/.well-known/est/cacerts%23x", 28}, "delimiter"},
    {{"/.well-known/est/cacerts#x", 26}, "not allowed"},
    {{"/.well-known/est/cacerts?x", 26}, "not allowed"},
    /* a second spelling of the same (RFC 3986 section 6.2.2.2) */
    {{"/%2ewell-known/est/cacerts", 26}, "encoded dot"},
    {{"/.well-known/es%74/cacerts", 26}, "needs no encoding"},
    {{"/.well%2Dknown/est/cacerts", 26}, "needs no encoding"},
    {{"/%7e", 4}, "needs no encoding"},
    /* overlong UTF-8, NUL, line ends */
    {{"/.well-known/est/%c0%ae%c0%ae/", 30}, "non-ASCII"},
    {{"/.well-known/est/%e0%80%af", 26}, "non-ASCII"},
    {{"/.well-known/est/cacerts%00.crl", 31}, "control"},
    {{"/.well-known/est/%0d%0aX:%20y", 29}, "control"},
    {{"/%7f", 4}, "control"},
    {{"/a b", 4}, "not allowed"},
    {{"/a\0b", 4}, "not allowed"},
    {{"/a\x80", 3}, "not allowed"},
    {{"/a\r\nb", 5}, "not allowed"},
    {{"/%", 2}, "incomplete"},
    {{"/%2", 3}, "incomplete"},
    {{"/%2x", 4}, "incomplete"},
    {{"/%u002e", 7}, "incomplete"},
};

static void test_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(spellings); i++) {
        const char *fault = paths_fault(spellings[i].path), *wanted = spellings[i].fault;
        bool same =
            fault == NULL || wanted == NULL ? fault == wanted : strstr(fault, wanted) != NULL;
        if (!same)
            fail_msg("\"%.*s\": %s, not %s", SPAN_ARGS(spellings[i].path),
                     fault != NULL ? fault : "fine", wanted != NULL ? wanted : "fine");
    }
}

static const struct {
    const char *pattern, *path;
    bool allowed;
} matched[] = {
    {"/scep", "/scep", true},
    {"/scep", "/scep/", false},
    {"/scep", "/scepx", false},
    {"/scep", "/SCEP", false},
    {"/scep", "/a/scep", false},
    {"/scep/", "/scep", false},
    {"/scep/", "/scep/", true},
    {"/", "/", true},
    {"/", "/x", false},
    {"/**", "/", true},
    {"/**", "/a/b/c", true},
    {"/.well-known/est/**", "/.well-known/est", true},
    {"/.well-known/est/**", "/.well-known/est/", true},
    {"/.well-known/est/**", "/.well-known/est/cacerts", true},
    {"/.well-known/est/**", "/.well-known/est/factory-7/simpleenroll", true},
    {"/.well-known/est/**", "/.well-known/estx/cacerts", false},
    {"/.well-known/est/**", "/x/.well-known/est/cacerts", false},
    {"/.well-known/est/**", "/.well-known", false},
    {"/.well-known/est/*/cacerts", "/.well-known/est/a/cacerts", true},
    {"/.well-known/est/*/cacerts", "/.well-known/est/a/b/cacerts", false},
    {"/.well-known/est/*/cacerts", "/.well-known/est/cacerts", false},
    {"/**/.well-known/est/**", "/.well-known/est/cacerts", true},
    {"/**/.well-known/est/**", "/iot/ca/v1/.well-known/est/l/cacerts", true},
    {"/**/.well-known/est/**", "/iot/.well-known/cmp", false},
    {"/**/pkiclient.exe", "/cgi-bin/pkiclient.exe", true},
    {"/**/pkiclient.exe", "/pkiclient.exe", true},
    {"/**/pkiclient.exe", "/pkiclient.exe/x", false},
    {"/**/a/**/b", "/a/a/x/b/y/b", true},
    {"/**/a/**/b", "/a/x/b/y", false},
    {"/a*c", "/abbc", true},
    {"/a*c", "/ac", true},
    {"/a*c", "/a/c", false},
    {"/a*", "/a", true},
    {"/*a*b*", "/xxaxxbxx", true},
    {"/*a*b*", "/xxbxxaxx", false},
    {"/*", "/", true},
    {"/x/*", "/x", false},
};

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(matched); i++) {
        struct paths *p = paths_create();
        const char *why = NULL;
        assert_false(paths_allow(p, span_of(matched[i].path)));
        if (paths_add(p, span_of(matched[i].pattern), &why) != 0)
            fail_msg("\"%s\": %s", matched[i].pattern, why);
        assert_false(paths_fault(span_of(matched[i].path)) != NULL);
        if (paths_allow(p, span_of(matched[i].path)) != matched[i].allowed)
            fail_msg("\"%s\" on \"%s\"", matched[i].pattern, matched[i].path);
        paths_destroy(p);
    }
    paths_destroy(NULL);
}

static void test_patterns_refused(void **state)
{
    static const char *const wrong[] = {
        "",      "scep",   "//",   "/a//b", "/a/../b", "/a/**b", "/a**",     "/***",
        "/a\\b", "/a%2fb", "/a?b", "/a b",  "/a;b",    "/%41b",  "http://x", "/x/\xc3\xa4"};
    struct paths *p = paths_create();
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        const char *why = NULL;
        if (paths_add(p, span_of(wrong[i]), &why) != -EINVAL || why == NULL)
            fail_msg("\"%s\" is taken", wrong[i]);
    }
    assert_false(paths_allow(p, SPAN("/")));
    paths_destroy(p);
}

/* What a client chooses must not cost more than its length times the pattern's. */
static void test_no_explosion(void **state)
{
    static char path[32768], pattern[512];
    struct paths *p = paths_create();
    (void)state;
    for (size_t i = 0; i + 2 < sizeof path; i += 2)
        memcpy(path + i, "/a", 2);
    for (size_t i = 0; i + 5 < sizeof pattern; i += 5)
        memcpy(pattern + i, "/**/a", 5);
    pattern[505] = '\0';
    assert_int_equal(paths_add(p, span_of(pattern), NULL), 0);
    assert_int_equal(paths_add(p, SPAN("/*a*a*a*a*a*a*a*a*a*a*a*ab"), NULL), 0);
    path[sizeof path - 3] = 'b';
    assert_false(paths_allow(p, (struct span){path, sizeof path - 2}));
    memset(path + 1, 'a', sizeof path - 1);
    assert_false(paths_allow(p, (struct span){path, sizeof path}));
    paths_destroy(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_patterns_refused),
        cmocka_unit_test(test_no_explosion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

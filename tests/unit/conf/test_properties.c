#include "conf/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What was told, as "line: message" lines. */
struct told {
    char text[1024];
    size_t count;
};

static void on_error(void *arg, const char *file, unsigned line, const char *message)
{
    struct told *t = arg;
    size_t at = strlen(t->text);
    assert_non_null(file);
    (void)snprintf(t->text + at, sizeof t->text - at, "%u: %s\n", line, message);
    t->count++;
}

struct good {
    const char *text;
    const char *pairs; /* "line key=value" for each, ended by '|' */
};

/* The rules of java.util.Properties.load(Reader); where its manual has an example, that is the
 * case. */
static const struct good goods[] = {
    {"Truth = Beauty\n Truth:Beauty\nTruth            :Beauty\n",
     "1 Truth=Beauty|2 Truth=Beauty|3 Truth=Beauty|"},
    {"fruits     apple, banana, pear, \\\n           cantaloupe, watermelon, \\\n"
     "           kiwi, mango\n",
     "1 fruits=apple, banana, pear, cantaloupe, watermelon, kiwi, mango|"},
    {"cheeses\n", "1 cheeses=|"},
    {"", ""},
    {"\n\r\n\r  \t\f\n", ""},
    {"# a\n! b\n  # c\n\t!d\n", ""},
    {"# goes on \\\na=1\n", "2 a=1|"}, /* a comment is never continued */
    {"a=1", "1 a=1|"},
    {"a=1\rb=2\r\nc=3\n", "1 a=1|2 b=2|3 c=3|"},
    {"a b c\n", "1 a=b c|"},
    {"a = = b\n", "1 a== b|"},
    {"a:=b\n", "1 a==b|"},
    {"a  :  b  \n", "1 a=b  |"}, /* blanks at the end of a value stay */
    {"a\\ b=1\n", "1 a b=1|"},
    {"a\\:b\\=c=1\n", "1 a:b=c=1|"},
    {"\\#a=1\n", "1 #a=1|"},
    {"a=\\#\\!\\q\\\"\n", "1 a=#!q\"|"},
    {"a=x\\ty\\nz\n", "1 a=x\ty\nz|"},
    {"a=C:\\\\temp\n", "1 a=C:\\temp|"},
    {"a=1\\\\\nb=2\n", "1 a=1\\|2 b=2|"}, /* two backslashes continue nothing */
    {"a=1\\\\\\\n2\n", "1 a=1\\2|"},
    {"a=\\u0041\\u00e9\\u20AC\n", "1 a=A\xc3\xa9\xe2\x82\xac|"},
    {"\\u0061=1\n", "1 a=1|"},
    {"a\\u003db=1\n", "1 a=b=1|"}, /* an escaped '=' is part of the key */
    {"a=\\ud83d\\ude00\n", "1 a=\xf0\x9f\x98\x80|"},
    {"a=\\u00\\\n  41\n", "1 a=A|"},      /* lines are joined before escapes are read */
    {"a=1,\\\n\nb=2\n", "1 a=1,|3 b=2|"}, /* a blank line ends the continuation */
    {"a=1,\\\n# no comment\n", "1 a=1,# no comment|"},
    {"a=1,\\\r\n\t 2\n", "1 a=1,2|"},
    {"a \\\n  = \\\n b\n", "1 a=b|"},
    {"\\\n# still a comment\na=1\n", "3 a=1|"},
    {"\\\na=1\n", "2 a=1|"},
    {"a=1\\", "1 a=1|"},
    {"\\", ""}, /* Java makes an empty key of it */
    {"=1\n:2\n", "1 =1|2 =2|"},
    {"a=\xc3\xa9\n# \xff is no fault in a comment\n", "1 a=\xc3\xa9|"},
    {"a=1\na=2\n", "1 a=1|2 a=2|"},
};

static void pairs_print(const struct properties *p, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < p->count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%u %s=%s|", p->item[i].line, p->item[i].key,
                               p->item[i].value);
}

static void java_syntax(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        struct properties p;
        struct told told = {0};
        char pairs[512];
        int rc = properties_parse(&p, "f", goods[i].text, strlen(goods[i].text), on_error, &told);
        pairs_print(&p, pairs, sizeof pairs);
        assert_string_equal(pairs, goods[i].pairs);
        assert_string_equal(told.text, "");
        assert_int_equal(rc, 0);
        properties_free(&p);
    }
}

#define BROKEN_ESCAPE                                                                              \
    "broken \\u escape: write \\u and four hexadecimal digits, or \\\\ for a backslash\n"
#define HALF_PAIR "half of a surrogate pair: write both \\u escapes, or the character itself\n"
#define NO_UTF8 "is not UTF-8: save the file as UTF-8, or write \\uXXXX\n"
#define HAS_NUL "holds a NUL character: remove it\n"

struct bad {
    const char *text;
    size_t len; /* 0: up to the NUL */
    const char *told;
    const char *pairs;
};

static const struct bad bads[] = {
    {"a=C:\\users\nb=2\n", 0, "1: " BROKEN_ESCAPE, "1 a=C:sers|2 b=2|"},
    {"a=\\u12\n", 0, "1: " BROKEN_ESCAPE, "1 a=12|"},
    {"a=1\\\n\\u12g4\n", 0, "2: " BROKEN_ESCAPE, "1 a=112g4|"},
    {"a=\\u", 0, "1: " BROKEN_ESCAPE, "1 a=|"},
    {"a=\\ud83d\n", 0, "1: " HALF_PAIR, "1 a=|"},
    {"a=\\ude00x\n", 0, "1: " HALF_PAIR, "1 a=x|"},
    {"a=\\ud83d\\u0041\n", 0, "1: " HALF_PAIR, "1 a=A|"},
    {"a=\\ud83d\\n\n", 0, "1: " HALF_PAIR, "1 a=\n|"},
    {"a=1\\u00002\n", 0, "1: " HAS_NUL, "1 a=12|"},
    /* A NUL would hide what follows from everyone who reads the value as a C string. */
    {"a=digicert.com\0.evil.example\n", 29, "1: " HAS_NUL, "1 a=digicert.com.evil.example|"},
    {"a=\xe9\xe8\nb=\xff\n", 0, "1: " NO_UTF8 "2: " NO_UTF8, "1 a=|2 b=|"},
    {"a=\xc0\xaf\n", 0, "1: " NO_UTF8, "1 a=|"},         /* RFC 3629 section 10: overlong '/' */
    {"a=\xed\xa0\x80\n", 0, "1: " NO_UTF8, "1 a=|"},     /* RFC 3629 section 3: a surrogate */
    {"a=\xf4\x90\x80\x80\n", 0, "1: " NO_UTF8, "1 a=|"}, /* above U+10FFFF */
    {"a=\xf0\x9f\x98", 0, "1: " NO_UTF8, "1 a=|"},       /* cut off by the end */
    {"\xff\xfe\n", 0, "1: " NO_UTF8, "1 =|"},
    {"\xef\xbb\xbf"
     "a=1\n",
     0, "1: begins with a byte order mark: save the file as UTF-8 without it\n", "1 a=1|"},
};

static void mistakes_are_told_and_the_rest_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct properties p;
        struct told told = {0};
        char pairs[512];
        size_t len = bads[i].len > 0 ? bads[i].len : strlen(bads[i].text);
        int rc = properties_parse(&p, "f", bads[i].text, len, on_error, &told);
        pairs_print(&p, pairs, sizeof pairs);
        assert_string_equal(told.text, bads[i].told);
        assert_string_equal(pairs, bads[i].pairs);
        assert_int_equal(rc, -EINVAL);
        properties_free(&p);
    }
}

static void key_count_is_bounded(void **state)
{
    (void)state;
    size_t len = (PROPERTIES_ENTRIES_MAX + 1) * 2;
    char *text = malloc(len);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = i % 2 == 0 ? 'a' : '\n';
    struct properties p;
    struct told told = {0};
    assert_int_equal(properties_parse(&p, "f", text, len - 2, on_error, &told), 0);
    assert_int_equal(p.count, PROPERTIES_ENTRIES_MAX);
    properties_free(&p);
    assert_int_equal(properties_parse(&p, "f", text, len, on_error, &told), -EINVAL);
    assert_int_equal(p.count, PROPERTIES_ENTRIES_MAX);
    assert_string_equal(told.text, "4097: too many keys in one file, at most 4096 are allowed\n");
    properties_free(&p);
    free(text);
}

/* A folder of its own, and what to do with it. */
static void path_in_scratch(char *dir, char *path, size_t size, const char *name)
{
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, size, "%s/%s", dir, name);
}

static void files_of_other_kinds(void **state)
{
    (void)state;
    char dir[] = "/tmp/certferry-properties-XXXXXX";
    char path[128];
    path_in_scratch(dir, path, sizeof path, "f.properties");
    struct properties p;
    struct told told = {0};
    assert_int_equal(properties_load(&p, AT_FDCWD, path, path, on_error, &told), -ENOENT);
    assert_string_equal(told.text, "");
    properties_free(&p);

    assert_int_equal(properties_load(&p, AT_FDCWD, dir, dir, on_error, &told), -EISDIR);
    assert_string_equal(told.text, "0: is not a regular file\n");
    properties_free(&p);

    /* A FIFO without a writer must not hold the program up. */
    told = (struct told){0};
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_true(properties_load(&p, AT_FDCWD, path, path, on_error, &told) < 0);
    assert_string_equal(told.text, "0: is not a regular file\n");
    properties_free(&p);
    assert_int_equal(unlink(path), 0);

    told = (struct told){0};
    assert_int_equal(symlink("f.properties", path), 0);
    assert_int_equal(properties_load(&p, AT_FDCWD, path, path, on_error, &told), -ELOOP);
    assert_string_equal(told.text, "0: cannot be read: Too many levels of symbolic links\n");
    properties_free(&p);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void file_size_is_bounded(void **state)
{
    (void)state;
    char dir[] = "/tmp/certferry-properties-XXXXXX";
    char path[128];
    path_in_scratch(dir, path, sizeof path, "f.properties");
    char *text = malloc(PROPERTIES_FILE_MAX + 1);
    assert_non_null(text);
    memset(text, '#', PROPERTIES_FILE_MAX + 1);
    memcpy(text, "a=1\n", 4);
    for (size_t extra = 0; extra < 2; extra++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, PROPERTIES_FILE_MAX + extra, f),
                         PROPERTIES_FILE_MAX + extra);
        assert_int_equal(fclose(f), 0);
        struct properties p;
        struct told told = {0};
        int rc = properties_load(&p, AT_FDCWD, path, path, on_error, &told);
        assert_int_equal(rc, extra == 0 ? 0 : -EINVAL);
        assert_int_equal(p.count, extra == 0 ? 1 : 0);
        assert_string_equal(told.text,
                            extra == 0 ? "" : "0: larger than the 4 MiB that are allowed\n");
        properties_free(&p);
    }
    free(text);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(java_syntax),
        cmocka_unit_test(mistakes_are_told_and_the_rest_is_read),
        cmocka_unit_test(key_count_is_bounded),
        cmocka_unit_test(files_of_other_kinds),
        cmocka_unit_test(file_size_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

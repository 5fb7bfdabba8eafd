/* test_users.c - htpasswd lines: what is taken, what is refused and why; look-ups among many. */
#include "allowlist/users.h"

#include <crypt.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BCRYPT "$2y$05$abcdefghijklmnopqrstuuEFXH5pXWY0hwYHX3yTqDTfXxbzlOTzi"
#define SHA512 SHA512_BUT_5 "QZ/.9"
#define SHA512_BUT_5                                                                               \
    "$6$saltsaltsalt$"                                                                             \
    "jw3ZKXGcVRVOQT0MJhBhHhUz4Ql0d9mQ6XcJYwOQ7dQ7m3k8bJ8YlQ9yT9k3V1m2QyQxZ9nQ0bX5s1abc"

static const struct row {
    const char *line;
    const char *why; /* a part of it; NULL: fine */
} rows[] = {
    {"u:" BCRYPT, NULL},
    {"u:$2b$12$abcdefghijklmnopqrstuuEFXH5pXWY0hwYHX3yTqDTfXxbzlOTzi\r", NULL}, /* from Windows */
    {"u@plant 7:$y$j9T$/58oP0gif.C/afyJtrXS.0$v2OCi16Sl4iw0bICagBq7Vxuzl2jNI.rCHYzjbMYeC.", NULL},
    {"u:$7$CU..../....QFSgWGxb9tQHba49zDpdC.$AsHteZYYIaOVXMf6o/VNg3MNRwry0BqvqQ6oVlR/2l8", NULL},
    {"u:$5$rounds=10000$saltsalt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", NULL},
    {"u:" SHA512, NULL},
    {"", NULL},
    {"# a comment", NULL},
    {"u", "not user:hash"},
    {":" BCRYPT, "not user:hash"},
    {"u:", "not bcrypt"},
    {"u:plain", "not bcrypt"},
    {"u:$apr1$salt$hash", "not bcrypt"},                   /* MD5: htpasswd's own default */
    {"u:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "not bcrypt"}, /* unsalted SHA-1 */
    {"u:rqXexS6ZhobKA", "not bcrypt"},                     /* DES */
    {"u:$1$salt$hash", "not bcrypt"},
    {"u:$2y$99$abcdefghijklmnopqrstuuEFXH5pXWY0hwYHX3yTqDTfXxbzlOTzi", "too much"},
    {"u:$2y$05$", "malformed"},
    {"u:$y$j9T$", "malformed"},
    {"u:" SHA512_BUT_5, "malformed"},
    {"u:" BCRYPT "x", "malformed"},
    {"u:$5$roufds=99999$abc$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "malformed"},
    {"u:$5$rounds=010000$salt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "malformed"},
    {"u:$5$rounds=999$salt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "malformed"},
    {"u:$5$saltsaltsaltsalts$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "malformed"},
    {"u:$5$salt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO!Q", "malformed"},
    {"u:$5$salt$more$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "malformed"},
    {"u:$y$j9T", "malformed"},
    {"u:$y$j1unds=1000$mvvuFSuYwBb56yg4$JMCRc7SeWzdXoVVVzpOFn9rplrPdadd6ZgxyNQKAdS8", "malformed"},
    {"u:$y$j9z$/58oP0gif.C/afyJtrXS.0$v2OCi16Sl4iw0bICagBq7Vxuzl2jNI.rCHYzjbMYeC.", "malformed"},
    {"u:$7$CzzzzzU....QFSgWGxb9tQHba49zDpdC.$AsHteZYYIaOVXMf6o/VNg3MNRwry0BqvqQ6oVlR/2l8",
     "malformed"}, /* a block size that would take all memory */
    {"u:$2y$31$abcdefghijklmnopqrstuuEFXH5pXWY0hwYHX3yTqDTfXxbzlOTzi", "too much"},
    {"u:$5$rounds=99999999$saltsalt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", "too much"},
    {"u:$y$jFT$T.DG6du6oVuCftH4CkPf70$CuvgpWlnc4fVlWCyM28TjZ8UFrXL1Ncr1rUbxdTvCH6", "too much"},
    {"u:$7$GU..../....ckNd2PajuQXjh.UMSxHio0$Yi2vII2adxZ5p3sJkngJFAC5EnL6jDb1Ym1EV6QzEg9",
     "too much"},
    {"u\x01:" BCRYPT, "control"},
    {"u:" BCRYPT "\t", "control"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct users *u = users_create();
        const char *why = NULL;
        assert_non_null(u);
        int rc = users_add_line(u, span_of(rows[i].line), &why);
        if (rc != (rows[i].why != NULL ? -EINVAL : 0))
            fail_msg("row %zu: %s gives %d: %s", i, rows[i].line, rc, why != NULL ? why : "");
        if (rows[i].why != NULL && strstr(why, rows[i].why) == NULL)
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, why, rows[i].why);
        users_destroy(u);
    }
}

static void test_find(void **state)
{
    struct users *u = users_create();
    const char *why = NULL;
    char line[256];
    (void)state;
    assert_null(users_decoy(u, "nobody"));
    for (unsigned i = 0; i < 3000; i++) {
        (void)snprintf(line, sizeof line, "device-%u:%s%05u", i, SHA512_BUT_5, i);
        assert_int_equal(users_add_line(u, span_of(line), &why), 0);
    }
    assert_int_equal(users_count(u), 3000);
    for (unsigned i = 0; i < 3000; i++) {
        (void)snprintf(line, sizeof line, "device-%u", i);
        const char *hash = users_find(u, line);
        (void)snprintf(line, sizeof line, "%s%05u", SHA512_BUT_5, i);
        assert_string_equal(hash, line);
    }
    assert_null(users_find(u, "device-3000"));
    assert_null(users_find(u, ""));
    assert_null(users_find(u, "device-1:"));
    assert_int_equal(users_add_line(u, SPAN("device-7:" BCRYPT), &why), -EINVAL);
    assert_non_null(strstr(why, "twice"));
    users_destroy(u);
}

/* Somebody's: it goes through the same rounds. Always the same for a name, and not for all names.
 */
static void test_decoy(void **state)
{
    struct users *u = users_create();
    struct crypt_data data;
    const char *why = NULL;
    (void)state;
    assert_int_equal(users_add_line(u, SPAN("u:" BCRYPT), &why), 0);
    assert_int_equal(users_add_line(u, SPAN("v:" SHA512), &why), 0);
    memset(&data, 0, sizeof data);
    const char *made = crypt_r("anything", users_decoy(u, "nobody"), &data);
    assert_non_null(made);
    assert_memory_equal(made, users_decoy(u, "nobody"), 3); /* the kind */
    unsigned of_u = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", i);
        const char *decoy = users_decoy(u, name);
        assert_ptr_equal(decoy, users_decoy(u, name));
        assert_true(decoy == users_find(u, "u") || decoy == users_find(u, "v"));
        of_u += decoy == users_find(u, "u");
    }
    assert_in_range(of_u, 1, 999);
    users_destroy(u);
}

static void test_bounds(void **state)
{
    struct users *u = users_create();
    char line[2000];
    const char *why = NULL;
    (void)state;
    memset(line, 'a', sizeof line);
    assert_int_equal(users_add_line(u, (struct span){line, 1025}, &why), -EINVAL);
    assert_non_null(strstr(why, "longer than 1024"));
    memcpy(line + 256, ":" BCRYPT, sizeof BCRYPT);
    assert_int_equal(users_add_line(u, (struct span){line, 256 + sizeof BCRYPT}, &why), -EINVAL);
    assert_non_null(strstr(why, "longer than 255"));
    assert_int_equal(users_add_line(u, (struct span){line + 1, 255 + sizeof BCRYPT}, &why), 0);
    users_destroy(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_decoy),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_roster_file.c - the roster on disk: whole or the old one, whatever lies there. */
#include "failover/roster_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[96], aside[100];
static struct roster_file *file;

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/certferry-roster-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/roster.json", dir);
    (void)snprintf(aside, sizeof aside, "%s.new", path);
    file = roster_file_open(path);
    return file == NULL;
}

static int teardown(void **state)
{
    (void)state;
    roster_file_close(file);
    (void)chmod(dir, 0700);
    (void)unlink(path);
    (void)rmdir(path);
    (void)unlink(aside);
    (void)rmdir(aside);
    return rmdir(dir);
}

static void write_text(const char *to, const char *text, size_t len)
{
    FILE *f = fopen(to, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static struct roster *three(void)
{
    struct roster *r = roster_create();
    assert_non_null(r);
    for (unsigned i = 0; i < 3; i++) {
        struct member m = {.port = 48999,
                           .weight = 10 + i,
                           .priority = i,
                           .load = ROSTER_LOAD_UNKNOWN,
                           .state = i == 2 ? MEMBER_DRAINING : MEMBER_UP,
                           .self = i == 0};
        (void)snprintf(m.host, sizeof m.host, "px%u.example", i);
        assert_int_equal(roster_add(r, &m), 0);
    }
    return r;
}

static unsigned files_there(void)
{
    DIR *d = opendir(dir);
    unsigned count = 0;
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count += e->d_name[0] != '.';
    (void)closedir(d);
    return count;
}

static void test_there_and_back(void **state)
{
    char fault[DOCUMENT_FAULT_MAX];
    struct roster *back = NULL, *r = three();
    struct stat st;
    (void)state;
    assert_int_equal(roster_file_read(file, &back, fault), -ENOENT);
    mode_t before = umask(0077);
    assert_int_equal(roster_file_write(file, r, "px0.example"), 0);
    (void)umask(before);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(files_there(), 1);
    assert_int_equal(roster_file_read(file, &back, fault), 0);
    assert_int_equal(roster_count(back), 3);
    roster_unref(back);
    /* Once more over what is there, and over what a killed run has left aside. */
    write_text(aside, "half", 4);
    assert_int_equal(roster_file_write(file, r, "px0.example"), 0);
    assert_int_equal(files_there(), 1);
    roster_unref(r);
}

static void test_what_is_no_roster(void **state)
{
    static const char *const texts[] = {"", "{", "null", "{\"identifier\":\"a.example\"}"};
    char fault[DOCUMENT_FAULT_MAX];
    struct roster *back = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text(path, texts[i], strlen(texts[i]));
        fault[0] = '\0';
        assert_int_equal(roster_file_read(file, &back, fault), -EINVAL);
        assert_string_not_equal(fault, "");
        assert_null(back);
    }
}

static void test_half_of_one(void **state)
{
    char fault[DOCUMENT_FAULT_MAX], text[8192];
    struct roster *back = NULL, *r = three();
    (void)state;
    assert_int_equal(roster_file_write(file, r, "px0.example"), 0);
    roster_unref(r);
    FILE *f = fopen(path, "r");
    size_t len = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    for (size_t cut = 0; cut < len; cut++) {
        write_text(path, text, cut);
        assert_int_equal(roster_file_read(file, &back, fault), -EINVAL);
    }
    assert_null(back);
}

static void test_larger_than_one_can_be(void **state)
{
    char fault[DOCUMENT_FAULT_MAX] = "";
    struct roster *back = NULL;
    (void)state;
    write_text(path, "", 0);
    assert_int_equal(truncate(path, (off_t)DOCUMENT_READ_OCTETS_MAX + 1), 0);
    assert_int_equal(roster_file_read(file, &back, fault), -EINVAL);
    assert_string_not_equal(fault, "");
}

static void test_something_else_in_its_place(void **state)
{
    char fault[DOCUMENT_FAULT_MAX] = "";
    struct roster *back = NULL, *r = three();
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(roster_file_read(file, &back, fault), -EINVAL);
    assert_int_equal(roster_file_write(file, r, "px0.example"), -EISDIR);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody waits for a writer */
    assert_int_equal(roster_file_read(file, &back, fault), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(roster_file_read(file, &back, fault), -ELOOP);
    /* It takes the link's place, and does not follow it. */
    assert_int_equal(roster_file_write(file, r, "px0.example"), 0);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(aside, 0700), 0);
    assert_int_equal(roster_file_write(file, r, "px0.example"), -EEXIST);
    roster_unref(r);
}

static void test_places_without_a_directory(void **state)
{
    (void)state;
    assert_null(roster_file_open("/nonexistent/roster.json"));
    assert_int_equal(errno, ENOENT);
    assert_null(roster_file_open("/etc/passwd/roster.json"));
    assert_int_equal(errno, ENOTDIR);
    struct roster_file *here = roster_file_open("roster.json");
    assert_non_null(here);
    roster_file_close(here);
    here = roster_file_open("/roster.json");
    assert_non_null(here);
    roster_file_close(here);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_there_and_back),
        TEST(test_what_is_no_roster),
        TEST(test_half_of_one),
        TEST(test_larger_than_one_can_be),
        TEST(test_something_else_in_its_place),
        TEST(test_places_without_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

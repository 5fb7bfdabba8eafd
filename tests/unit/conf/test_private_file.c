/* test_private_file.c - files that somebody else could have written are refused, with the command
 * that mends it. */
#include "conf/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534, SOMEBODY = 4711 };

static char path[] = "/tmp/certferry-private-XXXXXX";
static int dir;

static int setup(void **state)
{
    (void)state;
    (void)umask(022);
    if (mkdtemp(path) == NULL || chmod(path, 0755) != 0)
        return -1;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 || mkdirat(dir, "inner", 0755) != 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlinkat(dir, "inner/f", 0);
    (void)unlinkat(dir, "inner", AT_REMOVEDIR);
    (void)close(dir);
    return rmdir(path);
}

static void put(const char *name, mode_t mode, uid_t owner, gid_t group)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "octets", 6), 6);
    if (geteuid() == 0)
        assert_int_equal(fchown(fd, owner, group), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static int read_it(const char *name, unsigned flags, const char **why)
{
    struct buf text;
    buf_init(&text, 64);
    int rc = private_file_read(dir, name, flags, &text, why);
    if (rc == 0)
        assert_memory_equal(buf_span(&text).ptr, "octets", 6);
    assert_int_equal(buf_len(&text), rc == 0 ? 6 : 0);
    buf_release(&text);
    return rc;
}

static void test_files(void **state)
{
    static const struct {
        mode_t mode;
        uid_t owner;
        gid_t group;
        unsigned flags;
        const char *why; /* NULL: it is read */
        bool root_only;  /* only root can make such a file */
    } cases[] = {
        {0644, 0, 0, 0, NULL, false},
        {0640, 0, NOBODY, PRIVATE_FILE_SECRET, NULL, false},
        {0644, 0, 0, PRIVATE_FILE_SECRET, "chmod o-r", false},
        {0646, 0, 0, 0, "chmod go-w", false},
        {0602, 0, 0, PRIVATE_FILE_SECRET, "chmod go-w", false},
        {0660, 0, 0, 0, NULL, true},              /* root's own group */
        {0664, 0, NOBODY, 0, "chmod go-w", true}, /* any group */
        {0644, SOMEBODY, SOMEBODY, 0, "chown root", true},
        {0444, SOMEBODY, 0, 0, "chown root", true}, /* who owns it can change the mode */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = "";
        if (cases[i].root_only && geteuid() != 0)
            continue;
        put("inner/f", cases[i].mode, cases[i].owner, cases[i].group);
        int rc = read_it("inner/f", cases[i].flags, &why);
        assert_int_equal(rc, cases[i].why == NULL ? 0 : -EPERM);
        if (rc != 0)
            assert_non_null(strstr(why, cases[i].why));
    }
}

/* Who has the directory may have its files as well: a checkout in somebody's home, started by root.
 */
static void test_owner_of_the_directory(void **state)
{
    const char *why = "";
    (void)state;
    if (geteuid() != 0)
        skip();
    put("inner/f", 0644, SOMEBODY, SOMEBODY);
    assert_int_equal(fchown(dir, SOMEBODY, SOMEBODY), 0);
    assert_int_equal(read_it("inner/f", 0, &why), 0);
    assert_int_equal(fchown(dir, 0, 0), 0);
    assert_int_equal(read_it("inner/f", 0, &why), -EPERM);
}

static void test_directories(void **state)
{
    static const struct {
        mode_t mode;
        bool fine,
            fine_in_path; /* with the sticky bit nobody takes the place of a file that is there */
    } cases[] = {
        {0755, true, true}, {0700, true, true}, {0757, false, false}, {01777, false, true}};
    const char *why;
    (void)state;
    put("inner/f", 0644, 0, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(fchmod(dir, cases[i].mode), 0);
        assert_int_equal(private_directory_check(dir, &why), cases[i].fine ? 0 : -EPERM);
        assert_int_equal(fchmod(dir, 0755), 0);
        /* the same of a directory in the path */
        assert_int_equal(fchmodat(dir, "inner", cases[i].mode, 0), 0);
        assert_int_equal(read_it("inner/f", 0, &why), cases[i].fine_in_path ? 0 : -EPERM);
        if (!cases[i].fine_in_path)
            assert_non_null(strstr(why, "directory"));
        assert_int_equal(fchmodat(dir, "inner", 0755, 0), 0);
    }
}

static void test_no_files(void **state)
{
    const char *why = "";
    (void)state;
    assert_int_equal(read_it("inner", 0, &why), -EISDIR);
    assert_int_equal(read_it("no-such-file", 0, &why), -ENOENT);
    assert_int_equal(read_it("no-such-directory/f", 0, &why), -ENOENT);
    assert_int_equal(mkfifoat(dir, "fifo", 0644), 0);
    assert_int_equal(read_it("fifo", 0, &why), -EISDIR); /* and does not wait for a writer */
    assert_int_equal(unlinkat(dir, "fifo", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_owner_of_the_directory),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_no_files),
    };
    return cmocka_run_group_tests_name("private_file", tests, setup, teardown);
}

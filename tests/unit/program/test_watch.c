/* test_watch.c - files that others write are noticed, whatever way they change, once each time. */
#include "proxy/watch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { INTERVAL_MS = 15 };

static uv_loop_t loop;
static struct watch *watch;
static char place[] = "/tmp/test_watch.XXXXXX";
static int dir;
static unsigned changes;

static void on_change(void *arg)
{
    assert_ptr_equal(arg, &changes);
    changes++;
}

static void on_day(void *arg)
{
    (void)arg;
    fail();
}

static void put(const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

/* Long ago, so that what was written before is not new. */
static const struct timespec never = {.tv_sec = (time_t)1 << 33};

static void begin(const struct timespec *since)
{
    watch_begin(watch, dup(dir), INTERVAL_MS, since);
    watch_add(watch, "cert.pem");
    watch_add(watch, "key.pem");
    watch_add(watch, "missing.pem");
}

static int setup(void **state)
{
    const struct watch_options o = {on_change, on_day, &changes};
    (void)state;
    (void)memcpy(place, "/tmp/test_watch.XXXXXX", sizeof place);
    assert_non_null(mkdtemp(place));
    dir = open(place, O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    put("cert.pem", "certificate");
    put("key.pem", "key");
    changes = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    watch = watch_create(&loop, &o);
    assert_non_null(watch);
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"cert.pem", "key.pem", "missing.pem"};
    (void)state;
    watch_close(watch);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlinkat(dir, names[i], 0);
    (void)close(dir);
    (void)rmdir(place);
    return uv_loop_close(&loop);
}

static void find_timer(uv_handle_t *handle, void *found)
{
    if (handle->type == UV_TIMER)
        *(uv_timer_t **)found = (uv_timer_t *)handle;
}

/* One interval: the timer runs once, however late it is. UV_RUN_ONCE may run it before and behind
 * its wait. */
static void turn(void)
{
    uv_timer_t *timer = NULL;
    uv_walk(&loop, find_timer, &timer);
    while (uv_timer_get_due_in(timer) > 0) {
        (void)usleep(1000);
        uv_update_time(&loop);
    }
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

/* Until the change is told, or some intervals have passed without one. */
static bool told(void)
{
    unsigned before = changes;
    for (unsigned turns = 0; turns < 8 && changes == before; turns++)
        turn();
    return changes > before;
}

static void test_nothing_changes(void **state)
{
    (void)state;
    begin(&never);
    assert_false(told());
}

static void test_each_kind_of_change(void **state)
{
    (void)state;
    begin(&never);
    put("cert.pem", "another");
    assert_true(told());
    assert_false(told());
    assert_int_equal(renameat(dir, "key.pem", dir, "cert.pem"),
                     0); /* one is another, one is gone */
    assert_true(told());
    put("missing.pem", "there");
    assert_true(told());
    assert_int_equal(fchmodat(dir, "cert.pem", 0640, 0), 0);
    assert_true(told());
    assert_int_equal(unlinkat(dir, "missing.pem", 0), 0);
    assert_true(told());
    assert_false(told());
    assert_int_equal(changes, 5);
}

/* A certificate and its key are written one after the other. */
static void test_it_waits_until_all_is_quiet(void **state)
{
    (void)state;
    begin(&never);
    for (unsigned i = 0; i < 3; i++) {
        /* Of another length each time: two changes may fall into one tick of the kernel's clock. */
        put(i % 2 == 0 ? "cert.pem" : "key.pem", &"longer each"[6 - i]);
        turn();
        assert_int_equal(changes, 0);
    }
    assert_true(told());
    assert_int_equal(changes, 1);
}

/* One file that is written all the time, a CRL say, keeps back no certificate. */
static void test_it_does_not_wait_for_ever(void **state)
{
    (void)state;
    begin(&never);
    for (unsigned i = 0; i < 8; i++) {
        put("cert.pem", &"longer each"[8 - i]);
        turn();
        assert_int_equal(changes, (i + 1) / 4);
    }
    assert_false(told());
}

/* What is written between our reading and our watching is not lost. */
static void test_change_while_it_was_read(void **state)
{
    const struct timespec long_ago = {.tv_sec = 1};
    (void)state;
    begin(&long_ago);
    assert_true(told());
    assert_false(told());
}

static void test_begun_anew(void **state)
{
    (void)state;
    begin(&never);
    put("cert.pem", "another");
    begin(&never); /* a reload has read it */
    assert_false(told());
    put("cert.pem", "a third");
    turn(); /* seen, and put off */
    assert_int_equal(changes, 0);
    begin(&never);
    assert_false(told());
}

/* A file's times are those of the kernel's last tick, so one that seems older may be newer. */
static void test_change_in_the_tick_of_the_reading(void **state)
{
    struct stat st;
    (void)state;
    assert_int_equal(fstatat(dir, "key.pem", &st, 0), 0);
    struct timespec since = st.st_ctim;
    since.tv_nsec += 5 * 1000 * 1000;
    since.tv_sec += since.tv_nsec / (1000 * 1000 * 1000);
    since.tv_nsec %= 1000 * 1000 * 1000;
    begin(&since);
    assert_true(told());
    assert_false(told());
}

static void test_directories_are_closed(void **state)
{
    (void)state;
    int first = dup(dir), second = dup(dir);
    watch_begin(watch, first, INTERVAL_MS, &never);
    watch_begin(watch, second, INTERVAL_MS, &never);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_true(fcntl(second, F_GETFD) >= 0);
}

/* More than the tables of keys allow: those that find no room are left to SIGHUP. */
static void test_files_are_bounded(void **state)
{
    (void)state;
    begin(&never);
    for (unsigned i = 0; i < 2000; i++)
        watch_add(watch, "missing.pem");
    put("cert.pem", "another");
    assert_true(told());
}

static void test_switched_off(void **state)
{
    (void)state;
    watch_begin(watch, dup(dir), 0, &never);
    watch_add(watch, "cert.pem");
    put("cert.pem", "another");
    for (unsigned i = 0; i < 8; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(changes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_kind_of_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_waits_until_all_is_quiet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_does_not_wait_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(test_change_while_it_was_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_begun_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_change_in_the_tick_of_the_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directories_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_switched_off, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

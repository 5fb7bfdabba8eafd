/* test_log.c - JSON strings, metrics text, the line writer's bound, the outcome table. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/line_writer.h"
#include "proxy/base/log.h"
#include "proxy/base/metrics.h"
#include "proxy/base/outcome.h"

static void test_json_string(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"plain", 5, "\"plain\""},
        {"", 0, "\"\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"line\nbreak\r", 11, "\"line\\u000abreak\\u000d\""}, /* a forged second line */
        {"\0", 1, "\"\\u0000\""},
        {"\x7f", 1, "\"\\u007f\""},
        {"\xc2\x9b", 2, "\"\\u009b\""}, /* CSI: a terminal would obey */
        {"\xc2\xa0", 2, "\"\xc2\xa0\""},
        {"\xc3\xa9", 2, "\"\xc3\xa9\""},
        {"\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\""},
        {"\xc0\xaf", 2, "\"\\ufffd\\ufffd\""},            /* overlong, RFC 3629 section 10 */
        {"\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""}, /* surrogate */
        {"\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xe2\x82", 2, "\"\\ufffd\\ufffd\""}, /* cut short */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 256);
        assert_int_equal(log_json_string(&b, (struct span){cases[i].in, cases[i].len}), 0);
        assert_int_equal(buf_len(&b), strlen(cases[i].out));
        assert_memory_equal(buf_head(&b), cases[i].out, buf_len(&b));
        buf_release(&b);
    }
}

static void test_json_string_keeps_the_bound(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 8);
    assert_int_equal(log_json_string(&b, SPAN("far too long for it")), -ENOBUFS);
    buf_release(&b);
}

static void test_outcomes_are_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        const struct outcome_info *info = outcome_info((enum outcome)i);
        assert_non_null(info->token);
        assert_non_null(info->phrase);
        assert_true(strlen(info->phrase) < 80);
        assert_true(info->status == 0 || (info->status >= 400 && info->status < 600));
        /* Who gets an answer is told what to do, and every other table reads its Proxy-Status from
         * here. */
        assert_true(info->status == 0 || (info->remedy != NULL && info->proxy_status != NULL));
        for (const char *p = info->phrase; *p != '\0'; p++)
            assert_true(*p >= 0x20 && *p < 0x7f);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(info->token, outcome_info((enum outcome)k)->token);
    }
}

static void test_metrics_are_summed(void **state)
{
    static struct metrics one, two;
    struct metrics *both[] = {&one, &two};
    struct buf b;
    (void)state;
    metrics_add(&one, METRIC_ACCEPTED, 3);
    metrics_add(&two, METRIC_ACCEPTED, 4);
    metrics_add(&two, METRIC_CLOSED, 5);
    metrics_count(&one.exchanges[PROTOCOL_SCEP][OUTCOME_HOST_DENIED], 2);
    buf_init(&b, 65536);
    assert_int_equal(metrics_print(&b, both, 2), 0);
    assert_int_equal(buf_add(&b, "", 1), 0);
    assert_non_null(strstr(buf_head(&b), "\ncertferry_client_connections_total 7\n"));
    assert_non_null(strstr(buf_head(&b), "\ncertferry_client_connections 2\n"));
    assert_non_null(strstr(
        buf_head(&b), "\ncertferry_exchanges_total{class=\"scep\",outcome=\"host-denied\"} 2\n"));
    buf_release(&b);
}

static void *read_all(void *arg)
{
    static char text[1 << 20];
    size_t n = 0;
    ssize_t got;
    while ((got = read(*(int *)arg, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    return text;
}

static void test_writer_loses_nothing_that_fits(void **state)
{
    int fd[2];
    pthread_t reader;
    void *text;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &fd[0]), 0);
    struct line_writer *w = line_writer_create(fd[1], 1 << 20, NULL, NULL);
    assert_non_null(w);
    for (int i = 0; i < 5000; i++)
        line_writer_put(w, SPAN("0123456789\n"));
    assert_int_equal(line_writer_dropped(w), 0);
    line_writer_destroy(w, 5000);
    (void)close(fd[1]);
    assert_int_equal(pthread_join(reader, &text), 0);
    assert_int_equal(strlen(text), 5000 * 11);
    (void)close(fd[0]);
}

static void test_writer_drops_and_counts_when_nobody_reads(void **state)
{
    int fd[2];
    char line[1001];
    (void)state;
    memset(line, 'x', sizeof line);
    assert_int_equal(pipe(fd), 0);
    struct line_writer *w = line_writer_create(fd[1], 65536, NULL, NULL);
    for (int i = 0; i < 1000; i++)
        line_writer_put(w, (struct span){line, sizeof line});
    /* At most the pipe, one batch in the writer's hand and one in the queue have found room. */
    assert_true(line_writer_dropped(w) > 500);
    line_writer_destroy(w, 1); /* does not wait for ever */
    (void)close(fd[0]);
    (void)close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_json_string_keeps_the_bound),
        cmocka_unit_test(test_outcomes_are_whole),
        cmocka_unit_test(test_metrics_are_summed),
        cmocka_unit_test(test_writer_loses_nothing_that_fits),
        cmocka_unit_test(test_writer_drops_and_counts_when_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

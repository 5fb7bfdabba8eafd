/* test_base_faults.c - no memory, no thread, short writes: what base's modules promise holds all
 * the same. */
#include <errno.h>
#include <fcntl.h>
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
#include "tests/support/faults.h"

static char pattern[100000];

/* Grown in steps, consumed between: after a refusal what waited still waits. */
static bool buf_grows(void)
{
    struct buf b;
    size_t taken = 0, added = 0;
    bool ok = true;
    buf_init(&b, sizeof pattern);
    while (ok && added < 60000) {
        size_t len = buf_len(&b), n = 1 + added % 3000;
        int rc = buf_add(&b, pattern + added, n);
        ok = rc == 0;
        assert_int_equal(rc, ok ? 0 : -ENOMEM);
        added += ok ? n : 0;
        assert_int_equal(buf_len(&b), ok ? len + n : len);
        assert_memory_equal(buf_span(&b).ptr, pattern + taken, buf_len(&b));
        size_t away = buf_len(&b) / 3;
        buf_consume(&b, away);
        taken += away;
    }
    buf_release(&b);
    return ok;
}

/* Longer than the stack's text: one block for the text, one for the buffer. */
static bool buf_prints_long(void)
{
    struct buf b;
    buf_init(&b, sizeof pattern);
    int rc = buf_printf(&b, "%.*s", 5000, pattern);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    assert_int_equal(buf_len(&b), rc == 0 ? 5000 : 0);
    assert_memory_equal(buf_span(&b).ptr, pattern, buf_len(&b));
    buf_release(&b);
    return rc == 0;
}

static bool json_string(void)
{
    struct buf b;
    buf_init(&b, sizeof pattern);
    int rc = 0;
    for (int i = 0; rc == 0 && i < 400; i++)
        rc = log_json_string(&b, SPAN("a\"b\\c\x01\xff"));
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    buf_release(&b);
    return rc == 0;
}

static bool metrics_text(void)
{
    static struct metrics m;
    struct metrics *const workers[] = {&m};
    struct buf b;
    buf_init(&b, 1 << 20);
    m.exchanges[PROTOCOL_ACME][OUTCOME_OK] = 1;
    int rc = metrics_print(&b, workers, 1);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    buf_release(&b);
    return rc == 0;
}

static const char log_text[] = "a line of some length, so that the queue has to grow with many\n";
enum { LINE = sizeof log_text - 1, LINES = 200 };

/* All that the reader end of the pipe has until its end; every octet is of whole lines in order. */
static size_t lines_in(int fd)
{
    char got[4096];
    size_t at = 0;
    for (;;) {
        ssize_t n = read(fd, got, sizeof got);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        assert_true(n >= 0);
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(got[i], log_text[at++ % LINE]);
    }
    assert_int_equal(at % LINE, 0);
    return at / LINE;
}

/* Lines that find no memory are dropped and counted; the others arrive whole. */
static bool line_writer_writes(void)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct line_writer *w = line_writer_create(fd[1], 1 << 20, NULL, NULL);
    uint64_t dropped = 0;
    for (int i = 0; w != NULL && i < LINES; i++)
        line_writer_put(w, (struct span){log_text, LINE});
    if (w != NULL) {
        dropped = line_writer_dropped(w);
        line_writer_destroy(w, 20000);
    }
    (void)close(fd[1]);
    assert_int_equal(lines_in(fd[0]), w != NULL ? LINES - dropped : 0);
    (void)close(fd[0]);
    assert_true(faults_struck() || (w != NULL && dropped == 0));
    return w != NULL && dropped == 0;
}

/* The same through a pipe that takes little, is full at first or interrupts. */
static bool line_writer_short(void)
{
    static const struct faults_io plans[] = {
        {.most = 1}, {.steps = 12, .pattern = 0xe4b1e4}, {.steps = 6, .pattern = 0xaff, .most = 7}};
    bool done = true;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        faults_io_set(&plans[i]);
        done = line_writer_writes() && done;
        assert_true(faults_struck() || faults_io_struck() > 0);
        faults_io_set(NULL);
    }
    return done;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"buf grows", buf_grows, false},
        {"buf_printf of a long text", buf_prints_long, false},
        {"log_json_string", json_string, false},
        {"metrics_print", metrics_text, false},
        {"line_writer", line_writer_writes, false},
        {"line_writer, short writes", line_writer_short, false},
    };
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)('!' + (i * 2654435761U >> 13) % 90);
    return faults_main("base_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

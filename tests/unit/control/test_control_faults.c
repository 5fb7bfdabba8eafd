/* test_control_faults.c - no memory while an own page is made: OUTCOME_NO_MEMORY and nothing
 * written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/control/control.h"
#include "tests/support/faults.h"

static const char *not_ready(void *arg)
{
    (void)arg;
    return "draining";
}

static int tell_document(void *arg, struct control_document *doc)
{
    static char text[5000];
    (void)arg;
    memset(text, 'x', sizeof text);
    *doc = (struct control_document){{text, sizeof text}, "\"tag\"", 150, "e30..c2ln"};
    return 0;
}

static int tell_metrics(void *arg, struct buf *out)
{
    int rc = 0;
    (void)arg;
    for (int i = 0; rc == 0 && i < 300; i++)
        rc = buf_add_str(out, "certferry_something_total 1\n");
    return rc;
}

static const struct control_facts facts = {NULL,          not_ready,    tell_document,
                                           tell_document, tell_metrics, tell_metrics};

static bool page(const char *path)
{
    const struct head_limits limits = {65536, 32768, 100};
    char text[256];
    struct head head;
    struct buf out;
    size_t scanned = 0;
    unsigned status = 0;
    const char *operation = "";
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: p\r\n\r\n", path);
    assert_int_equal(head_parse(&head, HEAD_REQUEST, text, (size_t)n, &limits, &scanned, NULL),
                     HEAD_OK);
    struct control_request r = {&head, head.target, true, false, 1795230463};
    buf_init(&out, CONTROL_ANSWER_MAX);
    enum outcome o = control_answer(&out, &facts, &r, &status, &operation);
    assert_int_equal(o, faults_struck() ? OUTCOME_NO_MEMORY : OUTCOME_OK);
    if (o == OUTCOME_OK)
        assert_memory_equal(buf_head(&out), "HTTP/1.1 ", 9);
    else
        assert_int_equal(buf_len(&out), 0);
    buf_release(&out);
    return o == OUTCOME_OK;
}

static bool healthz(void)
{
    return page("/healthz");
}

static bool readyz(void)
{
    return page("/readyz");
}

static bool pvd(void)
{
    return page("/.well-known/pvd");
}

static bool pac(void)
{
    return page("/proxy.pac?x");
}

static bool metrics(void)
{
    return page("/metrics");
}

static bool status_page(void)
{
    return page("/");
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"/healthz", healthz, false},     {"/readyz", readyz, false},
        {"/.well-known/pvd", pvd, false}, {"/proxy.pac", pac, false},
        {"/metrics", metrics, false},     {"/", status_page, false},
    };
    return faults_main("control_faults", scenarios, sizeof scenarios / sizeof *scenarios);
}

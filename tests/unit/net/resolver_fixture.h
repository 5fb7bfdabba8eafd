/*
 * resolver_fixture.h - a loop with a fake name server and a resolver that asks it; look-ups that
 * remember what came.
 */
#ifndef CERTFERRY_TESTS_RESOLVER_FIXTURE_H
#define CERTFERRY_TESTS_RESOLVER_FIXTURE_H

#include "proxy/net/resolver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/net/fake_dns.h"

/* Of a test before it gives up; none waits for it when all is well. */
enum { PATIENCE_MS = 20000 };

static const struct resolver_options defaults = {
    .timeout_ms = 3000,
    .cache_entries = 16,
    .cache_max_ms = 600000,
    .cache_failure_ms = 5000,
};

struct fixture {
    uv_loop_t loop;
    uv_timer_t patience;
    struct fake_dns dns;
    struct resolver *r;
};

/* One look-up and what came of it. */
struct look {
    struct fixture *f;
    struct resolver_ticket *ticket;
    unsigned calls;
    uint64_t asked_ms, took_ms;
    struct resolved answer;
    void (*then)(struct look *look); /* inside the callback */
    struct look *other;
};

static inline void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("no callback within %d ms", PATIENCE_MS);
}

static inline void setup_without_resolver(struct fixture *f, struct fake_rule *rules, size_t count)
{
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->patience);
    uv_timer_start(&f->patience, on_patience, PATIENCE_MS, 0);
    uv_unref((uv_handle_t *)&f->patience);
    fake_start(&f->dns, &f->loop, rules, count);
    f->r = NULL;
}

static inline void setup(struct fixture *f, struct fake_rule *rules, size_t count,
                         const struct resolver_options *options)
{
    struct resolver_options o = *options;
    setup_without_resolver(f, rules, count);
    if (o.servers == NULL)
        o.servers = f->dns.servers;
    assert_int_equal(resolver_create(&f->r, &f->loop, &o), 0);
}

#define SETUP(f, rules, options) setup((f), (rules), sizeof(rules) / sizeof(rules)[0], (options))

static inline void teardown(struct fixture *f)
{
    if (f->r != NULL)
        resolver_destroy(f->r);
    fake_stop(&f->dns);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static inline void on_looked_up(void *arg, const struct resolved *answer)
{
    struct look *look = arg;
    look->calls++;
    look->ticket = NULL;
    look->took_ms = uv_now(&look->f->loop) - look->asked_ms;
    look->answer = *answer;
    if (look->then != NULL)
        look->then(look);
}

static inline void look_up(struct fixture *f, struct look *look, const char *name)
{
    look->f = f;
    look->calls = 0;
    uv_update_time(&f->loop);
    look->asked_ms = uv_now(&f->loop);
    look->ticket = resolver_lookup(f->r, name, on_looked_up, look);
    assert_non_null(look->ticket);
    assert_int_equal(look->calls, 0);
}

static inline void await(struct fixture *f, const struct look *look)
{
    while (look->calls == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(look->calls, 1);
}

static inline void look_up_now(struct fixture *f, struct look *look, const char *name)
{
    look_up(f, look, name);
    await(f, look);
}

static inline void on_waited(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Lets the loop run so long. */
static inline void pass(struct fixture *f, uint64_t ms)
{
    uv_timer_t timer;
    bool over = false;
    uv_timer_init(&f->loop, &timer);
    timer.data = &over;
    uv_update_time(&f->loop);
    uv_timer_start(&timer, on_waited, ms, 0);
    while (!over)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static inline void assert_address(const struct resolved *answer, size_t i, const char *text)
{
    char out[ADDR_TEXT_MAX];
    assert_true(i < answer->count);
    assert_string_equal(addr_print(&answer->address[i], out), text);
    assert_int_equal(addr_port(&answer->address[i]), 0);
}

#endif

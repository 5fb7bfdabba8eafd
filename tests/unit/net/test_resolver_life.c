/* Cancelling, destroying and reloading in every state; bounds; threads. */
#include "tests/unit/net/resolver_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

/* c-ares tells questions apart by 16 bits and searches for a free one without end: it must not come
 * to that. */
static void test_bound_of_queries(void **state)
{
    (void)state;
    enum { MANY = 4096 };
    struct fake_rule rules[] = {{.name = "x.test", .type = TYPE_A}};
    struct resolver_options options = defaults;
    struct fixture f;
    struct look *looks = calloc(MANY + 1, sizeof *looks), again = {0};
    char name[32];
    assert_non_null(looks);
    options.timeout_ms = 15000;
    SETUP(&f, rules, &options);
    (void)uv_udp_recv_stop(&f.dns.udp);
    for (size_t i = 0; i <= MANY; i++) {
        (void)snprintf(name, sizeof name, "n%zu.test", i);
        look_up(&f, &looks[i], name);
    }
    await(&f, &looks[MANY]);
    assert_int_equal(looks[MANY].answer.outcome, OUTCOME_DNS_FAILED);
    assert_int_equal(looks[0].calls, 0);
    look_up(&f, &again, "n0.test"); /* joining still goes */
    pass(&f, 10);
    assert_int_equal(again.calls, 0);
    resolver_destroy(f.r);
    f.r = NULL;
    teardown(&f);
    free(looks);
}

/* ---- cancelling, from anywhere ---- */

static struct fake_rule quick[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60},
                                   {.name = "b.test", .type = TYPE_A, .count = 1, .ttl = 60}};

static void test_cancel(void **state)
{
    (void)state;
    struct resolved cached;
    /* Which of three joined look-ups are cancelled: all subsets, forwards and backwards. */
    for (unsigned set = 0; set < 16; set++) {
        struct fixture f;
        struct look looks[3] = {0};
        SETUP(&f, quick, &defaults);
        for (size_t i = 0; i < 3; i++)
            look_up(&f, &looks[i], "ca.test");
        for (size_t k = 0; k < 3; k++) {
            size_t i = set & 8 ? 2 - k : k;
            if (set >> i & 1)
                resolver_cancel(looks[i].ticket);
        }
        while (!resolver_cached(f.r, "ca.test", &cached)) /* the query itself goes on */
            uv_run(&f.loop, UV_RUN_ONCE);
        pass(&f, 5);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(looks[i].calls, !(set >> i & 1));
        teardown(&f);
    }
}

static void cancel_other(struct look *look)
{
    if (look->other->ticket != NULL)
        resolver_cancel(look->other->ticket);
    look->other->ticket = NULL;
}

static void test_cancel_inside(void **state)
{
    (void)state;
    struct fixture f;
    struct look first = {.then = cancel_other}, second = {0}, third = {0};
    SETUP(&f, quick, &defaults);
    first.other = &second;
    look_up(&f, &first, "ca.test");
    look_up(&f, &second, "ca.test");
    look_up(&f, &third, "ca.test");
    await(&f, &third);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    teardown(&f);
}

/* A look-up that is answered, but not yet told. */
static void test_cancel_ready(void **state)
{
    (void)state;
    struct fixture f;
    struct look look = {0};
    SETUP(&f, quick, &defaults);
    look_up_now(&f, &look, "ca.test");
    look_up(&f, &look, "ca.test");
    resolver_cancel(look.ticket);
    pass(&f, 5);
    assert_int_equal(look.calls, 0);
    teardown(&f);
}

static void look_up_other(struct look *look)
{
    look_up(look->f, look->other, "ca.test"); /* asserts that nothing is called inside */
}

static void test_look_up_inside(void **state)
{
    (void)state;
    struct fixture f;
    struct look first = {.then = look_up_other}, second = {.then = look_up_other}, third = {0};
    SETUP(&f, quick, &defaults);
    first.other = &second;
    second.other = &third;
    look_up_now(&f, &first, "b.test");
    await(&f, &third);
    assert_int_equal(second.calls, 1);
    assert_int_equal(quick[0].asked > 0, 1);
    teardown(&f);
}

/* ---- the end and new beginnings ---- */

static void destroy(struct look *look)
{
    resolver_destroy(look->f->r);
    look->f->r = NULL;
}

static void test_destroy_inside(void **state)
{
    (void)state;
    struct fixture f;
    struct look looks[3] = {{.then = destroy}}, other = {0};
    SETUP(&f, quick, &defaults);
    for (size_t i = 0; i < 3; i++)
        look_up(&f, &looks[i], "ca.test");
    look_up(&f, &other, "nobody.test");
    await(&f, &looks[0]);
    pass(&f, 5);
    assert_int_equal(looks[1].calls + looks[2].calls + other.calls, 0);
    teardown(&f);
}

/* With look-ups in every state: asking, delayed, ready, late. */
static void test_destroy_in_flight(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "half.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "half.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
        {.name = "late.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "late.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
        {.name = "silent.test", .type = TYPE_A, .twist = TWIST_SILENT},
        {.name = "big.test", .type = TYPE_A, .count = 100, .ttl = 60},
    };
    for (unsigned turns = 0; turns < 8; turns++) {
        struct fixture f;
        struct look late = {0}, ready = {0}, half = {0}, silent = {0}, big = {0};
        SETUP(&f, rules, &defaults);
        look_up_now(&f, &late, "late.test");
        look_up(&f, &half, "half.test");
        look_up(&f, &silent, "silent.test");
        look_up(&f, &big, "big.test");
        for (unsigned i = 0; i < turns; i++)
            uv_run(&f.loop, UV_RUN_NOWAIT);
        look_up(&f, &ready, "late.test");
        resolver_destroy(f.r);
        f.r = NULL;
        pass(&f, 20);
        assert_int_equal(ready.calls + half.calls + silent.calls, 0);
        teardown(&f);
    }
}

/* With another server: what is under way is asked there, what was known is forgotten. */
static void test_reload(void **state)
{
    (void)state;
    struct fake_rule silent[] = {
        {.name = "known.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "ca.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
        {.name = "late.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "late.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
    };
    struct fake_rule good[] = {{.name = "ca.test", .type = TYPE_A, .count = 3, .ttl = 60}};
    struct resolver_options options = defaults;
    struct resolved cached;
    struct fixture f;
    struct fake_dns second;
    struct look look = {0}, known = {0}, joined = {0}, ready = {0};
    SETUP(&f, silent, &defaults);
    fake_start(&second, &f.loop, good, 1);
    look_up_now(&f, &known, "known.test");
    look_up_now(&f, &known, "late.test");
    look_up(&f, &look, "ca.test");
    while (silent[1].asked == 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    pass(&f, 5); /* the A of the first server is known by now, its AAAA awaited */
    look_up(&f, &ready, "known.test");
    options.servers = second.servers;
    assert_int_equal(resolver_reload(f.r, &options), 0);
    assert_false(resolver_cached(f.r, "known.test", &cached));
    look_up(&f, &joined, "ca.test");
    await(&f, &look);
    await(&f, &joined);
    await(&f, &ready);
    assert_int_equal(look.answer.count, 3);
    assert_int_equal(joined.answer.count, 3);
    assert_int_equal(ready.answer.count, 1);
    assert_int_equal(good[0].asked, 1);
    fake_stop(&second);
    teardown(&f);
}

static void reload(struct look *look)
{
    struct resolver_options options = defaults;
    options.servers = look->f->dns.servers;
    assert_int_equal(resolver_reload(look->f->r, &options), 0);
}

static void test_reload_inside(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60},
                                {.name = "ca.test", .type = TYPE_AAAA, .twist = TWIST_SILENT}};
    struct fixture f;
    struct look first = {.then = reload}, second = {0};
    SETUP(&f, rules, &defaults);
    look_up(&f, &first, "ca.test");
    look_up(&f, &second, "ca.test");
    await(&f, &second);
    assert_int_equal(first.calls, 1);
    pass(&f, 5);
    teardown(&f);
}

static void test_bad_servers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "127.0.0.1,",
        ",127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:",
        "127.0.0.1:053",
        "127.0.0.1:5x",
        "127.1",
        "0x7f.0.0.1",
        "[::1",
        "::1]",
        "[::1]:",
        "[::1]x",
        "[127.0.0.1]:53",
        "fe80::1%lo",
        "dns://127.0.0.1",
        "127.0.0.1 127.0.0.2",
        " ",
        "[]:53",
        ":53",
    };
    static const char *const good[] = {
        "127.0.0.1", " 127.0.0.1 ,\t127.0.0.2:5353", "::1", "[::1]", "[::1]:53,127.0.0.1:53", "",
    };
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60}};
    struct fixture f;
    struct look look = {0};
    struct resolver *other;
    SETUP(&f, rules, &defaults);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct resolver_options options = defaults;
        options.servers = bad[i];
        if (resolver_create(&other, &f.loop, &options) != UV_EINVAL)
            fail_msg("\"%s\" passed", bad[i]);
        assert_int_equal(resolver_reload(f.r, &options), UV_EINVAL);
    }
    look_up_now(&f, &look, "ca.test"); /* the old servers stay */
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct resolver_options options = defaults;
        options.servers = good[i];
        if (resolver_create(&other, &f.loop, &options) != 0)
            fail_msg("\"%s\" refused", good[i]);
        resolver_destroy(other);
    }
    teardown(&f);
}

static void test_no_descriptors(void **state)
{
    (void)state;
    struct rlimit before, none;
    struct fixture f;
    struct look look = {0};
    struct resolver *other;
    SETUP(&f, quick, &defaults);
    pass(&f, 1); /* the loop opens its own now */
    int next = dup(0);
    assert_true(next >= 0);
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    look_up_now(&f, &look, "ca.test");
    if (resolver_create(&other, &f.loop, &defaults) == 0)
        resolver_destroy(other);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(look.answer.outcome, OUTCOME_DNS_FAILED);
    assert_true(look.took_ms < 2900);
    look_up_now(&f, &look, "b.test"); /* and all is well again */
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    teardown(&f);
}

struct worker {
    pthread_barrier_t *start;
    struct fixture f;
    struct resolver_options options;
    bool all_well;
};

/* No assertions here: cmocka's leave by longjmp, which must not cross threads. */
static void *work(void *arg)
{
    struct worker *w = arg;
    (void)pthread_barrier_wait(w->start);
    w->all_well = true;
    for (unsigned i = 0; i < 20 && w->all_well; i++) {
        struct look look = {.f = &w->f};
        w->all_well = resolver_create(&w->f.r, &w->f.loop, &w->options) == 0;
        if (!w->all_well)
            break;
        w->all_well = resolver_lookup(w->f.r, "ca.test", on_looked_up, &look) != NULL;
        while (w->all_well && look.calls == 0)
            uv_run(&w->f.loop, UV_RUN_ONCE);
        w->all_well = w->all_well && look.answer.outcome == OUTCOME_OK;
        resolver_destroy(w->f.r);
        w->f.r = NULL;
    }
    return NULL;
}

/*
 * Workers start at once: the library below is initialised once. The loops are made and ended
 * outside, as libuv closes descriptors past ThreadSanitizer's knowledge and it would take the next
 * owner's use for a race.
 */
static void test_threads(void **state)
{
    (void)state;
    enum { WORKERS = 4 };
    struct fake_rule rules[WORKERS];
    struct worker workers[WORKERS];
    pthread_barrier_t start;
    pthread_t threads[WORKERS];
    assert_int_equal(pthread_barrier_init(&start, NULL, WORKERS), 0);
    for (size_t i = 0; i < WORKERS; i++) {
        rules[i] = (struct fake_rule){.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60};
        setup_without_resolver(&workers[i].f, &rules[i], 1);
        workers[i].start = &start;
        workers[i].options = defaults;
        workers[i].options.servers = workers[i].f.dns.servers;
    }
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < WORKERS; i++) {
        assert_true(workers[i].all_well);
        teardown(&workers[i].f);
    }
    (void)pthread_barrier_destroy(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads), /* first: the library is not initialised yet */
        cmocka_unit_test(test_bound_of_queries),  cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_inside),     cmocka_unit_test(test_cancel_ready),
        cmocka_unit_test(test_look_up_inside),    cmocka_unit_test(test_destroy_inside),
        cmocka_unit_test(test_destroy_in_flight), cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_inside),     cmocka_unit_test(test_bad_servers),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "proxy/net/resolver.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "tests/unit/net/fake_dns.h"

enum {
    PATIENCE_MS = 20000
}; /* of a test before it gives up; no test waits for it when all is well */

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

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("no callback within %d ms", PATIENCE_MS);
}

static void setup(struct fixture *f, struct fake_rule *rules, size_t count,
                  const struct resolver_options *options)
{
    struct resolver_options o = *options;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->patience);
    uv_timer_start(&f->patience, on_patience, PATIENCE_MS, 0);
    uv_unref((uv_handle_t *)&f->patience);
    fake_start(&f->dns, &f->loop, rules, count);
    if (o.servers == NULL)
        o.servers = f->dns.servers;
    assert_int_equal(resolver_create(&f->r, &f->loop, &o), 0);
}

#define SETUP(f, rules, options) setup((f), (rules), sizeof(rules) / sizeof(rules)[0], (options))

static void teardown(struct fixture *f)
{
    if (f->r != NULL)
        resolver_destroy(f->r);
    fake_stop(&f->dns);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void on_looked_up(void *arg, const struct resolved *answer)
{
    struct look *look = arg;
    look->calls++;
    look->ticket = NULL;
    look->took_ms = uv_now(&look->f->loop) - look->asked_ms;
    look->answer = *answer;
    if (look->then != NULL)
        look->then(look);
}

static void look_up(struct fixture *f, struct look *look, const char *name)
{
    look->f = f;
    look->calls = 0;
    uv_update_time(&f->loop);
    look->asked_ms = uv_now(&f->loop);
    look->ticket = resolver_lookup(f->r, name, on_looked_up, look);
    assert_non_null(look->ticket);
    assert_int_equal(look->calls, 0);
}

static void await(struct fixture *f, const struct look *look)
{
    while (look->calls == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(look->calls, 1);
}

static void look_up_now(struct fixture *f, struct look *look, const char *name)
{
    look_up(f, look, name);
    await(f, look);
}

static void on_waited(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Lets the loop run so long. */
static void pass(struct fixture *f, uint64_t ms)
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

static void assert_address(const struct resolved *answer, size_t i, const char *text)
{
    char out[ADDR_TEXT_MAX];
    assert_true(i < answer->count);
    assert_string_equal(addr_print(&answer->address[i], out), text);
    assert_int_equal(addr_port(&answer->address[i]), 0);
}

/* ---- what servers say ---- */

struct said {
    const char *label;
    struct fake_rule a, aaaa;
    enum outcome outcome;
    size_t v6, v4;
};

#define ADDRESSES(n)                                                                               \
    {                                                                                              \
        .count = (n), .ttl = 60                                                                    \
    }
#define RCODE(r)                                                                                   \
    {                                                                                              \
        .rcode = (r)                                                                               \
    }
#define SILENT                                                                                     \
    {                                                                                              \
        .twist = TWIST_SILENT                                                                      \
    }
#define TWISTED(t)                                                                                 \
    {                                                                                              \
        .count = 1, .ttl = 60, .twist = (t), .delay_ms = 20                                        \
    }

static const struct said said[] = {
    {"both", ADDRESSES(2), ADDRESSES(1), OUTCOME_OK, 1, 2},
    {"A, no AAAA", ADDRESSES(2), ADDRESSES(0), OUTCOME_OK, 0, 2},
    {"AAAA, no A", ADDRESSES(0), ADDRESSES(3), OUTCOME_OK, 3, 0},
    {"A, AAAA fails", ADDRESSES(1), RCODE(RCODE_SERVFAIL), OUTCOME_OK, 0, 1},
    {"A, AAAA refused", ADDRESSES(1), RCODE(RCODE_REFUSED), OUTCOME_OK, 0, 1},
    {"AAAA, A fails", RCODE(RCODE_SERVFAIL), ADDRESSES(1), OUTCOME_OK, 1, 0},
    {"NXDOMAIN to AAAA only, RFC 4074 4.2", ADDRESSES(1), RCODE(RCODE_NXDOMAIN), OUTCOME_OK, 0, 1},
    {"NXDOMAIN", RCODE(RCODE_NXDOMAIN), RCODE(RCODE_NXDOMAIN), OUTCOME_DNS_NOT_FOUND, 0, 0},
    {"no data", ADDRESSES(0), ADDRESSES(0), OUTCOME_DNS_NOT_FOUND, 0, 0},
    {"SERVFAIL", RCODE(RCODE_SERVFAIL), RCODE(RCODE_SERVFAIL), OUTCOME_DNS_FAILED, 0, 0},
    {"REFUSED", RCODE(RCODE_REFUSED), RCODE(RCODE_REFUSED), OUTCOME_DNS_FAILED, 0, 0},
    {"no A, AAAA fails", ADDRESSES(0), RCODE(RCODE_SERVFAIL), OUTCOME_DNS_FAILED, 0, 0},
    {"silence", SILENT, SILENT, OUTCOME_DNS_TIMEOUT, 0, 0},
    {"no A, AAAA silent", ADDRESSES(0), SILENT, OUTCOME_DNS_TIMEOUT, 0, 0},
    {"A fails, AAAA silent", RCODE(RCODE_SERVFAIL), SILENT, OUTCOME_DNS_FAILED, 0, 0},
    {"CNAME", {.count = 2, .ttl = 60, .cname = "edge.cdn.test"}, ADDRESSES(0), OUTCOME_OK, 0, 2},
    {"CNAME to nothing", {.cname = "edge.cdn.test"}, ADDRESSES(0), OUTCOME_DNS_NOT_FOUND, 0, 0},
    {"100 addresses", ADDRESSES(100), ADDRESSES(0), OUTCOME_OK, 0, RESOLVER_ADDRESSES_MAX},
    {"100 of each", ADDRESSES(100), ADDRESSES(100), OUTCOME_OK, 32, 32},
    {"forged id, RFC 5452 3", TWISTED(TWIST_WRONG_ID), ADDRESSES(0), OUTCOME_OK, 0, 1},
    {"forged question, RFC 5452 9.1", TWISTED(TWIST_WRONG_QUESTION), ADDRESSES(0), OUTCOME_OK, 0,
     1},
    {"garbage", TWISTED(TWIST_GARBAGE), ADDRESSES(0), OUTCOME_OK, 0, 1},
};

static void assert_families(const struct said *s, const struct resolved *answer)
{
    size_t v6 = 0, v4 = 0;
    char text[ADDR_TEXT_MAX], want[ADDR_TEXT_MAX];
    for (size_t i = 0; i < answer->count; i++) {
        bool is_v6 = answer->address[i].sa.sa_family == AF_INET6;
        /* In turns, IPv6 first, until one family is used up. */
        if (v6 < s->v6 && v4 < s->v4)
            assert_int_equal(is_v6, v6 == v4);
        v6 += is_v6;
        v4 += !is_v6;
        (void)snprintf(want, sizeof want, is_v6 ? "2001:db8::%zx" : "198.51.100.%zu",
                       is_v6 ? v6 : v4);
        assert_string_equal(addr_print(&answer->address[i], text), want);
    }
    if (v6 != s->v6 || v4 != s->v4)
        fail_msg("%s: %zu and %zu addresses", s->label, v6, v4);
}

static void test_answers(void **state)
{
    (void)state;
    struct resolver_options options = defaults;
    options.timeout_ms = 500;
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        const struct said *s = &said[i];
        struct fake_rule rules[] = {s->a, s->aaaa};
        struct fixture f;
        struct look look = {0};
        rules[0].name = rules[1].name = "ca.test";
        rules[0].type = TYPE_A;
        rules[1].type = TYPE_AAAA;
        SETUP(&f, rules, &options);
        look_up_now(&f, &look, "ca.test");
        if (look.answer.outcome != s->outcome)
            fail_msg("%s: %s", s->label, outcome_info(look.answer.outcome)->token);
        assert_families(s, &look.answer);
        teardown(&f);
    }
}

static void test_large_answer_by_tcp(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 60, .ttl = 60}};
    struct fixture f;
    struct look look = {0};
    SETUP(&f, rules, &defaults);
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.count, 60);
    assert_int_equal(f.dns.asked_by_tcp, 1);
    teardown(&f);
}

/* ---- time ---- */

static void test_late_half(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "ca.test", .type = TYPE_AAAA, .count = 1, .ttl = 60, .delay_ms = 600},
    };
    struct resolver_options options = defaults;
    struct fixture f;
    struct look look = {0};
    struct resolved cached;
    options.timeout_ms = 9000; /* no second try within the delay */
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    assert_int_equal(look.answer.count, 1);
    assert_address(&look.answer, 0, "198.51.100.1");
    assert_in_range(look.took_ms, 50, 590);
    /* What was known is in the cache at once, the rest joins it when it comes. */
    assert_true(resolver_cached(f.r, "ca.test", &cached));
    assert_int_equal(cached.count, 1);
    pass(&f, 700);
    assert_true(resolver_cached(f.r, "ca.test", &cached));
    assert_int_equal(cached.count, 2);
    assert_address(&cached, 0, "2001:db8::1");
    assert_address(&cached, 1, "198.51.100.1");
    assert_int_equal(rules[0].asked, 1);
    assert_int_equal(rules[1].asked, 1);
    teardown(&f);
}

static void test_silent_half(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "four.test", .type = TYPE_A, .count = 1, .ttl = 60},
        {.name = "four.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
        {.name = "six.test", .type = TYPE_A, .twist = TWIST_SILENT},
        {.name = "six.test", .type = TYPE_AAAA, .count = 1, .ttl = 60},
    };
    struct fixture f;
    struct look four = {0}, six = {0};
    SETUP(&f, rules, &defaults);
    look_up(&f, &four, "four.test");
    look_up(&f, &six, "six.test");
    await(&f, &four);
    await(&f, &six);
    assert_in_range(four.took_ms, 50, 1500);
    assert_in_range(six.took_ms, 50, 1500);
    assert_address(&four.answer, 0, "198.51.100.1");
    assert_address(&six.answer, 0, "2001:db8::1");
    teardown(&f); /* with both late halves under way */
}

static void test_hard_end(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "ca.test", .type = TYPE_A, .twist = TWIST_SILENT},
        {.name = "ca.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
    };
    struct resolver_options options = defaults;
    struct resolver_counters counters;
    struct resolved cached;
    struct fixture f;
    struct fake_dns more[3];
    struct look look = {0};
    char servers[160];
    SETUP(&f, rules, &defaults);
    for (size_t i = 0; i < 3; i++)
        fake_start(&more[i], &f.loop, rules, 2);
    (void)snprintf(servers, sizeof servers, "%s,%s,%s,%s", f.dns.servers, more[0].servers,
                   more[1].servers, more[2].servers);
    options.servers = servers;
    options.timeout_ms = 900; /* with four servers c-ares has tries left after that */
    assert_int_equal(resolver_reload(f.r, &options), 0);
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.outcome, OUTCOME_DNS_TIMEOUT);
    assert_int_equal(look.answer.count, 0);
    assert_in_range(look.took_ms, 900, 2900);
    assert_true(resolver_cached(f.r, "ca.test", &cached));
    assert_int_equal(cached.outcome, OUTCOME_DNS_TIMEOUT);
    resolver_counters(f.r, &counters);
    assert_int_equal(counters.timeouts, 1);
    assert_int_equal(counters.failures, 0);
    /* The query goes on, and what it finds replaces the failure. */
    rules[0].twist = TWIST_NONE;
    rules[0].count = 1;
    rules[0].ttl = 60;
    while (resolver_cached(f.r, "ca.test", &cached) && cached.outcome != OUTCOME_OK)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_int_equal(cached.outcome, OUTCOME_OK);
    assert_address(&cached, 0, "198.51.100.1");
    for (size_t i = 0; i < 3; i++)
        fake_stop(&more[i]);
    teardown(&f);
}

/* Whatever c-ares thinks of its tries. */
static void test_asks_until_the_end(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "ca.test", .type = TYPE_A, .twist = TWIST_SILENT},
        {.name = "ca.test", .type = TYPE_AAAA, .twist = TWIST_SILENT},
    };
    struct resolver_options options = defaults;
    struct fixture f;
    struct look look = {0};
    options.timeout_ms = 2500;
    SETUP(&f, rules, &options);
    look_up(&f, &look, "ca.test");
    pass(&f, 1600); /* both tries of both versions of c-ares are over by now */
    assert_int_equal(look.calls, 0);
    rules[0].twist = rules[1].twist = TWIST_NONE;
    rules[0].count = 1;
    await(&f, &look);
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    assert_true(look.took_ms < 2500);
    teardown(&f);
}

static void test_dead_first_server(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60}};
    struct fake_rule silent[] = {{.name = "ca.test", .type = TYPE_A, .twist = TWIST_SILENT},
                                 {.name = "ca.test", .type = TYPE_AAAA, .twist = TWIST_SILENT}};
    struct fixture f;
    struct fake_dns first;
    struct look look = {0};
    char servers[80];
    SETUP(&f, rules, &defaults);
    fake_start(&first, &f.loop, silent, 2);
    struct resolver_options options = defaults;
    (void)snprintf(servers, sizeof servers, "%s,%s", first.servers, f.dns.servers);
    options.servers = servers;
    assert_int_equal(resolver_reload(f.r, &options), 0);
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    assert_true(look.took_ms < 3000);
    fake_stop(&first);
    teardown(&f);
}

/* Nobody listens there: known by ICMP at once. */
static void test_no_server(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A}};
    struct resolver_options options = defaults;
    struct fixture f;
    struct look look = {0};
    char servers[80];
    int udp, tcp;
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%u", (unsigned)fake_bind(&udp, &tcp));
    (void)close(udp);
    (void)close(tcp);
    options.servers = servers;
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.outcome, OUTCOME_DNS_FAILED);
    assert_true(look.took_ms < 2900);
    teardown(&f);
}

/* ---- names that need no server ---- */

static void test_localhost(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "localhost", .type = TYPE_A, .count = 1, .ttl = 60}};
    struct resolver_options options = defaults;
    struct resolved cached;
    struct fixture f;
    struct look look = {0};
    bool found = false;
    char text[ADDR_TEXT_MAX];
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "localhost");
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    for (size_t i = 0; i < look.answer.count; i++)
        found = found || strcmp(addr_print(&look.answer.address[i], text), "127.0.0.1") == 0;
    assert_true(found);
    assert_true(resolver_cached(f.r, "localhost", &cached));
    assert_int_equal(f.dns.asked_in_all, 0);
    teardown(&f);
}

/* The first name of an IPv4 line of the hosts file, other than localhost, that has no IPv6 line. */
static bool hosts_name(char name[256], char address[64])
{
    char line[1024], other_address[64], other[256];
    FILE *file = fopen("/etc/hosts", "re");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = sscanf(line, "%63[0-9.] %255[a-z0-9.-]", address, name) == 2 &&
                strcmp(name, "localhost") != 0;
    if (found)
        rewind(file);
    while (found && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%63s %255s", other_address, other) == 2 && strcmp(other, name) == 0)
            found = strcmp(address, other_address) == 0;
    }
    if (file != NULL)
        (void)fclose(file);
    return found;
}

/* An operator pins a name there: DNS may not add to it, not even the other family. */
static void test_hosts_file(void **state)
{
    (void)state;
    char name[256], address[64];
    if (!hosts_name(name, address))
        skip();
    struct fake_rule rules[] = {{.name = name, .type = TYPE_A, .count = 1, .ttl = 60},
                                {.name = name, .type = TYPE_AAAA, .count = 1, .ttl = 60}};
    struct fixture f;
    struct look look = {0};
    SETUP(&f, rules, &defaults);
    look_up_now(&f, &look, name);
    assert_int_equal(look.answer.outcome, OUTCOME_OK);
    for (size_t i = 0; i < look.answer.count; i++)
        assert_address(&look.answer, i, address);
    assert_int_equal(f.dns.asked_in_all, 0);
    teardown(&f);
}

/* No search domain is ever added (1.18 does so in spite of its own flag). */
static void test_no_search(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "single.search.test", .type = TYPE_A, .count = 1}};
    struct fixture f;
    struct look look = {0};
    assert_int_equal(setenv("LOCALDOMAIN", "search.test", 1), 0);
    SETUP(&f, rules, &defaults);
    look_up_now(&f, &look, "single");
    assert_int_equal(unsetenv("LOCALDOMAIN"), 0);
    assert_int_equal(look.answer.outcome, OUTCOME_DNS_NOT_FOUND);
    assert_int_equal(f.dns.asked_in_all, 2);
    assert_int_equal(rules[0].asked, 0);
    teardown(&f);
}

/* ---- joining and the cache ---- */

static void test_join(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60, .delay_ms = 30},
        {.name = "ca.test", .type = TYPE_AAAA, .count = 1, .ttl = 60, .delay_ms = 30},
    };
    struct resolver_counters counters;
    struct fixture f;
    struct look looks[5] = {0};
    SETUP(&f, rules, &defaults);
    for (size_t i = 0; i < 4; i++)
        look_up(&f, &looks[i], "ca.test");
    for (size_t i = 0; i < 4; i++) {
        await(&f, &looks[i]);
        assert_int_equal(looks[i].answer.count, 2);
    }
    look_up_now(&f, &looks[4], "ca.test"); /* from the cache, later all the same */
    assert_int_equal(looks[4].answer.count, 2);
    assert_address(&looks[4].answer, 0, "2001:db8::1");
    assert_int_equal(rules[0].asked, 1);
    assert_int_equal(rules[1].asked, 1);
    resolver_counters(f.r, &counters);
    assert_int_equal(counters.lookups, 5);
    assert_int_equal(counters.cache_hits, 1);
    assert_int_equal(counters.cached, 1);
    teardown(&f);
}

static void test_expiry(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "zero.test", .type = TYPE_A, .count = 1, .ttl = 0},
        {.name = "one.test", .type = TYPE_A, .count = 1, .ttl = 1},
        {.name = "long.test", .type = TYPE_A, .count = 1, .ttl = 3600},
        {.name = "top-bit.test", .type = TYPE_A, .count = 1, .ttl = 0xffffffff},
    };
    struct resolver_options options = defaults;
    struct resolved cached;
    struct fixture f;
    struct look looks[4] = {0};
    options.cache_failure_ms = 100;
    SETUP(&f, rules, &options);
    for (size_t i = 0; i < 4; i++)
        look_up(&f, &looks[i], rules[i].name);
    for (size_t i = 0; i < 4; i++) {
        await(&f, &looks[i]);
        assert_true(resolver_cached(f.r, rules[i].name, &cached));
        assert_int_equal(cached.outcome, OUTCOME_OK);
    }
    pass(&f, 1050);
    assert_false(resolver_cached(f.r, "zero.test", &cached));
    assert_false(resolver_cached(f.r, "one.test", &cached));
    assert_true(resolver_cached(f.r, "long.test", &cached));
    assert_false(resolver_cached(f.r, "top-bit.test", &cached)); /* counts as 0, RFC 2181 8 */
    look_up_now(&f, &looks[0], "one.test");
    assert_int_equal(rules[1].asked, 2);
    teardown(&f);
}

static void test_longest_and_failures(void **state)
{
    (void)state;
    struct fake_rule rules[] = {
        {.name = "huge.test", .type = TYPE_A, .count = 1, .ttl = 0x7fffffff},
        {.name = "bad.test", .type = TYPE_A, .rcode = RCODE_SERVFAIL},
    };
    struct resolver_options options = defaults;
    struct resolved cached;
    struct fixture f;
    struct look look = {0};
    options.cache_max_ms = 100;
    options.cache_failure_ms = 100;
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "huge.test");
    assert_true(resolver_cached(f.r, "huge.test", &cached));
    pass(&f, 150);
    assert_false(resolver_cached(f.r, "huge.test", &cached));
    look_up_now(&f, &look, "bad.test");
    unsigned asked = rules[1].asked;
    look_up_now(&f, &look, "bad.test");
    assert_int_equal(look.answer.outcome, OUTCOME_DNS_FAILED);
    assert_int_equal(rules[1].asked, asked);
    pass(&f, 150);
    look_up_now(&f, &look, "bad.test");
    assert_true(rules[1].asked > asked);
    teardown(&f);
}

static void test_no_cache(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60}};
    struct resolver_options options = defaults;
    struct resolved cached;
    struct fixture f;
    struct look look = {0};
    options.cache_entries = 0;
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "ca.test");
    assert_false(resolver_cached(f.r, "ca.test", &cached));
    look_up_now(&f, &look, "ca.test");
    assert_int_equal(look.answer.count, 1);
    assert_int_equal(rules[0].asked, 2);
    teardown(&f);
}

static void test_cache_bound(void **state)
{
    (void)state;
    struct fake_rule rules[] = {{.name = "a.test", .type = TYPE_A, .count = 1, .ttl = 60},
                                {.name = "b.test", .type = TYPE_A, .count = 1, .ttl = 60},
                                {.name = "c.test", .type = TYPE_A, .count = 1, .ttl = 60}};
    struct resolver_options options = defaults;
    struct resolver_counters counters;
    struct resolved cached;
    struct fixture f;
    struct look look = {0};
    options.cache_entries = 2;
    SETUP(&f, rules, &options);
    look_up_now(&f, &look, "a.test");
    look_up_now(&f, &look, "b.test");
    assert_true(
        resolver_cached(f.r, "a.test", &cached)); /* now b is the one not used for longest */
    look_up_now(&f, &look, "c.test");
    resolver_counters(f.r, &counters);
    assert_int_equal(counters.cached, 2);
    assert_false(resolver_cached(f.r, "b.test", &cached));
    assert_true(resolver_cached(f.r, "a.test", &cached));
    assert_true(resolver_cached(f.r, "c.test", &cached));
    teardown(&f);
}

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

/* Workers start at once: the library below is initialised once. */
static void *worker(void *arg)
{
    pthread_barrier_t *start = arg;
    (void)pthread_barrier_wait(start);
    for (unsigned i = 0; i < 20; i++) {
        struct fake_rule rules[] = {{.name = "ca.test", .type = TYPE_A, .count = 1, .ttl = 60}};
        struct fixture f;
        struct look look = {0};
        SETUP(&f, rules, &defaults);
        look_up_now(&f, &look, "ca.test");
        assert_int_equal(look.answer.outcome, OUTCOME_OK);
        teardown(&f);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_barrier_t start;
    pthread_t threads[2];
    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &start), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    (void)pthread_barrier_destroy(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads), /* first: the library is not initialised yet */
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_large_answer_by_tcp),
        cmocka_unit_test(test_late_half),
        cmocka_unit_test(test_silent_half),
        cmocka_unit_test(test_hard_end),
        cmocka_unit_test(test_asks_until_the_end),
        cmocka_unit_test(test_dead_first_server),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_localhost),
        cmocka_unit_test(test_hosts_file),
        cmocka_unit_test(test_no_search),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_longest_and_failures),
        cmocka_unit_test(test_no_cache),
        cmocka_unit_test(test_cache_bound),
        cmocka_unit_test(test_bound_of_queries),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_inside),
        cmocka_unit_test(test_cancel_ready),
        cmocka_unit_test(test_look_up_inside),
        cmocka_unit_test(test_destroy_inside),
        cmocka_unit_test(test_destroy_in_flight),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_inside),
        cmocka_unit_test(test_bad_servers),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is asked and what comes of it: answers, time, names without a server, joining, the cache. */
#include "tests/unit/net/resolver_fixture.h"

#include <stdio.h>

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
    assert_true(look.took_ms < 1000);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

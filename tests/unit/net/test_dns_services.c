/* test_dns_services.c - SRV records: as they should be, malformed, missing, silent. */
#include "proxy/net/dns_channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/net/fake_dns.h"

enum { PATIENCE_MS = 20000, TYPE_SRV = 33 };

#define NAME "_certferry._tcp.site.test"
/* Priority, weight, port, target (RFC 2782). */
#define RECORD(target) "\x00\x0a\x00\x3c\xbf\x67" target

static uv_loop_t loop;
static uv_timer_t patience, tick;
static struct fake_dns dns;
static struct dns_channel *channel;

struct asker {
    struct dns_service_ask ask;
    unsigned answers;
    enum outcome outcome;
    size_t count;
    struct dns_service first;
};

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("no answer within %d ms", PATIENCE_MS);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_answer(struct dns_service_ask *ask, const struct dns_service_answer *answer)
{
    struct asker *a = LIST_ITEM(ask, struct asker, ask);
    a->answers++;
    a->outcome = answer->outcome;
    a->count = answer->count;
    assert_int_equal(answer->outcome == OUTCOME_OK, answer->count > 0);
    if (answer->count > 0)
        a->first = answer->service[0];
}

static void begin(struct fake_rule *rules, size_t count)
{
    assert_int_equal(uv_loop_init(&loop), 0);
    (void)uv_timer_init(&loop, &patience);
    (void)uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    (void)uv_timer_init(&loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    fake_start(&dns, &loop, rules, count);
    assert_int_equal(dns_channel_create(&channel, &loop, dns.servers, 900), 0);
}

static void end(void)
{
    if (channel != NULL)
        dns_channel_destroy(channel);
    fake_stop(&dns);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static struct asker ask(void)
{
    struct asker a = {.ask = {on_answer}};
    dns_channel_ask_services(channel, NAME, &a.ask);
    while (a.answers == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.answers, 1);
    return a;
}

static struct asker ask_once(struct fake_rule rule)
{
    rule.name = NAME;
    rule.type = TYPE_SRV;
    begin(&rule, 1);
    struct asker a = ask();
    end();
    return a;
}

static void test_a_service(void **state)
{
    (void)state;
    struct asker a = ask_once((struct fake_rule){
        .count = 1, .ttl = 60, .data = SPAN(RECORD("\x03px1\x04site\x04test\x00"))});
    assert_int_equal(a.outcome, OUTCOME_OK);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.first.priority, 10);
    assert_int_equal(a.first.weight, 60);
    assert_int_equal(a.first.port, 48999);
    assert_string_equal(a.first.target, "px1.site.test");
}

/* By TCP, since they do not fit into 512 octets; and no more than fit into ours. */
static void test_many(void **state)
{
    (void)state;
    struct asker a = ask_once((struct fake_rule){.count = 300,
                                                 .ttl = 60,
                                                 .data = SPAN(RECORD("\x01"
                                                                     "a\x00"))});
    assert_int_equal(a.count, DNS_SERVICES_MAX);
}

static void test_malformed(void **state)
{
    const struct span records[] = {
        SPAN(""),
        SPAN("\x00"),
        SPAN("\x00\x0a\x00\x3c\xbf\x67"),
        SPAN(RECORD("\x3f"
                    "a\x00")),
        SPAN(RECORD("\xc0")),
        SPAN(RECORD("\xff\xff")),
    };
    (void)state;
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct asker a = ask_once((struct fake_rule){.count = 1, .ttl = 60, .data = records[i]});
        assert_int_not_equal(a.outcome, OUTCOME_OK);
    }
}

static void test_none(void **state)
{
    (void)state;
    assert_int_equal(ask_once((struct fake_rule){.rcode = RCODE_NXDOMAIN}).outcome,
                     OUTCOME_DNS_NOT_FOUND);
    assert_int_equal(ask_once((struct fake_rule){.count = 0}).outcome, OUTCOME_DNS_NOT_FOUND);
    assert_int_equal(ask_once((struct fake_rule){.rcode = RCODE_SERVFAIL}).outcome,
                     OUTCOME_DNS_FAILED);
}

static void test_silence(void **state)
{
    (void)state;
    assert_int_equal(ask_once((struct fake_rule){.twist = TWIST_SILENT}).outcome,
                     OUTCOME_DNS_TIMEOUT);
}

static void test_forged(void **state)
{
    (void)state;
    struct asker a = ask_once((struct fake_rule){.count = 1,
                                                 .ttl = 60,
                                                 .twist = TWIST_WRONG_ID,
                                                 .data = SPAN(RECORD("\x03px1\x04test\x00"))});
    assert_string_equal(a.first.target, "px1.test");
}

static void test_destroyed_while_asked(void **state)
{
    struct fake_rule rule = {.name = NAME, .type = TYPE_SRV, .twist = TWIST_SILENT};
    struct asker a = {.ask = {on_answer}};
    (void)state;
    begin(&rule, 1);
    dns_channel_ask_services(channel, NAME, &a.ask);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    dns_channel_destroy(channel);
    channel = NULL;
    end();
    assert_int_equal(a.answers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_service),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_destroyed_while_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The questions that sessions ask, and that nothing is allowed unless somebody said so.
 */
#include "allowlist/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(name) (UINT32_C(1) << PROTOCOL_##name)

static struct addr address(const char *text)
{
    struct addr a;
    if (addr_parse(&a, span_of(text), 50000) != 0)
        fail_msg("\"%s\" is no address", text);
    return a;
}

static struct prefix prefix(const char *text)
{
    struct prefix p;
    if (prefix_parse(&p, span_of(text)) != 0)
        fail_msg("\"%s\" is no prefix", text);
    return p;
}

static struct rules *rules_sample(void)
{
    struct rules *r = rules_create();
    assert_int_equal(rules_add_domain(r, SPAN("digicert.com"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("localhost"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("93.184.215.14"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("10.9.9.9"), NULL), 0);
    assert_int_equal(rules_add_host(r, SPAN("[2606:4700::1]"), NULL), 0);
    return r;
}

static struct policy *policy_sample(uint32_t protocols)
{
    static const struct port_range connect_ports[] = {{443, 443}, {8080, 8090}};
    static const struct port_range http_ports[] = {{80, 80}, {65535, 65535}};
    struct prefix networks[] = {prefix("127.0.0.0/8"), prefix("::1")};
    struct prefix clients[] = {prefix("127.0.0.0/8"), prefix("192.168.0.0/16"), prefix("fd00::/8")};
    struct prefix control[] = {prefix("127.0.0.0/8"), prefix("::1")};
    struct policy_options o = {
        .rules = rules_sample(),
        .connect_ports = connect_ports,
        .connect_port_count = COUNT(connect_ports),
        .http_ports = http_ports,
        .http_port_count = COUNT(http_ports),
        .networks = networks,
        .network_count = COUNT(networks),
        .clients = clients,
        .client_count = COUNT(clients),
        .control_clients = control,
        .control_client_count = COUNT(control),
        .protocols = protocols,
    };
    struct policy *p = policy_create(&o);
    assert_non_null(p);
    /* Everything but the rules is a copy: what the caller does with his is his affair. */
    memset(networks, 0xff, sizeof networks);
    memset(clients, 0xff, sizeof clients);
    memset(control, 0xff, sizeof control);
    return p;
}

static enum outcome request(const struct policy *p, const char *host, uint16_t port,
                            enum protocol protocol)
{
    struct hostname h;
    if (hostname_parse(&h, span_of(host), NULL) != 0)
        fail_msg("\"%s\" is no host", host);
    return policy_request(p, &h, port, protocol);
}

struct ask {
    const char *host;
    uint16_t port;
    enum protocol protocol;
    enum outcome outcome;
};

static void check_requests(const struct policy *p, const struct ask *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum outcome o = request(p, cases[i].host, cases[i].port, cases[i].protocol);
        if (o != cases[i].outcome)
            fail_msg("%s:%u %s: %s, wanted %s", cases[i].host, cases[i].port,
                     protocol_name(cases[i].protocol), outcome_info(o)->token,
                     outcome_info(cases[i].outcome)->token);
    }
}

static void test_requests(void **state)
{
    static const struct ask cases[] = {
        {"one.digicert.com", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"one.digicert.com", 8080, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"one.digicert.com", 8090, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"one.digicert.com", 8079, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"one.digicert.com", 8091, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"one.digicert.com", 80, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"one.digicert.com", 0, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"one.digicert.com", 25, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED}, /* RFC 9110 9.3.6 */
        {"one.digicert.com", 65535, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"digicert.com", 80, PROTOCOL_OCSP, OUTCOME_OK},
        {"digicert.com", 80, PROTOCOL_OTHER, OUTCOME_OK},
        {"digicert.com", 65535, PROTOCOL_CRL, OUTCOME_OK},
        {"digicert.com", 443, PROTOCOL_OCSP, OUTCOME_PORT_DENIED},
        /* the port is asked before the host, the host before the protocol */
        {"evil.example", 25, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
        {"evil.example", 443, PROTOCOL_TUNNEL, OUTCOME_HOST_DENIED},
        {"evildigicert.com", 443, PROTOCOL_TUNNEL, OUTCOME_HOST_DENIED},
        {"digicert.com.evil.example", 443, PROTOCOL_TUNNEL, OUTCOME_HOST_DENIED},
        {"a.localhost", 443, PROTOCOL_TUNNEL, OUTCOME_HOST_DENIED},
        {"localhost", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"93.184.215.14", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"93.184.215.15", 443, PROTOCOL_TUNNEL, OUTCOME_LITERAL_DENIED},
        {"127.0.0.1", 443, PROTOCOL_TUNNEL, OUTCOME_LITERAL_DENIED},
        {"[2606:4700::1]", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"[2606:4700:0::1]", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"[::ffff:93.184.215.14]", 443, PROTOCOL_TUNNEL, OUTCOME_LITERAL_DENIED},
        {"[::1]", 443, PROTOCOL_TUNNEL, OUTCOME_LITERAL_DENIED},
        {"[::1]", 25, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
    };
    struct policy *p = policy_sample(0);
    (void)state;
    check_requests(p, cases, COUNT(cases));
    policy_destroy(p);
}

static void test_protocols(void **state)
{
    static const struct ask cases[] = {
        {"digicert.com", 80, PROTOCOL_OCSP, OUTCOME_OK},
        {"digicert.com", 80, PROTOCOL_AIA, OUTCOME_OK},
        {"digicert.com", 80, PROTOCOL_SCEP, OUTCOME_PROTOCOL_DENIED},
        {"digicert.com", 80, PROTOCOL_OTHER, OUTCOME_PROTOCOL_DENIED},
        {"evil.example", 80, PROTOCOL_SCEP, OUTCOME_HOST_DENIED},
        {"digicert.com", 81, PROTOCOL_SCEP, OUTCOME_PORT_DENIED},
        /* what is inside a tunnel is not looked at: the list speaks of plain HTTP alone */
        {"digicert.com", 443, PROTOCOL_TUNNEL, OUTCOME_OK},
        {"digicert.com", 80, PROTOCOL_TUNNEL, OUTCOME_PORT_DENIED},
    };
    struct policy *p = policy_sample(BIT(OCSP) | BIT(AIA));
    (void)state;
    check_requests(p, cases, COUNT(cases));
    policy_destroy(p);
}

static void test_clients(void **state)
{
    static const struct {
        const char *address;
        bool client, control;
    } cases[] = {
        {"127.0.0.1", true, true},
        {"192.168.7.7", true, false},
        {"192.169.0.1", false, false},
        {"8.8.8.8", false, false},
        {"fd00::1", true, false},
        {"fe80::1", false, false},
        {"::1", false, true},
        /* a listener for both families shows IPv4 clients mapped (RFC 4291 2.5.5.2) */
        {"::ffff:192.168.7.7", true, false},
        {"::ffff:127.0.0.1", true, true},
        {"::ffff:8.8.8.8", false, false},
        {"::192.168.7.7", false, false},
        {"64:ff9b::192.168.7.7", false, false},
    };
    struct policy *p = policy_sample(0);
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct addr a = address(cases[i].address);
        assert_int_equal(policy_client(p, &a),
                         cases[i].client ? OUTCOME_OK : OUTCOME_CLIENT_DENIED);
        assert_int_equal(policy_control_client(p, &a),
                         cases[i].control ? OUTCOME_OK : OUTCOME_CONTROL_DENIED);
    }
    policy_destroy(p);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *address;
        const char *why; /* NULL: may be dialled */
    } cases[] = {
        {"93.184.215.14", NULL},
        {"127.0.0.1", NULL}, /* allowed.networks */
        {"::1", NULL},
        {"10.9.9.9", "private 10.0.0.0/8"}, /* being in allowed.hosts is not enough */
        {"169.254.169.254", "link-local"},
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:93.184.215.14", "IPv4-mapped"},
        {"64:ff9b::93.184.215.14", NULL},
        {"64:ff9b::127.0.0.1", "loopback"},
    };
    struct policy *p = policy_sample(0);
    (void)state;
    assert_int_equal(request(p, "10.9.9.9", 443, PROTOCOL_TUNNEL), OUTCOME_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct addr a = address(cases[i].address);
        const char *why = NULL;
        enum outcome o = policy_address(p, &a, &why);
        assert_int_equal(o, cases[i].why == NULL ? OUTCOME_OK : OUTCOME_ADDRESS_DENIED);
        assert_int_equal(policy_address(p, &a, NULL), o);
        if (cases[i].why != NULL)
            assert_non_null(strstr(why, cases[i].why));
    }
    policy_destroy(p);
}

/* Options left empty allow nothing. */
static void test_default_deny(void **state)
{
    struct policy_options o = {.rules = rules_create()};
    struct policy *p = policy_create(&o);
    struct addr loopback = address("127.0.0.1");
    const struct port_range *ranges;
    (void)state;
    assert_non_null(p);
    assert_int_equal(policy_client(p, &loopback), OUTCOME_CLIENT_DENIED);
    assert_int_equal(policy_control_client(p, &loopback), OUTCOME_CONTROL_DENIED);
    assert_int_equal(policy_address(p, &loopback, NULL), OUTCOME_ADDRESS_DENIED);
    assert_int_equal(request(p, "digicert.com", 443, PROTOCOL_TUNNEL), OUTCOME_PORT_DENIED);
    assert_int_equal(request(p, "digicert.com", 80, PROTOCOL_ACME), OUTCOME_PORT_DENIED);
    assert_int_equal(policy_ports(p, true, &ranges), 0);
    assert_int_equal(policy_ports(p, false, &ranges), 0);
    policy_destroy(p);
    policy_destroy(NULL);
}

/* What the roster documents read. */
static void test_views(void **state)
{
    struct policy *p = policy_sample(0);
    const struct port_range *ranges = NULL;
    (void)state;
    assert_int_equal(rules_count(policy_rules(p)), 5);
    assert_string_equal(rules_text(policy_rules(p), 0), "*.digicert.com");
    assert_int_equal(policy_ports(p, true, &ranges), 2);
    assert_int_equal(ranges[1].first, 8080);
    assert_int_equal(ranges[1].last, 8090);
    assert_int_equal(policy_ports(p, false, &ranges), 2);
    assert_int_equal(ranges[0].first, 80);
    policy_destroy(p);
}

static void test_port_ranges(void **state)
{
    static const struct port_range ranges[] = {{1, 1}, {100, 200}, {65535, 65535}};
    static const struct {
        uint16_t port;
        bool in;
    } cases[] = {{0, false},  {1, true},   {2, false},   {99, false},    {100, true},
                 {150, true}, {200, true}, {201, false}, {65534, false}, {65535, true}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(port_ranges_have(ranges, COUNT(ranges), cases[i].port), cases[i].in);
        assert_false(port_ranges_have(NULL, 0, cases[i].port));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),     cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_clients),      cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_default_deny), cmocka_unit_test(test_views),
        cmocka_unit_test(test_port_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

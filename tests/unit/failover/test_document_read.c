/* test_document_read.c - rosters back from their documents: what we write comes back whole, what
 * anybody else writes comes back right or not at all. */
#include "failover/document_read.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failover/document.h"

#define NOW ((time_t)1795176000) /* 2026-11-20T12:00:00Z, a multiple of the step of 150 s */

/* A small good document; hostile ones differ from it in one place. */
static const char good[] =
    "{\"identifier\":\"px1.plant7.example\",\"expires\":\"2026-11-20T12:10:00Z\",\"prefixes\":[],"
    "\"proxies\":["
    "{\"protocol\":\"http-connect\",\"proxy\":\"px1.plant7.example:48999\",\"identifier\":\"one\"},"
    "{\"protocol\":\"https-connect\",\"proxy\":\"[2001:db8::1]:443\",\"identifier\":\"two\"}],"
    "\"proxy-match\":[{\"domains\":[\"*.digicert.com\"],\"ports\":[\"80\",\"8080-8090\"],"
    "\"proxies\":[\"one\",\"two\"]}],"
    "\"vendor-certferry\":{\"version\":\"0.1.0\",\"members\":["
    "{\"identifier\":\"one\",\"zone\":\"plant7\",\"state\":\"up\",\"weight\":100,"
    "\"started\":1795000000,\"priority\":7,\"load\":300,\"version\":\"0.1.0-3 x\","
    "\"self\":true},"
    "{\"identifier\":\"two\",\"zone\":\"\",\"state\":\"down\",\"weight\":7,\"started\":0,"
    "\"self\":false}]}}";

static int read_text(struct document_content *c, struct span text, char fault[DOCUMENT_FAULT_MAX])
{
    /* A copy of exactly that size, so that a sanitizer sees one octet too far. */
    char *exact = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(exact);
    memcpy(exact, text.ptr, text.len);
    int rc = document_read(c, (struct span){exact, text.len}, fault);
    free(exact);
    if (rc == 0) {
        assert_string_equal(fault, "");
        assert_non_null(c->roster);
    } else {
        assert_null(c->roster);
        assert_int_equal(c->identifier[0], '\0');
    }
    return rc;
}

/* `good` with the first `from` replaced. Returns owned. */
static char *changed(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    size_t size = sizeof good + strlen(to);
    char *text = malloc(size);
    if (at == NULL)
        fail_msg("not in the good document: %s", from);
    assert_non_null(text);
    (void)snprintf(text, size, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return text;
}

static void test_good_document(void **state)
{
    (void)state;
    struct document_content c;
    char fault[DOCUMENT_FAULT_MAX];
    assert_int_equal(read_text(&c, SPAN(good), fault), 0);
    assert_string_equal(c.identifier, "px1.plant7.example");
    assert_int_equal(c.expires, NOW + 600);
    assert_int_equal(roster_count(c.roster), 2);
    const struct member *one = roster_member(c.roster, 0);
    assert_int_equal(one->protocol, MEMBER_HTTP_CONNECT);
    assert_string_equal(one->host, "px1.plant7.example");
    assert_int_equal(one->port, 48999);
    assert_string_equal(one->zone, "plant7");
    assert_int_equal(one->state, MEMBER_UP);
    assert_int_equal(one->weight, 100);
    assert_int_equal(one->started, 1795000000);
    assert_int_equal(one->priority, 7);
    assert_int_equal(one->load, 300);
    assert_string_equal(one->version, "0.1.0-3 x");
    assert_true(one->self);
    const struct member *two = roster_member(c.roster, 1);
    assert_int_equal(two->protocol, MEMBER_HTTPS_CONNECT);
    assert_string_equal(two->host, "2001:db8::1");
    assert_int_equal(two->port, 443);
    assert_string_equal(two->zone, "");
    assert_int_equal(two->state, MEMBER_DOWN);
    assert_int_equal(two->weight, 7);
    assert_int_equal(two->priority, ROSTER_PRIORITY_DEFAULT);
    assert_int_equal(two->load, ROSTER_LOAD_UNKNOWN);
    assert_string_equal(two->version, "");
    assert_false(two->self);
    roster_unref(c.roster);
}

/* ---- round trip ---- */

static struct policy *policy_usual(void)
{
    static const struct port_range connect[] = {{443, 443}, {8443, 8450}}, http[] = {{80, 80}};
    struct rules *rules = rules_create();
    assert_non_null(rules);
    assert_int_equal(rules_add_domain(rules, SPAN("digicert.com"), NULL), 0);
    assert_int_equal(rules_add_host(rules, SPAN("2001:db8::7"), NULL), -EINVAL);
    assert_int_equal(rules_add_host(rules, SPAN("[2001:db8::7]"), NULL), 0);
    struct policy_options o = {.rules = rules,
                               .connect_ports = connect,
                               .connect_port_count = 2,
                               .http_ports = http,
                               .http_port_count = 1};
    struct policy *p = policy_create(&o);
    assert_non_null(p);
    return p;
}

static struct member member_of(unsigned i)
{
    static const char *const zones[] = {"plant7", "", "W\xc3\xbcrzburg \"\\\x01\x7f",
                                        ("123456789 123456789 123456789 123456789 123456789 "
                                         "123456789 123")};
    struct member m = {.protocol = i % 3 == 0 ? MEMBER_HTTPS_CONNECT : MEMBER_HTTP_CONNECT,
                       .port = (uint16_t)(i % 5 == 0 ? 65535 : i + 1),
                       .tls_port = i % 3 == 1 ? 48998 : 0,
                       .weight = i % 100 + 1,
                       .priority = i % 9 == 0 ? ROSTER_PRIORITY_MAX : i % 3,
                       .load = i % 12 == 11 ? ROSTER_LOAD_UNKNOWN : i % 11 * 100,
                       .state = (enum member_state)(i % 4),
                       .self = i == 2,
                       .started = i % 2 == 0 ? 0 : 1795000000 + (int64_t)i};
    (void)snprintf(m.zone, sizeof m.zone, "%s", zones[i % 4]);
    if (i % 3 > 0)
        (void)snprintf(m.version, sizeof m.version, i % 3 == 1 ? "0.1.%u" : "0.1.%028u", i);
    if (i % 7 == 0)
        (void)snprintf(m.host, sizeof m.host, "2001:db8::%x", i + 1);
    else if (i % 7 == 1)
        (void)snprintf(m.host, sizeof m.host, "192.0.2.%u", i % 256);
    else
        (void)snprintf(m.host, sizeof m.host, "px%u.plant7.example", i);
    return m;
}

static void same_member(const struct member *a, const struct member *b)
{
    assert_int_equal(a->protocol, b->protocol);
    assert_string_equal(a->host, b->host);
    assert_int_equal(a->port, b->port);
    assert_int_equal(a->tls_port, b->tls_port);
    assert_string_equal(a->zone, b->zone);
    assert_int_equal(a->weight, b->weight);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->self, b->self);
    assert_int_equal(a->started, b->started);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->load, b->load);
    assert_string_equal(a->version, b->version);
}

/* As documents have them: those that nobody is sent to any more stand behind the others. */
static void order_of_documents(const struct roster *r, size_t *order)
{
    size_t ranked[ROSTER_MEMBERS_MAX], at = 0;
    size_t count = roster_order(r, "plant7", ranked);
    for (int draining = 0; draining < 2; draining++) {
        for (size_t i = 0; i < count; i++) {
            if ((roster_member(r, ranked[i])->state == MEMBER_DRAINING) == (draining == 1))
                order[at++] = ranked[i];
        }
    }
}

/* Every member with every fact, in the order of preference; and written again it is the same. */
static void round_trip(size_t members, const char *identifier)
{
    struct document d, again;
    struct document_content c;
    char fault[DOCUMENT_FAULT_MAX];
    size_t order[ROSTER_MEMBERS_MAX];
    struct policy *p = policy_usual();
    struct roster *r = roster_create();
    assert_non_null(r);
    for (unsigned i = 0; i < members; i++) {
        struct member m = member_of(i);
        assert_int_equal(roster_add(r, &m), 0);
    }
    assert_int_equal(roster_count(r), members);
    struct document_options o = {.identifier = identifier,
                                 .zone = "plant7",
                                 .version = "0.1.0",
                                 .roster = r,
                                 .policy = p,
                                 .ttl_seconds = 600,
                                 .now = NOW};
    assert_int_equal(document_pvd(&d, &o), 0);
    if (read_text(&c, (struct span){d.text, d.length}, fault) != 0)
        fail_msg("%zu members: %s", members, fault);
    assert_string_equal(c.identifier, identifier);
    assert_int_equal(c.expires, NOW + 600);
    assert_int_equal(roster_count(c.roster), members);
    order_of_documents(r, order);
    for (size_t i = 0; i < members; i++)
        same_member(roster_member(c.roster, i), roster_member(r, order[i]));
    o.roster = c.roster;
    assert_int_equal(document_pvd(&again, &o), 0);
    assert_string_equal(again.text, d.text);
    document_release(&again);
    document_release(&d);
    roster_unref(c.roster);
    roster_unref(r);
    policy_destroy(p);
}

static void test_round_trip(void **state)
{
    (void)state;
    round_trip(0, "localhost");
    round_trip(1, "px1.plant7.example");
    round_trip(9, "192.0.2.1");
    round_trip(ROSTER_MEMBERS_MAX, "2001:db8::1");
}

/* ---- a proxy's other door ---- */

#define DOOR "{\"protocol\":\"https-connect\",\"proxy\":\"px1.plant7.example:48998\","

/* The TLS port of a member that our data describes is no member; where it stands makes no
 * difference. */
static void test_tls_doors(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        size_t members;
        uint16_t tls_port; /* of the first */
    } cases[] = {
        {"\"priority\":7", "\"priority\":7,\"tls_port\":48998", 2, 48998},
        {"\"priority\":7", "\"priority\":7,\"tls_port\":0", 3, 0},
        {"\"priority\":7", "\"priority\":7,\"tls_port\":48997", 3, 48997},
        {"\"priority\":7", "\"priority\":7,\"tls_port\":48999", 3, 0}, /* its own */
        {"\"priority\":7", "\"priority\":7", 3, 0},
        /* A member like others when our data says so. */
        {"\"load\":300", "\"load\":300,\"tls_port\":443", 3, 443},
    };
    for (int before = 0; before < 2; before++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct document_content c;
            char fault[DOCUMENT_FAULT_MAX], all[sizeof good + 400];
            char *text = changed(cases[i].from, cases[i].to);
            const char *at = strstr(text, before ? "{\"protocol\"" : "],\"proxy-match\"");
            (void)snprintf(all, sizeof all, "%.*s%s" DOOR "\"identifier\":\"door\"}%s%s",
                           (int)(at - text), text, before ? "" : ",", before ? "," : "", at);
            if (read_text(&c, span_of(all), fault) != 0)
                fail_msg("%s: %s", cases[i].to, fault);
            assert_int_equal(roster_count(c.roster), cases[i].members);
            for (size_t m = 0; m < roster_count(c.roster); m++) {
                const struct member *member = roster_member(c.roster, m);
                if (member->protocol == MEMBER_HTTP_CONNECT)
                    assert_int_equal(member->tls_port, cases[i].tls_port);
                else
                    assert_int_equal(member->tls_port, 0);
            }
            roster_unref(c.roster);
            free(text);
        }
    }
}

/* ---- what may be overlooked ---- */

#define WITHHELD                                                                                   \
    "{\"identifier\":\"gone\",\"protocol\":\"http-connect\",\"proxy\":\"px9:48999\","              \
    "\"zone\":\"\",\"state\":\"draining\",\"weight\":1,\"started\":0,\"self\":false}"

static void test_overlooked(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        size_t members;
    } cases[] = {
        /* RFC 8801 section 4.3: unknown keys are ignored. */
        {"\"prefixes\":[]", "\"prefixes\":[],\"noInternet\":true,\"x\":{\"y\":[null,1e9]}", 2},
        {"\"weight\":7", "\"weight\":7,\"colour\":\"red\"", 2},
        {"\"version\":\"0.1.0\"", "\"version\":2", 2},
        /* The trailing dot of the draft's examples, and any case of a name. */
        {"\"px1.plant7.example\"", "\"PX1.plant7.example.\"", 2},
        /* A proxy of a protocol that is not ours is none of our members; facts and rules may name
         * it. */
        {"\"https-connect\",\"proxy\":\"[2001:db8::1]:443\"",
         "\"connect-udp\",\"proxy\":\"https://x.example/masque{?h,p}\"", 1},
        {"\"http-connect\"", "\"socks5\"", 1},
        /* An optional key that must be understood, and is not. */
        {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"a_b\":1,\"mandatory\":[\"a_b\"]}", 1},
        {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"mandatory\":[\"identifier\"]}", 2},
        {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"alpn\":[\"h2\"]}", 2},
        /* Without facts a member is unknown. */
        {"\"vendor-certferry\"", "\"vendor-other\"", 2},
        {"{\"identifier\":\"two\",\"zone\":\"\",\"state\":\"down\",\"weight\":7,\"started\":0,"
         "\"self\":false}",
         "{\"identifier\":\"one2\"}", 0},
        {",{\"identifier\":\"two\",\"zone\":\"\",\"state\":\"down\",\"weight\":7,\"started\":0,"
         "\"self\":false}",
         "", 2},
        /* One that clients are not sent to any more. */
        {"\"self\":false}]", "\"self\":false}," WITHHELD "]", 3},
        {"\"load\":300,", "", 2},
        {"\"version\":\"0.1.0-3 x\"", "\"version\":\"\"", 2},
        /* No traffic at all may go there: still a roster. */
        {"{\"domains\":[\"*.digicert.com\"],\"ports\":[\"80\",\"8080-8090\"],"
         "\"proxies\":[\"one\",\"two\"]}",
         "", 2},
        {"\"proxies\":[\"one\",\"two\"]", "\"proxies\":[]", 2},
        {"\"proxies\":[\"one\",\"two\"]", "\"proxies\":[\"one\"],\"subnets\":[\"2001:db8::/32\"]",
         2},
        /* Other spellings of the same JSON and of the same time. */
        {"\"one\"", " \t\r\n\"\\u006fn\\u0065\" ", 2},
        {"\"weight\":7", "\"weight\":7.0", 2},
        {"\"weight\":7", "\"weight\":0.7e1", 2},
        {"12:10:00Z", "12:10:00.25Z", 2},
        {"12:10:00Z", "13:10:00+01:00", 2},
        {"12:10:00Z", "11:39:00-00:31", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct document_content c;
        char fault[DOCUMENT_FAULT_MAX];
        char *text = changed(cases[i].from, cases[i].to);
        int rc = read_text(&c, span_of(text), fault);
        if ((rc == 0) != (cases[i].members > 0))
            fail_msg("%s: %s", cases[i].to, fault);
        if (rc == 0) {
            assert_int_equal(roster_count(c.roster), cases[i].members);
            assert_int_equal(c.expires, NOW + 600);
            roster_unref(c.roster);
        }
        free(text);
    }
}

/* ---- what refuses the whole document ---- */

static void refused(struct span text, const char *fault)
{
    struct document_content c;
    char told[DOCUMENT_FAULT_MAX];
    int rc = read_text(&c, text, told);
    if (rc != -EINVAL || strcmp(told, fault) != 0)
        fail_msg("%.200s...: \"%s\" (%d), expected \"%s\"", text.ptr, told, rc, fault);
    for (const char *p = told; *p != '\0'; p++)
        assert_in_range(*p, ' ', '~');
}

#define FACTS_TWO                                                                                  \
    "{\"identifier\":\"two\",\"zone\":\"\",\"state\":\"down\",\"weight\":7,\"started\":0,"         \
    "\"self\":false}"

/* What is put in the place of what, and what is told; NULL: the words are another module's. */
static const struct {
    const char *from, *to, *fault;
} hostile[] = {
    /* RFC 8801 section 4.3: the keys without which the object is ignored. */
    {"\"identifier\":\"px1", "\"Identifier\":\"px1", "identifier: is missing"},
    {"\"expires\"", "\"expire\"", "expires: is missing"},
    {"\"prefixes\":[],", "", "prefixes: is missing"},
    {"\"prefixes\":[]", "\"prefixes\":[\"2001:db8::/32\"]", "prefixes: is not empty"},
    {"\"prefixes\":[]", "\"prefixes\":{}", "prefixes: is not an array"},
    {"\"proxies\":[{", "\"proxy\":[{", "proxies: is missing"},
    {"\"proxy-match\"", "\"proxyMatch\"", "proxy-match: is missing"},
    {"\"identifier\":\"px1.plant7.example\"", "\"identifier\":7", "identifier: is not a string"},
    {"\"identifier\":\"px1.plant7.example\"", "\"identifier\":\"\"", "identifier: is empty"},
    {"\"identifier\":\"px1.plant7.example\"", "\"identifier\":\"px1/..\"",
     "identifier: a host name has only letters, digits, hyphens and dots"},
    {"\"identifier\":\"px1.plant7.example\"", "\"identifier\":\"127.1\"", NULL},
    {"\"identifier\":\"px1.plant7.example\"", "\"identifier\":\"px1.example:80\"", NULL},
    /* RFC 3339 section 5.6. */
    {"2026-11-20T12:10:00Z", "2026-11-20", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:10:00", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20 12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:10:00ZZ", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T24:00:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:60:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-13-20T12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-00-20T12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-02-29T12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-31T12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "+026-11-20T12:10:00Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:10:00.Z", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:10:00+1:00", NULL},
    {"2026-11-20T12:10:00Z", "2026-11-20T12:10:00+24:00", NULL},
    {"\"2026-11-20T12:10:00Z\"", "1795176600", "expires: is not a string"},
    /* proxies */
    {"\"proxies\":[{", "\"proxies\":[null,{", "proxies[0]: is not an object"},
    {"\"protocol\":\"http-connect\",", "", "proxies[0].protocol: is missing"},
    {"\"protocol\":\"http-connect\"", "\"protocol\":[\"http-connect\"]",
     "proxies[0].protocol: is not a string"},
    {"\"proxy\":\"px1.plant7.example:48999\",", "", "proxies[0].proxy: is missing"},
    {":48999", "", "proxies[0].proxy: has no port"},
    {":48999", ":0", "proxies[0].proxy: has no port from 1 to 65535"},
    {":48999", ":65536", "proxies[0].proxy: has no port from 1 to 65535"},
    {":48999", ":048999", "proxies[0].proxy: has no port from 1 to 65535"},
    {":48999", ":48999/", "proxies[0].proxy: holds more than a host and a port"},
    {":48999", ":48999#x", "proxies[0].proxy: holds more than a host and a port"},
    {"\"proxy\":\"px1", "\"proxy\":\"user:secret@px1",
     "proxies[0].proxy: holds a user name or password"},
    {"\"proxy\":\"px1.plant7", "\"proxy\":\"px1.\\nplant7", NULL},
    {"\"proxy\":\"px1.plant7.example", "\"proxy\":\"0x7f.1", NULL},
    {"[2001:db8::1]:443", "2001:db8::1:443", NULL},
    {"[2001:db8::1]:443", "[fe80::1%25eth0]:443", NULL},
    {",\"identifier\":\"two\"}", "}", "proxies[1].identifier: is missing"},
    {"\"identifier\":\"two\"}", "\"identifier\":\"one\"}",
     "proxies[1].identifier: is another proxy's too"},
    {"\"https-connect\",\"proxy\":\"[2001:db8::1]:443\"",
     "\"http-connect\",\"proxy\":\"PX1.plant7.example.:48999\"",
     "proxies[1]: leads to the same place as another one"},
    {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"mandatory\":[\"alpn\"]}",
     "proxies[1].mandatory[0]: names a key that is not there"},
    {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"mandatory\":\"alpn\"}",
     "proxies[1].mandatory: is not an array"},
    {"\"identifier\":\"two\"}", "\"identifier\":\"two\",\"mandatory\":[1]}",
     "proxies[1].mandatory[0]: is not a string"},
    /* proxy-match */
    {"\"proxies\":[\"one\",\"two\"]", "\"proxys\":[]", "proxy-match[0].proxies: is missing"},
    {"[\"one\",\"two\"]", "\"one\"", "proxy-match[0].proxies: is not an array"},
    {"[\"one\",\"two\"]", "[\"one\",\"three\"]",
     "proxy-match[0].proxies[1]: names no proxy of this document"},
    {"\"80\"", "80", "proxy-match[0].ports[0]: is not a string"},
    {"8080-8090", "8090-8080", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "8080-", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "-8090", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "8080-65536", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "8080-8090-8091",
     "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "8080--809", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", "0", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"8080-8090", " 80", "proxy-match[0].ports[1]: is neither a port nor a range of ports"},
    {"\"*.digicert.com\"", "{}", "proxy-match[0].domains[0]: is not a string"},
    {"\"*.digicert.com\"", "\"\"", "proxy-match[0].domains[0]: is empty"},
    /* vendor-certferry */
    {"\"vendor-certferry\":{", "\"vendor-certferry\":null,\"v\":{",
     "vendor-certferry: is not an object"},
    {"\"members\"", "\"member\"", "vendor-certferry.members: is missing"},
    {FACTS_TWO, "{\"identifier\":\"three\"}",
     "vendor-certferry.members[1].identifier: names no proxy of this document"},
    {"\"identifier\":\"two\",\"zone\"", "\"identifier\":\"one\",\"zone\"",
     "vendor-certferry.members[1].identifier: was described before"},
    {"\"zone\":\"\"", "\"zone\":null", "vendor-certferry.members[1].zone: is not a string"},
    {"\"zone\":\"\"",
     "\"zone\":\"123456789 123456789 123456789 123456789 123456789 123456789 1234\"",
     "vendor-certferry.members[1].zone: is too long"},
    {"\"zone\":\"\",", "", "vendor-certferry.members[1].zone: is missing"},
    {"\"down\"", "\"dead\"",
     "vendor-certferry.members[1].state: is neither up, unknown, draining nor down"},
    {"\"weight\":7", "\"weight\":0", "vendor-certferry.members[1].weight: is out of range"},
    {"\"weight\":7", "\"weight\":-7", "vendor-certferry.members[1].weight: is out of range"},
    {"\"weight\":7", "\"weight\":101", "vendor-certferry.members[1].weight: is out of range"},
    {"\"weight\":7", "\"weight\":1e999", "vendor-certferry.members[1].weight: is out of range"},
    {"\"weight\":7", "\"weight\":7.5", "vendor-certferry.members[1].weight: is not whole"},
    {"\"weight\":7", "\"weight\":\"7\"", "vendor-certferry.members[1].weight: is not a number"},
    {"\"load\":300", "\"load\":1001", "vendor-certferry.members[0].load: is out of range"},
    {"\"load\":300", "\"load\":\"300\"", "vendor-certferry.members[0].load: is not a number"},
    {"\"load\":300", "\"load\":null", "vendor-certferry.members[0].load: is not a number"},
    {"\"priority\":7", "\"priority\":65536",
     "vendor-certferry.members[0].priority: is out of range"},
    {"\"priority\":7", "\"priority\":7,\"tls_port\":65536",
     "vendor-certferry.members[0].tls_port: is out of range"},
    {"\"priority\":7", "\"priority\":7,\"tls_port\":\"443\"",
     "vendor-certferry.members[0].tls_port: is not a number"},
    {"\"priority\":7", "\"priority\":-1", "vendor-certferry.members[0].priority: is out of range"},
    {"0.1.0-3 x", "0\\\"", "vendor-certferry.members[0].version: is not plain text"},
    {"0.1.0-3 x", "\\u001b[2J", "vendor-certferry.members[0].version: is not plain text"},
    {"0.1.0-3 x", "W\xc3\xbc", "vendor-certferry.members[0].version: is not plain text"},
    {"0.1.0-3 x", "12345678901234567890123456789012",
     "vendor-certferry.members[0].version: is too long"},
    /* What only our own data tells of must say where it is, and that nobody is to go there. */
    {"\"self\":false}]", "\"self\":false},{\"identifier\":\"gone\",\"proxy\":\"px9:1\"}]",
     "vendor-certferry.members[2].protocol: is missing"},
    {"\"self\":false}]",
     "\"self\":false},{\"identifier\":\"gone\",\"protocol\":\"http-connect\",\"proxy\":\"px9:1\","
     "\"zone\":\"\",\"state\":\"up\",\"weight\":1,\"started\":0,\"self\":false}]",
     "vendor-certferry.members[2].state: is not draining, so it must be among the proxies"},
    {"\"self\":false}]", "\"self\":false}," WITHHELD "," WITHHELD "]",
     "vendor-certferry.members[3].identifier: was described before"},
    {"\"self\":false}]",
     "\"self\":false},{\"identifier\":\"gone\",\"protocol\":\"http-connect\","
     "\"proxy\":\"px1.plant7.example:48999\",\"zone\":\"\",\"state\":\"draining\","
     "\"weight\":1,\"started\":0,\"self\":false}]",
     "proxies[2]: leads to the same place as another one"},
    {"\"started\":0", "\"started\":-1", "vendor-certferry.members[1].started: is out of range"},
    {"\"started\":0", "\"started\":1e18", "vendor-certferry.members[1].started: is out of range"},
    {"\"self\":false", "\"self\":0", "vendor-certferry.members[1].self: is neither true nor false"},
    /* RFC 8259 section 4: which of two members counts is anybody's guess. */
    {"\"weight\":7", "\"weight\":7,\"weight\":8",
     "vendor-certferry.members[1].weight: stands here twice"},
    {"\"weight\":7", "\"weight\":7,\"w\\u0065ight\":8",
     "vendor-certferry.members[1].weight: stands here twice"},
    {"\"prefixes\":[]", "\"prefixes\":[],\"x\":[[{\"\\u001b[2J\":1,\"\\u001b[2J\":2}]]",
     "x[0][0].?[2J: stands here twice"},
    {"\"prefixes\":[]", "\"prefixes\":[],\"proxies\":[]", "proxies: stands here twice"},
    {"\"prefixes\":[]", "\"prefixes\":[],\"\":1,\"\":2", "\"\": stands here twice"},
};

static void test_hostile_documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct document_content c;
        char told[DOCUMENT_FAULT_MAX];
        char *text = changed(hostile[i].from, hostile[i].to);
        if (hostile[i].fault != NULL) {
            refused(span_of(text), hostile[i].fault);
        } else {
            /* In the words of another module. */
            if (read_text(&c, span_of(text), told) != -EINVAL)
                fail_msg("taken: %s", hostile[i].to);
            assert_non_null(strstr(told, ": "));
        }
        free(text);
    }
}

/* What cJSON would let through, or what would cost it too much (RFC 8259). */
static void test_hostile_octets(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        size_t into; /* octets of `to` before the fault */
        const char *fault;
    } cases[] = {
        {"{\"identifier\":\"px1", "\xef\xbb\xbf{\"identifier\":\"px1", 0,
         "not a value"}, /* section 8.1 */
        {"plant7\",\"state", "plant\x80\",\"state", 5, "not UTF-8"},
        {"plant7\",\"state", "plant\xc0\xaf\",\"state", 5, "not UTF-8"},
        {"plant7\",\"state", "plant\xed\xa0\x80\",\"state", 5, "not UTF-8"},
        {"plant7\",\"state", "plant\xf4\x90\x80\x80\",\"state", 5, "not UTF-8"},
        {"plant7\",\"state", "plant\n\",\"state", 5, "control character in a string"},
        {"plant7\",\"state", "plant\x1f\",\"state", 5, "control character in a string"},
        {"plant7\",\"state", "plant\\u0000\",\"state", 11, "NUL in a string"},
        {"plant7\",\"state", "plant\\ud83d\",\"state", 11, "surrogate without its second half"},
        {"plant7\",\"state", "plant\\ude00\",\"state", 11, "surrogate without its first half"},
        {"plant7\",\"state", "plant\\x41\",\"state", 6, "unknown escape"},
        {"plant7\",\"state", "plant\\u12\",\"state", 9, "\\u without four hexadecimal digits"},
        {"\"weight\":100", "\"weight\":+100", 9, "not a value"},
        {"\"weight\":100", "\"weight\":0100", 10, "neither comma nor end"},
        {"\"weight\":100", "\"weight\":1.", 11, "not a number of JSON"},
        {"\"weight\":100", "\"weight\":1e", 11, "not a number of JSON"},
        {"\"weight\":100", "\"weight\":.1", 9, "not a value"},
        {"\"weight\":100", "\"weight\":-", 10, "not a number of JSON"},
        {"\"weight\":100", "\"weight\":0x64", 10, "neither comma nor end"},
        {"\"weight\":100", "\"weight\":NaN", 9, "not a value"},
        {"\"weight\":100", "\"weight\":1000000000000000000000000000000.0", 42, "number too long"},
        {"\"self\":true}", "\"self\":True}", 7, "not a value"},
        {"\"self\":true}", "\"self\":true,}", 12, "no name of a member"},
        {"\"self\":true}", "\"self\":true\v}", 11, "neither comma nor end"},
        {"\"self\":true}", "'self':true}", 0, "no name of a member"},
        {"\"self\":true}", "\"self\" true}", 7, "no colon behind a name"},
        {"[\"one\",\"two\"]", "[\"one\",\"two\",]", 13, "not a value"},
        {"[\"one\",\"two\"]", "[\"one\" \"two\"]", 7, "neither comma nor end"},
        {"[\"one\",\"two\"]", "[\"one\",/**/\"two\"]", 7, "not a value"},
        {"\"prefixes\":[]", "\"prefixes\":[[[[[[[[]]]]]]]]", 18, "too deep"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fault[DOCUMENT_FAULT_MAX];
        char *text = changed(cases[i].from, cases[i].to);
        (void)snprintf(fault, sizeof fault, "octet %zu: %s",
                       (size_t)(strstr(good, cases[i].from) - good) + cases[i].into,
                       cases[i].fault);
        refused(span_of(text), fault);
        free(text);
    }
    refused(SPAN(""), "octet 0: ends too early");
    refused(SPAN(" \r\n"), "octet 3: ends too early");
    refused(SPAN("{}x"), "octet 2: more behind the value");
    refused(SPAN("{}{}"), "octet 2: more behind the value");
    refused(SPAN("{}\0"), "octet 2: more behind the value");
    refused(SPAN("[]"), "document: is not an object");
    refused(SPAN("null"), "document: is not an object");
    refused(SPAN("\"a"), "octet 2: ends inside a string");
    refused(SPAN("{\"a\":1]"), "octet 6: neither comma nor end");
}

/* ---- names and addresses ---- */

/* All rules as "a|b|"; or the fault. */
static const char *rules_read(const char *from, const char *to)
{
    static char out[512];
    struct document_content c;
    char fault[DOCUMENT_FAULT_MAX];
    char *text = changed(from, to);
    struct rules *rules = rules_create();
    size_t at = 0;
    assert_non_null(rules);
    int rc = document_read_rules(&c, span_of(text), rules, fault);
    out[0] = '\0';
    for (size_t i = 0; rc == 0 && i < rules_count(rules); i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%s|", rules_text(rules, i));
    if (rc != 0)
        (void)snprintf(out, sizeof out, "%s", fault);
    roster_unref(c.roster);
    rules_destroy(rules);
    free(text);
    return out;
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *rules;
    } cases[] = {
        {"\"ports\"", "\"ports\"", "*.digicert.com|"},
        {"[\"*.digicert.com\"]", "[\"*.DigiCert.com.\",\"ca.example\"]",
         "*.digicert.com|ca.example|"},
        {"\"domains\":[\"*.digicert.com\"]", "\"subnets\":[\"192.0.2.7\",\"2001:db8::7\"]",
         "192.0.2.7|2001:db8::7|"},
        {"\"domains\":[\"*.digicert.com\"]", "\"subnets\":[\"192.0.2.0/24\"]",
         "proxy-match[0].subnets[0]: is a network; here only single addresses can be said"},
        {"\"domains\":[\"*.digicert.com\"],", "",
         "proxy-match[0]: is for every destination; here only some can be said"},
        /* Sent nowhere: no proxy is named, or a key that we do not know voids the rule. */
        {"\"proxies\":[\"one\",\"two\"]", "\"proxies\":[]", ""},
        {"\"ports\"", "\"colours\":[\"red\"],\"ports\"", ""},
        {"\"ports\":", "\"colours\":", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(rules_read(cases[i].from, cases[i].to), cases[i].rules);
    static const char *const wrong[] = {"*", "*.com", "a\\\"b", "x; DIRECT", "*.192.0.2.1", "a..b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *told = rules_read("*.digicert.com", wrong[i]);
        if (strncmp(told, "proxy-match[0].domains[0]: ", 27) != 0)
            fail_msg("%s: %s", wrong[i], told);
    }
}

/* `count` times `unit` between two texts. */
static void many(const char *before, const char *unit, size_t count, const char *after,
                 const char *fault)
{
    size_t size = strlen(before) + count * (strlen(unit) + 8) + strlen(after) + 1;
    char *text = malloc(size);
    assert_non_null(text);
    size_t n = (size_t)snprintf(text, size, "%s", before);
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, size - n, unit, i);
        if (i + 1 < count)
            text[n++] = ',';
    }
    n += (size_t)snprintf(text + n, size - n, "%s", after);
    refused((struct span){text, n}, fault);
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
#define FRONT "{\"identifier\":\"x\",\"expires\":\"2026-11-20T12:10:00Z\",\"prefixes\":[],"
    many("[", "0", DOCUMENT_READ_VALUES_MAX, "]", "octet 262143: too many values");
    many("{", "\"%zu\":0", 65, "}", "octet 439: too many members in an object");
    many(FRONT "\"proxies\":[",
         "{\"protocol\":\"http-connect\",\"proxy\":\"x:%zu1\",\"identifier\":\"i\"}",
         2 * ROSTER_MEMBERS_MAX + 1, "],\"proxy-match\":[]}", "proxies: are too many");
    many(FRONT "\"proxies\":[],\"proxy-match\":[", "{\"proxies\":[]}", DOCUMENT_READ_RULES_MAX + 1,
         "]}", "proxy-match: are too many");
    many(FRONT "\"proxies\":[],\"proxy-match\":[],\"vendor-certferry\":{\"members\":[", "{}",
         ROSTER_MEMBERS_MAX + 1, "]}}", "vendor-certferry.members: are too many");
    char *blanks = malloc(DOCUMENT_READ_OCTETS_MAX + 1);
    assert_non_null(blanks);
    memset(blanks, ' ', DOCUMENT_READ_OCTETS_MAX + 1);
    refused((struct span){blanks, DOCUMENT_READ_OCTETS_MAX + 1}, "octet 4194304: too long");
    refused((struct span){blanks, DOCUMENT_READ_OCTETS_MAX}, "octet 4194304: ends too early");
    free(blanks);
}

/* A file that was not written to its end, or a body cut off: never half a roster. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        struct document_content c;
        char fault[DOCUMENT_FAULT_MAX];
        assert_int_equal(read_text(&c, (struct span){good, len}, fault), -EINVAL);
    }
}

/* Every octet replaced by others: right or refused, but never a crash. */
static void test_changed_anywhere(void **state)
{
    (void)state;
    static const unsigned char octets[] = {0, '"', '\\', '{', ']', ',', '9', 0x80, 0xff};
    char text[sizeof good];
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (size_t i = 0; i < sizeof octets; i++) {
            struct document_content c;
            char fault[DOCUMENT_FAULT_MAX];
            memcpy(text, good, sizeof good);
            text[at] = (char)octets[i];
            if (read_text(&c, (struct span){text, sizeof good - 1}, fault) == 0)
                roster_unref(c.roster);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_document),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_tls_doors),
        cmocka_unit_test(test_overlooked),
        cmocka_unit_test(test_hostile_documents),
        cmocka_unit_test(test_hostile_octets),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_changed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

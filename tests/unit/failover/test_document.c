#include "failover/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#define NOW ((time_t)1795176000) /* 2026-11-20T12:00:00Z, a multiple of the step of 150 s */
#define DAY_TEXT "2026-11-20T12:"

static struct policy *policy_of(const char *const *domains, const char *const *hosts,
                                const struct port_range *connect, size_t connects,
                                const struct port_range *http, size_t https)
{
    const char *why;
    struct rules *rules = rules_create();
    assert_non_null(rules);
    for (; *domains != NULL; domains++)
        assert_int_equal(rules_add_domain(rules, span_of(*domains), &why), 0);
    for (; *hosts != NULL; hosts++)
        assert_int_equal(rules_add_host(rules, span_of(*hosts), &why), 0);
    struct policy_options o = {.rules = rules,
                               .connect_ports = connect,
                               .connect_port_count = connects,
                               .http_ports = http,
                               .http_port_count = https};
    struct policy *p = policy_create(&o);
    assert_non_null(p);
    return p;
}

static struct policy *policy_usual(void)
{
    static const char *const domains[] = {"digicert.com", "globalsign.com", NULL};
    static const char *const hosts[] = {"ca.example", "192.0.2.7", "[2001:db8::7]", NULL};
    static const struct port_range connect[] = {{443, 443}, {8443, 8450}};
    static const struct port_range http[] = {{80, 80}, {8445, 8460}, {443, 443}};
    return policy_of(domains, hosts, connect, 2, http, 3);
}

static void member_put(struct roster *r, const char *url, const char *zone, enum member_state state,
                       bool self)
{
    struct member m;
    assert_int_equal(roster_parse_member(&m, url, NULL), 0);
    (void)snprintf(m.zone, sizeof m.zone, "%s", zone);
    m.state = state;
    m.self = self;
    m.started = self ? 1795000000 : 0;
    assert_int_equal(roster_add(r, &m), 0);
}

/* In order of preference: px1, px3, [2001:db8::1], px2. */
static struct roster *roster_usual(void)
{
    struct roster *r = roster_create();
    assert_non_null(r);
    member_put(r, "http://px2.plant7.example:48999", "plant7", MEMBER_DOWN, false);
    member_put(r, "https://[2001:db8::1]:48443", "plant\"8\xff", MEMBER_UP, false);
    member_put(r, "http://px1.plant7.example:48999", "plant7", MEMBER_UP, true);
    member_put(r, "http://px3.plant7.example:48999", "plant7", MEMBER_UP, false);
    return r;
}

static struct document_options options_usual(const struct roster *r, const struct policy *p)
{
    return (struct document_options){.identifier = "px1.plant7.example",
                                     .zone = "plant7",
                                     .version = "0.1.0",
                                     .roster = r,
                                     .policy = p,
                                     .ttl_seconds = 600,
                                     .now = NOW};
}

/* The whole document, as strict JSON. Returns owned. */
static cJSON *pvd_made(const struct document_options *o, struct document *d)
{
    const char *end = NULL;
    assert_int_equal(document_pvd(d, o), 0);
    assert_int_equal(strlen(d->text), d->length);
    cJSON *root = cJSON_ParseWithOpts(d->text, &end, true);
    assert_non_null(root);
    return root;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    if (text == NULL)
        fail_msg("no string \"%s\"", name);
    return text;
}

/* An array of strings as "a|b|". */
static const char *joined(const cJSON *object, const char *name, char *out, size_t size)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(object, name);
    const cJSON *item;
    size_t at = 0;
    if (!cJSON_IsArray(array))
        fail_msg("no array \"%s\"", name);
    out[0] = '\0';
    cJSON_ArrayForEach(item, array)
    {
        assert_true(cJSON_IsString(item));
        at += (size_t)snprintf(out + at, size - at, "%s|", item->valuestring);
        assert_true(at < size);
    }
    return out;
}

/* RFC 8801 section 4.3: the keys without which the object is ignored. */
static void pvd_root(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    cJSON *root = pvd_made(&o, &d);
    assert_string_equal(text_of(root, "identifier"), "px1.plant7.example");
    assert_string_equal(text_of(root, "expires"), DAY_TEXT "10:00Z");
    const cJSON *prefixes = cJSON_GetObjectItemCaseSensitive(root, "prefixes");
    assert_true(cJSON_IsArray(prefixes));
    assert_int_equal(cJSON_GetArraySize(prefixes), 0);
    static const char *const known[] = {"identifier", "expires",     "prefixes",
                                        "proxies",    "proxy-match", "vendor-certferry"};
    assert_int_equal(cJSON_GetArraySize(root), 6);
    for (size_t i = 0; i < 6; i++)
        assert_true(cJSON_HasObjectItem(root, known[i]));
    cJSON_Delete(root);
    document_release(&d);
    assert_null(d.text);
    policy_destroy(p);
    roster_unref(r);
}

/* draft-ietf-intarea-proxy-config: protocol and proxy are required; identifiers on all entries or
 * on none. */
static void pvd_proxies(void **state)
{
    (void)state;
    static const struct {
        const char *protocol, *proxy;
    } want[] = {{"http-connect", "px1.plant7.example:48999"},
                {"http-connect", "px3.plant7.example:48999"},
                {"https-connect", "[2001:db8::1]:48443"},
                {"http-connect", "px2.plant7.example:48999"}};
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    cJSON *root = pvd_made(&o, &d);
    const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
    assert_int_equal(cJSON_GetArraySize(proxies), 4);
    for (int i = 0; i < 4; i++) {
        const cJSON *entry = cJSON_GetArrayItem(proxies, i);
        assert_string_equal(text_of(entry, "protocol"), want[i].protocol);
        assert_string_equal(text_of(entry, "proxy"), want[i].proxy);
        /* A key of our own would need an underscore; there is none. */
        assert_int_equal(cJSON_GetArraySize(entry), 3);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(text_of(entry, "identifier"),
                                    text_of(cJSON_GetArrayItem(proxies, k), "identifier"));
    }
    cJSON_Delete(root);
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

/* Draft: one entry for each protocol. TLS doors stand behind all members, here and in the rules;
 * clients of PAC are not sent there. */
static void pvd_tls_doors(void **state)
{
    (void)state;
    static const char order[] =
        "http://px1.plant7.example:48999|http://px3.plant7.example:48999|"
        "https://[2001:db8::1]:48443|http://px2.plant7.example:48999|"
        "https://px3.plant7.example:48998|https://px2.plant7.example:48998|";
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    struct member m;
    char text[1024];
    for (int i = 2; i <= 3; i++) {
        (void)snprintf(text, sizeof text, "http://px%d.plant7.example:48999", i);
        assert_int_equal(roster_parse_member(&m, text, NULL), 0);
        m.tls_port = 48998;
        assert_int_equal(roster_add(r, &m), 0);
    }
    cJSON *root = pvd_made(&o, &d);
    const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
    const cJSON *vendor = cJSON_GetObjectItemCaseSensitive(root, "vendor-certferry");
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(vendor, "members");
    assert_int_equal(cJSON_GetArraySize(proxies), 6);
    const cJSON *door = cJSON_GetArrayItem(proxies, 4);
    assert_int_equal(cJSON_GetArraySize(door), 3);
    assert_string_equal(text_of(door, "protocol"), "https-connect");
    assert_string_equal(text_of(door, "proxy"), "px3.plant7.example:48998");
    assert_string_equal(text_of(door, "identifier"), "https://px3.plant7.example:48998");
    assert_int_equal(cJSON_GetArraySize(members), 4);
    static const int tls_port[] = {0, 48998, 0, 48998};
    for (int i = 0; i < 4; i++) {
        const cJSON *port =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(members, i), "tls_port");
        assert_int_equal(port != NULL ? port->valueint : 0, tls_port[i]);
    }
    const cJSON *match = cJSON_GetObjectItemCaseSensitive(root, "proxy-match");
    assert_string_equal(joined(cJSON_GetArrayItem(match, 0), "proxies", text, sizeof text), order);
    cJSON_Delete(root);
    document_release(&d);
    assert_int_equal(document_pac(&d, &o), 0);
    assert_null(strstr(d.text, "48998"));
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

/* Draft: all properties of a rule must match, so names and addresses have a rule each; ports are
 * strings. */
static void pvd_rules(void **state)
{
    (void)state;
    static const char order[] = "http://px1.plant7.example:48999|http://px3.plant7.example:48999|"
                                "https://[2001:db8::1]:48443|http://px2.plant7.example:48999|";
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    char text[1024];
    cJSON *root = pvd_made(&o, &d);
    const cJSON *match = cJSON_GetObjectItemCaseSensitive(root, "proxy-match");
    assert_int_equal(cJSON_GetArraySize(match), 2);
    const cJSON *names = cJSON_GetArrayItem(match, 0);
    const cJSON *addresses = cJSON_GetArrayItem(match, 1);
    assert_string_equal(joined(names, "domains", text, sizeof text),
                        "*.digicert.com|*.globalsign.com|ca.example|");
    assert_string_equal(joined(addresses, "subnets", text, sizeof text), "192.0.2.7|2001:db8::7|");
    for (int i = 0; i < 2; i++) {
        const cJSON *rule = cJSON_GetArrayItem(match, i);
        assert_int_equal(cJSON_GetArraySize(rule), 3); /* an unknown key would void the rule */
        assert_string_equal(joined(rule, "ports", text, sizeof text), "80|443|8443-8460|");
        assert_string_equal(joined(rule, "proxies", text, sizeof text), order);
    }
    cJSON_Delete(root);
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

/* Entries with identifiers that no rule names MUST NOT be used: that is how "nothing" is said. */
static void pvd_without_rules(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    static const char *const one[] = {"digicert.com", NULL};
    static const struct port_range https = {443, 443};
    struct policy *cases[] = {
        policy_of(none, none, &https, 1, NULL, 0),
        policy_of(one, none, NULL, 0, NULL, 0), /* a rule without ports would match any */
    };
    struct roster *r = roster_usual();
    for (size_t i = 0; i < 2; i++) {
        struct document_options o = options_usual(r, cases[i]);
        struct document d;
        cJSON *root = pvd_made(&o, &d);
        const cJSON *match = cJSON_GetObjectItemCaseSensitive(root, "proxy-match");
        assert_true(cJSON_IsArray(match));
        assert_int_equal(cJSON_GetArraySize(match), 0);
        const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
        assert_non_null(text_of(cJSON_GetArrayItem(proxies, 0), "identifier"));
        cJSON_Delete(root);
        document_release(&d);
        policy_destroy(cases[i]);
    }
    roster_unref(r);
}

static void pvd_vendor(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    cJSON *root = pvd_made(&o, &d);
    const cJSON *vendor = cJSON_GetObjectItemCaseSensitive(root, "vendor-certferry");
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(vendor, "members");
    const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
    assert_string_equal(text_of(vendor, "version"), "0.1.0");
    assert_int_equal(cJSON_GetArraySize(members), 4);
    for (int i = 0; i < 4; i++) {
        const cJSON *member = cJSON_GetArrayItem(members, i);
        assert_string_equal(text_of(member, "identifier"),
                            text_of(cJSON_GetArrayItem(proxies, i), "identifier"));
        assert_true(cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(member, "weight")));
        assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(member, "self")), i == 0);
    }
    const cJSON *self = cJSON_GetArrayItem(members, 0);
    assert_string_equal(text_of(self, "zone"), "plant7");
    assert_string_equal(text_of(self, "state"), "up");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(self, "started")) ==
                1795000000.0);
    assert_string_equal(text_of(cJSON_GetArrayItem(members, 3), "state"), "down");
    /* A zone of octets that are no text becomes text. */
    assert_string_equal(text_of(cJSON_GetArrayItem(members, 2), "zone"), "plant\"8\xef\xbf\xbd");
    cJSON_Delete(root);
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

/* Text and ETag stay for a step of a quarter of the ttl; never is less than the whole ttl promised.
 */
static void expires_is_quantised(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    static const unsigned ttls[] = {20, 21, 600, 86400, 1, 0};
    for (size_t t = 0; t < sizeof ttls / sizeof *ttls; t++) {
        struct document_options o = options_usual(r, p);
        struct document before = {0};
        unsigned changes = 0;
        o.ttl_seconds = ttls[t];
        for (time_t after = 0; after < 400; after++) {
            struct document d;
            o.now = NOW + after;
            assert_int_equal(document_pvd(&d, &o), 0);
            assert_true(d.stale_after > o.now);
            assert_int_equal(d.max_age, d.stale_after - o.now);
            assert_true(d.max_age <= (ttls[t] / 4 > 0 ? ttls[t] / 4 : 1));
            if (before.text != NULL) {
                bool same = strcmp(d.text, before.text) == 0;
                assert_int_equal(same, strcmp(d.etag, before.etag) == 0);
                assert_int_equal(same, o.now < before.stale_after);
                changes += !same;
            }
            document_release(&before);
            before = d;
        }
        document_release(&before);
        unsigned step = ttls[t] / 4 > 0 ? ttls[t] / 4 : 1;
        assert_true(changes >= 399 / step && changes <= 399 / step + 1);
    }
    policy_destroy(p);
    roster_unref(r);
}

static void etag_is_a_strong_one(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document a, b;
    assert_int_equal(document_pvd(&a, &o), 0);
    /* RFC 9110 section 8.8.3: quotes, and no W/ before them. */
    assert_int_equal(strlen(a.etag), 34);
    assert_int_equal(a.etag[0], '"');
    assert_int_equal(a.etag[33], '"');
    assert_int_equal(strspn(a.etag + 1, "0123456789abcdef"), 32);
    o.version = "0.1.1";
    assert_int_equal(document_pvd(&b, &o), 0);
    assert_string_not_equal(a.etag, b.etag);
    document_release(&b);
    assert_int_equal(document_pac(&b, &o), 0);
    assert_string_not_equal(a.etag, b.etag);
    document_release(&a);
    document_release(&b);
    policy_destroy(p);
    roster_unref(r);
}

/* ---- who is offered ---- */

/* "up", "draining", ... as letters: u ? d x; member i is px<i>. Returns owned. */
static struct roster *roster_of(const char *states)
{
    struct roster *r = roster_create();
    assert_non_null(r);
    for (size_t i = 0; states[i] != '\0'; i++) {
        char url[32];
        enum member_state state = states[i] == 'u'   ? MEMBER_UP
                                  : states[i] == '?' ? MEMBER_UNKNOWN
                                  : states[i] == 'd' ? MEMBER_DRAINING
                                                     : MEMBER_DOWN;
        (void)snprintf(url, sizeof url, "http://px%zu:1", i);
        member_put(r, url, "", state, i == 0);
    }
    return r;
}

/* Draining ones are not offered while there is another to go to; down ones are the last resort.
 * Vendor data tells of all. */
static void draining_members(void **state)
{
    (void)state;
    static const struct {
        const char *states, *offered; /* digits: who, in order */
    } cases[] = {
        {"u", "0"},   {"d", "0"},   {"x", "0"},      {"du", "1"},  {"d?", "1"},     {"dx", "01"},
        {"xd", "10"}, {"ddu", "2"}, {"uxd?", "031"}, {"dd", "01"}, {"xdxu", "302"}, {"", ""},
    };
    struct policy *p = policy_usual();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct roster *r = roster_of(cases[i].states);
        struct document_options o = options_usual(r, p);
        struct document d;
        char want[512] = "", script[256] = "";
        cJSON *root = pvd_made(&o, &d);
        const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
        const cJSON *match = cJSON_GetObjectItemCaseSensitive(root, "proxy-match");
        const cJSON *vendor = cJSON_GetObjectItemCaseSensitive(root, "vendor-certferry");
        const cJSON *members = cJSON_GetObjectItemCaseSensitive(vendor, "members");
        size_t offered = strlen(cases[i].offered), at = 0, more = 0;
        assert_int_equal(cJSON_GetArraySize(proxies), offered);
        assert_int_equal(cJSON_GetArraySize(members), strlen(cases[i].states));
        for (size_t k = 0; k < offered; k++) {
            char proxy[32];
            (void)snprintf(proxy, sizeof proxy, "px%c:1", cases[i].offered[k]);
            assert_string_equal(text_of(cJSON_GetArrayItem(proxies, (int)k), "proxy"), proxy);
            at += (size_t)snprintf(want + at, sizeof want - at, "http://%s|", proxy);
            more += (size_t)snprintf(script + more, sizeof script - more, "%sPROXY %s",
                                     k > 0 ? "; " : "", proxy);
        }
        for (size_t k = 0; k < strlen(cases[i].states); k++) {
            const cJSON *m = cJSON_GetArrayItem(members, (int)k);
            assert_int_equal(cJSON_HasObjectItem(m, "proxy"), k >= offered);
            if (k >= offered)
                assert_string_equal(text_of(m, "state"), "draining");
        }
        char listed[256];
        assert_int_equal(cJSON_GetArraySize(match), offered > 0 ? 2 : 0);
        if (offered > 0)
            assert_string_equal(
                joined(cJSON_GetArrayItem(match, 0), "proxies", listed, sizeof listed), want);
        cJSON_Delete(root);
        document_release(&d);
        assert_int_equal(document_pac(&d, &o), 0);
        (void)snprintf(want, sizeof want, "var proxies = \"%s\";", offered > 0 ? script : "DIRECT");
        assert_non_null(strstr(d.text, want));
        document_release(&d);
        roster_unref(r);
    }
    policy_destroy(p);
}

/* What is not known is not there; a load in steps, so that each request does not make a new
 * document. */
static void optional_facts(void **state)
{
    (void)state;
    static const struct {
        unsigned load;
        int told; /* -1: not */
    } cases[] = {{0, 0},     {49, 0},     {50, 100},    {149, 100},
                 {949, 900}, {950, 1000}, {1000, 1000}, {1001, -1}};
    struct policy *p = policy_usual();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct roster *r = roster_create();
        struct member m;
        struct document d;
        assert_non_null(r);
        assert_int_equal(roster_parse_member(&m, "http://px1:1", NULL), 0);
        m.load = cases[i].load;
        m.priority = 9;
        if (i % 2 == 0)
            (void)snprintf(m.version, sizeof m.version, "0.1.%zu", i);
        assert_int_equal(roster_add(r, &m), 0);
        struct document_options o = options_usual(r, p);
        cJSON *root = pvd_made(&o, &d);
        const cJSON *vendor = cJSON_GetObjectItemCaseSensitive(root, "vendor-certferry");
        const cJSON *member =
            cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(vendor, "members"), 0);
        const cJSON *load = cJSON_GetObjectItemCaseSensitive(member, "load");
        assert_int_equal(load != NULL ? load->valueint : -1, cases[i].told);
        assert_int_equal(cJSON_GetObjectItemCaseSensitive(member, "priority")->valueint, 9);
        assert_int_equal(cJSON_HasObjectItem(member, "version"), i % 2 == 0);
        cJSON_Delete(root);
        document_release(&d);
        roster_unref(r);
    }
    policy_destroy(p);
}

static void pac_text(void **state)
{
    (void)state;
    struct roster *r = roster_usual();
    struct policy *p = policy_usual();
    struct document_options o = options_usual(r, p);
    struct document d;
    assert_int_equal(document_pac(&d, &o), 0);
    assert_int_equal(strlen(d.text), d.length);
    assert_non_null(strstr(d.text, "var proxies = \"PROXY px1.plant7.example:48999; "
                                   "PROXY px3.plant7.example:48999; "
                                   "HTTPS [2001:db8::1]:48443; "
                                   "PROXY px2.plant7.example:48999\";\n"));
    assert_non_null(strstr(d.text, "var domains = {\n    \".digicert.com\": 1,\n"
                                   "    \".globalsign.com\": 1\n};\n"));
    assert_non_null(strstr(d.text, "var hosts = {\n    \".ca.example\": 1,\n"
                                   "    \".192.0.2.7\": 1,\n    \".2001:db8::7\": 1\n};\n"));
    assert_non_null(strstr(d.text, "function FindProxyForURL(url, host) {\n"));
    assert_non_null(strstr(d.text, "return \"DIRECT\";"));
    /* Chrome reads it as ISO-8859-1; nothing newer than ECMAScript 3. */
    for (size_t i = 0; i < d.length; i++)
        assert_true(d.text[i] == '\n' || (d.text[i] >= 0x20 && d.text[i] < 0x7f));
    static const char *const newer[] = {"let ", "const ",    "=>",       "`",
                                        "?.",   "includes(", "endsWith("};
    for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
        assert_null(strstr(d.text, newer[i]));
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

static void empty_roster_and_allowlist(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    struct roster *r = roster_create();
    struct policy *p = policy_of(none, none, NULL, 0, NULL, 0);
    assert_non_null(r);
    struct document_options o = options_usual(r, p);
    struct document d;
    assert_int_equal(document_pac(&d, &o), 0);
    assert_non_null(strstr(d.text, "var proxies = \"DIRECT\";\n"));
    assert_non_null(strstr(d.text, "var domains = {\n};\nvar hosts = {\n};\n"));
    document_release(&d);
    cJSON *root = pvd_made(&o, &d);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(root, "proxies")), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(root, "proxy-match")), 0);
    cJSON_Delete(root);
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

/* Names of 253 octets, and as many members as a roster may have. */
static void the_largest_roster(void **state)
{
    (void)state;
    struct roster *r = roster_create();
    struct policy *p = policy_usual();
    assert_non_null(r);
    for (unsigned i = 0; i < ROSTER_MEMBERS_MAX; i++) {
        struct member m = {.protocol = MEMBER_HTTPS_CONNECT, .port = 65535};
        memset(m.host, 'a', HOSTNAME_MAX);
        for (size_t dot = 60; dot < HOSTNAME_MAX; dot += 61)
            m.host[dot] = '.';
        m.host[0] = (char)('a' + i / 16);
        m.host[1] = (char)('a' + i % 16);
        assert_int_equal(roster_add(r, &m), 0);
    }
    struct document_options o = options_usual(r, p);
    struct document d;
    cJSON *root = pvd_made(&o, &d);
    const cJSON *proxies = cJSON_GetObjectItemCaseSensitive(root, "proxies");
    assert_int_equal(cJSON_GetArraySize(proxies), ROSTER_MEMBERS_MAX);
    const cJSON *last = cJSON_GetArrayItem(proxies, ROSTER_MEMBERS_MAX - 1);
    assert_int_equal(strlen(text_of(last, "proxy")), HOSTNAME_MAX + 6);
    assert_int_equal(strlen(text_of(last, "identifier")), HOSTNAME_MAX + 14);
    assert_string_equal(text_of(last, "identifier") + 8, text_of(last, "proxy"));
    cJSON_Delete(root);
    document_release(&d);
    assert_int_equal(document_pac(&d, &o), 0);
    assert_non_null(strstr(d.text, ":65535\";\n"));
    assert_true(d.length < 1000000); /* Chrome's limit of a PAC file */
    document_release(&d);
    policy_destroy(p);
    roster_unref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pvd_root),
        cmocka_unit_test(pvd_proxies),
        cmocka_unit_test(pvd_tls_doors),
        cmocka_unit_test(pvd_rules),
        cmocka_unit_test(pvd_without_rules),
        cmocka_unit_test(pvd_vendor),
        cmocka_unit_test(draining_members),
        cmocka_unit_test(optional_facts),
        cmocka_unit_test(expires_is_quantised),
        cmocka_unit_test(etag_is_a_strong_one),
        cmocka_unit_test(pac_text),
        cmocka_unit_test(empty_roster_and_allowlist),
        cmocka_unit_test(the_largest_roster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "failover/believe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct member made(const char *url)
{
    struct member m;
    const char *why = NULL;
    if (roster_parse_member(&m, url, &why) != 0)
        fail_msg("%s: %s", url, why);
    m.state = MEMBER_UP;
    return m;
}

static struct roster *roster_of(const char *const *urls)
{
    struct roster *r = roster_create();
    assert_non_null(r);
    for (; *urls != NULL; urls++) {
        struct member m = made(*urls);
        m.self = true; /* a liar's word */
        assert_int_equal(roster_add(r, &m), 0);
    }
    return r;
}

/* "http://a:1 http://b:2" */
static const char *text_of(const struct roster *r)
{
    static char text[4096];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < roster_count(r); i++) {
        const struct member *m = roster_member(r, i);
        assert_false(m->self);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s:%u", i > 0 ? " " : "",
                                 m->host, (unsigned)m->port);
    }
    return text;
}

/* Configured with px1.plant7.example:48999 and the domain plant8.example, listening on 127.0.0.1
 * and ::1, port 48999. */
struct fixture {
    struct believe_options options;
    struct rules *hosts;
    struct roster *seeds;
    struct addr ours[2];
};

static void fill(struct fixture *f)
{
    struct member seed = made("http://px1.plant7.example:48999");
    f->hosts = rules_create();
    f->seeds = roster_create();
    assert_int_equal(rules_add_host(f->hosts, SPAN("px1.plant7.example"), NULL), 0);
    assert_int_equal(rules_add_domain(f->hosts, SPAN("plant8.example"), NULL), 0);
    assert_int_equal(roster_add(f->seeds, &seed), 0);
    assert_int_equal(addr_parse(&f->ours[0], SPAN("127.0.0.1"), 48999), 0);
    assert_int_equal(addr_parse(&f->ours[1], SPAN("::1"), 48999), 0);
    f->options = (struct believe_options){f->seeds, f->hosts, f->ours, 2, "device7"};
}

static void release(struct fixture *f)
{
    roster_unref(f->seeds);
    rules_destroy(f->hosts);
}

static void who_is_believed(void **state)
{
    (void)state;
    static const char seed[] = "px1.plant7.example:48999";
    static const struct {
        bool is_signed;
        const char *told[5];
        const char *believed;
        struct disbelieved left_out;
    } cases[] = {
        {false, {NULL}, seed, {0, 0, 0}},
        {false, {"http://px1.plant7.example:48999", NULL}, seed, {0, 0, 0}},
        {false,
         {"http://px2.plant8.example:48999", "http://plant8.example:1", NULL},
         "px2.plant8.example:48999 plant8.example:1 px1.plant7.example:48999",
         {0, 0, 0}},
        /* another port of a host that we know */
        {false,
         {"http://px1.plant7.example:1", NULL},
         "px1.plant7.example:1 px1.plant7.example:48999",
         {0, 0, 0}},
        /* strangers, some of them much alike */
        {false,
         {"http://px2.plant7.example:48999", "http://px1.plant7.example.evil.example:48999",
          "http://evilplant8.example:48999", "http://192.0.2.1:48999", NULL},
         seed,
         {4, 0, 0}},
        {true,
         {"http://px2.plant7.example:48999", "http://192.0.2.1:48999", NULL},
         "px2.plant7.example:48999 192.0.2.1:48999 px1.plant7.example:48999",
         {0, 0, 0}},
        /* ourselves: loops */
        {true,
         {"http://127.0.0.1:48999", "http://[::1]:48999", "http://localhost:48999",
          "http://0.0.0.0:48999", NULL},
         seed,
         {0, 4, 0}},
        {true, {"http://127.0.0.1:48998", NULL}, "127.0.0.1:48998 px1.plant7.example:48999", {0}},
        {true, {"http://127.0.0.2:48999", NULL}, "127.0.0.2:48999 px1.plant7.example:48999", {0}},
        /* our name does not lead to a listener on loopback */
        {true, {"http://device7:48999", NULL}, "device7:48999 px1.plant7.example:48999", {0}},
        {false, {"https://px3.plant8.example:443", NULL}, seed, {0, 0, 1}},
    };
    struct fixture f;
    fill(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct roster *told = roster_of(cases[i].told);
        struct roster *out;
        struct disbelieved left_out;
        assert_int_equal(believe_roster(&out, told, cases[i].is_signed, &f.options, &left_out), 0);
        if (strcmp(text_of(out), cases[i].believed) != 0)
            fail_msg("case %zu: %s instead of %s", i, text_of(out), cases[i].believed);
        assert_memory_equal(&left_out, &cases[i].left_out, sizeof left_out);
        roster_unref(out);
        roster_unref(told);
    }
    release(&f);
}

static void listening_everywhere(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool ourselves;
    } cases[] = {
        {"http://127.0.0.1:48999", true},  {"http://127.9.9.9:48999", true},
        {"http://[::1]:48999", true},      {"http://localhost:48999", true},
        {"http://device7:48999", true},    {"http://192.0.2.7:48999", false},
        {"http://127.0.0.1:48998", false}, {"http://device8:48999", false},
    };
    struct fixture f;
    fill(&f);
    assert_int_equal(addr_parse(&f.ours[0], SPAN("0.0.0.0"), 48999), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct member m = made(cases[i].url);
        if (believe_is_ourselves(&m, &f.options) != cases[i].ourselves)
            fail_msg("%s", cases[i].url);
    }
    release(&f);
}

/* What the document says of a seed outranks our command line; a seed that it does not name comes
 * last. */
static void seeds(void **state)
{
    (void)state;
    struct fixture f;
    struct disbelieved left_out;
    struct roster *out, *told = roster_create();
    struct member m = made("http://px1.plant7.example:48999");
    m.priority = 3;
    m.weight = 20;
    (void)snprintf(m.zone, sizeof m.zone, "plant7");
    fill(&f);
    assert_int_equal(roster_add(told, &m), 0);
    assert_int_equal(believe_roster(&out, told, false, &f.options, &left_out), 0);
    assert_int_equal(roster_count(out), 1);
    assert_int_equal(roster_member(out, 0)->priority, 3);
    assert_int_equal(roster_member(out, 0)->weight, 20);
    assert_string_equal(roster_member(out, 0)->zone, "plant7");
    roster_unref(out);

    assert_int_equal(believe_roster(&out, NULL, false, &f.options, &left_out), 0);
    assert_int_not_equal(roster_member(out, 0)->priority, ROSTER_PRIORITY_MAX); /* it is alone */
    roster_unref(out);

    m = made("http://px2.plant8.example:48999");
    assert_int_equal(roster_add(told, &m), 0);
    (void)snprintf(m.host, sizeof m.host, "px3.plant8.example");
    roster_unref(told);
    told = roster_create();
    assert_int_equal(roster_add(told, &m), 0);
    assert_int_equal(believe_roster(&out, told, false, &f.options, &left_out), 0);
    assert_int_equal(roster_count(out), 2);
    assert_int_equal(roster_member(out, 1)->priority, ROSTER_PRIORITY_MAX);
    roster_unref(out);
    roster_unref(told);
    release(&f);
}

/* The greatest roster there can be leaves no room for the seed, and that is no error. */
static void full(void **state)
{
    (void)state;
    struct fixture f;
    struct disbelieved left_out;
    struct roster *out, *told = roster_create();
    struct member m = made("http://px1.plant8.example:48999");
    fill(&f);
    for (unsigned i = 0; i < ROSTER_MEMBERS_MAX; i++) {
        m.port = (uint16_t)(1000 + i);
        assert_int_equal(roster_add(told, &m), 0);
    }
    assert_int_equal(believe_roster(&out, told, false, &f.options, &left_out), 0);
    assert_int_equal(roster_count(out), ROSTER_MEMBERS_MAX);
    roster_unref(out);
    roster_unref(told);
    release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_believed),
        cmocka_unit_test(listening_everywhere),
        cmocka_unit_test(seeds),
        cmocka_unit_test(full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_status.c - the page for people: what it tells, and that nothing of others becomes HTML. */
#include "proxy/control/status.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct metrics one, two;
static struct metrics *const workers[] = {&one, &two};

static struct roster *roster_of(const char *zone)
{
    struct roster *r = roster_create();
    struct member m = {.host = "px1.plant7.example",
                       .port = 48999,
                       .tls_port = 48998,
                       .state = MEMBER_UP,
                       .self = true,
                       .load = 305,
                       .version = "0.1.0"};
    assert_non_null(r);
    (void)snprintf(m.zone, sizeof m.zone, "%s", zone);
    assert_int_equal(roster_add(r, &m), 0);
    m = (struct member){.host = "2001:db8::1",
                        .port = 1,
                        .state = MEMBER_DOWN,
                        .load = ROSTER_LOAD_UNKNOWN,
                        .version = "<i>&'"};
    assert_int_equal(roster_add(r, &m), 0);
    return r;
}

static struct status status_of(const struct roster *r)
{
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    return (struct status){.version = "0.1.0",
                           .started = 1795176000,
                           .now = 1795179600,
                           .roster = r,
                           .connections = 7,
                           .connections_max = 100,
                           .waiting = 3,
                           .metrics = workers,
                           .metrics_count = 2};
}

/* The whole page in static text. */
static const char *page(const struct status *s)
{
    static char text[65536];
    struct buf out;
    buf_init(&out, sizeof text);
    assert_int_equal(status_print(&out, s), 0);
    (void)snprintf(text, sizeof text, "%.*s", SPAN_ARGS(buf_span(&out)));
    buf_release(&out);
    return text;
}

static void tells(const char *text, const char *what)
{
    if (strstr(text, what) == NULL)
        fail_msg("not in the page: %s\n%s", what, text);
}

static void what_goes_on(void **state)
{
    struct roster *r = roster_of("plant7");
    struct status s = status_of(r);
    (void)state;
    metrics_add(&one, METRIC_TUNNELS_OPENED, 5);
    metrics_add(&two, METRIC_TUNNELS_OPENED, 2);
    metrics_add(&two, METRIC_TUNNELS_CLOSED, 3);
    const char *text = page(&s);
    tells(text, "<!DOCTYPE html>");
    tells(text, "<h1>certferry on px1.plant7.example</h1>");
    tells(text, "<p>Ready. Version 0.1.0, running since 2026-11-20 12:00:00 UTC; this was true at "
                "2026-11-20 13:00:00 UTC.</p>");
    tells(text, "<td>7 of 100</td>");
    tells(text, "<tr><th>Live tunnels</th><td>4</td></tr>");
    tells(text, "<tr><th>Waiting in the queue</th><td>3</td></tr>");
    tells(text, "<td>http://px1.plant7.example:48999</td><td>this one</td><td>plant7</td>"
                "<td>30%</td><td>0.1.0</td>");
    tells(text, "<td>http://[2001:db8::1]:1</td><td>down</td><td></td><td></td>");
    tells(text, "<p>Nothing.</p>");
    tells(text, "export HTTPS_PROXY=http://px1.plant7.example:48999 ");
    tells(text, "-Dhttps.proxyHost=px1.plant7.example -Dhttps.proxyPort=48999");
    tells(text, "curl --proxy https://px1.plant7.example:48998");
    s.not_ready = "no way out";
    tells(page(&s), "<strong>Not ready: no way out.</strong>");
    roster_unref(r);
}

/* The most frequent first, over all workers and classes; what went well is none. */
static void refusals(void **state)
{
    struct roster *r = roster_of("");
    struct status s = status_of(r);
    (void)state;
    metrics_count(&one.exchanges[PROTOCOL_TUNNEL][OUTCOME_HOST_DENIED], 2);
    metrics_count(&two.exchanges[PROTOCOL_EST][OUTCOME_HOST_DENIED], 40);
    metrics_count(&two.exchanges[PROTOCOL_TUNNEL][OUTCOME_SNI_MISMATCH], 50);
    metrics_count(&two.exchanges[PROTOCOL_TUNNEL][OUTCOME_OK], 99);
    metrics_count(&two.exchanges[PROTOCOL_TUNNEL][OUTCOME_CLIENT_RESET], 98);
    const char *text = page(&s);
    tells(text, "<tr><td>50</td><td>sni-mismatch</td>");
    tells(text, "<tr><td>42</td><td>host-denied</td><td>Host not in the allowlist</td><td>The "
                "operator must add the domain to allowed.domains");
    assert_true(strstr(text, "sni-mismatch") < strstr(text, "host-denied"));
    assert_null(strstr(text, "<td>99</td>"));
    assert_null(strstr(text, "client-reset"));
    roster_unref(r);
}

/* A zone is any text, and a peer's is the peer's. */
static void text_of_others(void **state)
{
    struct roster *r = roster_of("</td><script>alert(\"x\")</script>\x1b[2J\n&amp;W\xc3\xbc");
    struct status s = status_of(r);
    (void)state;
    const char *text = page(&s);
    assert_null(strstr(text, "<script"));
    assert_null(strchr(text, '\x1b'));
    tells(text,
          "<td>&#60;/td&#62;&#60;script&#62;alert(&#34;x&#34;)&#60;/script&#62;\xef\xbf\xbd[2J"
          "\xef\xbf\xbd&#38;amp;W\xc3\xbc</td>");
    tells(text, "<td>&#60;i&#62;&#38;&#39;</td>");
    roster_unref(r);
}

static void no_room(void **state)
{
    struct roster *r = roster_of("");
    struct status s = status_of(r);
    size_t whole = strlen(page(&s));
    (void)state;
    for (size_t most = 0; most < whole; most++) {
        struct buf out;
        buf_init(&out, most);
        assert_int_equal(status_print(&out, &s), -ENOBUFS);
        buf_release(&out);
    }
    roster_unref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_on),
        cmocka_unit_test(refusals),
        cmocka_unit_test(text_of_others),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_proxy_status.c - whose response it is, and whether it proves that nothing was forwarded:
 * what may be repeated hangs on it, so every doubt is a no. */
#include "proxy/wire/proxy_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *fields; /* with CRLF each */
    bool proxys, unforwarded;
} cases[] = {
    {"", false, false},
    {"Proxy-Status: ferry; error=connection_refused\r\n", true, true},
    {"proxy-status: ferry;error=dns_error\r\n", true, true},
    {"Proxy-Status: ferry ; error=dns_timeout\r\n", true, true},
    {"Proxy-Status: \"a ferry\"; error=connection_timeout\r\n", true, true},
    {"Proxy-Status: \"a; error=dns_error\"; error=connection_limit_reached\r\n", true, true},
    {"Proxy-Status: ferry; next-hop=\"x,y;z\"; error=destination_unavailable\r\n", true, true},
    {"Proxy-Status: ferry; details=\"a\\\"; b\"; error=destination_ip_unroutable\r\n", true, true},
    {"Proxy-Status: ferry; error=proxy_internal_response\r\n", true, true},
    {"Proxy-Status: ferry; error=connection_refused, second; received-status=502\r\n", true, true},
    {"Proxy-Status: ferry; error=connection_refused\r\nProxy-Status: second\r\n", true, true},
    /* The request may have gone on, or been answered. */
    {"Proxy-Status: ferry; error=http_response_timeout\r\n", true, false},
    {"Proxy-Status: ferry; error=http_response_incomplete\r\n", true, false},
    {"Proxy-Status: ferry; error=connection_terminated\r\n", true, false},
    {"Proxy-Status: ferry; error=connection_read_timeout\r\n", true, false},
    {"Proxy-Status: ferry; error=proxy_internal_error\r\n", true, false},
    {"Proxy-Status: ferry; error=http_request_denied\r\n", true, false},
    {"Proxy-Status: ferry; error=x-unknown\r\n", true, false},
    {"Proxy-Status: ferry; error=connection_refused2\r\n", true, false},
    {"Proxy-Status: ferry; error=\"connection_refused\"\r\n", true, false},
    /* It has come through somebody, so it may be an origin's word. */
    {"Proxy-Status: ferry; error=connection_refused\r\nVia: 1.1 x\r\n", false, false},
    {"Via: 1.1 squid\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n", true, false},
    /* The nearest to the origin says nothing of an error. */
    {"Proxy-Status: first, ferry; error=connection_refused\r\n", false, false},
    {"Proxy-Status: first; received-status=200, ferry; error=dns_error\r\n", false, false},
    {"Proxy-Status: first\r\nProxy-Status: ferry; error=connection_refused\r\n", false, false},
    {"Proxy-Status: \"ferry; error=connection_refused\"\r\n", false, false},
    {"Proxy-Status: \"ferry; error=connection_refused\r\n", false, false},
    {"Proxy-Status: \"ferry\\\r\n", false, false},
    {"Proxy-Status: ferry; details=\"; error=connection_refused\"\r\n", false, false},
    {"Proxy-Status: ferry; xerror=connection_refused\r\n", false, false},
    {"Proxy-Status: ferry; error\r\n", false, false},
    {"Proxy-Status: ferry; error=\r\n", false, false},
    {"Proxy-Status: ferry; Error=connection_refused\r\n", false, false},
    {"Proxy-Status:\r\n", false, false},
    {"Proxy-Status: ;;;,,,\r\n", false, false},
    {"Proxy-Status: ferry error=connection_refused\r\n", false, false},
};

static void test_cases(void **state)
{
    static const struct head_limits limits = {65536, 32768, HEAD_FIELDS_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct head h;
        char text[512];
        size_t scanned = 0;
        (void)snprintf(text, sizeof text, "HTTP/1.1 503 Busy\r\n%s\r\n", cases[i].fields);
        assert_int_equal(head_parse(&h, HEAD_RESPONSE, text, strlen(text), &limits, &scanned, NULL),
                         HEAD_OK);
        if (proxy_status_is_proxys(&h) != cases[i].proxys ||
            proxy_status_unforwarded(&h) != cases[i].unforwarded)
            fail_msg("%s", cases[i].fields);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_binding.c - which heads tie a connection to whoever uses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/wire/binding.h"

static const struct {
    enum head_kind kind;
    const char *fields;
    bool meant;
} cases[] = {
    {HEAD_REQUEST, "", false},
    {HEAD_REQUEST, "Authorization: Basic TlRMTSA=\r\n", false},
    {HEAD_REQUEST, "Authorization: NTLM TlRMTVNTUAAB\r\n", true},
    {HEAD_REQUEST, "authorization: ntlm TlRMTVNTUAAB\r\n", true},
    {HEAD_REQUEST, "Authorization: Negotiate YIIJ\r\n", true},
    {HEAD_REQUEST, "Authorization: Negotiated YIIJ\r\n", false},
    {HEAD_REQUEST, "Authorization: Bearer Negotiate\r\n", false},
    {HEAD_REQUEST, "X-Authorization: NTLM x\r\n", false},
    {HEAD_RESPONSE, "WWW-Authenticate: Basic realm=\"NTLM\"\r\n", false},
    {HEAD_RESPONSE, "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n", true},
    {HEAD_RESPONSE, "WWW-Authenticate: Basic realm=\"a\", NTLM\r\n", true},
    {HEAD_RESPONSE, "WWW-Authenticate: Basic realm=\"a\" , \t, Negotiate,Digest x=y\r\n", true},
    {HEAD_RESPONSE, "WWW-Authenticate: ,\r\n", false},
    {HEAD_RESPONSE, "WWW-Authenticate:\r\n", false},
};

static void test_cases(void **state)
{
    const struct head_limits limits = {65536, 32768, 100};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        struct head head;
        size_t scanned = 0;
        const char *line =
            cases[i].kind == HEAD_REQUEST ? "GET http://a/ HTTP/1.1\r\nHost: a" : "HTTP/1.1 401 No";
        int n = snprintf(text, sizeof text, "%s\r\n%s\r\n", line, cases[i].fields);
        assert_int_equal(head_parse(&head, cases[i].kind, text, (size_t)n, &limits, &scanned, NULL),
                         HEAD_OK);
        if (binding_is_meant(&head) != cases[i].meant)
            fail_msg("case %zu: %s", i, cases[i].fields);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests_name("binding", tests, NULL, NULL);
}

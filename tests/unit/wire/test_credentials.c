/* test_credentials.c - Proxy-Authorization: Basic (RFC 7617), strictly, from real clients and from
 * attackers. */
#include "proxy/wire/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEN "AAAAAAAAAA"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct row {
    const char *fields;
    enum credentials_result result;
    const char *user, *password;
} rows[] = {
    {"", CREDENTIALS_NONE, "", ""},
    /* RFC 7617 section 2, and 2.1 with a pound sign in UTF-8 */
    {"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", CREDENTIALS_OK, "Aladdin",
     "open sesame"},
    {"Proxy-Authorization: Basic dGVzdDoxMjPCow==\r\n", CREDENTIALS_OK, "test", "123\xc2\xa3"},
    {"proxy-authorization:   bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==  \r\n", CREDENTIALS_OK, "Aladdin",
     "open sesame"},
    {"Proxy-Authorization: Basic dTo=\r\n", CREDENTIALS_OK, "u", ""},
    {"Proxy-Authorization: Basic OnA=\r\n", CREDENTIALS_OK, "", "p"},
    {"Proxy-Authorization: Basic YTpiOmM=\r\n", CREDENTIALS_OK, "a", "b:c"}, /* the first colon */
    /* RFC 9110 section 11.7.2: Authorization is the origin's, whatever IoT Edge sends with it */
    {"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", CREDENTIALS_NONE, "", ""},
    {"Proxy-Authorization: Bearer abc\r\n", CREDENTIALS_NONE, "", ""},
    {"Proxy-Authorization: Basicx dTpw\r\n", CREDENTIALS_NONE, "", ""},
    {"Proxy-Authorization: Digest username=\"u\"\r\n", CREDENTIALS_NONE, "", ""},
    /* two opinions on who asks */
    {"Proxy-Authorization: Basic dTpw\r\nProxy-Authorization: Basic dTpw\r\n", CREDENTIALS_BAD, "",
     ""},
    {"Proxy-Authorization: Basic dTpw\r\nProxy-Authorization: Bearer x\r\n", CREDENTIALS_BAD, "",
     ""},
    /* RFC 4648 sections 3.3, 3.5 and 4 */
    {"Proxy-Authorization: Basic\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTp\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTo\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTp=\r\n", CREDENTIALS_BAD, "",
     ""}, /* bits behind the last octet */
    {"Proxy-Authorization: Basic dR==\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTpw====\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic =dTp\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dT=w\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTo=dTo=\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTpw dTpw\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTpw,dTpw\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dTp_\r\n", CREDENTIALS_BAD, "", ""}, /* the alphabet for URLs */
    /* RFC 7617 section 2: no colon, control characters */
    {"Proxy-Authorization: Basic dXNlcg==\r\n", CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic dQA6cA==\r\n", CREDENTIALS_BAD, "", ""}, /* u NUL : p */
    {"Proxy-Authorization: Basic dTpwAHg=\r\n", CREDENTIALS_BAD, "", ""}, /* u : p NUL x */
    {"Proxy-Authorization: Basic dTpwCng=\r\n", CREDENTIALS_BAD, "", ""}, /* line feed */
    {"Proxy-Authorization: Basic dTp/fw==\r\n", CREDENTIALS_BAD, "", ""}, /* DEL */
    /* longer than anybody's */
    {"Proxy-Authorization: Basic OkFB" HUNDRED HUNDRED HUNDRED TEN TEN TEN TEN "\r\n",
     CREDENTIALS_BAD, "", ""},
    {"Proxy-Authorization: Basic OkFB" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
         HUNDRED "\r\n",
     CREDENTIALS_BAD, "", ""},
};

static void parse(const struct row *r, struct credentials *c, enum credentials_result *result,
                  const char **why)
{
    static struct head head;
    char text[2048];
    size_t scanned = 0;
    int len = snprintf(text, sizeof text,
                       "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n%s\r\n", r->fields);
    struct head_limits limits = {65536, 32768, 100};
    assert_int_equal(head_parse(&head, HEAD_REQUEST, text, (size_t)len, &limits, &scanned, NULL),
                     HEAD_OK);
    *result = credentials_parse(c, &head, why);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct credentials c;
        enum credentials_result result;
        const char *why = NULL;
        memset(&c, 'x', sizeof c);
        parse(&rows[i], &c, &result, &why);
        if (result != rows[i].result)
            fail_msg("row %zu: %s gives %d", i, rows[i].fields, result);
        assert_string_equal(c.user, rows[i].user);
        assert_string_equal(c.password, rows[i].password);
        assert_int_equal(result == CREDENTIALS_BAD, why != NULL && why[0] != '\0');
    }
}

/* 255 octets of each fit. */
static void test_longest(void **state)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char plain[511], text[1024] = "Proxy-Authorization: Basic ";
    struct credentials c;
    enum credentials_result result;
    const char *why = NULL;
    (void)state;
    memset(plain, 'a', sizeof plain);
    plain[255] = ':';
    size_t at = strlen(text);
    for (size_t i = 0; i < sizeof plain; i += 3) {
        unsigned v = (unsigned)plain[i] << 16;
        if (i + 1 < sizeof plain)
            v |= (unsigned)plain[i + 1] << 8;
        if (i + 2 < sizeof plain)
            v |= (unsigned)plain[i + 2];
        text[at++] = alphabet[v >> 18 & 63];
        text[at++] = alphabet[v >> 12 & 63];
        text[at++] = i + 1 < sizeof plain ? alphabet[v >> 6 & 63] : '=';
        text[at++] = i + 2 < sizeof plain ? alphabet[v & 63] : '=';
    }
    memcpy(text + at, "\r\n", 3);
    parse(&(struct row){.fields = text}, &c, &result, &why);
    assert_int_equal(result, CREDENTIALS_OK);
    assert_int_equal(strlen(c.user), CREDENTIALS_MAX);
    assert_int_equal(strlen(c.password), CREDENTIALS_MAX);
    credentials_wipe(&c);
    for (size_t i = 0; i < sizeof c; i++)
        assert_int_equal(((char *)&c)[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

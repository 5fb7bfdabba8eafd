/*
 * fuzz_credentials.c - who is said to ask is exactly who stands in the field, written in one way.
 *
 * Input: one octet of switches; then fields of a head, or a user and a password. What is accepted
 * gives, encoded again by another encoder, the same octets; what may be accepted is, and comes back
 * unchanged.
 */
#include "proxy/wire/credentials.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SWITCH_MAKE = 1, PLAIN_MAX = 2 * CREDENTIALS_MAX + 1, TEXT_MAX = 65536 };

static const struct span name = {"Proxy-Authorization", 19};

/* All of `c`, behind the ends of its texts too: a secret must not be left over. */
static bool is_blank(const struct credentials *c)
{
    static const struct credentials blank;
    return memcmp(c, &blank, sizeof blank) == 0;
}

static void check_clean(const char *text)
{
    assert(strlen(text) <= CREDENTIALS_MAX);
    for (const char *at = text; *at != '\0'; at++)
        assert((unsigned char)*at >= ' ' && *at != 0x7f);
}

/* RFC 7617 section 2, from the values to the field. */
static size_t encode(char *out, const char *user, const char *password)
{
    unsigned char plain[PLAIN_MAX + 1];
    int len = snprintf((char *)plain, sizeof plain, "%s:%s", user, password);
    assert(len > 0 && len <= PLAIN_MAX);
    return (size_t)EVP_EncodeBlock((unsigned char *)out, plain, len);
}

static void check_accepted(const struct credentials *c, const struct head *head)
{
    char again[1024];
    assert(head_count(head, name) == 1);
    struct span value = head_find(head, name)->value;
    assert(value.len > 6 && strncasecmp(value.ptr, "basic ", 6) == 0);
    check_clean(c->user);
    check_clean(c->password);
    assert(strchr(c->user, ':') == NULL);
    size_t len = encode(again, c->user, c->password), at = 5;
    while (value.ptr[at] == ' ')
        at++;
    assert(value.len - at == len && memcmp(value.ptr + at, again, len) == 0);
}

static enum credentials_result parse(struct credentials *c, const struct head *head)
{
    const char *why = NULL;
    memset(c, 'x', sizeof *c);
    enum credentials_result result = credentials_parse(c, head, &why);
    assert((why != NULL) == (result == CREDENTIALS_BAD));
    assert(result == CREDENTIALS_OK || is_blank(c));
    return result;
}

/* A request with these fields; `text` stays with the head, which points into it. */
static bool make_head(struct head *head, char text[TEXT_MAX], const void *fields, size_t size)
{
    static const char line[] = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n";
    struct head_limits limits = {TEXT_MAX, 32768, 100};
    size_t at = sizeof line - 1, scanned = 0;
    const char *why = NULL;
    if (size > TEXT_MAX - sizeof line - 4)
        return false;
    memcpy(text, line, at);
    if (size > 0)
        memcpy(text + at, fields, size);
    memcpy(text + at + size, "\r\n\r\n", 4);
    return head_parse(head, HEAD_REQUEST, text, at + size + 4, &limits, &scanned, &why) == HEAD_OK;
}

static void check_fields(const uint8_t *data, size_t size)
{
    static struct head head;
    static char text[TEXT_MAX];
    struct credentials c;
    if (!make_head(&head, text, data, size))
        return;
    enum credentials_result result = parse(&c, &head);
    if (result == CREDENTIALS_OK)
        check_accepted(&c, &head);
    size_t count = head_count(&head, name);
    assert(count > 0 || result == CREDENTIALS_NONE);
    assert(count < 2 || result == CREDENTIALS_BAD);
    credentials_wipe(&c);
    assert(is_blank(&c));
}

/* No control characters, and no colon in a user: such a pair has one encoding and one meaning. */
static bool may_be_sent(const struct credentials *c)
{
    bool fine = strchr(c->user, ':') == NULL;
    for (const char *at = c->user; *at != '\0'; at++)
        fine = fine && (unsigned char)*at >= ' ' && *at != 0x7f;
    for (const char *at = c->password; *at != '\0'; at++)
        fine = fine && (unsigned char)*at >= ' ' && *at != 0x7f;
    return fine;
}

/* "user NUL password", as a client would send them. */
static void check_made(const uint8_t *data, size_t size)
{
    static struct head head;
    static char text[TEXT_MAX];
    struct credentials sent = {"", ""}, c;
    char field[1024] = "Proxy-Authorization: Basic ";
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t user = end != NULL ? (size_t)(end - data) : size;
    size_t password = end != NULL ? size - user - 1 : 0;
    if (user > CREDENTIALS_MAX || password > CREDENTIALS_MAX)
        return;
    if (user > 0)
        memcpy(sent.user, data, user);
    if (password > 0)
        memcpy(sent.password, end + 1, password);
    size_t at = strlen(field);
    at += encode(field + at, sent.user, sent.password);
    bool made = make_head(&head, text, field, at);
    assert(made);
    enum credentials_result result = parse(&c, &head);
    if (may_be_sent(&sent))
        assert(result == CREDENTIALS_OK && strcmp(c.user, sent.user) == 0 &&
               strcmp(c.password, sent.password) == 0);
    if (result == CREDENTIALS_OK)
        check_accepted(&c, &head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if ((data[0] & SWITCH_MAKE) != 0)
        check_made(data + 1, size - 1);
    else
        check_fields(data + 1, size - 1);
    return 0;
}

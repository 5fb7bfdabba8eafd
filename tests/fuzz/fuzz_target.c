/*
 * fuzz_target.c - an accepted request target is made of its parts and nothing else.
 *
 * Input: one octet that chooses the method, then the target. The parts put together again give the
 * target, and http-parser's own URL reader finds the same host and port.
 */
#include "proxy/wire/target.h"

#include <assert.h>
#include <http_parser.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where the parts of `text` end: they follow one another without a gap. */
static const char *take(const char *at, struct span part)
{
    assert(part.ptr == at);
    return at + part.len;
}

static void check_host(struct span host)
{
    assert(host.len > 0);
    for (size_t i = 0; i < host.len; i++) {
        assert(host.ptr[i] > ' ' && host.ptr[i] < 0x7f);
        assert(strchr("@/?#\\%\"<>^`{|}", host.ptr[i]) == NULL);
        assert(host.ptr[i] != ':' || host.ptr[0] == '[');
    }
    assert((host.ptr[0] == '[') == (host.ptr[host.len - 1] == ']'));
}

static void check_path(struct span path)
{
    for (size_t i = 0; i < path.len; i++) {
        assert(path.ptr[i] > ' ' && path.ptr[i] < 0x7f);
        assert(strchr("#\\\"<>^`{|}[]", path.ptr[i]) == NULL);
    }
}

/* ":port", or nothing where the default was meant. */
static const char *take_port(const char *at, const char *end, uint16_t port)
{
    char text[8];
    if (at == end || *at != ':') {
        assert(port == 80);
        return at;
    }
    int n = snprintf(text, sizeof text, ":%u", port);
    assert(end - at >= n && memcmp(at, text, (size_t)n) == 0);
    return at + n;
}

/* A second opinion on the host: its own reader leaves brackets out. */
static void check_against_http_parser(const struct target *t, struct span text)
{
    struct http_parser_url url;
    bool connect = t->form == TARGET_AUTHORITY;
    http_parser_url_init(&url);
    assert(http_parser_parse_url(text.ptr, text.len, connect, &url) == 0);
    struct span host = {text.ptr + url.field_data[UF_HOST].off, url.field_data[UF_HOST].len};
    struct span ours = t->host;
    if (ours.ptr[0] == '[')
        ours = (struct span){ours.ptr + 1, ours.len - 2};
    assert(span_is(host, ours));
    assert((url.field_set & (1 << UF_USERINFO)) == 0);
    assert((url.field_set & (1 << UF_PORT)) != 0 ? url.port == t->port : t->port == 80);
}

static void check_target(const struct target *t, struct span text)
{
    const char *at = text.ptr, *end = text.ptr + text.len;
    if (t->form == TARGET_ABSOLUTE) {
        assert(text.len > 7 && strncasecmp(at, "http://", 7) == 0);
        at += 7;
    }
    if (t->form == TARGET_ABSOLUTE || t->form == TARGET_AUTHORITY) {
        assert(t->port > 0);
        check_host(t->host);
        at = take_port(take(at, t->host), end, t->port);
        check_against_http_parser(t, text);
    } else {
        assert(t->host.len == 0 && t->port == 0);
    }
    if (t->path.len > 0)
        at = take(at, t->path);
    if (t->form == TARGET_ASTERISK)
        at++;
    check_path(t->path);
    assert(at == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct span methods[] = {{"CONNECT", 7}, {"GET", 3}, {"OPTIONS", 7}, {"POST", 4}};
    if (size == 0 || size > UINT16_MAX)
        return 0; /* the second reader counts in 16 bits */
    struct target t;
    const char *why = NULL;
    struct span method = methods[data[0] % 4];
    struct span text = {(const char *)data + 1, size - 1};
    enum target_result r = target_parse(&t, method, text, &why);
    assert((why == NULL) == (r == TARGET_OK));
    if (r != TARGET_OK)
        return 0;
    assert((t.form == TARGET_AUTHORITY) == (data[0] % 4 == 0));
    check_target(&t, text);
    return 0;
}

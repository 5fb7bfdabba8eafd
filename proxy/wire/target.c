#include "proxy/wire/target.h"

#include <stdbool.h>
#include <stddef.h>

/* unreserved and sub-delims of RFC 3986 section 2. */
static bool is_plain(unsigned char c)
{
    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        return true;
    return c != '\0' && strchr("-._~!$&'()*+,;=", c) != NULL;
}

static bool is_hex(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* path and query: pchar, "/" and "?", with whole percent-escapes (RFC 3986 sections 3.3 and 3.4). */
static bool is_path(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '%') {
            if (s.len - i < 3 || !is_hex((unsigned char)s.ptr[i + 1]) || !is_hex((unsigned char)s.ptr[i + 2]))
                return false;
            i += 2;
        } else if (!is_plain(c) && (c == '\0' || strchr(":@/?", c) == NULL)) {
            return false;
        }
    }
    return true;
}

/* 1*5DIGIT from 1 to 65535; a leading zero would be a second spelling of the same port, so there is none. */
static bool parse_port(struct span s, uint16_t *port)
{
    unsigned value = 0;
    if (s.len == 0 || s.len > 5 || s.ptr[0] == '0')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(s.ptr[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

/* Octets of a host as far as the target's own shape goes: no second authority, path or userinfo may hide in it. */
static bool is_host(struct span s)
{
    if (s.len == 0)
        return false;
    bool literal = s.ptr[0] == '[';
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool bracket = literal && ((c == '[' && i == 0) || (c == ']' && i == s.len - 1) || c == ':');
        bool name = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
                    c == '.' || c == '_';
        if (!bracket && !name)
            return false;
    }
    return !literal || s.ptr[s.len - 1] == ']';
}

/* host [ ":" port ], RFC 9110 section 4.2.1 without userinfo. `*has_port` tells whether a colon stood there. */
static enum target_result parse_authority(struct target *t, struct span text, bool *has_port,
                                          const char **why)
{
    const char *bracket = memchr(text.ptr, ']', text.len);
    const char *from = bracket != NULL ? bracket : text.ptr;
    const char *colon = memchr(from, ':', text.len - (size_t)(from - text.ptr));
    if (memchr(text.ptr, '@', text.len) != NULL) {
        *why = "userinfo in the target (RFC 9110 section 4.2.4)";
        return TARGET_MALFORMED;
    }
    *has_port = colon != NULL;
    t->host = (struct span){text.ptr, colon != NULL ? (size_t)(colon - text.ptr) : text.len};
    if (!is_host(t->host)) {
        *why = "host with octets that no host has (RFC 3986 section 3.2.2)";
        return TARGET_MALFORMED;
    }
    if (colon != NULL &&
        !parse_port((struct span){colon + 1, text.len - t->host.len - 1}, &t->port)) {
        *why = "port is no number from 1 to 65535";
        return TARGET_MALFORMED;
    }
    return TARGET_OK;
}

static enum target_result parse_connect(struct target *t, struct span text, const char **why)
{
    bool has_port;
    t->form = TARGET_AUTHORITY;
    enum target_result result = parse_authority(t, text, &has_port, why);
    if (result == TARGET_OK && !has_port) {
        *why = "CONNECT needs host:port (RFC 9112 section 3.2.3)";
        return TARGET_MALFORMED;
    }
    return result;
}

static bool check_path(struct span path, const char **why)
{
    if (memchr(path.ptr, '#', path.len) != NULL)
        *why = "fragment in the target (RFC 9112 section 3.2)";
    else if (!is_path(path))
        *why = "octets in the path that RFC 3986 does not allow there, or a broken percent-escape";
    else
        return true;
    return false;
}

static enum target_result parse_absolute(struct target *t, struct span text, const char *colon,
                                         const char **why)
{
    struct span scheme = {text.ptr, (size_t)(colon - text.ptr)};
    struct span rest = {colon + 3, text.len - scheme.len - 3};
    if (span_is_nocase(scheme, SPAN("https")))
        return TARGET_HTTPS;
    if (!span_is_nocase(scheme, SPAN("http"))) {
        *why = "only http:// targets are forwarded";
        return TARGET_OTHER_SCHEME;
    }
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?' && rest.ptr[n] != '#')
        n++;
    bool has_port;
    t->form = TARGET_ABSOLUTE;
    t->port = 80;
    t->path = (struct span){rest.ptr + n, rest.len - n};
    enum target_result result = parse_authority(t, (struct span){rest.ptr, n}, &has_port, why);
    if (result == TARGET_OK && !check_path(t->path, why))
        return TARGET_MALFORMED;
    return result;
}

/* The "://" of an absolute form: behind a scheme, which holds no other colon, slash or question mark. */
static const char *find_scheme_end(struct span text)
{
    for (size_t i = 0; i + 2 < text.len; i++) {
        if (text.ptr[i] == ':')
            return i > 0 && text.ptr[i + 1] == '/' && text.ptr[i + 2] == '/' ? text.ptr + i : NULL;
        if (text.ptr[i] == '/' || text.ptr[i] == '?')
            return NULL;
    }
    return NULL;
}

enum target_result target_parse(struct target *t, struct span method, struct span text, const char **why)
{
    const char *unasked;
    if (why == NULL)
        why = &unasked;
    *t = (struct target){.host = {"", 0}, .path = {"", 0}};
    *why = NULL;
    if (span_is(method, SPAN("CONNECT")))
        return parse_connect(t, text, why);
    if (text.len > 0 && text.ptr[0] == '/') {
        t->form = TARGET_ORIGIN;
        t->path = text;
        return check_path(text, why) ? TARGET_OK : TARGET_MALFORMED;
    }
    if (span_is(text, SPAN("*"))) {
        t->form = TARGET_ASTERISK;
        if (span_is(method, SPAN("OPTIONS")))
            return TARGET_OK;
        *why = "\"*\" goes with OPTIONS alone (RFC 9112 section 3.2.4)";
        return TARGET_METHOD;
    }
    const char *colon = find_scheme_end(text);
    if (colon != NULL)
        return parse_absolute(t, text, colon, why);
    *why = "no form of a request target (RFC 9112 section 3.2)";
    return TARGET_MALFORMED;
}

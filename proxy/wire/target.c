#include "proxy/wire/target.h"

#include <stdbool.h>
#include <stddef.h>

enum { PORT_DIGITS_MAX = 5, HTTP_PORT = 80 };

static enum target_result fault(const char **why, enum target_result result, const char *text)
{
    if (why != NULL)
        *why = text;
    return result;
}

static enum target_result malformed(const char **why, const char *text)
{
    return fault(why, TARGET_MALFORMED, text);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* What is left of a reg-name (RFC 3986 section 3.2.2) without what no name in the DNS has. */
static bool is_name_octet(char c)
{
    return is_alpha(c) || is_digit(c) || is_one_of(c, "-._");
}

/* pchar, "/" and "?" (RFC 3986 sections 3.3 and 3.4), all but percent-encodings. */
static bool is_path_octet(char c)
{
    return is_alpha(c) || is_digit(c) || is_one_of(c, "-._~!$&'()*+,;=:@/?");
}

static size_t find(struct span s, char c)
{
    const char *at = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;
    return at != NULL ? (size_t)(at - s.ptr) : s.len;
}

static bool starts_with(struct span s, struct span prefix)
{
    return s.len >= prefix.len && span_is_nocase((struct span){s.ptr, prefix.len}, prefix);
}

static struct span tail(struct span s, size_t from)
{
    return (struct span){s.ptr + from, s.len - from};
}

/*
 * 1..65535 in decimal. RFC 3986 section 3.2.3 would let "0443" and an empty port through: what one
 * reader takes for decimal another takes for octal or for the default, and no client writes it.
 */
static enum target_result port_parse(uint16_t *port, struct span text, const char **why)
{
    unsigned value = 0;
    if (text.len == 0)
        return malformed(why, "no port behind the colon");
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]))
            return malformed(why, "port is not a decimal number");
    }
    if (text.ptr[0] == '0')
        return malformed(why, "port is zero or has a leading zero");
    for (size_t i = 0; i < text.len && i <= PORT_DIGITS_MAX; i++)
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    if (value > UINT16_MAX)
        return malformed(why, "port is larger than 65535");
    *port = (uint16_t)value;
    return TARGET_OK;
}

/* What is wrong with an octet that no host has; the known tricks have their own words. */
static const char *host_octet_fault(char c)
{
    switch (c) {
    case '@':
        return "user information before the host";
    case '%':
        return "percent-encoding in the host";
    case '\\':
        return "backslash in the host";
    case ':':
        return "more than one colon, or an IPv6 address without brackets";
    case '/':
    case '?':
    case '#':
        return "more than host and port";
    case '[':
    case ']':
        return "bracket inside the host";
    default:
        return "octet not allowed in a host";
    }
}

/* "[" IPv6address "]" (RFC 3986 section 3.2.2) by its octets only; no zone, no IPvFuture. */
static enum target_result literal_scan(struct span text, size_t *len, const char **why)
{
    size_t i = 1;
    size_t colons = 0;
    for (; i < text.len && (is_hex(text.ptr[i]) || is_one_of(text.ptr[i], ":.")); i++)
        colons += text.ptr[i] == ':';
    if (i == text.len)
        return malformed(why, "no closing bracket");
    if (text.ptr[i] == '%')
        return malformed(why, "zone identifier in an IPv6 address");
    if (text.ptr[i] != ']')
        return malformed(why, "octet not allowed in an IPv6 address");
    if (colons < 2)
        return malformed(why, "no IPv6 address between the brackets");
    *len = i + 1;
    return TARGET_OK;
}

/* host, then ":" port or the end. Without a port `*port` stays. */
static enum target_result authority_parse(struct target *t, struct span text, const char **why)
{
    size_t len = 0;
    if (text.len > 0 && text.ptr[0] == '[') {
        enum target_result r = literal_scan(text, &len, why);
        if (r != TARGET_OK)
            return r;
    } else {
        while (len < text.len && is_name_octet(text.ptr[len]))
            len++;
    }
    if (len == 0 && (text.len == 0 || text.ptr[0] == ':'))
        return malformed(why,
                         text.len > 1 && text.ptr[1] == ':' ? host_octet_fault(':') : "empty host");
    if (len < text.len && text.ptr[len] != ':')
        return malformed(why, host_octet_fault(text.ptr[len]));

    t->host = (struct span){text.ptr, len};
    if (len == text.len)
        return TARGET_OK;
    struct span port = tail(text, len + 1);
    if (find(port, ':') < port.len)
        return malformed(why, host_octet_fault(':'));
    for (size_t i = 0; i < port.len; i++) {
        if (!is_digit(port.ptr[i]) && !is_name_octet(port.ptr[i]))
            return malformed(why, host_octet_fault(port.ptr[i]));
    }
    return port_parse(&t->port, port, why);
}

/* Path and query; percent-encodings must be complete (RFC 3986 section 2.1). */
static enum target_result path_scan(struct span text, const char **why)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (is_path_octet(c))
            continue;
        if (c == '#')
            return malformed(why, "fragment in the request target");
        if (c == '\\')
            return malformed(why, "backslash in the path");
        if (c != '%')
            return malformed(why, "octet not allowed in a path or query");
        if (text.len - i < 3 || !is_hex(text.ptr[i + 1]) || !is_hex(text.ptr[i + 2]))
            return malformed(why, "incomplete percent-encoding");
        i += 2;
    }
    return TARGET_OK;
}

/* Length of `scheme "://"` at the beginning, or 0. */
static size_t scheme_length(struct span text)
{
    size_t i = 0;
    if (text.len == 0 || !is_alpha(text.ptr[0]))
        return 0;
    while (i < text.len &&
           (is_alpha(text.ptr[i]) || is_digit(text.ptr[i]) || is_one_of(text.ptr[i], "+-.")))
        i++;
    return starts_with(tail(text, i), SPAN("://")) ? i + 3 : 0;
}

static enum target_result absolute_parse(struct target *t, struct span text, size_t scheme,
                                         const char **why)
{
    if (starts_with(text, SPAN("https://")))
        return fault(why, TARGET_HTTPS, "https needs CONNECT");
    if (!starts_with(text, SPAN("http://")))
        return fault(why, TARGET_OTHER_SCHEME, "only http is forwarded");

    struct span rest = tail(text, scheme);
    size_t end = 0;
    while (end < rest.len && !is_one_of(rest.ptr[end], "/?#"))
        end++;
    t->form = TARGET_ABSOLUTE;
    t->port = HTTP_PORT;
    t->path = tail(rest, end);
    enum target_result r = authority_parse(t, (struct span){rest.ptr, end}, why);
    return r == TARGET_OK ? path_scan(t->path, why) : r;
}

/* CONNECT takes host ":" port and nothing else (RFC 9112 section 3.2.3); no default port. */
static enum target_result connect_parse(struct target *t, struct span text, const char **why)
{
    if (text.ptr[0] == '/' || span_is(text, SPAN("*")) || scheme_length(text) > 0)
        return fault(why, TARGET_METHOD, "CONNECT takes host:port");
    t->form = TARGET_AUTHORITY;
    enum target_result r = authority_parse(t, text, why);
    if (r == TARGET_OK && t->port == 0)
        return malformed(why, "CONNECT without a port");
    return r;
}

enum target_result target_parse(struct target *t, struct span method, struct span text,
                                const char **why)
{
    *t = (struct target){.host = {"", 0}, .path = {"", 0}};
    if (text.len == 0)
        return malformed(why, "empty request target");
    if (span_is(method, SPAN("CONNECT")))
        return connect_parse(t, text, why);
    if (text.ptr[0] == '/') {
        t->form = TARGET_ORIGIN;
        t->path = text;
        return path_scan(text, why);
    }
    if (span_is(text, SPAN("*"))) {
        t->form = TARGET_ASTERISK;
        return span_is(method, SPAN("OPTIONS"))
                   ? TARGET_OK
                   : fault(why, TARGET_METHOD, "\"*\" goes with OPTIONS only");
    }
    size_t scheme = scheme_length(text);
    if (scheme > 0)
        return absolute_parse(t, text, scheme, why);
    if (authority_parse(t, text, NULL) == TARGET_OK)
        return fault(why, TARGET_METHOD, "host:port goes with CONNECT only");
    return malformed(why, "neither http://host/path nor host:port nor /path");
}

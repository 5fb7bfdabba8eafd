#include "proxy/wire/gateway_fields.h"

#include <stddef.h>

/* ---- fields ---- */

static char folded(char c)
{
    if (c == '_')
        return '-';
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* `start` in lower case with hyphens. */
static bool starts_with(struct span name, const char *start)
{
    size_t i = 0;
    while (start[i] != '\0' && i < name.len && folded(name.ptr[i]) == start[i])
        i++;
    return start[i] == '\0';
}

bool gateway_field_is_ours(struct span name)
{
    static const char *const starts[] = {
        /* who the client is, and how it came */
        "forwarded", "x-forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
        "cf-connecting-", "fastly-client-ip", "x-envoy-", "true-client-ip", "x-true-client-ip",
        "client-ip", "x-remote-", "remote-",
        /* what certificate it has shown: RFC 9440, and habits of Apache, nginx, Envoy and others */
        "client-cert", "x-client-cert", "x-client-verify", "x-client-dn", "ssl-", "x-ssl-",
        "x-amzn-mtls-", "x-arr-clientcert", "x-tls-client", "x-verified-",
        /* what was asked for: they would lead past the path filter */
        "x-original-", "x-rewrite-", "x-host", "x-http-host-override", "x-http-method-override",
        "x-method-override", "x-http-method"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (starts_with(name, starts[i]))
            return true;
    }
    return false;
}

/* ---- URLs ---- */

/* "host:port" in two, without the port: 443. A literal has brackets. */
static void split(struct span authority, struct span *host, struct span *port)
{
    size_t at = authority.len;
    while (at > 0 && authority.ptr[at - 1] >= '0' && authority.ptr[at - 1] <= '9')
        at--;
    bool has_port = at > 0 && authority.ptr[at - 1] == ':' &&
                    (authority.ptr[0] != '[' || (at > 1 && authority.ptr[at - 2] == ']'));
    *host = has_port ? (struct span){authority.ptr, at - 1} : authority;
    *port = has_port && at < authority.len ? (struct span){authority.ptr + at, authority.len - at}
                                           : SPAN("443");
}

static bool is_same(struct span one, struct span other)
{
    struct span host, port, other_host, other_port;
    split(one, &host, &port);
    split(other, &other_host, &other_port);
    return span_is_nocase(host, other_host) && span_is(port, other_port);
}

bool gateway_url_rest(struct span url, struct span authority, struct span *rest)
{
    struct span start = SPAN("https://");
    if (url.len < 2 || memcmp(url.ptr, "//", 2) != 0) {
        if (url.len < start.len || !span_is_nocase((struct span){url.ptr, start.len}, start))
            return false;
    } else {
        start.len = 2;
    }
    size_t from = start.len, to = from;
    while (to < url.len && url.ptr[to] != '/' && url.ptr[to] != '?' && url.ptr[to] != '#')
        to++;
    *rest = (struct span){url.ptr + to, url.len - to};
    return to > from && is_same((struct span){url.ptr + from, to - from}, authority);
}

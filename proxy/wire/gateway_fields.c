#include "proxy/wire/gateway_fields.h"

#include <stddef.h>

/* ---- fields ---- */

/* CGI and its heirs make one name of all that differ in other octets than letters and digits. */
static char folded(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
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
        "forwarded", "x-forward", "z-forwarded", "x-real-", "real-ip", "client-ip", "x-client",
        "x-cluster-client", "x-remote-", "remote-", "x-origin", "x-proxy", "x-proxied-", "x-peer-",
        "x-source-", "x-scheme", "x-proto", "x-url", "x-port", "https", "front-end-https", "x-ssl",
        "ssl", "wl-proxy-", "true-client-", "x-true-client-", "cf-", "cdn-", "cloudfront-",
        "fastly-", "fly-", "do-connecting-", "incap-", "akamai-", "x-azure-", "x-fd-", "x-waws-",
        "x-arr-", "x-appengine-", "x-envoy-", "x-haproxy-", "x-nginx-", "x-lb-", "x-cdn-", "-ws",
        /* what certificate it has shown: RFC 9440, and habits of Apache, nginx, Envoy and others */
        "client-cert", "client-dn", "client-s-dn", "client-subject", "client-ssl", "client-verify",
        "client-sdn", "x-cert", "cert-", "x-subject", "x-issuer", "x-dn", "x-fingerprint",
        "x-mtls-", "mtls-", "x-tls", "tls-", "x-amzn-mtls-", "x-amzn-tls-", "x-verif", "x-pki-",
        /* as whom it was let in */
        "x-ms-client-", "x-ms-token-", "x-amzn-oidc-", "x-goog-authenticated-", "x-goog-iap-",
        "x-authenticated-", "x-auth-request-", "x-auth-user", "x-webauth-", "x-user-dn",
        "x-username", "x-sso-", "iv-", "sm-", "oam-", "osso-", "oidc-", "shib-", "ajp-", "auth-",
        /* what was asked for: they would lead past the path filter */
        "x-rewrite", "x-host", "x-http-", "x-method", "x-path", "x-prefix", "x-script-name",
        "script-name", "path-info", "request-uri", "x-request-uri", "x-accel-", "x-override",
        "x-base-",
        /* where a CGI program would go with what it asks others itself ("httpoxy") */
        "proxy"};
    char first = name.len > 0 ? folded(name.ptr[0]) : '\0';
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (starts[i][0] == first && starts_with(name, starts[i]))
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

/*
 * The heads that real enrollment clients send to a proxy, octet for octet, and what is read from
 * them. Each is fed whole, in two pieces at every point, and octet by octet.
 */
#include "proxy/wire/head.h"

#include "tests/support/head_feed.h"

#define H "ca.example.com:443"
#define END "\r\n\r\n"
#define NL "\r\n"

/* Each of these is CONNECT to H: only version and number of fields differ. */
struct connect_case {
    const char *client;
    struct span octets;
    unsigned minor;
    size_t fields;
    const char *host; /* NULL: there is no Host field */
};

static const struct connect_case connects[] = {
    {"curl 7.88, dehydrated",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "User-Agent: curl/7.88.1" NL
            "Proxy-Connection: Keep-Alive" END),
     1, 3, H},
    {"curl --proxy1.0",
     OCTETS("CONNECT " H " HTTP/1.0" NL "Host: " H NL "User-Agent: curl/7.88.1" NL
            "Proxy-Connection: Keep-Alive" END),
     0, 3, H},
    {"uacme",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL
            "User-Agent: uacme/1.7.4 (https://github.com/ndilieto/uacme) libcurl/7.88.1" NL
            "Proxy-Connection: Keep-Alive" END),
     1, 3, H},
    {"git",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "User-Agent: git/2.39.5" NL
            "Proxy-Connection: Keep-Alive" END),
     1, 3, H},
    {"libest", OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Proxy-Connection: Keep-Alive" END),
     1, 2, H},
    {"certbot, requests, urllib3, acme-tiny, http.client: no field at all",
     OCTETS("CONNECT " H " HTTP/1.0" END), 0, 0, NULL},
    {"openssl s_client, openssl cmp over TLS",
     OCTETS("CONNECT " H " HTTP/1.0" NL "Proxy-Connection: Keep-Alive" END), 0, 1, NULL},
    {"socat PROXY: with strongSwan pki --est", OCTETS("CONNECT " H " HTTP/1.0" END), 0, 0, NULL},
    {"lego, scepclient, Go net/http",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "User-Agent: Go-http-client/1.1" END), 1, 2,
     H},
    {"httpx", OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Accept: */*" END), 1, 2, H},
    {"aiohttp",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Accept: */*" NL
            "Accept-Encoding: gzip, deflate" NL "User-Agent: Python/3.11 aiohttp/3.8.4" END),
     1, 4, H},
    {"Ruby", OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H END), 1, 1, H},
    {"Java HttpURLConnection: Host comes second",
     OCTETS("CONNECT " H " HTTP/1.1" NL "User-Agent: Java/17.0.21" NL "Host: ca.example.com" NL
            "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2" NL
            "Proxy-Connection: keep-alive" END),
     1, 4, "ca.example.com"},
    {"Java HttpClient", OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H END), 1, 1, H},
    {"Node https-proxy-agent",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Proxy-Connection: close" END), 1, 2, H},
    {"Node https-proxy-agent with keepAlive",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Proxy-Connection: Keep-Alive" END), 1, 2, H},
    {"Node undici ProxyAgent: lower-case names",
     OCTETS("CONNECT " H " HTTP/1.1" NL "host: " H NL "connection: close" NL
            "proxy-connection: keep-alive" END),
     1, 3, H},
    {"Node http.request",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "Connection: keep-alive" END), 1, 2, H},
    {"Perl LWP",
     OCTETS("CONNECT " H " HTTP/1.1" NL "TE: deflate,gzip;q=0.3" NL "Connection: TE" NL
            "Host: " H END),
     1, 3, H},
    {"wget, apt, aria2",
     OCTETS("CONNECT " H " HTTP/1.1" NL "User-Agent: Wget/1.21.3" NL "Host: " H END), 1, 2, H},
    {"Azure IoT Edge (hyper-proxy)", OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H END), 1, 1, H},
    {"Azure IoT Edge with credentials: sent under both names",
     OCTETS("CONNECT " H " HTTP/1.1" NL "Host: " H NL "authorization: Basic dTpw" NL
            "proxy-authorization: Basic dTpw" END),
     1, 3, H},
};

static void test_connect(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof connects / sizeof *connects; i++) {
        const struct connect_case *c = &connects[i];
        static struct head h;
        feed_expect(c->client, HEAD_REQUEST, c->octets, HEAD_OK, &h);
        assert_true(span_is(h.method, SPAN("CONNECT")));
        assert_true(span_is(h.target, SPAN(H)));
        assert_int_equal(h.minor, c->minor);
        assert_int_equal(h.size, c->octets.len);
        assert_int_equal(h.field_count, c->fields);
        const struct head_field *host = head_find(&h, SPAN("Host"));
        assert_int_equal(host != NULL, c->host != NULL);
        if (host != NULL && c->host != NULL)
            assert_true(span_is(host->value, span_of(c->host)));
    }
}

#define SCEP_URL "http://ra.example.com/scep"

struct plain_case {
    const char *client;
    struct span octets;
    const char *method;
    const char *target;
    unsigned minor;
    const char *host;
};

static const struct plain_case plains[] = {
    {"curl",
     OCTETS("GET http://ca.example.com/ca.crl HTTP/1.1" NL "Host: ca.example.com" NL
            "User-Agent: curl/7.88.1" NL "Accept: */*" NL "Proxy-Connection: Keep-Alive" END),
     "GET", "http://ca.example.com/ca.crl", 1, "ca.example.com"},
    {"curl, a megabyte: Expect",
     OCTETS("POST http://ra.example.com:8080/scep HTTP/1.1" NL "Host: ra.example.com:8080" NL
            "User-Agent: curl/7.88.1" NL "Accept: */*" NL "Proxy-Connection: Keep-Alive" NL
            "Content-Length: 1048577" NL "Content-Type: application/x-pki-message" NL
            "Expect: 100-continue" END),
     "POST", "http://ra.example.com:8080/scep", 1, "ra.example.com:8080"},
    {"scepclient, Go",
     OCTETS("GET " SCEP_URL "?operation=GetCACaps HTTP/1.1" NL "Host: ra.example.com" NL
            "User-Agent: Go-http-client/1.1" NL "Accept-Encoding: gzip" END),
     "GET", SCEP_URL "?operation=GetCACaps", 1, "ra.example.com"},
    {"openssl cmp: HTTP/1.0, Host without the port",
     OCTETS("POST http://ra.example.com:8080/pkix/ HTTP/1.0" NL "Host: ra.example.com" NL
            "Pragma: no-cache" NL "Content-Type: application/pkixcmp" NL "Content-Length: 290" NL
            "Connection: keep-alive" END),
     "POST", "http://ra.example.com:8080/pkix/", 0, "ra.example.com"},
    {"openssl ocsp -host PROXY -path URL: Host is the proxy",
     OCTETS("POST http://ocsp.example.com/ HTTP/1.0" NL "Host: proxy.example.net:48999" NL
            "Content-Type: application/ocsp-request" NL "Content-Length: 76" END),
     "POST", "http://ocsp.example.com/", 0, "proxy.example.net:48999"},
    {"openssl verify -crl_download",
     OCTETS("GET http://crl.example.com/ca.crl HTTP/1.0" NL "Host: crl.example.com" END), "GET",
     "http://crl.example.com/ca.crl", 0, "crl.example.com"},
    {"an HTTP/1.0 request without Host", OCTETS("GET http://crl.example.com/ HTTP/1.0" END), "GET",
     "http://crl.example.com/", 0, NULL},
    {"Java HttpClient: GET with Content-Length: 0",
     OCTETS("GET http://ca.example.com/a HTTP/1.1" NL "Content-Length: 0" NL
            "Host: ca.example.com" NL "User-Agent: Java-http-client/17.0.21" END),
     "GET", "http://ca.example.com/a", 1, "ca.example.com"},
    {"wget: Connection and Proxy-Connection",
     OCTETS("GET http://ca.example.com/a HTTP/1.1" NL "User-Agent: Wget/1.21.3" NL "Accept: */*" NL
            "Accept-Encoding: identity" NL "Host: ca.example.com" NL "Connection: Keep-Alive" NL
            "Proxy-Connection: Keep-Alive" END),
     "GET", "http://ca.example.com/a", 1, "ca.example.com"},
    {"LWP with keep_alive",
     OCTETS("GET http://ca.example.com/a HTTP/1.1" NL "TE: deflate,gzip;q=0.3" NL
            "Keep-Alive: 300" NL "Connection: Keep-Alive, TE" NL "Host: ca.example.com" NL
            "User-Agent: libwww-perl/6.68" END),
     "GET", "http://ca.example.com/a", 1, "ca.example.com"},
    {"Node http-proxy-agent",
     OCTETS("GET http://ca.example.com/a HTTP/1.1" NL "Host: ca.example.com" NL
            "Proxy-Connection: close" NL "Connection: close" END),
     "GET", "http://ca.example.com/a", 1, "ca.example.com"},
    {"a probe of our own page", OCTETS("GET /healthz HTTP/1.0" END), "GET", "/healthz", 0, NULL},
};

static void test_plain(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plains / sizeof *plains; i++) {
        const struct plain_case *c = &plains[i];
        static struct head h;
        feed_expect(c->client, HEAD_REQUEST, c->octets, HEAD_OK, &h);
        assert_true(span_is(h.method, span_of(c->method)));
        assert_true(span_is(h.target, span_of(c->target)));
        assert_int_equal(h.minor, c->minor);
        const struct head_field *host = head_find(&h, SPAN("Host"));
        assert_int_equal(host != NULL, c->host != NULL);
        if (host != NULL && c->host != NULL)
            assert_true(span_is(host->value, span_of(c->host)));
    }
}

/* SCEP by GET carries the whole message in the URL: 16 kB with large keys, and up to the limit. */
static void test_scep_get(void **state)
{
    (void)state;
    static const char begin[] = "GET " SCEP_URL "?operation=PKIOperation&message=";
    static const char end[] = " HTTP/1.1" NL "Host: ra.example.com" END;
    static char octets[40000];
    static struct head h;
    const size_t line = 32768, prefix = sizeof begin - 1, version = strlen(" HTTP/1.1");
    memcpy(octets, begin, prefix);
    for (size_t i = prefix; i < line - version; i++)
        octets[i] = "MIIC%2B%2F0="[(i - prefix) % 12];
    memcpy(octets + line - version, end, sizeof end - 1);
    struct span whole = {octets, line - version + sizeof end - 1};

    size_t scanned = 0;
    struct head_limits limits = FEED_LIMITS;
    for (size_t len = 0; len < whole.len; len += 1460)
        assert_int_equal(HEAD_MORE,
                         head_parse(&h, HEAD_REQUEST, whole.ptr, len, &limits, &scanned, NULL));
    assert_int_equal(HEAD_OK,
                     head_parse(&h, HEAD_REQUEST, whole.ptr, whole.len, &limits, &scanned, NULL));
    assert_int_equal(h.target.len, line - version - strlen("GET "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_scep_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * client_hello.h - the server name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section
 * 3): read, never changed.
 *
 * Takes the first octets of a tunnel in any pieces: the caller collects them and calls again with
 * more. The hello may be spread over several records. No OpenSSL here. Any thread.
 */
#ifndef CERTFERRY_WIRE_CLIENT_HELLO_H
#define CERTFERRY_WIRE_CLIENT_HELLO_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

enum { CLIENT_HELLO_MAX = 64 * 1024 }; /* octets, record headers included */

enum client_hello_result {
    CLIENT_HELLO_OK,
    CLIENT_HELLO_MORE,      /* fine so far, not complete */
    CLIENT_HELLO_NOT_TLS,   /* the first octets are no TLS handshake record */
    CLIENT_HELLO_MALFORMED, /* TLS, but no well-formed ClientHello, or too large */
};

struct client_hello {
    size_t size; /* octets up to its end, record headers included */
    bool has_sni;
    char sni[256]; /* host_name as sent, lower-cased, NUL-terminated; only octets of a DNS name */
};

enum client_hello_result client_hello_parse(struct client_hello *hello, const char *data,
                                            size_t len);

/* A fatal TLS alert record (RFC 8446 section 6) that a client understands before any key exists. */
enum tls_alert {
    TLS_ALERT_DECODE_ERROR = 50,
    TLS_ALERT_ACCESS_DENIED = 49,
    TLS_ALERT_INTERNAL_ERROR = 80,
    TLS_ALERT_MISSING_EXTENSION = 109,
    TLS_ALERT_UNRECOGNIZED_NAME = 112
};
enum { TLS_ALERT_OCTETS = 7 };
void client_hello_alert(unsigned char out[TLS_ALERT_OCTETS], enum tls_alert alert);

#endif

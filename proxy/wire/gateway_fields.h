/*
 * gateway_fields.h - what a gateway must not let a client say, and which URLs of an upstream are to
 * be ours.
 *
 * Knows names and spellings only; rewrite.h writes. Any thread.
 */
#ifndef CERTFERRY_WIRE_GATEWAY_FIELDS_H
#define CERTFERRY_WIRE_GATEWAY_FIELDS_H

#include <stdbool.h>

#include "proxy/base/span.h"

/*
 * Whether a request field is one that servers take as the word of a gateway before them: who the
 * client is (X-Forwarded-*, Forwarded, X-Real-IP, ...), what certificate it has shown (Client-Cert,
 * SSL_CLIENT_CERT, ...), or what was asked for in truth (X-Original-URL, ...). Whatever is no
 * letter or digit counts as a hyphen, since CGI and its heirs cannot tell them apart.
 */
bool gateway_field_is_ours(struct span name);

/*
 * The rest of an absolute URL, from its path on, if it leads to the https server `authority`
 * ("host" or "host:port"): false otherwise. "//authority/path" leads there too.
 */
bool gateway_url_rest(struct span url, struct span authority, struct span *rest);

#endif

#include "proxy/wire/client_hello_repeat.h"

#include <stdbool.h>

#include "proxy/wire/client_hello.h"

enum {
    VERSION_AND_RANDOM = 2 + 32,
    EXTENSION_EARLY_DATA = 42 /* RFC 8446 section 4.2.10 */
};

struct cursor {
    const unsigned char *at;
    size_t left;
};

/* A number of `octets` octets. False: there are fewer. */
static bool take(struct cursor *c, unsigned octets, size_t *n)
{
    *n = 0;
    if (c->left < octets)
        return false;
    for (unsigned i = 0; i < octets; i++)
        *n = *n << 8 | c->at[i];
    c->at += octets;
    c->left -= octets;
    return true;
}

static bool skip(struct cursor *c, size_t octets)
{
    if (c->left < octets)
        return false;
    c->at += octets;
    c->left -= octets;
    return true;
}

/* A vector behind its length (RFC 8446 section 3.4). */
static bool skip_vector(struct cursor *c, unsigned octets)
{
    size_t n;
    return take(c, octets, &n) && skip(c, n);
}

/* `c`: the whole record. Every doubt is a no. */
static bool is_alone_without_early_data(struct cursor c)
{
    size_t length, type;
    if (!skip(&c, 3) || !take(&c, 2, &length) || length != c.left)
        return false;
    if (!skip(&c, 1) || !take(&c, 3, &length) || length != c.left)
        return false;
    /* Session, cipher suites, compression methods. */
    if (!skip(&c, VERSION_AND_RANDOM) || !skip_vector(&c, 1) || !skip_vector(&c, 2) ||
        !skip_vector(&c, 1))
        return false;
    if (c.left == 0)
        return true; /* before TLS 1.2 there need be no extensions */
    if (!take(&c, 2, &length) || length != c.left)
        return false;
    while (c.left > 0) {
        if (!take(&c, 2, &type) || !skip_vector(&c, 2) || type == EXTENSION_EARLY_DATA)
            return false;
    }
    return true;
}

enum client_hello_repeat client_hello_repeat(const char *data, size_t len)
{
    struct client_hello hello;
    struct cursor c = {(const unsigned char *)data, len};
    if (len == 0)
        return CLIENT_HELLO_REPEAT_SO_FAR;
    switch (client_hello_parse(&hello, data, len)) {
    case CLIENT_HELLO_MORE:
        return CLIENT_HELLO_REPEAT_SO_FAR;
    case CLIENT_HELLO_OK:
        return is_alone_without_early_data(c) ? CLIENT_HELLO_REPEAT_YES : CLIENT_HELLO_REPEAT_NO;
    default:
        return CLIENT_HELLO_REPEAT_NO;
    }
}

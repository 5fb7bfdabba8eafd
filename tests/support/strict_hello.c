#include "tests/support/strict_hello.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HANDSHAKE = 22, CLIENT_HELLO = 1, SERVER_NAME = 0, HOST_NAME = 0 };

struct octets {
    const unsigned char *p;
    size_t n;
};

/* A number of `size` octets, network order; false: there are not so many. */
static bool number(struct octets *o, size_t size, size_t *value)
{
    *value = 0;
    if (o->n < size)
        return false;
    for (size_t i = 0; i < size; i++)
        *value = *value << 8 | o->p[i];
    *o = (struct octets){o->p + size, o->n - size};
    return true;
}

/* A vector with a length of `size` octets before it. */
static bool vector(struct octets *o, size_t size, struct octets *inside)
{
    size_t n;
    if (!number(o, size, &n) || o->n < n)
        return false;
    *inside = (struct octets){o->p, n};
    *o = (struct octets){o->p + n, o->n - n};
    return true;
}

/* ServerNameList: the one name of a host. */
static enum strict_hello read_names(struct octets extension, char name[256])
{
    struct octets list, host;
    size_t type;
    if (!vector(&extension, 2, &list) || !number(&list, 1, &type) || type != HOST_NAME ||
        !vector(&list, 2, &host) || host.n > 255)
        return STRICT_HELLO_NONE;
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    return STRICT_HELLO_NAMED;
}

/* Behind the handshake's header (RFC 8446 section 4.1.2). */
static enum strict_hello read_hello(struct octets o, char name[256])
{
    struct octets ignored, extensions, extension;
    size_t type;
    if (o.n < 34)
        return STRICT_HELLO_NONE;
    o = (struct octets){o.p + 34, o.n - 34}; /* version and random */
    if (!vector(&o, 1, &ignored) || !vector(&o, 2, &ignored) || !vector(&o, 1, &ignored))
        return STRICT_HELLO_NONE;
    if (o.n == 0)
        return STRICT_HELLO_NAMELESS;
    if (!vector(&o, 2, &extensions))
        return STRICT_HELLO_NONE;
    while (extensions.n > 0) {
        if (!number(&extensions, 2, &type) || !vector(&extensions, 2, &extension))
            return STRICT_HELLO_NONE;
        if (type == SERVER_NAME)
            return read_names(extension, name);
    }
    return STRICT_HELLO_NAMELESS;
}

/* The message may be spread over records (section 5.1), and the last need not be whole. */
enum strict_hello strict_server_name(const char *p, size_t n, char name[256])
{
    struct octets left = {(const unsigned char *)p, n}, message;
    unsigned char *whole = malloc(n + 1);
    size_t size = 0, type, version, length;
    enum strict_hello found = STRICT_HELLO_NONE;
    while (whole != NULL && number(&left, 1, &type) && type == HANDSHAKE &&
           number(&left, 2, &version) && version >> 8 == 3 && number(&left, 2, &length)) {
        length = length < left.n ? length : left.n;
        memcpy(whole + size, left.p, length);
        size += length;
        left = (struct octets){left.p + length, left.n - length};
        struct octets o = {whole, size};
        if (number(&o, 1, &type) && type == CLIENT_HELLO && vector(&o, 3, &message)) {
            found = read_hello(message, name);
            break;
        }
    }
    free(whole);
    return found;
}

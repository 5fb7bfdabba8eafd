/*
 * strict_hello.h - a second reader of a TLS ClientHello, for judging what passed the gate; shares
 * no code with proxy/wire.
 */
#ifndef CERTFERRY_TESTS_STRICT_HELLO_H
#define CERTFERRY_TESTS_STRICT_HELLO_H

#include <stddef.h>

enum strict_hello {
    STRICT_HELLO_NONE, /* the octets do not begin with a whole ClientHello */
    STRICT_HELLO_NAMELESS,
    STRICT_HELLO_NAMED
};

/* `name` receives the host name of server_name (RFC 6066 section 3). */
enum strict_hello strict_server_name(const char *p, size_t n, char name[256]);

#endif

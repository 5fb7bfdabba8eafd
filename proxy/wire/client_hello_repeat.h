/*
 * client_hello_repeat.h - may the first octets of a tunnel be sent once more over another
 * connection to the same server, when the first one is lost before an answer?
 *
 * A ClientHello may, as long as it brings no early data: those a server could act on twice (RFC
 * 8446 section 8). Nothing else may. Pure. Any thread.
 */
#ifndef CERTFERRY_WIRE_CLIENT_HELLO_REPEAT_H
#define CERTFERRY_WIRE_CLIENT_HELLO_REPEAT_H

#include <stddef.h>

enum client_hello_repeat {
    CLIENT_HELLO_REPEAT_YES,    /* one whole ClientHello in one record, and nothing behind it */
    CLIENT_HELLO_REPEAT_SO_FAR, /* nothing yet, or the beginning of one */
    CLIENT_HELLO_REPEAT_NO,
};

enum client_hello_repeat client_hello_repeat(const char *data, size_t len);

#endif

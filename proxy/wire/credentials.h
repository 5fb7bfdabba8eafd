/*
 * credentials.h - user and password of a Proxy-Authorization field with the Basic scheme (RFC
 * 7617).
 *
 * Strict base64 (RFC 4648 section 4, padding required, no other octets), no control characters, one
 * field. Pure. Any thread.
 */
#ifndef CERTFERRY_WIRE_CREDENTIALS_H
#define CERTFERRY_WIRE_CREDENTIALS_H

#include "proxy/wire/head.h"

enum { CREDENTIALS_MAX = 255 /* octets of a user and of a password */ };

enum credentials_result {
    CREDENTIALS_OK,
    CREDENTIALS_NONE, /* no field, or of a scheme we do not ask for */
    CREDENTIALS_BAD,  /* more than one, or malformed; `*why` says what; static text */
};

struct credentials {
    char user[CREDENTIALS_MAX + 1];
    char password[CREDENTIALS_MAX + 1];
};

/* `c` is filled when the result is CREDENTIALS_OK, and holds no secret otherwise. */
enum credentials_result credentials_parse(struct credentials *c, const struct head *head,
                                          const char **why);

enum { CREDENTIALS_PRINTED_MAX = 6 + (2 * CREDENTIALS_MAX + 3) / 3 * 4 + 1 };

/*
 * The other way: "user:password" as the value of a field of ours, "Basic ...". 0, or -EINVAL with
 * `*why` (static): no colon, nothing before it, control characters, or too long.
 */
int credentials_print(char out[CREDENTIALS_PRINTED_MAX], struct span user_password,
                      const char **why);

/* Overwrites the secret; the compiler does not leave this out. */
void credentials_wipe(struct credentials *c);

#endif

/*
 * parent.h - one next hop as it is written down: protocol, host, port, priority, password. Of the
 * gateway it is an origin, else a proxy.
 *
 * A value; knows no socket and no list. Any thread.
 */
#ifndef CERTFERRY_SESSION_PARENT_H
#define CERTFERRY_SESSION_PARENT_H

#include <stdbool.h>

#include "allowlist/hostname.h"
#include "proxy/wire/credentials.h"

enum {
    PARENT_LABEL_MAX = HOSTNAME_MAX + 32,             /* "https://[v6]:65535" */
    PARENT_CREDENTIALS_MAX = 2 * CREDENTIALS_MAX + 1, /* user:password */
};

struct parent {
    bool tls; /* https: TLS to the proxy itself */
    struct hostname host;
    uint16_t port;
    unsigned priority;                           /* the lowest is asked first */
    char label[PARENT_LABEL_MAX];                /* "http://host:port": for people, and as a key */
    char authorization[CREDENTIALS_PRINTED_MAX]; /* value of Proxy-Authorization; "": none */
    char authority[PARENT_LABEL_MAX];            /* of an origin: value of Host */
};

/*
 * "http://[user:password@]host:port[;priority=N]", user and password percent-encoded, N from 1 to
 * 65535; 1 where none is written. 0; -EINVAL with `*why` (static; tells nothing of a password).
 */
int parent_parse(struct parent *p, struct span text, const char **why);

/* From its parts, without a password: for rosters. `host` is copied. */
void parent_make(struct parent *p, const struct hostname *host, uint16_t port, bool tls);

/* "user:password", as it is. 0 or -EINVAL with `*why` (static). */
int parent_set_credentials(struct parent *p, struct span text, const char **why);

/* Overwrites the secret. */
void parent_wipe(struct parent *p);

#endif

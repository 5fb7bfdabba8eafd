/*
 * access_log.h - one finished exchange -> one JSON line; and the record that is filled while it
 * lasts.
 *
 * Knows no session. A record: its session's thread. Writing: any thread, see base/line_writer.h.
 */
#ifndef CERTFERRY_SESSION_ACCESS_LOG_H
#define CERTFERRY_SESSION_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "allowlist/roles.h"
#include "proxy/base/addr.h"
#include "proxy/base/line_writer.h"
#include "proxy/base/outcome.h"
#include "proxy/base/protocol.h"
#include "proxy/session/door.h"

enum { ACCESS_METHOD_MAX = 20 };

/* Times are microseconds; `started_us` of clock_us(), the others since then; 0: did not come to
 * that. */
struct access_record {
    enum door_kind door;
    bool active; /* octets of a request have come: there is something to tell */
    struct addr client;
    struct addr origin;             /* sa_family 0: none was dialled */
    char method[ACCESS_METHOD_MAX]; /* cut when longer; "" unknown */
    char *host;                     /* owned; canonical, or as sent when refused; NULL unknown */
    char *sni;                      /* owned; NULL none seen */
    char *user;                     /* owned; as claimed, right or wrong; NULL none */
    char *parent;                   /* owned; the parent proxy asked last; NULL none */
    char *upstream;                 /* owned; the gateway's upstream asked last; NULL none */
    char *detail;                   /* owned; NULL nothing to add */
    const char *operation;          /* static */
    const char *identity;           /* the session's; of the client's certificate; NULL: none */
    char role[ROLE_NAME_MAX + 1];   /* "": none */
    enum outcome would;             /* what a role that only reports would have refused with */
    enum protocol protocol;
    enum outcome outcome;
    unsigned status; /* sent to the client; 0 none */
    uint16_t port;
    uint64_t octets_up, octets_down;
    uint64_t started_us, dns_us, connect_us, first_octet_us;
};

/* Keeps only the client's address and its door; frees what is owned. */
void access_record_reset(struct access_record *r);

/* Copies at most HOSTNAME-sized text to an owned field; out of memory leaves it unknown. */
void access_record_text(char **field, struct span text);

/* Writes the line for a record that ends now. */
void access_log_write(struct line_writer *w, const struct access_record *r, unsigned worker);

#endif

/*
 * peers_print.h - a roster for people and scripts, as `certferry peers` prints it.
 *
 * What members say of themselves is somebody else's text: nothing of it reaches a terminal, a shell
 * or a hosts file unescaped. No sockets, no clock. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_PEERS_PRINT_H
#define CERTFERRY_FAILOVER_PEERS_PRINT_H

#include <stdbool.h>
#include <time.h>

#include "failover/roster.h"
#include "proxy/base/addr.h"
#include "proxy/base/buf.h"

/* A document that was read, and where it came from. Members are printed in the roster's order. */
struct peers_view {
    const char *source;     /* URL that was asked */
    const char *identifier; /* who it says it is */
    time_t expires;
    bool is_signed; /* by whom we trust */
    const struct roster *roster;
};

/* The first that is up, else the first that nothing is known of; NULL: none. Draining and down ones
 * are not for new work. */
const struct member *peers_best(const struct roster *r);
bool peers_is_live(const struct member *m);

/* Each returns 0, -ENOBUFS or -ENOMEM. */

/* Columns for people. */
int peers_print_table(struct buf *out, const struct peers_view *v);

/* One JSON object in one line, ASCII: its members are in certferry(8) and stay. */
int peers_print_json(struct buf *out, const struct peers_view *v);

/* Assignments that a shell may evaluate. */
int peers_print_env(struct buf *out, const struct member *best);

/* A line of hosts(5). */
int peers_print_host(struct buf *out, const struct addr *address, const char *name);

#endif

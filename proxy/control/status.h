/*
 * status.h - the page for people: is it healthy, who are the peers, what goes on, what was refused
 * and why, how is a client pointed here.
 *
 * HTML without scripts; what others said of themselves is escaped. No sockets, no clock. Any
 * thread.
 */
#ifndef CERTFERRY_CONTROL_STATUS_H
#define CERTFERRY_CONTROL_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "failover/roster.h"
#include "proxy/base/buf.h"
#include "proxy/base/metrics.h"

/* Borrowed until the page is printed. */
struct status {
    const char *version;
    const char *not_ready; /* NULL: takes new work */
    time_t started, now;
    const struct roster *roster; /* has a `self` */
    size_t connections, connections_max;
    size_t waiting;                 /* in the queue */
    struct metrics *const *metrics; /* of all workers */
    size_t metrics_count;
};

/* Fields of the answer, each with CRLF: nothing is loaded or run, nobody frames or keeps it. */
extern const char status_fields[];

/* 0, -ENOBUFS or -ENOMEM. */
int status_print(struct buf *out, const struct status *s);

#endif

/*
 * fleet.h - the proxies of a site, put together: ourselves, peers=, etcd and DNS, each with the
 * health that its probes found, as one immutable roster after the other.
 *
 * What a source told last stays true while it is in trouble; what was on disk is true until every
 * source that is configured has been heard. Trouble is logged once, and once when it is over. Knows
 * no workers and no documents: who made it hands the roster on. Main loop only, but for
 * fleet_print_status().
 */
#ifndef CERTFERRY_FAILOVER_FLEET_H
#define CERTFERRY_FAILOVER_FLEET_H

#include <stdatomic.h>
#include <uv.h>

#include "failover/probe.h"
#include "failover/roster.h"
#include "failover/source_dns.h"
#include "failover/source_etcd.h"
#include "proxy/base/buf.h"

enum fleet_source { FLEET_ETCD, FLEET_DNS, FLEET_SOURCES };

/* What the metrics tell. Read by any thread. */
struct fleet_status {
    atomic_int up[FLEET_SOURCES]; /* 1, 0: in trouble, -1: not configured */
};

struct fleet_options {
    const struct member *self; /* load and state are the fleet's own affair */
    struct roster *peers;      /* of peers=; a reference is taken */
    struct probe_options probe;
    struct source_etcd_options etcd; /* no endpoints: no etcd */
    struct source_dns_options dns;   /* name "": no DNS */
    const char *cache;               /* file of the last good roster; "": none. Only at the start */
    unsigned (*load)(void *arg);     /* permille of our connections in use; asked now and then */
    void (*on_roster)(void *arg, struct roster *roster); /* another than before */
    void *arg;
};

struct fleet;

/*
 * Strings and structs are copied; loop, fetcher and resolver are borrowed until fleet_close(). To
 * be called before the thread is confined. Returns owned; NULL when out of memory.
 */
struct fleet *fleet_create(uv_loop_t *loop, struct fetcher *fetcher, struct resolver *resolver,
                           const struct fleet_options *options);

/* The roster of this moment, borrowed until the next round of the loop. There always is one. */
struct roster *fleet_roster(const struct fleet *f);

/* Sources whose options differ begin anew. 0 or -ENOMEM: parts of the old ones stay. */
int fleet_reload(struct fleet *f, const struct fleet_options *options);

/* Whether there is a way out of here: without one the roster says that we are down, as our peers
 * will find. */
void fleet_set_ready(struct fleet *f, bool ready);

/*
 * We take no new work in a moment: etcd is told first, the roster says that we are draining.
 * `on_left` runs once, not before this returns and within etcd.timeout.
 */
void fleet_leave(struct fleet *f, void (*on_left)(void *arg), void *arg);

/*
 * Another process is this member from now on: nothing is taken out, and nothing is told any more,
 * by us. Instead of fleet_leave().
 */
void fleet_hand_over(struct fleet *f);

/* No callback comes any more. Frees itself on the loop's next rounds. */
void fleet_close(struct fleet *f);

/* Borrowed for the fleet's life. */
const struct fleet_status *fleet_status(const struct fleet *f);

/* Metrics of `roster` and of the sources. 0, -ENOBUFS or -ENOMEM. Any thread. */
int fleet_print_status(struct buf *out, const struct roster *roster,
                       const struct fleet_status *status);

#endif

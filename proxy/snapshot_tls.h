/*
 * snapshot_tls.h - keys of the doors that have TLS -> tls_server: tls.* and gateway.* alike.
 *
 * Part of building a snapshot. Main thread, but for printing.
 */
#ifndef CERTFERRY_SNAPSHOT_TLS_H
#define CERTFERRY_SNAPSHOT_TLS_H

#include "proxy/base/buf.h"
#include "proxy/session/door.h"

struct settings;
struct settings_errors;
struct tls_server_certificate;
struct tls_tickets;

/*
 * DOOR_TLS or DOOR_GATEWAY: fills `door` from its keys. `dir` is open on the configuration
 * directory. Mistakes are told, and leave it without TLS.
 */
void snapshot_tls(struct door_options *door, enum door_kind kind, const struct settings *settings,
                  int dir, struct settings_errors *errors);

/* Before the snapshot is shared. */
void snapshot_tls_use_tickets(const struct door_options doors[DOOR_COUNT],
                              struct tls_tickets *tickets);

void snapshot_tls_release(struct door_options doors[DOOR_COUNT]);

/* Every file that these doors' keys name, as they are written. */
void snapshot_tls_files(const struct settings *settings,
                        void (*on_file)(void *arg, const char *path), void *arg);

/* Whether a door asks the kernel for TLS of its own. */
bool snapshot_tls_wants_kernel(const struct settings *settings);

/* Tells in the log which certificates and CRLs are about to expire, or have. `shown` is what the
 * gateway's upstreams see (without a name: nothing). */
void snapshot_tls_warn(const struct door_options doors[DOOR_COUNT],
                       const struct tls_server_certificate *shown, int64_t now);

/* The same times for the metrics. 0, -ENOBUFS or -ENOMEM. Any thread. */
int snapshot_tls_print(struct buf *out, const struct door_options doors[DOOR_COUNT],
                       const struct tls_server_certificate *shown);

#endif

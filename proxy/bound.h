/*
 * bound.h - the addresses we listen on: bound once, before root is given away, for all workers.
 *
 * Main thread.
 */
#ifndef CERTFERRY_BOUND_H
#define CERTFERRY_BOUND_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/base/buf.h"
#include "proxy/inherit.h"
#include "proxy/session/door.h"
#include "proxy/snapshot_fleet.h"

struct settings;
struct settings_errors;
struct worker_listener;

enum { LISTENERS_MAX = 192, WORKERS_MAX = 256 };

struct bound_socket {
    int fd;
    size_t at; /* which address */
};

struct bound {
    uint16_t port; /* of DOOR_PROXY, at all addresses */
    size_t count;
    enum door_kind door[LISTENERS_MAX];
    struct addr address[LISTENERS_MAX];
    struct bound_socket *socket; /* owned; their descriptors are the workers' once dealt out */
    size_t socket_count;
    bool lasting; /* some came from elsewhere, and may stay open there when ours are closed */
};

/* What is no address where we could listen. */
void bound_check(const struct settings *settings, struct settings_errors *errors);

/*
 * Listens on all that `settings` names: where `inherit` has sockets of an address, with all of
 * them, else with one for each of `workers` workers. False: told, and not to be gone on with.
 */
bool bound_open(struct bound *b, const struct settings *settings, size_t workers,
                struct inherit *inherit);

/*
 * What worker `number` of `workers` listens on: every socket is somebody's, and everybody listens
 * at every address; where there are fewer sockets than workers, several share one. Returns owned,
 * with `*count` descriptors that are the caller's as well. NULL: out of memory or descriptors.
 */
struct worker_listener *bound_deal(const struct bound *b, size_t number, size_t workers,
                                   size_t *count);

/* What the roster tells: of each door the first. */
struct listen_ports bound_ports(const struct bound *b);

/* "192.0.2.1:48999, [::]:48999, tls 192.0.2.1:48998" */
void bound_print(const struct bound *b, struct buf *out);

#endif

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

#include "proxy/session/door.h"

struct settings;
struct settings_errors;

enum { LISTENERS_MAX = 192, WORKERS_MAX = 256 };

struct bound {
    uint16_t port; /* of DOOR_PROXY, at all addresses */
    size_t count;
    enum door_kind door[LISTENERS_MAX];
    struct addr address[LISTENERS_MAX];
    int fd[LISTENERS_MAX][WORKERS_MAX]; /* one for each worker */
};

/* What is no address where we could listen. */
void bound_check(const struct settings *settings, struct settings_errors *errors);

/* Listens on all that `settings` names, for `workers` workers. False: told, and not to be gone on
 * with. */
bool bound_open(struct bound *b, const struct settings *settings, size_t workers);

/* "192.0.2.1:48999, [::]:48999, tls 192.0.2.1:48998" */
void bound_print(const struct bound *b, struct buf *out);

#endif

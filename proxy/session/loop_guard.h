/*
 * loop_guard.h - the ClientHellos that are on their way through this process, so that one which
 * comes back is known.
 *
 * Behind a pass-through listener a name may lead back to that listener: by DNS that was pointed at
 * us for the proxy host too, through a parent proxy, by way of another certferry. There is no Via
 * field in TLS; but the hello goes on unaltered, and in a circle nobody answers it. So the same one
 * again, before a first octet has come back, is the first; behind that it is a client that knows no
 * chance, which may say the same on each of its connections. Without this each turn would cost two
 * descriptors, until none is left. One object for all workers, with its own lock. Any thread.
 */
#ifndef CERTFERRY_SESSION_LOOP_GUARD_H
#define CERTFERRY_SESSION_LOOP_GUARD_H

#include "proxy/base/outcome.h"
#include "proxy/base/span.h"

struct loop_guard;
struct loop_pass; /* one hello on its way */

/* Returns owned; NULL when out of memory. */
struct loop_guard *loop_guard_create(void);

/* Nobody may be on the way. */
void loop_guard_destroy(struct loop_guard *g);

/*
 * `hello`: exactly its octets. OUTCOME_OK with `*pass` for loop_guard_leave(); OUTCOME_LOOP: the
 * same is on its way already; OUTCOME_NO_MEMORY.
 */
enum outcome loop_guard_enter(struct loop_guard *g, struct span hello, struct loop_pass **pass);

/* It was answered, or never will be. Harmless for NULL. */
void loop_guard_leave(struct loop_guard *g, struct loop_pass *pass);

#endif

/*
 * control_place.h - the control socket where control.socket says, and the directory for it.
 *
 * The place that stands in the shipped configuration is made if it can be and missed if it cannot:
 * everything else works without. Any other place was asked for, and must work. Main thread.
 */
#ifndef CERTFERRY_CONTROL_PLACE_H
#define CERTFERRY_CONTROL_PLACE_H

#include "proxy/control_socket.h"

/* As root, before it is given away to `user` (service.user): the directory of the usual place. */
void control_place_prepare(const char *path, const char *user);

/*
 * As the service user; `where` is what the log calls the setting. `path` "": no socket, `*out` is
 * NULL. `aside`: not in its place yet, where another process has its own. False: told, and not to
 * be gone on with.
 */
bool control_place_open(struct control_socket **out, uv_loop_t *loop, const char *path,
                        const char *where, const struct control_socket_options *options,
                        bool aside);

/* From aside into its place: whoever connects finds the other process or us, never nobody. `c` may
 * be NULL. */
void control_place_move(struct control_socket *c, const char *path, const char *where);

#endif

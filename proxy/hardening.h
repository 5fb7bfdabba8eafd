/*
 * hardening.h - what the process gives away once it has what it needs: root, capabilities, new
 * privileges, system calls.
 *
 * Main thread, except hardening_confine().
 */
#ifndef CERTFERRY_HARDENING_H
#define CERTFERRY_HARDENING_H

#include <stddef.h>

enum hardening_role {
    HARDENING_MAIN,   /* signals, reload: reads the configuration */
    HARDENING_WORKER, /* connections, DNS, password checks */
    HARDENING_WRITER, /* the access log: writes to one descriptor */
};

/*
 * When root: becomes `user` ("" stands for certferry if there is such a user, else nobody; "root"
 * stays) with its primary group alone. In any case: no capabilities, no way to new ones, not
 * traceable by others of the same user. 0, or -1 with a reason and what to do in `why`.
 */
int hardening_drop(const char *user, char *why, size_t size);

/* From now on the calling thread, and those it starts, may make only the system calls of `role`.
 * 0 or a negative errno. */
int hardening_confine(enum hardening_role role);

#endif

/*
 * hardening.h - what the process gives away once it has what it needs: root, capabilities, new
 * privileges, system calls.
 *
 * Main thread, except hardening_confine().
 */
#ifndef CERTFERRY_HARDENING_H
#define CERTFERRY_HARDENING_H

#include <pwd.h>
#include <stddef.h>

enum hardening_role {
    HARDENING_PROCESS, /* before the first loop, for all threads to come: no io_uring */
    HARDENING_MAIN,    /* signals, reload, peers: reads the configuration, fetches */
    HARDENING_KEYS,   /* the same, and modules of devices with TLS keys: main then, their threads */
    HARDENING_WORKER, /* connections, DNS, password checks */
    HARDENING_WRITER, /* the access log: writes to one descriptor */
};

/* The account that hardening_drop() will become for `user`; static. NULL with the reason in `why`.
 */
const struct passwd *hardening_account(const char *user, char *why, size_t size);

/*
 * When root: becomes `user` ("" stands for certferry if there is such a user, else nobody) with its
 * primary group alone; "root" stays what it is. Others, and whoever root has become, keep no
 * capabilities. In any case there is no way to new privileges. 0, or -1 with a reason and what to
 * do in `why`.
 */
int hardening_drop(const char *user, char *why, size_t size);

/*
 * From now on the calling thread, and those it starts, may make only the system calls of `role`,
 * and of the roles it has had before; nobody but root may trace the process, and it leaves no core
 * file. 0 or a negative errno.
 */
int hardening_confine(enum hardening_role role);

#endif

/*
 * key_recovery.h - the device of a TLS key was lost: everything is built anew, again and again
 * until that succeeds, with growing pauses; or until it was given up, since each try might cost the
 * device one of the few wrong PINs that it bears.
 *
 * Knows neither doors nor devices. Main thread.
 */
#ifndef CERTFERRY_KEY_RECOVERY_H
#define CERTFERRY_KEY_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum key_renewal { KEY_RENEWED, KEY_AWAY, KEY_PIN_REFUSED /* not to be tried again */ };

struct key_recovery_options {
    /* Builds anew; with `tells` what is wrong is told in the log. key_recovery_done() follows, at
     * once or later. */
    void (*renew)(void *arg, bool tells);
    /* Pauses: the first, and the longest. */
    void (*pauses)(void *arg, uint64_t *first_ms, uint64_t *max_ms);
    void *arg;
};

struct key_recovery;

/* Listens for losses from now on. Returns owned; NULL when out of memory. */
struct key_recovery *key_recovery_create(uv_loop_t *loop, const struct key_recovery_options *o);

/* What came of `renew`. */
void key_recovery_done(struct key_recovery *r, enum key_renewal how);

/* There was a reload: what was given up is tried again, where that has not been mended by it. */
void key_recovery_again(struct key_recovery *r, bool mended);

/* Frees itself on the loop. NULL is harmless. */
void key_recovery_close(struct key_recovery *r);

#endif

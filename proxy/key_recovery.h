/*
 * key_recovery.h - the device of a TLS key was lost: everything is built anew, again and again
 * until that succeeds, with growing pauses.
 *
 * Knows neither doors nor devices. Main thread.
 */
#ifndef CERTFERRY_KEY_RECOVERY_H
#define CERTFERRY_KEY_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct key_recovery_options {
    /* Builds anew; with `tells` what is wrong is told in the log. Whether it succeeded. */
    bool (*renew)(void *arg, bool tells);
    /* Pauses: the first, and the longest. */
    void (*pauses)(void *arg, uint64_t *first_ms, uint64_t *max_ms);
    void *arg;
};

struct key_recovery;

/* Listens for losses from now on. Returns owned; NULL when out of memory. */
struct key_recovery *key_recovery_create(uv_loop_t *loop, const struct key_recovery_options *o);

/* Frees itself on the loop. NULL is harmless. */
void key_recovery_close(struct key_recovery *r);

#endif

/*
 * tls_thread.h - TLS handshakes whose key is in a device go on a thread of their own: a signature
 * can neither be cancelled nor timed (a stalled TPM holds SSL_do_handshake() until it wakes), and
 * no loop may wait for it.
 *
 * One thread for each provider (tls_key.h), with a bounded queue; its results come back to the
 * loop that asked by that loop's mailbox. While a handshake is on the thread, its SSL and
 * descriptor are the thread's alone.
 */
#ifndef CERTFERRY_NET_TLS_THREAD_H
#define CERTFERRY_NET_TLS_THREAD_H

#include <stddef.h>
#include <uv.h>

/* ---- of a loop: its thread ---- */

struct tls_mailbox;

/* Returns owned; NULL when out of memory. Borrows `loop`. */
struct tls_mailbox *tls_mailbox_create(uv_loop_t *loop);

/* All handshakes of its loop have been given up or taken before. Frees itself on the loop. */
void tls_mailbox_close(struct tls_mailbox *m);

#endif

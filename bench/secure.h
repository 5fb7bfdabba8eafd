/*
 * secure.h - TLS of load and origin: OpenSSL behind calls that answer as recv() and send() do.
 *
 * TLS 1.3 alone, P-256 and X25519 as OpenSSL prefers them. The load verifies nothing: what that
 * costs is no matter of the proxy's.
 */
#ifndef BENCH_SECURE_H
#define BENCH_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ssl_st;
struct ssl_ctx_st;

/* Of all the load's connections. `resume`: each begins with the newest ticket that came. */
struct ssl_ctx_st *secure_client(bool resume);

/* Of an origin; `file` holds certificate and key. */
struct ssl_ctx_st *secure_server(const char *file);

/* TLS over a descriptor, which stays the caller's. Ends the program without memory. */
struct ssl_st *secure_begin(struct ssl_ctx_st *ctx, int fd);

/* 0, or -1 with errno; EAGAIN: when the descriptor is ready again. */
int secure_shake(struct ssl_st *ssl);

/* As recv() and send(). secure_receive() shakes hands by itself where that is not done. */
ssize_t secure_receive(struct ssl_st *ssl, void *to, size_t size);
ssize_t secure_send(struct ssl_st *ssl, const void *from, size_t size);

/* Says close_notify and frees. */
void secure_end(struct ssl_st *ssl);

/* Handshakes that secure_shake() has ended so far. */
struct secure_count {
    unsigned long all, resumed;
};
struct secure_count secure_counted(void);

#endif

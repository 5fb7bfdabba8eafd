/*
 * snapshot_gateway.h - gateway.* keys -> what the gateway lets through, and its upstreams.
 *
 * Part of building a snapshot; TLS with the gateway's clients is snapshot_tls.h's. Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_GATEWAY_H
#define CERTFERRY_SNAPSHOT_GATEWAY_H

#include "proxy/net/tls_server.h"
#include "proxy/session/session.h"

struct settings;
struct settings_errors;

/* Of a snapshot; all zero: no gateway. */
struct snapshot_gateway {
    struct gateway_options options;
    struct parents *upstreams;           /* counted; NULL: none */
    uint64_t check_ms;                   /* gateway.check.interval */
    struct tls_server_certificate shown; /* gateway.upstream.cert, its name owned; NULL: none */
};

/*
 * Fills `g`, and in `session` what concerns the gateway's doors; its policy (NULL where it could
 * not be made) and `parents` (NULL: everything goes direct) are asked whether the upstreams could
 * be reached at all. Mistakes are told. `dir` is open on the configuration directory.
 */
void snapshot_gateway(struct snapshot_gateway *g, struct session_options *session,
                      const struct settings *settings, int dir, const struct parents *parents,
                      struct settings_errors *errors);

void snapshot_gateway_release(struct snapshot_gateway *g);

/* What is no mistake and yet hardly meant, to follow the key that it is about; NULL: nothing. */
#define SNAPSHOT_GATEWAY_DOUBTFUL "gateway.upstream.cert"
const char *snapshot_gateway_doubt(const struct settings *settings);

/* Every file that the keys name, as they are written. */
void snapshot_gateway_files(const struct settings *settings,
                            void (*on_file)(void *arg, const char *path), void *arg);

#endif

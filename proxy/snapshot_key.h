/*
 * snapshot_key.h - private keys of a door, or of the gateway towards its upstreams -> tls_key: in
 * PEM files, or in the device of an OpenSSL provider.
 *
 * Part of building a snapshot: mistakes are told with the key they stand at. A device may be waited
 * for, as long as tls.provider.timeout says. Main thread, or the one that builds for it.
 */
#ifndef CERTFERRY_SNAPSHOT_KEY_H
#define CERTFERRY_SNAPSHOT_KEY_H

#include <stdbool.h>

#include "proxy/base/span.h"

struct settings;
struct settings_errors;
struct tls_key;
struct tls_provider;

struct snapshot_key {
    const struct settings *settings;
    const char *prefix; /* "tls", "gateway" or "gateway.upstream": of its X.provider and so on */
    int dir;            /* open on the configuration directory */
    struct settings_errors *errors;
};

/* X.provider and all that belongs to it. False: told. `*provider` is owned; NULL: none is wanted.
 */
bool snapshot_key_provider(const struct snapshot_key *from, struct tls_provider **provider);

/*
 * The key that `text` names, a file or, with a provider, a URI, as it stands at the key `X.rest`;
 * `certificate` is the PEM that begins with its certificate. Returns owned; NULL: told.
 */
struct tls_key *snapshot_key_load(const struct snapshot_key *from, struct tls_provider *provider,
                                  const char *rest, const char *text, struct span certificate);

/* A snapshot is begun: PINs that were in vain before are forgotten. */
void snapshot_key_begin(void);

/* Whether `text` at X.cert may be a certificate. False: told. */
bool snapshot_key_may_certify(const struct snapshot_key *from, const char *text);

/* Whether `text` names a file, and not a URI. */
bool snapshot_key_is_file(const char *text);

#endif

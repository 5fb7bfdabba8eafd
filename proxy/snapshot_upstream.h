/*
 * snapshot_upstream.h - the parent proxies that the configuration names: upstream.* and no.proxy ->
 * an immutable list.
 *
 * Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_UPSTREAM_H
#define CERTFERRY_SNAPSHOT_UPSTREAM_H

#include "proxy/session/parents.h"

struct settings;
struct settings_errors;

/*
 * The list, counted; NULL when there are no parent proxies, or after a mistake, which is told in
 * `errors`. `dir` is open on the configuration directory.
 */
struct parents *snapshot_upstream(const struct settings *settings, int dir,
                                  struct settings_errors *errors);

#endif

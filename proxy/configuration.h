/*
 * configuration.h - a configuration directory -> settings and the snapshot they mean, or all
 * mistakes.
 *
 * Main thread, or the one that builds for it (server_build.c).
 */
#ifndef CERTFERRY_CONFIGURATION_H
#define CERTFERRY_CONFIGURATION_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/settings.h"
#include "proxy/snapshot_agent.h"
#include "proxy/snapshot_fleet.h"

struct snapshot;

/* Where it comes from. */
struct configuration_source {
    const char *dir;                     /* NULL: none, of certferry agent */
    const struct agent_command *command; /* of certferry agent; NULL: a sensor */
    int fd; /* open on `dir` since the start, when more was readable; -1: none */
};

/* A descriptor, or a negative errno; `dir` may be NULL. */
int configuration_open(const char *dir);

/*
 * Settings and snapshot, both owned; or neither, and all mistakes in `errors`. `ports` are those we
 * listen on, 0: the configured one.
 */
bool configuration_load(const struct configuration_source *from, struct listen_ports ports,
                        struct settings **settings, struct snapshot **snapshot,
                        struct settings_errors *errors);

/*
 * The same later, as the service user, who may not be allowed to search the directories above. Keys
 * that need a restart are those of `in_force` (NULL: none are yet), and where the files say
 * otherwise now, that is logged: a listener that was opened with TLS has TLS as long as it lives.
 */
bool configuration_load_again(const struct configuration_source *from, struct listen_ports ports,
                              const struct settings *in_force, struct settings **settings,
                              struct snapshot **snapshot, struct settings_errors *errors);

/* On standard error; frees them. */
void configuration_print_errors(struct settings_errors *errors);

/* Builds all of it, prints every mistake on stderr. 0 when there is none, 1 otherwise. */
int configuration_check(const char *dir);

#endif

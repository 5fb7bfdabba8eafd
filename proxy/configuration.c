#include "proxy/configuration.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/bound.h"
#include "proxy/snapshot.h"
#include "proxy/snapshot_gateway.h"

void configuration_print_errors(struct settings_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++)
        (void)fprintf(stderr, "%s\n", errors->line[i]);
    settings_errors_free(errors);
}

int configuration_open(const char *dir)
{
    if (dir == NULL)
        return -ENOENT;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static void tell_restart_needed(void *arg, const char *key)
{
    (void)arg;
    log_line(LOG_WARNING, "reload: %s changed, but only a restart puts it in force", key);
}

/* `in_force`: NULL at the start. */
static bool load(const struct configuration_source *from, struct listen_ports ports,
                 const struct settings *in_force, struct settings **settings,
                 struct snapshot **snapshot, struct settings_errors *errors)
{
    *snapshot = NULL;
    *settings = from->command != NULL
                    ? settings_load_agent(from->fd, from->dir, from->command->listen, errors)
                    : settings_load(from->fd, from->dir, errors);
    if (*settings == NULL) {
        settings_error(errors, "configuration", "out of memory");
        return false;
    }
    if (ports.proxy == 0)
        ports.proxy = (uint16_t)(*settings)->heartbeatport;
    bound_check(*settings, errors);
    if (in_force != NULL) {
        settings_restart_needed(in_force, *settings, tell_restart_needed, NULL);
        if (settings_keep(*settings, in_force) != 0)
            settings_error(errors, "configuration", "out of memory");
    }
    /* Built also after a mistake in a file, so that one run tells all mistakes. */
    *snapshot = snapshot_build(*settings, from->fd, ports, errors);
    if (errors->count == 0)
        return true;
    if (*snapshot != NULL)
        snapshot_unref(*snapshot);
    settings_free(*settings);
    *settings = NULL;
    *snapshot = NULL;
    return false;
}

bool configuration_load(const struct configuration_source *from, struct listen_ports ports,
                        struct settings **settings, struct snapshot **snapshot,
                        struct settings_errors *errors)
{
    return load(from, ports, NULL, settings, snapshot, errors);
}

bool configuration_load_again(const struct configuration_source *from, struct listen_ports ports,
                              const struct settings *in_force, struct settings **settings,
                              struct snapshot **snapshot, struct settings_errors *errors)
{
    struct configuration_source now = *from;
    int fd = configuration_open(from->dir);
    if (fd != -EACCES)
        now.fd = fd;
    bool good = load(&now, ports, in_force, settings, snapshot, errors);
    if (fd >= 0)
        (void)close(fd);
    return good;
}

/* Roles that nobody can have are a slip, or half of a change. */
static void warn_of_unasked(const struct settings *settings)
{
    bool named = false;
    for (size_t i = 0; i < settings->roles.count; i++)
        named = named || settings->roles.role[i].identities.count > 0;
    if (named && settings->tls_client_ca[0] == '\0' && settings->gateway_client_ca[0] == '\0')
        (void)fprintf(stderr,
                      "%s: warning: no client is asked for a certificate, so nobody has the roles "
                      "of roles.properties by his identity: set it, or gateway.client.ca\n",
                      settings_where(settings, "tls.client.ca"));
}

/* No mistake, but nothing to be forgotten either. */
static void warn_of_reporting(const struct settings *settings)
{
    for (size_t i = 0; i < settings->roles.count; i++) {
        const struct role_settings *r = &settings->roles.role[i];
        if (r->mode == ROLES_FILE_REPORT)
            (void)fprintf(stderr,
                          "%s: warning: what the role's allowlist refuses passes, and is only "
                          "logged and counted\n",
                          settings_where_role(settings, r, ROLES_FILE_mode));
    }
}

static void warn_of_gateway(const struct settings *settings)
{
    const char *doubt = snapshot_gateway_doubt(settings);
    if (doubt != NULL)
        (void)fprintf(stderr, "%s: warning: %s\n",
                      settings_where(settings, SNAPSHOT_GATEWAY_DOUBTFUL), doubt);
}

int configuration_check(const char *dir)
{
    (void)signal(SIGPIPE, SIG_IGN); /* modules of distant tokens write to sockets */
    struct configuration_source from = {.dir = dir, .fd = configuration_open(dir)};
    struct settings_errors errors = {0};
    struct settings *settings;
    struct snapshot *snapshot;
    bool good = configuration_load(&from, (struct listen_ports){0}, &settings, &snapshot, &errors);
    if (from.fd >= 0)
        (void)close(from.fd);
    if (good) {
        warn_of_reporting(settings);
        warn_of_unasked(settings);
        warn_of_gateway(settings);
        (void)printf("%s: fine\n", dir);
        snapshot_unref(snapshot);
        settings_free(settings);
    } else {
        configuration_print_errors(&errors);
    }
    return good ? 0 : 1;
}

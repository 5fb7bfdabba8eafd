#include "proxy/server_impl.h"

#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/log.h"

static void tell_restart_needed(void *arg, const char *key)
{
    (void)arg;
    log_line(LOG_WARNING, "reload: %s changed, but only a restart puts it in force", key);
}

/* Said when it is true for every worker, so that whoever reads the line may rely on it. */
void server_tell_reloaded(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++) {
        if (worker_generation(sv->worker[i]) < sv->snapshot->generation)
            return;
    }
    for (; sv->reloads_untold > 0; sv->reloads_untold--)
        log_line(LOG_NOTICE, "reloaded: the configuration in %s is in force",
                 sv->source.dir != NULL ? sv->source.dir : "the command line");
}

/* Before the snapshot is handed on: whoever sees that one in force finds its peers as well. */
static void reload_fleet(struct server *sv, const struct snapshot *snapshot)
{
    const struct fleet_options o = server_fleet_options(sv, snapshot);
    if (sv->fleet != NULL && fleet_reload(sv->fleet, &o) != 0)
        log_line(LOG_ERROR, "reload: out of memory, part of the old roster's sources stay");
}

/* From here on it is in force; a reference is taken over. */
static void put_in_force(struct server *sv, struct snapshot *snapshot)
{
    snapshot->generation = sv->snapshot->generation + 1;
    server_lend_sensors(sv, snapshot);
    server_set_limits(sv, snapshot);
    authentication_reload(sv->shared.authentication, &snapshot->authentication);
    reload_fleet(sv, snapshot);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_reload(sv->worker[i], snapshot);
    reach_check_use(sv->reach_check, snapshot->policy, snapshot->parents, &snapshot->session.dial);
    (void)resolver_reload(sv->net.resolver, &snapshot->resolver);
    snapshot_unref(sv->snapshot);
    sv->snapshot = snapshot;
}

static void tell_mistakes(const char *what, struct settings_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++)
        log_line(LOG_ERROR, "%s", errors->line[i]);
    log_line(LOG_ERROR, "%s refused: %zu mistakes, the old configuration stays in force", what,
             errors->count);
    settings_errors_free(errors);
}

void server_reload(struct server *sv)
{
    struct settings_errors errors = {0};
    struct settings *settings;
    struct snapshot *snapshot;
    if (!configuration_load_again(&sv->source, sv->bound.port, &settings, &snapshot, &errors)) {
        tell_mistakes("reload", &errors);
        return;
    }
    settings_restart_needed(sv->settings, settings, tell_restart_needed, NULL);
    put_in_force(sv, snapshot);
    settings_free(sv->settings);
    sv->settings = settings;
    sv->reloads_untold++;
    server_tell_reloaded(sv); /* every worker may be gone already */
}

bool server_renew(struct server *sv, const char *what)
{
    struct settings_errors errors = {0};
    int fd = configuration_open(sv->source.dir);
    /* As the service user we may not be allowed to search the directories above. */
    int dir = fd >= 0 ? fd : sv->source.fd;
    struct snapshot *snapshot = snapshot_build(sv->settings, dir, sv->bound.port, &errors);
    if (fd >= 0)
        (void)close(fd);
    if (snapshot == NULL) {
        tell_mistakes(what, &errors);
        return false;
    }
    put_in_force(sv, snapshot);
    return true;
}

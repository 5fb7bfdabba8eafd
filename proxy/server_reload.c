#include "proxy/server_impl.h"

#include <time.h>

#include "proxy/base/log.h"
#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_tickets.h"
#include "proxy/snapshot_gateway.h"
#include "proxy/snapshot_roles.h"
#include "proxy/snapshot_tls.h"

/* Said when it is true for every worker, so that whoever reads the line may rely on it. */
void server_tell_reloaded(struct server *sv)
{
    for (size_t i = 0; i < sv->worker_count; i++) {
        if (worker_generation(sv->worker[i]) < sv->snapshot->generation)
            return;
    }
    for (; sv->recoveries_untold > 0; sv->recoveries_untold--)
        log_line(LOG_NOTICE, "the device of the TLS key is back: its doors take handshakes again");
    for (; sv->reloads_untold > 0; sv->reloads_untold--)
        log_line(LOG_NOTICE, "reloaded: the configuration in %s is in force",
                 sv->source.dir != NULL ? sv->source.dir : "the command line");
    for (; sv->changes_untold > 0; sv->changes_untold--)
        log_line(LOG_NOTICE, "renewed: the changed certificates, keys, CAs and CRLs are in force");
}

/* Before the snapshot is handed on: whoever sees that one in force finds its peers as well. */
static void reload_fleet(struct server *sv, const struct snapshot *snapshot)
{
    const struct fleet_options o = server_fleet_options(sv, snapshot);
    if (sv->fleet != NULL && fleet_reload(sv->fleet, &o) != 0)
        log_line(LOG_ERROR, "reload: out of memory, part of the old roster's sources stay");
}

void server_lend_tickets(struct server *sv, struct snapshot *snapshot)
{
    tls_tickets_set(sv->tickets, snapshot->ticket_lifetime_ms, snapshot->ticket_rotate_ms);
    snapshot_tls_use_tickets(snapshot->session.door, sv->tickets);
}

/* From here on it is in force; a reference is taken over. */
static void put_in_force(struct server *sv, struct snapshot *snapshot)
{
    snapshot->generation = sv->snapshot->generation + 1;
    server_lend_sensors(sv, snapshot);
    server_lend_tickets(sv, snapshot);
    server_set_limits(sv, snapshot);
    authentication_reload(sv->shared.authentication, &snapshot->authentication);
    reload_fleet(sv, snapshot);
    for (size_t i = 0; i < sv->worker_count; i++)
        worker_reload(sv->worker[i], snapshot);
    reach_check_use(sv->reach_check, snapshot->policy, snapshot->parents, &snapshot->session.dial);
    server_check_upstreams(sv, snapshot);
    (void)resolver_reload(sv->net.resolver, &snapshot->resolver);
    snapshot_unref(sv->snapshot);
    sv->snapshot = snapshot;
    snapshot_tls_warn(snapshot->session.door, &snapshot->gateway.shown, (int64_t)time(NULL));
}

static void tell_mistakes(const char *what, struct settings_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++)
        log_line(LOG_ERROR, "%s", errors->line[i]);
    log_line(LOG_ERROR, "%s refused: %zu mistake%s, the old configuration stays in force", what,
             errors->count, errors->count == 1 ? "" : "s");
    settings_errors_free(errors);
}

static void tell_reporting(const struct server *sv)
{
    struct buf names;
    buf_init(&names, ROLES_MAX * (ROLE_NAME_MAX + 2));
    if (snapshot_roles_reporting(sv->snapshot->roles, &names))
        log_line(LOG_WARNING,
                 "roles that only report, so that what their allowlists refuse passes: %.*s",
                 SPAN_ARGS(buf_span(&names)));
    buf_release(&names);
}

void server_tell_doubts(const struct server *sv)
{
    const char *doubt = snapshot_gateway_doubt(sv->settings);
    tell_reporting(sv);
    if (doubt != NULL)
        log_line(LOG_WARNING, "%s: %s", settings_where(sv->settings, SNAPSHOT_GATEWAY_DOUBTFUL),
                 doubt);
}

static void reloaded(struct server *sv, struct server_build *b)
{
    if (b->snapshot == NULL) {
        tell_mistakes("reload", &b->errors);
        server_keys_reloaded(sv, b->refused_before, false);
        return;
    }
    put_in_force(sv, b->snapshot);
    b->snapshot = NULL;
    settings_free(sv->settings);
    sv->settings = b->settings;
    b->settings = NULL;
    server_tell_doubts(sv);
    server_watch_again(sv, &b->since);
    server_keys_reloaded(sv, b->refused_before, true);
    sv->reloads_untold++;
    server_tell_reloaded(sv); /* every worker may be gone already */
}

/* The same settings built anew; `what`: for the log, NULL: mistakes are not told. */
static bool renewed(struct server *sv, struct server_build *b, const char *what)
{
    /* A try that is the last one is told in any case. */
    if (b->snapshot == NULL && (what != NULL || !server_may_renew(sv)))
        tell_mistakes(what != NULL ? what : "to open the device of a TLS key is", &b->errors);
    if (b->snapshot == NULL)
        return false;
    put_in_force(sv, b->snapshot);
    b->snapshot = NULL;
    return true;
}

bool server_may_build(struct server *sv, enum server_wish wish)
{
    bool may = wish == SERVER_RELOAD || server_may_renew(sv);
    if (!may && wish == SERVER_CHANGED)
        log_line(
            LOG_ERROR,
            "changed certificates not read: a device has refused the PIN of a TLS key, so that "
            "only a reload (SIGHUP) tries again");
    if (!may && wish == SERVER_RECOVERY)
        server_keys_recovered(sv, false);
    return may;
}

void server_built(struct server *sv, struct server_build *b)
{
    switch (b->wish) {
    case SERVER_RELOAD:
        reloaded(sv, b);
        break;
    case SERVER_CHANGED: /* a failure is tried again when the files have changed again */
        if (!renewed(sv, b, "changed certificates"))
            break;
        sv->changes_untold++;
        server_tell_reloaded(sv);
        break;
    case SERVER_RECOVERY:
        server_keys_recovered(
            sv, renewed(sv, b,
                        sv->recovery_tells
                            ? "the device of a TLS key is away still: to open it again is"
                            : NULL));
        break;
    }
}

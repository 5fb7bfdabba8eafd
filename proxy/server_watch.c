#include "proxy/server_impl.h"

#include <fcntl.h>
#include <time.h>

#include "proxy/base/log.h"
#include "proxy/net/stream_tls.h"
#include "proxy/snapshot_tls.h"
#include "proxy/watch.h"

static void on_day(void *arg)
{
    struct server *sv = arg;
    const struct snapshot *s = sv->snapshot;
    snapshot_tls_warn(s->session.door, &s->gateway.shown, (int64_t)time(NULL));
}

static void on_change(void *arg)
{
    server_want(arg, SERVER_CHANGED);
}

void server_watch_again(struct server *sv, const struct timespec *since)
{
    int dir = configuration_open(sv->source.dir);
    if (dir < 0 && sv->source.fd >= 0) /* as when it was read */
        dir = fcntl(sv->source.fd, F_DUPFD_CLOEXEC, 0);
    watch_begin(sv->watch, dir, sv->settings->tls_watch_interval, since);
    snapshot_tls_files(sv->settings, watch_add, sv->watch);
    snapshot_gateway_files(sv->settings, watch_add, sv->watch);
}

bool server_watch_open(struct server *sv, const struct timespec *since)
{
    const struct watch_options o = {on_change, on_day, sv};
    sv->watch = watch_create(&sv->loop, &o);
    if (sv->watch == NULL) {
        log_line(LOG_ERROR, "cannot start: out of memory");
        return false;
    }
    server_watch_again(sv, since);
    on_day(sv);
    return true;
}

void server_tell_kernel(const struct server *sv)
{
    if (snapshot_tls_wants_kernel(sv->settings) && !stream_tls_in_kernel())
        log_line(LOG_NOTICE, "this kernel has no TLS of its own (module tls): what passes the TLS "
                             "doors is copied by us; tls.ktls=off keeps this line away");
}

#include "proxy/server_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/control_place.h"
#include "proxy/hardening.h"

/* ---- the new one ---- */

/* As whom the other one may run beside root and ourselves. */
static uid_t service_uid(const struct server *sv)
{
    char why[256];
    const struct passwd *account =
        geteuid() == 0 ? hardening_account(sv->settings->service_user, why, sizeof why) : NULL;
    return account != NULL ? account->pw_uid : geteuid();
}

bool server_take_over(struct server *sv)
{
    const char *path = sv->settings->control_socket;
    const char *where = settings_where(sv->settings, "control.socket");
    char why[256] = "";
    if (path[0] == '\0') {
        log_line(LOG_ERROR, "%s is empty: --takeover needs it to find the one that runs", where);
        return false;
    }
    size_t before = sv->inherit.count;
    int rc = takeover_begin(&sv->takeover, path, service_uid(sv), &sv->inherit, why, sizeof why);
    if (rc == 0)
        log_line(LOG_NOTICE, "takeover: process %d shares %zu sockets with us",
                 (int)sv->takeover.process, sv->inherit.count - before);
    else if (rc == -ENOENT)
        log_line(LOG_NOTICE, "takeover: nobody is at \"%s\": starting as usual", path);
    else
        log_line(LOG_ERROR, "takeover: %s: \"%s\": %s", where, path, why);
    return rc == 0 || rc == -ENOENT;
}

void server_taken_over(struct server *sv)
{
    if (sv->takeover.fd < 0)
        return;
    control_place_move(sv->control, sv->settings->control_socket,
                       settings_where(sv->settings, "control.socket"));
    if (takeover_finish(&sv->takeover))
        log_line(LOG_NOTICE, "takeover: process %d has been told to go", (int)sv->takeover.process);
    else
        log_line(LOG_ERROR,
                 "takeover: process %d has ended or no longer waits for us: where it runs, it "
                 "serves beside us; stop it",
                 (int)sv->takeover.process);
}

/* ---- the old one ---- */

static void on_handover_end(void *arg, bool taken)
{
    struct server *sv = arg;
    sv->handover = NULL;
    if (!taken) {
        log_line(LOG_WARNING,
                 "process %d ended before it had taken over, or took too long: we go on",
                 (int)sv->successor);
        return;
    }
    log_line(LOG_NOTICE, "process %d has taken over", (int)sv->successor);
    if (sv->drain.stage != DRAIN_SERVING)
        return; /* somebody was faster */
    atomic_store(&sv->handed_over, true);
    if (sv->fleet != NULL)
        fleet_hand_over(sv->fleet);
    notify_tell(&sv->notify, "STOPPING=1");
    drain_hand_over(&sv->drain, sv->settings->drain_grace);
}

static const char *find_hindrance(const struct server *sv)
{
    if (sv->drain.stage != DRAIN_SERVING)
        return "it is draining: start anew when it has ended";
    return sv->handover != NULL ? "another process is taking over already" : NULL;
}

void server_hand_over(void *arg, int fd)
{
    struct server *sv = arg;
    struct handover_socket *list = NULL;
    size_t count = sv->bound.socket_count;
    const char *hindrance = find_hindrance(sv);
    if (hindrance == NULL) {
        list = calloc(count, sizeof *list);
        hindrance = list == NULL ? "out of memory" : NULL;
    }
    if (hindrance != NULL) {
        handover_refuse(fd, hindrance);
        return;
    }
    for (size_t i = 0; i < count; i++)
        list[i] = (struct handover_socket){sv->bound.socket[i].fd,
                                           sv->bound.door[sv->bound.socket[i].at]};
    const struct handover_options o = {list, count, HANDOVER_PATIENCE_MS, on_handover_end, sv};
    sv->handover = handover_begin(&sv->loop, fd, &o, &sv->successor);
    free(list);
    if (sv->handover != NULL)
        log_line(LOG_NOTICE, "process %d begins to take over: it gets our %zu sockets",
                 (int)sv->successor, count);
}

void server_keep_sockets(struct server *sv)
{
    if (sv->handover != NULL)
        handover_stop(sv->handover);
    sv->handover = NULL;
}

#include "proxy/control_place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/hardening.h"

#define DIRECTORY "/run/certferry"
#define ASIDE ".new"
#define USUAL_PLACE DIRECTORY "/control.sock" /* as in conf/settings.h */

void control_place_prepare(const char *path, const char *user)
{
    char why[256];
    if (geteuid() != 0 || strcmp(path, USUAL_PLACE) != 0)
        return;
    /* systemd may have made it already. */
    const struct passwd *account = hardening_account(user, why, sizeof why);
    if (account == NULL || (mkdir(DIRECTORY, 0755) != 0 && errno != EEXIST) ||
        lchown(DIRECTORY, account->pw_uid, account->pw_gid) != 0)
        return; /* told by whoever needs it */
}

bool control_place_open(struct control_socket **out, uv_loop_t *loop, const char *path,
                        const char *where, const struct control_socket_options *options, bool aside)
{
    char file[PATH_MAX];
    (void)snprintf(file, sizeof file, "%s%s", path, aside ? ASIDE : "");
    *out = NULL;
    int rc = path[0] == '\0' ? 0 : control_socket_open(out, loop, file, options);
    if (rc == 0)
        return true;
    const char *why =
        rc == -EADDRINUSE ? "another certferry has it, or it is no socket" : uv_strerror(rc);
    bool usual = strcmp(path, USUAL_PLACE) == 0;
    log_line(usual ? LOG_NOTICE : LOG_ERROR, "%s: \"%s\": %s%s", where, file, why,
             usual ? "; certferry drain will not find this one" : "");
    return usual;
}

void control_place_move(struct control_socket *c, const char *path, const char *where)
{
    int rc = c != NULL ? control_socket_rename(c, path) : 0;
    if (rc != 0)
        log_line(LOG_WARNING, "%s: \"%s\": %s; certferry drain will not find this one", where, path,
                 uv_strerror(rc));
}

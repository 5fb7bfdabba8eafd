#include "proxy/snapshot_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/private_file.h"
#include "conf/settings_errors.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

/* Who wrote "certs/ca.pem" may have meant the directory he was in. */
static void tell_missing(const struct snapshot_file *f, struct settings_errors *e)
{
    char link[32], dir[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", f->dir);
    ssize_t n = f->path[0] != '/' ? readlink(link, dir, sizeof dir) : -1;
    settings_error(e, f->where, "\"%s\": %s%s%.*s", f->path, strerror(ENOENT),
                   n > 0 ? "; looked for in " : "", n > 0 ? (int)n : 0, dir);
}

static void tell(const struct snapshot_file *f, int rc, const char *why, struct settings_errors *e)
{
    if (rc == -ENOENT)
        tell_missing(f, e);
    else if (rc == -EFBIG)
        settings_error(e, f->where, "\"%s\": is larger than %zu %s", f->path,
                       f->max % MIB == 0 ? f->max / MIB : f->max / KIB,
                       f->max % MIB == 0 ? "MiB" : "KiB");
    else
        settings_error(e, f->where, "\"%s\": %s%s", f->path,
                       rc == -EPERM    ? why
                       : rc == -EISDIR ? "is no regular file"
                                       : strerror(-rc),
                       rc == -EACCES ? ": the service user must be able to read it and to search "
                                       "the directories above it; chgrp and chmod g+r, g+x"
                                     : "");
}

bool snapshot_file_read(const struct snapshot_file *f, struct buf *text, struct settings_errors *e)
{
    const char *why = "";
    buf_init(text, f->max + 1); /* so that one that is too large is seen to be */
    if (f->path[0] == '\0')
        return true;
    int rc = private_file_read(f->dir, f->path, f->flags, text, &why);
    if (rc == 0 && buf_len(text) > f->max)
        rc = -EFBIG;
    if (rc != 0)
        tell(f, rc, why, e);
    return rc == 0;
}

void snapshot_file_wipe(struct buf *text)
{
    if (buf_len(text) > 0)
        explicit_bzero(buf_head(text), buf_len(text));
    buf_release(text);
}

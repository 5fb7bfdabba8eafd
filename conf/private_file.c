#include "conf/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A private group has the number of its only user: adduser's rule, and root's. */
static bool others_write(const struct stat *st)
{
    bool by_group = (st->st_mode & S_IWGRP) != 0 && st->st_gid != (gid_t)st->st_uid;
    return (st->st_mode & S_IWOTH) != 0 || by_group;
}

/* An owner can always write: root, whoever has the directory, or the user we are. */
static bool is_trusted_owner(const struct stat *st, int dir)
{
    struct stat of_dir;
    return st->st_uid == 0 || st->st_uid == geteuid() ||
           (fstat(dir, &of_dir) == 0 && st->st_uid == of_dir.st_uid);
}

static int check(const struct stat *st, int dir, unsigned flags, const char **why)
{
    if (!S_ISREG(st->st_mode))
        return -EISDIR;
    *why = "others can write to it, so it may say anything; chmod go-w";
    if (others_write(st))
        return -EPERM;
    *why = "somebody else owns it, who can write to it; chown root";
    if (!is_trusted_owner(st, dir))
        return -EPERM;
    *why = "everybody can read it, and it holds secrets; chmod o-r";
    return (flags & PRIVATE_FILE_SECRET) != 0 && (st->st_mode & S_IROTH) != 0 ? -EPERM : 0;
}

static int read_all(int fd, struct buf *text)
{
    while (buf_room(text) > 0) {
        size_t chunk = buf_room(text) < 65536 ? buf_room(text) : 65536;
        char *to = buf_reserve(text, chunk);
        if (to == NULL)
            return -errno;
        ssize_t n = read(fd, to, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        buf_commit(text, (size_t)n);
    }
    return 0;
}

/*
 * The directory that `path` names, if it names one. With the sticky bit nobody can take the place
 * of a file that is there.
 */
static int check_parent(int dir, const char *path, const char **why)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (parent == NULL)
        return -ENOMEM;
    int fd = openat(dir, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    if (fd < 0)
        return -errno;
    struct stat st;
    int rc = fstat(fd, &st) != 0                                ? -errno
             : others_write(&st) && (st.st_mode & S_ISVTX) == 0 ? -EPERM
                                                                : 0;
    *why = "others can write to its directory, so it may be anybody's; chmod go-w that";
    (void)close(fd);
    return rc;
}

int private_file_read(int dir, const char *path, unsigned flags, struct buf *text, const char **why)
{
    int rc = check_parent(dir, path, why);
    if (rc != 0)
        return rc;
    /* Not blocking: whoever put a FIFO in the directory must not hold us up. */
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    struct stat st;
    rc = fstat(fd, &st) != 0 ? -errno : check(&st, dir, flags, why);
    if (rc == 0)
        rc = read_all(fd, text);
    (void)close(fd);
    return rc;
}

int private_directory_check(int dir, const char **why)
{
    struct stat st;
    if (fstat(dir, &st) != 0)
        return -errno;
    *why = "others can write to it, so its files may be anybody's; chmod go-w";
    return others_write(&st) ? -EPERM
                             : 0; /* with the sticky bit too: a file that is missing can be added */
}

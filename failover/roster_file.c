#include "failover/roster_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "failover/document.h"
#include "proxy/base/buf.h"

enum { FILE_MODE = 0644, TTL_SECONDS = 86400 };

struct roster_file {
    int dir;    /* open on the directory */
    char *name; /* in it */
    char *aside;
};

static int directory_open(const char *path, const char *slash)
{
    char *dir =
        slash == NULL ? strdup(".") : strndup(path, slash > path ? (size_t)(slash - path) : 1);
    int fd = dir != NULL ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int error = dir != NULL ? errno : ENOMEM;
    free(dir);
    errno = error;
    return fd;
}

struct roster_file *roster_file_open(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct roster_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->dir = directory_open(path, slash);
    f->name = strdup(slash == NULL ? path : slash + 1);
    if (f->name == NULL || asprintf(&f->aside, "%s.new", f->name) < 0)
        f->aside = NULL;
    if (f->dir >= 0 && f->aside != NULL)
        return f;
    int error = f->dir < 0 ? errno : ENOMEM; /* the directory came first */
    roster_file_close(f);
    errno = error;
    return NULL;
}

void roster_file_close(struct roster_file *f)
{
    if (f->dir >= 0)
        (void)close(f->dir);
    free(f->name);
    free(f->aside);
    free(f);
}

/* ---- reading ---- */

static int read_all(int fd, struct buf *text)
{
    for (;;) {
        char part[16384];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? 0 : -errno;
        int rc = buf_add(text, part, (size_t)n);
        if (rc != 0)
            return rc;
    }
}

int roster_file_read(struct roster_file *f, struct roster **out, char fault[DOCUMENT_FAULT_MAX])
{
    struct document_content content;
    struct stat st;
    struct buf text;
    int fd = openat(f->dir, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    buf_init(&text, DOCUMENT_READ_OCTETS_MAX);
    int rc = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ? -EINVAL : read_all(fd, &text);
    (void)close(fd);
    if (rc == -EINVAL || rc == -ENOBUFS) {
        (void)snprintf(fault, DOCUMENT_FAULT_MAX, "no regular file of at most %d octets",
                       DOCUMENT_READ_OCTETS_MAX);
        rc = -EINVAL;
    } else if (rc == 0) {
        rc = document_read(&content, buf_span(&text), fault);
    }
    buf_release(&text);
    if (rc == 0)
        *out = content.roster;
    return rc;
}

/* ---- writing ---- */

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? -EIO : -errno;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* What a run before us has left aside when it was killed is nobody's any more. */
static int create_aside(const struct roster_file *f)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    (void)unlinkat(f->dir, f->aside, 0);
    int fd = openat(f->dir, f->aside, flags, FILE_MODE);
    return fd >= 0 ? fd : -errno;
}

static int replace(const struct roster_file *f, const char *text, size_t len)
{
    int fd = create_aside(f);
    if (fd < 0)
        return fd;
    int rc = fchmod(fd, FILE_MODE) == 0 ? 0 : -errno; /* whatever the umask is */
    if (rc == 0)
        rc = write_all(fd, text, len);
    (void)close(fd);
    if (rc == 0 && renameat(f->dir, f->aside, f->dir, f->name) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlinkat(f->dir, f->aside, 0);
    else
        (void)fsync(f->dir); /* best effort: the old one is whole too */
    return rc;
}

/* A policy that allows nothing: the members are what is kept. */
static struct policy *empty_policy(void)
{
    struct policy_options o = {.rules = rules_create()};
    struct policy *p = o.rules != NULL ? policy_create(&o) : NULL;
    if (p == NULL && o.rules != NULL)
        rules_destroy(o.rules);
    return p;
}

int roster_file_write(struct roster_file *f, const struct roster *roster, const char *identifier)
{
    struct document d;
    struct policy *policy = empty_policy();
    if (policy == NULL)
        return -ENOMEM;
    struct document_options o = {
        .identifier = identifier,
        .zone = "",
        .version = "",
        .roster = roster,
        .policy = policy,
        .ttl_seconds = TTL_SECONDS,
        .now = time(NULL),
    };
    int rc = document_pvd(&d, &o);
    if (rc == 0)
        rc = replace(f, d.text, d.length);
    document_release(&d);
    policy_destroy(policy);
    return rc;
}

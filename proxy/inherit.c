#include "proxy/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/log.h"

enum {
    FIRST_FD = 3, /* SD_LISTEN_FDS_START */
    NAME_MAX_OCTETS = 256
};

/* ---- one descriptor ---- */

static int option_of(int fd, int level, int name, int *value)
{
    socklen_t size = sizeof *value;
    *value = 0;
    return getsockopt(fd, level, name, value, &size) == 0 ? 0 : -errno;
}

/* Why `fd` is no use; NULL: it is a listening TCP socket, and its address is in `*address`. */
static const char *find_fault(int fd, struct addr *address)
{
    int type, protocol, listening, only;
    socklen_t size = sizeof *address;
    if (option_of(fd, SOL_SOCKET, SO_TYPE, &type) != 0)
        return "it is no socket";
    *address = (struct addr){0};
    if (getsockname(fd, &address->sa, &size) != 0)
        return "it has no address";
    if (address->sa.sa_family != AF_INET && address->sa.sa_family != AF_INET6)
        return "it is no TCP socket";
    if (type != SOCK_STREAM || option_of(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) != 0 ||
        protocol != IPPROTO_TCP)
        return "it is no TCP socket";
    if (option_of(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening) != 0 || listening == 0)
        return "it does not listen; a socket unit needs Accept=no";
    /* Both families were not asked for by any key: 0.0.0.0 is an address of its own. */
    if (address->sa.sa_family == AF_INET6 &&
        (option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only) != 0 || only == 0))
        return "it takes IPv4 as well; a socket unit needs BindIPv6Only=ipv6-only";
    address->in6.sin6_flowinfo = address->sa.sa_family == AF_INET6 ? 0 : address->in6.sin6_flowinfo;
    return NULL;
}

static int set_flags(int fd)
{
    int status = fcntl(fd, F_GETFL);
    if (status < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0)
        return -errno;
    return 0;
}

/* The same socket may come twice: from the service manager, and from the one before us. */
static bool is_there(const struct inherit *in, uint64_t cookie)
{
    for (size_t i = 0; cookie != 0 && i < in->count; i++) {
        if (in->item[i].cookie == cookie)
            return true;
    }
    return false;
}

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

static int append(struct inherit *in, const struct inherited *one)
{
    struct inherited *item = realloc(in->item, (in->count + 1) * sizeof *item);
    if (item == NULL)
        return -ENOMEM;
    in->item = item;
    in->item[in->count++] = *one;
    return 0;
}

/* Names may be whatever a socket unit calls it, which says nothing. */
static enum door_kind door_of(const char *name)
{
    unsigned door = 0;
    while (door < DOOR_COUNT && strcmp(door_name((enum door_kind)door), name) != 0)
        door++;
    return (enum door_kind)door;
}

int inherit_add(struct inherit *in, int fd, const char *name)
{
    struct inherited one = {.fd = fd};
    const char *fault = find_fault(fd, &one.address);
    if (fault == NULL && set_flags(fd) != 0)
        fault = strerror(errno);
    if (fault == NULL && in->count == INHERIT_MAX)
        fault = "there are too many";
    if (fault != NULL) {
        log_line(LOG_WARNING, "inherited descriptor %d (\"%.64s\") is not used: %s", fd, name,
                 fault);
        (void)close(fd);
        return 0;
    }
    one.cookie = cookie_of(fd);
    one.door = door_of(name);
    int rc = is_there(in, one.cookie) ? -EEXIST : append(in, &one);
    if (rc != 0)
        (void)close(fd);
    return rc == -EEXIST ? 0 : rc;
}

/* ---- the service manager's ---- */

/* A decimal number without sign or space, below `end`. */
static bool read_number(const char *text, long end, long *out)
{
    char *rest;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtol(text, &rest, 10);
    return errno == 0 && *rest == '\0' && *out < end;
}

/* The next of names that colons part, in `out`; "" when none is left. Returns what follows. */
static const char *next_name(const char *names, char out[NAME_MAX_OCTETS])
{
    size_t len = strcspn(names, ":");
    (void)snprintf(out, NAME_MAX_OCTETS, "%.*s", len < NAME_MAX_OCTETS ? (int)len : 0, names);
    return names[len] == ':' ? names + len + 1 : names + len;
}

static bool take_all(struct inherit *in, long count, const char *names)
{
    char name[NAME_MAX_OCTETS];
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)count; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            log_line(LOG_WARNING, "LISTEN_FDS tells of %ld descriptors, but %d is not open", count,
                     fd);
            return true;
        }
        names = next_name(names, name);
        if (inherit_add(in, fd, name) != 0) {
            log_line(LOG_ERROR, "LISTEN_FDS: out of memory");
            return false;
        }
    }
    return true;
}

static bool read_variables(struct inherit *in, const char *pid, const char *fds, const char *names)
{
    long process, count;
    if (fds == NULL || pid == NULL)
        return true; /* one alone means nothing to sd_listen_fds(3) either */
    if (!read_number(pid, INT32_MAX, &process)) {
        log_line(LOG_ERROR, "LISTEN_PID: \"%.64s\" is no process", pid);
        return false;
    }
    if (process != (long)getpid()) {
        log_line(LOG_WARNING, "LISTEN_FDS is for process %ld, not for us: it is ignored", process);
        return true;
    }
    if (!read_number(fds, INHERIT_MAX + 1, &count)) {
        log_line(LOG_ERROR, "LISTEN_FDS: \"%.64s\" is no number of descriptors", fds);
        return false;
    }
    return take_all(in, count, names != NULL ? names : "");
}

bool inherit_environment(struct inherit *in)
{
    bool good =
        read_variables(in, getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"));
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return good;
}

/* ---- what becomes of them ---- */

static bool fits(const struct inherited *one, const struct addr *wanted, enum door_kind door)
{
    bool other = one->door != DOOR_COUNT && one->door != door;
    if (one->taken || other || one->address.sa.sa_family != wanted->sa.sa_family ||
        !addr_same_host(&one->address, wanted))
        return false;
    return addr_port(wanted) == addr_port(&one->address) ||
           (addr_port(wanted) == 0 && one->door == door);
}

int inherit_take(struct inherit *in, struct addr *wanted, enum door_kind door)
{
    for (size_t i = 0; i < in->count; i++) {
        struct inherited *one = &in->item[i];
        if (fits(one, wanted, door)) {
            addr_set_port(wanted, addr_port(&one->address));
            one->taken = true;
            return one->fd;
        }
    }
    return -ENOENT;
}

/* One line for each address, however many sockets it has. */
static bool is_told(const struct inherit *in, size_t at)
{
    const struct inherited *one = &in->item[at];
    for (size_t i = 0; i < at; i++) {
        const struct inherited *other = &in->item[i];
        if (!other->taken && one->address.sa.sa_family == other->address.sa.sa_family &&
            addr_port(&one->address) == addr_port(&other->address) &&
            addr_same_host(&one->address, &other->address))
            return true;
    }
    return false;
}

void inherit_end(struct inherit *in)
{
    char text[ADDR_TEXT_MAX];
    for (size_t i = 0; i < in->count; i++) {
        const struct inherited *one = &in->item[i];
        if (one->taken)
            continue;
        if (!is_told(in, i))
            log_line(LOG_NOTICE, "inherited socket of %s is closed: no key names that address%s%s",
                     addr_print_port(&one->address, text),
                     one->door != DOOR_COUNT ? " for door " : "",
                     one->door != DOOR_COUNT ? door_name(one->door) : "");
        (void)close(one->fd);
    }
    free(in->item);
    *in = (struct inherit){0};
}

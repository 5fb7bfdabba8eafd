#include "bench/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BACKLOG = 4096 };

void give_up(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "bench: %s\n", text);
    exit(1);
}

unsigned long number_of(const char *text, const char *what)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-')
        give_up("%s: %s is not a number", what, text);
    return n;
}

struct sockaddr_in socket_address(const char *text)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *colon = strchr(text, ':');
    if (colon != NULL) {
        char host[INET_ADDRSTRLEN];
        (void)snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
        if (inet_pton(AF_INET, host, &at.sin_addr) != 1)
            give_up("%s: not an IPv4 address and port", text);
    }
    unsigned long port = number_of(colon != NULL ? colon + 1 : text, "port");
    if (port > UINT16_MAX)
        give_up("%s: no such port", text);
    at.sin_port = htons((uint16_t)port);
    return at;
}

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int socket_listen(struct sockaddr_in at)
{
    int fd = new_socket();
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, BACKLOG) != 0)
        give_up("cannot listen on port %u: %s", ntohs(at.sin_port), strerror(errno));
    return fd;
}

int socket_connect(struct sockaddr_in to)
{
    int fd = new_socket();
    if (fd < 0)
        give_up("no descriptor for a connection: %s; raise ulimit -n", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        give_up("cannot connect to port %u: %s", ntohs(to.sin_port), strerror(errno));
    return fd;
}

int socket_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int on = 1;
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void control(int epoll_fd, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0)
        give_up("epoll_ctl: %s", strerror(errno));
}

void socket_watch(int epoll_fd, int fd, uint32_t events, void *owner)
{
    control(epoll_fd, EPOLL_CTL_ADD, fd, events, owner);
}

void socket_rewatch(int epoll_fd, int fd, uint32_t events, void *owner)
{
    control(epoll_fd, EPOLL_CTL_MOD, fd, events, owner);
}

void socket_raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

#include "proxy/port_holder.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/addr.h"

enum { STATE_LISTEN = 0x0a };

struct holder {
    bool found;
    bool listening;
    uint64_t inode;
    uint16_t remote_port;
    char remote[ADDR_TEXT_MAX];
    long pid; /* 0 unknown */
    char command[64];
};

/* /proc/net/tcp prints addresses as host-order words in hexadecimal. */
static void parse_remote(struct holder *h, const char *text, unsigned port)
{
    struct addr a = {0};
    bool v6 = strlen(text) > 8;
    unsigned words[4] = {0};
    if (v6 && sscanf(text, "%8x%8x%8x%8x", &words[0], &words[1], &words[2], &words[3]) == 4) {
        a.in6.sin6_family = AF_INET6;
        memcpy(&a.in6.sin6_addr, words, sizeof words);
    } else if (!v6 && sscanf(text, "%8x", &words[0]) == 1) {
        a.in.sin_family = AF_INET;
        memcpy(&a.in.sin_addr, words, 4);
    } else {
        return;
    }
    addr_set_port(&a, (uint16_t)port);
    (void)addr_print_port(&a, h->remote);
    h->remote_port = (uint16_t)port;
}

static bool parse_line(struct holder *h, const char *line, uint16_t port)
{
    char remote[40];
    unsigned local_port, remote_port, state;
    uint64_t inode;
    int n = sscanf(
        line, " %*u: %*[0-9A-Fa-f]:%x %39[0-9A-Fa-f]:%x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64,
        &local_port, remote, &remote_port, &state, &inode);
    if (n != 5 || local_port != port)
        return false;
    h->found = true;
    h->listening = state == STATE_LISTEN;
    h->inode = inode;
    parse_remote(h, remote, remote_port);
    return true;
}

/* A listener says most, then a socket that some process still holds; one that only waits for its
 * end has no inode. */
static int weight_of(const struct holder *h)
{
    return h->listening ? 3 : h->inode != 0 ? 2 : h->found ? 1 : 0;
}

static void search_table(struct holder *best, const char *path, uint16_t port)
{
    char line[512];
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        struct holder h = {0};
        if (parse_line(&h, line, port) && weight_of(&h) > weight_of(best))
            *best = h;
    }
    (void)fclose(f);
}

static bool process_has_socket(const char *pid, uint64_t inode)
{
    char path[512], want[64], link[64];
    (void)snprintf(want, sizeof want, "socket:[%" PRIu64 "]", inode);
    (void)snprintf(path, sizeof path, "/proc/%.32s/fd", pid);
    DIR *fds = opendir(path);
    if (fds == NULL)
        return false;
    bool found = false;
    struct dirent *e;
    while (!found && (e = readdir(fds)) != NULL) {
        (void)snprintf(path, sizeof path, "/proc/%.32s/fd/%.32s", pid, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n > 0) {
            link[n] = '\0';
            found = strcmp(link, want) == 0;
        }
    }
    (void)closedir(fds);
    return found;
}

static void read_command(struct holder *h)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/comm", h->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(h->command, sizeof h->command, f) != NULL)
        h->command[strcspn(h->command, "\n")] = '\0';
    (void)fclose(f);
}

static void search_process(struct holder *h)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    struct dirent *e;
    while (h->pid == 0 && h->inode != 0 && (e = readdir(proc)) != NULL) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !process_has_socket(e->d_name, h->inode))
            continue;
        h->pid = strtol(e->d_name, NULL, 10);
        read_command(h);
    }
    (void)closedir(proc);
}

const char *port_holder_explain(uint16_t port, char *out, size_t size)
{
    struct holder h = {0};
    char who[160] = "an unknown process";
    search_table(&h, "/proc/net/tcp", port);
    search_table(&h, "/proc/net/tcp6", port);
    search_process(&h);
    if (h.pid != 0)
        (void)snprintf(who, sizeof who, "process %ld (%s)", h.pid, h.command);
    if (!h.found)
        (void)snprintf(out, size, "port %u is in use, by whom cannot be seen from here", port);
    else if (h.listening)
        (void)snprintf(out, size,
                       "port %u is in use: %s listens on it; stop it, or choose another port (the "
                       "proxy's own is heartbeatport)",
                       port, who);
    else
        (void)snprintf(
            out, size,
            "port %u is in use: %s has a connection from it to %s; wait until that has ended, and "
            "keep outgoing connections off the port with: sysctl -w "
            "net.ipv4.ip_local_reserved_ports=%u",
            port, who, h.remote, port);
    return out;
}

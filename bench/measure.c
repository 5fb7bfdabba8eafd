#include "bench/measure.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/sockets.h"

enum { PROCESSES_MAX = 65536 };

uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The fourth field of /proc/PID/stat; the second is a name in parentheses that may hold anything.
 */
static pid_t parent_of(pid_t pid)
{
    char path[64], line[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    size_t n = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file);
    line[n] = '\0';
    char *after = strrchr(line, ')');
    if (after == NULL || strlen(after) < 5)
        return -1;
    return (pid_t)strtol(after + 4, NULL, 10);
}

static void add_pid(struct pids *pids, pid_t pid)
{
    if (pids->count == MEASURE_PIDS_MAX)
        give_up("the proxy has more than %d processes", MEASURE_PIDS_MAX);
    pids->pid[pids->count++] = pid;
}

void pids_find(struct pids *pids, pid_t root)
{
    static struct {
        pid_t pid, parent;
    } all[PROCESSES_MAX];
    size_t count = 0;
    pids->count = 0;
    if (root == 0)
        return;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        give_up("cannot read /proc");
    for (struct dirent *e = readdir(proc); e != NULL && count < PROCESSES_MAX; e = readdir(proc)) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        all[count].pid = (pid_t)strtol(e->d_name, NULL, 10);
        all[count].parent = parent_of(all[count].pid);
        count++;
    }
    (void)closedir(proc);
    add_pid(pids, root);
    for (size_t at = 0; at < pids->count; at++) {
        for (size_t i = 0; i < count; i++) {
            if (all[i].parent == pids->pid[at])
                add_pid(pids, all[i].pid);
        }
    }
}

/* The process's own clock: exact, where /proc/PID/stat counts hundredths of a second. */
uint64_t pids_cpu_ns(const struct pids *pids)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < pids->count; i++) {
        clockid_t clock;
        struct timespec t;
        if (clock_getcpuclockid(pids->pid[i], &clock) != 0 || clock_gettime(clock, &t) != 0)
            give_up("process %d of the proxy is gone", (int)pids->pid[i]);
        sum += (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    return sum;
}

static uint64_t memory_of(pid_t pid)
{
    char path[64], line[256];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        give_up("cannot read %s: the memory of another user's process needs root", path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Pss:", 4) == 0)
            kib = strtoul(line + 4, NULL, 10);
    }
    (void)fclose(file);
    return (uint64_t)kib * 1024;
}

uint64_t pids_memory(const struct pids *pids)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < pids->count; i++)
        sum += memory_of(pids->pid[i]);
    return sum;
}

void latency_add(struct latencies *l, uint64_t ns)
{
    if (l->count == l->size) {
        size_t size = l->size == 0 ? 65536 : l->size * 2;
        uint64_t *grown = realloc(l->ns, size * sizeof *grown);
        if (grown == NULL)
            give_up("no memory for %zu latencies", size);
        l->ns = grown;
        l->size = size;
    }
    l->ns[l->count++] = ns;
    l->sorted = 0;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

double latency_percentile_us(struct latencies *l, double percent)
{
    if (l->count == 0)
        return 0;
    if (!l->sorted)
        qsort(l->ns, l->count, sizeof *l->ns, compare);
    l->sorted = 1;
    size_t at = (size_t)((double)l->count * percent / 100);
    return (double)l->ns[at < l->count ? at : l->count - 1] / 1000;
}

void latency_forget(struct latencies *l)
{
    l->count = 0;
    l->sorted = 0;
}

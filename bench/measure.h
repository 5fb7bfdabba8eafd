/*
 * measure.h - time, processor time and memory of the proxy under test, and percentiles of
 * latencies.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MEASURE_PIDS_MAX = 256 };

/* The processes of one proxy. */
struct pids {
    pid_t pid[MEASURE_PIDS_MAX];
    size_t count;
};

/* Monotonic. */
uint64_t now_ns(void);

/* `root` and all its descendants as they are now; root 0 is nobody. */
void pids_find(struct pids *pids, pid_t root);

/* User and system time of them all, threads that have ended included. */
uint64_t pids_cpu_ns(const struct pids *pids);

/* Proportional set size in octets: pages that several processes share are counted once. */
uint64_t pids_memory(const struct pids *pids);

/* Latencies of one measurement. Zeroed is empty. */
struct latencies {
    uint64_t *ns;
    size_t count;
    size_t size;
    int sorted;
};

void latency_add(struct latencies *l, uint64_t ns);

/* The value below which `percent` of all lie, in microseconds; 0 when there are none. */
double latency_percentile_us(struct latencies *l, double percent);

void latency_forget(struct latencies *l);

#endif

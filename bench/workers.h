/*
 * workers.h - the same program several times, so that it can use several processors.
 */
#ifndef BENCH_WORKERS_H
#define BENCH_WORKERS_H

/*
 * Forks until `count` processes run, all of which return; 0 and 1 fork none. Call it before
 * listening: each listens on its own, and the kernel shares connections out (SO_REUSEPORT).
 * The others end with the first one.
 */
void workers_fork(unsigned long count);

#endif

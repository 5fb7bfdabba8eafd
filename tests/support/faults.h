/*
 * faults.h - memory that runs out at the n-th request, and sockets that give and take little.
 *
 * The linker sends calls from our own objects here (--wrap, see tests/CMakeLists.txt), so nothing
 * in the program knows of it and sanitizers go on working below. Requests are those for memory and
 * for what the kernel keeps memory for: descriptors, watches, threads. Libraries that let their
 * allocator be chosen (c-ares, cJSON, libuv) get faults_malloc() and its sisters. Any thread may
 * ask for memory; the plans are set by one.
 */
#ifndef CERTFERRY_TESTS_FAULTS_H
#define CERTFERRY_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a whole operation under want ---- */

struct faults_scenario {
    const char *name;
    /*
     * Performs the operation and undoes it. True: it succeeded, and the result was checked. False:
     * it was refused, and it was checked that the error is the documented one and that nothing has
     * changed. Anything else is a failed assertion.
     */
    bool (*run)(void);
    bool copes; /* it may succeed although a request was refused: what it lost was a comfort */
};

/*
 * Runs each scenario with the first, second, third ... request refused, once that one alone and
 * once it and all behind it, until a run makes no more requests than that. After each run no block
 * and no descriptor may be left. One cmocka test for each; returns what main() returns.
 */
int faults_main(const char *name, const struct faults_scenario *scenario, size_t count);

/* Between these two no request is refused: for what the test itself needs. They nest. */
void faults_pause(void);
void faults_resume(void);

/* Whether a request was refused in this run so far. */
bool faults_struck(void);

/* Blocks that were requested here and not given back. */
size_t faults_live_blocks(void);

/* For libraries. */
void *faults_malloc(size_t size);
void *faults_calloc(size_t count, size_t size);
void *faults_realloc(void *block, size_t size);
void faults_free(void *block);

/* ---- short reads and writes ---- */

enum faults_step {
    FAULTS_WHOLE, /* as many octets as there are */
    FAULTS_ONE,   /* one octet */
    FAULTS_AGAIN, /* EAGAIN */
    FAULTS_INTERRUPTED,
    FAULTS_STEP_COUNT
};

/*
 * How send(), recv(), sendmsg(), read(), write() and accept4() behave: the first `steps` calls by
 * the digits of `pattern` to the base FAULTS_STEP_COUNT, the least first; then `most` octets a call
 * (0: as many as there are). As the kernel gives an edge when something has become possible again,
 * a descriptor that an epoll of ours watches gets a new one after each lie.
 */
struct faults_io {
    unsigned steps;
    uint64_t pattern;
    size_t most;
};

/* NULL: as the kernel has it. */
void faults_io_set(const struct faults_io *plan);

/* How often a call was cut short or sent away since the plan was set. */
size_t faults_io_struck(void);

#endif

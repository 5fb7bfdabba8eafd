/*
 * line_writer.h - lines to a descriptor that may block, written by a thread of their own.
 *
 * A loop never waits for a full pipe: lines go into a bounded queue, and those that find it full
 * are dropped and counted. Any thread may write; create and destroy on one.
 */
#ifndef CERTFERRY_BASE_LINE_WRITER_H
#define CERTFERRY_BASE_LINE_WRITER_H

#include <stdint.h>

#include "proxy/base/span.h"

struct line_writer;

/*
 * Borrows `fd`. `on_started` (may be NULL) runs first on the writer's thread. Returns owned; NULL
 * when out of memory or threads.
 */
struct line_writer *line_writer_create(int fd, size_t queue_octets, void (*on_started)(void *arg),
                                       void *arg);

/* Takes a whole line, newline included. */
void line_writer_put(struct line_writer *w, struct span line);

/* Counts a line that could not even be made. */
void line_writer_drop(struct line_writer *w);

/* Lines dropped so far. */
uint64_t line_writer_dropped(struct line_writer *w);

/* Writes what is queued, waiting at most `patience_ms` for a reader who has stopped; then frees. */
void line_writer_destroy(struct line_writer *w, unsigned patience_ms);

#endif

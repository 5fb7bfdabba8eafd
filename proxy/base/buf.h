/*
 * buf.h - a growing run of octets whose maximum is given when it is made.
 *
 * Nothing in certferry collects octets without such a bound, and all buffers of the process
 * together have one too (the budget). Holds no memory while empty and released. Errors are negative
 * errno values. A buffer: one thread at a time. The budget: any thread.
 */
#ifndef CERTFERRY_BASE_BUF_H
#define CERTFERRY_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

struct buf {
    char *data;   /* owned; NULL while nothing is allocated */
    size_t start; /* first octet not yet consumed */
    size_t end;   /* one past the last octet */
    size_t cap;   /* octets allocated */
    size_t max;   /* most octets that may wait here at once */
};

/* An empty buffer of at most `max` octets; allocates nothing. */
void buf_init(struct buf *b, size_t max);

/* Gives the memory back; the buffer is empty and usable again with the same maximum. */
void buf_release(struct buf *b);

/* Empties it; memory stays for the next octets, unless it is more than `keep`. */
void buf_clear(struct buf *b, size_t keep);

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

/* The waiting octets, borrowed until the next call that changes the buffer. */
static inline char *buf_head(const struct buf *b)
{
    return b->data + b->start;
}

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data != NULL ? b->data + b->start : "", buf_len(b)};
}

/* Octets that may still be added before the maximum is reached. */
static inline size_t buf_room(const struct buf *b)
{
    return b->max - buf_len(b);
}

/*
 * Makes room for at least `n` more octets behind the last and returns where they go, borrowed.
 * NULL when the maximum would be passed (errno ENOBUFS) or memory is out (ENOMEM); nothing has
 * changed then.
 */
char *buf_reserve(struct buf *b, size_t n);

/* `n` octets were written where buf_reserve() pointed. */
void buf_commit(struct buf *b, size_t n);

/* Adds a copy. 0, -ENOBUFS or -ENOMEM; on error nothing was added. */
int buf_add(struct buf *b, const void *data, size_t n);
int buf_add_span(struct buf *b, struct span s);
int buf_add_str(struct buf *b, const char *text);
int buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `n` octets from the front; gives no memory back. */
void buf_consume(struct buf *b, size_t n);

/*
 * What all buffers of the process may have allocated together, SIZE_MAX at first (limit.memory). A
 * buffer that would pass it does not grow (-ENOMEM); a small one may pass it by an eighth, so that
 * there is still room for the words that say so.
 */
void buf_budget_set(size_t octets);
size_t buf_budget_used(void);

/* Seven eighths are in use: time to turn newcomers away, so that those who are there can go on. */
bool buf_budget_spent(void);

#endif

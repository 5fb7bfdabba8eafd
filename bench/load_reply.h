/*
 * load_reply.h - reads one HTTP answer in pieces: status, where it ends, whether the connection
 * stays.
 */
#ifndef BENCH_LOAD_REPLY_H
#define BENCH_LOAD_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum { REPLY_HEAD_MAX = 4096 };
enum reply_state { REPLY_MORE, REPLY_DONE, REPLY_BAD };

struct reply {
    char head[REPLY_HEAD_MAX]; /* ends with NUL */
    size_t head_len;
    size_t body_left;
    bool in_body;
    bool to_end; /* no length given: the body ends with the connection */
    bool close;
};

void reply_begin(struct reply *r);

/* BAD: not 200, too long, chunked, or more than one answer. `body` is false after CONNECT. */
enum reply_state reply_feed(struct reply *r, const char *data, size_t len, bool body);

/* The connection has ended. */
enum reply_state reply_end(const struct reply *r);

#endif

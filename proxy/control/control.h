/*
 * control.h - the proxy's own pages on the proxy port: a table of origin-form endpoints.
 *
 * Facts come through callbacks; sessions and workers are unknown here. GET and HEAD only. Loop
 * thread only.
 */
#ifndef CERTFERRY_CONTROL_CONTROL_H
#define CERTFERRY_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "proxy/base/buf.h"
#include "proxy/base/outcome.h"
#include "proxy/base/span.h"
#include "proxy/wire/head.h"

/* A document to serve: borrowed until the loop goes on. */
struct control_document {
    struct span text;
    const char *etag;
    unsigned max_age;      /* seconds */
    const char *signature; /* of `text`, for Certferry-Signature; NULL: it is not signed */
};

/* Where pages get what they tell. All callbacks run on the asking worker's loop. */
struct control_facts {
    void *arg;
    const char *(*not_ready)(void *arg); /* NULL: takes new work; else a static text why not */
    /* The two documents; NULL: not offered. */
    int (*pvd)(void *arg, struct control_document *doc); /* 0 or a negative errno */
    int (*pac)(void *arg, struct control_document *doc);
    int (*metrics)(void *arg, struct buf *out); /* 0, -ENOBUFS or -ENOMEM */
    int (*status)(void *arg, struct buf *out);  /* status.h: HTML; NULL: not offered */
};

enum {
    CONTROL_ANSWER_MAX = 16 * 1024 * 1024 /* octets of an answer: a roster over 100,000 domains */
};

struct control_request {
    const struct head *head;
    struct span path; /* with query */
    bool privileged;  /* the client is in control.allow */
    bool close;       /* the connection will close after this */
    time_t now;
};

/*
 * Writes the whole answer to `out` and tells its status in `*status`. OUTCOME_OK; or
 * OUTCOME_NOT_FOUND, OUTCOME_METHOD_NOT_ALLOWED, OUTCOME_CONTROL_DENIED, OUTCOME_NO_MEMORY with
 * nothing written.
 */
enum outcome control_answer(struct buf *out, const struct control_facts *facts,
                            const struct control_request *request, unsigned *status,
                            const char **operation);

#endif

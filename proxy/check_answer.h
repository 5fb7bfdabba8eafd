/*
 * check_answer.h - what to ask an enrollment server so that its answer proves something, and what
 * the answer is worth. For `certferry check`.
 *
 * Only questions that everybody may ask and that change nothing: an ACME directory, EST's cacerts,
 * SCEP's GetCACaps. Pure: no socket. Main thread.
 */
#ifndef CERTFERRY_CHECK_ANSWER_H
#define CERTFERRY_CHECK_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

enum check_kind {
    CHECK_ACME_OR_OTHER, /* the page itself, which may be a directory */
    CHECK_EST,
    CHECK_SCEP,
};

enum { CHECK_PATH_MAX = 2048, CHECK_TEXT_MAX = 512 };

struct check_question {
    enum check_kind kind;
    char path[CHECK_PATH_MAX]; /* with query, to be asked for by GET */
};

/* `path`: path and query of the URL that was given, or empty. -ENAMETOOLONG or 0. */
int check_question(struct check_question *q, struct span path);

/* Whether the answer is what a server of that kind says; why, or why not, in `text`: what it has
 * from the server may hold any octets. */
bool check_answer(const struct check_question *q, unsigned status, struct span body,
                  char text[CHECK_TEXT_MAX]);

#endif

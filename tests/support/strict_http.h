/*
 * strict_http.h - a second reader of HTTP/1.1, written from RFC 9112 alone, for judging what came
 * out of the proxy.
 *
 * Shares no code with proxy/wire, on purpose: a misreading there must not be forgiven here. Reads
 * whole texts, slowly and plainly: it knows the end of what there is and never has to go on later.
 * Where the RFC lets a recipient choose between repairing and refusing, it refuses.
 */
#ifndef CERTFERRY_TESTS_STRICT_HTTP_H
#define CERTFERRY_TESTS_STRICT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strict_text {
    const char *p;
    size_t n;
};

struct strict_field {
    struct strict_text name, value; /* the value without the blanks around it */
};

enum strict_verdict {
    STRICT_WHOLE,
    STRICT_PART, /* right as far as it goes, but it ends too early */
    STRICT_BAD
};

/* What ends the content (RFC 9112 section 6.3). */
enum strict_end { STRICT_END_HEAD, STRICT_END_LENGTH, STRICT_END_CHUNKS, STRICT_END_CLOSE };

struct strict_message {
    enum strict_verdict verdict;
    const char *why;           /* STRICT_BAD: static */
    bool headed;               /* the head is whole and good: all below counts */
    unsigned minor;            /* of HTTP/1 */
    struct strict_text method; /* request */
    struct strict_text target; /* request */
    unsigned status;           /* response */
    struct strict_text reason; /* response */
    bool bare_status;          /* response: not even the space before an empty reason */
    size_t fields, trailers;
    struct strict_field *field, *trailer; /* owned */
    enum strict_end end;
    uint64_t length; /* STRICT_END_LENGTH */
    char *content;   /* owned; without its chunks; also the beginning of a part */
    size_t content_size;
    size_t size; /* octets of the message, as far as it goes */
};

/* One request at the beginning of `n` octets. At most one empty line before it is skipped (section
 * 2.2). */
void strict_request(struct strict_message *m, const char *p, size_t n);

/*
 * One response, interim ones included, to a request of `method`. `ended`: nothing comes behind the
 * `n` octets, and the sender has ended them in order.
 */
void strict_response(struct strict_message *m, const char *p, size_t n, struct strict_text method,
                     bool ended);

void strict_release(struct strict_message *m);

/* ---- asking ---- */

bool strict_is(struct strict_text t, const char *text);
bool strict_same(struct strict_text a, struct strict_text b);
/* Letters of any case alike. */
bool strict_names(struct strict_text t, const char *name);
size_t strict_count(const struct strict_message *m, const char *name);
/* The first of that name, or NULL. */
const struct strict_field *strict_find(const struct strict_message *m, const char *name);
/* Takes the next element of a list off `*list`, blanks around it cut; false: there is none. */
bool strict_element(struct strict_text *list, struct strict_text *element);
/* Whether a field of that name lists the element. */
bool strict_lists(const struct strict_message *m, const char *name, struct strict_text element);

#endif

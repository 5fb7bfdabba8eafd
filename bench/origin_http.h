/*
 * origin_http.h - the HTTP origin's answers: whole messages made once, chosen by the request.
 *
 * /bytes/N gives a body of N octets for the sizes the load asks for; a POST is answered as a SCEP
 * responder would. Nothing may be cached.
 */
#ifndef BENCH_ORIGIN_HTTP_H
#define BENCH_ORIGIN_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
    const char *data; /* borrowed for ever */
    size_t len;
    bool close; /* afterwards: the client asked for it */
};

/*
 * Looks whether `data` begins with a whole request. Returns its length and sets `answer`, or 0 when
 * more has to come. Ends the program when it is none of the load's requests.
 */
size_t http_request(const char *data, size_t len, struct http_answer *answer);

#endif

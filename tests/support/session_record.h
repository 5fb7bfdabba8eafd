/*
 * session_record.h - what was said on a stage, as a strict reader understands it: the requests of
 * each client, and what of them arrived at origins with the answers they got there.
 *
 * Decides nothing but what a text means; whether it is right is session_judge's.
 */
#ifndef CERTFERRY_TESTS_SESSION_RECORD_H
#define CERTFERRY_TESTS_SESSION_RECORD_H

#include "tests/support/session_stage.h"
#include "tests/support/strict_http.h"

/* One request of a client, as a strict reader sees it. */
struct asked {
    struct strict_message m;
    bool allowed;     /* its password is right, or none is asked for */
    bool forwardable; /* that, and http:// in absolute form, or what a gateway lets through */
    char host[256];   /* small letters, without a last dot; at a gateway "" */
    unsigned port;
    char *path; /* owned; for the origin */
    bool seen;  /* at an origin */
    /* There on a new connection: perhaps that was one that came again, and one like it comes yet.
     */
    bool fresh;
};

/* All that a client has said. */
struct story {
    struct stage_end *end;
    struct strict_text from; /* the client's address by its balancer's word; empty: not known */
    struct asked *asked;     /* owned */
    size_t count;
    bool more;   /* behind these something else that deserves an answer: a fault or a part */
    bool tunnel; /* the last is a CONNECT: from here its octets */
    size_t tunnel_at;
    bool opened; /* it was answered with 2xx: from here the tunnel's octets */
    size_t opened_at;
    size_t next;     /* the first request that has not been seen at an origin */
    size_t answered; /* requests that have got their whole response */
};

/* One request as it arrived at an origin, and the origin's response. */
struct exchange {
    struct stage_end *end;
    struct strict_message request, response; /* the response is the final one */
    bool answered;                           /* it has at least a head */
    unsigned interim[8];                     /* statuses */
    size_t interims;
    size_t response_at; /* octets the origin had sent before it */
    size_t sent_before; /* and when the request began to arrive */
    bool first;         /* of its connection */
    unsigned long tick;
    bool used; /* a client has got the response */
};

struct session_record {
    const struct stage_options *options;
    struct story story[STAGE_CLIENTS];
    struct exchange *exchange; /* owned; in the order of their arrival */
    size_t exchanges;
    struct strict_text fragment[STAGE_ORIGINS]; /* the beginning of a last head there */
    bool belated;                               /* an origin has heard late, see session_stage.h */
};

void session_record_read(struct session_record *r, const struct stage_options *options);
void session_record_release(struct session_record *r);

/* "host:port" or "host" into both; false: it is no name of a host and a port. */
bool session_authority(struct asked *a, struct strict_text t, unsigned otherwise);

/* The connection may go on behind the message. */
bool session_persists(const struct strict_message *m);

/* A connection to one of the ports of tunnels. */
bool session_is_tunnel(const struct stage_options *options, const struct stage_end *e);

/* Everything that was said and heard, on stderr. */
void session_print(void);

/* The same and `what` is wrong; ends the process. */
void session_fault(const char *what);
void session_must(bool holds, const char *what);

#endif

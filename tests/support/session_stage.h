/*
 * session_stage.h - real sessions on a real loop, with everything around them in the hands of a
 * script: clients, origins, time.
 *
 * A session is made by session_accept() as a worker does it, with the worker's own poller, wheel,
 * pool, pacing and admission. Replaced are, by the linker (--wrap, see tests/CMakeLists.txt):
 * resolver and password check (session_fakes.h); connect(), which gives the dial one end of a
 * socket pair; epoll_wait(), which tells edges as TCP has them; and the clock, which stands still
 * but for stage_wait(). So the same script always gives the same octets, nothing waits and nothing
 * leaves the process. The stage asserts what must hold whatever is played: only allowed names are
 * looked up, only allowed places dialled, no turn goes on for ever, and in the end nothing is left.
 * One stage at a time, one thread.
 */
#ifndef CERTFERRY_TESTS_SESSION_STAGE_H
#define CERTFERRY_TESTS_SESSION_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STAGE_CLIENTS = 4, /* connections of clients; their addresses are 192.0.2.1 and so on */
    STAGE_ORIGINS = 8, /* connections to origins; further dials are refused */
    STAGE_BUFFER = 2048
};

#define STAGE_NAME "stage" /* ours in Via */
#define STAGE_NAME_OF_GATEWAY "gw.test"
enum { STAGE_DOOR_PORT = 443, STAGE_REDIRECT_PORT = 8443 };

/*
 * X("URL", "Host"): of the gateway, in plain HTTP so that the judge can read them. One must not
 * be dialled at all, one not at its address. A reload takes the first away, the next brings it
 * back.
 */
#define STAGE_UPSTREAMS(X)                                                                         \
    X("http://u1.ca.test:443", "u1.ca.test")                                                       \
    X("http://inner.ca.test:443", "inner.ca.test")                                                 \
    X("http://denied.test:443", "denied.test")                                                     \
    X("http://u2.ca.test:8443", "est.test:8443")

/* What it lets through, and what lies below the last one. */
#define STAGE_PATH_SCEP "/scep"
#define STAGE_PATH_EXE "/cgi-bin/pkiclient.exe"
#define STAGE_PATH_EST "/.well-known/est"

/* Octets as they come. */
struct stage_text {
    char *p;
    size_t n, cap;
};

/* What had been said and heard on a connection when `got` octets had just arrived. */
struct stage_mark {
    size_t got, sent;
    unsigned long tick; /* over all connections: which came first */
};

/* The far end of a connection of the proxy's: a client or an origin. */
struct stage_end {
    int far, near;          /* our descriptor and the proxy's; -1: closed */
    struct stage_text sent; /* all that the connection has taken from us */
    struct stage_text got;  /* all that has arrived here */
    struct stage_text due;  /* said, but not taken yet */
    struct stage_mark *mark;
    size_t marks;
    bool deaf;    /* reads nothing, so that the proxy's octets wait */
    bool belated; /* was deaf once: its marks say when it heard, not when it was told */
    bool fin_due, fin_sent;
    bool left;    /* we have closed it, `reset` or not */
    bool reset;   /* with a reset */
    bool ended;   /* the proxy's FIN, or end, has arrived */
    bool aborted; /* the proxy ended it with a reset */
    /* Of an origin: for whom it was dialled, and as what. */
    unsigned client;
    uint16_t port;
    char host[256];
    bool hangs; /* not connected yet */
    /* Which edges are due to the proxy. */
    const void *slot; /* its word for the descriptor */
    bool fresh;       /* watched, and never told to be writable */
    bool awaits_room; /* it was told that there is none */
    size_t filler;    /* octets of ours that keep it from being writable */
};

enum stage_sni { STAGE_SNI_MATCH, STAGE_SNI_STRICT, STAGE_SNI_OFF };

struct stage_options {
    enum stage_sni sni;
    bool paced;             /* one connection an origin, the others wait */
    bool balancer;          /* clients are behind a load balancer: they begin with a PROXY header */
    bool roomy;             /* sockets take much before they are full */
    bool copied;            /* no kernel pipes for tunnels */
    bool parents;           /* everything goes through p1.ca.test:8080, or else p2.ca.test:8443 */
    bool passthrough;       /* clients come in by the server name of their ClientHello */
    bool gateway;           /* clients come to the gateway, see STAGE_UPSTREAMS */
    bool redirect;          /* clients come to the door before it */
    bool names;             /* the gateway's name is STAGE_NAME_OF_GATEWAY alone */
    bool outside;           /* the door is on no loopback address */
    bool forbids;           /* the policy lets u2.ca.test alone pass */
    bool passwords;         /* are asked for: see session_fakes.h for the right ones */
    unsigned exchanges_max; /* of one connection; 0: no such limit */
};

void stage_open(const struct stage_options *options);

/* Everything must have ended. */
void stage_close(void);

/* The client's connection, accepted at the first call. */
struct stage_end *stage_client(unsigned i);
/* Whether that was called. */
bool stage_has_client(unsigned i);
/* In order of their dials; NULL: not dialled yet. */
struct stage_end *stage_origin(unsigned i);

void stage_say(struct stage_end *e, const void *p, size_t n);
void stage_fin(struct stage_end *e); /* behind what was said */
void stage_leave(struct stage_end *e, bool reset);
void stage_deaf(struct stage_end *e, bool deaf);
/* Somebody is, so that not all that has come has been heard. */
bool stage_is_anybody_deaf(void);

/* Everybody hears what has arrived, then leaves; a turn. */
void stage_leave_all(void);

/* Until nothing moves any more. */
void stage_turn(void);
void stage_wait(uint64_t ms);

/* What becomes of the next dials: refused, or hanging until stage_connect(). */
void stage_refuse_next(unsigned dials);
void stage_hang_next(unsigned dials);
void stage_connect(void);
/* One has been refused, so that a gateway may wait before it tries again. */
bool stage_has_refused(void);

/* The word of who checks the gateway's upstreams. */
void stage_tell(unsigned upstream, bool down);

void stage_drain(void); /* as a worker that is to end */
void stage_stop(void);  /* and whose grace is over */

/* New options for what comes; what belongs to the stage itself stays as it was. */
void stage_reload(const struct stage_options *options);

/* No session is there any more. */
bool stage_is_empty(void);

#endif

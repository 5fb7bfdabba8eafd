/*
 * next_hop_impl.h - what next_hop.c, next_hop_origin.c and trial.c know of the way through a parent
 * proxy, or to an upstream of the gateway. Private to proxy/session.
 */
#ifndef CERTFERRY_SESSION_NEXT_HOP_IMPL_H
#define CERTFERRY_SESSION_NEXT_HOP_IMPL_H

#include "proxy/base/buf.h"
#include "proxy/session/parents.h"

struct session;

struct next_hop {
    struct parents *list;      /* counted: it may be replaced meanwhile */
    struct parents_use *use;   /* the worker's memory of such a list */
    bool origin;               /* the list's are origins: no CONNECT, no proxy's answers */
    uint64_t denied;           /* a bit for each that must not be asked at all */
    unsigned attempts;         /* picked so far */
    bool pausing;              /* SESSION_PARENT: before one is asked again */
    size_t at;                 /* the parent that is asked now */
    uint64_t tried;            /* a bit for each, that one included */
    uint64_t until_ms;         /* uv_now() when the last attempt must be over; 0: none has begun */
    uint64_t begun_ms;         /* when the present one began */
    uint64_t attempt_until_ms; /* and when it must be over */
    uint64_t connected_us;     /* when its connection was there */
    struct buf request;        /* CONNECT, without credentials */
    struct buf out;            /* what of it the parent has not taken yet */
    struct buf reply;          /* its answer; once that is good, what came behind it */
    size_t scanned;            /* of the answer's head */
    unsigned interim;          /* 1xx answers so far */
    bool shaking_hands;        /* SESSION_PARENT: TLS is not there yet */
    bool promised;             /* the client has its 200: there is no other answer any more */
    bool tried_on;             /* SESSION_TRIAL: the time of the attempt runs */
    size_t sent;               /* SESSION_TRIAL: so much of `in` has gone up */
};

/* next_hop.c: the next one to ask; false: there is none. */
bool next_hop_pick(struct session *s);

/* next_hop_origin.c: the same for upstreams of the gateway, where one may be asked again after a
 * pause; and the first of them. */
bool next_hop_origin_again(struct session *s);
bool next_hop_begin_origin(struct session *s);

#endif

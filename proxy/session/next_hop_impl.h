/*
 * next_hop_impl.h - what next_hop.c and trial.c know of the way through a parent proxy. Private to
 * proxy/session.
 */
#ifndef CERTFERRY_SESSION_NEXT_HOP_IMPL_H
#define CERTFERRY_SESSION_NEXT_HOP_IMPL_H

#include "proxy/base/buf.h"
#include "proxy/session/parents.h"

struct next_hop {
    struct parents *list;      /* counted: it may be replaced meanwhile */
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

#endif

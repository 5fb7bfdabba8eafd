/*
 * route.h - a request head -> what to do with it: tunnel, forward, own page, or refuse; with the
 * policy's word on it.
 *
 * Pure: no socket, no clock, no state. Order of DESIGN section 4: target, host name, port,
 * allowlist. Any thread.
 */
#ifndef CERTFERRY_SESSION_ROUTE_H
#define CERTFERRY_SESSION_ROUTE_H

#include "allowlist/hostname.h"
#include "allowlist/policy.h"
#include "proxy/wire/body.h"
#include "proxy/wire/classify.h"
#include "proxy/wire/head.h"
#include "proxy/wire/target.h"

enum route_kind {
    ROUTE_REFUSE,  /* `refusal` says why */
    ROUTE_TUNNEL,  /* CONNECT */
    ROUTE_FORWARD, /* absolute-form http:// */
    ROUTE_CONTROL, /* origin-form: one of our own pages */
};

struct route {
    enum route_kind kind;
    enum outcome refusal;
    enum outcome would;   /* what a policy that only reports would refuse with; else OUTCOME_OK */
    const char *why;      /* static; what exactly is wrong, or NULL */
    struct target target; /* spans into the head */
    struct hostname
        host; /* of ROUTE_TUNNEL and ROUTE_FORWARD; `named` says whether it was understood */
    bool named;
    struct classified class;
    struct body body; /* framing of the request's body; released by the caller */
};

/* `name` is ours in Via. Spans of `r` live as long as the head's octets. */
void route_decide(struct route *r, const struct head *head, const struct policy *policy,
                  struct span name);

/* The outcome of a head that could not be parsed. */
enum outcome route_head_fault(enum head_result result, enum head_kind kind);

#endif

#include "proxy/session/route.h"

#include <assert.h>

#include "proxy/wire/rewrite.h"

static void refuse(struct route *r, enum outcome o)
{
    r->kind = ROUTE_REFUSE;
    r->refusal = o;
}

static enum outcome target_fault(enum target_result result)
{
    return result == TARGET_HTTPS ? OUTCOME_HTTPS_NEEDS_CONNECT : OUTCOME_BAD_TARGET;
}

/* The host, canonical, and the policy's word on host and port. */
static void decide_host(struct route *r, const struct policy *policy)
{
    if (hostname_parse(&r->host, r->target.host, &r->why) != 0) {
        refuse(r, OUTCOME_BAD_HOST);
        return;
    }
    r->named = true;
    enum outcome verdict = policy_request(policy, &r->host, r->target.port, r->class.protocol);
    if (verdict != OUTCOME_OK && policy_reports(policy))
        r->would = verdict;
    else if (verdict != OUTCOME_OK)
        refuse(r, verdict);
}

static void decide_forward(struct route *r, const struct head *head, const struct policy *policy,
                           struct span name)
{
    r->kind = ROUTE_FORWARD;
    r->class = classify_request(head, &r->target);
    if (rewrite_loops(head, name))
        refuse(r, OUTCOME_LOOP);
    else if (body_of_request(&r->body, head, &r->why) != 0)
        refuse(r, OUTCOME_BAD_FRAMING);
    else
        decide_host(r, policy);
    /* TRACE or OPTIONS that may go no further: we are its final recipient (RFC 9110 section 7.6.2).
     */
    if (r->kind == ROUTE_FORWARD && rewrite_max_forwards_zero(head))
        refuse(r, OUTCOME_METHOD_NOT_ALLOWED);
}

void route_decide(struct route *r, const struct head *head, const struct policy *policy,
                  struct span name)
{
    *r = (struct route){.class = {PROTOCOL_OTHER, ""}};
    enum target_result result = target_parse(&r->target, head->method, head->target, &r->why);
    if (result != TARGET_OK) {
        refuse(r, target_fault(result));
        return;
    }
    switch (r->target.form) {
    case TARGET_AUTHORITY:
        /* A body has no place in CONNECT (RFC 9110 section 9.3.6): what follows the head belongs to
         * the tunnel. A length of 0 agrees with that; anything else would be a second opinion, so
         * it is refused. */
        r->kind = ROUTE_TUNNEL;
        r->class.protocol = PROTOCOL_TUNNEL;
        if (rewrite_loops(head, name))
            refuse(r, OUTCOME_LOOP);
        else if (body_of_request(&r->body, head, &r->why) != 0)
            refuse(r, OUTCOME_BAD_FRAMING);
        else
            decide_host(r, policy);
        return;
    case TARGET_ABSOLUTE:
        decide_forward(r, head, policy, name);
        return;
    case TARGET_ORIGIN:
    case TARGET_ASTERISK:
        r->kind = ROUTE_CONTROL;
        r->class.protocol = PROTOCOL_CONTROL;
        if (body_of_request(&r->body, head, &r->why) != 0)
            refuse(r, OUTCOME_BAD_FRAMING);
        return;
    }
    assert(false);
}

enum outcome route_head_fault(enum head_result result, enum head_kind kind)
{
    if (kind == HEAD_RESPONSE)
        return result == HEAD_TOO_LARGE || result == HEAD_TOO_MANY_FIELDS ||
                       result == HEAD_LINE_TOO_LONG
                   ? OUTCOME_RESPONSE_HEAD_TOO_LARGE
                   : OUTCOME_RESPONSE_MALFORMED;
    switch (result) {
    case HEAD_IS_TLS:
        return OUTCOME_TLS_TO_PLAIN_PORT;
    case HEAD_BAD_VERSION:
        return OUTCOME_BAD_VERSION;
    case HEAD_METHOD_UNKNOWN:
        return OUTCOME_METHOD_UNKNOWN;
    case HEAD_LINE_TOO_LONG:
        return OUTCOME_REQUEST_LINE_TOO_LONG;
    case HEAD_TOO_LARGE:
        return OUTCOME_HEAD_TOO_LARGE;
    case HEAD_TOO_MANY_FIELDS:
        return OUTCOME_TOO_MANY_FIELDS;
    default:
        return OUTCOME_BAD_REQUEST;
    }
}

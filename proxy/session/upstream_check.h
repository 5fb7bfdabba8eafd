/*
 * upstream_check.h - asks each upstream of the gateway again and again for a TLS handshake, so that
 * one that is down costs no client the attempt.
 *
 * Every check is a connection of its own with a whole verified handshake, and nothing is asked in
 * it. FALL that fail in a row put an upstream out of use, RISE good ones back, as HAProxy counts;
 * the policy and the egress guard are asked each time. Loop thread only; workers learn of it by
 * parents_tell().
 */
#ifndef CERTFERRY_SESSION_UPSTREAM_CHECK_H
#define CERTFERRY_SESSION_UPSTREAM_CHECK_H

#include "allowlist/policy.h"
#include "proxy/net/dial.h"
#include "proxy/net/netloop.h"
#include "proxy/session/parents.h"

enum { UPSTREAM_CHECK_FALL = 3, UPSTREAM_CHECK_RISE = 2 };

struct upstream_check;

/* `net` is copied, what it names is borrowed. Returns owned; NULL when out of memory. */
struct upstream_check *upstream_check_create(const struct netloop *net);

/*
 * From now on these (a reference is taken; NULL: none), each once in `interval_ms`; 0: not at all.
 * `policy` is borrowed until the next call or upstream_check_close().
 */
void upstream_check_use(struct upstream_check *c, struct parents *upstreams,
                        const struct policy *policy, const struct dial_options *dial,
                        uint64_t interval_ms);

/* Frees itself on the loop. */
void upstream_check_close(struct upstream_check *c);

#endif

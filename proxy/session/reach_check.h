/*
 * reach_check.h - tries destinations again when there may be no way out, so that a proxy that
 * clients have left finds its way back by itself; and tells the log when it is lost and found.
 *
 * One connect at a time, at the pace that reach.h sets, closed as soon as it stands: nothing is
 * sent. Destinations are those that clients asked for; the policy and the egress guard are asked
 * anew each time. Loop thread only.
 */
#ifndef CERTFERRY_SESSION_REACH_CHECK_H
#define CERTFERRY_SESSION_REACH_CHECK_H

#include "allowlist/policy.h"
#include "proxy/net/dial.h"
#include "proxy/net/netloop.h"
#include "proxy/net/reach.h"
#include "proxy/session/parents.h"

enum { REACH_CHECK_TIMEOUT_MS = 5000 };

struct reach_check;

/*
 * With what is to be checked: reach_check_reach(). `net` is copied, what it names is borrowed.
 * `on_change` runs from the loop when readiness has become another. Returns owned; NULL when out of
 * memory.
 */
struct reach_check *reach_check_create(const struct netloop *net,
                                       void (*on_change)(void *arg, bool ready), void *arg);

/* Borrowed until reach_check_close(), after which nobody may tell it anything. */
struct reach *reach_check_reach(struct reach_check *c);

/* No check goes on. Frees itself on the loop. */
void reach_check_close(struct reach_check *c);

/* From now on by these. `policy` is borrowed until the next call or reach_check_close(); of
 * `parents` (NULL: everything goes direct) a reference is taken. */
void reach_check_use(struct reach_check *c, const struct policy *policy, struct parents *parents,
                     const struct dial_options *dial);

#endif

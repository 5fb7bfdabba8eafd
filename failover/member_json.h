/*
 * member_json.h - one member as the JSON object that it puts into etcd, and back.
 *
 * What is read was written by whoever may write there: everything is checked, unknown keys are
 * overlooked. Pure. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_MEMBER_JSON_H
#define CERTFERRY_FAILOVER_MEMBER_JSON_H

#include "failover/roster.h"
#include "proxy/base/buf.h"

enum { MEMBER_JSON_MAX = 2048 }; /* octets */

/* 0, -ENOBUFS or -ENOMEM. */
int member_json_print(struct buf *out, const struct member *m);

/* 0; -EINVAL with `*why` (static); -ENOMEM. `self` is never set. */
int member_json_parse(struct member *m, struct span text, const char **why);

#endif

/*
 * classify.h - which enrollment protocol a plain-HTTP request speaks, and which operation it asks
 * for.
 *
 * For log, metrics and allowed.protocols; looks at method, path, query and Content-Type only, never
 * at a body. Any thread.
 */
#ifndef CERTFERRY_WIRE_CLASSIFY_H
#define CERTFERRY_WIRE_CLASSIFY_H

#include "proxy/base/protocol.h"
#include "proxy/wire/head.h"
#include "proxy/wire/target.h"

struct classified {
    enum protocol protocol;
    const char *operation; /* static: "simpleenroll", "GetCACaps", "PKIOperation", "directory", ...;
                              "" if unknown */
};

struct classified classify_request(const struct head *request, const struct target *target);

/*
 * Whether it may be an order though its method says that it is none: SCEP enrolls by GET, too (RFC
 * 8894 section 4.1), and whoever sends that twice has used up a one-time challenge. In doubt it is
 * one.
 */
bool classify_is_order(const struct target *target);

#endif

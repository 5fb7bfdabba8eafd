/*
 * member_url.h - where a member's own pages are.
 *
 * Pure. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_MEMBER_URL_H
#define CERTFERRY_FAILOVER_MEMBER_URL_H

#include "failover/roster.h"

enum { MEMBER_URL_MAX = ROSTER_TEXT_MAX + 64 };

/* "http://host:port/path"; an IPv6 address gets its brackets. Returns `out`. */
const char *member_url(char out[MEMBER_URL_MAX], const struct member *m, const char *path);

#endif

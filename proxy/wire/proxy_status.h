/*
 * proxy_status.h - what a response's Proxy-Status field (RFC 9209) says about its making.
 *
 * Only as much of the grammar (RFC 8941 lists) as these questions need; whatever is odd counts as
 * silence. Pure. Any thread.
 */
#ifndef CERTFERRY_WIRE_PROXY_STATUS_H
#define CERTFERRY_WIRE_PROXY_STATUS_H

#include <stdbool.h>

#include "proxy/wire/head.h"

/*
 * The response was made by the proxy that we have asked, or one asked by it, and not by an origin:
 * it names an error of RFC 9209 and has passed through nobody (no Via); or it is squid's own page.
 */
bool proxy_status_is_proxys(const struct head *response);

/* And the error is one that leaves no doubt: nothing of the request has been forwarded. */
bool proxy_status_unforwarded(const struct head *response);

#endif

/*
 * base64url.h - octets as letters and back, with the URL alphabet and without padding (RFC 4648
 * section 5, as RFC 7515 wants it).
 *
 * Each sequence of octets has one spelling only: what another encoder would have written otherwise
 * is refused. Any thread.
 */
#ifndef CERTFERRY_FAILOVER_BASE64URL_H
#define CERTFERRY_FAILOVER_BASE64URL_H

#include "proxy/base/buf.h"

/* 0, -ENOBUFS or -ENOMEM; on error nothing was added. */
int base64url_add(struct buf *out, struct span octets);

/* -EINVAL: not base64url; else as above. */
int base64url_read(struct buf *out, struct span text);

#endif

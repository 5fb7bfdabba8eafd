/*
 * port_holder.h - who has our port? A sentence for the operator when binding fails with EADDRINUSE.
 *
 * 48999 lies in Linux's default range of ephemeral ports, so any outgoing connection may be on it.
 * Reads /proc. Main thread, at start only.
 */
#ifndef CERTFERRY_PORT_HOLDER_H
#define CERTFERRY_PORT_HOLDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fills `out` with one line: the process and socket that hold the TCP port, as far as we may see,
 * and how net.ipv4.ip_local_reserved_ports keeps outgoing connections off it. Returns `out`.
 */
const char *port_holder_explain(uint16_t port, char *out, size_t size);

#endif

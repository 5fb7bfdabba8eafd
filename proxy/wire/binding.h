/*
 * binding.h - HTTP authentication that belongs to the connection and not to the request: NTLM, and
 * Negotiate as RFC 4559 section 6 has it.
 *
 * Whoever has authenticated on such a connection would lend his name to the next one who uses it.
 * Pure. Any thread.
 */
#ifndef CERTFERRY_WIRE_BINDING_H
#define CERTFERRY_WIRE_BINDING_H

#include "proxy/wire/head.h"

/* The request answers, or the response asks, with such a scheme. */
bool binding_is_meant(const struct head *head);

#endif

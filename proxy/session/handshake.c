/*
 * handshake.c - TLS with the client at a door that has it, before its first request.
 */
#include "proxy/session/session_impl.h"

void handshake_begin(struct session *s)
{
    session_close(s, OUTCOME_INTERNAL);
}

void handshake_ready(struct session *s)
{
    session_close(s, OUTCOME_INTERNAL);
}

void handshake_due(struct session *s)
{
    session_close(s, OUTCOME_CLIENT_LEFT);
}

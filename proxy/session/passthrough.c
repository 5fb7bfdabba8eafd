/*
 * passthrough.c - a client that knows of no proxy: the server name in its ClientHello says where
 * its tunnel goes.
 */
#include "proxy/session/session_impl.h"

void passthrough_ready(struct session *s)
{
    session_refuse(s, OUTCOME_INTERNAL, SPAN(""));
}

void passthrough_due(struct session *s)
{
    session_close(s, OUTCOME_CLIENT_LEFT);
}

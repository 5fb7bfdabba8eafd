/*
 * session_judge.h - whether what came out of the proxy on a stage was right, given what went in.
 *
 * Reads both sides' octets with strict_http, the second reader. What arrived at an origin must be
 * well-formed requests that the client has sent, in its order, none twice that may not be repeated,
 * with one Host that is the right one and nothing of the hop before. What arrived at a client must
 * be well-formed responses, one for a request, each our own or the very one that its request got,
 * and whole only if that one was. Tunnels pass their octets unchanged and nothing before the gate.
 * A fault ends the process with everything that was said printed.
 */
#ifndef CERTFERRY_TESTS_SESSION_JUDGE_H
#define CERTFERRY_TESTS_SESSION_JUDGE_H

#include "tests/support/session_stage.h"

/*
 * At any time between two turns and when everything has ended. `settled`: a turn has just ended, so
 * that what can have come has come; what then still sleeps in the proxy has been forgotten there.
 */
void session_judge(const struct stage_options *options, bool settled);

#endif

/*
 * passthrough_judge.h - session_judge.h for clients whose ClientHello says where they go.
 *
 * What is dialled must be the host that a second reader finds in the hello, allowed, on the door's
 * port; octets pass unchanged; a client without a tunnel gets nothing but an alert.
 */
#ifndef CERTFERRY_TESTS_PASSTHROUGH_JUDGE_H
#define CERTFERRY_TESTS_PASSTHROUGH_JUDGE_H

#include <stdbool.h>

/* At any time between two turns and when everything has ended; `settled` as in session_judge(). */
void passthrough_judge(bool settled);

#endif

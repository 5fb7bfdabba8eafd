/*
 * gateway_judge.h - what the gateway promises beyond what every proxy does, for session_judge: only
 * paths of its list, one Host that is the upstream's, nothing of what only a gateway may say from
 * anybody but us, nothing twice; and the door before it.
 */
#ifndef CERTFERRY_TESTS_GATEWAY_JUDGE_H
#define CERTFERRY_TESTS_GATEWAY_JUDGE_H

#include "tests/support/session_record.h"

/* A request that may be seen at an upstream; one that is refused for its framing may be among them.
 */
bool gateway_lets_pass(const struct strict_message *m, const struct stage_options *options);

/* Of the gateway, so that what came under this name does not go on as it came. */
bool gateway_writes(const struct strict_message *m, struct strict_text name);

/* URLs of `in`, a response, lead to the same places in `out`. */
bool gateway_same_places(const struct strict_message *out, const struct strict_message *in);

/* A request as it arrived at an upstream. */
void gateway_check_request(const struct exchange *x);
/* All of them: none has gone out once more that may have arrived, nor an order over a connection
 * that another client has left. */
void gateway_check_repeats(const struct session_record *r);

/* Clients of the door that leads to https. */
void redirect_judge(const struct stage_options *options, bool settled);

#endif

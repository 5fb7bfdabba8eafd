/*
 * session_stage_make.h - what a snapshot would give the sessions on a stage: options, policy,
 * parents, upstreams.
 *
 * Values only; knows nothing of the stage's clients and origins.
 */
#ifndef CERTFERRY_TESTS_SESSION_STAGE_MAKE_H
#define CERTFERRY_TESTS_SESSION_STAGE_MAKE_H

#include "proxy/session/session.h"
#include "tests/support/session_stage.h"

/* Times as shipped; sizes small, so that short scripts reach them. Returns owned. */
struct session_options *stage_make_options(const struct stage_options *o);
void stage_free_options(struct session_options *o);

/* Two, of which the second wants a password; each attempt has less than the dial. Counted. */
struct parents *stage_make_parents(void);

/* STAGE_UPSTREAMS, or all but the first; each attempt has less than the dial. Counted. */
struct parents *stage_make_upstreams(bool whole);

#endif

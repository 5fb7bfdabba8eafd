/*
 * session_fakes.h - what sessions ask others for, on a stage: names and passwords; and the log.
 *
 * Each allowed name is known at once, and only allowed ones may be asked for: none.ca.test and what
 * begins so does not exist, inner.* leads to an address that the guard must refuse, all others to
 * the origins. Of the passwords of user "u", "known" is remembered as right, "right" and all others
 * take until session_fakes_check(), and for "busy" there is no place.
 */
#ifndef CERTFERRY_TESTS_SESSION_FAKES_H
#define CERTFERRY_TESTS_SESSION_FAKES_H

#include <stdbool.h>
#include <stddef.h>

struct resolver;
struct users;

/* A resolver for each client, so that each dial is known to be its. */
struct resolver *session_fakes_resolver(unsigned client);

/* The client whose name was asked for last, and the name. */
unsigned session_fakes_asker(void);
const char *session_fakes_asked(void);

/* Whether the name is one that the stage's policy allows: ca.test and all below it. */
bool stage_allows(const char *name, size_t n);

/* Only to be there. */
const struct users *session_fakes_users(void);

/* All checks under way come to their end; whether there were any. */
bool session_fakes_check(void);

#endif

/*
 * users.h - those who may use the proxy, with their password hashes: added line by line from an
 * htpasswd file, then immutable.
 *
 * Only hashes that are slow to try pass: bcrypt ($2a$ $2b$ $2y$), yescrypt ($y$), scrypt ($7$),
 * sha512crypt ($6$), sha256crypt ($5$). Knows no file and computes no hash. Any thread once built.
 */
#ifndef ALLOWLIST_USERS_H
#define ALLOWLIST_USERS_H

#include <stddef.h>

#include "proxy/base/span.h"

struct users;

/* Returns owned; NULL when out of memory. */
struct users *users_create(void);
void users_destroy(struct users *u);

/*
 * One line of the file, without its end: "user:hash"; an empty line or one that begins with '#' is
 * skipped. 0; -EINVAL with `*why` (static text that says what is wrong and what to do) for a
 * malformed line, a hash of another kind, one that libcrypt would refuse or a user given twice;
 * -ENOMEM.
 */
int users_add_line(struct users *u, struct span line, const char **why);

/* The hash, borrowed; NULL for an unknown user. */
const char *users_find(const struct users *u, const char *user);

/*
 * A hash for an unknown user to be tried against, so that he costs as much time as one of the known
 * ones: always the same for the same name, whose it is cannot be foreseen. Borrowed; NULL when
 * there are no users. A match with it proves nothing.
 */
const char *users_decoy(const struct users *u, const char *user);

size_t users_count(const struct users *u);

#endif

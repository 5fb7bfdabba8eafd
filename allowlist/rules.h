/*
 * rules.h - the domains and hosts that may be reached: added one by one, then immutable.
 *
 * Look-up cost grows with the number of labels of the asked name, not with the number of rules (a
 * hash set). Adding: one thread. Asking: any thread.
 */
#ifndef CERTFERRY_ALLOWLIST_RULES_H
#define CERTFERRY_ALLOWLIST_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "allowlist/hostname.h"

struct rules;

/* Returns owned; NULL when out of memory. */
struct rules *rules_create(void);
void rules_destroy(struct rules *r);

/*
 * "digicert.com", "*.digicert.com" and ".digicert.com" all mean the name and everything below it. A
 * public top-level label alone ("com"), "*" and address literals are refused. 0; -EINVAL with
 * `*why` (static); -ENOMEM. Twice is no error.
 */
int rules_add_domain(struct rules *r, struct span text, const char **why);

/* Exactly this host; the only way to allow an address literal. Wildcards are refused. */
int rules_add_host(struct rules *r, struct span text, const char **why);

bool rules_allow(const struct rules *r, const struct hostname *host);

/* For the roster documents: every rule in canonical text, domains as "*.name", in the order added.
 */
size_t rules_count(const struct rules *r);
const char *rules_text(const struct rules *r, size_t i);

#endif

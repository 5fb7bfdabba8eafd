/*
 * paths.h - which paths of a request target may be asked for: patterns, added one by one, then
 * immutable; and the one spelling that a path may have.
 *
 * A path is never repaired. What two readers could take for two paths (dot segments, empty
 * segments, path parameters, escapes of what needs none) is refused, since the server behind us may
 * read it in the other way (RFC 3986 section 6). No query, no policy on hosts. Adding: one thread.
 * Asking: any thread.
 */
#ifndef CERTFERRY_ALLOWLIST_PATHS_H
#define CERTFERRY_ALLOWLIST_PATHS_H

#include <stdbool.h>

#include "proxy/base/span.h"

struct paths;

/* Returns owned; NULL when out of memory. Nothing is allowed yet. */
struct paths *paths_create(void);
void paths_destroy(struct paths *p); /* NULL is fine */

/*
 * "/scep", "/cgi-bin/pkiclient.exe", "/est/<star>/cacerts" or "/.well-known/est/<star><star>": one
 * star stands for any octets inside a segment, two of them alone in a segment for any number of
 * whole segments, none included. 0; -EINVAL with `*why` (static); -ENOMEM.
 */
int paths_add(struct paths *p, struct span pattern, const char **why);

/*
 * Why `path`, without its query, is not in the one spelling: static words. NULL: it is.
 */
const char *paths_fault(struct span path);

/* Whether a pattern matches; the path has no fault. */
bool paths_allow(const struct paths *p, struct span path);

#endif

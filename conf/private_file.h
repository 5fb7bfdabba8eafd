/*
 * private_file.h - reads files that decide what we do, and refuses those that somebody else could
 * have written.
 *
 * Files are opened relative to a directory's descriptor, so that they can still be read when the
 * process may no longer search the directories above. "Others" are the world, and a group unless
 * it has the owner's own number (a user's private group, root's). Trusted owners are root, whoever
 * owns the directory, and the user we are. Main thread.
 */
#ifndef CONF_PRIVATE_FILE_H
#define CONF_PRIVATE_FILE_H

#include "proxy/base/buf.h"

enum { PRIVATE_FILE_SECRET = 1 /* nor may the world read it */ };

/*
 * Adds the octets of the regular file `path` (relative to the directory `dir`, or absolute), at
 * most what `text` has room for. A directory in `path` is judged too. 0; -EISDIR for something that
 * is no regular file; -EPERM with
 * `*why` (static; what is wrong and the command that mends it) when it is not private; another
 * negative errno.
 */
int private_file_read(int dir, const char *path, unsigned flags, struct buf *text,
                      const char **why);

/* The same question about an open directory: who can write there can put another file in place. 0
 * or -EPERM with `*why`, or another negative errno. */
int private_directory_check(int dir, const char **why);

#endif

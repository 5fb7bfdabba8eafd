/*
 * roster_file.h - the last good roster on disk, as its PvD document, so that a start without any
 * source knows the others all the same.
 *
 * Written aside, synced and renamed: a reader finds the old one or the new one, whole. Its
 * directory is opened at the start and held, so that the process may be confined afterwards. Only
 * main thread.
 */
#ifndef CERTFERRY_FAILOVER_ROSTER_FILE_H
#define CERTFERRY_FAILOVER_ROSTER_FILE_H

#include "failover/document_read.h"
#include "failover/roster.h"

struct roster_file;

/* "dir/name". Returns owned; NULL with errno: the directory cannot be opened, or out of memory. */
struct roster_file *roster_file_open(const char *path);
void roster_file_close(struct roster_file *f);

/* 0 with the roster owned in `*out`; -ENOENT: there is none; -EINVAL with `fault`: it is not one;
 * another negative errno. */
int roster_file_read(struct roster_file *f, struct roster **out, char fault[DOCUMENT_FAULT_MAX]);

/* 0 or a negative errno; then the old one is still there. */
int roster_file_write(struct roster_file *f, const struct roster *roster, const char *identifier);

#endif

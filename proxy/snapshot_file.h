/*
 * snapshot_file.h - the contents of a file that a setting names, or a mistake that says what is
 * wrong with it and what to do.
 *
 * Main thread.
 */
#ifndef CERTFERRY_SNAPSHOT_FILE_H
#define CERTFERRY_SNAPSHOT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/buf.h"

struct settings_errors;

struct snapshot_file {
    const char *where; /* settings_where() of the key */
    const char *path;  /* "": no file, which reads as nothing */
    int dir;           /* what `path` is relative to */
    unsigned flags;    /* PRIVATE_FILE_... */
    size_t max;        /* octets */
};

/* Initialises `text`, which is the caller's to wipe in any case. False: told. */
bool snapshot_file_read(const struct snapshot_file *f, struct buf *text, struct settings_errors *e);

/* Overwrites and releases it: most of these hold secrets. */
void snapshot_file_wipe(struct buf *text);

#endif

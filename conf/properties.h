/*
 * properties.h - Java .properties syntax: key = value pairs with the file and line where they
 * stand.
 *
 * As java.util.Properties reads it: '=' or ':' or whitespace between key and value, '#' and '!'
 * comments, a backslash at the end of a line continues it, \t \n \r \f \uXXXX and \<any> escapes.
 * Files are UTF-8. Knows no key. Main thread.
 */
#ifndef CONF_PROPERTIES_H
#define CONF_PROPERTIES_H

#include <stddef.h>

enum {
    PROPERTIES_FILE_MAX = 4 * 1024 * 1024, /* octets of one file */
    PROPERTIES_ENTRIES_MAX = 4096          /* keys in one file */
};

struct property {
    char *key;     /* owned by the list */
    char *value;   /* owned by the list; surrounding whitespace of the value's end is kept, as Java
                      does */
    unsigned line; /* where the key stands, from 1 */
};

struct properties {
    struct property *item;
    size_t count;
};

/* Called for each mistake; `line` 0 when it is about the file as a whole. */
typedef void (*properties_error)(void *arg, const char *file, unsigned line, const char *message);

/*
 * Parses `len` octets of text; `file` is only named in errors. Every mistake (NUL, broken \u
 * escape, invalid UTF-8, too many keys) is told; the rest is still parsed. 0, -EINVAL when a
 * mistake was told, -ENOMEM. Free with properties_free() in any case.
 */
int properties_parse(struct properties *p, const char *file, const char *text, size_t len,
                     properties_error on_error, void *arg);

/*
 * Reads a whole private file (conf/private_file.h) and parses it: `name` in the directory `dir`,
 * called `path` in errors. -ENOENT when there is none (nothing is told then); other errors are
 * told.
 */
int properties_load(struct properties *p, int dir, const char *name, const char *path,
                    properties_error on_error, void *arg);

void properties_free(struct properties *p);

#endif

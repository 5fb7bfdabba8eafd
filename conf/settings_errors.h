/*
 * settings_errors.h - the mistakes of one run, as the lines that the operator reads.
 *
 * Knows no key and no file. Main thread.
 */
#ifndef CONF_SETTINGS_ERRORS_H
#define CONF_SETTINGS_ERRORS_H

#include <stddef.h>

enum { SETTINGS_ERRORS_MAX = 200 }; /* lines; one more then says that there were others */

/* Mistakes of one run, in order: whole lines "file:line: key: what is wrong, what is allowed". */
struct settings_errors {
    char **line; /* owned */
    size_t count;
};

/*
 * Adds the line "where: text" with a printf-style text. For every module that finds fault with a
 * value; `where` from settings_where(). Control octets become \xNN. Out of memory a fixed line says
 * so: a mistake is never lost.
 */
void settings_error(struct settings_errors *e, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void settings_errors_free(struct settings_errors *e);

#endif

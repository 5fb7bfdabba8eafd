#include "conf/settings_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands for a line that found no memory; never freed. */
static char lost_text[] = "out of memory: the configuration could not be checked";
static char *lost_line[1] = {lost_text};

/* Returns owned: the text with control octets as \xNN, so that a value can forge no second line.
 * NULL: no memory. */
static char *text_escape(const char *text)
{
    char *out = malloc(strlen(text) * 4 + 1);
    if (out == NULL)
        return NULL;
    char *to = out;
    for (const char *from = text; *from != '\0'; from++) {
        unsigned char c = (unsigned char)*from;
        if (c < 0x20 || c == 0x7f)
            to += snprintf(to, 5, "\\x%02x", (unsigned)c);
        else
            *to++ = *from;
    }
    *to = '\0';
    return out;
}

/* Takes `line`, which may be NULL. */
static void line_add(struct settings_errors *e, char *line)
{
    if (line == NULL)
        line = lost_text;
    char **grown = NULL;
    if (e->line != lost_line)
        grown = realloc(e->line, (e->count + 1) * sizeof *grown);
    if (grown != NULL) {
        e->line = grown;
        e->line[e->count++] = line;
        return;
    }
    if (line != lost_text)
        free(line);
    if (e->count == 0) {
        e->line = lost_line;
        e->count = 1;
    }
}

static char *line_print(const char *where, const char *format, va_list args)
{
    char *text = NULL;
    char *line = NULL;
    char *escaped = NULL;
    if (vasprintf(&text, format, args) < 0)
        return NULL;
    if (asprintf(&line, "%s: %s", where, text) >= 0) {
        escaped = text_escape(line);
        free(line);
    }
    free(text);
    return escaped;
}

void settings_error(struct settings_errors *e, const char *where, const char *format, ...)
{
    if (e->count > SETTINGS_ERRORS_MAX)
        return;
    if (e->count == SETTINGS_ERRORS_MAX) {
        line_add(e, strdup("more mistakes than are shown: mend these first"));
        return;
    }
    va_list args;
    va_start(args, format);
    line_add(e, line_print(where, format, args));
    va_end(args);
}

void settings_errors_free(struct settings_errors *e)
{
    for (size_t i = 0; i < e->count; i++) {
        if (e->line[i] != lost_text)
            free(e->line[i]);
    }
    if (e->line != lost_line)
        free(e->line);
    *e = (struct settings_errors){0};
}

/*
 * setting_values.h - one value: from its text to its C type, strictly checked, by the description
 * of its key.
 *
 * Knows the types, not the keys. Main thread.
 */
#ifndef CONF_SETTING_VALUES_H
#define CONF_SETTING_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/settings_errors.h"
#include "proxy/base/addr.h"

struct text_list {
    char **item; /* owned; trimmed, never empty */
    size_t count;
};

struct prefix_list {
    struct prefix *item;
    size_t count;
};

struct port_list {
    struct {
        uint16_t first, last;
    } * item;
    size_t count;
};

typedef bool setting_BOOL;
typedef uint64_t setting_NUMBER;
typedef uint64_t setting_SIZE;
typedef uint64_t setting_TIME;
typedef char *setting_TEXT;
typedef struct text_list setting_LIST;
typedef struct prefix_list setting_PREFIXES;
typedef struct port_list setting_PORTS;
typedef unsigned setting_CHOICE;

enum setting_type {
    SETTING_BOOL,
    SETTING_NUMBER,
    SETTING_SIZE,
    SETTING_TIME,
    SETTING_TEXT,
    SETTING_LIST,
    SETTING_PREFIXES,
    SETTING_PORTS,
    SETTING_CHOICE
};

/* One row of the table of keys. All texts are static. */
struct setting_info {
    const char *key;
    int file; /* enum settings_file */
    enum setting_type type;
    const char *text;    /* the default */
    uint64_t min, max;   /* of a number, or how many entries a list may have */
    const char *choices; /* "match|strict|off", or NULL */
    bool reload;         /* SIGHUP is enough */
    const char *comment;
    size_t offset; /* of the value in struct settings */
};

/* Room for a value of any type. */
union setting_value {
    setting_BOOL flag;
    setting_NUMBER number;
    setting_TEXT text;
    setting_LIST list;
    setting_PREFIXES prefixes;
    setting_PORTS ports;
    setting_CHOICE choice;
};

/*
 * Blanks around the text do not count. 0 with an owned value; -EINVAL when mistakes were added to
 * `e` under `where`; -ENOMEM. On error there is no value.
 */
int setting_value_parse(union setting_value *v, const struct setting_info *info, const char *text,
                        struct settings_errors *e, const char *where);

/* Octets of a value of this type, as it stands in struct settings. */
size_t setting_value_size(enum setting_type type);

void setting_value_free(enum setting_type type, union setting_value *v);

/* 0 with an owned value, or -ENOMEM without one. */
int setting_value_copy(enum setting_type type, union setting_value *to,
                       const union setting_value *from);
bool setting_value_same(enum setting_type type, const union setting_value *a,
                        const union setting_value *b);

/* "time, 100ms to 10m" - what may be written, for the shipped files and for messages. Returns
 * `out`. */
const char *setting_value_allowed(const struct setting_info *info, char *out, size_t size);

/* "64KiB": octets in the greatest unit that leaves no rest; "10m": milliseconds likewise. Returns
 * `out`. */
const char *setting_size_print(uint64_t octets, char *out, size_t size);
const char *setting_time_print(uint64_t ms, char *out, size_t size);

#endif

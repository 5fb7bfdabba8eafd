#include "conf/setting_values.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For "%.*s": what the operator wrote, as far as it helps him. */
#define SHOWN(s) (int)((s).len > 64 ? 64 : (s).len), (s).ptr

struct unit {
    const char *name;
    uint64_t factor;
};

/* Greatest last; the name that is printed stands behind its short form. */
static const struct unit size_units[] = {
    {"", 1},
    {"K", UINT64_C(1) << 10},
    {"KiB", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"MiB", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"GiB", UINT64_C(1) << 30},
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};
enum {
    SIZE_UNIT_COUNT = sizeof size_units / sizeof *size_units,
    TIME_UNIT_COUNT = sizeof time_units / sizeof *time_units
};

/* Where a value comes from and where its mistakes go. */
struct source {
    const struct setting_info *info;
    struct settings_errors *errors;
    const char *where;
};

static struct span trimmed(struct span s)
{
    static const char blanks[] = " \t\f\n\r\v";
    while (s.len > 0 && strchr(blanks, s.ptr[0]) != NULL)
        s = (struct span){s.ptr + 1, s.len - 1};
    while (s.len > 0 && strchr(blanks, s.ptr[s.len - 1]) != NULL)
        s.len--;
    return s;
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

static int refuse(const struct source *from, struct span text, const char *fault)
{
    char allowed[256];
    settings_error(from->errors, from->where, "\"%.*s\" %s, allowed: %s", SHOWN(text), fault,
                   setting_value_allowed(from->info, allowed, sizeof allowed));
    return -EINVAL;
}

/* Decimal digits at the front of `s`, without leading zeros; how many, 0 when there is no number,
 * -1 past 64 bits. */
static long digits_read(struct span s, uint64_t *number)
{
    size_t n = 0;
    *number = 0;
    for (; n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9'; n++) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(s.ptr[n] - '0'), number))
            return -1;
    }
    return n > 1 && s.ptr[0] == '0' ? 0 : (long)n;
}

/* A number with one of `units`, in range. */
static int amount_parse(const struct source *from, struct span text, const struct unit *units,
                        size_t unit_count, uint64_t *out)
{
    uint64_t number;
    long digits = digits_read(text, &number);
    if (digits < 0)
        return refuse(from, text, "is out of range");
    if (digits == 0)
        return refuse(from, text, text.len == 0 ? "is empty" : "is not a plain decimal number");
    struct span name = {text.ptr + digits, text.len - (size_t)digits};
    for (size_t i = 0; i < unit_count; i++) {
        if (!span_is(name, span_of(units[i].name)))
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, out) || *out < from->info->min ||
            *out > from->info->max)
            return refuse(from, text, "is out of range");
        return 0;
    }
    if (from->info->type == SETTING_TIME)
        return refuse(from, text, "needs one of the units ms, s, m, h, d");
    return refuse(from, text,
                  from->info->type == SETTING_SIZE
                      ? "needs octets or one of the units KiB, MiB, GiB"
                      : "is not a plain decimal number");
}

static int bool_parse(const struct source *from, struct span text, union setting_value *v)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_is_nocase(text, span_of(words[i]))) {
            v->flag = i % 2 == 1;
            return 0;
        }
    }
    return refuse(from, text, "is neither on nor off");
}

static int number_parse(const struct source *from, struct span text, union setting_value *v)
{
    static const struct unit none = {"", 1};
    if (strcmp(from->info->text, "auto") == 0 && span_is(text, SPAN("auto"))) {
        v->number = 0;
        return 0;
    }
    return amount_parse(from, text, &none, 1, &v->number);
}

static int size_parse(const struct source *from, struct span text, union setting_value *v)
{
    return amount_parse(from, text, size_units, SIZE_UNIT_COUNT, &v->number);
}

static int time_parse(const struct source *from, struct span text, union setting_value *v)
{
    return amount_parse(from, text, time_units, TIME_UNIT_COUNT, &v->number);
}

static int text_parse(const struct source *from, struct span text, union setting_value *v)
{
    if (has_control(text))
        return refuse(from, text, "holds a control character");
    v->text = strndup(text.ptr, text.len);
    return v->text == NULL ? -ENOMEM : 0;
}

static int choice_parse(const struct source *from, struct span text, union setting_value *v)
{
    const char *word = from->info->choices;
    for (v->choice = 0;; v->choice++) {
        size_t len = strcspn(word, "|");
        if (span_is(text, (struct span){word, len}))
            return 0;
        if (word[len] == '\0')
            return refuse(from, text, "is none of the words");
        word += len + 1;
    }
}

/* Cuts the next entry off `rest`; false behind the last one. */
static bool entry_next(struct span *rest, struct span *entry)
{
    if (rest->ptr == NULL)
        return false;
    const char *comma = memchr(rest->ptr, ',', rest->len);
    size_t len = comma != NULL ? (size_t)(comma - rest->ptr) : rest->len;
    *entry = trimmed((struct span){rest->ptr, len});
    *rest = comma != NULL ? (struct span){comma + 1, rest->len - len - 1} : (struct span){NULL, 0};
    return true;
}

/* How many entries the text has, or -EINVAL when those are too few or too many. */
static long entries_count(const struct source *from, struct span text)
{
    uint64_t count = text.len > 0 ? 1 : 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == ',';
    if (count >= from->info->min && count <= from->info->max)
        return (long)count;
    char allowed[256];
    settings_error(from->errors, from->where, "has %llu entries, allowed: %s",
                   (unsigned long long)count,
                   setting_value_allowed(from->info, allowed, sizeof allowed));
    return -EINVAL;
}

/* Parses one entry into place `at` of the list. */
typedef int (*entry_parser)(const struct source *from, struct span entry, union setting_value *v,
                            size_t at);

/* Every entry is looked at, so that all mistakes of the list are told. */
static int entries_parse(const struct source *from, struct span text, union setting_value *v,
                         entry_parser parse)
{
    struct span rest = text.len > 0 ? text : (struct span){NULL, 0};
    struct span entry;
    int status = 0;
    for (size_t at = 0; entry_next(&rest, &entry); at++) {
        int rc = entry.len == 0       ? refuse(from, text, "has an empty entry")
                 : has_control(entry) ? refuse(from, entry, "holds a control character")
                                      : parse(from, entry, v, at);
        if (status != -ENOMEM && rc != 0)
            status = rc;
    }
    if (status != 0)
        setting_value_free(from->info->type, v);
    return status;
}

static int text_entry(const struct source *from, struct span entry, union setting_value *v,
                      size_t at)
{
    (void)from;
    v->list.item[at] = strndup(entry.ptr, entry.len);
    return v->list.item[at] == NULL ? -ENOMEM : 0;
}

static int list_parse(const struct source *from, struct span text, union setting_value *v)
{
    long count = entries_count(from, text);
    if (count <= 0)
        return (int)count;
    v->list.item = calloc((size_t)count, sizeof *v->list.item);
    if (v->list.item == NULL)
        return -ENOMEM;
    v->list.count = (size_t)count;
    return entries_parse(from, text, v, text_entry);
}

static int prefix_entry(const struct source *from, struct span entry, union setting_value *v,
                        size_t at)
{
    int rc = prefix_parse(&v->prefixes.item[at], entry);
    if (rc == -ERANGE)
        return refuse(from, entry, "has bits set behind its prefix");
    return rc == 0 ? 0 : refuse(from, entry, "is no address or prefix");
}

static int prefixes_parse(const struct source *from, struct span text, union setting_value *v)
{
    long count = entries_count(from, text);
    if (count <= 0)
        return (int)count;
    v->prefixes.item = calloc((size_t)count, sizeof *v->prefixes.item);
    if (v->prefixes.item == NULL)
        return -ENOMEM;
    v->prefixes.count = (size_t)count;
    return entries_parse(from, text, v, prefix_entry);
}

static bool port_read(struct span *s, uint16_t *port)
{
    uint64_t number;
    long digits = digits_read(*s, &number);
    if (digits <= 0 || number < 1 || number > 65535)
        return false;
    *port = (uint16_t)number;
    *s = (struct span){s->ptr + digits, s->len - (size_t)digits};
    return true;
}

static int port_entry(const struct source *from, struct span entry, union setting_value *v,
                      size_t at)
{
    struct span rest = entry;
    uint16_t first, last;
    if (!port_read(&rest, &first))
        return refuse(from, entry, "is no port");
    last = first;
    if (rest.len > 0) {
        bool dash = rest.ptr[0] == '-';
        rest = (struct span){rest.ptr + 1, rest.len - 1};
        if (!dash || !port_read(&rest, &last) || rest.len > 0)
            return refuse(from, entry, "is no port range");
    }
    if (last < first)
        return refuse(from, entry, "is a range that ends before it begins");
    v->ports.item[at].first = first;
    v->ports.item[at].last = last;
    return 0;
}

static int ports_parse(const struct source *from, struct span text, union setting_value *v)
{
    long count = entries_count(from, text);
    if (count <= 0)
        return (int)count;
    v->ports.item = calloc((size_t)count, sizeof *v->ports.item);
    if (v->ports.item == NULL)
        return -ENOMEM;
    v->ports.count = (size_t)count;
    return entries_parse(from, text, v, port_entry);
}

int setting_value_parse(union setting_value *v, const struct setting_info *info, const char *text,
                        struct settings_errors *e, const char *where)
{
    static int (*const parsers[])(const struct source *, struct span, union setting_value *) = {
        [SETTING_BOOL] = bool_parse,         [SETTING_NUMBER] = number_parse,
        [SETTING_SIZE] = size_parse,         [SETTING_TIME] = time_parse,
        [SETTING_TEXT] = text_parse,         [SETTING_LIST] = list_parse,
        [SETTING_PREFIXES] = prefixes_parse, [SETTING_PORTS] = ports_parse,
        [SETTING_CHOICE] = choice_parse,
    };
    struct source from = {info, e, where};
    memset(v, 0, sizeof *v);
    return parsers[info->type](&from, trimmed(span_of(text)), v);
}

size_t setting_value_size(enum setting_type type)
{
    static const size_t sizes[] = {
        [SETTING_BOOL] = sizeof(setting_BOOL),         [SETTING_NUMBER] = sizeof(setting_NUMBER),
        [SETTING_SIZE] = sizeof(setting_SIZE),         [SETTING_TIME] = sizeof(setting_TIME),
        [SETTING_TEXT] = sizeof(setting_TEXT),         [SETTING_LIST] = sizeof(setting_LIST),
        [SETTING_PREFIXES] = sizeof(setting_PREFIXES), [SETTING_PORTS] = sizeof(setting_PORTS),
        [SETTING_CHOICE] = sizeof(setting_CHOICE),
    };
    return sizes[type];
}

void setting_value_free(enum setting_type type, union setting_value *v)
{
    if (type == SETTING_TEXT) {
        free(v->text);
    } else if (type == SETTING_LIST) {
        for (size_t i = 0; i < v->list.count; i++)
            free(v->list.item[i]);
        free(v->list.item);
    } else if (type == SETTING_PREFIXES) {
        free(v->prefixes.item);
    } else if (type == SETTING_PORTS) {
        free(v->ports.item);
    }
    memset(v, 0, sizeof *v);
}

static int list_copy(struct text_list *to, const struct text_list *from)
{
    to->item = calloc(from->count + 1, sizeof *to->item);
    if (to->item == NULL)
        return -ENOMEM;
    for (; to->count < from->count; to->count++) {
        to->item[to->count] = strdup(from->item[to->count]);
        if (to->item[to->count] == NULL)
            return -ENOMEM;
    }
    return 0;
}

/* NULL: out of memory. */
static void *array_copy(const void *from, size_t count, size_t size)
{
    void *to = calloc(count + 1, size);
    if (to != NULL && count > 0)
        memcpy(to, from, count * size);
    return to;
}

int setting_value_copy(enum setting_type type, union setting_value *to,
                       const union setting_value *from)
{
    *to = *from;
    bool good = true;
    if (type == SETTING_TEXT) {
        to->text = strdup(from->text);
        good = to->text != NULL;
    } else if (type == SETTING_LIST) {
        to->list = (struct text_list){.item = NULL};
        good = list_copy(&to->list, &from->list) == 0;
    } else if (type == SETTING_PREFIXES) {
        to->prefixes.item =
            array_copy(from->prefixes.item, from->prefixes.count, sizeof *from->prefixes.item);
        good = to->prefixes.item != NULL;
    } else if (type == SETTING_PORTS) {
        to->ports.item = array_copy(from->ports.item, from->ports.count, sizeof *from->ports.item);
        good = to->ports.item != NULL;
    }
    if (!good)
        setting_value_free(type, to);
    return good ? 0 : -ENOMEM;
}

static bool list_same(const struct text_list *a, const struct text_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->item[i], b->item[i]) == 0;
    return same;
}

static bool prefixes_same(const struct prefix_list *a, const struct prefix_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->item[i].bits == b->item[i].bits &&
               addr_same_host(&a->item[i].addr, &b->item[i].addr);
    return same;
}

static bool ports_same(const struct port_list *a, const struct port_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->item[i].first == b->item[i].first && a->item[i].last == b->item[i].last;
    return same;
}

bool setting_value_same(enum setting_type type, const union setting_value *a,
                        const union setting_value *b)
{
    switch (type) {
    case SETTING_BOOL:
        return a->flag == b->flag;
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        return a->number == b->number;
    case SETTING_TEXT:
        return strcmp(a->text, b->text) == 0;
    case SETTING_LIST:
        return list_same(&a->list, &b->list);
    case SETTING_PREFIXES:
        return prefixes_same(&a->prefixes, &b->prefixes);
    case SETTING_PORTS:
        return ports_same(&a->ports, &b->ports);
    case SETTING_CHOICE:
        return a->choice == b->choice;
    }
    assert(0);
    return false;
}

/* In the greatest unit that leaves no rest; of two names for one unit the last. */
static const char *amount_print(uint64_t amount, const struct unit *units, size_t count, char *out,
                                size_t size)
{
    const struct unit *best = &units[0];
    for (size_t i = 1; i < count && amount > 0; i++) {
        if (amount % units[i].factor == 0)
            best = &units[i];
    }
    (void)snprintf(out, size, "%llu%s", (unsigned long long)(amount / best->factor), best->name);
    return out;
}

const char *setting_size_print(uint64_t octets, char *out, size_t size)
{
    return amount_print(octets, size_units, SIZE_UNIT_COUNT, out, size);
}

const char *setting_time_print(uint64_t ms, char *out, size_t size)
{
    return amount_print(ms, time_units, TIME_UNIT_COUNT, out, size);
}

/* "size", "1KiB to 1MiB" and so on. */
static void range_print(const struct setting_info *info, char *out, size_t size)
{
    char least[32];
    char most[32];
    unsigned long long min = info->min;
    unsigned long long max = info->max;
    if (info->type == SETTING_SIZE) {
        (void)snprintf(out, size, "size, %s to %s", setting_size_print(min, least, sizeof least),
                       setting_size_print(max, most, sizeof most));
    } else if (info->type == SETTING_TIME) {
        (void)snprintf(out, size, "time, %s to %s", setting_time_print(min, least, sizeof least),
                       setting_time_print(max, most, sizeof most));
    } else {
        const char *or_auto = strcmp(info->text, "auto") == 0 ? ", or auto" : "";
        (void)snprintf(out, size, "number, %llu to %llu%s", min, max, or_auto);
    }
}

static void entries_print(const struct setting_info *info, const char *what, char *out, size_t size)
{
    unsigned long long min = info->min;
    unsigned long long max = info->max;
    if (min > 0)
        (void)snprintf(out, size, "%s, comma-separated, %llu to %llu", what, min, max);
    else
        (void)snprintf(out, size, "%s, comma-separated, at most %llu; may be empty", what, max);
}

static void choices_print(const char *choices, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (const char *word = choices; *word != '\0' && at < size;) {
        int len = (int)strcspn(word, "|");
        const char *comma = word == choices ? "" : word[len] == '|' ? ", " : " or ";
        at += (size_t)snprintf(out + at, size - at, "%s%.*s", comma, len, word);
        word += word[len] == '|' ? len + 1 : len;
    }
}

const char *setting_value_allowed(const struct setting_info *info, char *out, size_t size)
{
    switch (info->type) {
    case SETTING_BOOL:
        (void)snprintf(out, size, "on or off (also true, false, yes, no)");
        break;
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        range_print(info, out, size);
        break;
    case SETTING_TEXT:
        (void)snprintf(out, size, "text; may be empty");
        break;
    case SETTING_LIST:
        entries_print(info, "list", out, size);
        break;
    case SETTING_PREFIXES:
        entries_print(info, "addresses and prefixes such as 192.0.2.0/24", out, size);
        break;
    case SETTING_PORTS:
        entries_print(info, "ports 1 to 65535 and ranges such as 8080-8090", out, size);
        break;
    case SETTING_CHOICE:
        choices_print(info->choices, out, size);
        break;
    }
    return out;
}

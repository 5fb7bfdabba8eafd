/*
 * fuzz_properties.c - any octets as a configuration file, and its values as values of every type.
 */
#include "conf/properties.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "conf/setting_values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct setting_info infos[] = {
    {.type = SETTING_BOOL, .text = "on"},
    {.type = SETTING_NUMBER, .text = "auto", .max = 65535},
    {.type = SETTING_SIZE, .text = "1K", .min = 1024, .max = 1048576},
    {.type = SETTING_TIME, .text = "1s", .min = 100, .max = 86400000},
    {.type = SETTING_TEXT, .text = ""},
    {.type = SETTING_LIST, .text = "", .max = 64},
    {.type = SETTING_PREFIXES, .text = "", .max = 64},
    {.type = SETTING_PORTS, .text = "", .max = 64},
    {.type = SETTING_CHOICE, .text = "match", .choices = "match|strict|off"},
};

static void on_error(void *arg, const char *file, unsigned line, const char *message)
{
    size_t *count = arg;
    assert(file != NULL && *message != '\0');
    (void)line;
    ++*count;
}

/* A value is accepted in range and without a word, or refused with one. */
static void value_check(const struct setting_info *info, const char *text)
{
    struct settings_errors e = {0};
    union setting_value v;
    int rc = setting_value_parse(&v, info, text, &e, "f:1: k");
    assert((rc == 0) == (e.count == 0));
    if (rc == 0 && (info->type == SETTING_SIZE || info->type == SETTING_TIME))
        assert(v.number >= info->min && v.number <= info->max);
    if (rc == 0 && info->type == SETTING_LIST) {
        assert(v.list.count <= info->max);
        for (size_t i = 0; i < v.list.count; i++)
            assert(*v.list.item[i] != '\0' && *v.list.item[i] != ' ');
    }
    if (rc == 0) {
        assert(setting_value_same(info->type, &v, &v));
        setting_value_free(info->type, &v);
    }
    for (size_t i = 0; i < e.count; i++)
        assert(strpbrk(e.line[i], "\n\r\x1b") == NULL);
    settings_errors_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct properties p;
    size_t mistakes = 0;
    int rc = properties_parse(&p, "f", (const char *)data, size, on_error, &mistakes);
    assert((rc == 0) == (mistakes == 0));
    assert(p.count <= PROPERTIES_ENTRIES_MAX);
    unsigned line = 0;
    for (size_t i = 0; i < p.count; i++) {
        assert(p.item[i].line > line);
        line = p.item[i].line;
        for (size_t t = 0; t < sizeof infos / sizeof *infos; t++)
            value_check(&infos[t], p.item[i].value);
    }
    properties_free(&p);
    return 0;
}

#include "proxy/wire/binding.h"

#include <string.h>
#include <strings.h>

static bool starts_with_scheme(struct span text)
{
    static const struct span schemes[] = {{"NTLM", 4}, {"Negotiate", 9}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = schemes[i].len;
        if (text.len >= len && strncasecmp(text.ptr, schemes[i].ptr, len) == 0 &&
            (text.len == len || text.ptr[len] == ' ' || text.ptr[len] == ','))
            return true;
    }
    return false;
}

/*
 * A list of challenges, whose parameters are separated by commas as well (RFC 9110 section 11.6.1):
 * a member that begins like such a scheme is taken for one, at worst for no reason.
 */
static bool names_scheme(struct span list)
{
    while (list.len > 0) {
        while (list.len > 0 && (*list.ptr == ' ' || *list.ptr == '\t' || *list.ptr == ','))
            list = (struct span){list.ptr + 1, list.len - 1};
        if (starts_with_scheme(list))
            return true;
        const char *comma = list.len > 0 ? memchr(list.ptr, ',', list.len) : NULL;
        size_t used = comma != NULL ? (size_t)(comma - list.ptr) : list.len;
        list = (struct span){list.ptr + used, list.len - used};
    }
    return false;
}

bool binding_is_meant(const struct head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct head_field *f = &head->field[i];
        if ((span_is_nocase(f->name, SPAN("Authorization")) ||
             span_is_nocase(f->name, SPAN("WWW-Authenticate"))) &&
            names_scheme(f->value))
            return true;
    }
    return false;
}

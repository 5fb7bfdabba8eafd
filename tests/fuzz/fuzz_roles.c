/*
 * fuzz_roles.c - any roles.properties, and whose role an identity then has.
 *
 * Input: a file; behind a line "?", identities that are asked for, one a line. Oracle: a plain
 * comparison with every name and pattern in turn gives the same role as the table, and never two.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "allowlist/roles.h"
#include "conf/roles_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TAKEN_MAX = 512 };

/* What was taken, as it stood in the file. */
static struct taken {
    const char *text;
    size_t place;
} taken[TAKEN_MAX];
static size_t taken_count;

static void on_error(void *arg, const char *file, unsigned line, const char *message)
{
    (void)arg, (void)file, (void)line;
    assert(*message != '\0');
}

/* ---- the plain comparison ---- */

/* From `from` up to `to`, one or more of these octets, and no dot without neighbours in the name.
 */
static bool is_star(const char *name, size_t from, size_t to)
{
    static const char octets[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
    for (size_t i = from; i < to; i++) {
        if (strchr(octets, name[i]) == NULL)
            return false;
        if (name[i] == '.' &&
            (i == 0 || name[i - 1] == '.' || name[i + 1] == '.' || name[i + 1] == '\0'))
            return false;
    }
    return from < to;
}

static bool matches(const char *text, const char *name)
{
    size_t len = strlen(text), n = strlen(name);
    const char *star = strchr(text, '*');
    if (star == NULL)
        return strcmp(text, name) == 0;
    if (n < len)
        return false;
    if (star == text)
        return strcmp(name + n - (len - 1), text + 1) == 0 && is_star(name, 0, n - (len - 1));
    return strncmp(name, text, len - 1) == 0 && is_star(name, len - 1, n);
}

/* The place of the role; SIZE_MAX: none. */
static size_t plain_role(const char *name)
{
    size_t best = SIZE_MAX, length = 0;
    for (size_t i = 0; i < taken_count; i++) {
        const char *text = taken[i].text;
        bool exact = strchr(text, '*') == NULL;
        if (!matches(text, name))
            continue;
        size_t weight = exact ? SIZE_MAX : strlen(text);
        assert(weight != length || taken[i].place == best); /* nobody has two */
        if (weight > length) {
            best = taken[i].place;
            length = weight;
        }
    }
    return best;
}

static void ask(const struct roles *r, const char *name)
{
    size_t wanted = strlen(name) <= ROLE_IDENTITY_MAX ? plain_role(name) : SIZE_MAX;
    const struct role *found = roles_of(r, name);
    if (wanted == SIZE_MAX)
        assert(found == NULL);
    else
        assert(found == roles_at(r, wanted));
}

/* A name, and what is near to it. */
static void ask_around(const struct roles *r, const char *text)
{
    char name[ROLE_IDENTITY_MAX + 16];
    size_t len = strlen(text);
    ask(r, text);
    if (len == 0 || len > ROLE_IDENTITY_MAX)
        return;
    memcpy(name, text, len + 1);
    name[len - 1] = '\0';
    ask(r, name);
    memcpy(name + len - 1, "x.y", 4); /* in place of a star behind */
    ask(r, name);
    name[0] = 'a'; /* and before */
    memcpy(name + 1, text + 1, len);
    ask(r, name);
}

/* ---- the file ---- */

static struct policy *policy_new(void)
{
    struct policy_options o = {.rules = rules_create()};
    struct policy *p = policy_create(&o);
    assert(p != NULL);
    return p;
}

static void add(struct roles *r, const struct role_settings *from)
{
    struct role role = {0};
    size_t place;
    memcpy(role.name, from->name, sizeof from->name);
    assert(role_name_is_valid(span_of(role.name)));
    int rc = roles_add(r, &role, policy_new(), &place);
    assert(rc == 0);
    for (size_t i = 0; i < from->identities.count && taken_count < TAKEN_MAX; i++) {
        const char *text = from->identities.item[i], *why = NULL;
        const struct role *other;
        rc = roles_add_identity(r, place, span_of(text), &why, &other);
        assert((rc != 0) == (why != NULL) && (rc == 0 || rc == -EINVAL));
        if (rc == 0)
            taken[taken_count++] = (struct taken){text, place};
    }
}

static void ask_lines(const struct roles *r, const char *at, const char *end)
{
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((line_end != NULL ? line_end : end) - at);
        char *name = strndup(at, len);
        assert(name != NULL);
        ask_around(r, name);
        free(name);
        at += len + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = text + size;
    const char *mark = size > 0 ? memmem(text, size, "\n?\n", 3) : NULL;
    struct settings_errors e = {0};
    struct roles_file f = {0};
    struct properties p;
    struct roles *r = roles_create();
    assert(r != NULL);
    taken_count = 0;
    (void)properties_parse(&p, "r", text, (size_t)((mark != NULL ? mark : end) - text), on_error,
                           NULL);
    for (size_t i = 0; i < p.count; i++) {
        int rc = roles_file_apply(&f, "r", &p.item[i], &e);
        assert(rc == 0);
    }
    for (size_t i = 0; i < e.count; i++)
        assert(strpbrk(e.line[i], "\n\r\x1b") == NULL);
    assert(f.count <= ROLES_FILE_ROLES_MAX);
    for (size_t i = 0; i < f.count; i++)
        add(r, &f.role[i]);
    for (size_t i = 0; i < taken_count; i++)
        ask_around(r, taken[i].text);
    if (mark != NULL)
        ask_lines(r, mark + 3, end);
    roles_destroy(r);
    roles_file_free(&f);
    settings_errors_free(&e);
    properties_free(&p);
    return 0;
}

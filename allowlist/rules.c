#include "allowlist/rules.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

struct rule {
    char *text;       /* owned; "*.name" of a domain, else the host */
    uint32_t hash;    /* of the name */
    bool domain;      /* and everything below it */
    unsigned name_at; /* where the name begins in `text` */
};

struct rules {
    struct rule *list; /* in the order added */
    size_t count, cap;
    uint32_t *slots;   /* open addressing: index into `list` plus one, 0 is free */
    size_t slot_count; /* a power of two, more than twice `count` */
};

enum { SLOTS_FIRST = 64, LIST_FIRST = 16 };

static int refuse(const char **why, const char *text, int rc)
{
    if (why != NULL)
        *why = text;
    return rc;
}

/*
 * FNV-1a over the name from its last octet to its first: one pass over a long name then meets the
 * hash of each of its parents on the way.
 */
static const uint32_t hash_start = 2166136261U;

static uint32_t hash_step(uint32_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 16777619U;
}

static size_t hash_slot(const struct rules *r, uint32_t hash)
{
    return (hash ^ (hash >> 15)) & (r->slot_count - 1);
}

static bool rule_is(const struct rule *rule, const char *name, uint32_t hash, bool domain)
{
    return rule->hash == hash && rule->domain == domain &&
           strcmp(rule->text + rule->name_at, name) == 0;
}

/* `name` ends with NUL, as every suffix of a canonical name does. */
static bool rules_have(const struct rules *r, const char *name, uint32_t hash, bool domain)
{
    if (r->slot_count == 0)
        return false;
    for (size_t i = hash_slot(r, hash); r->slots[i] != 0; i = (i + 1) & (r->slot_count - 1)) {
        if (rule_is(&r->list[r->slots[i] - 1], name, hash, domain))
            return true;
    }
    return false;
}

static void slot_take(struct rules *r, size_t index)
{
    size_t i = hash_slot(r, r->list[index].hash);
    while (r->slots[i] != 0)
        i = (i + 1) & (r->slot_count - 1);
    r->slots[i] = (uint32_t)(index + 1);
}

/* Keeps at least half of the slots free, so that a search ends soon. */
static int slots_grow(struct rules *r)
{
    if ((r->count + 1) * 2 < r->slot_count)
        return 0;
    size_t slot_count = r->slot_count == 0 ? SLOTS_FIRST : r->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    free(r->slots);
    r->slots = slots;
    r->slot_count = slot_count;
    for (size_t i = 0; i < r->count; i++)
        slot_take(r, i);
    return 0;
}

static int list_grow(struct rules *r)
{
    if (r->count < r->cap)
        return 0;
    size_t cap = r->cap == 0 ? LIST_FIRST : r->cap * 2;
    if (cap > UINT32_MAX / 4)
        return -ENOMEM;
    struct rule *list = realloc(r->list, cap * sizeof *list);
    if (list == NULL)
        return -ENOMEM;
    r->list = list;
    r->cap = cap;
    return 0;
}

static int rule_add(struct rules *r, const char *name, bool domain, const char **why)
{
    size_t len = strlen(name);
    struct rule rule = {.hash = hash_start, .domain = domain, .name_at = domain ? 2 : 0};
    for (size_t i = len; i-- > 0;)
        rule.hash = hash_step(rule.hash, name[i]);
    if (rules_have(r, name, rule.hash, domain))
        return 0;
    if (list_grow(r) != 0 || slots_grow(r) != 0)
        return refuse(why, "out of memory", -ENOMEM);
    rule.text = malloc(rule.name_at + len + 1);
    if (rule.text == NULL)
        return refuse(why, "out of memory", -ENOMEM);
    memcpy(rule.text, "*.", rule.name_at);
    memcpy(rule.text + rule.name_at, name, len + 1);
    r->list[r->count] = rule;
    slot_take(r, r->count);
    r->count++;
    return 0;
}

struct rules *rules_create(void)
{
    return calloc(1, sizeof(struct rules));
}

void rules_destroy(struct rules *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->list[i].text);
    free(r->list);
    free(r->slots);
    free(r);
}

int rules_add_domain(struct rules *r, struct span text, const char **why)
{
    if (span_is(text, SPAN("*")) || span_is(text, SPAN("*.")))
        return refuse(why, "a rule for every host is not possible: name the domains of the CAs",
                      -EINVAL);
    struct span rest = text;
    if (text.len > 2 && memcmp(text.ptr, "*.", 2) == 0)
        rest = (struct span){text.ptr + 2, text.len - 2};
    else if (text.len > 1 && text.ptr[0] == '.')
        rest = (struct span){text.ptr + 1, text.len - 1};

    struct hostname name;
    int rc = hostname_parse(&name, rest, why);
    if (rc != 0)
        return rc;
    if (name.kind != HOST_NAME)
        return refuse(why, "an IP address is not a domain: list it in allowed.hosts", -EINVAL);
    /* Which top-level labels are public changes with the years: none may be opened as a whole. */
    if (strchr(name.text, '.') == NULL)
        return refuse(why,
                      "a top-level label alone is too wide: name a domain below it, or list one "
                      "host in allowed.hosts",
                      -EINVAL);
    return rule_add(r, name.text, true, why);
}

int rules_add_host(struct rules *r, struct span text, const char **why)
{
    if (text.len > 0 && (text.ptr[0] == '*' || text.ptr[0] == '.'))
        return refuse(why, "a host is one exact name: wildcards belong in allowed.domains",
                      -EINVAL);
    struct hostname host;
    int rc = hostname_parse(&host, text, why);
    return rc != 0 ? rc : rule_add(r, host.text, false, why);
}

bool rules_allow(const struct rules *r, const struct hostname *host)
{
    uint32_t hash = hash_start;
    for (size_t i = strlen(host->text); i-- > 0;) {
        hash = hash_step(hash, host->text[i]);
        /* Only whole labels: evildigicert.com ends like digicert.com and is not below it. */
        bool label_start = i > 0 && host->text[i - 1] == '.';
        if (host->kind == HOST_NAME && (i == 0 || label_start) &&
            rules_have(r, host->text + i, hash, true))
            return true;
    }
    return rules_have(r, host->text, hash, false);
}

size_t rules_count(const struct rules *r)
{
    return r->count;
}

const char *rules_text(const struct rules *r, size_t i)
{
    return i < r->count ? r->list[i].text : NULL;
}

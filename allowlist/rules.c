#include "allowlist/rules.h"

#include <errno.h>
#include <stdlib.h>

#include "allowlist/name_index.h"

enum rule_kind { RULE_HOST, RULE_DOMAIN /* and everything below it */ };

struct rules {
    struct name_index index; /* texts as they are shown: "*.name" of a domain, else the host */
};

static int refuse(const char **why, const char *text, int rc)
{
    if (why != NULL)
        *why = text;
    return rc;
}

static int rule_add(struct rules *r, const struct hostname *host, enum rule_kind kind,
                    const char **why)
{
    char text[HOSTNAME_MAX + 3] = "*.";
    struct span name = span_of(host->text);
    struct name_entry e = {
        .name = {text + 2, name.len}, .hash = name_hash_start, .kind = (unsigned)kind};
    for (size_t i = name.len; i-- > 0;)
        e.hash = name_hash_step(e.hash, name.ptr[i]);
    if (name_index_find(&r->index, e.kind, name, e.hash) != NULL)
        return 0;
    memcpy(text + 2, name.ptr, name.len);
    struct span shown =
        kind == RULE_DOMAIN ? (struct span){text, name.len + 2} : (struct span){text + 2, name.len};
    if (name_index_add(&r->index, shown, &e) != 0)
        return refuse(why, "out of memory", -ENOMEM);
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
    name_index_release(&r->index);
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
    return rule_add(r, &name, RULE_DOMAIN, why);
}

int rules_add_host(struct rules *r, struct span text, const char **why)
{
    if (text.len > 0 && (text.ptr[0] == '*' || text.ptr[0] == '.'))
        return refuse(why, "a host is one exact name: wildcards belong in allowed.domains",
                      -EINVAL);
    struct hostname host;
    int rc = hostname_parse(&host, text, why);
    return rc != 0 ? rc : rule_add(r, &host, RULE_HOST, why);
}

bool rules_allow(const struct rules *r, const struct hostname *host)
{
    /* From the last octet to the first: the hash of each of the name's parents is met on the way.
     */
    uint32_t hash = name_hash_start;
    struct span whole = span_of(host->text);
    const char *end = whole.ptr + whole.len;
    char dot = host->kind == HOST_NAME ? '.' : '\0'; /* an address has no parents */
    for (const char *at = end; at > whole.ptr; at--) {
        /* Only whole labels: evildigicert.com ends like digicert.com and is not below it. */
        struct span parent = {at, (size_t)(end - at)};
        if (at[-1] == dot && name_index_find(&r->index, RULE_DOMAIN, parent, hash) != NULL)
            return true;
        hash = name_hash_step(hash, at[-1]);
    }
    return (dot != '\0' && name_index_find(&r->index, RULE_DOMAIN, whole, hash) != NULL) ||
           name_index_find(&r->index, RULE_HOST, whole, hash) != NULL;
}

size_t rules_count(const struct rules *r)
{
    return r->index.count;
}

const char *rules_text(const struct rules *r, size_t i)
{
    return i < r->index.count ? r->index.entry[i].text : NULL;
}

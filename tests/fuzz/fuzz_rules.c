/*
 * fuzz_rules.c - a configuration and questions: lines "d domain", "h host" and "? host".
 *
 * Oracle: a plain comparison with every rule's text in turn gives the same answer as the hash set.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "allowlist/rules.h"

/* The rule as rules_text() prints it: "*.name" is name and what ends in .name, all else is that
 * host. */
static bool rule_matches(const char *rule, const struct hostname *host)
{
    if (strncmp(rule, "*.", 2) != 0)
        return strcmp(rule, host->text) == 0;
    size_t below = strlen(rule) - 1, len = strlen(host->text);
    if (host->kind != HOST_NAME)
        return false;
    return strcmp(rule + 2, host->text) == 0 ||
           (len > below && strcmp(host->text + len - below, rule + 1) == 0);
}

static void check_question(const struct rules *r, struct span text)
{
    struct hostname host;
    if (hostname_parse(&host, text, NULL) != 0)
        return;
    bool wanted = false;
    for (size_t i = 0; i < rules_count(r) && !wanted; i++)
        wanted = rule_matches(rules_text(r, i), &host);
    if (rules_allow(r, &host) != wanted) {
        (void)fprintf(stderr, "\"%s\" is %s\n", host.text, wanted ? "refused" : "allowed");
        abort();
    }
}

static void check_added(const struct rules *r, size_t before, int rc)
{
    bool fine = rc == 0 ? rules_count(r) <= before + 1 : rules_count(r) == before;
    if (!fine)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rules *r = rules_create();
    const char *at = (const char *)data, *end = at + size;
    while (r != NULL && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            line_end = end;
        size_t before = rules_count(r);
        struct span rest = {line_end - at > 2 ? at + 2 : "",
                            line_end - at > 2 ? (size_t)(line_end - at - 2) : 0};
        if (at < line_end && *at == 'd')
            check_added(r, before, rules_add_domain(r, rest, NULL));
        else if (at < line_end && *at == 'h')
            check_added(r, before, rules_add_host(r, rest, NULL));
        else
            check_question(r, rest);
        at = line_end + 1;
    }
    rules_destroy(r);
    return 0;
}

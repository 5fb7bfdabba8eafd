#include "proxy/net/dns_pair.h"

#include <stdlib.h>

void dns_pair_init(struct dns_pair *p)
{
    *p = (struct dns_pair){.half = {[DNS_V6] = {.outcome = OUTCOME_DNS_TIMEOUT},
                                    [DNS_V4] = {.outcome = OUTCOME_DNS_TIMEOUT}}};
}

void dns_pair_clear(struct dns_pair *p)
{
    free(p->half[DNS_V6].address);
    free(p->half[DNS_V4].address);
    dns_pair_init(p);
}

void dns_pair_store(struct dns_pair *p, enum dns_half_index i, const struct resolved *found,
                    uint64_t expires_ms)
{
    struct dns_half *h = &p->half[i];
    free(h->address);
    *h = (struct dns_half){.outcome = found->outcome, .expires_ms = expires_ms};
    if (found->outcome != OUTCOME_OK)
        return;
    h->address = calloc(found->count, sizeof *h->address);
    if (h->address == NULL) {
        h->outcome = OUTCOME_DNS_FAILED;
        return;
    }
    for (size_t k = 0; k < found->count; k++) {
        if (found->address[k].sa.sa_family == dns_half_family(i))
            h->address[h->count++] = found->address[k];
    }
    if (h->count == 0)
        h->outcome = OUTCOME_DNS_NOT_FOUND;
}

bool dns_pair_has_address(const struct dns_pair *p)
{
    return p->half[DNS_V6].count > 0 || p->half[DNS_V4].count > 0;
}

static bool either(const struct dns_pair *p, enum outcome outcome)
{
    return p->half[DNS_V6].outcome == outcome || p->half[DNS_V4].outcome == outcome;
}

/* "Not found" only when both halves say so: it is the one that nobody expects to pass by itself. */
static enum outcome pair_outcome(const struct dns_pair *p)
{
    if (either(p, OUTCOME_OK))
        return OUTCOME_OK;
    if (either(p, OUTCOME_DNS_FAILED))
        return OUTCOME_DNS_FAILED;
    return either(p, OUTCOME_DNS_TIMEOUT) ? OUTCOME_DNS_TIMEOUT : OUTCOME_DNS_NOT_FOUND;
}

static void add(struct resolved *answer, const struct dns_half *h, size_t k)
{
    if (k < h->count && answer->count < RESOLVER_ADDRESSES_MAX)
        answer->address[answer->count++] = h->address[k];
}

void dns_pair_answer(const struct dns_pair *p, struct resolved *answer)
{
    answer->outcome = pair_outcome(p);
    answer->count = 0;
    for (size_t k = 0; k < p->half[DNS_V6].count || k < p->half[DNS_V4].count; k++) {
        add(answer, &p->half[DNS_V6], k);
        add(answer, &p->half[DNS_V4], k);
    }
}

uint64_t dns_pair_expires_ms(const struct dns_pair *p)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < DNS_HALVES; i++) {
        const struct dns_half *h = &p->half[i];
        if (h->count > 0 && h->expires_ms < first)
            first = h->expires_ms;
    }
    return first;
}

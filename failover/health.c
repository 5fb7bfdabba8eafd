#include "failover/health.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

void health_init(struct health *h)
{
    *h = (struct health){.state = MEMBER_UNKNOWN};
}

static void count(unsigned *counter)
{
    if (*counter < UINT_MAX)
        (*counter)++;
}

static void note_good(struct health *h, const struct health_rule *rule)
{
    h->bad = 0;
    count(&h->good);
    /* Nothing speaks against one that we have never met. */
    if (h->state == MEMBER_UNKNOWN || h->good >= rule->rise)
        h->state = MEMBER_UP;
}

static void note_bad(struct health *h, const struct health_rule *rule)
{
    h->good = 0;
    count(&h->bad);
    if (h->bad >= rule->fall)
        h->state = MEMBER_DOWN;
}

bool health_note(struct health *h, const struct health_rule *rule, enum health_sign sign)
{
    enum member_state before = h->state;
    assert(rule->rise > 0 && rule->fall > 0);
    switch (sign) {
    case HEALTH_READY:
        note_good(h, rule);
        break;
    case HEALTH_LEAVING:
        h->good = h->bad = 0;
        h->state = MEMBER_DRAINING;
        break;
    case HEALTH_NOT_READY:
    case HEALTH_SILENT:
        note_bad(h, rule);
        break;
    }
    return h->state != before;
}

static bool contains(struct span text, struct span word)
{
    return memmem(text.ptr, text.len, word.ptr, word.len) != NULL;
}

enum health_sign health_read(unsigned status, struct span body)
{
    if (status == 200)
        return HEALTH_READY;
    if (status == 503 && body.len > 0 &&
        (contains(body, SPAN("shutting down")) || contains(body, SPAN("draining"))))
        return HEALTH_LEAVING;
    return HEALTH_NOT_READY;
}

uint64_t health_pause_ms(uint64_t interval_ms, uint32_t random)
{
    return interval_ms - random % (interval_ms / 5 + 1);
}

/*
 * fuzz_roster.c - any octets for a roster document: refused with a place and a reason, or a roster
 * that we could have written ourselves.
 *
 * Input: the document. Oracle: what was read, written as a document of ours and read again, is the
 * same; what the strict scan has passed, cJSON takes (memory is never out here).
 */
#include "failover/document_read.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "failover/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct policy *policy_get(void)
{
    static const struct port_range connect[] = {{443, 443}}, http[] = {{80, 80}};
    static struct policy *kept;
    if (kept == NULL) {
        struct rules *rules = rules_create();
        assert(rules != NULL && rules_add_domain(rules, SPAN("digicert.com"), NULL) == 0);
        struct policy_options o = {.rules = rules,
                                   .connect_ports = connect,
                                   .connect_port_count = 1,
                                   .http_ports = http,
                                   .http_port_count = 1};
        kept = policy_create(&o);
        assert(kept != NULL);
    }
    return kept;
}

/* "place: reason" in one line that any terminal bears. */
static void check_fault(const char *fault)
{
    assert(fault[0] != '\0');
    const char *colon = strstr(fault + 1, ": "); /* a place may be called ": " */
    assert(colon != NULL && colon[2] != '\0');
    assert(strlen(fault) < DOCUMENT_FAULT_MAX);
    for (; *fault != '\0'; fault++)
        assert(*fault >= ' ' && *fault <= '~');
}

static void check_same(const struct member *a, const struct member *b)
{
    assert(a->protocol == b->protocol && a->port == b->port && a->state == b->state);
    assert(a->tls_port == b->tls_port);
    assert(a->weight == b->weight && a->self == b->self && a->started == b->started);
    assert(strcmp(a->host, b->host) == 0 && strcmp(a->zone, b->zone) == 0);
    assert(a->priority == b->priority && strcmp(a->version, b->version) == 0);
    /* Documents tell loads in steps. */
    assert((a->load == ROSTER_LOAD_UNKNOWN) == (b->load == ROSTER_LOAD_UNKNOWN));
    assert(a->load == ROSTER_LOAD_UNKNOWN || (a->load <= b->load + 50 && b->load <= a->load + 50));
}

/* Draining members may stand elsewhere than in the order of preference. */
static const struct member *find_same(const struct roster *r, const struct member *m)
{
    for (size_t i = 0; i < roster_count(r); i++) {
        const struct member *other = roster_member(r, i);
        if (other->protocol == m->protocol && other->port == m->port &&
            strcmp(other->host, m->host) == 0)
            return other;
    }
    return NULL;
}

static void check_round_trip(const struct document_content *c)
{
    struct document_options o = {.identifier = c->identifier,
                                 .zone = "",
                                 .version = "0",
                                 .roster = c->roster,
                                 .policy = policy_get(),
                                 .ttl_seconds = 1,
                                 .now = c->expires - 1};
    struct document d;
    struct document_content again;
    char fault[DOCUMENT_FAULT_MAX];
    assert(c->expires >= -86400 && c->expires <= INT64_C(253402300800) + 86400);
    assert(roster_count(c->roster) <= ROSTER_MEMBERS_MAX);
    /* Years that four digits do not hold come of time zones at their two ends only. */
    if (o.now < 0 || o.now > INT64_C(253402300700))
        o.now = 0;
    assert(document_pvd(&d, &o) == 0);
    assert(document_read(&again, (struct span){d.text, d.length}, fault) == 0);
    assert(strcmp(again.identifier, c->identifier) == 0);
    assert(again.expires == o.now + 1);
    assert(roster_count(again.roster) == roster_count(c->roster));
    for (size_t i = 0; i < roster_count(c->roster); i++) {
        const struct member *other = find_same(again.roster, roster_member(c->roster, i));
        assert(other != NULL);
        check_same(other, roster_member(c->roster, i));
    }
    roster_unref(again.roster);
    document_release(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct document_content c;
    char fault[DOCUMENT_FAULT_MAX];
    int rc = document_read(&c, (struct span){(const char *)data, size}, fault);
    if (rc == 0) {
        assert(fault[0] == '\0');
        check_round_trip(&c);
        roster_unref(c.roster);
    } else {
        assert(rc == -EINVAL && c.roster == NULL);
        check_fault(fault);
    }
    return 0;
}

#include "failover/select.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMOOTHING = 4,           /* a new connect time counts for a quarter */
    SLOW_FACTOR = 2,         /* slower than the fastest by this and by the margin is slow */
    SLOW_MARGIN_US = 5000,   /* below it networks do not differ, only moments */
    KEEP_FACTOR = 3,         /* who is first already may be so much slower, so that two */
    KEEP_MARGIN_US = 10000,  /* of about the same time do not take turns */
    SUSPICION_MS = 1000,     /* one sensor is not measured more often than that on suspicion */
    SETTLING_LEAST_MS = 1000 /* nor while it settles */
};

struct sensor {
    bool measured;
    enum select_verdict verdict; /* of the last measurement */
    unsigned failures;           /* in a row */
    bool settling;               /* has been broken or busy and is not stable yet */
    uint64_t good_since_ms;      /* the first good measurement behind the last bad one */
    uint64_t measured_ms;
    uint64_t connect_us; /* smoothed; 0 unknown */
    uint64_t due_ms;
    bool under_way;
    uint64_t score; /* our lot among equals: the least goes first */
};

struct selector {
    struct select_options options;
    uint64_t seed, random;
    struct roster *roster; /* counted; NULL at first */
    struct sensor *sensor; /* owned; one for each member */
    size_t first;          /* in use: the first of the last order */
    size_t second;
};

/* ---- chance ---- */

/* splitmix64: each step of a counter becomes 64 even bits. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* 0.75 to 1.25 of it, so that agents started together do not ask together. */
static uint64_t jittered(struct selector *s, uint64_t ms)
{
    s->random = mix(s->random);
    return ms - ms / 4 + (ms > 1 ? s->random % (ms / 2 + 1) : 0);
}

/*
 * The least of as many lots as it has weight: so among many agents each of several equals is first
 * as often as its weight says, and for one agent it is always the same one (rendezvous hashing).
 */
static uint64_t draw_score(const struct selector *s, const struct member *m)
{
    uint64_t key = mix(s->seed ^ m->port), best = UINT64_MAX;
    for (const char *c = m->host; *c != '\0'; c++)
        key = mix(key ^ (unsigned char)*c);
    for (unsigned lot = 1; lot <= m->weight; lot++) {
        uint64_t drawn = mix(key + lot);
        best = drawn < best ? drawn : best;
    }
    return best;
}

/* ---- life ---- */

struct selector *selector_create(const struct select_options *o, uint64_t seed)
{
    struct selector *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->options = *o;
        s->seed = mix(seed);
        s->random = mix(s->seed);
        s->first = s->second = SIZE_MAX;
    }
    return s;
}

void selector_destroy(struct selector *s)
{
    if (s == NULL)
        return;
    roster_unref(s->roster);
    free(s->sensor);
    free(s);
}

const struct roster *selector_roster(const struct selector *s)
{
    return s->roster;
}

static size_t count(const struct selector *s)
{
    return s->roster != NULL ? roster_count(s->roster) : 0;
}

static bool is_same(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static struct sensor *find(const struct selector *s, const struct member *m)
{
    for (size_t i = 0; i < count(s); i++) {
        if (is_same(roster_member(s->roster, i), m))
            return &s->sensor[i];
    }
    return NULL;
}

/* Where a member of the roster that is left stands in the new one. */
static size_t moved(const struct selector *s, size_t i, const struct roster *to)
{
    const struct member *m = i < count(s) ? roster_member(s->roster, i) : NULL;
    for (size_t at = 0; m != NULL && at < roster_count(to); at++) {
        if (is_same(roster_member(to, at), m))
            return at;
    }
    return SIZE_MAX;
}

int selector_use(struct selector *s, struct roster *r, uint64_t now_ms)
{
    size_t fresh = roster_count(r);
    struct sensor *sensor = calloc(fresh > 0 ? fresh : 1, sizeof *sensor);
    if (sensor == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < fresh; i++) {
        const struct member *m = roster_member(r, i);
        const struct sensor *known = find(s, m);
        if (known != NULL)
            sensor[i] = *known;
        else
            sensor[i].due_ms = now_ms;
        sensor[i].score = draw_score(s, m);
    }
    s->first = moved(s, s->first, r);
    s->second = moved(s, s->second, r);
    free(s->sensor);
    s->sensor = sensor;
    struct roster *before = s->roster;
    s->roster = roster_ref(r);
    roster_unref(before);
    return 0;
}

/* ---- order ---- */

enum class { WORKS, SETTLING, BUSY, BROKEN };

static enum class class_of(const struct selector *s, size_t i) {
    const struct sensor *n = &s->sensor[i];
    enum member_state told = roster_member(s->roster, i)->state;
    if (n->failures >= SELECT_FALL) return BROKEN;
    if ((n->measured && n->verdict == SELECT_BUSY) || told == MEMBER_DRAINING) return BUSY;
    /* That others cannot reach it need not be so for us: our own measurement outranks it. */
    if (told == MEMBER_DOWN && !(n->measured && n->verdict == SELECT_GOOD)) return BUSY;
    return n->settling ? SETTLING : WORKS;
}

/* What decides, in this order; the smaller goes first. */
struct rank {
    enum class class;
    bool far;
    unsigned priority;
    bool slow;
    uint64_t score;
    size_t index;
};

static int compare_wish(const struct rank *a, const struct rank *b)
{
    if (a->far != b->far)
        return a->far ? 1 : -1;
    if (a->priority != b->priority)
        return a->priority < b->priority ? -1 : 1;
    if (a->slow != b->slow)
        return a->slow ? 1 : -1;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* As we would like it if all worked. */
static int by_wish(const void *a, const void *b)
{
    return compare_wish(a, b);
}

static int by_rank(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->class != y->class)
        return x->class < y->class ? -1 : 1;
    return compare_wish(x, y);
}

static bool are_peers(const struct rank *a, const struct rank *b)
{
    return a->class == b->class && a->far == b->far && a->priority == b->priority;
}

/* Much slower than the fastest of those that are otherwise as good. */
static bool is_slow(const struct selector *s, const struct rank *ranks, size_t i)
{
    uint64_t fastest = UINT64_MAX, own = s->sensor[i].connect_us;
    for (size_t other = 0; other < count(s); other++) {
        uint64_t us = s->sensor[other].connect_us;
        if (us > 0 && us < fastest && are_peers(&ranks[other], &ranks[i]))
            fastest = us;
    }
    if (own == 0 || fastest == UINT64_MAX)
        return false;
    return i == s->first ? own > fastest * KEEP_FACTOR + KEEP_MARGIN_US
                         : own > fastest * SLOW_FACTOR + SLOW_MARGIN_US;
}

/* ranks[i] is of member i. */
static void fill_ranks(const struct selector *s, struct rank *ranks)
{
    bool zoned = s->options.zone[0] != '\0';
    for (size_t i = 0; i < count(s); i++) {
        const struct member *m = roster_member(s->roster, i);
        ranks[i] = (struct rank){
            .class = class_of(s, i),
            .far = zoned && strcmp(m->zone, s->options.zone) != 0,
            .priority = m->priority,
            .score = s->sensor[i].score,
            .index = i,
        };
    }
    for (size_t i = 0; i < count(s); i++)
        ranks[i].slow = is_slow(s, ranks, i);
}

size_t selector_order(struct selector *s, size_t *order)
{
    struct rank ranks[ROSTER_MEMBERS_MAX] = {0};
    size_t n = count(s);
    if (n == 0)
        return 0;
    fill_ranks(s, ranks);
    qsort(ranks, n, sizeof *ranks, by_rank);
    for (size_t i = 0; i < n; i++)
        order[i] = ranks[i].index;
    s->first = order[0];
    s->second = n > 1 ? order[1] : SIZE_MAX;
    return n;
}

size_t selector_usable(const struct selector *s)
{
    size_t usable = 0;
    for (size_t i = 0; i < count(s); i++)
        usable += class_of(s, i) <= SETTLING;
    return usable;
}

/* ---- measuring ---- */

/* With hundreds of sensors an agent has no business with most of them. */
static void fill_watched(const struct selector *s, bool *watched)
{
    struct rank ranks[ROSTER_MEMBERS_MAX] = {0};
    fill_ranks(s, ranks);
    qsort(ranks, count(s), sizeof *ranks, by_wish);
    for (size_t i = 0; i < count(s); i++) {
        size_t at = ranks[i].index;
        watched[at] = i < SELECT_WATCHED || at == s->first || at == s->second;
    }
}

const struct member *selector_due(struct selector *s, uint64_t now_ms, uint64_t *wait_ms)
{
    bool watched[ROSTER_MEMBERS_MAX] = {false};
    uint64_t next = now_ms + s->options.interval_ms;
    if (count(s) > 0)
        fill_watched(s, watched);
    for (size_t i = 0; i < count(s); i++) {
        struct sensor *n = &s->sensor[i];
        if (!watched[i] || n->under_way)
            continue;
        if (n->due_ms <= now_ms) {
            n->under_way = true;
            return roster_member(s->roster, i);
        }
        next = n->due_ms < next ? n->due_ms : next;
    }
    *wait_ms = next - now_ms;
    return NULL;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Until the next measurement behind this one. */
static uint64_t pause_ms(struct selector *s, const struct sensor *n)
{
    const struct select_options *o = &s->options;
    uint64_t settling = o->return_after_ms / SELECT_SETTLING;
    if (n->failures > 0) {
        unsigned doublings = n->failures - 1 < 20 ? n->failures - 1 : 20;
        return jittered(s, least(o->retry_ms << doublings, o->interval_ms));
    }
    if (n->settling)
        return least(settling > SETTLING_LEAST_MS ? settling : SETTLING_LEAST_MS, o->interval_ms);
    return jittered(s, o->interval_ms);
}

static void note_good(const struct selector *s, struct sensor *n, uint64_t connect_us,
                      uint64_t now_ms)
{
    bool was_good = n->measured && n->verdict == SELECT_GOOD;
    if (!was_good)
        n->good_since_ms = now_ms;
    n->settling = n->settling && now_ms - n->good_since_ms < s->options.return_after_ms;
    n->failures = 0;
    if (connect_us > 0 && n->connect_us > 0)
        n->connect_us = (n->connect_us * (SMOOTHING - 1) + connect_us) / SMOOTHING;
    else if (connect_us > 0)
        n->connect_us = connect_us;
}

void selector_tell(struct selector *s, const struct member *m, enum select_verdict verdict,
                   uint64_t connect_us, uint64_t now_ms)
{
    struct sensor *n = find(s, m);
    if (n == NULL)
        return;
    n->under_way = false;
    if (verdict == SELECT_GOOD) {
        note_good(s, n, connect_us, now_ms);
    } else if (verdict == SELECT_BUSY) {
        n->failures = 0;
        n->settling = true;
    } else if (++n->failures >= SELECT_FALL) {
        n->settling = true;
        n->connect_us = 0; /* it may come back elsewhere */
    }
    n->measured = true;
    n->verdict = verdict;
    n->measured_ms = now_ms;
    n->due_ms = now_ms + pause_ms(s, n);
}

void selector_put_off(struct selector *s, const struct member *m, uint64_t now_ms)
{
    struct sensor *n = find(s, m);
    if (n == NULL)
        return;
    n->under_way = false;
    n->due_ms = now_ms + s->options.interval_ms;
}

void selector_suspect(struct selector *s, const struct member *m, uint64_t now_ms)
{
    struct sensor *n = find(s, m);
    if (n == NULL || n->failures >= SELECT_FALL)
        return;
    uint64_t soon = n->measured ? n->measured_ms + SUSPICION_MS : now_ms;
    n->due_ms = least(n->due_ms, soon > now_ms ? soon : now_ms);
}

#include "failover/learn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover/document_read.h"
#include "failover/member_url.h"
#include "failover/signature.h"
#include "proxy/base/chance.h"
#include "proxy/base/log.h"

enum {
    LIFE_MIN_MS = 2 * LEARN_GAP_MS,
    REASON_MAX = 256,
    TAG_MAX = 160,
    TOLD_MAX = 16,
    FACTS_MAX = 16
};

#define PATH "/.well-known/pvd"

/* What a sensor has said of itself. */
struct facts {
    struct member sensor; /* as we know it; port 0: this place is free */
    struct member own;    /* its own entry */
};

/* A sensor's last trouble that stands in the log. */
struct told {
    struct member sensor;
    char reason[REASON_MAX]; /* "" none */
};

struct learner {
    uv_timer_t timer;
    struct fetcher *fetcher; /* borrowed */
    struct learn_options options;
    const struct member *(*turn)(void *arg, size_t n);
    void (*on_roster)(void *arg, struct roster *r);
    void *arg;
    struct roster *roster; /* counted */
    struct fetch *fetch;   /* borrowed; under way */
    struct member asked;   /* whom it asks */
    struct member tried[LEARN_ASKED_MAX];
    size_t tried_count; /* in this round */
    bool round_good;    /* one has given a good document */
    struct facts facts[FACTS_MAX];
    size_t facts_next;    /* the oldest */
    unsigned rounds_lost; /* in a row */
    uint64_t begun_ms;    /* when the last round began */
    time_t learned;
    struct member source; /* whose document we have; an ETag means something to its maker only */
    char etag[TAG_MAX];   /* "" none */
    time_t expires;
    struct told told[TOLD_MAX];
    size_t told_next; /* the oldest */
    size_t left_out;  /* members of the last document that were not believed */
};

/* ---- when ---- */

uint64_t learn_pause_ms(uint64_t life_ms, uint64_t random)
{
    uint64_t life = life_ms < LEARN_LIFE_MAX_MS ? life_ms : LEARN_LIFE_MAX_MS;
    life = life > LIFE_MIN_MS ? life : LIFE_MIN_MS;
    return life / 2 + random % (life - life / 2 + 1);
}

static void begin_round(struct learner *l);

static void on_timer(uv_timer_t *timer)
{
    begin_round(timer->data);
}

static uint64_t now_ms(const struct learner *l)
{
    return uv_now(l->timer.loop);
}

static void pause_until_next(struct learner *l, uint64_t ms)
{
    (void)uv_timer_start(&l->timer, on_timer, ms, 0);
}

/* ---- trouble: told when it is another than before, and when it is over ---- */

static bool is_same(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* What was told of the sensor that was asked, or room for it. */
static struct told *find_told(struct learner *l)
{
    struct told *place = &l->told[l->told_next];
    for (size_t i = 0; i < TOLD_MAX; i++) {
        if (l->told[i].reason[0] != '\0' && is_same(&l->told[i].sensor, &l->asked))
            return &l->told[i];
    }
    l->told_next = (l->told_next + 1) % TOLD_MAX;
    *place = (struct told){.sensor = l->asked};
    return place;
}

static void tell_trouble(struct learner *l, const char *reason)
{
    char text[REASON_MAX], url[MEMBER_URL_MAX];
    struct told *told = find_told(l);
    (void)snprintf(text, sizeof text, "%.*s", REASON_MAX - 1, reason);
    if (strcmp(text, told->reason) == 0)
        return;
    memcpy(told->reason, text, sizeof text);
    log_line(LOG_WARNING, "no roster from %s: %s; the one before stays in use",
             member_url(url, &l->asked, PATH), text);
}

static void tell_good(struct learner *l)
{
    char url[MEMBER_URL_MAX];
    for (size_t i = 0; i < TOLD_MAX; i++) {
        if (l->told[i].reason[0] == '\0' || !is_same(&l->told[i].sensor, &l->asked))
            continue;
        log_line(LOG_NOTICE, "%s gives a good roster again", member_url(url, &l->asked, PATH));
        l->told[i].reason[0] = '\0';
    }
}

static void tell_left_out(struct learner *l, const struct disbelieved *d)
{
    size_t all = d->strangers + d->ourselves + d->protocols;
    if (all != l->left_out && d->strangers > 0)
        log_line(LOG_WARNING,
                 "%zu members of the roster are not used: neither their hosts are those of our "
                 "sensors or below agent.domains nor is the roster signed by agent.signer",
                 d->strangers);
    if (all != l->left_out && d->ourselves > 0)
        log_line(LOG_WARNING, "the roster names this agent itself, which is not used");
    if (all != l->left_out && d->protocols > 0)
        log_line(LOG_WARNING, "%zu members of the roster are not used: they want TLS to the proxy",
                 d->protocols);
    l->left_out = all;
}

/* ---- one document ---- */

static void ask_next(struct learner *l);

static void take_roster(struct learner *l, struct roster *r)
{
    roster_unref(l->roster);
    l->roster = r;
    l->on_roster(l->arg, r);
}

static struct facts *find_facts(struct learner *l, const struct member *m)
{
    for (size_t i = 0; i < FACTS_MAX; i++) {
        if (l->facts[i].sensor.port != 0 && is_same(&l->facts[i].sensor, m))
            return &l->facts[i];
    }
    return NULL;
}

/* What the sensor that was asked says of itself, if only that it says nothing. */
static void note_facts(struct learner *l, const struct roster *told)
{
    struct facts *f = find_facts(l, &l->asked);
    if (f == NULL) {
        f = &l->facts[l->facts_next];
        l->facts_next = (l->facts_next + 1) % FACTS_MAX;
    }
    *f = (struct facts){.sensor = l->asked};
    for (size_t i = 0; i < roster_count(told); i++) {
        if (roster_member(told, i)->self)
            f->own = *roster_member(told, i);
    }
}

/* `told` with what its members have said of themselves. NULL when out of memory. */
static struct roster *add_facts(struct learner *l, const struct roster *told)
{
    struct roster *r = roster_create();
    int rc = r != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < roster_count(told); i++) {
        struct member m = *roster_member(told, i);
        const struct facts *f = m.zone[0] == '\0' ? find_facts(l, &m) : NULL;
        if (f != NULL && f->own.zone[0] != '\0') {
            memcpy(m.zone, f->own.zone, sizeof m.zone);
            m.priority = f->own.priority;
            m.weight = f->own.weight;
        }
        rc = roster_add(r, &m);
    }
    if (rc == 0)
        return r;
    roster_unref(r);
    return NULL;
}

/* NULL, or why nothing can be made of the members. */
static const char *take_members(struct learner *l, const struct roster *told, bool is_signed)
{
    struct disbelieved left_out;
    struct roster *believed = NULL;
    if (roster_count(told) == 0)
        return "it names nobody";
    note_facts(l, told);
    struct roster *whole = add_facts(l, told);
    int rc = whole == NULL
                 ? -ENOMEM
                 : believe_roster(&believed, whole, is_signed, &l->options.believe, &left_out);
    roster_unref(whole);
    if (rc != 0)
        return "out of memory";
    tell_left_out(l, &left_out);
    take_roster(l, believed);
    return NULL;
}

static bool is_seed(const struct learner *l, const struct member *m)
{
    const struct roster *seeds = l->options.believe.seeds;
    for (size_t i = 0; i < roster_count(seeds); i++) {
        if (is_same(roster_member(seeds, i), m))
            return true;
    }
    return false;
}

/*
 * By whom we trust. A signature that is wrong is worse than none. NULL, or why not. What a CA has
 * certified counts for the sensors of our command line only: a roster without a signature may name
 * any host below agent.domains, and not each that has a certificate is a sensor.
 */
static const char *check_signature(const struct learner *l, const struct fetch_result *result,
                                   bool *is_signed)
{
    const char *why = NULL;
    *is_signed = false;
    if (l->options.trust == NULL || result->field.len == 0)
        return NULL;
    const char *host = is_seed(l, &l->asked) ? l->asked.host : NULL;
    int rc =
        signature_verify(l->options.trust, result->body, result->field, host, time(NULL), &why);
    *is_signed = rc == 0;
    return rc == 0 ? NULL : why != NULL ? why : "its signature cannot be verified";
}

static const char *take_document(struct learner *l, const struct fetch_result *result)
{
    static char fault[DOCUMENT_FAULT_MAX];
    struct document_content content;
    bool is_signed;
    const char *why = check_signature(l, result, &is_signed);
    if (why != NULL)
        return why;
    int rc = document_read(&content, result->body, fault);
    if (rc != 0)
        return fault[0] != '\0' ? fault : "out of memory";
    if (content.expires <= time(NULL))
        why = "it has expired: is the clock right, here and there?";
    else
        why = take_members(l, content.roster, is_signed);
    roster_unref(content.roster);
    if (why != NULL)
        return why;
    l->source = l->asked;
    l->expires = content.expires;
    (void)snprintf(l->etag, sizeof l->etag, "%s", result->etag);
    return NULL;
}

static bool is_source(const struct learner *l, const struct member *m)
{
    return l->etag[0] != '\0' && is_same(&l->source, m);
}

/* The document that we have is still that of the sensor. NULL, or why that is no answer. */
static const char *take_unchanged(struct learner *l)
{
    if (!is_source(l, &l->asked))
        return "it answers 304 to a question without a condition";
    if (l->expires > time(NULL))
        return NULL;
    l->etag[0] = '\0'; /* whole the next time */
    return "it has expired and did not change";
}

static const char *take_answer(struct learner *l, const struct fetch_result *result)
{
    static char text[64];
    if (result->fault != NULL)
        return result->fault;
    if (result->status == 304)
        return take_unchanged(l);
    if (result->status == 200)
        return take_document(l, result);
    (void)snprintf(text, sizeof text, "it answers %u", result->status);
    return text;
}

static void on_answer(void *arg, const struct fetch_result *result)
{
    struct learner *l = arg;
    l->fetch = NULL;
    const char *why = take_answer(l, result);
    if (why != NULL) {
        tell_trouble(l, why);
    } else {
        tell_good(l);
        l->round_good = true;
        l->learned = time(NULL);
    }
    ask_next(l);
}

/* ---- asking ---- */

static bool ask(struct learner *l, const struct member *m)
{
    char url[MEMBER_URL_MAX], condition[TAG_MAX + 32];
    const char *fields[] = {"Accept: application/pvd+json", NULL, NULL};
    l->asked = *m;
    l->tried[l->tried_count++] = *m;
    if (is_source(l, m)) {
        (void)snprintf(condition, sizeof condition, "If-None-Match: %s", l->etag);
        fields[1] = condition;
    }
    struct fetch_request request = {
        .url = member_url(url, m, PATH),
        .fields = fields,
        .timeout_ms = l->options.timeout_ms,
        .octets_max = DOCUMENT_READ_OCTETS_MAX,
        .field = SIGNATURE_FIELD,
        .fresh = true,
        .on_done = on_answer,
        .arg = l,
    };
    l->fetch = fetch_start(l->fetcher, &request);
    return l->fetch != NULL;
}

/* Nobody gave a document: 10 s, 20 s ... up to five minutes, and up to half of it more by chance.
 */
static void lose_round(struct learner *l)
{
    unsigned doublings = l->rounds_lost < 16 ? l->rounds_lost : 16;
    uint64_t pause = (uint64_t)LEARN_GAP_MS << doublings;
    pause = pause < LEARN_RETRY_MAX_MS ? pause : LEARN_RETRY_MAX_MS;
    l->rounds_lost++;
    pause_until_next(l, pause + chance_number() % (pause / 2));
}

static void end_round(struct learner *l)
{
    time_t now = time(NULL);
    uint64_t life_ms = l->expires > now ? (uint64_t)(l->expires - now) * 1000 : 0;
    if (!l->round_good) {
        lose_round(l);
        return;
    }
    l->rounds_lost = 0;
    pause_until_next(l, learn_pause_ms(life_ms, chance_number()));
}

static bool was_tried(const struct learner *l, const struct member *m)
{
    for (size_t i = 0; i < l->tried_count; i++) {
        if (is_same(&l->tried[i], m))
            return true;
    }
    return false;
}

/* A member of the document, not only of the command line, of which nobody has told a zone. */
static bool is_unknown(struct learner *l, const struct member *m)
{
    return l->options.zoned && m->zone[0] == '\0' && m->priority != ROSTER_PRIORITY_MAX &&
           find_facts(l, m) == NULL;
}

static const struct member *find_next(struct learner *l, bool seeds_only)
{
    const struct member *m = NULL;
    for (size_t n = 0; l->tried_count < LEARN_ASKED_MAX && (m = l->turn(l->arg, n)) != NULL; n++) {
        if (!was_tried(l, m) && (!l->round_good || is_unknown(l, m)) &&
            (!seeds_only || is_seed(l, m)))
            break;
    }
    return m;
}

/* With a signer those first whose certificates count: the others may be more than we try. */
static void ask_next(struct learner *l)
{
    const struct member *m = l->options.trust != NULL ? find_next(l, true) : NULL;
    if (m == NULL)
        m = find_next(l, false);
    if (m == NULL || !ask(l, m))
        end_round(l);
}

static void begin_round(struct learner *l)
{
    l->tried_count = 0;
    l->round_good = false;
    l->begun_ms = now_ms(l);
    ask_next(l);
}

void learner_hurry(struct learner *l)
{
    if (l->fetch != NULL || l->rounds_lost > 0)
        return; /* on its way anyhow */
    uint64_t since = now_ms(l) - l->begun_ms;
    uint64_t soon = since < LEARN_GAP_MS ? LEARN_GAP_MS - since : 0;
    if (uv_timer_get_due_in(&l->timer) > soon)
        pause_until_next(l, soon);
}

/* ---- life ---- */

struct roster *learner_roster(const struct learner *l)
{
    return l->roster;
}

time_t learner_learned(const struct learner *l)
{
    return l->learned;
}

struct learner *learner_create(uv_loop_t *loop, struct fetcher *fetcher,
                               const struct learn_options *o,
                               const struct member *(*turn)(void *arg, size_t n),
                               void (*on_roster)(void *arg, struct roster *r), void *arg)
{
    struct disbelieved ignored;
    struct learner *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    /* With a signer we cannot tell any more who was signed: but the file is ours alone. */
    if (believe_roster(&l->roster, o->kept, o->trust != NULL, &o->believe, &ignored) != 0) {
        free(l);
        return NULL;
    }
    l->fetcher = fetcher;
    l->options = *o;
    l->options.kept = NULL;
    l->turn = turn;
    l->on_roster = on_roster;
    l->arg = arg;
    (void)uv_timer_init(loop, &l->timer);
    l->timer.data = l;
    pause_until_next(l, 0);
    return l;
}

static void on_closed(uv_handle_t *timer)
{
    struct learner *l = timer->data;
    roster_unref(l->roster);
    free(l);
}

void learner_close(struct learner *l)
{
    if (l->fetch != NULL)
        fetch_cancel(l->fetch);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}

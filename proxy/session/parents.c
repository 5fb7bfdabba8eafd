#include "proxy/session/parents.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"

/* What is known of one parent, on all workers together. */
struct record {
    _Atomic uint64_t results[PARENT_RESULT_COUNT];
    _Atomic uint64_t connect_us, answer_us, good_ms, bad_ms;
    atomic_bool troubled; /* was told to be broken: told once, and once when it is over */
    atomic_bool down;     /* parents_tell() */
};

struct parents {
    atomic_uint refs;
    struct parents_options options;
    atomic_size_t turn;             /* of origins: where the next one begins */
    struct prefix *direct_networks; /* owned */
    size_t count;
    struct parent parent[PARENTS_MAX];
    struct record record[PARENTS_MAX]; /* of the same index */
};

/* ---- the list ---- */

struct parents *parents_create(const struct parents_options *options)
{
    struct parents *p = calloc(1, sizeof *p);
    struct prefix *networks =
        calloc(options->direct_network_count + 1, sizeof *options->direct_networks);
    if (p == NULL || networks == NULL) {
        free(p);
        free(networks);
        return NULL;
    }
    if (options->direct_network_count > 0)
        memcpy(networks, options->direct_networks,
               options->direct_network_count * sizeof *networks);
    atomic_init(&p->refs, 1);
    p->options = *options;
    p->options.direct_networks = p->direct_networks = networks;
    return p;
}

struct parents *parents_ref(struct parents *p)
{
    (void)atomic_fetch_add(&p->refs, 1);
    return p;
}

void parents_unref(struct parents *p)
{
    if (p == NULL || atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    for (size_t i = 0; i < p->count; i++)
        parent_wipe(&p->parent[i]);
    rules_destroy(p->options.direct);
    tls_client_destroy(p->options.tls);
    free(p->direct_networks);
    free(p);
}

int parents_add(struct parents *p, const struct parent *one)
{
    size_t at = p->count;
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->parent[i].label, one->label) == 0)
            return -EEXIST;
    }
    if (p->count == PARENTS_MAX)
        return -ENOSPC;
    while (at > 0 && p->parent[at - 1].priority > one->priority)
        at--;
    memmove(&p->parent[at + 1], &p->parent[at], (p->count - at) * sizeof *p->parent);
    p->parent[at] = *one;
    p->count++;
    return 0;
}

size_t parents_count(const struct parents *p)
{
    return p->count;
}

const struct parent *parents_at(const struct parents *p, size_t i)
{
    assert(i < p->count);
    return &p->parent[i];
}

const struct parents_options *parents_options(const struct parents *p)
{
    return &p->options;
}

bool parents_pass_by(const struct parents *p, const struct hostname *host)
{
    const struct parents_options *o = &p->options;
    if (o->direct != NULL && rules_allow(o->direct, host))
        return true;
    return host->kind != HOST_NAME &&
           prefix_match_any(o->direct_networks, o->direct_network_count, &host->addr);
}

/* ---- reports ---- */

static bool result_breaks(enum parent_result r)
{
    return r == PARENT_UNREACHABLE || r == PARENT_MALFORMED || r == PARENT_TLS ||
           r == PARENT_PASSWORD;
}

static bool result_is_doubtful(enum parent_result r)
{
    return r == PARENT_SILENT || r == PARENT_CLOSED || r == PARENT_LOST;
}

void parents_report(const struct parents *p, size_t i, struct parent_report *out)
{
    assert(i < p->count);
    const struct record *r = &p->record[i];
    for (unsigned k = 0; k < PARENT_RESULT_COUNT; k++)
        out->results[k] = atomic_load_explicit(&r->results[k], memory_order_relaxed);
    out->connect_us = atomic_load_explicit(&r->connect_us, memory_order_relaxed);
    out->answer_us = atomic_load_explicit(&r->answer_us, memory_order_relaxed);
    out->good_ms = atomic_load_explicit(&r->good_ms, memory_order_relaxed);
    out->bad_ms = atomic_load_explicit(&r->bad_ms, memory_order_relaxed);
}

static const char *const result_labels[PARENT_RESULT_COUNT] = {
#define PARENT_RESULT_LABEL(name, label) [PARENT_##name] = label,
    PARENT_RESULT_TABLE(PARENT_RESULT_LABEL)
#undef PARENT_RESULT_LABEL
};

/* What people call them. */
static const char *noun(const struct parents *p)
{
    return p->options.origins ? "upstream" : "parent proxy";
}

static int print_attempts(struct buf *out, const struct parents *p)
{
    bool origins = p->options.origins;
    const char *label = origins ? "upstream" : "parent";
    const char *name =
        origins ? "certferry_upstream_attempts_total" : "certferry_parent_attempts_total";
    int rc = buf_printf(out,
                        "# HELP %s Attempts at each %s of the present list, by what came of "
                        "them.\n"
                        "# TYPE %s counter\n",
                        name, noun(p), name);
    for (size_t i = 0; i < p->count; i++) {
        struct parent_report report;
        parents_report(p, i, &report);
        for (unsigned k = 0; k < PARENT_RESULT_COUNT && rc == 0; k++) {
            if (report.results[k] > 0 || k == PARENT_OK)
                rc = buf_printf(out, "%s{%s=\"%s\",result=\"%s\"} %" PRIu64 "\n", name, label,
                                p->parent[i].label, result_labels[k], report.results[k]);
        }
    }
    return rc;
}

static int print_up(struct buf *out, const struct parents *p)
{
    int rc = buf_add_str(out, "# HELP certferry_upstream_up Whether the gateway's upstream is "
                              "neither broken nor down.\n"
                              "# TYPE certferry_upstream_up gauge\n");
    for (size_t i = 0; i < p->count && rc == 0; i++)
        rc = buf_printf(out, "certferry_upstream_up{upstream=\"%s\"} %d\n", p->parent[i].label,
                        !atomic_load(&p->record[i].down) && !atomic_load(&p->record[i].troubled));
    return rc;
}

int parents_print(struct buf *out, const struct parents *p)
{
    int rc = print_attempts(out, p);
    return rc == 0 && p->options.origins ? print_up(out, p) : rc;
}

static void tell_trouble(const struct parents *p, struct record *r, size_t i,
                         enum parent_result result, const char *detail)
{
    const char *label = p->parent[i].label;
    if (atomic_exchange(&r->troubled, true))
        return;
    if (result == PARENT_PASSWORD)
        log_line(LOG_ERROR,
                 "parent proxy %s does not take our password (407): correct "
                 "upstream.credentials.file and reload; others are asked first meanwhile",
                 label);
    else
        log_line(LOG_WARNING, "%s %s is broken (%s%s%s); others are asked first", noun(p), label,
                 result_labels[result], detail[0] != '\0' ? ": " : "", detail);
}

void parents_tell(struct parents *p, size_t i, bool down, const char *detail)
{
    assert(i < p->count);
    if (atomic_exchange(&p->record[i].down, down) == down)
        return;
    if (down)
        log_line(LOG_WARNING, "%s %s is down (%s); others are asked first", noun(p),
                 p->parent[i].label, detail);
    else
        log_line(LOG_NOTICE, "%s %s is up again", noun(p), p->parent[i].label);
}

/* ---- one worker's memory ---- */

static uint64_t remembered_until(const struct parents_use *old, const struct parent *one, size_t *i)
{
    for (*i = 0; old->list != NULL && *i < old->list->count; (*i)++) {
        const struct parent *was = &old->list->parent[*i];
        if (strcmp(was->label, one->label) == 0) /* with another password it is another one */
            return strcmp(was->authorization, one->authorization) == 0
                       ? old->memory[*i].avoid_until_ms
                       : 0;
    }
    return 0;
}

void parents_use_list(struct parents_use *u, struct parents *list)
{
    struct parents_use old = *u;
    *u = (struct parents_use){.list = list != NULL ? parents_ref(list) : NULL};
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        size_t was;
        u->memory[i].avoid_until_ms = remembered_until(&old, &list->parent[i], &was);
        if (u->memory[i].avoid_until_ms > 0)
            u->memory[i] = old.memory[was];
    }
    parents_unref(old.list);
}

static bool may_be_asked(struct parents_use *u, const struct parents *list, size_t i,
                         uint64_t now_ms)
{
    if (atomic_load_explicit(&list->record[i].down, memory_order_relaxed))
        return false;
    if (u->list != list || u->memory[i].failures == 0)
        return true;
    if (now_ms < u->memory[i].avoid_until_ms)
        return false;
    /* The others go on avoiding it until it is known how this one fares. */
    u->memory[i].avoid_until_ms = now_ms + list->options.attempt_ms;
    return true;
}

bool parents_pick(struct parents_use *u, struct parents *list, uint64_t tried, uint64_t now_ms,
                  size_t *i)
{
    size_t last_resort = list->count;
    size_t first =
        list->options.origins && list->count > 0 ? atomic_load(&list->turn) % list->count : 0;
    for (size_t k = 0; k < list->count; k++) {
        *i = (first + k) % list->count;
        if ((tried >> *i & 1) != 0)
            continue;
        if (may_be_asked(u, list, *i, now_ms)) {
            atomic_store(&list->turn, *i + 1);
            return true;
        }
        if (last_resort == list->count)
            last_resort = *i;
    }
    *i = last_resort;
    if (last_resort == list->count)
        return false;
    atomic_store(&list->turn, last_resort + 1); /* a check that errs must not load one of them */
    return true;
}

static void avoid(struct parents_use *u, const struct parents *list, size_t i, uint64_t begun_ms,
                  uint64_t now_ms)
{
    unsigned n = u->memory[i].failures;
    uint64_t ms = list->options.retry_after_ms;
    /* Several exchanges that met the same fault at once, or asked it for want of a better one, are
     * one fault. */
    if (n > 0 && begun_ms < u->memory[i].due_ms)
        return;
    for (unsigned k = 0; k < n && ms < list->options.retry_max_ms; k++)
        ms *= 2;
    ms = ms < list->options.retry_max_ms ? ms : list->options.retry_max_ms;
    u->memory[i].failures = n + 1;
    u->memory[i].avoid_until_ms = u->memory[i].due_ms = now_ms + ms;
}

/* True: it is broken now, or was so already. */
static bool remember(struct parents_use *u, const struct parents *list, size_t i,
                     enum parent_result result, uint64_t begun_ms, uint64_t now_ms)
{
    bool broken = result_breaks(result);
    if (result_is_doubtful(result)) {
        unsigned doubts = u->memory[i].doubts;
        u->memory[i].doubts = doubts < PARENT_DOUBTS ? doubts + 1 : doubts;
        broken = u->memory[i].doubts == PARENT_DOUBTS || u->memory[i].failures > 0;
    } else if (!broken) { /* an answer, if only a refusal */
        u->memory[i].doubts = u->memory[i].failures = 0;
        u->memory[i].avoid_until_ms = 0;
    }
    if (broken)
        avoid(u, list, i, begun_ms, now_ms);
    return broken;
}

void parents_note(struct parents_use *u, struct parents *list, size_t i, enum parent_result result,
                  uint64_t begun_ms, uint64_t now_ms, const char *detail)
{
    assert(i < list->count);
    struct record *r = &list->record[i];
    bool broken = result_breaks(result), doubtful = result_is_doubtful(result);
    bool bad = broken || doubtful;
    (void)atomic_fetch_add_explicit(&r->results[result], 1, memory_order_relaxed);
    if (bad || result == PARENT_OK)
        atomic_store_explicit(bad ? &r->bad_ms : &r->good_ms, clock_ms(), memory_order_relaxed);
    if (u->list == list)
        broken = remember(u, list, i, result, begun_ms, now_ms);
    if (broken)
        tell_trouble(list, r, i, result, detail);
    else if (!doubtful && atomic_load_explicit(&r->troubled, memory_order_relaxed) &&
             atomic_exchange(&r->troubled, false))
        log_line(LOG_NOTICE, "%s %s works again", noun(list), list->parent[i].label);
}

void parents_note_times(struct parents *list, size_t i, uint64_t connect_us, uint64_t answer_us)
{
    assert(i < list->count);
    if (connect_us > 0)
        atomic_store_explicit(&list->record[i].connect_us, connect_us, memory_order_relaxed);
    if (answer_us > 0)
        atomic_store_explicit(&list->record[i].answer_us, answer_us, memory_order_relaxed);
}

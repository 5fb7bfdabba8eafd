#include "proxy/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failover/measure.h"
#include "failover/roster_file.h"
#include "failover/signature.h"
#include "proxy/base/chance.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/metrics.h"

enum {
    FETCHES_MAX = MEASURE_AT_ONCE + 2,
    DOCUMENT_TIMEOUT_MS = 10000,
    AVOID_LEAST_MS = 1000,
    AVOID_MAX_MS = 60000,
    LOOK_MS = 5000 /* how often the workers' troubles are looked at */
};

struct agent {
    struct agent_options options;
    struct hostname host_name; /* of the system */
    struct roster_file *file;  /* of the last good roster; NULL: none */
    struct fetcher *fetcher;
    struct selector *selector;
    struct measurer *measurer;
    struct learner *learner;
    uv_timer_t look;
    uint64_t looked_ms;
    struct parents *parents; /* counted; in force */
    struct roster *saved;    /* counted; as it is on disk; NULL: not known */
    struct agent_gauges gauges;
    bool told_unusable, told_unsaved;
};

/* ---- the list of sensors, in order ---- */

static bool hostname_of(const struct member *m, struct hostname *host)
{
    char text[ROSTER_TEXT_MAX + 3];
    bool v6 = strchr(m->host, ':') != NULL;
    (void)snprintf(text, sizeof text, v6 ? "[%s]" : "%s", m->host);
    return hostname_parse(host, span_of(text), NULL) == 0;
}

/*
 * A worker that has met a broken sensor tries the others first for so long. By then it has been
 * measured, and has its new place in the list; and when it is first again nobody avoids it.
 */
static uint64_t avoid_ms(const struct select_options *o)
{
    uint64_t ms = o->interval_ms < AVOID_MAX_MS ? o->interval_ms : AVOID_MAX_MS;
    ms = o->return_after_ms < ms ? o->return_after_ms : ms;
    return ms > AVOID_LEAST_MS ? ms : AVOID_LEAST_MS;
}

/* As many as fit, the best first. NULL when out of memory. */
static struct parents *list_sensors(const struct agent *a, const size_t *order, size_t count)
{
    const struct agent_plan *plan = a->options.plan;
    const struct parents_options o = {
        .attempt_ms = plan->attempt_ms,
        .retry_after_ms = avoid_ms(&plan->select),
        .retry_max_ms = avoid_ms(&plan->select),
    };
    struct parents *list = parents_create(&o);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const struct member *m = roster_member(selector_roster(a->selector), order[i]);
        struct hostname host;
        struct parent one;
        if (!hostname_of(m, &host))
            continue;
        parent_make(&one, &host, m->port, m->protocol == MEMBER_HTTPS_CONNECT);
        (void)parents_add(list, &one);
    }
    return list;
}

static bool is_same_list(const struct parents *a, const struct parents *b)
{
    if (a == NULL || parents_count(a) != parents_count(b))
        return false;
    for (size_t i = 0; i < parents_count(a); i++) {
        if (strcmp(parents_at(a, i)->label, parents_at(b, i)->label) != 0)
            return false;
    }
    return true;
}

static void tell_first(const struct agent *a, const struct parents *list)
{
    const char *before =
        a->parents != NULL && parents_count(a->parents) > 0 ? parents_at(a->parents, 0)->label : "";
    if (parents_count(list) > 0 && strcmp(parents_at(list, 0)->label, before) != 0)
        log_line(LOG_NOTICE, "exchanges go to sensor %s first%s%s", parents_at(list, 0)->label,
                 before[0] != '\0' ? ", no longer to " : "", before);
}

static void tell_usable(struct agent *a, size_t usable)
{
    if (usable == 0 && !a->told_unusable)
        log_line(LOG_WARNING, "no sensor is usable; exchanges are tried all the same, and /readyz "
                              "says so until one is");
    if (usable > 0 && a->told_unusable)
        log_line(LOG_NOTICE, "there is a usable sensor again");
    a->told_unusable = usable == 0;
}

/* Puts the present order in force. True: it is another than before. */
static bool order_anew(struct agent *a)
{
    size_t order[ROSTER_MEMBERS_MAX];
    size_t count = selector_order(a->selector, order);
    size_t usable = selector_usable(a->selector);
    struct parents *list = list_sensors(a, order, count);
    atomic_store(&a->gauges.members, count);
    atomic_store(&a->gauges.usable, usable);
    tell_usable(a, usable);
    if (list == NULL || is_same_list(a->parents, list)) {
        parents_unref(list); /* out of memory: the old order is better than none */
        return false;
    }
    tell_first(a, list);
    parents_unref(a->parents);
    a->parents = list;
    return true;
}

static void publish(struct agent *a)
{
    if (order_anew(a))
        a->options.on_parents(a->options.arg, a->parents);
}

/* ---- what comes from below ---- */

static void on_measured(void *arg)
{
    publish(arg);
}

/* What matters at the next start; states and loads are of today. */
static bool is_same_roster(const struct roster *a, const struct roster *b)
{
    if (a == NULL || roster_count(a) != roster_count(b))
        return false;
    for (size_t i = 0; i < roster_count(a); i++) {
        const struct member *x = roster_member(a, i), *y = roster_member(b, i);
        if (x->port != y->port || x->protocol != y->protocol || x->priority != y->priority ||
            x->weight != y->weight || strcmp(x->host, y->host) != 0 ||
            strcmp(x->zone, y->zone) != 0)
            return false;
    }
    return true;
}

static void keep_roster(struct agent *a, struct roster *r)
{
    if (a->file == NULL || is_same_roster(a->saved, r))
        return;
    int rc = roster_file_write(a->file, r, "localhost");
    if (rc != 0 && !a->told_unsaved)
        log_line(LOG_WARNING, "the roster cannot be kept in %s: %s", a->options.plan->cache,
                 uv_strerror(rc));
    if (rc == 0 && a->told_unsaved)
        log_line(LOG_NOTICE, "the roster is kept in %s again", a->options.plan->cache);
    a->told_unsaved = rc != 0;
    if (rc != 0)
        return; /* tried again with the next one */
    roster_unref(a->saved);
    a->saved = roster_ref(r);
}

static void on_roster(void *arg, struct roster *r)
{
    struct agent *a = arg;
    atomic_store(&a->gauges.learned, (int64_t)time(NULL));
    if (selector_use(a->selector, r, uv_now(a->options.loop)) != 0)
        return;
    publish(a);
    measurer_wake(a->measurer);
    keep_roster(a, r);
}

/* Whom the learner asks: in the order in which exchanges go. */
static const struct member *turn(void *arg, size_t n)
{
    struct agent *a = arg;
    size_t order[ROSTER_MEMBERS_MAX];
    size_t count = selector_order(a->selector, order);
    return n < count ? roster_member(selector_roster(a->selector), order[n]) : NULL;
}

/* Whom an exchange could not get through to is measured now and not at its next turn. */
static void on_look(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    const struct roster *r = selector_roster(a->selector);
    uint64_t since = a->looked_ms;
    bool suspected = false;
    a->looked_ms = clock_ms();
    for (size_t i = 0; i < parents_count(a->parents); i++) {
        struct parent_report report;
        const struct parent *p = parents_at(a->parents, i);
        parents_report(a->parents, i, &report);
        if (report.bad_ms == 0 || report.bad_ms < since)
            continue;
        for (size_t k = 0; k < roster_count(r); k++) {
            const struct member *m = roster_member(r, k);
            if (m->port == p->port && strcmp(m->host, p->host.text) == 0)
                selector_suspect(a->selector, m, uv_now(a->options.loop));
        }
        suspected = true;
    }
    if (suspected) {
        measurer_wake(a->measurer);
        learner_hurry(a->learner);
    }
}

/* ---- life ---- */

static bool create_parts(struct agent *a, struct roster *kept)
{
    const struct agent_plan *plan = a->options.plan;
    const struct learn_options learn = {
        .believe = {plan->seeds, plan->hosts, a->options.ours, a->options.our_count,
                    a->host_name.text},
        .trust = plan->trust,
        .kept = kept,
        .timeout_ms = DOCUMENT_TIMEOUT_MS,
        .zoned = plan->select.zone[0] != '\0',
    };
    a->selector = selector_create(&plan->select, chance_number());
    a->fetcher = fetcher_create(a->options.loop, a->options.resolver, FETCHES_MAX);
    if (a->selector == NULL || a->fetcher == NULL)
        return false;
    a->measurer = measurer_create(a->options.loop, a->fetcher, a->selector, plan->check_timeout_ms,
                                  on_measured, a);
    a->learner = learner_create(a->options.loop, a->fetcher, &learn, turn, on_roster, a);
    return a->measurer != NULL && a->learner != NULL &&
           selector_use(a->selector, learner_roster(a->learner), uv_now(a->options.loop)) == 0;
}

/* The last good roster, if there is one: without it the start is only later to know all. */
static struct roster *read_kept(struct agent *a)
{
    const char *path = a->options.plan->cache;
    char fault[DOCUMENT_FAULT_MAX] = "";
    struct roster *kept = NULL;
    if (path[0] == '\0')
        return NULL;
    a->file = roster_file_open(path);
    int rc = a->file != NULL ? roster_file_read(a->file, &kept, fault) : -errno;
    if (rc != 0 && (rc != -ENOENT || a->file == NULL))
        log_line(LOG_WARNING, "the last roster cannot be read from %s: %s", path,
                 fault[0] != '\0' ? fault : uv_strerror(rc));
    return rc == 0 ? kept : NULL;
}

struct agent *agent_create(const struct agent_options *o)
{
    char name[HOSTNAME_MAX + 1] = "";
    struct agent *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->options = *o;
    if (gethostname(name, sizeof name - 1) != 0 ||
        hostname_parse(&a->host_name, span_of(name), NULL) != 0)
        a->host_name.text[0] = '\0';
    struct roster *kept = read_kept(a);
    bool good = create_parts(a, kept);
    roster_unref(kept);
    /* Only at start, before anything is served: the process exits with the error, so nothing is
     * unwound here. */
    if (!good || !order_anew(a))
        return NULL;
    a->looked_ms = clock_ms();
    (void)uv_timer_init(o->loop, &a->look);
    a->look.data = a;
    (void)uv_timer_start(&a->look, on_look, LOOK_MS, LOOK_MS);
    measurer_wake(a->measurer);
    return a;
}

struct parents *agent_parents(const struct agent *a)
{
    return a->parents;
}

const struct agent_gauges *agent_gauges(const struct agent *a)
{
    return &a->gauges;
}

void agent_close(struct agent *a)
{
    learner_close(a->learner);
    measurer_close(a->measurer);
    fetcher_close(a->fetcher);
    uv_close((uv_handle_t *)&a->look, NULL);
}

void agent_destroy(struct agent *a)
{
    if (a == NULL)
        return;
    selector_destroy(a->selector);
    if (a->file != NULL)
        roster_file_close(a->file);
    roster_unref(a->saved);
    parents_unref(a->parents);
    free(a);
}

void agent_plan_release(struct agent_plan *plan)
{
    roster_unref(plan->seeds);
    rules_destroy(plan->hosts);
    signature_trust_destroy(plan->trust);
    free(plan->cache);
    *plan = (struct agent_plan){0};
}

int agent_print_gauges(struct buf *out, const struct agent_gauges *g)
{
    int rc = metrics_print_gauge(out, "agent_sensors", "Sensors of the roster in use",
                                 atomic_load(&g->members));
    if (rc == 0)
        rc = metrics_print_gauge(out, "agent_sensors_usable", "Of them work, as far as we know",
                                 atomic_load(&g->usable));
    if (rc == 0)
        rc = metrics_print_gauge(out, "agent_roster_learned_timestamp_seconds",
                                 "Unix time of the last good roster document; 0: none yet",
                                 (uint64_t)atomic_load(&g->learned));
    return rc;
}

#include "failover/probe.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/chance.h"
#include "proxy/base/log.h"

enum {
    FIRST_DELAY_MS = 500, /* a new peer is asked within this */
    URL_MAX = ROSTER_TEXT_MAX + 32,
    REASON_MAX = 160
};

struct probe {
    struct probes *all;
    struct member peer; /* who: protocol, host, port */
    char url[URL_MAX];
    int name_length; /* of the URL without its path, for the log */
    struct health health;
    uint64_t since_ms;   /* when the state became what it is */
    uint64_t due_ms;     /* of the next question, while none is under way */
    struct fetch *fetch; /* borrowed; under way */
    bool wanted;         /* used during probes_watch() only */
};

struct probes {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct fetcher *fetcher; /* borrowed */
    struct probe_options options;
    char *ca_file; /* owned; options.ca_file */
    void (*on_change)(void *arg);
    void *arg;
    struct probe *probe[ROSTER_MEMBERS_MAX]; /* owned */
    size_t count, under_way;
};

/* ---- one question ---- */

static void tell(const struct probe *pr, const char *reason)
{
    unsigned long long seconds = (uv_now(pr->all->loop) - pr->since_ms) / 1000;
    switch (pr->health.state) {
    case MEMBER_UP:
        log_line(LOG_NOTICE, "peer %.*s is up", pr->name_length, pr->url);
        break;
    case MEMBER_DRAINING:
        log_line(LOG_NOTICE, "peer %.*s leaves: it is shutting down", pr->name_length, pr->url);
        break;
    case MEMBER_DOWN:
        log_line(LOG_WARNING, "peer %.*s is down, %llu s after it changed last: %s",
                 pr->name_length, pr->url, seconds, reason);
        break;
    case MEMBER_UNKNOWN:
        break;
    }
}

static void explain(char out[REASON_MAX], const struct fetch_result *result)
{
    size_t line = 0; /* of the body, as far as it fits */
    while (line < result->body.len && line < 80 && result->body.ptr[line] != '\n')
        line++;
    if (result->fault != NULL)
        (void)snprintf(out, REASON_MAX, "%s", result->fault);
    else if (result->status == 403)
        (void)snprintf(out, REASON_MAX, "it answers 403: is this host in its clients.allow?");
    else
        (void)snprintf(out, REASON_MAX, "it answers %u: %.*s", result->status, (int)line,
                       line > 0 ? result->body.ptr : "");
}

static void schedule(struct probes *p);

static void on_answer(void *arg, const struct fetch_result *result)
{
    struct probe *pr = arg;
    struct probes *p = pr->all;
    char reason[REASON_MAX];
    enum health_sign sign =
        result->fault == NULL ? health_read(result->status, result->body) : HEALTH_SILENT;
    pr->fetch = NULL;
    p->under_way--;
    pr->due_ms =
        uv_now(p->loop) + health_pause_ms(p->options.interval_ms, (uint32_t)chance_number());
    schedule(p);
    if (!health_note(&pr->health, &p->options.rule, sign))
        return;
    explain(reason, result);
    tell(pr, reason);
    pr->since_ms = uv_now(p->loop);
    p->on_change(p->arg); /* last: it may watch others, and then `pr` is gone */
}

static void ask(struct probe *pr)
{
    struct probes *p = pr->all;
    struct fetch_tls tls = {.ca_file = p->options.ca_file};
    struct fetch_request request = {
        .url = pr->url,
        .timeout_ms = p->options.timeout_ms,
        .octets_max = PROBE_ANSWER_MAX,
        .fresh = true,
        .tls = &tls,
        .on_done = on_answer,
        .arg = pr,
    };
    pr->fetch = fetch_start(p->fetcher, &request);
    if (pr->fetch != NULL)
        p->under_way++;
    else /* out of memory says nothing of the peer */
        pr->due_ms = uv_now(p->loop) + p->options.interval_ms;
}

/* ---- when ---- */

/* The one whose turn is next; NULL: all are being asked. */
static struct probe *find_next(const struct probes *p)
{
    struct probe *next = NULL;
    for (size_t i = 0; i < p->count; i++) {
        struct probe *pr = p->probe[i];
        if (pr->fetch == NULL && (next == NULL || pr->due_ms < next->due_ms))
            next = pr;
    }
    return next;
}

static void on_timer(uv_timer_t *timer)
{
    struct probes *p = timer->data;
    struct probe *next;
    while (p->under_way < PROBE_AT_ONCE && (next = find_next(p)) != NULL &&
           next->due_ms <= uv_now(p->loop))
        ask(next);
    schedule(p);
}

/* Sets the timer to the next turn. With too many under way the next answer does it. */
static void schedule(struct probes *p)
{
    const struct probe *next = find_next(p);
    uint64_t now = uv_now(p->loop);
    (void)uv_timer_stop(&p->timer);
    if (next != NULL && p->under_way < PROBE_AT_ONCE)
        (void)uv_timer_start(&p->timer, on_timer, next->due_ms > now ? next->due_ms - now : 0, 0);
}

/* ---- who ---- */

static bool is_of(const struct probe *pr, const struct member *m)
{
    return pr->peer.protocol == m->protocol && pr->peer.port == m->port &&
           strcmp(pr->peer.host, m->host) == 0;
}

static struct probe *find(const struct probes *p, const struct member *m)
{
    for (size_t i = 0; i < p->count; i++) {
        if (is_of(p->probe[i], m))
            return p->probe[i];
    }
    return NULL;
}

static struct probe *probe_create(struct probes *p, const struct member *m)
{
    struct probe *pr = calloc(1, sizeof *pr);
    if (pr == NULL)
        return NULL;
    bool v6 = strchr(m->host, ':') != NULL;
    pr->name_length = snprintf(pr->url, sizeof pr->url, "%s://%s%s%s:%u",
                               m->protocol == MEMBER_HTTPS_CONNECT ? "https" : "http",
                               v6 ? "[" : "", m->host, v6 ? "]" : "", (unsigned)m->port);
    (void)snprintf(pr->url + pr->name_length, sizeof pr->url - (size_t)pr->name_length, "/readyz");
    pr->all = p;
    pr->peer = *m;
    health_init(&pr->health);
    pr->since_ms = uv_now(p->loop);
    pr->due_ms = pr->since_ms + (uint32_t)chance_number() % FIRST_DELAY_MS;
    return pr;
}

static void probe_free(struct probe *pr)
{
    if (pr->fetch != NULL) {
        fetch_cancel(pr->fetch);
        pr->all->under_way--;
    }
    free(pr);
}

static void drop_unwanted(struct probes *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (p->probe[i]->wanted)
            p->probe[kept++] = p->probe[i];
        else
            probe_free(p->probe[i]);
    }
    p->count = kept;
}

int probes_watch(struct probes *p, const struct roster *roster)
{
    struct probe *fresh[ROSTER_MEMBERS_MAX];
    size_t fresh_count = 0;
    int rc = 0;
    for (size_t i = 0; i < p->count; i++)
        p->probe[i]->wanted = false;
    for (size_t i = 0; i < roster_count(roster); i++) {
        const struct member *m = roster_member(roster, i);
        struct probe *pr = m->self ? NULL : find(p, m);
        if (pr != NULL)
            pr->wanted = true;
        else if (!m->self && (pr = probe_create(p, m)) != NULL)
            fresh[fresh_count++] = pr;
        else if (!m->self)
            rc = -ENOMEM;
    }
    drop_unwanted(p);
    for (size_t i = 0; i < fresh_count; i++)
        p->probe[p->count++] = fresh[i];
    schedule(p);
    return rc;
}

enum member_state probes_state(const struct probes *p, const struct member *m)
{
    const struct probe *pr = find(p, m);
    return pr != NULL ? pr->health.state : MEMBER_UNKNOWN;
}

/* ---- life ---- */

int probes_set_options(struct probes *p, const struct probe_options *options)
{
    char *ca_file = strdup(options->ca_file != NULL ? options->ca_file : "");
    if (ca_file == NULL)
        return -ENOMEM;
    free(p->ca_file);
    p->ca_file = ca_file;
    p->options = *options;
    p->options.ca_file = ca_file;
    return 0;
}

struct probes *probes_create(uv_loop_t *loop, struct fetcher *fetcher,
                             const struct probe_options *options, void (*on_change)(void *arg),
                             void *arg)
{
    struct probes *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->loop = loop;
    p->on_change = on_change;
    p->arg = arg;
    p->fetcher = fetcher;
    if (probes_set_options(p, options) != 0) {
        free(p);
        return NULL;
    }
    (void)uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    return p;
}

static void on_closed(uv_handle_t *timer)
{
    struct probes *p = timer->data;
    free(p->ca_file);
    free(p);
}

void probes_close(struct probes *p)
{
    for (size_t i = 0; i < p->count; i++)
        probe_free(p->probe[i]);
    assert(p->under_way == 0);
    p->count = 0;
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

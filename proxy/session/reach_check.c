#include "proxy/session/reach_check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/net/stream.h"

struct reach_check {
    struct netloop net;
    struct reach *reach; /* owned */
    enum reach_state told;
    const struct policy *policy; /* borrowed */
    struct parents *parents;     /* counted; NULL: everything goes direct */
    struct dial_options dial_options;
    uv_timer_t timer;
    uv_async_t news;   /* the state of `reach` has become another */
    unsigned handles;  /* open; the last one's callback frees */
    struct dial *dial; /* under way */
    void (*on_change)(void *arg, bool ready);
    void *arg;
    struct reach_goal goal;
};

static void go_on(struct reach_check *c);

static void on_timer(uv_timer_t *timer)
{
    go_on(timer->data);
}

static enum outcome on_guard(void *arg, const struct addr *address)
{
    const struct reach_check *c = arg;
    const char *range;
    return c->goal.parent ? OUTCOME_OK : policy_address(c->policy, address, &range);
}

static void on_stream_ready(struct stream *s)
{
    (void)s;
}

static void on_dialled(void *arg, const struct dial_result *result)
{
    struct reach_check *c = arg;
    c->dial = NULL;
    if (result->outcome == OUTCOME_OK) {
        struct stream s;
        stream_init(&s, on_stream_ready);
        stream_adopt(&s, c->net.poller, result->slot, result->fd, result->events);
        stream_close(&s);
    }
    reach_note(c->reach, clock_ms(), &c->goal, result->outcome);
    go_on(c);
}

/* The canonical text of a goal once more as a host. */
static bool parse_goal(const struct reach_goal *goal, struct hostname *host)
{
    char text[REACH_HOST_MAX + 2];
    bool v6 = strchr(goal->host, ':') != NULL;
    (void)snprintf(text, sizeof text, v6 ? "[%s]" : "%s", goal->host);
    return hostname_parse(host, span_of(text), NULL) == 0;
}

static bool is_parent(const struct reach_check *c, const struct hostname *host)
{
    for (size_t i = 0; c->parents != NULL && i < parents_count(c->parents); i++) {
        const struct parent *p = parents_at(c->parents, i);
        if (p->port == c->goal.port && strcmp(p->host.text, host->text) == 0)
            return true;
    }
    return false;
}

/* Whether a request would still go there, and not to or through a parent instead. */
static bool is_allowed(const struct reach_check *c, const struct hostname *host)
{
    if (c->goal.parent)
        return is_parent(c, host);
    if (c->parents != NULL && !parents_pass_by(c->parents, host))
        return false;
    return policy_request(c->policy, host, c->goal.port, PROTOCOL_TUNNEL) == OUTCOME_OK ||
           policy_request(c->policy, host, c->goal.port, PROTOCOL_OTHER) == OUTCOME_OK;
}

/* When something is to be tried now, its host; those that a reload has put out of use are left out.
 */
static uint64_t next_goal(struct reach_check *c, struct hostname *host)
{
    for (;;) {
        uint64_t wait_ms = reach_next_check(c->reach, clock_ms(), &c->goal);
        if (wait_ms > 0 || (parse_goal(&c->goal, host) && is_allowed(c, host)))
            return wait_ms;
        reach_forget(c->reach, &c->goal);
    }
}

static struct dial *try_host(struct reach_check *c, const struct hostname *host)
{
    struct dial_request request = {
        .name = host->kind == HOST_NAME ? host->text : NULL,
        .literal = &host->addr,
        .port = c->goal.port,
        .options = &c->dial_options,
        .guard = on_guard,
        .on_done = on_dialled,
        .arg = c,
    };
    return dial_start(&c->net, &request);
}

static void go_on(struct reach_check *c)
{
    struct hostname host;
    if (c->dial != NULL)
        return;
    (void)uv_timer_stop(&c->timer);
    uint64_t wait_ms = next_goal(c, &host);
    if (wait_ms == 0)
        c->dial = try_host(c, &host);
    if (wait_ms == 0 && c->dial == NULL) /* out of memory */
        wait_ms = REACH_DOUBT_MS;
    if (wait_ms > 0 && wait_ms < UINT64_MAX)
        (void)uv_timer_start(&c->timer, on_timer, wait_ms, 0);
}

/* On any thread. */
static void on_reach_changed(void *arg)
{
    struct reach_check *c = arg;
    (void)uv_async_send(&c->news);
}

static void on_news(uv_async_t *news)
{
    struct reach_check *c = news->data;
    enum reach_state state = reach_state(c->reach);
    struct reach_goal goal;
    enum outcome outcome;
    reach_last_failure(c->reach, &goal, &outcome);
    if (state == REACH_SHUT && c->told != REACH_SHUT)
        log_line(LOG_WARNING,
                 "no way out: nothing answers any more, at last %s port %u: %s; /readyz says so "
                 "until something does",
                 goal.host, (unsigned)goal.port, outcome_info(outcome)->token);
    if (state != REACH_SHUT && c->told == REACH_SHUT)
        log_line(LOG_NOTICE, "there is a way out again");
    bool changed = (state == REACH_SHUT) != (c->told == REACH_SHUT);
    c->told = state;
    assert(c->policy != NULL);
    go_on(c);
    if (changed)
        c->on_change(c->arg, state != REACH_SHUT);
}

struct reach *reach_check_reach(struct reach_check *c)
{
    return c->reach;
}

void reach_check_use(struct reach_check *c, const struct policy *policy, struct parents *parents,
                     const struct dial_options *dial)
{
    if (parents != NULL)
        (void)parents_ref(parents);
    parents_unref(c->parents);
    c->parents = parents;
    c->policy = policy;
    c->dial_options = *dial;
    if (c->dial_options.timeout_ms > REACH_CHECK_TIMEOUT_MS)
        c->dial_options.timeout_ms = REACH_CHECK_TIMEOUT_MS;
}

struct reach_check *reach_check_create(const struct netloop *net,
                                       void (*on_change)(void *arg, bool ready), void *arg)
{
    struct reach_check *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->reach = reach_create(on_reach_changed, c);
    if (c == NULL || c->reach == NULL) {
        free(c);
        return NULL;
    }
    c->net = *net;
    c->on_change = on_change;
    c->arg = arg;
    (void)uv_timer_init(net->loop, &c->timer);
    int rc = uv_async_init(net->loop, &c->news, on_news);
    assert(rc == 0); /* the loop has others: their descriptor serves all */
    (void)rc;
    c->timer.data = c->news.data = c;
    c->handles = 2;
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct reach_check *c = handle->data;
    if (--c->handles > 0)
        return;
    reach_destroy(c->reach);
    parents_unref(c->parents);
    free(c);
}

void reach_check_close(struct reach_check *c)
{
    if (c->dial != NULL)
        dial_cancel(c->dial);
    uv_close((uv_handle_t *)&c->timer, on_closed);
    uv_close((uv_handle_t *)&c->news, on_closed);
}

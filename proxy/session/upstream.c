/*
 * upstream.c - the way to an origin: a place among the connections to it, perhaps after a wait in
 * the queue, then the dial; and giving all of it back.
 */
#include "proxy/session/session_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/clock.h"

/* ---- a place ---- */

static void go_on(struct session *s, const struct hostname *host)
{
    if (s->client.broken) /* it has left meanwhile, or with its request already */
        session_close(s, OUTCOME_CLIENT_RESET);
    else if (s->exchange != NULL)
        forward_granted(s);
    else
        upstream_dial(s, host);
}

static void wait_in_queue(struct session *s, const struct hostname *host)
{
    if (s->client.broken) {
        session_close(s, OUTCOME_CLIENT_RESET);
        return;
    }
    s->goal = malloc(sizeof *s->goal);
    if (s->goal == NULL) {
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
        return;
    }
    *s->goal = *host;
    s->since_ms = uv_now(s->ctx->net.loop);
    metrics_add(s->ctx->metrics, METRIC_QUEUED, 1);
    session_go(s, SESSION_QUEUED);
}

static void end_wait(struct session *s)
{
    if (s->goal == NULL)
        return;
    free(s->goal);
    s->goal = NULL;
    metrics_add(s->ctx->metrics, METRIC_QUEUE_LEFT, 1);
    metrics_add(s->ctx->metrics, METRIC_QUEUE_WAITED_MS, uv_now(s->ctx->net.loop) - s->since_ms);
}

static bool is_paced(const struct session *s)
{
    const struct session_options *o = s->ctx->options;
    if (next_hop_is_origin(s))
        return o->gateway != NULL && o->gateway->connections_max > 0;
    return o->paced;
}

void upstream_seek(struct session *s, const struct hostname *host)
{
    struct session_context *ctx = s->ctx;
    enum outcome verdict = OUTCOME_OK;
    assert(!s->placed);
    if (is_paced(s)) {
        /* All upstreams of the gateway are one: `host` is empty then. */
        uint16_t port = next_hop_is_origin(s) ? 0 : s->record.port;
        verdict =
            pacing_enter(ctx->pacing, &s->place, &ctx->paced, host->text, port, &s->record.client);
        s->placed = verdict == OUTCOME_OK || verdict == OUTCOME_PENDING;
    }
    if (verdict == OUTCOME_OK)
        go_on(s, host);
    else if (verdict == OUTCOME_PENDING)
        wait_in_queue(s, host);
    else
        session_refuse(s, verdict, session_host(s));
}

void session_collect(struct session_context *ctx)
{
    struct pacing_ticket *t;
    while ((t = pacing_collect(ctx->pacing, &ctx->paced)) != NULL) {
        struct session *s = LIST_ITEM(t, struct session, place);
        struct hostname host = *s->goal;
        session_enter(s);
        end_wait(s);
        go_on(s, &host);
        session_leave(s);
    }
}

void upstream_due(struct session *s)
{
    session_refuse(s, OUTCOME_QUEUE_TIMEOUT, session_host(s));
}

void upstream_release(struct session *s)
{
    if (s->dial != NULL)
        dial_cancel(s->dial);
    s->dial = NULL;
    stream_close(&s->origin);
    next_hop_release(s);
    passthrough_release(s);
    end_wait(s);
    if (s->placed)
        pacing_leave(s->ctx->pacing, &s->place);
    s->placed = false;
    forward_release(s);
}

/* ---- the dial ---- */

static enum outcome on_guard(void *arg, const struct addr *address)
{
    struct session *s = arg;
    const char *range = NULL;
    char text[ADDR_TEXT_MAX], detail[256];
    enum outcome verdict = policy_address(session_policy(s), address, &range);
    if (verdict != OUTCOME_OK) {
        (void)snprintf(detail, sizeof detail, "%s (%s)", addr_print(address, text),
                       range != NULL ? range : "");
        access_record_text(&s->record.detail, span_of(detail));
    }
    return verdict;
}

static void count_lookups(struct session *s)
{
    struct resolver_counters c;
    struct metrics *m = s->ctx->metrics;
    resolver_counters(s->ctx->net.resolver, &c);
    metrics_set(m, METRIC_DNS_LOOKUPS, c.lookups);
    metrics_set(m, METRIC_DNS_CACHE_HITS, c.cache_hits);
    metrics_set(m, METRIC_DNS_FAILURES, c.failures);
    metrics_set(m, METRIC_DNS_TIMEOUTS, c.timeouts);
}

static void refuse_dial(struct session *s, const struct dial_result *result)
{
    char detail[HOSTNAME_MAX + 256];
    const char *host = s->record.host != NULL ? s->record.host : "";
    if (result->outcome == OUTCOME_ADDRESS_DENIED)
        (void)snprintf(detail, sizeof detail, "%s -> %s", host,
                       s->record.detail != NULL ? s->record.detail : "");
    else if (result->error != 0)
        (void)snprintf(detail, sizeof detail, "%s:%u: %s", host, (unsigned)s->record.port,
                       uv_strerror(result->error));
    else
        (void)snprintf(detail, sizeof detail, "%s", host);
    session_refuse(s, result->outcome, span_of(detail));
}

/* Whether anybody gets out of here is everybody's news: see reach.h. */
static void note_reach(const struct session *s, enum outcome outcome)
{
    struct reach_goal goal = {.port = s->record.port};
    const char *host = s->record.host;
    if (s->hop != NULL) {
        host = next_hop_parent(s)->host.text;
        goal.port = next_hop_parent(s)->port;
        goal.parent = s->door != DOOR_GATEWAY;
    }
    if (s->ctx->reach == NULL || host == NULL)
        return;
    (void)snprintf(goal.host, sizeof goal.host, "%s", host);
    reach_note(s->ctx->reach, clock_ms(), &goal, outcome);
}

static void on_dialled(void *arg, const struct dial_result *result)
{
    struct session *s = arg;
    session_enter(s);
    s->dial = NULL;
    note_reach(s, result->outcome);
    s->record.origin = result->address;
    s->record.dns_us = result->dns_us;
    s->record.connect_us = result->connect_us;
    count_lookups(s);
    if (result->outcome != OUTCOME_OK && s->hop != NULL) {
        next_hop_unreachable(s, result);
    } else if (result->outcome != OUTCOME_OK) {
        refuse_dial(s, result);
    } else {
        metrics_add(s->ctx->metrics, METRIC_ORIGIN_CONNECTED, 1);
        stream_adopt(&s->origin, s->ctx->net.poller, result->slot, result->fd, result->events);
        if (s->hop != NULL)
            next_hop_connected(s);
        else if (s->exchange != NULL)
            forward_established(s);
        else
            connect_established(s);
    }
    session_leave(s);
}

void upstream_dial(struct session *s, const struct hostname *host)
{
    if (s->hop != NULL && (!next_hop_may_dial(s) || next_hop_pauses(s)))
        return;
    struct dial_options options = s->ctx->options->dial;
    struct dial_request request = {
        .port = s->record.port,
        .options = &options,
        .guard = on_guard,
        .on_done = on_dialled,
        .arg = s,
    };
    if (s->hop != NULL) {
        next_hop_aim(s, &request, &options);
    } else {
        request.name = host->kind == HOST_NAME ? host->text : NULL;
        request.literal = &host->addr;
    }
    session_go(s, SESSION_CONNECT);
    s->dial = dial_start(&s->ctx->net, &request);
    if (s->dial == NULL)
        next_hop_give_up(s, OUTCOME_NO_MEMORY, SPAN(""));
}

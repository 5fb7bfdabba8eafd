/*
 * next_hop_origin.c - which upstream of the gateway an exchange goes to: those that the policy lets
 * pass take turns, and the same may be asked again.
 */
#include "proxy/session/session_impl.h"

#include <stdlib.h>

#include "proxy/session/next_hop_impl.h"

enum { PAUSE_MS = 1000 /* before one is asked again, as HAProxy has it */ };

bool next_hop_is_origin(const struct session *s)
{
    return s->hop != NULL && s->hop->origin;
}

/* The policy's word on each, in a bit for those that it denies: a role may have less upstreams than
 * another, and a reload may have taken one away. */
static enum outcome ask_policy(struct session *s, uint64_t *denied)
{
    const struct parents *list = s->hop->list;
    enum outcome verdict = OUTCOME_UPSTREAM_NONE;
    size_t allowed = 0;
    *denied = 0;
    for (size_t i = 0; i < parents_count(list); i++) {
        const struct parent *p = parents_at(list, i);
        enum outcome o = policy_upstream(session_policy(s), &p->host, p->port, s->record.protocol);
        if (o != OUTCOME_OK) {
            *denied |= UINT64_C(1) << i;
            verdict = o;
        }
        allowed += o == OUTCOME_OK;
    }
    if (allowed > 0)
        return OUTCOME_OK;
    /* A role that only reports has the same upstreams as if it did not, unless it has none. */
    verdict = role_verdict(s, verdict);
    if (verdict == OUTCOME_OK)
        *denied = 0;
    return verdict;
}

/* From here on the record is about the upstream. */
static bool pick(struct session *s)
{
    if (!next_hop_pick(s))
        return false;
    const struct parent *p = next_hop_parent(s);
    access_record_text(&s->record.host, span_of(p->host.text));
    s->record.port = p->port;
    return true;
}

bool next_hop_begin_origin(struct session *s)
{
    struct parents *list = s->ctx->upstreams.list;
    if (list == NULL || parents_count(list) == 0) {
        session_refuse(s, OUTCOME_UPSTREAM_NONE, SPAN(""));
        return false;
    }
    struct next_hop *hop = s->hop = calloc(1, sizeof *hop);
    if (hop == NULL) {
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
        return false;
    }
    hop->list = parents_ref(list);
    hop->use = &s->ctx->upstreams;
    hop->origin = true;
    enum outcome verdict = ask_policy(s, &hop->denied);
    hop->tried = hop->denied;
    if (verdict != OUTCOME_OK) {
        session_refuse(s, verdict, span_of(parents_at(list, 0)->label));
        return false;
    }
    return pick(s);
}

bool next_hop_origin_again(struct session *s)
{
    struct next_hop *hop = s->hop;
    if (hop->attempts >= parents_options(hop->list)->attempts_max)
        return false;
    hop->tried |= hop->denied;
    if (!next_hop_has_more(s)) {
        hop->tried = hop->denied;
        hop->pausing = true;
    }
    if (!pick(s))
        return false;
    metrics_add(s->ctx->metrics, METRIC_UPSTREAM_RETRIES, 1);
    return true;
}

bool next_hop_may_dial(struct session *s)
{
    struct next_hop *hop = s->hop;
    uint64_t denied;
    if (!hop->origin)
        return true;
    (void)ask_policy(s, &denied);
    hop->denied |= denied;
    if ((hop->denied >> hop->at & 1) == 0)
        return true;
    if (!next_hop_origin_again(s))
        session_refuse(s, OUTCOME_UPSTREAM_NONE, SPAN(""));
    else if (forward_refill(s) != 0) /* Host is another one */
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
    else
        return true;
    return false;
}

bool next_hop_pauses(struct session *s)
{
    if (!s->hop->pausing)
        return false;
    session_go(s, SESSION_PARENT);
    deadline_set(s->ctx->net.deadlines, &s->deadline, PAUSE_MS);
    return true;
}

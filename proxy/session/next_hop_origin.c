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

/* The policy's word on each: a role may have less upstreams than another. */
static enum outcome ask_policy(struct session *s, struct next_hop *hop, const struct route *r)
{
    enum outcome verdict = OUTCOME_UPSTREAM_NONE;
    size_t allowed = 0;
    for (size_t i = 0; i < parents_count(hop->list); i++) {
        const struct parent *p = parents_at(hop->list, i);
        enum outcome o = policy_upstream(session_policy(s), &p->host, p->port, r->class.protocol);
        if (o != OUTCOME_OK) {
            hop->denied |= UINT64_C(1) << i;
            verdict = o;
        }
        allowed += o == OUTCOME_OK;
    }
    /* A role that only reports has the same upstreams as if it did not, unless it has none. */
    if (allowed == 0)
        verdict = role_verdict(s, verdict);
    else
        verdict = OUTCOME_OK;
    if (allowed == 0 && verdict == OUTCOME_OK)
        hop->denied = 0;
    hop->tried = hop->denied;
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

bool next_hop_begin_origin(struct session *s, const struct route *r)
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
    enum outcome verdict = ask_policy(s, hop, r);
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

bool next_hop_pauses(struct session *s)
{
    if (!s->hop->pausing)
        return false;
    session_go(s, SESSION_PARENT);
    deadline_set(s->ctx->net.deadlines, &s->deadline, PAUSE_MS);
    return true;
}

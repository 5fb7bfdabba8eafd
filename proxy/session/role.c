/*
 * role.c - whose rules a session has: the role of its certificate's identity, else that of its
 * door, else the general ones. Looked up anew each time, so that a reload holds at once.
 */
#include "proxy/session/session_impl.h"

#include <stdio.h>

const struct role *session_role(const struct session *s)
{
    const struct session_options *o = s->ctx->options;
    if (s->identity == NULL)
        return session_door(s)->role;
    return o->roles != NULL ? roles_of(o->roles, s->identity) : NULL;
}

const struct policy *session_policy(const struct session *s)
{
    const struct role *role = session_role(s);
    return role != NULL ? role->policy : s->ctx->options->policy;
}

enum outcome role_verdict(struct session *s, enum outcome verdict)
{
    if (verdict == OUTCOME_OK || !policy_reports(session_policy(s)))
        return verdict;
    s->record.would = verdict;
    return OUTCOME_OK;
}

/* Counts the connection for its role and identity, unless it is so already. */
static enum outcome take_place(struct session *s, const struct role *role)
{
    const char *name = role != NULL ? role->name : "";
    const struct identities_client client = {
        .role = name,
        .identity = s->identity != NULL && s->identity[0] != '\0' ? s->identity : NULL,
        .role_max = role != NULL ? role->connections_max : 0,
        .identity_max = role != NULL ? role->per_identity_max : 0,
    };
    if (identities_is_of(&s->counted, name))
        return OUTCOME_OK;
    identities_leave(s->ctx->identities, &s->counted);
    return identities_enter(s->ctx->identities, &client, &s->counted);
}

enum outcome role_check(struct session *s)
{
    const struct role *role = session_role(s);
    const char *name = role != NULL ? role->name : "";
    if (role == NULL && s->identity == NULL) {
        role_leave(s); /* its door may have had one before a reload */
        return OUTCOME_OK;
    }
    s->record.identity = s->identity;
    memcpy(s->record.role, name, strlen(name) + 1);
    if (role != NULL && role->stranger) {
        role_leave(s);
        return OUTCOME_ROLE_UNKNOWN;
    }
    return take_place(s, role);
}

bool role_enter(struct session *s)
{
    if (s->verdict != OUTCOME_OK)
        return true;
    enum outcome verdict = role_check(s);
    return verdict == OUTCOME_OK || preface_turn_away(s, verdict);
}

void role_count(const struct session *s, enum outcome why)
{
    if (s->counted.role == NULL)
        return;
    unsigned status = outcome_info(why)->status;
    bool refused = status == 403 || status == 429;
    identities_count(&s->counted, refused, s->record.would != OUTCOME_OK);
}

void role_leave(struct session *s)
{
    if (s->counted.role != NULL)
        identities_leave(s->ctx->identities, &s->counted);
}

const char *role_refused_by(const struct session *s, enum outcome why, char text[ROLE_RULE_MAX])
{
    const struct role *role = session_role(s);
    /* As policy_upstream() and policy_request() take it. */
    bool connect = s->door == DOOR_GATEWAY || s->record.protocol == PROTOCOL_TUNNEL;
    return role != NULL ? role_rule(role, why, connect, text) : NULL;
}

void role_note_rule(struct session *s, const char *rule)
{
    /* So that the log does not cut the rule off; host and port are fields of their own. */
    enum { DETAIL_MAX = 255 - ROLE_RULE_MAX - 6 };
    char text[256];
    const char *detail = s->record.detail != NULL ? s->record.detail : "";
    int n = snprintf(text, sizeof text, "%.*s%ssee %s", DETAIL_MAX, detail,
                     detail[0] != '\0' ? "; " : "", rule);
    access_record_text(&s->record.detail, (struct span){text, (size_t)n});
}

struct span role_detail(const struct session *s, enum outcome why, char text[ADDR_TEXT_MAX])
{
    if (why == OUTCOME_ROLE_LIMIT)
        return span_of(s->record.role);
    if (why == OUTCOME_ROLE_UNKNOWN || why == OUTCOME_IDENTITY_LIMIT)
        return span_of(s->identity);
    if (why == OUTCOME_CLIENT_CERTIFICATE_INVALID)
        return span_of(""); /* told already */
    return span_of(addr_print(&s->record.client, text));
}

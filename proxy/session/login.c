/*
 * login.c - the password of a request: asked for, checked off the loop, and the answer when it is
 * wrong.
 */
#include "proxy/session/session_impl.h"

#include "proxy/wire/credentials.h"

/* git and curl ask first and repeat on the same connection; a body that we will not read ends that.
 */
static void question(struct session *s, const struct head *head, const struct route *r,
                     enum outcome why)
{
    if (head->minor > 0 && body_is_empty(&r->body) && request_persists(s, head))
        session_refuse_kept(s, why, SPAN(""), head->size);
    else
        session_refuse(s, why, SPAN(""));
}

static void on_checked(void *arg, enum outcome verdict)
{
    struct session *s = arg;
    session_enter(s);
    s->login = NULL;
    s->login_verdict = verdict;
    session_go(s, SESSION_HEAD);
    request_again(s);
    session_leave(s);
}

static enum outcome start_check(struct session *s, const struct credentials *c)
{
    struct authentication_request request = {
        .users = s->ctx->options->users,
        .credentials = c,
        .client = &s->record.client,
        .metrics = s->ctx->metrics,
        .on_done = on_checked,
        .arg = s,
    };
    return authentication_start(s->ctx->authentication, &s->ctx->net, &request, &s->login);
}

/* The verdict on what the request brings; OUTCOME_PENDING: it will come. */
static enum outcome judge(struct session *s, const struct head *head, const char **why)
{
    struct credentials c;
    switch (credentials_parse(&c, head, why)) {
    case CREDENTIALS_NONE:
        return OUTCOME_AUTH_REQUIRED;
    case CREDENTIALS_BAD:
        return OUTCOME_BAD_REQUEST;
    case CREDENTIALS_OK:
        break;
    }
    access_record_text(&s->record.user, span_of(c.user));
    enum outcome verdict =
        s->login_verdict != OUTCOME_PENDING ? s->login_verdict : start_check(s, &c);
    credentials_wipe(&c);
    return verdict;
}

bool login_check(struct session *s, const struct head *head, const struct route *r)
{
    const char *why = "";
    if (s->ctx->options->users == NULL)
        return true;
    enum outcome verdict = judge(s, head, &why);
    if (verdict == OUTCOME_OK)
        return true;
    if (verdict == OUTCOME_PENDING)
        session_go(s, SESSION_LOGIN);
    else if (outcome_info(verdict)->status == 407)
        question(s, head, r, verdict);
    else
        session_refuse(s, verdict, span_of(why));
    return false;
}

void login_ready(struct session *s)
{
    /* A FIN is no departure, as for any request; a reset is. */
    if (s->client.broken)
        session_close(s, OUTCOME_CLIENT_RESET);
}

void login_release(struct session *s)
{
    if (s->login != NULL)
        authentication_cancel(s->login);
    s->login = NULL;
}

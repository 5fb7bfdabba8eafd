/*
 * request.c - a request's first half: octets -> head -> route -> what is done with it.
 */
#include "proxy/session/session_impl.h"

#include <stdio.h>

#include "proxy/base/clock.h"

static bool client_persists(const struct head *head)
{
    /* Proxy-Connection is no standard, but many clients say only that. */
    struct span connection = SPAN("Connection"), proxy_connection = SPAN("Proxy-Connection");
    if (head->minor == 0)
        return head_list_has(head, connection, SPAN("keep-alive")) ||
               head_list_has(head, proxy_connection, SPAN("keep-alive"));
    return !head_list_has(head, connection, SPAN("close")) &&
           !head_list_has(head, proxy_connection, SPAN("close"));
}

bool request_persists(const struct session *s, const struct head *head)
{
    uint64_t max = s->ctx->options->exchanges_max;
    return client_persists(head) && (max == 0 || s->exchanges + 1 < max) && !s->ctx->draining;
}

static void answer_page(struct session *s, const struct head *head, const struct route *r)
{
    const struct session_options *o = s->ctx->options;
    const char *operation = "";
    s->keep = body_is_empty(&r->body) && request_persists(s, head);
    struct control_request request = {
        .head = head,
        .path = r->target.form == TARGET_ORIGIN ? r->target.path : head->target,
        .privileged = policy_control_client(o->policy, &s->record.client) == OUTCOME_OK,
        .close = !s->keep || head->minor == 0,
        .now = time(NULL),
    };
    s->keep = s->keep && head->minor > 0;
    enum outcome verdict =
        control_answer(&s->out, s->ctx->facts, &request, &s->record.status, &operation);
    s->record.operation = operation;
    if (verdict != OUTCOME_OK) {
        session_refuse(s, verdict, request.path);
        return;
    }
    buf_consume(&s->in, head->size);
    s->record.octets_down = buf_len(&s->out);
    session_tell(s, OUTCOME_OK);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

/* What was refused, in words: the parser's or policy's reason, with host and port where they
 * matter. */
static void refuse_route(struct session *s, const struct route *r)
{
    char detail[HOSTNAME_MAX + 128];
    struct span host = r->named ? span_of(r->host.text) : r->target.host;
    int shown = host.len > HOSTNAME_MAX ? HOSTNAME_MAX : (int)host.len;
    if (r->why != NULL)
        (void)snprintf(detail, sizeof detail, "%.*s%s%s", shown, host.ptr != NULL ? host.ptr : "",
                       shown > 0 ? ": " : "", r->why);
    else
        (void)snprintf(detail, sizeof detail, r->host.kind == HOST_IPV6 ? "[%.*s]:%u" : "%.*s:%u",
                       shown, host.ptr != NULL ? host.ptr : "", (unsigned)r->target.port);
    session_refuse(s, r->refusal, span_of(detail));
}

static void note_request(struct session *s, const struct head *head, const struct route *r)
{
    struct access_record *record = &s->record;
    size_t shown = head->method.len < ACCESS_METHOD_MAX ? head->method.len : ACCESS_METHOD_MAX - 1;
    memcpy(record->method, head->method.ptr, shown);
    record->method[shown] = '\0';
    if (r->named)
        access_record_text(&record->host, span_of(r->host.text));
    else if (r->target.host.len > 0)
        access_record_text(&record->host, r->target.host);
    record->port = r->target.port;
    record->would = r->would;
    record->protocol = r->class.protocol;
    record->operation = r->class.operation;
}

/* What is malformed is refused to everybody; what the policy says is told only to those who may
 * ask. */
static bool needs_login(const struct route *r)
{
    return r->kind == ROUTE_TUNNEL || r->kind == ROUTE_FORWARD ||
           (r->kind == ROUTE_REFUSE && outcome_info(r->refusal)->status == 403);
}

static void follow_route(struct session *s, const struct head *head, struct route *r)
{
    switch (r->kind) {
    case ROUTE_REFUSE:
        refuse_route(s, r);
        break;
    case ROUTE_CONTROL:
        answer_page(s, head, r);
        break;
    case ROUTE_TUNNEL:
        connect_begin(s, head, r);
        break;
    case ROUTE_FORWARD:
        forward_begin(s, head, r);
        break;
    }
}

/* What the gateway behind this door makes of it; a reload may have taken its upstreams away. */
static void decide_gateway(struct session *s, const struct head *head, struct route *r)
{
    const struct session_options *o = s->ctx->options;
    if (o->gateway != NULL && gateway_is_safe(s))
        gateway_decide(r, head, o->gateway, span_of(o->name));
    else
        *r = (struct route){
            .kind = ROUTE_REFUSE, .refusal = OUTCOME_UPSTREAM_NONE, .class = {PROTOCOL_OTHER, ""}};
}

static void begin_request(struct session *s, const struct head *head)
{
    const struct session_options *o = s->ctx->options;
    bool gateway = s->door == DOOR_GATEWAY || s->door == DOOR_REDIRECT;
    struct route r;
    if (gateway)
        decide_gateway(s, head, &r);
    else
        route_decide(&r, head, session_policy(s), span_of(o->name));
    note_request(s, head, &r);
    s->scanned = 0;
    if (s->door == DOOR_REDIRECT)
        gateway_redirect(s, head);
    else if (gateway || !needs_login(&r) || login_check(s, head, &r))
        follow_route(s, head, &r);
    body_release(&r.body);
}

/* The first octet of a request: from now on there is something to tell. */
static void begin_head(struct session *s)
{
    if (s->state == SESSION_IDLE)
        session_go(s, SESSION_HEAD);
    if (!s->record.active) {
        s->record.active = true;
        s->record.started_us = clock_us();
    }
}

static void parse_head(struct session *s)
{
    struct head head;
    const char *why = "";
    begin_head(s);
    enum outcome verdict = s->verdict;
    if (verdict == OUTCOME_OK) /* clients.allow may have changed since the last request */
        verdict = preface_judge(s);
    if (verdict == OUTCOME_OK)
        verdict = handshake_judge(s);
    if (verdict == OUTCOME_OK)
        verdict = role_check(s);
    if (verdict != OUTCOME_OK) {
        char text[ADDR_TEXT_MAX];
        session_refuse(s, verdict, role_detail(s, verdict, text));
        return;
    }
    enum head_result result = head_parse(&head, HEAD_REQUEST, buf_head(&s->in), buf_len(&s->in),
                                         &s->ctx->options->head, &s->scanned, &why);
    if (result == HEAD_OK)
        begin_request(s, &head);
    else if (result != HEAD_MORE)
        session_refuse(s, route_head_fault(result, HEAD_REQUEST), span_of(why != NULL ? why : ""));
}

void request_again(struct session *s)
{
    parse_head(s);
}

void request_ready(struct session *s)
{
    /* Octets of a pipelined request, or behind a PROXY header, may be here already. */
    if (s->scanned == 0 && buf_len(&s->in) > 0)
        parse_head(s);
    while ((s->state == SESSION_HEAD || s->state == SESSION_IDLE) && s->client.can_read) {
        if (!session_receive(s))
            break;
        parse_head(s);
    }
    if (s->state == SESSION_IDLE && buf_len(&s->in) == 0)
        buf_release(&s->in);
}

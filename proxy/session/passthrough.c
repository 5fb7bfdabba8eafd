/*
 * passthrough.c - a client that knows of no proxy: the server name in its ClientHello says where
 * its tunnel goes (RFC 6066 section 3). Read, judged as a CONNECT of that name would be, and passed
 * on unaltered; nothing is decrypted, and nothing is written to the client but an alert.
 *
 * No password is asked for: there is no word for it in TLS.
 */
#include "proxy/session/session_impl.h"

#include "proxy/base/clock.h"
#include "proxy/wire/client_hello.h"

static void count_hello(struct session *s, enum metrics_hello what)
{
    metrics_count(&s->ctx->metrics->hellos[what], 1);
}

static void refuse_hello(struct session *s, enum outcome why, enum metrics_hello what,
                         const char *detail)
{
    count_hello(s, what);
    session_refuse(s, why, span_of(detail));
}

/* As a CONNECT that this client would have sent, without a field of its own. */
static void seek(struct session *s, const struct hostname *host)
{
    static const struct head head = {.minor = 1};
    const struct route route = {.kind = ROUTE_TUNNEL,
                                .host = *host,
                                .named = true,
                                .target = {.form = TARGET_AUTHORITY, .port = s->record.port}};
    bool fin = s->tunnel.way[TUNNEL_UP].fin; /* it has said all, which is not much */
    tunnel_init(&s->tunnel, s->ctx->options->buffer_octets, s->ctx->pipes);
    s->tunnel.way[TUNNEL_UP].ended = s->tunnel.way[TUNNEL_UP].fin = fin;
    if (next_hop_begin(s, &head, &route))
        upstream_seek(s, host);
}

static void judge(struct session *s, const struct hostname *host, size_t hello_octets)
{
    const struct span hello = {buf_head(&s->in), hello_octets};
    enum outcome verdict =
        role_verdict(s, policy_request(session_policy(s), host, s->record.port, PROTOCOL_TUNNEL));
    if (verdict != OUTCOME_OK) {
        session_refuse(s, verdict, span_of(host->text));
        return;
    }
    count_hello(s, METRICS_HELLO_NAMED);
    verdict = loop_guard_enter(s->ctx->loop_guard, hello, &s->pass);
    if (verdict == OUTCOME_OK)
        seek(s, host);
    else if (verdict == OUTCOME_LOOP)
        session_refuse(s, verdict,
                       SPAN("this ClientHello is on its way already: the name leads back to us, or "
                            "another connection has the same one unanswered"));
    else
        session_refuse(s, verdict, SPAN(""));
}

/* A whole hello. */
static void take_name(struct session *s, const struct client_hello *hello)
{
    struct hostname host;
    const char *why = "";
    if (!hello->has_sni) {
        refuse_hello(s, OUTCOME_SNI_MISSING, METRICS_HELLO_MISSING, "");
        return;
    }
    access_record_text(&s->record.sni, span_of(hello->sni));
    access_record_text(&s->record.host, span_of(hello->sni));
    s->record.port = session_door(s)->port;
    if (hostname_parse(&host, span_of(hello->sni), &why) != 0 || host.kind != HOST_NAME) {
        refuse_hello(s, OUTCOME_HELLO_MALFORMED, METRICS_HELLO_MALFORMED, why);
        return;
    }
    access_record_text(&s->record.host, span_of(host.text));
    judge(s, &host, hello->size);
}

static void look(struct session *s)
{
    struct client_hello hello;
    switch (client_hello_parse(&hello, buf_head(&s->in), buf_len(&s->in))) {
    case CLIENT_HELLO_MORE:
        if (s->tunnel.way[TUNNEL_UP].ended)
            session_close(s, OUTCOME_CLIENT_LEFT);
        return;
    case CLIENT_HELLO_NOT_TLS:
        refuse_hello(s, OUTCOME_HELLO_NOT_TLS, METRICS_HELLO_NOT_TLS, "");
        return;
    case CLIENT_HELLO_MALFORMED:
        refuse_hello(s, OUTCOME_HELLO_MALFORMED, METRICS_HELLO_MALFORMED, "");
        return;
    case CLIENT_HELLO_OK:
        take_name(s, &hello);
        return;
    }
}

/* The first octets: from now on there is something to tell. */
static void begin_record(struct session *s)
{
    if (s->record.active)
        return;
    s->record.active = true;
    s->record.started_us = clock_us();
    s->record.protocol = PROTOCOL_TUNNEL;
}

void passthrough_ready(struct session *s)
{
    char text[ADDR_TEXT_MAX];
    enum outcome verdict = s->verdict;
    /* What came behind a PROXY header may be here already. */
    if (!connect_collect(s))
        return;
    if (buf_len(&s->in) == 0) {
        if (s->tunnel.way[TUNNEL_UP].ended)
            session_close(s, OUTCOME_CLIENT_LEFT);
        return;
    }
    begin_record(s);
    if (verdict == OUTCOME_OK) /* clients.allow may have changed meanwhile */
        verdict = preface_judge(s);
    if (verdict == OUTCOME_OK)
        verdict = role_check(s);
    if (verdict != OUTCOME_OK)
        session_refuse(s, verdict, role_detail(s, verdict, text));
    else
        look(s);
}

void passthrough_due(struct session *s)
{
    /* A bare TCP probe is no event; half a hello is. */
    if (s->record.active)
        refuse_hello(s, OUTCOME_HELLO_TIMEOUT, METRICS_HELLO_TIMEOUT, "");
    else
        session_close(s, OUTCOME_CLIENT_LEFT);
}

void passthrough_release(struct session *s)
{
    loop_guard_leave(s->ctx->loop_guard, s->pass);
    s->pass = NULL;
}

/*
 * gateway_door.c - the gateway's own words: what it adds to a request for the upstream, and the
 * answer of the door before it, where plain HTTP is sent to https.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/net/tls_peer.h"
#include "proxy/session/forward_impl.h"
#include "proxy/wire/reply.h"
#include "proxy/wire/rewrite.h"

enum { CLIENT_CERT_MAX = 64 * 1024 /* octets of the field */ };

/* ---- up ---- */

/* Not what the door says: that may have changed since. */
static bool is_inside_tls(const struct session *s)
{
    return s->client.layer != NULL;
}

/* Where the client has come to. */
static struct addr own_address(const struct session *s)
{
    struct addr own = {0};
    socklen_t size = sizeof own;
    if (getsockname(s->client.fd, &own.sa, &size) != 0)
        return (struct addr){0};
    addr_unmap(&own);
    return own;
}

/* What bound_check() has seen to; once more, where it would be a device's secret that goes out. */
bool gateway_is_safe(const struct session *s)
{
    if (s->door == DOOR_REDIRECT || is_inside_tls(s))
        return true;
    struct addr own = own_address(s);
    return own.sa.sa_family == AF_INET6  ? IN6_IS_ADDR_LOOPBACK(&own.in6.sin6_addr)
           : own.sa.sa_family == AF_INET ? ntohl(own.in.sin_addr.s_addr) >> 24 == 127
                                         : false;
}

static bool is_named(const struct session *s, const struct gateway_options *g)
{
    return g->forwarded_for &&
           !prefix_match_any(g->forwarded_except, g->forwarded_except_count, &s->record.client);
}

/* What URLs of the upstream become: those by which the client has come. */
static int keep_place(struct session *s, const struct head *head, const struct gateway_options *g)
{
    char authority[GATEWAY_AUTHORITY_MAX];
    const char *why, *scheme = is_inside_tls(s) ? "https" : "http";
    if (gateway_authority(authority, head, g, 0, &why) != OUTCOME_OK || authority[0] == '\0')
        return 0;
    return asprintf(&s->exchange->place, "%s://%s", scheme, authority) < 0 ? -ENOMEM : 0;
}

int gateway_write_head(struct session *s, const struct head *head, const struct route *r)
{
    const struct gateway_options *g = s->ctx->options->gateway;
    char client[ADDR_TEXT_MAX], port[8];
    bool tls = is_inside_tls(s);
    struct rewrite_gateway ours = {.client_cert = SPAN("")};
    struct rewrite_request request = {
        .head = head,
        .target = &r->target,
        .host = SPAN(""),
        .body = &r->body,
        .via = span_of(s->ctx->options->name),
        .forwarded_for = SPAN(""),
        .gateway = &ours,
    };
    ours.forwarded_for = is_named(s, g) ? span_of(addr_print(&s->record.client, client)) : SPAN("");
    ours.forwarded_proto = !g->forwarded_proto ? SPAN("") : tls ? SPAN("https") : SPAN("http");
    struct addr own = own_address(s);
    (void)snprintf(port, sizeof port, "%u", (unsigned)addr_port(&own));
    ours.forwarded_port = g->forwarded_port ? span_of(port) : SPAN("");
    struct buf shown;
    buf_init(&shown, CLIENT_CERT_MAX);
    int rc = keep_place(s, head, g);
    if (rc == 0 && g->client_cert_field)
        rc = tls_peer_field(&s->client, &shown);
    ours.client_cert = buf_span(&shown);
    if (rc == 0)
        rc = rewrite_request(&s->exchange->up, &request);
    buf_release(&shown);
    return rc;
}

/* ---- the redirect ---- */

/* Nothing goes on from here; and yet what two readers could take for two things gets no answer that
 * belongs to one. */
static enum outcome check_framing(const struct head *head, const char **why)
{
    struct body body;
    int rc = body_of_request(&body, head, why);
    body_release(&body);
    return rc == 0 ? OUTCOME_OK : OUTCOME_BAD_FRAMING;
}

/* "Location: https://host/path"; the path has been read strictly, so it ends no line. */
static enum outcome write_location(struct buf *out, const struct head *head,
                                   const struct gateway_options *g, const char **why)
{
    char authority[GATEWAY_AUTHORITY_MAX];
    struct target target;
    enum outcome verdict = gateway_authority(authority, head, g, g->redirect_port, why);
    if (verdict != OUTCOME_OK)
        return verdict;
    if (authority[0] == '\0')
        return OUTCOME_BAD_HOST;
    if (target_parse(&target, head->method, head->target, why) != TARGET_OK)
        return OUTCOME_BAD_TARGET;
    if (target.form != TARGET_ORIGIN) {
        *why = "here is no proxy but a redirect: ask for /path";
        return OUTCOME_BAD_TARGET;
    }
    if (check_framing(head, why) != OUTCOME_OK)
        return OUTCOME_BAD_FRAMING;
    int rc = buf_printf(out, "Location: https://%s", authority);
    if (rc == 0)
        rc = buf_add_span(out, target.path);
    if (rc == 0)
        rc = buf_add(out, "\r\n", sizeof "\r\n"); /* and the NUL */
    return rc == 0 ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

/*
 * 308, so that a POST stays one (RFC 9110 section 15.4.9). The connection ends: whatever follows
 * belongs to the other port.
 */
void gateway_redirect(struct session *s, const struct head *head)
{
    const struct gateway_options *g = s->ctx->options->gateway;
    const char *why = NULL;
    struct buf location;
    buf_init(&location, head->target.len + GATEWAY_AUTHORITY_MAX + 64);
    enum outcome verdict =
        g != NULL ? write_location(&location, head, g, &why) : OUTCOME_UPSTREAM_NONE;
    struct reply reply = {
        .status = 308, .phrase = "Permanent Redirect", .close = true, .now = time(NULL)};
    if (verdict == OUTCOME_OK) {
        reply.extra = buf_head(&location);
        verdict = reply_write(&s->out, &reply) == 0 ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    buf_release(&location);
    if (verdict != OUTCOME_OK) {
        session_refuse(s, verdict, span_of(why != NULL ? why : ""));
        return;
    }
    buf_consume(&s->in, head->size);
    s->keep = false;
    s->record.status = reply.status;
    s->record.octets_down = buf_len(&s->out);
    session_tell(s, OUTCOME_OK);
    session_go(s, SESSION_ANSWER);
    session_send_answer(s);
}

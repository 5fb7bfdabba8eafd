#include "proxy/session/gateway.h"

#include <stdio.h>

#include "proxy/wire/rewrite.h"

enum { HTTPS_PORT = 443 };

static void refuse(struct route *r, enum outcome o, const char *why)
{
    r->kind = ROUTE_REFUSE;
    r->refusal = o;
    if (why != NULL)
        r->why = why;
}

/* ---- Host ---- */

/* "host[:port]", judged by head_parse() already. */
static void split(struct span value, struct span *host, unsigned *port)
{
    size_t at = value.len;
    *port = 0;
    while (at > 0 && value.ptr[at - 1] >= '0' && value.ptr[at - 1] <= '9')
        at--;
    if (at == 0 || value.ptr[at - 1] != ':') {
        *host = value;
        return;
    }
    for (size_t i = at; i < value.len && *port <= UINT16_MAX; i++)
        *port = *port * 10 + (unsigned)(value.ptr[i] - '0');
    *host = (struct span){value.ptr, at - 1};
}

static bool is_ours(const struct gateway_options *o, const struct hostname *host)
{
    for (size_t i = 0; i < o->name_count; i++) {
        if (strcmp(o->names[i].text, host->text) == 0)
            return true;
    }
    return o->name_count == 0;
}

enum outcome gateway_authority(char authority[GATEWAY_AUTHORITY_MAX], const struct head *head,
                               const struct gateway_options *o, uint16_t port, const char **why)
{
    const struct head_field *f = head_find(head, SPAN("Host"));
    struct hostname host;
    struct span text;
    unsigned written;
    authority[0] = '\0';
    if (f == NULL || f->value.len == 0) {
        *why = "the request names no host";
        return o->name_count == 0 ? OUTCOME_OK : OUTCOME_GATEWAY_NAME_UNKNOWN;
    }
    split(f->value, &text, &written);
    if (hostname_parse(&host, text, why) != 0)
        return OUTCOME_BAD_HOST;
    *why = "it is not in gateway.names";
    if (!is_ours(o, &host))
        return OUTCOME_GATEWAY_NAME_UNKNOWN;
    bool v6 = host.kind == HOST_IPV6;
    int len = snprintf(authority, GATEWAY_AUTHORITY_MAX, "%s%s%s", v6 ? "[" : "", host.text,
                       v6 ? "]" : "");
    written = port > 0 ? (port == HTTPS_PORT ? 0 : port) : written;
    if (written > 0 && written <= UINT16_MAX)
        (void)snprintf(authority + len, (size_t)(GATEWAY_AUTHORITY_MAX - len), ":%u", written);
    return OUTCOME_OK;
}

/* ---- the route ---- */

/* All that enrollment protocols use; nothing else is to reach an upstream. */
static bool is_method(struct span method)
{
    return span_is(method, SPAN("GET")) || span_is(method, SPAN("POST")) ||
           span_is(method, SPAN("HEAD"));
}

static struct span path_of(struct span path)
{
    const char *query = memchr(path.ptr, '?', path.len);
    return (struct span){path.ptr, query != NULL ? (size_t)(query - path.ptr) : path.len};
}

/* What the log is told of refusals; the upstream's name takes its place otherwise. */
static void note_host(struct route *r, const struct head *head)
{
    const struct head_field *f = head_find(head, SPAN("Host"));
    unsigned port;
    if (f != NULL)
        split(f->value, &r->target.host, &port);
}

static void decide_path(struct route *r, const struct gateway_options *o)
{
    struct span path = path_of(r->target.path);
    const char *fault = paths_fault(path);
    if (fault != NULL)
        refuse(r, OUTCOME_PATH_DENIED, fault);
    else if (!paths_allow(o->paths, path))
        refuse(r, OUTCOME_PATH_DENIED, "the path is not in gateway.paths");
}

void gateway_decide(struct route *r, const struct head *head, const struct gateway_options *o,
                    struct span name)
{
    char authority[GATEWAY_AUTHORITY_MAX];
    const char *why = NULL;
    *r = (struct route){.kind = ROUTE_FORWARD, .class = {PROTOCOL_OTHER, ""}};
    enum target_result result = target_parse(&r->target, head->method, head->target, &why);
    if (result == TARGET_OK && r->target.form == TARGET_ORIGIN)
        r->class = classify_request(head, &r->target);
    enum outcome named = gateway_authority(authority, head, o, 0, &r->why);
    note_host(r, head);
    if (result != TARGET_OK)
        refuse(r, OUTCOME_BAD_TARGET, why);
    else if (r->target.form != TARGET_ORIGIN)
        refuse(r, OUTCOME_BAD_TARGET, "here is no proxy but a gateway: ask for /path");
    else if (named != OUTCOME_OK)
        refuse(r, named, NULL);
    else if (!is_method(head->method))
        refuse(r, OUTCOME_METHOD_DENIED, "GET, HEAD and POST are forwarded");
    else if (rewrite_loops(head, name))
        refuse(r, OUTCOME_LOOP, "Via names us");
    else if (body_of_request(&r->body, head, &r->why) != 0)
        refuse(r, OUTCOME_BAD_FRAMING, NULL);
    else
        decide_path(r, o);
}

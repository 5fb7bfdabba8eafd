#include "proxy/control/control.h"

#include <stdio.h>

#include "proxy/control/status.h"
#include "proxy/wire/reply.h"

struct page {
    struct span path;
    bool privileged; /* for control.allow only */
    const char *operation;
    /* Fills `reply` (status, phrase, type, body, extra); text goes to `text`. 0 or a negative
     * errno. */
    int (*make)(struct reply *reply, struct buf *text, const struct control_facts *facts,
                const struct control_request *request);
};

static const char no_store[] = "Cache-Control: no-store\r\n";

static void plain(struct reply *reply, unsigned status, const char *phrase, struct span body)
{
    reply->status = status;
    reply->phrase = phrase;
    reply->content_type = "text/plain; charset=utf-8";
    reply->body = body;
    reply->extra = no_store;
}

static int make_healthz(struct reply *reply, struct buf *text, const struct control_facts *facts,
                        const struct control_request *request)
{
    (void)text;
    (void)facts;
    (void)request;
    plain(reply, 200, "OK", SPAN("alive\n"));
    return 0;
}

static int make_readyz(struct reply *reply, struct buf *text, const struct control_facts *facts,
                       const struct control_request *request)
{
    (void)request;
    const char *why = facts->not_ready(facts->arg);
    if (why == NULL) {
        plain(reply, 200, "OK", SPAN("ready\n"));
        return 0;
    }
    int rc = buf_printf(text, "not ready: %s\n", why);
    plain(reply, 503, "Not ready", buf_span(text));
    return rc;
}

static int make_metrics(struct reply *reply, struct buf *text, const struct control_facts *facts,
                        const struct control_request *request)
{
    (void)request;
    int rc = facts->metrics(facts->arg, text);
    plain(reply, 200, "OK", buf_span(text));
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return rc;
}

static int make_status(struct reply *reply, struct buf *text, const struct control_facts *facts,
                       const struct control_request *request)
{
    (void)request;
    int rc = facts->status(facts->arg, text);
    plain(reply, 200, "OK", buf_span(text));
    reply->content_type = "text/html; charset=utf-8";
    reply->extra = status_fields;
    return rc;
}

/* RFC 9110 section 13.1.2: weak comparison with a list of entity tags, or "*". */
static bool none_match_has(const struct head *head, const char *etag)
{
    char weak[64];
    (void)snprintf(weak, sizeof weak, "W/%s", etag);
    return head_list_has(head, SPAN("If-None-Match"), span_of(etag)) ||
           head_list_has(head, SPAN("If-None-Match"), span_of(weak)) ||
           head_list_has(head, SPAN("If-None-Match"), SPAN("*"));
}

/* A document with its validators, or 304 when the client has it. `text` keeps the field lines. The
 * signature is of the body, so it goes with the body: two workers sign the same text with
 * different octets, and both are right. */
static int document(struct reply *reply, struct buf *text, const struct control_document *doc,
                    const char *type, const struct control_request *request)
{
    int rc = buf_printf(text, "ETag: %s\r\nCache-Control: max-age=%u\r\n", doc->etag, doc->max_age);
    bool same = none_match_has(request->head, doc->etag);
    if (rc == 0 && !same && doc->signature != NULL)
        rc = buf_printf(text, "Certferry-Signature: %s\r\n", doc->signature);
    if (rc == 0)
        rc = buf_add(text, "", 1); /* ends the field lines, which are handed on as a string */
    if (rc != 0)
        return rc;
    reply->status = same ? 304 : 200;
    reply->phrase = same ? "Not Modified" : "OK";
    reply->content_type = same ? NULL : type;
    reply->body = doc->text;
    reply->extra = buf_head(text);
    return 0;
}

static int make_pvd(struct reply *reply, struct buf *text, const struct control_facts *facts,
                    const struct control_request *request)
{
    struct control_document doc;
    int rc = facts->pvd(facts->arg, &doc);
    return rc == 0 ? document(reply, text, &doc, "application/pvd+json", request) : rc;
}

static int make_pac(struct reply *reply, struct buf *text, const struct control_facts *facts,
                    const struct control_request *request)
{
    struct control_document doc;
    int rc = facts->pac(facts->arg, &doc);
    return rc == 0 ? document(reply, text, &doc, "application/x-ns-proxy-autoconfig", request) : rc;
}

static const struct page pages[] = {
    {{"/healthz", 8}, false, "healthz", make_healthz},
    {{"/readyz", 7}, false, "readyz", make_readyz},
    {{"/.well-known/pvd", 16}, false, "pvd", make_pvd},
    {{"/proxy.pac", 10}, false, "pac", make_pac},
    {{"/metrics", 8}, true, "metrics", make_metrics},
    {{"/", 1}, true, "status", make_status},
};

static const struct page *find_page(struct span path)
{
    const char *query = memchr(path.ptr, '?', path.len);
    if (query != NULL)
        path.len = (size_t)(query - path.ptr);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (span_is(path, pages[i].path))
            return &pages[i];
    }
    return NULL;
}

/* Who is no member of a roster has none to tell. */
static bool is_offered(const struct page *page, const struct control_facts *facts)
{
    return (page->make != make_pvd || facts->pvd != NULL) &&
           (page->make != make_pac || facts->pac != NULL) &&
           (page->make != make_status || facts->status != NULL);
}

enum outcome control_answer(struct buf *out, const struct control_facts *facts,
                            const struct control_request *request, unsigned *status,
                            const char **operation)
{
    const struct page *page = find_page(request->path);
    if (page == NULL || !is_offered(page, facts))
        return OUTCOME_NOT_FOUND;
    *operation = page->operation;
    bool is_head = span_is(request->head->method, SPAN("HEAD"));
    if (!is_head && !span_is(request->head->method, SPAN("GET")))
        return OUTCOME_METHOD_NOT_ALLOWED;
    if (page->privileged && !request->privileged)
        return OUTCOME_CONTROL_DENIED;

    struct reply reply = {.head_only = is_head, .close = request->close, .now = request->now};
    struct buf text;
    buf_init(&text, CONTROL_ANSWER_MAX);
    int rc = page->make(&reply, &text, facts, request);
    if (rc == 0)
        rc = reply_write(out, &reply);
    buf_release(&text);
    *status = reply.status;
    return rc == 0 ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

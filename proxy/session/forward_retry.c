/*
 * forward_retry.c - a plain-HTTP exchange whose parent proxy has failed goes to the next one, as
 * long as nobody can notice: when the request may be sent once more, and what is kept for that.
 */
#include "proxy/session/forward_impl.h"

#include <errno.h>
#include <stdio.h>

#include "proxy/wire/proxy_status.h"
#include "proxy/wire/rewrite.h"

/* ---- what is kept ---- */

void forward_keep(struct session *s, const struct span *payload)
{
    struct exchange *ex = s->exchange;
    bool chunked = ex->request_body.kind == BODY_CHUNKED;
    int rc = 0;
    if (s->hop == NULL || ex->again_cut || ex->responded)
        return;
    if (payload == NULL)
        rc = forward_deliver_end(&ex->again, chunked, &ex->request_body);
    else if (chunked)
        rc = buf_printf(&ex->again, "%zx\r\n", payload->len);
    if (rc == 0 && payload != NULL)
        rc = buf_add_span(&ex->again, *payload);
    if (rc == 0 && payload != NULL && chunked)
        rc = buf_add_str(&ex->again, "\r\n");
    if (rc == 0)
        return;
    /* Too long to be kept, so it will not be repeated. */
    ex->again_cut = true;
    buf_release(&ex->again);
}

int forward_refill(struct session *s)
{
    struct exchange *ex = s->exchange;
    struct span all = buf_span(&ex->again);
    buf_release(&ex->up);
    if (s->hop == NULL)
        return buf_add_span(&ex->up, all);
    if (ex->head_octets == 0)
        ex->head_octets = all.len;
    const struct parent *p = next_hop_parent(s);
    struct span head = {all.ptr, ex->head_octets};
    int rc = next_hop_is_origin(s) ? rewrite_address(&ex->up, head, span_of(p->authority))
                                   : rewrite_authorize(&ex->up, head, span_of(p->authorization));
    ex->up_head_octets = buf_len(&ex->up);
    if (rc != 0)
        return rc;
    return buf_add_span(&ex->up,
                        (struct span){all.ptr + ex->head_octets, all.len - ex->head_octets});
}

/* ---- whether ---- */

/* Not an octet of the body has gone, and there is one: the origin cannot have begun. */
static bool body_is_unsent(const struct exchange *ex)
{
    return ex->sent <= ex->up_head_octets && !body_is_empty(&ex->request_body);
}

static bool is_silent(const struct session *s)
{
    return s->record.octets_down == 0 && buf_len(&s->exchange->down) == 0;
}

/* Back to where the request stood when it had not been sent. */
static void rewind_exchange(struct exchange *ex)
{
    ex->pooled = ex->origin_deaf = ex->keep_origin = false;
    ex->sent = 0;
    ex->scanned = 0;
    ex->interim = 0;
    buf_release(&ex->reply);
}

bool forward_retry(struct session *s, enum parent_result result, bool unforwarded,
                   const char *detail)
{
    struct exchange *ex = s->exchange;
    if (s->hop == NULL || ex->responded)
        return false;
    next_hop_note(s, result, detail);
    /* What an upstream of the gateway may have got is the client's to ask for again. */
    bool may = unforwarded || ex->sent == 0 || (ex->idempotent && !next_hop_is_origin(s));
    if (!may || ex->again_cut || !is_silent(s) || s->client.broken)
        return false;
    if (s->state == SESSION_EXCHANGE)
        next_hop_restart(s); /* the connection had been made in time; so may the next be */
    if (!next_hop_another(s))
        return false;
    stream_close(&s->origin);
    rewind_exchange(ex);
    if (forward_refill(s) != 0)
        session_refuse(s, OUTCOME_NO_MEMORY, SPAN(""));
    else
        upstream_dial(s, NULL);
    return true;
}

uint64_t forward_patience_ms(const struct session *s)
{
    const struct exchange *ex = s->exchange;
    uint64_t ms = session_idle_ms(s, s->ctx->options->response_ms);
    /* With another one to ask there is no need to wait for this one to the end. */
    if (s->hop == NULL || next_hop_is_origin(s) || !ex->idempotent || !is_silent(s) ||
        !next_hop_has_more(s))
        return ms;
    uint64_t attempt_ms = next_hop_attempt_ms(s);
    return attempt_ms < ms ? attempt_ms : ms;
}

/* ---- answers ---- */

/* Somebody behind the parent has said it, or may have. */
static bool is_from_behind(const struct head *head)
{
    return head_find(head, SPAN("Via")) != NULL;
}

/*
 * Ours is wrong: that is no business of the client's, who would send its own. Only the parent
 * itself proves by it that nothing was forwarded; an origin, too, may answer 407.
 */
static void password_refused(struct session *s, const struct head *head)
{
    char detail[PARENT_LABEL_MAX + 32];
    bool own = !is_from_behind(head);
    (void)snprintf(detail, sizeof detail, "%s: answered 407", next_hop_parent(s)->label);
    if (!forward_retry(s, own ? PARENT_PASSWORD : PARENT_DECLINED, own, "answered 407"))
        session_refuse(s, OUTCOME_PARENT_PASSWORD, span_of(detail));
}

/* Its own words go to the client; log and Proxy-Status say whose they are. */
static void note_answer(struct session *s, const struct head *head)
{
    struct exchange *ex = s->exchange;
    char detail[PARENT_LABEL_MAX + 128];
    ex->of_parent = head->status >= 400 && proxy_status_is_proxys(head);
    if (!ex->of_parent)
        return;
    int shown = head->reason.len < 80 ? (int)head->reason.len : 80;
    (void)snprintf(detail, sizeof detail, "%s: answered %u %.*s", next_hop_parent(s)->label,
                   head->status, shown, head->reason.ptr);
    access_record_text(&s->record.detail, span_of(detail));
}

bool forward_declined(struct session *s, const struct head *head)
{
    char detail[32];
    bool proven = false, declines = false;
    if (s->hop == NULL)
        return false;
    if (next_hop_is_origin(s)) { /* whatever it says is meant for the client */
        next_hop_note(s, PARENT_OK, "");
        return false;
    }
    switch (head->status) {
    case 407:
        password_refused(s, head);
        return true;
    case 429: /* of a CA's own it is meant for the client */
        proven = declines = proxy_status_unforwarded(head);
        break;
    case 502:
    case 503:
    case 504:
        /* Of a CA's own another parent would get the same. */
        declines = !is_from_behind(head) || proxy_status_is_proxys(head);
        proven = proxy_status_unforwarded(head) || body_is_unsent(s->exchange);
        break;
    default:
        break;
    }
    (void)snprintf(detail, sizeof detail, "answered %u", head->status);
    if (declines && forward_retry(s, PARENT_DECLINED, proven, detail))
        return true;
    if (!declines)
        next_hop_note(s, PARENT_OK, "");
    note_answer(s, head);
    return false;
}

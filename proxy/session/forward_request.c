/*
 * forward_request.c - a request on its way up: its body is read in one framing and written in
 * another, as fast as the origin takes it.
 */
#include "proxy/session/forward_impl.h"

#include <errno.h>

/* The origin stopped taking octets. Its response, perhaps a refusal of the body, may be on its way.
 */
static void origin_is_deaf(struct exchange *ex)
{
    ex->origin_deaf = true;
    ex->keep_origin = false;
    buf_release(&ex->up);
}

/* What became of octets for the origin: 0 or a negative errno. False: the session has ended. */
static bool sent_up(struct session *s, int rc)
{
    if (rc == -ENOMEM || rc == -ENOBUFS) {
        /* Octets are lost: the origin must not take what it has for all. */
        forward_fail(s, OUTCOME_NO_MEMORY, SPAN(""));
        return false;
    }
    if (rc != 0)
        origin_is_deaf(s->exchange);
    return true;
}

/*
 * Takes request body octets; `*used` says how many, the others belong to the next request.
 * False: the session has ended.
 */
static bool feed_request(struct session *s, struct span data, size_t *used)
{
    struct exchange *ex = s->exchange;
    bool chunked = ex->request_body.kind == BODY_CHUNKED;
    const char *why = "";
    *used = 0;
    for (;;) {
        size_t step = 0;
        struct span payload = {"", 0};
        enum body_event event =
            body_next(&ex->request_body, data.ptr + *used, data.len - *used, &step, &payload, &why);
        *used += step;
        if (event == BODY_MORE)
            return true;
        if (event == BODY_BAD) {
            forward_fail(s, OUTCOME_BODY_MALFORMED, span_of(why));
            return false;
        }
        if (event == BODY_END) {
            ex->request_ended = true;
            if (next_hop_is_origin(s)) /* see rewrite.h */
                buf_release(&ex->request_body.trailers);
            forward_keep(s, NULL);
            return ex->origin_deaf ||
                   sent_up(s, forward_deliver_end(&ex->up, chunked, &ex->request_body));
        }
        forward_keep(s, &payload);
        if (!ex->origin_deaf &&
            !sent_up(s, forward_deliver_payload(&ex->up, &s->origin, chunked, payload, &ex->sent)))
            return false;
    }
}

/* Octets of the body that came with the head or behind the last request. False: the session has
 * ended. */
static bool feed_from_buffer(struct session *s)
{
    size_t used;
    if (!feed_request(s, buf_span(&s->in), &used))
        return false;
    buf_consume(&s->in, used);
    return true;
}

/* One receive of body octets. False: nothing came, or the session has ended. */
static bool feed_from_client(struct session *s)
{
    size_t most = s->ctx->options->buffer_octets;
    most = most < s->ctx->scratch_octets ? most : s->ctx->scratch_octets;
    most =
        most < buf_room(&s->in) ? most : buf_room(&s->in); /* the next request's may come with it */
    ssize_t n = stream_receive(&s->client, s->ctx->scratch, most);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        enum outcome why = n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET;
        if (forward_is_cut(s))
            session_abort(s, why); /* it may still be reading */
        else
            session_close(s, why);
        return false;
    }
    size_t used;
    struct span data = {s->ctx->scratch, (size_t)n};
    if (!feed_request(s, data, &used))
        return false;
    if (buf_add(&s->in, data.ptr + used, data.len - used) != 0) {
        session_abort(s, OUTCOME_NO_MEMORY);
        return false;
    }
    return true;
}

/* Brings the request on as far as it goes. False: the session has ended. */
bool forward_pump_up(struct session *s)
{
    struct exchange *ex = s->exchange;
    /* What came behind the head goes out with it. */
    if (!ex->request_ended && buf_len(&ex->up) > 0 && buf_len(&s->in) > 0 &&
        buf_len(&s->in) <= s->ctx->options->buffer_octets && !feed_from_buffer(s))
        return false;
    for (unsigned turns = FORWARD_TURN_RECEIVES;; turns--) {
        if (!ex->origin_deaf && !sent_up(s, forward_flush(&ex->up, &s->origin, &ex->sent)))
            return false;
        if (ex->request_ended || buf_len(&ex->up) > 0)
            return true;
        if (buf_len(&s->in) > 0) {
            if (!feed_from_buffer(s))
                return false;
            continue;
        }
        if (turns == 0) {
            stream_resume(&s->client);
            return true;
        }
        if (!s->client.can_read)
            return true;
        if (!feed_from_client(s))
            return s->state == SESSION_EXCHANGE;
    }
}

#include "proxy/session/upstream_check.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/net/stream.h"
#include "proxy/net/stream_tls.h"

/* One upstream. */
struct probe {
    struct upstream_check *check;
    size_t at;         /* in the list */
    struct dial *dial; /* under way, or NULL */
    struct stream stream;
    struct deadline deadline;
    unsigned bad, good; /* in a row */
};

struct upstream_check {
    struct netloop net;
    uv_timer_t timer;
    const struct policy *policy; /* borrowed */
    struct parents *list;        /* counted; NULL: none */
    struct probe *probe;         /* owned; one for each of the list */
    size_t count;
    struct dial_options dial_options;
};

static const struct parent *upstream_of(const struct probe *p)
{
    return parents_at(p->check->list, p->at);
}

static void stop(struct probe *p)
{
    if (p->dial != NULL)
        dial_cancel(p->dial);
    p->dial = NULL;
    stream_close(&p->stream);
    deadline_clear(p->check->net.deadlines, &p->deadline);
}

/* The check has come to `why`; NULL: it went well. */
static void finish(struct probe *p, const char *why)
{
    stop(p);
    p->good = why == NULL ? p->good + 1 : 0;
    p->bad = why != NULL ? p->bad + 1 : 0;
    if (p->bad == UPSTREAM_CHECK_FALL)
        parents_tell(p->check->list, p->at, true, why);
    else if (p->good == UPSTREAM_CHECK_RISE)
        parents_tell(p->check->list, p->at, false, "");
}

static void shake_hands(struct probe *p)
{
    const char *why = "";
    int rc = stream_tls_handshake(&p->stream, &why);
    if (rc == 0)
        finish(p, NULL);
    else if (rc != -EAGAIN)
        finish(p, why);
}

static void on_stream_ready(struct stream *s)
{
    shake_hands(LIST_ITEM(s, struct probe, stream));
}

static void on_due(struct deadline *d)
{
    finish(LIST_ITEM(d, struct probe, deadline), "no answer in time");
}

static void on_dialled(void *arg, const struct dial_result *result)
{
    struct probe *p = arg;
    const struct parent *up = upstream_of(p);
    struct tls_client *tls = parents_options(p->check->list)->tls;
    struct tls_mailbox *mailbox = p->check->net.tls;
    p->dial = NULL;
    if (result->outcome != OUTCOME_OK) {
        finish(p, outcome_info(result->outcome)->token);
        return;
    }
    stream_adopt(&p->stream, p->check->net.poller, result->slot, result->fd, result->events);
    /* The key in a device may have no loop here to answer to: a connection must do then. */
    if (mailbox == NULL && tls_client_has_device(tls))
        finish(p, NULL);
    else if (tls_client_begin(tls, &p->stream, mailbox,
                              up->host.kind == HOST_NAME ? up->host.text : NULL, &up->host.addr,
                              0) != 0)
        stop(p); /* our own fault: it says nothing of the upstream */
    else
        shake_hands(p);
}

static enum outcome on_guard(void *arg, const struct addr *address)
{
    const struct probe *p = arg;
    return policy_address(p->check->policy, address, NULL);
}

static void start(struct probe *p)
{
    const struct parent *up = upstream_of(p);
    struct upstream_check *c = p->check;
    struct dial_request request = {
        .name = up->host.kind == HOST_NAME ? up->host.text : NULL,
        .literal = &up->host.addr,
        .port = up->port,
        .options = &c->dial_options,
        .guard = on_guard,
        .on_done = on_dialled,
        .arg = p,
    };
    if (p->dial != NULL || stream_is_open(&p->stream) ||
        policy_request(c->policy, &up->host, up->port, PROTOCOL_TUNNEL) != OUTCOME_OK)
        return;
    p->dial = dial_start(&c->net, &request);
    if (p->dial != NULL)
        deadline_set(c->net.deadlines, &p->deadline, parents_options(c->list)->attempt_ms);
}

static void on_timer(uv_timer_t *timer)
{
    struct upstream_check *c = timer->data;
    for (size_t i = 0; i < c->count; i++)
        start(&c->probe[i]);
}

static void forget(struct upstream_check *c)
{
    (void)uv_timer_stop(&c->timer);
    for (size_t i = 0; i < c->count; i++)
        stop(&c->probe[i]);
    free(c->probe);
    parents_unref(c->list);
    c->probe = NULL;
    c->list = NULL;
    c->count = 0;
}

void upstream_check_use(struct upstream_check *c, struct parents *upstreams,
                        const struct policy *policy, const struct dial_options *dial,
                        uint64_t interval_ms)
{
    forget(c);
    size_t count = upstreams != NULL && interval_ms > 0 ? parents_count(upstreams) : 0;
    c->policy = policy;
    if (count == 0)
        return;
    c->dial_options = *dial;
    c->dial_options.timeout_ms = parents_options(upstreams)->attempt_ms;
    c->probe = calloc(count, sizeof *c->probe);
    if (c->probe == NULL) {
        log_line(LOG_ERROR, "gateway.check.interval: out of memory, upstreams are not checked");
        return;
    }
    c->list = parents_ref(upstreams);
    c->count = count;
    for (size_t i = 0; i < count; i++) {
        struct probe *p = &c->probe[i];
        p->check = c;
        p->at = i;
        stream_init(&p->stream, on_stream_ready);
        deadline_init(&p->deadline, on_due);
    }
    (void)uv_timer_start(&c->timer, on_timer, 0, interval_ms);
}

struct upstream_check *upstream_check_create(const struct netloop *net)
{
    struct upstream_check *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->net = *net;
    (void)uv_timer_init(net->loop, &c->timer);
    c->timer.data = c;
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void upstream_check_close(struct upstream_check *c)
{
    forget(c);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

#include "failover/measure.h"

#include <stdlib.h>

#include "failover/health.h"
#include "failover/member_url.h"

/* One question under way. */
struct question {
    struct measurer *all; /* NULL: this place is free */
    struct member member;
    struct fetch *fetch; /* borrowed */
};

struct measurer {
    uv_timer_t timer;
    struct fetcher *fetcher;   /* borrowed */
    struct selector *selector; /* borrowed */
    uint64_t timeout_ms;
    void (*on_told)(void *arg);
    void *arg;
    struct question question[MEASURE_AT_ONCE];
};

static enum select_verdict verdict_of(const struct fetch_result *result)
{
    if (result->fault != NULL)
        return SELECT_DEAD;
    return health_read(result->status, result->body) == HEALTH_READY ? SELECT_GOOD : SELECT_BUSY;
}

static void on_answer(void *arg, const struct fetch_result *result)
{
    struct question *q = arg;
    struct measurer *m = q->all;
    q->all = NULL;
    q->fetch = NULL;
    selector_tell(m->selector, &q->member, verdict_of(result), result->connect_us,
                  uv_now(m->timer.loop));
    m->on_told(m->arg);
    measurer_wake(m);
}

static struct question *find_place(struct measurer *m)
{
    for (size_t i = 0; i < MEASURE_AT_ONCE; i++) {
        if (m->question[i].all == NULL)
            return &m->question[i];
    }
    return NULL;
}

static void ask(struct measurer *m, struct question *q, const struct member *who)
{
    char url[MEMBER_URL_MAX];
    struct fetch_request request = {
        .url = member_url(url, who, "/readyz"),
        .timeout_ms = m->timeout_ms,
        .octets_max = MEASURE_ANSWER_MAX,
        .fresh = true,
        .on_done = on_answer,
        .arg = q,
    };
    *q = (struct question){.all = m, .member = *who};
    q->fetch = fetch_start(m->fetcher, &request);
    if (q->fetch == NULL) {
        q->all = NULL;
        selector_put_off(m->selector, who, uv_now(m->timer.loop));
    }
}

static void on_timer(uv_timer_t *timer)
{
    measurer_wake(timer->data);
}

void measurer_wake(struct measurer *m)
{
    struct question *place;
    uint64_t wait_ms = 0;
    (void)uv_timer_stop(&m->timer);
    while ((place = find_place(m)) != NULL) {
        const struct member *due = selector_due(m->selector, uv_now(m->timer.loop), &wait_ms);
        if (due == NULL) {
            (void)uv_timer_start(&m->timer, on_timer, wait_ms, 0);
            return;
        }
        ask(m, place, due);
    }
    /* With all places taken the next answer wakes us. */
}

struct measurer *measurer_create(uv_loop_t *loop, struct fetcher *fetcher,
                                 struct selector *selector, uint64_t timeout_ms,
                                 void (*on_told)(void *arg), void *arg)
{
    struct measurer *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->fetcher = fetcher;
    m->selector = selector;
    m->timeout_ms = timeout_ms;
    m->on_told = on_told;
    m->arg = arg;
    (void)uv_timer_init(loop, &m->timer);
    m->timer.data = m;
    return m;
}

static void on_closed(uv_handle_t *timer)
{
    free(timer->data);
}

void measurer_close(struct measurer *m)
{
    for (size_t i = 0; i < MEASURE_AT_ONCE; i++) {
        if (m->question[i].fetch != NULL)
            fetch_cancel(m->question[i].fetch);
    }
    uv_close((uv_handle_t *)&m->timer, on_closed);
}

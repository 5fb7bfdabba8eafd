#include "proxy/net/deadline.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { TICK_MS = 50, WHEEL_SLOTS = 256 /* 12.8 s round: later ones are looked at once a round */ };

struct deadlines {
    uv_timer_t timer;
    uv_loop_t *loop;
    uint64_t seen_tick;  /* all slots up to here have been looked at */
    uint64_t armed_tick; /* the timer fires then; 0: not armed */
    bool looking;        /* inside on_timer(), which arms once at its end */
    size_t count;
    struct list slot[WHEEL_SLOTS];
};

static uint64_t tick_now(const struct deadlines *w)
{
    return uv_now(w->loop) / TICK_MS;
}

static void on_timer(uv_timer_t *timer);

static void arm(struct deadlines *w, uint64_t tick)
{
    uint64_t now_ms = uv_now(w->loop);
    uint64_t then_ms = tick * TICK_MS;
    w->armed_tick = tick;
    int rc = uv_timer_start(&w->timer, on_timer, then_ms > now_ms ? then_ms - now_ms : 0, 0);
    assert(rc == 0);
    (void)rc;
}

static void put(struct deadlines *w, struct deadline *d)
{
    uint64_t last = w->seen_tick + WHEEL_SLOTS - 1;
    d->look_tick = d->due_tick < last ? d->due_tick : last;
    list_append(&w->slot[d->look_tick % WHEEL_SLOTS], &d->node);
    if (!w->looking && (w->armed_tick == 0 || d->look_tick < w->armed_tick))
        arm(w, d->look_tick);
}

/* Runs the due ones of one slot and puts the others off. */
static void look_at_slot(struct deadlines *w, uint64_t tick)
{
    struct list due;
    list_init(&due);
    struct list *slot = &w->slot[tick % WHEEL_SLOTS];
    while (!list_empty(slot)) {
        struct deadline *d = LIST_ITEM(slot->next, struct deadline, node);
        list_remove(&d->node);
        list_append(&due, &d->node);
    }
    while (!list_empty(&due)) {
        struct deadline *d = LIST_ITEM(due.next, struct deadline, node);
        list_remove(&d->node);
        if (d->due_tick > tick) {
            put(w, d);
            continue;
        }
        w->count--;
        d->on_due(d); /* may clear or set any deadline, also those still in `due` */
    }
}

static void arm_next(struct deadlines *w)
{
    for (uint64_t tick = w->seen_tick + 1; tick < w->seen_tick + WHEEL_SLOTS; tick++) {
        if (!list_empty(&w->slot[tick % WHEEL_SLOTS])) {
            arm(w, tick);
            return;
        }
    }
    assert(w->count == 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct deadlines *w = timer->data;
    uint64_t now = tick_now(w);
    w->looking = true;
    /* After a long standstill one round looks at every slot. */
    if (now - w->seen_tick > WHEEL_SLOTS)
        w->seen_tick = now - WHEEL_SLOTS;
    while (w->seen_tick < now) {
        w->seen_tick++;
        look_at_slot(w, w->seen_tick);
    }
    w->looking = false;
    w->armed_tick = 0;
    if (w->count > 0)
        arm_next(w);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int deadlines_create(struct deadlines **out, uv_loop_t *loop)
{
    struct deadlines *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->loop = loop;
    w->seen_tick = tick_now(w);
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slot[i]);
    (void)uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    *out = w;
    return 0;
}

void deadlines_destroy(struct deadlines *w)
{
    assert(w->count == 0);
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

void deadline_init(struct deadline *d, deadline_cb on_due)
{
    *d = (struct deadline){.on_due = on_due};
    list_init(&d->node);
}

void deadline_set(struct deadlines *w, struct deadline *d, uint64_t delay_ms)
{
    bool waiting = !list_empty(&d->node);
    /* One tick more than the quotient: never early. */
    d->due_tick = (uv_now(w->loop) + delay_ms) / TICK_MS + 1;
    if (waiting && d->look_tick <= d->due_tick)
        return;
    if (w->count == 0 && !waiting && !w->looking)
        w->seen_tick = tick_now(w); /* the wheel stood still */
    if (waiting)
        list_remove(&d->node);
    else
        w->count++;
    put(w, d);
}

void deadline_clear(struct deadlines *w, struct deadline *d)
{
    if (list_empty(&d->node))
        return;
    list_remove(&d->node);
    if (--w->count == 0 && !w->looking) {
        (void)uv_timer_stop(&w->timer);
        w->armed_tick = 0;
    }
}

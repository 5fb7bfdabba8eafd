#include "proxy/drain.h"

#include <assert.h>
#include <stdio.h>

enum { LINE_MAX_OCTETS = 160 };

static void tell(const struct drain *d, const char *line)
{
    d->options.tell(d->options.arg, line);
}

static void on_grace_over(uv_timer_t *timer)
{
    drain_hurry(timer->data, "drain.grace is over");
}

static void close_now(struct drain *d)
{
    char line[LINE_MAX_OCTETS];
    d->stage = DRAIN_CLOSED;
    (void)snprintf(line, sizeof line, "draining: no new connections, open ones may go on for %g s",
                   (double)d->grace_ms / 1000);
    tell(d, line);
    (void)uv_timer_start(&d->timer, on_grace_over, d->grace_ms, 0);
    d->options.close(d->options.arg);
}

static void on_notice_over(uv_timer_t *timer)
{
    close_now(timer->data);
}

void drain_left(struct drain *d)
{
    if (d->stage != DRAIN_LEAVING)
        return; /* it took too long */
    (void)uv_timer_stop(&d->timer);
    if (d->notice_ms == 0) {
        close_now(d);
        return;
    }
    char line[LINE_MAX_OCTETS];
    d->stage = DRAIN_NOTICE;
    (void)snprintf(line, sizeof line,
                   "draining: not ready any more, new connections are still taken for %g s",
                   (double)d->notice_ms / 1000);
    tell(d, line);
    (void)uv_timer_start(&d->timer, on_notice_over, d->notice_ms, 0);
}

static void on_leave_over(uv_timer_t *timer)
{
    struct drain *d = timer->data;
    tell(d, "draining: cannot leave the roster in time, our entry ends with its lease");
    drain_left(d);
}

static void on_begin(uv_timer_t *timer)
{
    struct drain *d = timer->data;
    (void)uv_timer_start(&d->timer, on_leave_over, DRAIN_LEAVE_MAX_MS, 0);
    d->options.leave(d->options.arg);
}

void drain_begin(struct drain *d, uint64_t notice_ms, uint64_t grace_ms)
{
    assert(d->stage == DRAIN_SERVING);
    d->stage = DRAIN_LEAVING;
    d->notice_ms = notice_ms;
    d->grace_ms = grace_ms;
    (void)uv_timer_start(&d->timer, on_begin, 0, 0);
}

void drain_hand_over(struct drain *d, uint64_t grace_ms)
{
    assert(d->stage == DRAIN_SERVING);
    d->grace_ms = grace_ms;
    close_now(d);
}

void drain_hurry(struct drain *d, const char *why)
{
    char line[LINE_MAX_OCTETS];
    assert(d->stage != DRAIN_SERVING);
    d->stage = DRAIN_CUT;
    (void)uv_timer_stop(&d->timer);
    (void)snprintf(line, sizeof line, "%s: closing what is left", why);
    tell(d, line);
    d->options.cut(d->options.arg);
}

void drain_init(struct drain *d, uv_loop_t *loop, const struct drain_options *options)
{
    d->stage = DRAIN_SERVING;
    d->options = *options;
    (void)uv_timer_init(loop, &d->timer);
    d->timer.data = d;
}

void drain_end(struct drain *d)
{
    uv_close((uv_handle_t *)&d->timer, NULL);
}

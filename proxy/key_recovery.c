#include "proxy/key_recovery.h"

#include <inttypes.h>
#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/net/tls_provider.h"

struct key_recovery {
    struct key_recovery_options options;
    uv_async_t lost;
    uv_timer_t timer;
    unsigned handles; /* open ones; the last close frees */
    uint64_t pause_ms;
    uint64_t recovered_ms; /* when it last succeeded; 0: never */
    unsigned attempts;     /* in vain so far */
    bool trying;           /* `renew` is under way */
    bool lost_meanwhile;   /* another, or the same again */
    bool given_up;         /* until a reload */
};

/* On the provider's thread. */
static void on_lost_there(void *arg)
{
    struct key_recovery *r = arg;
    (void)uv_async_send(&r->lost);
}

static void on_due(uv_timer_t *timer)
{
    struct key_recovery *r = timer->data;
    r->trying = true;
    r->options.renew(r->options.arg, r->attempts == 0);
}

static void begin(struct key_recovery *r);

static void try_later(struct key_recovery *r)
{
    uint64_t first_ms, max_ms;
    r->options.pauses(r->options.arg, &first_ms, &max_ms);
    r->attempts++;
    r->pause_ms = r->pause_ms * 2 < max_ms ? r->pause_ms * 2 : max_ms;
    (void)uv_timer_start(&r->timer, on_due, r->pause_ms, 0);
}

void key_recovery_done(struct key_recovery *r, enum key_renewal how)
{
    bool lost_meanwhile = r->lost_meanwhile;
    r->trying = r->lost_meanwhile = false;
    switch (how) {
    case KEY_AWAY:
        try_later(r);
        return;
    case KEY_RENEWED:
        r->attempts = 0;
        r->recovered_ms = uv_now(r->timer.loop);
        break;
    case KEY_PIN_REFUSED:
        r->given_up = true;
        log_line(LOG_ERROR,
                 "the device of a TLS key has got its PIN in vain: not tried again until "
                 "a reload (SIGHUP), or it might lock itself; set the PIN right first");
        break;
    }
    if (lost_meanwhile)
        begin(r);
}

void key_recovery_again(struct key_recovery *r, bool mended)
{
    uint64_t max_ms;
    if (!r->given_up)
        return;
    r->given_up = false;
    r->attempts = 0;
    r->options.pauses(r->options.arg, &r->pause_ms, &max_ms);
    if (mended)
        r->recovered_ms = uv_now(r->timer.loop);
    else
        (void)uv_timer_start(&r->timer, on_due, r->pause_ms, 0);
}

static void begin(struct key_recovery *r)
{
    uint64_t first_ms, max_ms, now = uv_now(r->timer.loop);
    r->given_up = false;
    r->options.pauses(r->options.arg, &first_ms, &max_ms);
    /* One that is lost as soon as it is back gets the longer pauses too. */
    bool again = r->recovered_ms != 0 && now - r->recovered_ms < max_ms;
    r->pause_ms = !again ? first_ms : r->pause_ms * 2 < max_ms ? r->pause_ms * 2 : max_ms;
    log_line(LOG_ERROR,
             "the device of a TLS key is lost: its doors refuse handshakes (tls-key-lost) until it "
             "is back; opened again in %" PRIu64 " ms, then less and less often",
             r->pause_ms);
    (void)uv_timer_start(&r->timer, on_due, r->pause_ms, 0);
}

static void on_lost(uv_async_t *async)
{
    struct key_recovery *r = async->data;
    if (r->trying)
        r->lost_meanwhile = true;
    else if (!uv_is_active((uv_handle_t *)&r->timer))
        begin(r);
}

struct key_recovery *key_recovery_create(uv_loop_t *loop, const struct key_recovery_options *o)
{
    struct key_recovery *r = calloc(1, sizeof *r);
    if (r == NULL || uv_async_init(loop, &r->lost, on_lost) != 0) {
        free(r);
        return NULL;
    }
    r->options = *o;
    (void)uv_timer_init(loop, &r->timer);
    r->handles = 2;
    r->lost.data = r->timer.data = r;
    tls_provider_watch(on_lost_there, r);
    return r;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct key_recovery *r = handle->data;
    if (--r->handles == 0)
        free(r);
}

void key_recovery_close(struct key_recovery *r)
{
    if (r == NULL)
        return;
    tls_provider_watch(NULL, NULL);
    uv_close((uv_handle_t *)&r->lost, on_handle_closed);
    uv_close((uv_handle_t *)&r->timer, on_handle_closed);
}

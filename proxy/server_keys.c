#include "proxy/server_impl.h"

#include "proxy/base/log.h"
#include "proxy/key_recovery.h"
#include "proxy/net/tls_provider.h"

static void renew(void *arg, bool tells)
{
    struct server *sv = arg;
    sv->recovery_tells = tells;
    server_want(sv, SERVER_RECOVERY);
}

void server_keys_recovered(struct server *sv, bool good)
{
    if (good) {
        sv->recoveries_untold++;
        server_tell_reloaded(sv);
    }
    key_recovery_done(sv->key_recovery, good                   ? KEY_RENEWED
                                        : server_may_renew(sv) ? KEY_AWAY
                                                               : KEY_PIN_REFUSED);
}

bool server_may_renew(const struct server *sv)
{
    return tls_provider_pins_refused() == sv->pins_refused;
}

void server_keys_reloaded(struct server *sv, uint64_t refused_before, bool good)
{
    uint64_t refused = tls_provider_pins_refused();
    if (!good && refused != refused_before && refused_before != sv->pins_refused)
        return; /* that one as well, so all stays forbidden */
    sv->pins_refused = refused;
    if (good || refused == refused_before)
        key_recovery_again(sv->key_recovery, good);
}

static void tell_pauses(void *arg, uint64_t *first_ms, uint64_t *max_ms)
{
    const struct server *sv = arg;
    *first_ms = sv->settings->tls_provider_retry;
    *max_ms = sv->settings->tls_provider_retry_max;
}

bool server_keys_open(struct server *sv)
{
    const struct key_recovery_options o = {renew, tell_pauses, sv};
    sv->key_recovery = key_recovery_create(&sv->loop, &o);
    if (sv->key_recovery == NULL)
        log_line(LOG_ERROR, "cannot start: out of memory");
    return sv->key_recovery != NULL;
}

#include "proxy/server_impl.h"

#include "proxy/base/log.h"
#include "proxy/key_recovery.h"

static bool renew(void *arg, bool tells)
{
    struct server *sv = arg;
    if (!server_renew(sv,
                      tells ? "the device of a TLS key is away still: to open it again is" : NULL))
        return false;
    sv->recoveries_untold++;
    server_tell_reloaded(sv);
    return true;
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

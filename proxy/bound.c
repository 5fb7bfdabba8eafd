#include "proxy/bound.h"

#include <errno.h>
#include <string.h>
#include <uv.h>

#include "conf/settings.h"
#include "proxy/base/log.h"
#include "proxy/listener.h"
#include "proxy/port_holder.h"

static void explain(const struct settings *settings, const struct addr *address, int error)
{
    char text[ADDR_TEXT_MAX], why[512] = "";
    if (error == -EADDRINUSE)
        (void)port_holder_explain(addr_port(address), why, sizeof why);
    log_line(LOG_ERROR, "%s: cannot listen on %s: %s%s%s",
             settings_where(settings, "listen.addresses"), addr_print_port(address, text),
             uv_strerror(error), why[0] != '\0' ? ": " : "", why);
}

/* A host without IPv6 is common: the default [::] is then left out. One that was asked for is an
 * error. */
static bool is_optional(const struct bound *b, const struct settings *settings,
                        const struct addr *address, int error)
{
    bool no_stack = error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL;
    bool defaulted = strstr(settings_where(settings, "listen.addresses"), "(default)") != NULL;
    return address->sa.sa_family == AF_INET6 && no_stack && (defaulted || b->count > 0) &&
           IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

static bool open_one(struct bound *b, const struct settings *settings, const char *text,
                     size_t workers)
{
    struct addr *address = &b->address[b->count];
    if (addr_parse(address, span_of(text), b->port) != 0) {
        log_line(LOG_ERROR, "%s: \"%s\" is no IP address",
                 settings_where(settings, "listen.addresses"), text);
        return false;
    }
    int rc = listener_open(address, (int)settings->listen_backlog, b->fd[b->count], workers);
    if (rc == 0) {
        b->port = addr_port(address); /* port 0 is chosen once, for all addresses */
        b->count++;
        return true;
    }
    if (is_optional(b, settings, address, rc)) {
        log_line(LOG_WARNING, "no IPv6 here, not listening on %s: %s", text, uv_strerror(rc));
        return true;
    }
    explain(settings, address, rc);
    return false;
}

bool bound_open(struct bound *b, const struct settings *settings, size_t workers)
{
    b->port = (uint16_t)settings->heartbeatport;
    for (size_t i = 0; i < settings->listen_addresses.count; i++) {
        if (!open_one(b, settings, settings->listen_addresses.item[i], workers))
            return false;
    }
    return b->count > 0;
}

void bound_print(const struct bound *b, struct buf *out)
{
    char address[ADDR_TEXT_MAX];
    for (size_t i = 0; i < b->count; i++)
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "", addr_print_port(&b->address[i], address));
}

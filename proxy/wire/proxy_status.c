#include "proxy/wire/proxy_status.h"

#define NAME(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

/* The error types of RFC 9209 section 2.3 that mean that there was no connection to forward on. */
static bool is_before_forwarding(struct span error)
{
    static const struct span names[] = {
        NAME("dns_timeout"),
        NAME("dns_error"),
        NAME("destination_unavailable"),
        NAME("destination_ip_unroutable"),
        NAME("connection_refused"),
        NAME("connection_timeout"),
        NAME("connection_limit_reached"),
        NAME("proxy_internal_response"),
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_is(error, names[i]))
            return true;
    }
    return false;
}

/* Octets up to the first of `stops` outside a string (RFC 8941 section 3.3.3), taken off `rest`
 * with it. */
static struct span take(struct span *rest, const char *stops, char *stop)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && strchr(stops, c) != NULL && c != '\0')
            break;
    }
    i = i < rest->len ? i : rest->len;
    struct span s = {rest->ptr, i};
    *stop = i < rest->len ? rest->ptr[i] : '\0';
    size_t used = i < rest->len ? i + 1 : i;
    *rest = (struct span){rest->ptr + used, rest->len - used};
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct span){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The `error` of the first member, which is that of the proxy nearest to the origin. */
static bool first_error(const struct head *response, struct span *error)
{
    static const struct span key = NAME("error=");
    const struct head_field *field = head_find(response, SPAN("Proxy-Status"));
    if (field == NULL)
        return false;
    struct span rest = field->value;
    char stop;
    (void)take(&rest, ",;", &stop); /* the proxy's name */
    while (stop == ';') {
        struct span parameter = take(&rest, ",;", &stop);
        if (parameter.len > key.len && span_is((struct span){parameter.ptr, key.len}, key)) {
            *error = (struct span){parameter.ptr + key.len, parameter.len - key.len};
            return true;
        }
    }
    return false;
}

bool proxy_status_is_proxys(const struct head *response)
{
    struct span error;
    if (head_find(response, SPAN("X-Squid-Error")) != NULL)
        return true;
    return head_find(response, SPAN("Via")) == NULL && first_error(response, &error);
}

bool proxy_status_unforwarded(const struct head *response)
{
    struct span error;
    return head_find(response, SPAN("Via")) == NULL && first_error(response, &error) &&
           is_before_forwarding(error);
}

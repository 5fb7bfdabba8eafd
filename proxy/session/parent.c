#include "proxy/session/parent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { PRIORITY_MAX = 65535 };

static int fault(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return -EINVAL;
}

void parent_make(struct parent *p, const struct hostname *host, uint16_t port, bool tls)
{
    *p = (struct parent){.tls = tls, .host = *host, .port = port, .priority = 1};
    bool v6 = host->kind == HOST_IPV6;
    (void)snprintf(p->label, sizeof p->label, "%s://%s%s%s:%u", tls ? "https" : "http",
                   v6 ? "[" : "", host->text, v6 ? "]" : "", (unsigned)port);
}

int parent_set_credentials(struct parent *p, struct span text, const char **why)
{
    return credentials_print(p->authorization, text, why);
}

void parent_wipe(struct parent *p)
{
    explicit_bzero(p->authorization, sizeof p->authorization);
}

static bool skip(struct span *text, struct span prefix)
{
    if (text->len < prefix.len || !span_is_nocase((struct span){text->ptr, prefix.len}, prefix))
        return false;
    *text = (struct span){text->ptr + prefix.len, text->len - prefix.len};
    return true;
}

/* Decimal without sign or leading zero, from 1 to `most`. False: it is not. */
static bool read_number(struct span text, unsigned most, unsigned *n)
{
    *n = 0;
    if (text.len == 0 || text.ptr[0] == '0')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        *n = *n * 10 + (unsigned)(text.ptr[i] - '0');
        if (*n > most)
            return false;
    }
    return true;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3986 section 2.1; a colon of the user itself must be encoded, so the first plain one divides.
 */
static int read_userinfo(struct parent *p, struct span text, const char **why)
{
    char plain[PARENT_CREDENTIALS_MAX + 1];
    size_t len = 0;
    const char *colon = memchr(text.ptr, ':', text.len);
    for (size_t i = 0; i < text.len; i++) {
        int high = text.ptr[i] == '%' && i + 2 < text.len ? hex(text.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex(text.ptr[i + 2]) : -1;
        if (text.ptr[i] == '%' && low < 0)
            return fault(why, "% without two hexadecimal digits in user or password");
        if (len == sizeof plain)
            return fault(why, "user and password are longer than 511 octets");
        bool in_user = colon == NULL || text.ptr + i < colon;
        plain[len] = text.ptr[i] == '%' ? (char)(high * 16 + low) : text.ptr[i];
        if (in_user && plain[len] == ':')
            return fault(why, "a colon in the user is not possible (RFC 7617)");
        len++;
        i += text.ptr[i] == '%' ? 2 : 0;
    }
    int rc = parent_set_credentials(p, (struct span){plain, len}, why);
    explicit_bzero(plain, sizeof plain);
    return rc;
}

/* "host:port" */
static int read_authority(struct parent *p, struct span text, bool tls, const char **why)
{
    struct hostname host;
    unsigned port;
    const char *colon = memrchr(text.ptr, ':', text.len);
    size_t len = colon != NULL ? (size_t)(colon - text.ptr) : text.len;
    if (colon == NULL || (text.len > 0 && text.ptr[text.len - 1] == ']'))
        return fault(why, "the port is missing: http://host:port");
    if (!read_number((struct span){colon + 1, text.len - len - 1}, UINT16_MAX, &port))
        return fault(why, "the port is not a number from 1 to 65535");
    if (hostname_parse(&host, (struct span){text.ptr, len}, why) != 0)
        return -EINVAL;
    parent_make(p, &host, (uint16_t)port, tls);
    return 0;
}

/* Takes ";name=value" off the end of `text`. */
static int read_parameters(struct span *text, unsigned *priority, const char **why)
{
    *priority = 1;
    const char *semicolon = memchr(text->ptr, ';', text->len);
    if (semicolon == NULL)
        return 0;
    struct span rest = {semicolon + 1, text->len - (size_t)(semicolon + 1 - text->ptr)};
    text->len = (size_t)(semicolon - text->ptr);
    if (!skip(&rest, SPAN("priority=")) || !read_number(rest, PRIORITY_MAX, priority))
        return fault(why, "behind the semicolon only priority=N may stand, N from 1 to 65535");
    return 0;
}

int parent_parse(struct parent *p, struct span text, const char **why)
{
    unsigned priority;
    bool tls = skip(&text, SPAN("https://"));
    memset(p, 0, sizeof *p);
    if (!tls && !skip(&text, SPAN("http://")))
        return fault(why, "a proxy is written as http://host:port");
    /* The last one divides: an "@" of a password may be written plainly, as people do. */
    const char *at = memrchr(text.ptr, '@', text.len);
    struct span userinfo = {text.ptr, at != NULL ? (size_t)(at - text.ptr) : 0};
    size_t used = at != NULL ? userinfo.len + 1 : 0;
    text = (struct span){text.ptr + used, text.len - used};
    if (read_parameters(&text, &priority, why) != 0)
        return -EINVAL;
    if (text.len > 0 && text.ptr[text.len - 1] == '/')
        text.len--;
    if (read_authority(p, text, tls, why) != 0)
        return -EINVAL;
    p->priority = priority;
    return at != NULL ? read_userinfo(p, userinfo, why) : 0;
}

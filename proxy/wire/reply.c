#include "proxy/wire/reply.h"

#include <stdio.h>
#include <stdlib.h>

enum { DETAIL_MAX = 400 };

const struct span reply_connect_established = {"HTTP/1.1 200 Connection established\r\n\r\n", 39};

/* IMF-fixdate, RFC 9110 section 5.6.7; not strftime's %a and %b, which follow the locale. */
static int add_date(struct buf *out, time_t now)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    (void)gmtime_r(&now, &tm);
    return buf_printf(out, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * tm.tm_wday,
                      tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                      tm.tm_sec);
}

/* 304 has the length of what it stands for (RFC 9110 section 8.6), so none is said; nor has it a body. */
static int add_content(struct buf *out, const struct reply *r)
{
    int rc = 0;
    if (r->content_type != NULL)
        rc = buf_printf(out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", r->content_type);
    if (rc == 0 && r->status != 304)
        rc = buf_printf(out, "Content-Length: %zu\r\n", r->body.len);
    return rc;
}

int reply_write(struct buf *out, const struct reply *r)
{
    int rc = buf_printf(out, "HTTP/1.1 %u %s\r\n", r->status, r->phrase);
    if (rc == 0)
        rc = add_date(out, r->now);
    if (rc == 0)
        rc = add_content(out, r);
    if (rc == 0 && r->extra != NULL)
        rc = buf_add_str(out, r->extra);
    if (rc == 0)
        rc = buf_add_str(out, r->close ? "Connection: close\r\n\r\n" : "\r\n");
    if (rc == 0 && !r->head_only && r->status != 304)
        rc = buf_add_span(out, r->body);
    return rc;
}

/* Printable ASCII; everything else as \xNN, so that peer input forges neither lines nor terminal commands. */
static int add_escaped(struct buf *out, struct span text)
{
    int rc = 0;
    size_t most = text.len < DETAIL_MAX ? text.len : DETAIL_MAX;
    for (size_t i = 0; i < most && rc == 0; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        rc = c >= 0x20 && c < 0x7f ? buf_add(out, &text.ptr[i], 1) : buf_printf(out, "\\x%02x", c);
    }
    return rc == 0 && most < text.len ? buf_add_str(out, "...") : rc;
}

static int add_text(struct buf *out, const struct outcome_info *info, struct span detail)
{
    int rc = buf_printf(out, "%s.\n", info->phrase);
    if (rc == 0 && detail.len > 0) {
        rc = buf_add_str(out, "What: ");
        if (rc == 0)
            rc = add_escaped(out, detail);
        if (rc == 0)
            rc = buf_add_str(out, "\n");
    }
    if (rc == 0 && info->remedy != NULL)
        rc = buf_printf(out, "What to do: %s\n", info->remedy);
    return rc == 0 ? buf_printf(out, "(certferry: %s)\n", info->token) : rc;
}

/* 30 to 90 s, so that those who were turned away together do not come back together. */
static unsigned retry_after(time_t now)
{
    struct timespec fine;
    (void)clock_gettime(CLOCK_MONOTONIC, &fine);
    unsigned seed = (unsigned)fine.tv_nsec ^ (unsigned)now;
    return 30 + (seed * 2654435761U >> 16) % 61;
}

static int add_extra(struct buf *out, const struct outcome_info *info, const char *name, time_t now)
{
    int rc = 0;
    if (info->proxy_status != NULL)
        rc = buf_printf(out, "Proxy-Status: %s; error=%s; details=\"%s\"\r\n", name, info->proxy_status,
                        info->token);
    if (rc == 0 && (info->status == 429 || info->status == 503))
        rc = buf_printf(out, "Retry-After: %u\r\n", retry_after(now));
    if (rc == 0 && info->status == 405)
        rc = buf_add_str(out, "Allow: GET, HEAD\r\n");
    if (rc == 0)
        rc = buf_add_str(out, "Cache-Control: no-store\r\n");
    return rc == 0 ? buf_add(out, "", 1) : rc; /* handed on as a string */
}

int reply_outcome(struct buf *out, enum outcome o, struct span detail, const char *name,
                  bool head_only, time_t now)
{
    const struct outcome_info *info = outcome_info(o);
    struct buf text, extra;
    buf_init(&text, 8192);
    buf_init(&extra, 1024);
    int rc = add_text(&text, info, detail);
    if (rc == 0)
        rc = add_extra(&extra, info, name, now);
    if (rc == 0) {
        struct reply r = {
            .status = info->status,
            .phrase = info->phrase,
            .content_type = "text/plain; charset=utf-8",
            .body = buf_span(&text),
            .extra = buf_head(&extra),
            .head_only = head_only,
            .close = true,
            .now = now,
        };
        rc = reply_write(out, &r);
    }
    buf_release(&text);
    buf_release(&extra);
    return rc;
}

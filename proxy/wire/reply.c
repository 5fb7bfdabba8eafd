#include "proxy/wire/reply.h"

#include <assert.h>
#include <stdio.h>

enum {
    DETAIL_MAX = 256, /* octets of a refused name or the like that are repeated to its sender */
    EXTRA_MAX = 1024, /* our own field lines of a refusal: they hold nothing of a peer's */
    TEXT_MAX = 4096,  /* text of a refusal */
};

/* No length, no further field, nothing behind the empty line: there clients differ. */
const struct span reply_connect_established = {"HTTP/1.1 200 Connection established\r\n\r\n", 39};

/* IMF-fixdate. Not by strftime, which speaks the locale's language. */
static int add_date(struct buf *out, time_t now)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    /* Four digits are all the format has; no clock of ours shows more. */
    if (gmtime_r(&now, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099)
        return 0;
    return buf_printf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday],
                      tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                      tm.tm_sec);
}

/* On error `out` is as long as before: half an answer must never be sent. */
static int undo(struct buf *out, size_t len, int rc)
{
    if (rc != 0)
        out->end = out->start + len;
    return rc;
}

static int add_head(struct buf *out, const struct reply *r)
{
    /* These end with the head by definition (RFC 9112 section 6.3): a length only confuses. */
    bool bodiless = r->status < 200 || r->status == 204 || r->status == 304;
    int rc = buf_printf(out, "HTTP/1.1 %03u %s\r\n", r->status, r->phrase);
    if (rc == 0)
        rc = add_date(out, r->now);
    if (rc == 0 && r->content_type != NULL && !bodiless)
        rc = buf_printf(out, "Content-Type: %s\r\n", r->content_type);
    if (rc == 0 && !bodiless)
        rc = buf_printf(out, "Content-Length: %zu\r\n", r->content_type != NULL ? r->body.len : 0);
    if (rc == 0 && r->extra != NULL)
        rc = buf_add_str(out, r->extra);
    if (rc == 0 && r->close)
        rc = buf_add_str(out, "Connection: close\r\n");
    if (rc == 0)
        rc = buf_add_str(out, "\r\n");
    if (rc == 0 && r->content_type != NULL && !bodiless && !r->head_only)
        rc = buf_add_span(out, r->body);
    return rc;
}

int reply_write(struct buf *out, const struct reply *r)
{
    assert(r->status >= 100 && r->status <= 599);
    size_t before = buf_len(out);
    return undo(out, before, add_head(out, r));
}

/* Peer input as printable ASCII: nothing in it can end the line or act on a terminal. */
static int add_escaped(struct buf *out, struct span s)
{
    size_t len = s.len < DETAIL_MAX ? s.len : DETAIL_MAX;
    int rc = 0;
    for (size_t i = 0; i < len && rc == 0; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c > '~' || c == '\\')
            rc = buf_printf(out, "\\x%02x", c);
        else
            rc = buf_add(out, &c, 1);
    }
    if (rc == 0 && len < s.len)
        rc = buf_add_str(out, "...");
    return rc;
}

/* A remedy of the table names the general rules; a client may have others. */
static int add_remedy(struct buf *out, const struct outcome_info *info, const struct refusal *r)
{
    if (r->rule != NULL && r->outcome == OUTCOME_LITERAL_DENIED)
        return buf_printf(out, "\nUse the CA's DNS name; an IP address must be listed in %s.",
                          r->rule);
    if (r->rule != NULL)
        return buf_printf(out, "\nThe operator must add it to %s.", r->rule);
    return info->remedy != NULL ? buf_printf(out, "\n%s", info->remedy) : 0;
}

/* What was refused, why, what to do, and who says so. */
static int add_text(struct buf *out, const struct outcome_info *info, const struct refusal *r)
{
    int rc = buf_printf(out, "%u %s", info->status, info->phrase);
    if (rc == 0 && r->detail.len > 0)
        rc = buf_add_str(out, ": ");
    if (rc == 0)
        rc = add_escaped(out, r->detail);
    if (rc == 0)
        rc = add_remedy(out, info, r);
    if (rc == 0)
        rc = buf_add_str(out, "\nSaid by the proxy ");
    if (rc == 0)
        rc = add_escaped(out, span_of(r->name));
    return rc == 0 ? buf_printf(out, " (%s), not by the server.\n", info->token) : rc;
}

/* sf-string of RFC 8941 section 3.3.3; octets that it cannot hold become '?'. */
static int add_quoted(struct buf *out, const char *text)
{
    int rc = buf_add_str(out, "\"");
    for (; *text != '\0' && rc == 0; text++) {
        bool printable = *text >= ' ' && *text <= '~';
        if (*text == '"' || *text == '\\')
            rc = buf_add_str(out, "\\");
        if (rc == 0)
            rc = buf_add(out, printable ? text : "?", 1);
    }
    return rc == 0 ? buf_add_str(out, "\"") : rc;
}

/* sf-token of RFC 8941 section 3.3.4. */
static bool is_token(const char *text)
{
    static const char alpha[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "!#$%&'*+-.^_`|~:/";
    return *text != '\0' && strspn(text, alpha) > 0 && text[strspn(text, rest)] == '\0';
}

/* Field lines ended by NUL. Without no-store a 404 or 414 may be kept (RFC 9110 section 15.1). */
static int add_fields(struct buf *out, const struct outcome_info *info, const struct refusal *r)
{
    int rc = buf_add_str(out, "Cache-Control: no-store\r\n");
    if (rc == 0 && info->proxy_status != NULL) {
        rc = buf_add_str(out, "Proxy-Status: ");
        if (rc == 0)
            rc = is_token(r->name) ? buf_add_str(out, r->name) : add_quoted(out, r->name);
        if (rc == 0)
            rc = buf_printf(out, "; error=%s\r\n", info->proxy_status);
    }
    if (rc == 0 && info->status == 405)
        rc = buf_add_str(out, r->outcome == OUTCOME_METHOD_DENIED ? "Allow: GET, HEAD, POST\r\n"
                                                                  : "Allow: GET, HEAD\r\n");
    if (rc == 0 && info->status == 407)
        rc = buf_printf(out, "Proxy-Authenticate: Basic realm=\"%s\", charset=\"UTF-8\"\r\n",
                        r->realm);
    if (rc == 0 && (info->status == 429 || info->status == 503))
        rc = buf_printf(out, "Retry-After: %u\r\n", r->retry_after_s);
    return rc == 0 ? buf_add(out, "", 1) : rc;
}

int reply_refusal(struct buf *out, const struct refusal *r)
{
    const struct outcome_info *info = outcome_info(r->outcome);
    assert(info->status != 0);
    assert(info->status != 407 || r->realm != NULL);
    struct buf text;
    struct buf fields;
    buf_init(&text, TEXT_MAX);
    buf_init(&fields, EXTRA_MAX);
    int rc = add_text(&text, info, r);
    if (rc == 0)
        rc = add_fields(&fields, info, r);
    if (rc == 0)
        rc = reply_write(out, &(struct reply){
                                  .status = info->status,
                                  .phrase = info->phrase,
                                  .content_type = "text/plain; charset=us-ascii",
                                  .body = buf_span(&text),
                                  .extra = buf_head(&fields),
                                  .head_only = r->head_only,
                                  .close = !r->keep,
                                  .now = r->now,
                              });
    buf_release(&fields);
    buf_release(&text);
    return rc;
}

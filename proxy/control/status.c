#include "proxy/control/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "failover/member_url.h"

const char status_fields[] =
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n";

/* ---- pieces ---- */

/* Text of others between tags. Control characters are shown as what they are: none. */
static int add_text(struct buf *out, const char *text)
{
    int rc = 0;
    for (; rc == 0 && *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 0x7f)
            rc = buf_add_str(out, "\xef\xbf\xbd");
        else if (strchr("&<>\"'", c) != NULL)
            rc = buf_printf(out, "&#%u;", (unsigned)c);
        else
            rc = buf_add(out, text, 1);
    }
    return rc;
}

static int add_cell(struct buf *out, const char *text)
{
    int rc = buf_add_str(out, "<td>");
    if (rc == 0)
        rc = add_text(out, text);
    return rc == 0 ? buf_add_str(out, "</td>") : rc;
}

static int add_number_row(struct buf *out, const char *what, uint64_t number)
{
    return buf_printf(out, "<tr><th>%s</th><td>%" PRIu64 "</td></tr>\n", what, number);
}

static const char *time_text(char out[32], time_t when)
{
    struct tm tm;
    out[0] = '\0';
    if (gmtime_r(&when, &tm) != NULL && tm.tm_year < 8100)
        (void)strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm);
    return out;
}

static const struct member *self_of(const struct roster *r)
{
    for (size_t i = 0; i < roster_count(r); i++) {
        if (roster_member(r, i)->self)
            return roster_member(r, i);
    }
    return NULL;
}

/* ---- parts ---- */

static int print_head(struct buf *out, const struct member *self)
{
    static const char style[] =
        "body{font:16px/1.4 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
        "table{border-collapse:collapse}th,td{border:1px solid #bbb;padding:.2em .6em;"
        "text-align:left;vertical-align:top}pre{background:#eee;padding:.6em;overflow:auto}";
    int rc = buf_printf(out,
                        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
                        "<title>certferry</title>\n<style>%s</style></head>\n<body>\n<h1>certferry",
                        style);
    if (rc == 0 && self != NULL)
        rc = buf_add_str(out, " on ");
    if (rc == 0 && self != NULL)
        rc = add_text(out, self->host);
    return rc == 0 ? buf_add_str(out, "</h1>\n") : rc;
}

static int print_health(struct buf *out, const struct status *s)
{
    char started[32], now[32];
    int rc = buf_add_str(out, s->not_ready == NULL ? "<p>Ready." : "<p><strong>Not ready: ");
    if (rc == 0 && s->not_ready != NULL)
        rc = add_text(out, s->not_ready);
    if (rc == 0 && s->not_ready != NULL)
        rc = buf_add_str(out, ".</strong>");
    return rc == 0 ? buf_printf(out, " Version %s, running since %s; this was true at %s.</p>\n",
                                s->version, time_text(started, s->started), time_text(now, s->now))
                   : rc;
}

static uint64_t sum(const struct status *s, enum metric which)
{
    uint64_t all = 0;
    for (size_t i = 0; i < s->metrics_count; i++)
        all += atomic_load_explicit(&s->metrics[i]->value[which], memory_order_relaxed);
    return all;
}

static int print_now(struct buf *out, const struct status *s)
{
    /* Closed first: a tunnel may open and close meanwhile, but none closes before it opens. */
    uint64_t closed = sum(s, METRIC_TUNNELS_CLOSED), opened = sum(s, METRIC_TUNNELS_OPENED);
    int rc = buf_printf(out,
                        "<h2>Now</h2>\n<table>\n<tr><th>Connections of clients</th>"
                        "<td>%zu of %zu</td></tr>\n",
                        s->connections, s->connections_max);
    if (rc == 0)
        rc = add_number_row(out, "Live tunnels", opened - closed);
    if (rc == 0)
        rc = add_number_row(out, "Waiting in the queue", s->waiting);
    if (rc == 0)
        rc = add_number_row(out, "Tunnels since the start", opened);
    return rc == 0 ? buf_add_str(out, "</table>\n") : rc;
}

static int print_member(struct buf *out, const struct member *m)
{
    static const char *const states[] = {[MEMBER_UP] = "up",
                                         [MEMBER_UNKNOWN] = "unknown",
                                         [MEMBER_DRAINING] = "draining",
                                         [MEMBER_DOWN] = "down"};
    char url[MEMBER_URL_MAX], load[16] = "";
    int rc = buf_add_str(out, "<tr>");
    if (m->load <= ROSTER_LOAD_MAX)
        (void)snprintf(load, sizeof load, "%u%%", m->load / 10);
    if (rc == 0)
        rc = add_cell(out, member_url(url, m, ""));
    if (rc == 0)
        rc = add_cell(out, m->self ? "this one" : states[m->state]);
    if (rc == 0)
        rc = add_cell(out, m->zone);
    if (rc == 0)
        rc = add_cell(out, load);
    if (rc == 0)
        rc = add_cell(out, m->version);
    return rc == 0 ? buf_add_str(out, "</tr>\n") : rc;
}

static int print_peers(struct buf *out, const struct roster *r)
{
    int rc = buf_add_str(out, "<h2>Peers</h2>\n<table>\n<tr><th>Proxy</th><th>State</th>"
                              "<th>Zone</th><th>Load</th><th>Version</th></tr>\n");
    for (size_t i = 0; rc == 0 && i < roster_count(r); i++)
        rc = print_member(out, roster_member(r, i));
    return rc == 0 ? buf_add_str(out, "</table>\n") : rc;
}

/* ---- refusals ---- */

struct refusals {
    enum outcome outcome;
    uint64_t count;
};

static bool is_refusal(enum outcome o)
{
    return outcome_info(o)->status >= 400 ||
           (o >= OUTCOME_HELLO_TIMEOUT && o <= OUTCOME_SNI_MISMATCH);
}

static uint64_t count_of(const struct status *s, enum outcome o)
{
    uint64_t all = 0;
    for (size_t i = 0; i < s->metrics_count; i++) {
        for (unsigned p = 0; p < PROTOCOL_COUNT; p++)
            all += atomic_load_explicit(&s->metrics[i]->exchanges[p][o], memory_order_relaxed);
    }
    return all;
}

/* The most frequent first; equals in the order of the table of outcomes. */
static int refusals_compare(const void *a, const void *b)
{
    const struct refusals *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->outcome > y->outcome) - (x->outcome < y->outcome);
}

static int print_refusal(struct buf *out, const struct refusals *r)
{
    const struct outcome_info *info = outcome_info(r->outcome);
    int rc = buf_printf(out, "<tr><td>%" PRIu64 "</td>", r->count);
    if (rc == 0)
        rc = add_cell(out, info->token);
    if (rc == 0)
        rc = add_cell(out, info->phrase);
    if (rc == 0)
        rc = add_cell(out, info->remedy != NULL ? info->remedy : "");
    return rc == 0 ? buf_add_str(out, "</tr>\n") : rc;
}

static int print_refusals(struct buf *out, const struct status *s)
{
    struct refusals list[OUTCOME_COUNT];
    size_t count = 0;
    for (unsigned o = 0; o < OUTCOME_COUNT; o++) {
        uint64_t n = is_refusal((enum outcome)o) ? count_of(s, (enum outcome)o) : 0;
        if (n > 0)
            list[count++] = (struct refusals){(enum outcome)o, n};
    }
    qsort(list, count, sizeof *list, refusals_compare);
    if (count == 0)
        return buf_add_str(out, "<h2>Refused since the start</h2>\n<p>Nothing.</p>\n");
    int rc = buf_add_str(out, "<h2>Refused since the start</h2>\n<table>\n<tr><th>Times</th>"
                              "<th>Outcome in the log</th><th>What</th><th>What to do</th></tr>\n");
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = print_refusal(out, &list[i]);
    return rc == 0 ? buf_add_str(out, "</table>\n") : rc;
}

/* ---- clients ---- */

/* A canonical host and a port hold nothing that a shell or HTML would take for its own. */
static int print_clients(struct buf *out, const struct member *self)
{
    char url[MEMBER_URL_MAX], tls_url[MEMBER_URL_MAX];
    struct member door = *self;
    (void)member_url(url, self, "");
    int rc = buf_printf(out,
                        "<h2>How to point a client here</h2>\n<pre>"
                        "export HTTPS_PROXY=%s HTTP_PROXY=%s https_proxy=%s http_proxy=%s\n"
                        "curl --proxy %s https://one.digicert.com/\n"
                        "java -Dhttps.proxyHost=%s -Dhttps.proxyPort=%u "
                        "-Dhttp.proxyHost=%s -Dhttp.proxyPort=%u ...</pre>\n"
                        "<p>Browsers and Windows: %s/proxy.pac. Programs that know the standard: "
                        "%s/.well-known/pvd.</p>\n",
                        url, url, url, url, url, self->host, (unsigned)self->port, self->host,
                        (unsigned)self->port, url, url);
    if (rc != 0 || self->tls_port == 0)
        return rc;
    door.protocol = MEMBER_HTTPS_CONNECT;
    door.port = self->tls_port;
    return buf_printf(out, "<p>With TLS to the proxy: <code>curl --proxy %s ...</code></p>\n",
                      member_url(tls_url, &door, ""));
}

int status_print(struct buf *out, const struct status *s)
{
    const struct member *self = self_of(s->roster);
    int rc = print_head(out, self);
    if (rc == 0)
        rc = print_health(out, s);
    if (rc == 0)
        rc = print_now(out, s);
    if (rc == 0)
        rc = print_peers(out, s->roster);
    if (rc == 0)
        rc = print_refusals(out, s);
    if (rc == 0 && self != NULL)
        rc = print_clients(out, self);
    return rc == 0 ? buf_add_str(out, "</body>\n</html>\n") : rc;
}

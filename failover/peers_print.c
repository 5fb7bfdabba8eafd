#include "failover/peers_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "failover/member_url.h"

enum { CELL_MAX = 4 * sizeof(((struct member *)0)->host) + 64, COLUMNS = 8 };

static const char *const state_names[] = {[MEMBER_UP] = "up",
                                          [MEMBER_UNKNOWN] = "unknown",
                                          [MEMBER_DRAINING] = "draining",
                                          [MEMBER_DOWN] = "down"};

bool peers_is_live(const struct member *m)
{
    return m->state == MEMBER_UP || m->state == MEMBER_UNKNOWN;
}

const struct member *peers_best(const struct roster *r)
{
    const struct member *best = NULL;
    for (size_t i = 0; i < roster_count(r); i++) {
        const struct member *m = roster_member(r, i);
        if (m->state == MEMBER_UP)
            return m;
        if (best == NULL && m->state == MEMBER_UNKNOWN)
            best = m;
    }
    return best;
}

/* RFC 3339; "" when there is none, or a year that has not four digits. */
static const char *time_text(char out[32], time_t when)
{
    struct tm tm;
    out[0] = '\0';
    if (when > 0 && gmtime_r(&when, &tm) != NULL && tm.tm_year < 8100)
        (void)strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}

/* ---- the table ---- */

struct row {
    char cell[COLUMNS][CELL_MAX];
};

/* What is not printable ASCII could move the cursor, or turn the text around: it is shown in
 * hexadecimal. */
static void cell_put(char cell[CELL_MAX], const char *text)
{
    size_t at = 0;
    if (text[0] == '\0')
        text = "-";
    for (; *text != '\0' && at + 5 < CELL_MAX; text++) {
        if (*text >= ' ' && *text <= '~' && *text != '\\')
            cell[at++] = *text;
        else
            at += (size_t)snprintf(cell + at, CELL_MAX - at, "\\x%02x", (unsigned char)*text);
    }
    cell[at] = '\0';
}

static void row_make(struct row *r, const struct member *m)
{
    char url[MEMBER_URL_MAX], started[32], number[16] = "";
    cell_put(r->cell[0], member_url(url, m, ""));
    cell_put(r->cell[1], state_names[m->state]);
    cell_put(r->cell[2], m->zone);
    (void)snprintf(r->cell[3], CELL_MAX, "%u", m->priority);
    (void)snprintf(r->cell[4], CELL_MAX, "%u", m->weight);
    if (m->load <= ROSTER_LOAD_MAX)
        (void)snprintf(number, sizeof number, "%u%%", m->load / 10);
    cell_put(r->cell[5], number);
    cell_put(r->cell[6], time_text(started, (time_t)m->started));
    cell_put(r->cell[7], m->version);
}

static const char *const titles[COLUMNS] = {"PROXY",  "STATE", "ZONE",    "PRIORITY",
                                            "WEIGHT", "LOAD",  "STARTED", "VERSION"};

static void widths_of(size_t width[COLUMNS], const struct roster *roster)
{
    struct row r;
    for (size_t c = 0; c < COLUMNS; c++)
        width[c] = strlen(titles[c]);
    for (size_t i = 0; i < roster_count(roster); i++) {
        row_make(&r, roster_member(roster, i));
        for (size_t c = 0; c < COLUMNS; c++) {
            if (strlen(r.cell[c]) > width[c])
                width[c] = strlen(r.cell[c]);
        }
    }
}

static int row_print(struct buf *out, const char *const cell[COLUMNS], const size_t width[COLUMNS])
{
    int rc = 0;
    for (size_t c = 0; rc == 0 && c < COLUMNS; c++) {
        int pad = c + 1 < COLUMNS ? (int)width[c] : 0; /* no blanks at the end of a line */
        rc = buf_printf(out, c > 0 ? "  %-*s" : "%-*s", pad, cell[c]);
    }
    return rc == 0 ? buf_add_str(out, "\n") : rc;
}

int peers_print_table(struct buf *out, const struct peers_view *v)
{
    size_t width[COLUMNS];
    char expires[32];
    widths_of(width, v->roster);
    int rc = row_print(out, titles, width);
    for (size_t i = 0; rc == 0 && i < roster_count(v->roster); i++) {
        struct row r;
        const char *cell[COLUMNS];
        row_make(&r, roster_member(v->roster, i));
        for (size_t c = 0; c < COLUMNS; c++)
            cell[c] = r.cell[c];
        rc = row_print(out, cell, width);
    }
    return rc == 0 ? buf_printf(out, "As %s tells it, until %s, %s.\n", v->source,
                                time_text(expires, v->expires),
                                v->is_signed ? "signed" : "signature not checked")
                   : rc;
}

/* ---- JSON ---- */

/* One character of UTF-8 that document_read() has let through; how many octets. */
static size_t character(const unsigned char *p, uint32_t *code)
{
    size_t more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
    *code = more == 0 ? p[0] : p[0] & (0x3fU >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *code = 0xfffd;
            return i;
        }
        *code = *code << 6 | (p[i] & 0x3fU);
    }
    return more + 1;
}

/* In ASCII: scripts print what they have read, and there are control characters beyond 127. */
static int string_add(struct buf *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t code;
    int rc = buf_add(out, "\"", 1);
    while (rc == 0 && *p != '\0') {
        p += character(p, &code);
        if (code >= 0x10000)
            rc = buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (code >> 10)),
                            (unsigned)(0xdc00 + (code & 0x3ff)));
        else if (code < ' ' || code > '~' || code == '"' || code == '\\')
            rc = buf_printf(out, "\\u%04x", (unsigned)code);
        else
            rc = buf_printf(out, "%c", (int)code);
    }
    return rc == 0 ? buf_add(out, "\"", 1) : rc;
}

static int name_add(struct buf *out, const char *name, const char *text)
{
    int rc = buf_printf(out, ",\"%s\":", name);
    return rc == 0 ? string_add(out, text) : rc;
}

/* What is not known is null. */
static int number_add(struct buf *out, const char *name, int64_t number, bool known)
{
    return known ? buf_printf(out, ",\"%s\":%" PRId64, name, number)
                 : buf_printf(out, ",\"%s\":null", name);
}

static int member_add(struct buf *out, const struct member *m)
{
    char url[MEMBER_URL_MAX];
    int rc = buf_add_str(out, "{\"url\":");
    if (rc == 0)
        rc = string_add(out, member_url(url, m, ""));
    if (rc == 0)
        rc = name_add(out, "host", m->host);
    if (rc == 0)
        rc = number_add(out, "port", m->port, true);
    if (rc == 0)
        rc = number_add(out, "tls_port", m->tls_port, m->tls_port != 0);
    if (rc == 0)
        rc = name_add(out, "protocol",
                      m->protocol == MEMBER_HTTPS_CONNECT ? "https-connect" : "http-connect");
    if (rc == 0)
        rc = name_add(out, "state", state_names[m->state]);
    if (rc == 0)
        rc = name_add(out, "zone", m->zone);
    if (rc == 0)
        rc = number_add(out, "priority", m->priority, true);
    if (rc == 0)
        rc = number_add(out, "weight", m->weight, true);
    if (rc == 0)
        rc = number_add(out, "load", m->load, m->load <= ROSTER_LOAD_MAX);
    if (rc == 0)
        rc = number_add(out, "started", m->started, m->started > 0);
    if (rc == 0)
        rc = name_add(out, "version", m->version);
    return rc == 0 ? buf_printf(out, ",\"self\":%s}", m->self ? "true" : "false") : rc;
}

int peers_print_json(struct buf *out, const struct peers_view *v)
{
    char expires[32];
    int rc = buf_add_str(out, "{\"source\":");
    if (rc == 0)
        rc = string_add(out, v->source);
    if (rc == 0)
        rc = name_add(out, "identifier", v->identifier);
    if (rc == 0)
        rc = name_add(out, "expires", time_text(expires, v->expires));
    if (rc == 0)
        rc = buf_printf(out, ",\"signed\":%s,\"members\":[", v->is_signed ? "true" : "false");
    for (size_t i = 0; rc == 0 && i < roster_count(v->roster); i++) {
        rc = i > 0 ? buf_add(out, ",", 1) : 0;
        if (rc == 0)
            rc = member_add(out, roster_member(v->roster, i));
    }
    return rc == 0 ? buf_add_str(out, "]}\n") : rc;
}

/* ---- shells and hosts files ---- */

/* A canonical host holds no quote; in quotes all the same, so that the reader sees it. Some
 * programs know only the one case, some only the other (curl wants http_proxy in small letters). */
int peers_print_env(struct buf *out, const struct member *best)
{
    static const char *const names[] = {"HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"};
    char url[MEMBER_URL_MAX];
    int rc = 0;
    (void)member_url(url, best, "");
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++)
        rc = buf_printf(out, "export %s='%s'\n", names[i], url);
    return rc;
}

int peers_print_host(struct buf *out, const struct addr *address, const char *name)
{
    char text[ADDR_TEXT_MAX];
    return buf_printf(out, "%s\t%s\n", addr_print(address, text), name);
}

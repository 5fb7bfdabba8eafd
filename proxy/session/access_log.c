#include "proxy/session/access_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/decimal.h"
#include "proxy/base/log.h"

enum { TEXT_KEPT_MAX = 255, LINE_MAX_OCTETS = 16384 };

void access_record_reset(struct access_record *r)
{
    struct addr client = r->client;
    enum door_kind door = r->door;
    free(r->host);
    free(r->sni);
    free(r->user);
    free(r->parent);
    free(r->upstream);
    free(r->detail);
    *r = (struct access_record){.client = client, .door = door, .operation = ""};
}

void access_record_text(char **field, struct span text)
{
    free(*field);
    *field = strndup(text.ptr, text.len < TEXT_KEPT_MAX ? text.len : TEXT_KEPT_MAX);
}

/*
 * One line in the making. All that is added is bounded (texts of TEXT_KEPT_MAX octets, each at most
 * six when escaped), so it always fits. Made by hand: it is a good part of a short exchange's cost.
 */
struct line {
    size_t len;
    bool whole; /* false: memory was out */
    char text[LINE_MAX_OCTETS];
};

static void add(struct line *l, const char *text, size_t len)
{
    assert(len <= sizeof l->text - l->len);
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

#define ADD(l, literal) add(l, literal, sizeof(literal) - 1)

static void add_number(struct line *l, uint64_t n)
{
    char digits[DECIMAL_DIGITS_MAX];
    struct span text = decimal_text(n, digits);
    add(l, text.ptr, text.len);
}

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* A JSON string in which nothing needs escaping. */
static void add_plain(struct line *l, const char *text, size_t len)
{
    char *at = l->text + l->len;
    assert(len + 2 <= sizeof l->text - l->len);
    *at = '"';
    memcpy(at + 1, text, len);
    at[1 + len] = '"';
    l->len += len + 2;
}

/* The same of our own words. */
static void add_word(struct line *l, const char *text)
{
    add_plain(l, text, strlen(text));
}

static void add_escaped(struct line *l, const char *text)
{
    struct buf escaped;
    buf_init(&escaped, 6 * TEXT_KEPT_MAX + 2);
    l->whole = log_json_string(&escaped, span_of(text)) == 0 && l->whole;
    add(l, buf_span(&escaped).ptr, buf_len(&escaped));
    buf_release(&escaped);
}

/* A JSON string of what others sent. */
static void add_foreign(struct line *l, const char *text)
{
    size_t plain = 0;
    while (is_plain((unsigned char)text[plain]))
        plain++;
    if (text[plain] == '\0')
        add_plain(l, text, plain);
    else
        add_escaped(l, text);
}

/* The same; NULL, as most are: nothing. */
static void add_text(struct line *l, const char *text)
{
    if (text != NULL)
        add_foreign(l, text);
    else
        ADD(l, "\"\"");
}

static void add_ms(struct line *l, uint64_t us)
{
    if (us == 0) {
        ADD(l, "null");
        return;
    }
    const char fraction[] = {'.', (char)('0' + us % 1000 / 100), (char)('0' + us % 100 / 10),
                             (char)('0' + us % 10)};
    add_number(l, us / 1000);
    add(l, fraction, sizeof fraction);
}

static void add_request(struct line *l, const struct access_record *r, unsigned worker)
{
    char text[ADDR_TEXT_MAX];
    char now[CLOCK_TEXT_MAX];
    ADD(l, "{\"time\":");
    add_word(l, clock_wall_text(now));
    ADD(l, ",\"client\":");
    add_word(l, addr_print(&r->client, text));
    ADD(l, ",\"client_port\":");
    add_number(l, addr_port(&r->client));
    ADD(l, ",\"door\":");
    add_word(l, door_name(r->door));
    ADD(l, ",\"worker\":");
    add_number(l, worker);
    ADD(l, ",\"method\":");
    add_text(l, r->method);
    ADD(l, ",\"host\":");
    add_text(l, r->host);
    ADD(l, ",\"port\":");
    add_number(l, r->port);
    ADD(l, ",\"address\":");
    add_word(l, r->origin.sa.sa_family != 0 ? addr_print(&r->origin, text) : "");
    ADD(l, ",\"parent\":");
    add_text(l, r->parent);
    ADD(l, ",\"upstream\":");
    add_text(l, r->upstream);
    ADD(l, ",\"class\":");
    add_word(l, protocol_name(r->protocol));
    ADD(l, ",\"operation\":");
    add_word(l, r->operation);
}

/* Most clients have nothing of it, which is one copy then. */
static void add_role(struct line *l, const struct access_record *r)
{
    if (r->identity == NULL && r->role[0] == '\0' && r->would == OUTCOME_OK) {
        ADD(l, ",\"identity\":\"\",\"role\":\"\",\"would\":\"\"");
        return;
    }
    ADD(l, ",\"identity\":");
    add_text(l, r->identity);
    ADD(l, ",\"role\":");
    add_word(l, r->role);
    ADD(l, ",\"would\":");
    add_word(l, r->would != OUTCOME_OK ? outcome_info(r->would)->token : "");
}

static void add_result(struct line *l, const struct access_record *r)
{
    ADD(l, ",\"status\":");
    add_number(l, r->status);
    ADD(l, ",\"outcome\":");
    add_word(l, outcome_info(r->outcome)->token);
    ADD(l, ",\"sni\":");
    add_text(l, r->sni);
    ADD(l, ",\"user\":");
    add_text(l, r->user);
    add_role(l, r);
    ADD(l, ",\"bytes_up\":");
    add_number(l, r->octets_up);
    ADD(l, ",\"bytes_down\":");
    add_number(l, r->octets_down);
    ADD(l, ",\"dns_ms\":");
    add_ms(l, r->dns_us);
    ADD(l, ",\"connect_ms\":");
    add_ms(l, r->connect_us);
    ADD(l, ",\"first_byte_ms\":");
    add_ms(l, r->first_octet_us);
    ADD(l, ",\"total_ms\":");
    add_ms(l, clock_us() - r->started_us);
    ADD(l, ",\"detail\":");
    add_text(l, r->detail);
    ADD(l, "}\n");
}

void access_log_write(struct line_writer *w, const struct access_record *r, unsigned worker)
{
    struct line line;
    line.len = 0;
    line.whole = true;
    add_request(&line, r, worker);
    add_result(&line, r);
    if (line.whole)
        line_writer_put(w, (struct span){line.text, line.len});
    else
        line_writer_drop(w);
}

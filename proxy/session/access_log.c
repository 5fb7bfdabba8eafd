#include "proxy/session/access_log.h"

#include <inttypes.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"

enum { TEXT_KEPT_MAX = 255, LINE_MAX_OCTETS = 8192 };

void access_record_reset(struct access_record *r)
{
    struct addr client = r->client;
    free(r->host);
    free(r->sni);
    free(r->user);
    free(r->detail);
    *r = (struct access_record){.client = client, .operation = ""};
}

void access_record_text(char **field, struct span text)
{
    free(*field);
    *field = strndup(text.ptr, text.len < TEXT_KEPT_MAX ? text.len : TEXT_KEPT_MAX);
}

static void add_text(struct buf *b, const char *key, const char *text)
{
    (void)buf_printf(b, ",\"%s\":", key);
    (void)log_json_string(b, span_of(text != NULL ? text : ""));
}

static void add_ms(struct buf *b, const char *key, uint64_t us)
{
    if (us > 0)
        (void)buf_printf(b, ",\"%s\":%" PRIu64 ".%03u", key, us / 1000, (unsigned)(us % 1000));
    else
        (void)buf_printf(b, ",\"%s\":null", key);
}

static void add_fields(struct buf *b, const struct access_record *r, unsigned worker)
{
    char text[ADDR_TEXT_MAX];
    char now[CLOCK_TEXT_MAX];
    (void)buf_printf(b, "{\"time\":\"%s\",\"client\":\"%s\",\"client_port\":%u,\"worker\":%u",
                     clock_wall_text(now), addr_print(&r->client, text),
                     (unsigned)addr_port(&r->client), worker);
    add_text(b, "method", r->method);
    add_text(b, "host", r->host);
    (void)buf_printf(b, ",\"port\":%u", (unsigned)r->port);
    add_text(b, "address", r->origin.sa.sa_family != 0 ? addr_print(&r->origin, text) : "");
    add_text(b, "class", protocol_name(r->protocol));
    add_text(b, "operation", r->operation);
    (void)buf_printf(b, ",\"status\":%u", r->status);
    add_text(b, "outcome", outcome_info(r->outcome)->token);
    add_text(b, "sni", r->sni);
    add_text(b, "user", r->user);
    (void)buf_printf(b, ",\"bytes_up\":%" PRIu64 ",\"bytes_down\":%" PRIu64, r->octets_up,
                     r->octets_down);
    add_ms(b, "dns_ms", r->dns_us);
    add_ms(b, "connect_ms", r->connect_us);
    add_ms(b, "first_byte_ms", r->first_octet_us);
    add_ms(b, "total_ms", clock_us() - r->started_us);
    add_text(b, "detail", r->detail);
    (void)buf_add_str(b, "}\n");
}

void access_log_write(struct line_writer *w, const struct access_record *r, unsigned worker)
{
    struct buf line;
    buf_init(&line, LINE_MAX_OCTETS); /* the texts are bounded, so the line always fits */
    if (buf_reserve(&line, LINE_MAX_OCTETS) != NULL) { /* all of it or nothing */
        add_fields(&line, r, worker);
        line_writer_put(w, buf_span(&line));
    } else {
        line_writer_drop(w);
    }
    buf_release(&line);
}

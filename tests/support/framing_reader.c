/*
 * framing_reader.c - how certferry's parsers read messages, told for comparison with another
 * reader.
 *
 * Standard input: cases, each a line "KIND METHOD CLOSED LENGTH CUT..." and LENGTH octets. KIND Q
 * are requests and R responses (to METHOD), one behind the other on a connection; the octets come
 * in pieces that end at the CUTs; CLOSED 1: then the sender closes.
 *
 * Standard output: for each case one line of JSON, with the messages read, octets in hexadecimal,
 * and how it ended: "end", all octets belong to complete messages; "more", fine so far; "refused",
 * and `why` says what is wrong; "tunnel", behind a CONNECT it is not HTTP any more.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/wire/body.h"
#include "proxy/wire/head.h"

enum { CUTS_MAX = 64, OCTETS_MAX = 1 << 20, METHOD_MAX = 32 };

static const struct head_limits limits = {65536, 32768, 100};

struct reading {
    enum head_kind kind;
    char method[METHOD_MAX]; /* of the request that is answered */
    bool closed;
    const char *data;   /* what has come so far, at a new place with each piece */
    size_t len, at;     /* `at`: so much of it has been read */
    size_t scanned;     /* of the head that begins at `at` */
    bool in_body;       /* a head has been read, its body not yet */
    struct body body;   /* while in_body */
    struct buf payload; /* of that body */
    size_t messages;
    const char *end; /* how it stands with what has come; NULL: it goes on */
    bool over;       /* nothing that comes can change it */
    const char *why;
};

/* ---- telling ---- */

static void tell_hex(struct span s)
{
    (void)putchar('"');
    for (size_t i = 0; i < s.len; i++)
        (void)printf("%02x", (unsigned)(unsigned char)s.ptr[i]);
    (void)putchar('"');
}

static void tell_head(const struct reading *r, const struct head *h)
{
    (void)printf("%s{\"minor\":%u,\"method\":", r->messages > 0 ? "," : "", h->minor);
    tell_hex(h->method);
    (void)printf(",\"target\":");
    tell_hex(h->target);
    (void)printf(",\"status\":%u,\"fields\":[", h->status);
    for (size_t i = 0; i < h->field_count; i++) {
        (void)printf("%s[", i > 0 ? "," : "");
        tell_hex(h->field[i].name);
        (void)putchar(',');
        tell_hex(h->field[i].value);
        (void)putchar(']');
    }
    (void)putchar(']');
}

static void tell_body(struct reading *r, bool complete)
{
    (void)printf(",\"body\":");
    tell_hex(buf_span(&r->payload));
    (void)printf(",\"trailers\":");
    tell_hex(complete ? buf_span(&r->body.trailers) : SPAN(""));
    (void)printf(",\"complete\":%s,\"end\":%zu}", complete ? "true" : "false", r->at);
    r->messages++;
    body_release(&r->body);
    buf_release(&r->payload);
    r->in_body = false;
}

/* ---- reading ---- */

static void finish(struct reading *r, const char *end, const char *why)
{
    if (r->in_body)
        tell_body(r, false);
    r->end = end;
    r->over = true;
    r->why = why;
}

static void read_head(struct reading *r)
{
    static struct head h;
    static const char *const names[] = {"ok",
                                        "more",
                                        "malformed",
                                        "TLS",
                                        "bad version",
                                        "bad method",
                                        "line too long",
                                        "head too large",
                                        "too many fields"};
    const char *why = NULL;
    enum head_result result =
        head_parse(&h, r->kind, r->data + r->at, r->len - r->at, &limits, &r->scanned, &why);
    if (result == HEAD_MORE) {
        r->end = "more";
        return;
    }
    if (result != HEAD_OK) {
        finish(r, "refused", why != NULL ? why : names[result]);
        return;
    }
    /* An interim response ends with its head (RFC 9112 section 6.3); forward_response.c refuses
     * 101. */
    bool interim = r->kind == HEAD_RESPONSE && h.status < 200;
    int rc = interim                   ? 0
             : r->kind == HEAD_REQUEST ? body_of_request(&r->body, &h, &why)
                                       : body_of_response(&r->body, &h, span_of(r->method), &why);
    if (rc != 0 || h.status == 101) {
        finish(r, "refused", rc != 0 ? why : "101 unasked");
        return;
    }
    if (interim)
        r->body = (struct body){.kind = BODY_NONE, .ended = true};
    tell_head(r, &h);
    r->in_body = true;
    r->scanned = 0;
    r->at += h.size;
    if (r->kind == HEAD_REQUEST && span_is(h.method, SPAN("CONNECT"))) {
        tell_body(r, true);
        finish(r, "tunnel", NULL);
    }
}

static void read_body(struct reading *r)
{
    size_t used;
    struct span payload;
    const char *why = NULL;
    enum body_event event =
        body_next(&r->body, r->data + r->at, r->len - r->at, &used, &payload, &why);
    r->at += used;
    if (buf_add_span(&r->payload, payload) != 0)
        abort();
    if (event == BODY_END)
        tell_body(r, true);
    else if (event == BODY_BAD)
        finish(r, "refused", why);
    else if (event == BODY_MORE)
        r->end = "more";
}

/* One more piece has come: everything so far stands at `data`. */
static void read_piece(struct reading *r, const char *data, size_t len)
{
    if (r->over)
        return;
    r->data = data;
    r->len = len;
    r->end = NULL;
    while (r->end == NULL) {
        if (r->in_body)
            read_body(r);
        else if (r->at == r->len)
            return;
        else
            read_head(r);
    }
}

static void sender_closes(struct reading *r)
{
    if (r->in_body && body_close_ends(&r->body)) {
        tell_body(r, true);
        r->end = "end";
    }
}

static void read_case(struct reading *r, const char *octets, size_t len, const size_t *cut,
                      size_t cuts)
{
    (void)printf("{\"messages\":[");
    for (size_t i = 0; i <= cuts; i++) {
        size_t come = i < cuts && cut[i] < len ? cut[i] : len;
        /* Exactly as long as it is: a look too far is seen by the sanitizer. */
        char *copy = malloc(come > 0 ? come : 1);
        if (copy == NULL)
            abort();
        memcpy(copy, octets, come);
        read_piece(r, copy, come);
        free(copy);
    }
    if (r->closed)
        sender_closes(r);
    if (r->in_body)
        tell_body(r, false);
    (void)printf("],\"end\":\"%s\",\"why\":\"", r->end != NULL ? r->end : "end");
    for (const char *at = r->why != NULL ? r->why : ""; *at != '\0'; at++)
        (void)printf(*at == '"' ? "\\%c" : "%c", *at);
    (void)printf("\"}\n");
}

/* ---- cases ---- */

static bool next_number(char **at, size_t *number)
{
    char *end;
    *number = strtoul(*at, &end, 10);
    if (end == *at)
        return false;
    *at = end;
    return true;
}

/* False: the line is none. */
static bool parse_line(char *line, struct reading *r, size_t *len, size_t *cut, size_t *cuts)
{
    size_t closed;
    int method = 0;
    *r = (struct reading){.kind = line[0] == 'Q' ? HEAD_REQUEST : HEAD_RESPONSE};
    buf_init(&r->payload, OCTETS_MAX);
    if (sscanf(line + 1, " %31s%n", r->method, &method) != 1)
        return false;
    char *at = line + 1 + method;
    if (!next_number(&at, &closed) || !next_number(&at, len) || *len > OCTETS_MAX)
        return false;
    r->closed = closed != 0;
    for (*cuts = 0; *cuts < CUTS_MAX && next_number(&at, &cut[*cuts]);)
        (*cuts)++;
    return true;
}

int main(void)
{
    static char line[4096], octets[OCTETS_MAX];
    size_t cut[CUTS_MAX], cuts, len;
    struct reading r;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (!parse_line(line, &r, &len, cut, &cuts) || fread(octets, 1, len, stdin) != len) {
            (void)fprintf(stderr, "framing_reader: malformed case: %s", line);
            return 2;
        }
        read_case(&r, octets, len, cut, cuts);
    }
    return 0;
}

#include "tests/support/session_record.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/support/gateway_judge.h"

/* ---- faults ---- */

static void print_octets(const char *title, const struct stage_text *t)
{
    fprintf(stderr, "---- %s, %zu octets\n", title, t->n);
    for (size_t i = 0; i < t->n; i++) {
        unsigned char c = (unsigned char)t->p[i];
        if (c == '\n')
            fputs("\\n\n", stderr);
        else if (c == '\r')
            fputs("\\r", stderr);
        else if (c < ' ' || c > '~' || c == '\\')
            fprintf(stderr, "\\x%02x", c);
        else
            fputc(c, stderr);
    }
    fputc('\n', stderr);
}

static void print_end(const char *who, unsigned i, const struct stage_end *e)
{
    fprintf(stderr, "==== %s %u:%s%s%s%s%s\n", who, i + 1, e->fin_sent ? " fin-sent" : "",
            e->left ? " left" : "", e->reset ? " reset" : "", e->ended ? " ended" : "",
            e->aborted ? " aborted" : "");
    print_octets("said", &e->sent);
    print_octets("heard", &e->got);
}

void session_print(void)
{
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        if (stage_has_client(i))
            print_end("client", i, stage_client(i));
    }
    for (unsigned i = 0; stage_origin(i) != NULL; i++)
        print_end("origin", i, stage_origin(i));
}

void session_fault(const char *what)
{
    session_print();
    fprintf(stderr, "session_judge: %s\n", what);
    abort();
}

void session_must(bool holds, const char *what)
{
    if (!holds)
        session_fault(what);
}

/* ---- what clients have said ---- */

bool session_persists(const struct strict_message *m)
{
    static const struct strict_text close = {"close", 5}, keep = {"keep-alive", 10};
    if (strict_lists(m, "Connection", close))
        return false;
    return m->minor > 0 || strict_lists(m, "Connection", keep) ||
           strict_lists(m, "Proxy-Connection", keep);
}

bool session_authority(struct asked *a, struct strict_text t, unsigned otherwise)
{
    const char *colon = memchr(t.p, ':', t.n);
    size_t n = colon != NULL ? (size_t)(colon - t.p) : t.n;
    a->port = colon != NULL ? 0 : otherwise;
    for (size_t i = n + 1; i < t.n; i++) {
        if (t.p[i] < '0' || t.p[i] > '9' || a->port > 65535)
            return false;
        a->port = a->port * 10 + (unsigned)(t.p[i] - '0');
    }
    if (n > 0 && t.p[n - 1] == '.')
        n--;
    if (n == 0 || n >= sizeof a->host)
        return false;
    for (size_t i = 0; i < n; i++)
        a->host[i] = (char)(t.p[i] >= 'A' && t.p[i] <= 'Z' ? t.p[i] + 32 : t.p[i]);
    a->host[n] = '\0';
    return true;
}

/* absolute-form (RFC 9112 section 3.2.2) into what an origin is to see (section 3.2.1). */
static void read_target(struct asked *a)
{
    struct strict_text t = a->m.target;
    if (t.n < 7 || strncasecmp(t.p, "http://", 7) != 0)
        return;
    t = (struct strict_text){t.p + 7, t.n - 7};
    size_t n = 0;
    while (n < t.n && t.p[n] != '/' && t.p[n] != '?' && t.p[n] != '#')
        n++;
    struct strict_text rest = {t.p + n, t.n - n};
    a->forwardable = session_authority(a, (struct strict_text){t.p, n}, 80);
    const char *front = rest.n > 0 && rest.p[0] == '/'                     ? ""
                        : rest.n == 0 && strict_is(a->m.method, "OPTIONS") ? "*"
                                                                           : "/";
    a->path = malloc(rest.n + 2);
    assert(a->path != NULL);
    (void)snprintf(a->path, rest.n + 2, "%s%.*s", front, (int)rest.n, rest.p);
}

/* origin-form, as an upstream is to see it. */
static void read_path(struct asked *a, const struct stage_options *options)
{
    a->allowed = true; /* nobody is asked for a password there */
    a->forwardable = gateway_lets_pass(&a->m, options);
    a->path = strndup(a->m.target.p, a->m.target.n);
    assert(a->path != NULL);
}

/* Basic credentials of a password that is right: "u:right" and "u:known". */
static bool has_password(const struct strict_message *m)
{
    const struct strict_field *f = strict_find(m, "Proxy-Authorization");
    if (f == NULL || strict_count(m, "Proxy-Authorization") != 1 || f->value.n < 6 ||
        strncasecmp(f->value.p, "Basic ", 6) != 0)
        return false;
    struct strict_text t = {f->value.p + 6, f->value.n - 6};
    while (t.n > 0 && t.p[0] == ' ')
        t = (struct strict_text){t.p + 1, t.n - 1};
    return strict_is(t, "dTpyaWdodA==") || strict_is(t, "dTprbm93bg==");
}

static void add_asked(struct story *s, const struct strict_message *m,
                      const struct stage_options *options)
{
    s->asked = realloc(s->asked, (s->count + 1) * sizeof *s->asked);
    assert(s->asked != NULL);
    struct asked *a = &s->asked[s->count++];
    *a = (struct asked){.m = *m, .allowed = !options->passwords || has_password(m)};
    if (options->gateway)
        read_path(a, options);
    else if (a->allowed && !strict_is(m->method, "CONNECT"))
        read_target(a);
}

/* The octets of a PROXY header, version 1 or 2; SIZE_MAX: there is none. */
static size_t header_size(const struct stage_text *t)
{
    static const char magic[] = "\r\n\r\n\0\r\nQUIT\n";
    if (t->n >= 16 && memcmp(t->p, magic, 12) == 0) {
        size_t size = 16 + ((size_t)(unsigned char)t->p[14] << 8 | (unsigned char)t->p[15]);
        return size <= t->n ? size : SIZE_MAX;
    }
    const char *end = t->n > 0 ? memchr(t->p, '\n', t->n) : NULL;
    bool old = end != NULL && t->n >= 6 && memcmp(t->p, "PROXY ", 6) == 0;
    return old ? (size_t)(end - t->p) + 1 : SIZE_MAX;
}

static void read_requests(struct story *s, size_t at, const struct stage_options *options)
{
    const struct stage_text *t = &s->end->sent;
    while (at < t->n) {
        struct strict_message m;
        strict_request(&m, t->p + at, t->n - at);
        if (!m.headed) {
            s->more = true;
            strict_release(&m);
            return;
        }
        add_asked(s, &m, options);
        if (m.verdict != STRICT_WHOLE)
            return;
        at += m.size;
        /* Asked for its password, a client may come again behind it. */
        if (!options->gateway && strict_is(m.method, "CONNECT") && s->asked[s->count - 1].allowed) {
            s->tunnel = m.content_size == 0;
            s->tunnel_at = at;
            return;
        }
        /* What is behind it is not looked at (section 9.6). */
        if (!session_persists(&m))
            return;
    }
}

/* Of "PROXY TCP4 from to port port", whose text is the canonical one. */
static struct strict_text header_source(const struct stage_text *t)
{
    static const char before[] = "PROXY TCP4 ";
    size_t n = sizeof before - 1;
    const char *end =
        t->n > n && memcmp(t->p, before, n) == 0 ? memchr(t->p + n, ' ', t->n - n) : NULL;
    return end != NULL ? (struct strict_text){t->p + n, (size_t)(end - t->p) - n}
                       : (struct strict_text){"", 0};
}

static void read_client(struct session_record *r, unsigned i)
{
    struct story *s = &r->story[i];
    *s = (struct story){.end = stage_client(i)};
    size_t at = r->options->balancer ? header_size(&s->end->sent) : 0;
    if (r->options->balancer)
        s->from = header_source(&s->end->sent);
    /* A header that is refused is answered too. */
    s->more = r->options->balancer && at >= s->end->sent.n;
    if (at < s->end->sent.n)
        read_requests(s, at, r->options);
}

/* ---- what origins have heard and said ---- */

/* What the origin had said when the octet `at` of what it heard arrived. */
static const struct stage_mark *mark_of(const struct stage_end *e, size_t at)
{
    for (size_t i = 0; i < e->marks; i++) {
        if (e->mark[i].got > at)
            return &e->mark[i];
    }
    session_fault("an octet that never arrived");
    return NULL;
}

/* The response to `x` from `*said` on, which moves behind it. */
static void read_answer(struct exchange *x, size_t *said)
{
    const struct stage_end *e = x->end;
    bool ended = e->fin_sent || (e->left && !e->reset);
    x->response_at = *said;
    while (*said < e->sent.n) {
        struct strict_message *m = &x->response;
        strict_response(m, e->sent.p + *said, e->sent.n - *said, x->request.method, ended);
        if (!m->headed || m->status >= 200) {
            x->answered = m->headed;
            *said = m->verdict == STRICT_WHOLE ? *said + m->size : e->sent.n;
            return;
        }
        if (x->interims < sizeof x->interim / sizeof *x->interim)
            x->interim[x->interims++] = m->status;
        *said += m->size;
        strict_release(m);
        *m = (struct strict_message){0};
    }
}

static void add_exchange(struct session_record *r, struct stage_end *e,
                         const struct strict_message *m, size_t at, size_t *said)
{
    r->exchange = realloc(r->exchange, (r->exchanges + 1) * sizeof *r->exchange);
    assert(r->exchange != NULL);
    struct exchange *x = &r->exchange[r->exchanges++];
    const struct stage_mark *mark = mark_of(e, at);
    *x = (struct exchange){
        .end = e, .request = *m, .sent_before = mark->sent, .tick = mark->tick, .first = at == 0};
    read_answer(x, said);
}

static void read_origin(struct session_record *r, unsigned i)
{
    struct stage_end *e = stage_origin(i);
    size_t at = 0, said = 0;
    while (at < e->got.n) {
        struct strict_message m;
        session_must(e->got.p[at] != '\r', "an empty line before a request to an origin");
        strict_request(&m, e->got.p + at, e->got.n - at);
        if (m.verdict == STRICT_BAD)
            session_fault(m.why);
        if (!m.headed) {
            r->fragment[i] = (struct strict_text){e->got.p + at, e->got.n - at};
            strict_release(&m);
            return;
        }
        add_exchange(r, e, &m, at, &said);
        if (m.verdict == STRICT_PART)
            return;
        at += m.size;
    }
}

/* ---- the whole ---- */

bool session_is_tunnel(const struct stage_options *options, const struct stage_end *e)
{
    return !options->gateway && (e->port == 443 || e->port == 8443);
}

static int by_tick(const void *a, const void *b)
{
    unsigned long x = ((const struct exchange *)a)->tick, y = ((const struct exchange *)b)->tick;
    return x < y ? -1 : x > y;
}

void session_record_read(struct session_record *r, const struct stage_options *options)
{
    *r = (struct session_record){.options = options};
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        if (stage_has_client(i))
            read_client(r, i);
    }
    for (unsigned i = 0; stage_origin(i) != NULL; i++) {
        r->belated = r->belated || stage_origin(i)->belated;
        if (!session_is_tunnel(options, stage_origin(i)))
            read_origin(r, i);
    }
    if (r->exchanges > 0)
        qsort(r->exchange, r->exchanges, sizeof *r->exchange, by_tick);
}

void session_record_release(struct session_record *r)
{
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        struct story *s = &r->story[i];
        for (size_t k = 0; k < s->count; k++) {
            strict_release(&s->asked[k].m);
            free(s->asked[k].path);
        }
        free(s->asked);
    }
    for (size_t i = 0; i < r->exchanges; i++) {
        strict_release(&r->exchange[i].request);
        strict_release(&r->exchange[i].response);
    }
    free(r->exchange);
}

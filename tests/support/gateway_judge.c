#include "tests/support/gateway_judge.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proxy/wire/gateway_fields.h"

/* ---- what may pass ---- */

static int hex(char c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    int n = found != NULL ? (int)(found - digits) : -1;
    return n > 15 ? n - 6 : n;
}

/* An octet that says the same to every reader of paths, written as it is or as an escape. */
static bool is_plain(char c, bool escaped)
{
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                (c != '\0' && strchr("-_~", c) != NULL);
    bool means = c < ' ' || c > '~' || strchr("/\\.;%?#", c) != NULL;
    return escaped ? !word && !means : word || c == '.' || c == '/' || strchr("!$&'()*+,=:@", c);
}

/* Nobody can take it for another path: no escape of anything that counts, no segment that goes
 * away. */
static bool is_one_path(struct strict_text t)
{
    size_t segment = 0; /* octets of it */
    for (size_t i = 0; i < t.n; i++) {
        bool escaped = t.p[i] == '%';
        int high = escaped && i + 2 < t.n ? hex(t.p[i + 1]) : 0;
        int low = escaped && i + 2 < t.n ? hex(t.p[i + 2]) : escaped ? -1 : 0;
        if (high < 0 || low < 0)
            return false;
        char c = escaped ? (char)(high * 16 + low) : t.p[i];
        if (c == '\0' || !is_plain(c, escaped))
            return false;
        bool ends = t.p[i] == '/' || i + 1 == t.n;
        segment += t.p[i] != '/';
        const char *from = t.p + i + 1 - segment - (t.p[i] == '/');
        if (ends && i > 0 &&
            ((segment == 0 && t.p[i - 1] == '/') || (segment == 1 && from[0] == '.') ||
             (segment == 2 && from[0] == '.' && from[1] == '.')))
            return false;
        segment = t.p[i] == '/' ? 0 : segment;
        i += escaped ? 2 : 0;
        segment += escaped ? 2 : 0;
    }
    return true;
}

static bool is_path_of_ours(struct strict_text target)
{
    static const char est[] = STAGE_PATH_EST;
    const char *query = memchr(target.p, '?', target.n);
    struct strict_text path = {target.p, query != NULL ? (size_t)(query - target.p) : target.n};
    size_t n = sizeof est - 1;
    bool below = path.n > n && memcmp(path.p, est, n) == 0 && path.p[n] == '/';
    return is_one_path(path) &&
           (below || strict_is(path, est) || strict_is(path, STAGE_PATH_SCEP) ||
            strict_is(path, STAGE_PATH_EXE));
}

/* "host" of "host:port", in small letters, without a last dot. */
static bool host_of(const struct strict_message *m, char host[256])
{
    struct asked a;
    const struct strict_field *f = strict_find(m, "Host");
    if (f == NULL || strict_count(m, "Host") != 1 || !session_authority(&a, f->value, 0))
        return false;
    memcpy(host, a.host, sizeof a.host);
    return true;
}

static bool is_our_name(const struct strict_message *m)
{
    char host[256];
    return host_of(m, host) && strcmp(host, STAGE_NAME_OF_GATEWAY) == 0;
}

bool gateway_lets_pass(const struct strict_message *m, const struct stage_options *options)
{
    bool method =
        strict_is(m->method, "GET") || strict_is(m->method, "HEAD") || strict_is(m->method, "POST");
    static const struct strict_text us = {"1.1 " STAGE_NAME, sizeof "1.1 " STAGE_NAME - 1};
    return method && !options->outside && !strict_lists(m, "Via", us) &&
           (!options->names || is_our_name(m)) && strict_count(m, "Host") <= 1 &&
           is_path_of_ours(m->target);
}

/* ---- fields ---- */

static bool is_place(struct strict_text name)
{
    return strict_names(name, "Location") || strict_names(name, "Content-Location");
}

bool gateway_writes(const struct strict_message *m, struct strict_text name)
{
    return m->status != 0 ? is_place(name) : gateway_field_is_ours((struct span){name.p, name.n});
}

/* What stands behind scheme and authority; false: it is no URL of an upstream. */
static bool is_upstreams(struct strict_text url, struct strict_text *rest)
{
    static const char *const names[] = {
#define NAMES(url, host) (url) + sizeof "http://" - 1, host,
        STAGE_UPSTREAMS(NAMES)
#undef NAMES
    };
    size_t from = url.n > 8 && strncasecmp(url.p, "https://", 8) == 0 ? 8
                  : url.n > 2 && memcmp(url.p, "//", 2) == 0          ? 2
                                                                      : 0;
    size_t to = from;
    while (to < url.n && strchr("/?#", url.p[to]) == NULL)
        to++;
    *rest = (struct strict_text){url.p + to, url.n - to};
    for (size_t i = 0; from > 0 && i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]), given = to - from;
        bool bare = n > 4 && strcmp(names[i] + n - 4, ":443") == 0; /* https has it without, too */
        if (given >= n - (bare ? 4 : 0) &&
            strncasecmp(names[i], url.p + from, n - (bare ? 4 : 0)) == 0)
            return true;
    }
    return false;
}

/* As it was, or through us. */
static bool same_place(struct strict_text out, struct strict_text in)
{
    struct strict_text rest;
    if (strict_same(out, in))
        return true;
    bool through = out.n >= 7 && memcmp(out.p, "http://", 7) == 0;
    bool relative = out.n > 0 && out.p[0] == '/' && (out.n == 1 || out.p[1] != '/');
    return is_upstreams(in, &rest) && (through || relative) && out.n >= rest.n &&
           (rest.n == 0 || memcmp(out.p + out.n - rest.n, rest.p, rest.n) == 0);
}

bool gateway_same_places(const struct strict_message *out, const struct strict_message *in)
{
    size_t at = 0;
    for (size_t i = 0; i < out->fields; i++) {
        if (!is_place(out->field[i].name))
            continue;
        while (at < in->fields && !is_place(in->field[at].name))
            at++;
        if (at == in->fields || !strict_same(out->field[i].name, in->field[at].name) ||
            !same_place(out->field[i].value, in->field[at].value))
            return false;
        at++;
    }
    while (at < in->fields && !is_place(in->field[at].name))
        at++;
    return at == in->fields;
}

/* ---- requests at upstreams ---- */

static void check_host(const struct exchange *x)
{
    static const char *const places[][2] = {
#define PLACE(url, host) {url, host},
        STAGE_UPSTREAMS(PLACE)
#undef PLACE
    };
    char url[300];
    const struct strict_field *f = strict_find(&x->request, "Host");
    (void)snprintf(url, sizeof url, "http://%s:%u", x->end->host, (unsigned)x->end->port);
    session_must(strict_count(&x->request, "Host") == 1, "not one Host at an upstream");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (strcmp(places[i][0], url) != 0)
            continue;
        session_must(strict_is(f->value, places[i][1]), "a Host that is not the upstream's");
        return;
    }
    session_fault("a request to a host that is no upstream");
}

/* Once, and as we say it. */
static void check_word(const struct strict_message *m, const char *name, const char *value)
{
    const struct strict_field *f = strict_find(m, name);
    session_must(f != NULL && strict_count(m, name) == 1 &&
                     (value == NULL ? memchr(f->value.p, ',', f->value.n) == NULL
                                    : strict_is(f->value, value)),
                 "a word of the client's about itself at an upstream");
}

/* The worst of them, apart from the gateway's own list; the last octet of a hyphen may be any. */
static void check_foreign_words(const struct strict_message *m)
{
    static const char *const never[] = {"Forwarded",      "X-Real-IP",        "Client-Cert",
                                        "X-Original-URL", "X-Rewrite-URL",    "X-SSL-Client-Cert",
                                        "X-HTTP-Method",  "X-Forwarded-Host", "SSL-CLIENT-CERT"};
    for (size_t i = 0; i < m->fields; i++) {
        char name[64];
        size_t n = m->field[i].name.n < sizeof name - 1 ? m->field[i].name.n : sizeof name - 1;
        for (size_t k = 0; k < n; k++)
            name[k] = strchr("_.!~", m->field[i].name.p[k]) != NULL ? '-' : m->field[i].name.p[k];
        name[n] = '\0';
        for (size_t k = 0; k < sizeof never / sizeof *never; k++)
            session_must(strcasecmp(name, never[k]) != 0, "a gateway's word from a client");
    }
}

void gateway_check_request(const struct exchange *x)
{
    const struct strict_message *m = &x->request;
    check_host(x);
    check_word(m, "X-Forwarded-For", NULL);
    check_word(m, "X-Forwarded-Proto", "http");
    check_word(m, "X-Forwarded-Port", "443");
    check_foreign_words(m);
    session_must(is_path_of_ours(m->target), "a path that is not in the list at an upstream");
    session_must(m->trailers == 0 && strict_count(m, "Trailer") == 0,
                 "a trailer section at an upstream");
}

/* ---- nothing twice ---- */

/* GET and HEAD may, and SCEP's orders by GET may not. */
static bool is_order(const struct strict_message *m)
{
    return strict_is(m->method, "POST") ||
           memmem(m->target.p, m->target.n, "?operation=PKIOperation", 23) != NULL;
}

static bool is_same(const struct strict_message *a, const struct strict_message *b)
{
    return strict_same(a->method, b->method) && strict_same(a->target, b->target);
}

/* The beginning of a head that is the beginning of such a request. */
static bool is_fragment_of(struct strict_text fragment, const struct strict_message *m)
{
    char line[8192];
    int n = snprintf(line, sizeof line, "%.*s %.*s HTTP/1.1\r\n", (int)m->method.n, m->method.p,
                     (int)m->target.n, m->target.p);
    return n > 0 && (size_t)n < sizeof line && fragment.n >= (size_t)n &&
           memcmp(fragment.p, line, (size_t)n) == 0;
}

static size_t count_asked(const struct session_record *r, const struct strict_message *m)
{
    size_t count = 0;
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        for (size_t k = 0; k < r->story[i].count; k++)
            count += is_same(&r->story[i].asked[k].m, m);
    }
    return count;
}

/* `dying`: those on a kept connection that ended without an answer. */
static size_t count_seen(const struct session_record *r, const struct strict_message *m,
                         size_t *dying)
{
    size_t count = 0;
    *dying = 0;
    for (size_t i = 0; i < r->exchanges; i++) {
        const struct exchange *x = &r->exchange[i];
        if (!is_same(&x->request, m))
            continue;
        count++;
        *dying += !x->first && !x->answered;
    }
    for (unsigned i = 0; i < STAGE_ORIGINS; i++)
        count += r->fragment[i].n > 0 && is_fragment_of(r->fragment[i], m);
    return count;
}

/* A server may be about to end a kept connection, so an order goes only over its own client's. */
static void check_company(const struct session_record *r, size_t at)
{
    const struct exchange *x = &r->exchange[at], *last = NULL;
    const struct strict_field *now = strict_find(&x->request, "X-Forwarded-For"), *then = NULL;
    for (size_t i = 0; i < at; i++) {
        if (r->exchange[i].end == x->end)
            last = &r->exchange[i];
    }
    if (last == NULL || !is_order(&x->request))
        return;
    then = strict_find(&last->request, "X-Forwarded-For");
    session_must(strict_same(now->value, then->value), "an order on another client's connection");
}

void gateway_check_repeats(const struct session_record *r)
{
    for (size_t i = 0; i < r->exchanges; i++)
        check_company(r, i);
    for (size_t i = 0; i < r->exchanges; i++) {
        const struct strict_message *m = &r->exchange[i].request;
        size_t dying, seen = count_seen(r, m, &dying), asked = count_asked(r, m);
        session_must(seen <= asked || !is_order(m), "an order that went to upstreams twice");
        session_must(seen <= asked + dying, "a request that may have arrived went out once more");
    }
}

/* ---- the redirect ---- */

/* A literal in brackets may come out in another spelling, so only what is around it is looked at.
 */
static void check_location(const struct strict_message *m, const struct asked *a)
{
    char host[256] = "", want[4096 + 300];
    const struct strict_field *f = strict_find(m, "Location"), *named = strict_find(&a->m, "Host");
    bool literal = named != NULL && named->value.n > 0 && named->value.p[0] == '[';
    if (f == NULL || strict_count(m, "Location") != 1) {
        session_fault("not one Location");
        return;
    }
    session_must(literal || host_of(&a->m, host), "a redirect without a host");
    int n = snprintf(want, sizeof want, "%s%s:%u%.*s", literal ? "]" : "https://", host,
                     (unsigned)STAGE_REDIRECT_PORT, (int)a->m.target.n, a->m.target.p);
    session_must(n > 0 && (size_t)n < sizeof want && a->m.target.p[0] == '/', "a redirect of that");
    if (!literal)
        session_must(strict_is(f->value, want), "a redirect to another place");
    else
        session_must(f->value.n > (size_t)n && memcmp(f->value.p, "https://[", 9) == 0 &&
                         memcmp(f->value.p + f->value.n - n, want, (size_t)n) == 0,
                     "a redirect to another place");
}

void redirect_judge(const struct stage_options *options, bool settled)
{
    static const struct strict_text close = {"close", 5}, get = {"GET", 3};
    struct session_record r;
    (void)settled;
    session_must(stage_origin(0) == NULL, "a redirect that goes anywhere itself");
    session_record_read(&r, options);
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        const struct story *s = &r.story[i];
        struct strict_message m;
        if (s->end == NULL || s->end->got.n == 0)
            continue;
        struct strict_text method = s->count > 0 ? s->asked[0].m.method : get;
        strict_response(&m, s->end->got.p, s->end->got.n, method, s->end->ended);
        session_must(m.verdict != STRICT_BAD, m.why);
        session_must(!m.headed || m.status == 308 || m.status >= 400, "no redirect, no refusal");
        session_must(!m.headed || strict_lists(&m, "Connection", close), "a redirect goes on");
        session_must(m.size == s->end->got.n || strict_is(method, "HEAD"), "octets behind it");
        if (m.headed && m.status == 308) {
            session_must(s->count > 0, "a redirect of no request");
            session_must(!options->names || is_our_name(&s->asked[0].m), "another's name");
            check_location(&m, &s->asked[0]);
        }
        strict_release(&m);
    }
    session_record_release(&r);
}

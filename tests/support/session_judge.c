#include "tests/support/session_judge.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tests/support/gateway_judge.h"
#include "tests/support/session_fakes.h"
#include "tests/support/session_record.h"
#include "tests/support/strict_hello.h"

static struct session_record judge;

/* ---- fields ---- */

/* And goes on: "Proxy-" alone is a name like any other. */
static bool begins(struct strict_text t, const char *prefix)
{
    size_t n = strlen(prefix);
    return t.n > n && strncasecmp(t.p, prefix, n) == 0;
}

static bool is_one_of(struct strict_text name, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strict_names(name, *list))
            return true;
    }
    return false;
}

/* RFC 9110 section 7.6.1, and Upgrade to h2c's own field. */
static bool is_of_the_hop(struct strict_text name)
{
    static const char *const names[] = {"Connection", "Keep-Alive",     "TE", "Transfer-Encoding",
                                        "Upgrade",    "HTTP2-Settings", NULL};
    return is_one_of(name, names) || begins(name, "Proxy-");
}

/* What no Connection field may take away: framing, routing, credentials ("hop-by-hop abuse"). */
static bool is_kept_anyway(struct strict_text name)
{
    static const char *const names[] = {"Authorization",
                                        "Cookie",
                                        "Cache-Control",
                                        "Expect",
                                        "Forwarded",
                                        "Host",
                                        "Location",
                                        "Max-Forwards",
                                        "Retry-After",
                                        "Set-Cookie",
                                        "Replay-Nonce",
                                        "WWW-Authenticate",
                                        NULL};
    return is_one_of(name, names) || begins(name, "Content-") || begins(name, "X-Forwarded-");
}

/* Written anew by the proxy, or left out where they mean nothing: judged apart. */
static bool is_written_anew(const struct strict_message *m, struct strict_text name)
{
    static const char *const both[] = {"Via", "Content-Length", "Trailer", NULL};
    static const char *const request[] = {"Host", "X-Forwarded-For", "Expect", "Max-Forwards",
                                          NULL};
    return is_one_of(name, both) || (m->status == 0 && is_one_of(name, request)) ||
           (judge.options->gateway && gateway_writes(m, name));
}

/* By the Connection field of `in`: that of what comes out is ours, and a field may be called
 * "close". */
static bool is_end_to_end(const struct strict_message *m, const struct strict_message *in,
                          struct strict_text name)
{
    if (m->status != 0 && strict_names(name, "Proxy-Status")) /* RFC 9209 section 2 */
        return true;
    return !is_of_the_hop(name) && !is_written_anew(m, name) &&
           (is_kept_anyway(name) || !strict_lists(in, "Connection", name));
}

static const struct strict_field *next_field(const struct strict_message *m,
                                             const struct strict_message *in, size_t *at)
{
    while (*at < m->fields) {
        const struct strict_field *f = &m->field[(*at)++];
        if (is_end_to_end(m, in, f->name))
            return f;
    }
    return NULL;
}

/* The same end-to-end fields, in the same order, with the same values. */
static bool same_fields(const struct strict_message *out, const struct strict_message *in)
{
    size_t at = 0, bt = 0;
    for (;;) {
        const struct strict_field *f = next_field(out, in, &at), *g = next_field(in, in, &bt);
        if (f == NULL || g == NULL)
            return f == g;
        if (!strict_same(f->name, g->name) || !strict_same(f->value, g->value))
            return false;
    }
}

/* Trailers may be dropped, but none is invented, and none that must not be there gets through. */
static bool same_trailers(const struct strict_message *out, const struct strict_message *in)
{
    static const char *const never[] = {"Host",       "Authorization", "Transfer-Encoding",
                                        "Set-Cookie", "Trailer",       NULL};
    size_t at = 0;
    for (size_t i = 0; i < out->trailers; i++) {
        const struct strict_field *f = &out->trailer[i];
        while (at < in->trailers && !(strict_same(in->trailer[at].name, f->name) &&
                                      strict_same(in->trailer[at].value, f->value)))
            at++;
        if (at++ == in->trailers || is_of_the_hop(f->name) || is_one_of(f->name, never) ||
            begins(f->name, "Content-"))
            return false;
    }
    return true;
}

static struct strict_text last_element(const struct strict_message *m, const char *name)
{
    struct strict_text last = {"", 0};
    for (size_t i = 0; i < m->fields; i++) {
        struct strict_text list = m->field[i].value, one;
        if (!strict_names(m->field[i].name, name))
            continue;
        while (strict_element(&list, &one))
            last = one;
    }
    return last;
}

static bool is_via_us(const struct strict_message *m)
{
    struct strict_text last = last_element(m, "Via");
    return strict_is(last, "1.1 " STAGE_NAME) || strict_is(last, "1.0 " STAGE_NAME);
}

/* ---- requests at origins ---- */

static void check_request_fields(const struct strict_message *m)
{
    const struct strict_field *connection = strict_find(m, "Connection");
    session_must(m->minor == 1, "a request to an origin that is not HTTP/1.1");
    session_must(is_via_us(m) && strict_count(m, "Via") == 1,
                 "a request without our Via at its end");
    session_must(connection == NULL || (strict_count(m, "Connection") == 1 &&
                                        strict_is(connection->value, "keep-alive")),
                 "a Connection field that is not ours");
    for (size_t i = 0; i < m->fields; i++) {
        struct strict_text name = m->field[i].name;
        session_must(!is_of_the_hop(name) || strict_names(name, "Connection") ||
                         strict_names(name, "Transfer-Encoding"),
                     "a field of the hop before at an origin");
        session_must(!strict_names(name, "Trailer") || m->end == STRICT_END_CHUNKS,
                     "Trailer without chunks");
    }
}

static void check_host(const struct exchange *x)
{
    char want[300];
    if (judge.options->gateway) {
        gateway_check_request(x);
        return;
    }
    const struct strict_field *host = strict_find(&x->request, "Host");
    (void)snprintf(want, sizeof want, x->end->port == 80 ? "%s" : "%s:%u", x->end->host,
                   (unsigned)x->end->port);
    session_must(strict_count(&x->request, "Host") == 1 && strict_is(host->value, want),
                 "a Host that is not the origin's");
    session_must(stage_allows(x->end->host, strlen(x->end->host)), "an origin that is not allowed");
}

/* Which client's it is stands at the end of X-Forwarded-For. */
static struct story *story_of(const struct exchange *x)
{
    struct strict_text from = last_element(&x->request, "X-Forwarded-For");
    unsigned i = 0;
    if (!judge.options->balancer) {
        session_must(from.n == 9 && begins(from, "192.0.2.") && from.p[8] >= '1' &&
                         from.p[8] < '1' + STAGE_CLIENTS,
                     "X-Forwarded-For does not end with the client's address");
        i = (unsigned)(from.p[8] - '1');
    }
    struct story *s = &judge.story[i];
    session_must(s->end != NULL, "a request of a client that is not there");
    session_must(s->from.n == 0 || strict_same(from, s->from),
                 "X-Forwarded-For does not end with the address that the balancer gave");
    return s;
}

/* `out` is `in`'s content, or its beginning when it is a part. */
static bool same_content(const struct strict_message *out, const struct strict_message *in)
{
    if (out->content_size > in->content_size ||
        (out->content_size > 0 && memcmp(out->content, in->content, out->content_size) != 0))
        return false;
    if (out->end == STRICT_END_LENGTH && in->end == STRICT_END_LENGTH && out->length != in->length)
        return false;
    return out->verdict == STRICT_PART ||
           (in->verdict == STRICT_WHOLE && out->content_size == in->content_size &&
            same_trailers(out, in));
}

static bool same_request(const struct exchange *x, const struct asked *a)
{
    const struct strict_message *m = &x->request;
    bool same_place =
        judge.options->gateway || (strcmp(a->host, x->end->host) == 0 && a->port == x->end->port);
    return a->forwardable && strict_same(m->method, a->m.method) && strict_is(m->target, a->path) &&
           same_place && same_fields(m, &a->m) && same_content(m, &a->m);
}

/* Nothing is lost when it comes twice: RFC 9110 section 9.2.2, and no content. */
static bool may_repeat(const struct strict_message *m)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", NULL};
    for (const char *const *name = methods; *name != NULL; name++) {
        if (strict_is(m->method, *name))
            return m->content_size == 0 &&
                   (m->end == STRICT_END_HEAD || (m->end == STRICT_END_LENGTH && m->length == 0));
    }
    return false;
}

static void check_request(const struct exchange *x)
{
    check_request_fields(&x->request);
    check_host(x);
    struct story *s = story_of(x);
    /* One who was deaf has heard in another order than it happened. */
    size_t from = judge.belated ? 0 : s->next;
    for (size_t i = from; i < s->count; i++) {
        if (!s->asked[i].seen && same_request(x, &s->asked[i])) {
            s->asked[i].seen = true;
            s->asked[i].fresh = x->first;
            s->next = i + 1 > s->next ? i + 1 : s->next;
            return;
        }
        /* None is passed over but what we answer ourselves. */
        if (s->asked[i].forwardable && !judge.belated)
            break;
    }
    session_must(may_repeat(&x->request),
                 "a request that comes again, or that the client has not sent");
    for (size_t i = 0; i < s->next; i++) {
        struct asked *a = &s->asked[i];
        if (!same_request(x, a) || !(x->first || a->fresh || judge.belated))
            continue;
        a->fresh = a->fresh && x->first;
        return;
    }
    session_fault("a request at an origin that the client has not sent, or not so, or not now");
}

/* A connection is used again only if its last response was whole and let it (RFC 9112 section 9.3).
 */
static void check_reuse(const struct stage_end *e)
{
    const struct exchange *last = NULL;
    for (size_t i = 0; i < judge.exchanges; i++) {
        const struct exchange *x = &judge.exchange[i];
        if (x->end != e)
            continue;
        session_must(last == NULL || (last->answered && last->response.verdict == STRICT_WHOLE &&
                                      session_persists(&last->response)),
                     "a connection to an origin is used again that was over");
        last = x;
    }
}

/* ---- responses at clients ---- */

static void check_response_fields(const struct strict_message *m)
{
    const struct strict_field *connection = strict_find(m, "Connection");
    session_must(m->minor == 1 && !m->bare_status, "a response that does not begin as ours do");
    session_must(connection == NULL || (strict_count(m, "Connection") == 1 &&
                                        (strict_is(connection->value, "close") ||
                                         strict_is(connection->value, "keep-alive"))),
                 "a Connection field that is not ours");
    for (size_t i = 0; i < m->fields; i++) {
        struct strict_text name = m->field[i].name;
        session_must(!is_of_the_hop(name) || strict_names(name, "Connection") ||
                         strict_names(name, "Transfer-Encoding") ||
                         strict_names(name, "Proxy-Status") ||
                         (m->status == 407 && strict_names(name, "Proxy-Authenticate")),
                     "a field of the hop before at a client");
    }
}

static bool same_response(const struct strict_message *m, const struct exchange *x,
                          const unsigned *interim, size_t interims)
{
    if (!x->answered || x->used || m->status != x->response.status)
        return false;
    for (size_t i = 0; i < interims; i++) {
        if (i >= x->interims || interim[i] != x->interim[i])
            return false;
    }
    return strict_same(m->reason, x->response.reason) && same_fields(m, &x->response) &&
           (!judge.options->gateway || gateway_same_places(m, &x->response)) &&
           same_content(m, &x->response);
}

/* The response is the one that this very request got. */
static void check_passed(const struct strict_message *m, struct story *s, size_t k,
                         const unsigned *interim, size_t interims)
{
    session_must(k < s->count, "a response of an origin to no request");
    session_must(s->asked[k].m.minor > 0 || m->end != STRICT_END_CHUNKS,
                 "chunks to a client that knows none");
    for (size_t i = 0; i < judge.exchanges; i++) {
        struct exchange *x = &judge.exchange[i];
        if (story_of(x) != s || !same_request(x, &s->asked[k]) ||
            !same_response(m, x, interim, interims))
            continue;
        session_must(x->first || x->end->belated || x->response_at >= x->sent_before,
                     "a response that the origin sent before it was asked");
        x->used = true;
        return;
    }
    session_fault("a response that no origin gave to this request, or not so, or not whole");
}

/* An answer of ours. */
static void check_own(const struct strict_message *m, const struct story *s, size_t k)
{
    static const struct strict_text close = {"close", 5};
    session_must(m->end != STRICT_END_CLOSE && m->end != STRICT_END_CHUNKS,
                 "an answer of ours without a length");
    if (k >= s->count) {
        session_must(m->status >= 400 && strict_lists(m, "Connection", close),
                     "an answer to no request that is no refusal");
        return;
    }
    const struct strict_message *asked = &s->asked[k].m;
    bool tunnel = s->tunnel && k == s->count - 1 && m->status == 200;
    bool page = !judge.options->gateway && (asked->target.p[0] == '/' || asked->target.p[0] == '*');
    session_must(m->status >= 400 || tunnel || page, "an answer of ours that is no refusal");
}

/*
 * A head that was refused as a whole had no method yet, so its refusal has content also when the
 * method was HEAD; the connection ends behind it.
 */
static bool is_refused_head(const struct strict_message *m, struct strict_text method)
{
    static const unsigned statuses[] = {400, 414, 431, 501, 505};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (m->status == statuses[i])
            return strict_is(method, "HEAD") && !is_via_us(m);
    }
    return false;
}

/*
 * One final response with its interim ones, to request `k`. True: others may follow, `*at` is
 * behind it.
 */
static bool check_response(struct story *s, size_t k, size_t *at)
{
    static const struct strict_text close = {"close", 5}, get = {"GET", 3};
    const struct stage_end *e = s->end;
    struct strict_text method = k < s->count ? s->asked[k].m.method : get;
    struct strict_message m;
    unsigned interim[8];
    size_t interims = 0;
    for (;;) {
        strict_response(&m, e->got.p + *at, e->got.n - *at, method, e->ended && !e->aborted);
        if (m.verdict == STRICT_BAD)
            session_fault(m.why);
        if (!m.headed || m.status >= 200)
            break;
        session_must(k < s->count && s->asked[k].m.minor > 0 && is_via_us(&m),
                     "an interim response to one that knows none");
        session_must(m.status != 101, "a switch of protocols");
        check_response_fields(&m);
        if (interims < sizeof interim / sizeof *interim)
            interim[interims++] = m.status;
        *at += m.size;
        strict_release(&m);
        if (*at == e->got.n)
            return false;
    }
    bool goes_on = m.headed && m.verdict == STRICT_WHOLE;
    s->answered += goes_on;
    if (m.headed) {
        check_response_fields(&m);
        if (is_via_us(&m))
            check_passed(&m, s, k, interim, interims);
        else
            check_own(&m, s, k);
    }
    *at += m.size;
    if (goes_on && strict_is(method, "CONNECT") && m.status < 300) {
        session_must(s->tunnel && k == s->count - 1, "a tunnel that nobody asked for");
        s->opened = true;
        s->opened_at = *at;
        goes_on = false;
    } else if (goes_on && (m.end == STRICT_END_CLOSE || strict_lists(&m, "Connection", close))) {
        session_must(*at == e->got.n || is_refused_head(&m, method),
                     "octets behind the last response");
        goes_on = false;
    }
    strict_release(&m);
    return goes_on;
}

static void check_client(struct story *s)
{
    size_t at = 0;
    bool goes_on = true;
    for (size_t k = 0; goes_on && at < s->end->got.n; k++) {
        session_must(k < s->count + s->more, "more responses than requests");
        session_must(judge.options->exchanges_max == 0 || k < judge.options->exchanges_max,
                     "more responses than the limit allows");
        goes_on = check_response(s, k, &at);
    }
}

/* ---- tunnels ---- */

static bool is_prefix(const char *p, size_t n, const char *whole, size_t size)
{
    return n <= size && (n == 0 || memcmp(p, whole, n) == 0);
}

/* alert, fatal (RFC 8446 section 6) */
static bool is_alert(const char *p, size_t n)
{
    return n == 7 && memcmp(p, "\x15\x03", 2) == 0 && memcmp(p + 3, "\x00\x02\x02", 3) == 0;
}

/* The server name, if there is one, is the CONNECT host. */
static void check_gate(const struct stage_end *e, const char *up, size_t size)
{
    char name[256];
    if (judge.options->sni == STAGE_SNI_OFF)
        return;
    enum strict_hello hello = strict_server_name(up, size, name);
    session_must(hello != STRICT_HELLO_NONE, "what is no ClientHello passes the gate");
    session_must(hello == STRICT_HELLO_NAMED || judge.options->sni == STAGE_SNI_MATCH,
                 "a ClientHello without a name passes the strict gate");
    size_t n = hello == STRICT_HELLO_NAMED ? strlen(name) : 0;
    if (n > 0 && name[n - 1] == '.')
        name[n - 1] = '\0';
    session_must(hello == STRICT_HELLO_NAMELESS || strcasecmp(name, e->host) == 0,
                 "another server's name passes the gate");
}

static void check_tunnel(const struct stage_end *e)
{
    const struct story *s = &judge.story[e->client];
    struct asked a = {0};
    session_must(s->tunnel, "a tunnel's connection without a CONNECT");
    session_must(session_authority(&a, s->asked[s->count - 1].m.target, 0) && a.port == e->port &&
                     strcmp(a.host, e->host) == 0,
                 "a tunnel to another place");
    const char *up = s->end->sent.p + s->tunnel_at;
    size_t up_size = s->end->sent.n - s->tunnel_at;
    session_must(is_prefix(e->got.p, e->got.n, up, up_size),
                 "a tunnel changes octets on their way up");
    if (e->got.n > 0) {
        session_must(s->opened || s->end->left, "octets in a tunnel that was not opened");
        check_gate(e, up, up_size);
    }
    if (!s->opened)
        return;
    const char *down = s->end->got.p + s->opened_at;
    size_t down_size = s->end->got.n - s->opened_at;
    if (e->got.n == 0 && (down_size == 0 || is_alert(down, down_size)))
        return;
    if (e->got.n == 0) /* it has left meanwhile: its words pass if the client's would have */
        check_gate(e, up, up_size);
    session_must(is_prefix(down, down_size, e->sent.p, e->sent.n),
                 "a tunnel changes octets on their way down");
}

/* ---- what is due ---- */

/* Octets that the connection takes from the proxy arrive here, and what is said here is taken. */
static bool is_present(const struct stage_end *e)
{
    return e->near >= 0 && !e->left && !e->deaf && !e->aborted;
}

/* An open tunnel holds nothing back when both ends listen. */
static void check_tunnel_settled(const struct stage_end *e)
{
    const struct story *s = &judge.story[e->client];
    if (!s->opened || e->got.n == 0 || !is_present(e) || !is_present(s->end))
        return;
    session_must(e->got.n == s->end->sent.n - s->tunnel_at,
                 "octets stay in the tunnel on their way up");
    session_must(s->end->got.n - s->opened_at == e->sent.n,
                 "octets stay in the tunnel on their way down");
    session_must(e->ended == s->end->fin_sent,
                 "the client's FIN stays in the tunnel, or was never sent");
    session_must(s->end->ended == e->fin_sent,
                 "the origin's FIN stays in the tunnel, or was never sent");
}

/* A whole response does not stay in the proxy while its client listens. */
static void check_exchange_settled(const struct exchange *x)
{
    const struct stage_end *client = story_of(x)->end;
    if (!x->answered || x->response.verdict != STRICT_WHOLE || x->request.verdict != STRICT_WHOLE)
        return;
    session_must(x->used || !is_present(client) || client->ended || !is_present(x->end),
                 "a whole response stays in the proxy");
}

/* The next request does not stay in the proxy when nothing is in its way. */
static void check_client_settled(const struct story *s)
{
    bool waits = judge.options->paced || judge.options->passwords ||
                 (judge.options->gateway && stage_has_refused());
    for (unsigned i = 0; stage_origin(i) != NULL; i++)
        waits = waits || stage_origin(i)->hangs || stage_origin(i)->belated;
    if (waits || !is_present(s->end) || s->end->ended || s->answered >= s->count)
        return;
    const struct asked *a = &s->asked[s->answered];
    if (a->m.verdict != STRICT_WHOLE)
        return;
    session_must(a->forwardable || (s->tunnel && s->opened),
                 "an answer of ours stays in the proxy");
    session_must(!a->forwardable || s->next > s->answered, "a whole request stays in the proxy");
}

static void check_settled(const struct stage_options *options)
{
    for (size_t i = 0; i < judge.exchanges; i++)
        check_exchange_settled(&judge.exchange[i]);
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        if (judge.story[i].end != NULL)
            check_client_settled(&judge.story[i]);
    }
    for (unsigned i = 0; stage_origin(i) != NULL; i++) {
        if (session_is_tunnel(options, stage_origin(i)))
            check_tunnel_settled(stage_origin(i));
    }
}

/* ---- the whole ---- */

void session_judge(const struct stage_options *options, bool settled)
{
    session_record_read(&judge, options);
    for (size_t i = 0; i < judge.exchanges; i++)
        check_request(&judge.exchange[i]);
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        if (judge.story[i].end != NULL)
            check_client(&judge.story[i]);
    }
    for (unsigned i = 0; stage_origin(i) != NULL; i++) {
        if (session_is_tunnel(options, stage_origin(i)))
            check_tunnel(stage_origin(i));
        else
            check_reuse(stage_origin(i));
    }
    if (options->gateway)
        gateway_check_repeats(&judge);
    if (settled)
        check_settled(options);
    session_record_release(&judge);
}

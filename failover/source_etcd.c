#include "failover/source_etcd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover/etcd_json.h"
#include "failover/etcd_table.h"
#include "failover/member_json.h"
#include "proxy/base/chance.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"

enum {
    PAUSE_MAX_MS = 5000,
    STEADY_PAUSES = 8, /* a watch that has stood for so many first pauses is no flicker */
    BODY_MAX = 16 * 1024
};

enum etcd_step {
    ETCD_NOTHING,
    ETCD_LOGIN,
    ETCD_REVOKE,
    ETCD_GRANT,
    ETCD_PUT,
    ETCD_KEEPALIVE,
    ETCD_RANGE
};

static const char *const step_path[] = {
    [ETCD_NOTHING] = "/v3/watch",       [ETCD_LOGIN] = "/v3/auth/authenticate",
    [ETCD_REVOKE] = "/v3/lease/revoke", [ETCD_GRANT] = "/v3/lease/grant",
    [ETCD_PUT] = "/v3/kv/put",          [ETCD_KEEPALIVE] = "/v3/lease/keepalive",
    [ETCD_RANGE] = "/v3/kv/range",
};

struct source_etcd {
    uv_timer_t timer; /* the next moment at which something is due */
    struct fetcher *fetcher;
    struct source_events events;
    char *endpoint[SOURCE_ETCD_ENDPOINTS_MAX]; /* owned */
    size_t endpoint_count, at;                 /* the one in use */
    char *prefix, *user, *password, *ca, *cert, *key_file;
    uint64_t ttl_ms, timeout_ms, check_ms, pause_ms;

    enum etcd_step step; /* of the request under way */
    struct fetch *call;  /* borrowed; NULL: none is */
    char token[ETCD_TOKEN_MAX + 1];
    bool token_fresh; /* nothing was answered to it yet */
    unsigned failures;
    uint64_t retry_ms; /* nothing is begun before */

    struct member self;
    char key[ETCD_KEY_MAX]; /* ours */
    char lease[ETCD_ID_MAX];
    bool registered;                 /* what stands there is what we are */
    bool put_current;                /* the put under way tells what we are */
    bool key_seen;                   /* by the range under way */
    bool moving;                     /* our key is another: the old one must go */
    uint64_t keepalive_ms, range_ms; /* when they are due */

    struct etcd_table table, fresh; /* as known; being filled by a range */
    uint64_t revision;              /* everything up to it is in the table */
    uint64_t floor_revision;        /* what the range under way cannot be older than */
    uint64_t line_revision;         /* of the last event in the line at hand */
    struct fetch *watch;            /* borrowed */
    bool watching;                  /* it is confirmed */
    uint64_t watch_begun_ms;        /* or, since then, confirmed */
    bool told_more;                 /* that there are more keys than a range tells */
    struct buf line;                /* of the watch */

    bool leaving;
    uint64_t leave_until_ms;
    void (*on_left)(void *arg);
    void *left_arg;
};

static void pump(struct source_etcd *s);

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- telling ---- */

static void tell_members(struct source_etcd *s)
{
    struct roster *r = s->table.changed && !s->leaving ? etcd_table_roster(&s->table) : NULL;
    if (r == NULL)
        return;
    s->table.changed = false;
    s->events.on_members(s->events.arg, r);
    roster_unref(r);
}

/* Failures are over when we are registered and the watch has stood for a while: one that is cut as
 * soon as it is there must not begin the pauses anew. */
static uint64_t steady_ms(const struct source_etcd *s)
{
    return s->watch_begun_ms + (s->failures > 0 ? STEADY_PAUSES * s->pause_ms : 0);
}

static void tell_good(struct source_etcd *s)
{
    if (!s->watching || !s->registered || clock_ms() < steady_ms(s))
        return;
    s->failures = 0;
    s->events.on_trouble(s->events.arg, NULL);
}

/* ---- failing ---- */

static void watch_end(struct source_etcd *s)
{
    if (s->watch != NULL)
        fetch_cancel(s->watch);
    s->watch = NULL;
    s->watching = false;
    buf_release(&s->line);
}

static void pause_for(struct source_etcd *s, uint64_t ms)
{
    s->retry_ms = clock_ms() + ms / 2 + chance_below(ms);
}

/* The endpoint in use is no good: the next one is, after a pause once all had their turn. */
static void fail(struct source_etcd *s, const char *why)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%s: %s", s->endpoint[s->at], why);
    watch_end(s);
    unsigned round = s->failures++ / (unsigned)s->endpoint_count;
    uint64_t ms = round < 8 ? s->pause_ms << round : PAUSE_MAX_MS;
    s->at = (s->at + 1) % s->endpoint_count;
    pause_for(s, earlier(ms, PAUSE_MAX_MS));
    s->range_ms = 0; /* what has happened meanwhile is not known */
    if (!s->leaving)
        s->events.on_trouble(s->events.arg, text);
}

/* ---- what is read ---- */

static bool is_own_key(const struct source_etcd *s, struct span key)
{
    return span_is(key, span_of(s->key));
}

static void on_range_pair(void *arg, const struct etcd_pair *pair)
{
    struct source_etcd *s = arg;
    if (is_own_key(s, pair->key))
        s->key_seen = true; /* what we are, we know */
    else
        etcd_table_take(&s->fresh, pair);
}

static void on_event_pair(void *arg, const struct etcd_pair *pair)
{
    struct source_etcd *s = arg;
    if (pair->revision <= s->revision)
        return; /* a range was faster */
    s->line_revision = pair->revision;
    if (!is_own_key(s, pair->key)) {
        etcd_table_take(&s->table, pair);
    } else if (pair->deleted) {
        s->registered = false; /* not by us, who take it out together with the lease */
        pause_for(s, s->pause_ms);
    }
}

/* One line of the watch. False: it is over. */
static bool take_line(struct source_etcd *s, struct span line)
{
    struct etcd_answer a;
    const char *why = "out of memory";
    s->line_revision = s->revision;
    int rc = etcd_read(&a, line, on_event_pair, s, &why);
    if (rc != 0 || a.failed) {
        fail(s, rc != 0 ? why : a.message);
        return false;
    }
    if (a.canceled && a.compact_revision == 0) {
        fail(s, "it has cancelled the watch");
        return false;
    }
    if (a.canceled) { /* history is compacted away: read all anew */
        watch_end(s);
        s->range_ms = 0;
        pause_for(s, s->pause_ms);
        return false;
    }
    /* The header's revision may be ahead of what was told. A revision's events stand in one line.
     */
    s->revision = s->line_revision;
    if (a.created) {
        s->watching = true;
        s->watch_begun_ms = clock_ms();
        tell_good(s);
    }
    return true;
}

static bool on_watch_data(void *arg, struct span octets)
{
    struct source_etcd *s = arg;
    bool going = buf_add_span(&s->line, octets) == 0;
    if (!going)
        fail(s, "a line of the watch is larger than it may be");
    while (going && s->watch != NULL) {
        struct span rest = buf_span(&s->line);
        const char *end = memchr(rest.ptr, '\n', rest.len);
        if (end == NULL)
            break;
        size_t len = (size_t)(end - rest.ptr);
        going = take_line(s, (struct span){rest.ptr, len});
        if (going)
            buf_consume(&s->line, len + 1);
    }
    tell_members(s);
    pump(s);
    return going;
}

static void on_watch_done(void *arg, const struct fetch_result *result)
{
    struct source_etcd *s = arg;
    s->watch = NULL;
    fail(s, result->fault != NULL   ? result->fault
            : result->status != 200 ? "it refuses a watch"
                                    : "the watch has ended");
    pump(s);
}

/* ---- what is asked ---- */

static const struct fetch_tls *tls_of(const struct source_etcd *s, struct fetch_tls *tls)
{
    *tls = (struct fetch_tls){s->ca, s->cert, s->key_file};
    return tls;
}

/* False: out of memory, which is told as any failure is. */
static bool ask(struct source_etcd *s, enum etcd_step step, struct buf *body,
                struct fetch_request *r, struct fetch **out)
{
    char url[512], field[ETCD_TOKEN_MAX + 32];
    const char *const fields[] = {"Content-Type: application/json",
                                  s->token[0] != '\0' && step != ETCD_LOGIN ? field : NULL, NULL};
    struct fetch_tls tls;
    (void)snprintf(url, sizeof url, "%s%s", s->endpoint[s->at], step_path[step]);
    (void)snprintf(field, sizeof field, "Authorization: %s", s->token);
    r->url = url;
    r->fields = fields;
    r->body = buf_span(body);
    r->connect_ms = s->timeout_ms;
    r->tls = tls_of(s, &tls);
    r->arg = s;
    *out = fetch_start(s->fetcher, r);
    return *out != NULL;
}

static void watch_begin(struct source_etcd *s)
{
    struct buf body;
    struct fetch_request r = {.fresh = true, .on_data = on_watch_data, .on_done = on_watch_done};
    buf_init(&body, BODY_MAX);
    buf_release(&s->line);
    s->watching = false;
    s->watch_begun_ms = clock_ms();
    if (etcd_print_watch(&body, span_of(s->prefix), s->revision + 1) != 0 ||
        !ask(s, ETCD_NOTHING, &body, &r, &s->watch))
        fail(s, "out of memory");
    buf_release(&body);
}

static int print_put(struct source_etcd *s, struct buf *body)
{
    struct buf value;
    buf_init(&value, MEMBER_JSON_MAX);
    int rc = member_json_print(&value, &s->self);
    if (rc == 0)
        rc = etcd_print_put(body, span_of(s->key), buf_span(&value), s->lease);
    buf_release(&value);
    return rc;
}

static int print_step(struct source_etcd *s, enum etcd_step step, struct buf *body)
{
    switch (step) {
    case ETCD_LOGIN:
        return etcd_print_login(body, s->user, s->password);
    case ETCD_GRANT:
        return etcd_print_grant(body, s->ttl_ms / 1000);
    case ETCD_PUT:
        s->put_current = true;
        return print_put(s, body);
    case ETCD_REVOKE:
    case ETCD_KEEPALIVE:
        return etcd_print_lease(body, s->lease);
    case ETCD_RANGE:
        s->key_seen = false;
        s->floor_revision = s->revision;
        etcd_table_release(&s->fresh);
        if (etcd_table_init(&s->fresh, s->prefix) != 0)
            return -ENOMEM;
        s->fresh.told = s->table.told;
        return etcd_print_range(body, span_of(s->prefix));
    case ETCD_NOTHING:
        break;
    }
    return -EINVAL;
}

/* ---- what is answered ---- */

static void tell_more(struct source_etcd *s, bool more)
{
    if (more && !s->told_more)
        log_line(LOG_WARNING,
                 "etcd: more than %d keys stand below %s; the first of them are read: clear away "
                 "what is no member",
                 ETCD_PAIRS_MAX, s->prefix);
    s->told_more = more;
}

static void take_range(struct source_etcd *s, const struct etcd_answer *a)
{
    uint64_t now = clock_ms();
    s->range_ms = now + s->check_ms - s->check_ms / 8 + chance_below(s->check_ms / 4);
    /* It tells no less than was known when it was asked for, unless etcd was set back to a backup:
     * then a watch would wait for ever for what is ahead. */
    bool set_back = a->revision < s->floor_revision;
    if (s->watching && a->revision < s->revision && !set_back)
        return; /* events were faster */
    tell_more(s, a->more);
    bool differs = etcd_table_replace(&s->table, &s->fresh);
    s->revision = a->revision;
    if (set_back || (differs && s->watching))
        watch_end(s); /* it did not tell us: it is dead, or a moment late */
    if (!s->key_seen && !a->more && s->registered) {
        s->registered = false;
        pause_for(s, s->pause_ms);
    }
    tell_members(s);
}

static void lease_lost(struct source_etcd *s)
{
    log_line(LOG_WARNING, "etcd: our lease was lost, registering anew");
    s->lease[0] = '\0';
    s->registered = false;
}

static void take_answer(struct source_etcd *s, enum etcd_step step, const struct etcd_answer *a)
{
    uint64_t now = clock_ms();
    switch (step) {
    case ETCD_LOGIN:
        (void)snprintf(s->token, sizeof s->token, "%s", a->token);
        s->token_fresh = true;
        if (a->token[0] == '\0')
            fail(s, "no token for user and password");
        break;
    case ETCD_GRANT:
        (void)snprintf(s->lease, sizeof s->lease, "%s", a->id);
        s->keepalive_ms = now + s->ttl_ms / 3;
        s->moving = false;
        if (a->id[0] == '\0')
            fail(s, "no lease");
        break;
    case ETCD_PUT:
        s->registered = s->put_current;
        tell_good(s);
        break;
    case ETCD_KEEPALIVE:
        s->keepalive_ms = now + s->ttl_ms / 3;
        if (a->ttl_s == 0)
            lease_lost(s);
        break;
    case ETCD_REVOKE:
        s->lease[0] = '\0';
        s->registered = s->moving = false;
        break;
    case ETCD_RANGE:
        take_range(s, a);
        break;
    case ETCD_NOTHING:
        break;
    }
}

/* An answer that tells an error. */
static void take_refusal(struct source_etcd *s, enum etcd_step step, const struct etcd_answer *a,
                         unsigned status)
{
    char why[200];
    bool lease_gone = a->code == ETCD_CODE_NOT_FOUND &&
                      (step == ETCD_PUT || step == ETCD_REVOKE || step == ETCD_KEEPALIVE);
    if (lease_gone) {
        s->lease[0] = '\0';
        s->registered = s->moving = false;
        pause_for(s, s->pause_ms);
        return;
    }
    /* A token lives some minutes, and ends with any change of users (400, "revision of auth store
     * is old"). */
    bool stale = step != ETCD_LOGIN && s->token[0] != '\0' && (status == 401 || status == 400);
    if (stale) {
        s->token[0] = '\0';
        if (!s->token_fresh)
            return; /* a new one is all it needs */
    }
    (void)snprintf(why, sizeof why, "status %u%s%s", status, a->message[0] != '\0' ? ": " : "",
                   a->message);
    fail(s, why);
}

static void on_call_done(void *arg, const struct fetch_result *result)
{
    struct source_etcd *s = arg;
    struct etcd_answer a = {0};
    const char *why = "out of memory";
    enum etcd_step step = s->step;
    s->call = NULL;
    etcd_pair_cb on_pair = step == ETCD_RANGE ? on_range_pair : NULL;
    int rc = result->fault == NULL ? etcd_read(&a, result->body, on_pair, s, &why) : 0;
    if (result->fault != NULL)
        fail(s, result->fault);
    else if (result->status != 200 || (rc == 0 && a.failed))
        take_refusal(s, step, &a, result->status);
    else if (rc != 0)
        fail(s, why);
    else
        take_answer(s, step, &a);
    if (result->status == 200 && step != ETCD_LOGIN)
        s->token_fresh = false;
    if (step == ETCD_RANGE)
        etcd_table_release(&s->fresh);
    pump(s);
}

/* ---- what comes next ---- */

static enum etcd_step next_step(const struct source_etcd *s, uint64_t now)
{
    bool nobody = s->user[0] == '\0' || s->token[0] != '\0';
    if (s->leaving && s->lease[0] == '\0')
        return ETCD_NOTHING;
    if (!nobody)
        return ETCD_LOGIN;
    if (s->leaving || (s->moving && s->lease[0] != '\0'))
        return ETCD_REVOKE;
    if (s->lease[0] == '\0')
        return ETCD_GRANT;
    if (now >= s->keepalive_ms)
        return ETCD_KEEPALIVE;
    if (!s->registered)
        return ETCD_PUT;
    return now >= s->range_ms ? ETCD_RANGE : ETCD_NOTHING;
}

static void begin(struct source_etcd *s, enum etcd_step step, uint64_t now)
{
    struct buf body;
    struct fetch_request r = {.timeout_ms = earlier(s->timeout_ms, s->ttl_ms / 2),
                              .octets_max = ETCD_ANSWER_MAX,
                              .on_done = on_call_done};
    if (s->leaving)
        r.timeout_ms = s->leave_until_ms > now ? s->leave_until_ms - now : 1;
    buf_init(&body, BODY_MAX);
    s->step = step;
    if (print_step(s, step, &body) != 0 || !ask(s, step, &body, &r, &s->call))
        fail(s, "out of memory");
    if (step == ETCD_LOGIN && buf_len(&body) > 0)
        explicit_bzero(buf_head(&body), buf_len(&body));
    buf_release(&body);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void arm(struct source_etcd *s, uint64_t when, uint64_t now)
{
    (void)uv_timer_start(&s->timer, on_timer, when > now ? when - now : 0, 0);
}

static void left(struct source_etcd *s)
{
    void (*on_left)(void *) = s->on_left;
    (void)uv_timer_stop(&s->timer);
    if (s->call != NULL)
        fetch_cancel(s->call);
    s->call = NULL;
    s->on_left = NULL;
    if (on_left != NULL)
        on_left(s->left_arg);
}

/* Begins what is to be done now, or has the timer come back when something is. */
static void pump(struct source_etcd *s)
{
    uint64_t now = clock_ms();
    if (s->leaving && s->on_left == NULL)
        return;
    if (s->leaving && now >= s->leave_until_ms) {
        left(s);
        return;
    }
    if (s->watch != NULL && !s->watching && now >= s->watch_begun_ms + s->timeout_ms)
        fail(s, "no watch in time");
    if (s->failures > 0 && !s->leaving)
        tell_good(s);
    enum etcd_step step = s->call == NULL ? next_step(s, now) : ETCD_NOTHING;
    if (s->leaving && s->call == NULL && step == ETCD_NOTHING) {
        left(s);
        return;
    }
    uint64_t due = s->leaving ? s->leave_until_ms : earlier(s->keepalive_ms, s->range_ms);
    if (now < s->retry_ms) {
        arm(s, earlier(s->retry_ms, s->leaving ? due : UINT64_MAX), now);
        return;
    }
    if (step != ETCD_NOTHING) {
        begin(s, step, now);
        now = clock_ms();
    } else if (s->call == NULL && s->watch == NULL && !s->leaving) {
        watch_begin(s);
    }
    if (s->watch != NULL && !s->watching)
        due = earlier(due, s->watch_begun_ms + s->timeout_ms);
    if (s->watching && s->failures > 0)
        due = earlier(due, steady_ms(s));
    /* While a request is under way its end comes back here. */
    if (s->call == NULL || s->leaving || (s->watch != NULL && !s->watching))
        arm(s, s->retry_ms > now ? s->retry_ms : due > now ? due : now + s->pause_ms, now);
}

/* ---- life ---- */

void source_etcd_tell(struct source_etcd *s, const struct member *self)
{
    char before[ETCD_KEY_MAX];
    (void)snprintf(before, sizeof before, "%s", s->key);
    s->self = *self;
    s->registered = s->put_current = false;
    etcd_table_key(s->key, s->prefix, &s->self);
    if (strcmp(before, s->key) != 0)
        s->moving = true;
    pump(s);
}

void source_etcd_leave(struct source_etcd *s, void (*on_left)(void *arg), void *arg)
{
    uint64_t now = clock_ms();
    assert(!s->leaving);
    s->leaving = true;
    s->on_left = on_left;
    s->left_arg = arg;
    s->leave_until_ms = now + s->timeout_ms;
    s->retry_ms = 0;
    watch_end(s);
    if (s->call != NULL)
        fetch_cancel(s->call);
    s->call = NULL;
    arm(s, now, now);
}

static void source_free(struct source_etcd *s)
{
    for (size_t i = 0; i < s->endpoint_count; i++)
        free(s->endpoint[i]);
    etcd_table_release(&s->table);
    etcd_table_release(&s->fresh);
    buf_release(&s->line);
    if (s->password != NULL)
        explicit_bzero(s->password, strlen(s->password));
    explicit_bzero(s->token, sizeof s->token);
    free(s->prefix);
    free(s->user);
    free(s->password);
    free(s->ca);
    free(s->cert);
    free(s->key_file);
    free(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    source_free(handle->data);
}

void source_etcd_close(struct source_etcd *s)
{
    if (s->call != NULL)
        fetch_cancel(s->call);
    watch_end(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static bool copy_text(char **out, const char *text)
{
    *out = strdup(text != NULL ? text : "");
    return *out != NULL;
}

static bool copy_options(struct source_etcd *s, const struct source_etcd_options *o)
{
    for (size_t i = 0; i < o->endpoint_count; i++) {
        if (!copy_text(&s->endpoint[i], o->endpoints[i]))
            return false;
        s->endpoint_count++;
    }
    s->ttl_ms = o->lease_ttl_s * 1000;
    s->timeout_ms = o->timeout_ms;
    s->check_ms = o->check_ms;
    s->pause_ms = o->pause_ms;
    return copy_text(&s->prefix, o->prefix) && copy_text(&s->user, o->user) &&
           copy_text(&s->password, o->password) && copy_text(&s->ca, o->tls.ca_file) &&
           copy_text(&s->cert, o->tls.cert_file) && copy_text(&s->key_file, o->tls.key_file);
}

struct source_etcd *source_etcd_create(uv_loop_t *loop, struct fetcher *fetcher,
                                       const struct source_etcd_options *options,
                                       const struct member *self,
                                       const struct source_events *events)
{
    struct source_etcd *s = calloc(1, sizeof *s);
    assert(options->endpoint_count > 0 && options->endpoint_count <= SOURCE_ETCD_ENDPOINTS_MAX);
    if (s == NULL)
        return NULL;
    s->fetcher = fetcher;
    s->events = *events;
    s->self = *self;
    buf_init(&s->line, ETCD_ANSWER_MAX);
    if (!copy_options(s, options) || etcd_table_init(&s->table, s->prefix) != 0) {
        source_free(s);
        return NULL;
    }
    /* Also an empty one is news: it takes the place of what was kept on disk. */
    s->table.changed = true;
    etcd_table_key(s->key, s->prefix, &s->self);
    /* Members that start together do not all begin at the first endpoint. */
    s->at = chance_below(s->endpoint_count);
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    (void)uv_timer_start(&s->timer, on_timer, 0, 0);
    return s;
}

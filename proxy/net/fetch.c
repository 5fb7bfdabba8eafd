#include "proxy/net/fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/list.h"
#include "proxy/net/deadline.h"

enum {
    HEAD_OCTETS_MAX = 64 * 1024, /* of a response; curl bounds only each line */
    RESOLVE_TEXT_MAX = 8192,
    KEEPALIVE_IDLE_S = 15, /* a peer that is gone is noticed within a minute */
    KEEPALIVE_INTERVAL_S = 5,
    OVERTIME_MS = 100,
};

struct fetcher {
    CURLM *multi;
    struct resolver *resolver;   /* borrowed */
    struct deadlines *deadlines; /* of look-ups, and of the whole */
    uv_timer_t timer;            /* curl's next timeout */
    uv_async_t soon;             /* starts what fetch_start() was told */
    struct list fetches;
    struct list sockets;
    unsigned depth; /* callbacks on the stack: what ends here is freed when the last has left */
    bool closing;
    size_t handles; /* open */
};

/* One descriptor of curl under watch; lives until its own close callback. */
struct fetch_socket {
    uv_poll_t poll;
    struct list node;
    curl_socket_t fd;
    int events;
};

enum fetch_state {
    FETCH_FRESH,    /* fetch_start() has just made it */
    FETCH_LOOKUP,   /* awaits the resolver */
    FETCH_TRANSFER, /* curl has it */
    FETCH_OVER      /* cancelled, or its last callback runs */
};

struct fetch {
    struct list node;
    struct fetcher *fetcher;
    enum fetch_state state;
    CURL *easy;
    struct curl_slist *fields, *resolve;
    struct resolver_ticket *ticket;
    struct deadline deadline; /* of the look-up, then of the whole */
    char host[256];
    char port[8];
    bool literal; /* the host is an address */
    const char *fault;
    uint64_t timeout_ms, connect_ms;
    uint64_t started_us;
    uint64_t lookup_us; /* how long it took */
    size_t head_octets;
    struct buf body;
    struct buf field;   /* value of the wanted one */
    const char *wanted; /* NULL: none */
    char etag[128];
    char error[CURL_ERROR_SIZE];
    fetch_data_cb on_data;
    fetch_done_cb on_done;
    void *arg;
};

static void fetcher_leave(struct fetcher *f);

/* ---- one fetch's memory ---- */

static void fetch_free(struct fetch *t)
{
    list_remove(&t->node);
    if (t->easy != NULL)
        curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->fields);
    curl_slist_free_all(t->resolve);
    buf_release(&t->body);
    buf_release(&t->field);
    free(t);
}

/* Takes it from whoever would call back: resolver, wheel, curl. Not while curl is on the stack. */
static void fetch_detach(struct fetch *t)
{
    if (t->ticket != NULL)
        resolver_cancel(t->ticket);
    t->ticket = NULL;
    deadline_clear(t->fetcher->deadlines, &t->deadline);
    (void)curl_multi_remove_handle(t->fetcher->multi, t->easy); /* harmless if it has it not */
}

/* Tells, then frees. */
static void fetch_finish(struct fetch *t, const char *fault)
{
    struct fetcher *f = t->fetcher;
    struct fetch_result result = {
        .fault = fault, .body = buf_span(&t->body), .field = buf_span(&t->field)};
    long status = 0, connects = 0;
    curl_off_t looked_up = 0, connected = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    (void)curl_easy_getinfo(t->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
    (void)curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &connected);
    result.status = (unsigned)status;
    /* Without the time it waited for its turn. */
    if (connects > 0 && connected > looked_up)
        result.connect_us = (uint64_t)(connected - looked_up) + t->lookup_us;
    memcpy(result.etag, t->etag, sizeof result.etag);
    fetch_detach(t);
    t->state = FETCH_OVER;
    list_remove(&t->node);
    f->depth++;
    t->on_done(t->arg, &result);
    fetch_free(t);
    fetcher_leave(f);
}

void fetch_cancel(struct fetch *t)
{
    assert(t->state != FETCH_OVER);
    t->state = FETCH_OVER;
    if (t->fetcher->depth > 0)
        return; /* curl may hold it: fetcher_leave() frees */
    fetch_detach(t);
    fetch_free(t);
}

/* ---- what curl calls ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct fetch *t = arg;
    size_t octets = size * count;
    if (t->state == FETCH_OVER)
        return 0;
    if (t->on_data == NULL) {
        if (buf_add(&t->body, data, octets) != 0)
            t->fault = "the response is larger than it may be";
    } else if (!t->on_data(t->arg, (struct span){data, octets}) && t->fault == NULL) {
        t->fault = "the response is not as it must be";
    }
    return t->fault == NULL && t->state != FETCH_OVER ? octets : 0;
}

static struct span trim(struct span s)
{
    for (; s.len > 0 && strchr(" \t", s.ptr[0]) != NULL; s.len--)
        s.ptr++;
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[s.len - 1]) != NULL)
        s.len--;
    return s;
}

/* The value of the field `name`, if that is what stands in this line. */
static bool field_is(struct span line, struct span name, struct span *value)
{
    if (line.len <= name.len || line.ptr[name.len] != ':' ||
        !span_is_nocase((struct span){line.ptr, name.len}, name))
        return false;
    *value = trim((struct span){line.ptr + name.len + 1, line.len - name.len - 1});
    return true;
}

/* One line at a time, trailers too; of interim responses (100) as well. */
static size_t on_head(char *data, size_t size, size_t count, void *arg)
{
    struct fetch *t = arg;
    size_t octets = size * count;
    struct span value;
    t->head_octets += octets;
    if (t->head_octets > HEAD_OCTETS_MAX) {
        t->fault = "the response's head is larger than it may be";
        return 0;
    }
    if (field_is((struct span){data, octets}, SPAN("etag"), &value)) {
        bool fits = value.len < sizeof t->etag && memchr(value.ptr, '\0', value.len) == NULL;
        (void)snprintf(t->etag, sizeof t->etag, "%.*s", fits ? (int)value.len : 0, value.ptr);
    }
    if (t->wanted != NULL && field_is((struct span){data, octets}, span_of(t->wanted), &value)) {
        buf_consume(&t->field, buf_len(&t->field)); /* the last counts */
        (void)buf_add_span(&t->field, value);
    }
    return octets;
}

/* curl is about to look a name up itself, in a thread: never. Literals come by here as well. */
static int on_resolver_start(void *resolver_state, void *reserved, void *arg)
{
    const struct fetch *t = arg;
    (void)resolver_state;
    (void)reserved;
    return t->literal ? 0 : 1;
}

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
    struct fetcher *f = poll->data;
    struct fetch_socket *s = LIST_ITEM(poll, struct fetch_socket, poll);
    int running, bits = 0;
    curl_socket_t fd = s->fd;
    if (status < 0)
        bits = CURL_CSELECT_ERR;
    if ((events & UV_READABLE) != 0)
        bits |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        bits |= CURL_CSELECT_OUT;
    /* libuv stops a watcher that met an error; curl may still want it afterwards. */
    if (status < 0)
        (void)uv_poll_start(poll, s->events, on_socket_ready);
    f->depth++;
    (void)curl_multi_socket_action(f->multi, fd, bits, &running);
    fetcher_leave(f);
}

static void on_socket_closed(uv_handle_t *handle)
{
    free(LIST_ITEM(handle, struct fetch_socket, poll));
}

/* uv_poll_stop() takes the descriptor from the loop at once: curl closes it when we return. */
static void socket_drop(struct fetch_socket *s)
{
    list_remove(&s->node);
    (void)uv_poll_stop(&s->poll);
    uv_close((uv_handle_t *)&s->poll, on_socket_closed);
}

static struct fetch_socket *socket_watch(struct fetcher *f, curl_socket_t fd)
{
    struct fetch_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (uv_poll_init(f->timer.loop, &s->poll, fd) != 0) {
        free(s);
        return NULL;
    }
    s->poll.data = f;
    s->fd = fd;
    list_append(&f->sockets, &s->node);
    (void)curl_multi_assign(f->multi, fd, s);
    return s;
}

/* curl tells what it waits for on a descriptor; one that cannot be watched meets its timeout. */
static int on_socket_state(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    struct fetcher *f = arg;
    struct fetch_socket *s = socket;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            socket_drop(s);
        (void)curl_multi_assign(f->multi, fd, NULL);
        return 0;
    }
    if (s == NULL)
        s = socket_watch(f, fd);
    if (s == NULL)
        return -1;
    s->events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    (void)uv_poll_start(&s->poll, s->events, on_socket_ready);
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct fetcher *f = timer->data;
    int running;
    f->depth++;
    (void)curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    fetcher_leave(f);
}

/* Never answered in here: curl is at work. */
static int on_timeout_wanted(CURLM *multi, long timeout_ms, void *arg)
{
    struct fetcher *f = arg;
    (void)multi;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&f->timer);
    else
        (void)uv_timer_start(&f->timer, on_timer, timeout_ms > 0 ? (uint64_t)timeout_ms : 1, 0);
    return 0;
}

/* ---- the way from told to transferred ---- */

static uint64_t left_ms(const struct fetch *t, uint64_t limit_ms)
{
    uint64_t spent_ms = (clock_us() - t->started_us) / 1000;
    return limit_ms > spent_ms ? limit_ms - spent_ms : 0;
}

/* `addresses`: of the look-up, NULL for a literal. */
static int name_addresses(struct fetch *t, const struct resolved *addresses)
{
    struct buf text;
    char address[ADDR_TEXT_MAX];
    buf_init(&text, RESOLVE_TEXT_MAX);
    /* Without "+" curl would keep the addresses of each name for ever. */
    int rc = buf_printf(&text, "+%s:%s:", t->host, t->port);
    for (size_t i = 0; i < addresses->count && rc == 0; i++) {
        bool v6 = addresses->address[i].sa.sa_family == AF_INET6;
        rc = buf_printf(&text, "%s%s%s%s", i > 0 ? "," : "", v6 ? "[" : "",
                        addr_print(&addresses->address[i], address), v6 ? "]" : "");
    }
    if (rc == 0)
        rc = buf_add(&text, "", 1); /* the NUL */
    if (rc == 0)
        t->resolve = curl_slist_append(NULL, buf_head(&text));
    buf_release(&text);
    if (t->resolve == NULL)
        return -1;
    return curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->resolve) == CURLE_OK ? 0 : -1;
}

static void transfer(struct fetch *t)
{
    uint64_t connect_ms = left_ms(t, t->connect_ms);
    uint64_t whole_ms = left_ms(t, t->timeout_ms);
    t->state = FETCH_TRANSFER;
    if ((t->connect_ms > 0 && connect_ms == 0) || (t->timeout_ms > 0 && whole_ms == 0)) {
        fetch_finish(t, "no answer in time");
        return;
    }
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    (void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)whole_ms);
    if (curl_multi_add_handle(t->fetcher->multi, t->easy) != CURLM_OK) {
        fetch_finish(t, "out of memory");
        return;
    }
    if (t->timeout_ms > 0)
        deadline_set(t->fetcher->deadlines, &t->deadline, whole_ms + OVERTIME_MS);
}

static void on_resolved(void *arg, const struct resolved *answer)
{
    struct fetch *t = arg;
    t->ticket = NULL;
    deadline_clear(t->fetcher->deadlines, &t->deadline);
    t->lookup_us = clock_us() - t->started_us;
    if (answer->outcome == OUTCOME_OK && name_addresses(t, answer) == 0)
        transfer(t);
    else
        fetch_finish(t, answer->outcome == OUTCOME_OK              ? "out of memory"
                        : answer->outcome == OUTCOME_DNS_NOT_FOUND ? "the name is not known"
                                                                   : "the name look-up failed");
}

/* curl 7.88 forgets the time of those that wait for a connection; of others it tells more. */
static void on_late(struct deadline *d)
{
    struct fetch *t = LIST_ITEM(d, struct fetch, deadline);
    fetch_finish(t,
                 t->state == FETCH_LOOKUP ? "the name look-up took too long" : "no answer in time");
}

static void look_up(struct fetch *t)
{
    struct resolver *r = t->fetcher->resolver;
    struct resolved answer;
    t->state = FETCH_LOOKUP;
    if (r == NULL) {
        fetch_finish(t, "only addresses can be fetched from");
        return;
    }
    if (resolver_cached(r, t->host, &answer)) {
        on_resolved(t, &answer);
        return;
    }
    t->ticket = resolver_lookup(r, t->host, on_resolved, t);
    if (t->ticket == NULL) {
        fetch_finish(t, "out of memory");
        return;
    }
    uint64_t limit_ms = t->connect_ms > 0 ? t->connect_ms : t->timeout_ms;
    if (limit_ms > 0)
        deadline_set(t->fetcher->deadlines, &t->deadline, limit_ms);
}

static struct fetch *find_fresh(const struct fetcher *f)
{
    LIST_EACH (at, &f->fetches) {
        struct fetch *t = LIST_ITEM(at, struct fetch, node);
        if (t->state == FETCH_FRESH)
            return t;
    }
    return NULL;
}

static void on_soon(uv_async_t *async)
{
    struct fetcher *f = async->data;
    struct fetch *t;
    f->depth++;
    while (!f->closing && (t = find_fresh(f)) != NULL) {
        if (t->fault != NULL)
            fetch_finish(t, t->fault);
        else if (t->literal)
            transfer(t);
        else
            look_up(t);
    }
    fetcher_leave(f);
}

/* ---- a request as curl wants it ---- */

/* Host and port of `url`; false: not one we fetch from. */
static bool url_split(struct fetch *t, const char *url)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    struct addr address;
    CURLU *u = curl_url();
    bool good = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    good = good && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
           strlen(host) < sizeof t->host && strlen(port) < sizeof t->port;
    if (good) {
        (void)snprintf(t->host, sizeof t->host, "%s", host);
        (void)snprintf(t->port, sizeof t->port, "%s", port);
        t->literal = addr_parse(&address, span_of(t->host), 0) == 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return good;
}

static bool set_fields(struct fetch *t, const struct fetch_request *request)
{
    /* Without it curl asks whether it may send a larger body, and waits. */
    t->fields = curl_slist_append(NULL, "Expect:");
    for (const char *const *at = request->fields; at != NULL && *at != NULL; at++) {
        struct curl_slist *longer = t->fields != NULL ? curl_slist_append(t->fields, *at) : NULL;
        if (longer == NULL)
            return false;
        t->fields = longer;
    }
    return t->fields != NULL &&
           curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->fields) == CURLE_OK;
}

static bool is_named(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool set_tls(CURL *easy, const struct fetch_tls *tls)
{
    bool good = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == 0;
    if (tls == NULL)
        return good;
    /* A CA that is named is the only one. */
    if (is_named(tls->ca_file))
        good = good && curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
    if (is_named(tls->cert_file))
        good = good && curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert_file) == CURLE_OK;
    if (is_named(tls->key_file))
        good = good && curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file) == CURLE_OK;
    return good;
}

static bool set_callbacks(struct fetch *t)
{
    CURL *easy = t->easy;
    return curl_easy_setopt(easy, CURLOPT_PRIVATE, t) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, t) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, t) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolver_start) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, t) == CURLE_OK;
}

/* Every way on which curl would do more than was asked is shut. */
static bool set_bounds(CURL *easy, bool fresh)
{
    static const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {CURLOPT_CA_CACHE_TIMEOUT, 0}, /* by path, for a day: a CA that was replaced must count */
    };
    bool good = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_USERAGENT, "certferry") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)fresh) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)fresh) == CURLE_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        good = good && curl_easy_setopt(easy, numbers[i].option, numbers[i].value) == CURLE_OK;
    return good;
}

static bool set_body(CURL *easy, struct span body)
{
    return body.ptr == NULL ||
           (curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len) == CURLE_OK &&
            curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body.ptr) == CURLE_OK);
}

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *request)
{
    struct fetch *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    assert(!f->closing && request->on_done != NULL);
    t->fetcher = f;
    t->started_us = clock_us();
    t->timeout_ms = request->timeout_ms;
    t->connect_ms = request->connect_ms > 0 ? request->connect_ms : request->timeout_ms;
    t->on_data = request->on_data;
    t->on_done = request->on_done;
    t->arg = request->arg;
    buf_init(&t->body, request->octets_max);
    buf_init(&t->field, FETCH_FIELD_MAX);
    t->wanted = request->field;
    deadline_init(&t->deadline, on_late);
    list_append(&f->fetches, &t->node);
    t->easy = curl_easy_init();
    if (t->easy == NULL || !set_bounds(t->easy, request->fresh) || !set_callbacks(t) ||
        !set_tls(t->easy, request->tls) || !set_fields(t, request) ||
        !set_body(t->easy, request->body) ||
        curl_easy_setopt(t->easy, CURLOPT_URL, request->url) != CURLE_OK) {
        fetch_free(t);
        return NULL;
    }
    if (!url_split(t, request->url))
        t->fault = "this is no http:// or https:// URL";
    (void)uv_async_send(&f->soon);
    return t;
}

/* ---- the fetcher ---- */

static void fetcher_end(struct fetcher *f);

static const char *fault_of(const struct fetch *t, CURLcode code)
{
    if (code == CURLE_OK)
        return NULL;
    if (t->fault != NULL)
        return t->fault;
    return t->error[0] != '\0' ? t->error : curl_easy_strerror(code);
}

/* What curl has finished. A callback may start, cancel, even close. */
static void tell_finished(struct fetcher *f)
{
    CURLMsg *message;
    int left;
    while (!f->closing && (message = curl_multi_info_read(f->multi, &left)) != NULL) {
        struct fetch *t = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        if (message->msg == CURLMSG_DONE && t->state != FETCH_OVER)
            fetch_finish(t, fault_of(t, message->data.result));
    }
}

static void free_cancelled(struct fetcher *f)
{
    LIST_EACH_SAFE (at, after, &f->fetches) {
        struct fetch *t = LIST_ITEM(at, struct fetch, node);
        if (t->state == FETCH_OVER) {
            fetch_detach(t);
            fetch_free(t);
        }
    }
}

/* The last callback on the stack is about to return. */
static void fetcher_leave(struct fetcher *f)
{
    assert(f->depth > 0);
    if (f->depth == 1)
        tell_finished(f);
    if (--f->depth > 0)
        return;
    free_cancelled(f);
    if (f->closing)
        fetcher_end(f);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct fetcher *f = handle->data;
    if (--f->handles == 0)
        free(f);
}

/* Our watchers go before curl closes its descriptors. */
static void fetcher_end(struct fetcher *f)
{
    LIST_EACH_SAFE (at, after, &f->fetches) {
        struct fetch *t = LIST_ITEM(at, struct fetch, node);
        fetch_detach(t);
        fetch_free(t);
    }
    LIST_EACH_SAFE (at, after, &f->sockets)
        socket_drop(LIST_ITEM(at, struct fetch_socket, node));
    (void)curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    (void)curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, NULL);
    (void)curl_multi_cleanup(f->multi);
    deadlines_destroy(f->deadlines);
    uv_close((uv_handle_t *)&f->timer, on_handle_closed);
    uv_close((uv_handle_t *)&f->soon, on_handle_closed);
}

void fetcher_close(struct fetcher *f)
{
    assert(!f->closing);
    f->closing = true;
    if (f->depth == 0)
        fetcher_end(f);
}

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static CURLcode library_code;

static void library_init(void)
{
    library_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool multi_open(struct fetcher *f, size_t parallel_max)
{
    f->multi = curl_multi_init();
    return f->multi != NULL &&
           curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket_state) == CURLM_OK &&
           curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f) == CURLM_OK &&
           curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted) == CURLM_OK &&
           curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f) == CURLM_OK &&
           curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)parallel_max) == CURLM_OK &&
           curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)parallel_max) ==
               CURLM_OK;
}

struct fetcher *fetcher_create(uv_loop_t *loop, struct resolver *resolver, size_t parallel_max)
{
    (void)pthread_once(&library_once, library_init);
    struct fetcher *f = library_code == CURLE_OK ? calloc(1, sizeof *f) : NULL;
    if (f == NULL)
        return NULL;
    f->resolver = resolver;
    list_init(&f->fetches);
    list_init(&f->sockets);
    if (!multi_open(f, parallel_max) || uv_async_init(loop, &f->soon, on_soon) != 0)
        goto failed;
    if (deadlines_create(&f->deadlines, loop) != 0) {
        f->handles = 1;
        f->soon.data = f;
        (void)curl_multi_cleanup(f->multi);
        uv_close((uv_handle_t *)&f->soon, on_handle_closed);
        return NULL;
    }
    (void)uv_timer_init(loop, &f->timer);
    f->timer.data = f->soon.data = f;
    f->handles = 2;
    return f;

failed:
    if (f->multi != NULL)
        (void)curl_multi_cleanup(f->multi);
    free(f);
    return NULL;
}

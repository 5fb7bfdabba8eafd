#include "failover/fleet.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover/roster_file.h"
#include "proxy/base/log.h"

enum {
    LOAD_EVERY_MS = 5000,
    LOAD_STEP = 100,      /* permille: less is no news */
    WRITE_AFTER_MS = 1000 /* changes of one moment are written once */
};

struct fleet_feed {
    struct fleet *fleet;
    const char *name;
    struct roster *members; /* as told last; NULL: never */
    bool in_trouble;
};

struct fleet {
    uv_loop_t *loop;
    struct fetcher *fetcher;   /* borrowed */
    struct resolver *resolver; /* borrowed */
    uv_timer_t load_timer, write_timer;
    uv_async_t left_soon; /* leaving without etcd: the callback must wait for the loop */
    size_t handles;
    struct fleet_options options;      /* its pointers are only good for callbacks */
    char *options_text[FLEET_SOURCES]; /* of a source that runs: what it was made from */
    struct member self;
    struct roster *peers;  /* counted */
    struct roster *kept;   /* from disk; NULL once all sources were heard */
    struct roster *roster; /* published */
    struct probes *probes;
    struct source_etcd *etcd;
    struct source_dns *dns;
    struct fleet_feed feed[FLEET_SOURCES];
    struct fleet_status status;
    struct roster_file *file;
    bool file_in_trouble;
    bool lost; /* no way out: fleet_set_ready() */
    bool leaving, closing;
    bool handed_over; /* we tell nobody of us any more */
    void (*on_left)(void *arg);
    void *left_arg;
};

/* ---- one roster of all ---- */

static bool is_self(const struct fleet *f, const struct member *m)
{
    return m->self || (m->protocol == f->self.protocol && m->port == f->self.port &&
                       strcmp(m->host, f->self.host) == 0);
}

/* What does not fit any more is left out: a roster is bounded. */
static int add_all(struct roster *to, const struct fleet *f, const struct roster *from)
{
    for (size_t i = 0; from != NULL && i < roster_count(from); i++) {
        struct member m = *roster_member(from, i);
        if (is_self(f, &m))
            continue; /* what we are, we know */
        m.self = false;
        if (roster_add(to, &m) == -ENOMEM)
            return -ENOMEM;
    }
    return 0;
}

/* Who says most of a member goes first: what it says itself in etcd outranks DNS, and both the
 * bare addresses of peers=. */
static struct roster *merge(const struct fleet *f)
{
    struct roster *r = roster_create();
    if (r == NULL)
        return NULL;
    int rc = roster_add(r, &f->self);
    assert(rc != -EINVAL);
    if (rc == 0)
        rc = add_all(r, f, f->feed[FLEET_ETCD].members);
    if (rc == 0)
        rc = add_all(r, f, f->feed[FLEET_DNS].members);
    if (rc == 0)
        rc = add_all(r, f, f->peers);
    if (rc == 0)
        rc = add_all(r, f, f->kept);
    if (rc == 0)
        return r;
    roster_unref(r);
    return NULL;
}

/* A member's own word that it leaves is true whatever a probe has found a moment ago. */
static enum member_state judge(const struct fleet *f, const struct member *m)
{
    enum member_state found = probes_state(f->probes, m);
    return m->state == MEMBER_DRAINING || found == MEMBER_UNKNOWN ? m->state : found;
}

static struct roster *judge_all(const struct fleet *f, const struct roster *merged)
{
    struct roster *r = roster_create();
    for (size_t i = 0; i < roster_count(merged) && r != NULL; i++) {
        struct member m = *roster_member(merged, i);
        if (!m.self)
            m.state = judge(f, &m);
        if (roster_add(r, &m) != 0) {
            roster_unref(r);
            r = NULL;
        }
    }
    return r;
}

static bool same_member(const struct member *a, const struct member *b)
{
    return a->protocol == b->protocol && a->port == b->port && a->tls_port == b->tls_port &&
           a->priority == b->priority && a->weight == b->weight && a->load == b->load &&
           a->state == b->state && a->self == b->self && a->started == b->started &&
           strcmp(a->host, b->host) == 0 && strcmp(a->zone, b->zone) == 0 &&
           strcmp(a->version, b->version) == 0;
}

static bool same_roster(const struct roster *a, const struct roster *b)
{
    for (size_t i = 0; i < roster_count(a) && roster_count(a) == roster_count(b); i++) {
        if (!same_member(roster_member(a, i), roster_member(b, i)))
            return false;
    }
    return roster_count(a) == roster_count(b);
}

static void on_write(uv_timer_t *timer);

/* What is on disk is only as good as what was heard. */
static bool is_worth_keeping(const struct fleet *f)
{
    return f->file != NULL && !f->leaving && !f->handed_over &&
           (f->feed[FLEET_ETCD].members != NULL || f->feed[FLEET_DNS].members != NULL);
}

/* Out of memory leaves the old roster, which is still a good one. */
static void publish(struct fleet *f)
{
    struct roster *merged = merge(f);
    if (merged == NULL)
        return;
    (void)probes_watch(f->probes, merged);
    struct roster *next = judge_all(f, merged);
    roster_unref(merged);
    if (next == NULL)
        return;
    bool same = f->roster != NULL && same_roster(f->roster, next);
    if (same) {
        roster_unref(next);
    } else {
        roster_unref(f->roster);
        f->roster = next;
    }
    if (is_worth_keeping(f) && !same && !uv_is_active((uv_handle_t *)&f->write_timer))
        (void)uv_timer_start(&f->write_timer, on_write, WRITE_AFTER_MS, 0);
    if (!same && f->options.on_roster != NULL)
        f->options.on_roster(f->options.arg, f->roster);
}

static bool is_wanted(const struct fleet_options *o, enum fleet_source source)
{
    if (source == FLEET_ETCD)
        return o->etcd.endpoint_count > 0;
    return o->dns.name != NULL && o->dns.name[0] != '\0';
}

/* ---- the disk ---- */

static void on_write(uv_timer_t *timer)
{
    struct fleet *f = timer->data;
    int rc = roster_file_write(f->file, f->roster, f->self.host);
    if (rc != 0 && !f->file_in_trouble)
        log_line(LOG_WARNING, "roster.cache: the roster cannot be written: %s", uv_strerror(rc));
    if (rc == 0 && f->file_in_trouble)
        log_line(LOG_NOTICE, "roster.cache: the roster is written again");
    f->file_in_trouble = rc != 0;
}

static void read_kept(struct fleet *f, const char *path)
{
    char fault[DOCUMENT_FAULT_MAX] = "";
    struct roster *found = NULL;
    f->file = roster_file_open(path);
    if (f->file == NULL) {
        log_line(LOG_WARNING, "roster.cache: %s: no roster can be kept there: %s", path,
                 uv_strerror(-errno));
        return;
    }
    if (!is_wanted(&f->options, FLEET_ETCD) && !is_wanted(&f->options, FLEET_DNS))
        return;
    int rc = roster_file_read(f->file, &found, fault);
    if (rc != 0 && rc != -ENOENT)
        log_line(LOG_WARNING, "roster.cache: %s: the roster kept there is not used: %s", path,
                 rc == -EINVAL ? fault : uv_strerror(rc));
    if (found == NULL)
        return;
    f->kept = roster_create();
    for (size_t i = 0; f->kept != NULL && i < roster_count(found); i++) {
        struct member m = *roster_member(found, i);
        if (m.self)
            continue;             /* what we were, perhaps at another place */
        m.state = MEMBER_UNKNOWN; /* that was then */
        m.load = ROSTER_LOAD_UNKNOWN;
        (void)roster_add(f->kept, &m);
    }
    log_line(LOG_NOTICE, "roster.cache: %zu members until the sources are heard",
             f->kept != NULL ? roster_count(f->kept) : 0);
    roster_unref(found);
}

/* ---- sources ---- */

static void drop_kept(struct fleet *f)
{
    for (size_t i = 0; i < FLEET_SOURCES; i++) {
        if (atomic_load(&f->status.up[i]) >= 0 && f->feed[i].members == NULL)
            return;
    }
    roster_unref(f->kept);
    f->kept = NULL;
}

static void on_members(void *arg, struct roster *members)
{
    struct fleet_feed *feed = arg;
    roster_unref(feed->members);
    feed->members = roster_ref(members);
    drop_kept(feed->fleet);
    publish(feed->fleet);
}

static void on_trouble(void *arg, const char *why)
{
    struct fleet_feed *feed = arg;
    struct fleet *f = feed->fleet;
    bool was = feed->in_trouble;
    feed->in_trouble = why != NULL;
    atomic_store(&f->status.up[feed - f->feed], why == NULL);
    if (why != NULL && !was)
        log_line(LOG_WARNING, "roster: %s is away: %s; what it told last stays", feed->name, why);
    if (why == NULL && was)
        log_line(LOG_NOTICE, "roster: %s is back", feed->name);
}

static struct source_events events_of(struct fleet *f, enum fleet_source source)
{
    return (struct source_events){on_members, on_trouble, &f->feed[source]};
}

/* Everything that makes a source another one; its password too, so it is wiped afterwards. */
static int describe(struct buf *out, const struct fleet_options *o, enum fleet_source source)
{
    int rc = 0;
    if (source == FLEET_DNS)
        return buf_printf(out, "%s\n%llu\n%s\n%llu\n%u", o->dns.name,
                          (unsigned long long)o->dns.interval_ms,
                          o->dns.servers != NULL ? o->dns.servers : "",
                          (unsigned long long)o->dns.timeout_ms, (unsigned)o->dns.port);
    const char *const texts[] = {o->etcd.prefix,      o->etcd.user,          o->etcd.password,
                                 o->etcd.tls.ca_file, o->etcd.tls.cert_file, o->etcd.tls.key_file};
    for (size_t i = 0; i < o->etcd.endpoint_count && rc == 0; i++)
        rc = buf_printf(out, "%s\n", o->etcd.endpoints[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && rc == 0; i++)
        rc = buf_printf(out, "%s\n", texts[i] != NULL ? texts[i] : "");
    return rc == 0 ? buf_printf(out, "%llu\n%llu", (unsigned long long)o->etcd.lease_ttl_s,
                                (unsigned long long)o->etcd.timeout_ms)
                   : rc;
}

static void forget_text(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void source_end(struct fleet *f, enum fleet_source source)
{
    if (source == FLEET_ETCD && f->etcd != NULL)
        source_etcd_close(f->etcd);
    if (source == FLEET_DNS && f->dns != NULL)
        source_dns_close(f->dns);
    if (source == FLEET_ETCD)
        f->etcd = NULL;
    else
        f->dns = NULL;
    forget_text(&f->options_text[source]);
    atomic_store(&f->status.up[source], -1);
}

static int source_begin(struct fleet *f, const struct fleet_options *o, enum fleet_source source)
{
    const struct source_events events = events_of(f, source);
    atomic_store(&f->status.up[source], 0);
    if (source == FLEET_ETCD)
        f->etcd = source_etcd_create(f->loop, f->fetcher, &o->etcd, &f->self, &events);
    else
        f->dns = source_dns_create(f->loop, f->resolver, &o->dns, &events);
    bool made = source == FLEET_ETCD ? f->etcd != NULL : f->dns != NULL;
    return made ? 0 : -ENOMEM;
}

/* A source that is told the same stays as it is. */
static int source_set(struct fleet *f, const struct fleet_options *o, enum fleet_source source)
{
    struct buf text;
    int rc = 0;
    if (!is_wanted(o, source)) {
        source_end(f, source);
        roster_unref(f->feed[source].members);
        f->feed[source].members = NULL;
        f->feed[source].in_trouble = false;
        return 0;
    }
    buf_init(&text, 65536);
    rc = describe(&text, o, source);
    char *said = rc == 0 ? strndup(buf_span(&text).ptr, buf_len(&text)) : NULL;
    if (buf_len(&text) > 0)
        explicit_bzero(buf_head(&text), buf_len(&text));
    buf_release(&text);
    if (said == NULL)
        return -ENOMEM;
    if (f->options_text[source] != NULL && strcmp(f->options_text[source], said) == 0) {
        forget_text(&said);
        return 0;
    }
    source_end(f, source);
    rc = source_begin(f, o, source);
    if (rc != 0)
        forget_text(&said); /* the next reload tries again */
    f->options_text[source] = said;
    return rc;
}

/* ---- ourselves ---- */

static void on_peer_changed(void *arg)
{
    publish(arg);
}

/* So coarse that it seldom changes: each change is a put, and a new document for everybody. */
static void on_load(uv_timer_t *timer)
{
    struct fleet *f = timer->data;
    unsigned load = f->options.load(f->options.arg);
    unsigned change = load > f->self.load ? load - f->self.load : f->self.load - load;
    if (change < LOAD_STEP * 3 / 4)
        return; /* also what goes to and fro between two steps */
    load = (load + LOAD_STEP / 2) / LOAD_STEP * LOAD_STEP;
    if (load > ROSTER_LOAD_MAX)
        load = ROSTER_LOAD_MAX;
    if (load == f->self.load || f->leaving)
        return;
    f->self.load = load;
    if (f->etcd != NULL)
        source_etcd_tell(f->etcd, &f->self);
    publish(f);
}

static enum member_state own_state(const struct fleet *f)
{
    if (f->leaving)
        return MEMBER_DRAINING;
    return f->lost ? MEMBER_DOWN : MEMBER_UP;
}

void fleet_set_ready(struct fleet *f, bool ready)
{
    f->lost = !ready;
    f->self.state = own_state(f);
    publish(f);
}

static void take_self(struct fleet *f, const struct member *self)
{
    struct member before = f->self;
    f->self = *self;
    f->self.self = true;
    f->self.state = own_state(f);
    f->self.load = before.load;
    if (f->etcd != NULL && !f->leaving && !same_member(&before, &f->self))
        source_etcd_tell(f->etcd, &f->self);
}

int fleet_reload(struct fleet *f, const struct fleet_options *options)
{
    int rc = 0;
    take_self(f, options->self);
    roster_unref(f->peers);
    f->peers = roster_ref(options->peers);
    rc = probes_set_options(f->probes, &options->probe);
    for (unsigned i = 0; i < FLEET_SOURCES && !f->leaving && !f->handed_over; i++) {
        int failed = source_set(f, options, (enum fleet_source)i);
        rc = rc == 0 ? failed : rc;
    }
    f->options = *options;
    drop_kept(f);
    publish(f);
    return rc;
}

/* ---- leaving ---- */

static void on_left(void *arg)
{
    struct fleet *f = arg;
    f->on_left(f->left_arg);
}

static void on_left_soon(uv_async_t *async)
{
    on_left(async->data);
}

void fleet_leave(struct fleet *f, void (*left)(void *arg), void *arg)
{
    assert(!f->leaving);
    f->leaving = true;
    f->on_left = left;
    f->left_arg = arg;
    f->self.state = own_state(f);
    (void)uv_timer_stop(&f->write_timer);
    if (f->etcd != NULL)
        source_etcd_leave(f->etcd, on_left, f);
    else
        (void)uv_async_send(&f->left_soon);
    publish(f);
}

/* Our lease stays, and with it our key until the other's put takes it over. */
void fleet_hand_over(struct fleet *f)
{
    assert(!f->leaving);
    f->handed_over = true;
    (void)uv_timer_stop(&f->write_timer);
    for (unsigned i = 0; i < FLEET_SOURCES; i++)
        source_end(f, (enum fleet_source)i);
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct fleet *f = handle->data;
    if (--f->handles > 0)
        return;
    for (size_t i = 0; i < FLEET_SOURCES; i++)
        roster_unref(f->feed[i].members);
    roster_unref(f->peers);
    roster_unref(f->kept);
    roster_unref(f->roster);
    if (f->file != NULL)
        roster_file_close(f->file);
    free(f);
}

void fleet_close(struct fleet *f)
{
    f->closing = true;
    for (unsigned i = 0; i < FLEET_SOURCES; i++)
        source_end(f, (enum fleet_source)i);
    if (f->probes != NULL)
        probes_close(f->probes);
    uv_close((uv_handle_t *)&f->load_timer, on_handle_closed);
    uv_close((uv_handle_t *)&f->write_timer, on_handle_closed);
    uv_close((uv_handle_t *)&f->left_soon, on_handle_closed);
}

static void fleet_init(struct fleet *f, const struct fleet_options *options)
{
    static const char *const names[] = {[FLEET_ETCD] = "etcd", [FLEET_DNS] = "DNS"};
    for (size_t i = 0; i < FLEET_SOURCES; i++) {
        f->feed[i] = (struct fleet_feed){.fleet = f, .name = names[i]};
        atomic_init(&f->status.up[i], -1);
    }
    f->options = *options;
    f->options.on_roster = NULL; /* not before the call returns */
    f->peers = roster_ref(options->peers);
    f->self.load = ROSTER_LOAD_UNKNOWN;
    take_self(f, options->self);
    (void)uv_timer_init(f->loop, &f->load_timer);
    (void)uv_timer_init(f->loop, &f->write_timer);
    f->load_timer.data = f->write_timer.data = f->left_soon.data = f;
    f->handles = 3;
    if (options->load != NULL)
        (void)uv_timer_start(&f->load_timer, on_load, LOAD_EVERY_MS, LOAD_EVERY_MS);
    if (options->cache != NULL && options->cache[0] != '\0')
        read_kept(f, options->cache);
}

struct fleet *fleet_create(uv_loop_t *loop, struct fetcher *fetcher, struct resolver *resolver,
                           const struct fleet_options *options)
{
    int rc = 0;
    struct fleet *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->loop = loop;
    f->fetcher = fetcher;
    f->resolver = resolver;
    if (uv_async_init(loop, &f->left_soon, on_left_soon) != 0) {
        free(f);
        return NULL;
    }
    fleet_init(f, options);
    f->probes = probes_create(loop, fetcher, &options->probe, on_peer_changed, f);
    if (f->probes == NULL)
        rc = -ENOMEM;
    for (unsigned i = 0; i < FLEET_SOURCES && rc == 0; i++)
        rc = source_set(f, options, (enum fleet_source)i);
    if (rc == 0) {
        drop_kept(f);
        publish(f);
    }
    f->options.on_roster = options->on_roster;
    if (f->roster != NULL)
        return f;
    fleet_close(f);
    return NULL;
}

struct roster *fleet_roster(const struct fleet *f)
{
    return f->roster;
}

/* ---- metrics ---- */

const struct fleet_status *fleet_status(const struct fleet *f)
{
    return &f->status;
}

int fleet_print_status(struct buf *out, const struct roster *roster,
                       const struct fleet_status *status)
{
    static const char *const states[] = {[MEMBER_UP] = "up",
                                         [MEMBER_UNKNOWN] = "unknown",
                                         [MEMBER_DRAINING] = "draining",
                                         [MEMBER_DOWN] = "down"};
    static const char *const sources[] = {[FLEET_ETCD] = "etcd", [FLEET_DNS] = "dns"};
    size_t count[sizeof states / sizeof *states] = {0};
    for (size_t i = 0; i < roster_count(roster); i++)
        count[roster_member(roster, i)->state]++;
    int rc = buf_add_str(
        out, "# HELP certferry_roster_members Members of the roster, this proxy included.\n"
             "# TYPE certferry_roster_members gauge\n");
    for (size_t i = 0; i < sizeof states / sizeof *states && rc == 0; i++)
        rc = buf_printf(out, "certferry_roster_members{state=\"%s\"} %zu\n", states[i], count[i]);
    if (rc == 0)
        rc = buf_add_str(out,
                         "# HELP certferry_roster_source_up Whether a source of members is heard.\n"
                         "# TYPE certferry_roster_source_up gauge\n");
    for (size_t i = 0; i < FLEET_SOURCES && rc == 0; i++) {
        int up = atomic_load(&status->up[i]);
        if (up >= 0)
            rc = buf_printf(out, "certferry_roster_source_up{source=\"%s\"} %d\n", sources[i], up);
    }
    return rc;
}

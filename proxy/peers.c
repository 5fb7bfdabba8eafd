#include "proxy/peers.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#include "conf/private_file.h"
#include "failover/document.h"
#include "failover/document_read.h"
#include "failover/member_url.h"
#include "failover/peers_print.h"
#include "failover/signature.h"
#include "proxy/net/fetch.h"

enum {
    FETCH_MS = 5000, /* for the document of one sensor */
    CONNECT_MS = 3000,
    LOOKUP_MS = 5000, /* for all names of a hosts file together */
    OUT_MAX = 64 * 1024 * 1024
};

/* One name of the hosts file on its way. */
struct lookup {
    struct peers *peers;
    const char *host;
    struct resolver_ticket *ticket;
    struct resolved found;
};

struct peers {
    const struct peers_options *options;
    uv_loop_t loop;
    struct resolver *resolver;
    struct fetcher *fetcher;
    struct signature_trust *trust; /* NULL: nobody asks */
    struct member *sensor;         /* as they were parsed */
    size_t asked;                  /* sensors so far */
    char source[MEMBER_URL_MAX];   /* whom we ask */
    struct document_content content;
    struct rules *rules; /* for PAC; NULL: nobody asks, or a policy has taken them */
    bool is_signed;
    struct lookup *lookup;
    size_t lookup_count, awaited;
    struct buf out;
    int status;
};

/* Text of others may stand in it: nothing but printable ASCII reaches the terminal. */
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *at = line; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            *at = '?';
    }
    (void)fprintf(stderr, "certferry: %s\n", line);
}

static const char *const format_names[PEERS_FORMAT_COUNT] = {"table", "json", "pac", "env",
                                                             "hosts"};

enum peers_format peers_format_of(const char *name)
{
    unsigned i = 0;
    while (i < PEERS_FORMAT_COUNT && strcmp(format_names[i], name) != 0)
        i++;
    return (enum peers_format)i;
}

/* ---- printing ---- */

/* As the sensor itself would make it: from the same members and the same names. */
static int print_pac(struct peers *p)
{
    const char *zone = "";
    struct document d;
    struct policy_options rules = {.rules = p->rules};
    struct policy *policy = policy_create(&rules);
    if (policy == NULL)
        return -ENOMEM;
    p->rules = NULL;
    for (size_t i = 0; i < roster_count(p->content.roster); i++) {
        if (roster_member(p->content.roster, i)->self)
            zone = roster_member(p->content.roster, i)->zone;
    }
    struct document_options o = {.identifier = p->content.identifier,
                                 .zone = zone,
                                 .version = CERTFERRY_VERSION,
                                 .roster = p->content.roster,
                                 .policy = policy,
                                 .ttl_seconds = 1,
                                 .now = time(NULL)};
    int rc = document_pac(&d, &o);
    if (rc == 0)
        rc = buf_add(&p->out, d.text, d.length);
    document_release(&d);
    policy_destroy(policy);
    return rc;
}

static int print_env(struct peers *p)
{
    const struct member *best = peers_best(p->content.roster);
    if (best != NULL)
        return peers_print_env(&p->out, best);
    tell("%s: all its members are down or draining", p->source);
    p->status = 1;
    return 0;
}

static int print_hosts(struct peers *p)
{
    int rc = 0;
    for (size_t i = 0; p->lookup != NULL && i < p->lookup_count; i++) {
        const struct lookup *l = &p->lookup[i];
        if (l->found.count == 0)
            tell("%s has no address", l->host);
        for (size_t k = 0; rc == 0 && k < l->found.count; k++)
            rc = peers_print_host(&p->out, &l->found.address[k], l->host);
    }
    if (rc == 0 && buf_len(&p->out) == 0) {
        tell("%s: no name of a live member has an address", p->source);
        p->status = 1;
    }
    return rc;
}

static int print(struct peers *p)
{
    struct peers_view view = {p->source, p->content.identifier, p->content.expires, p->is_signed,
                              p->content.roster};
    switch (p->options->format) {
    case PEERS_JSON:
        return peers_print_json(&p->out, &view);
    case PEERS_PAC:
        return print_pac(p);
    case PEERS_ENV:
        return print_env(p);
    case PEERS_HOSTS:
        return print_hosts(p);
    default:
        return peers_print_table(&p->out, &view);
    }
}

/* Everything at once, or nothing: half a PAC file or hosts file is worse than none. */
static void print_all(struct peers *p)
{
    p->status = 0;
    if (print(p) != 0) {
        tell("out of memory");
        p->status = 1;
    } else if (p->status == 0 &&
               (fwrite(buf_head(&p->out), 1, buf_len(&p->out), stdout) != buf_len(&p->out) ||
                fflush(stdout) != 0)) {
        tell("cannot write: %s", strerror(errno));
        p->status = 1;
    }
    uv_stop(&p->loop);
}

/* ---- addresses for a hosts file ---- */

static void on_resolved(void *arg, const struct resolved *answer)
{
    struct lookup *l = arg;
    l->ticket = NULL;
    l->found = *answer;
    if (--l->peers->awaited == 0)
        print_all(l->peers);
}

/* Live members with a name, each name once; an address needs no line. */
static bool is_wanted(const struct roster *r, size_t at)
{
    struct addr ignored;
    const char *host = roster_member(r, at)->host;
    if (!peers_is_live(roster_member(r, at)) || addr_parse(&ignored, span_of(host), 0) == 0)
        return false;
    for (size_t i = 0; i < at; i++) {
        if (peers_is_live(roster_member(r, i)) && strcmp(roster_member(r, i)->host, host) == 0)
            return false;
    }
    return true;
}

static void resolve_all(struct peers *p)
{
    size_t count = roster_count(p->content.roster);
    p->lookup = calloc(count + 1, sizeof *p->lookup);
    if (p->lookup == NULL) {
        tell("out of memory");
        uv_stop(&p->loop);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_wanted(p->content.roster, i))
            continue;
        struct lookup *l = &p->lookup[p->lookup_count++];
        l->peers = p;
        l->host = roster_member(p->content.roster, i)->host;
        l->ticket = resolver_lookup(p->resolver, l->host, on_resolved, l);
        p->awaited += l->ticket != NULL;
    }
    if (p->awaited == 0)
        print_all(p);
}

/* ---- the document ---- */

static bool check_signature(struct peers *p, const struct fetch_result *result)
{
    const char *why = "out of memory";
    const char *host = p->sensor[p->asked - 1].host;
    p->is_signed = false;
    if (p->trust == NULL)
        return true;
    if (result->field.len == 0) {
        tell("%s: its roster is refused: it is not signed", p->source);
        return false;
    }
    p->is_signed =
        signature_verify(p->trust, result->body, result->field, host, time(NULL), &why) == 0;
    if (!p->is_signed)
        tell("%s: the signature of its roster is refused: %s", p->source, why);
    return p->is_signed;
}

static bool take_document(struct peers *p, const struct fetch_result *result)
{
    char fault[DOCUMENT_FAULT_MAX] = "";
    if (!check_signature(p, result))
        return false;
    int rc = document_read_rules(&p->content, result->body, p->rules, fault);
    if (rc != 0) {
        tell("%s: its roster is refused: %s", p->source, rc == -ENOMEM ? "out of memory" : fault);
        return false;
    }
    if (p->content.expires > time(NULL))
        return true;
    tell("%s: its roster has expired; is the clock right, here and there?", p->source);
    roster_unref(p->content.roster);
    p->content.roster = NULL;
    return false;
}

static void ask_next(struct peers *p);

static void on_answer(void *arg, const struct fetch_result *result)
{
    struct peers *p = arg;
    bool good = false;
    if (result->fault != NULL)
        tell("%s: %s", p->source, result->fault);
    else if (result->status != 200)
        tell("%s: it answers %u to /.well-known/pvd; is it a certferry?", p->source,
             result->status);
    else
        good = take_document(p, result);
    if (!good)
        ask_next(p);
    else if (p->options->format == PEERS_HOSTS)
        resolve_all(p);
    else
        print_all(p);
}

/* Rules of a document that was refused are not kept for the next. */
static bool rules_renew(struct peers *p)
{
    if (p->options->format != PEERS_PAC)
        return true;
    if (p->rules != NULL)
        rules_destroy(p->rules);
    p->rules = rules_create();
    return p->rules != NULL;
}

static void ask_next(struct peers *p)
{
    static const char *const fields[] = {"Accept: application/pvd+json", NULL};
    char url[MEMBER_URL_MAX];
    if (p->asked == p->options->sensor_count) {
        uv_stop(&p->loop);
        return;
    }
    const struct member *m = &p->sensor[p->asked++];
    (void)member_url(p->source, m, "");
    const struct fetch_request request = {.url = member_url(url, m, "/.well-known/pvd"),
                                          .fields = fields,
                                          .field = SIGNATURE_FIELD,
                                          .timeout_ms = FETCH_MS,
                                          .connect_ms = CONNECT_MS,
                                          .octets_max = DOCUMENT_READ_OCTETS_MAX,
                                          .on_done = on_answer,
                                          .arg = p};
    if (!rules_renew(p) || fetch_start(p->fetcher, &request) == NULL) {
        tell("out of memory");
        uv_stop(&p->loop);
    }
}

/* ---- the whole ---- */

static bool read_signer(struct peers *p, const char *path)
{
    struct buf pem;
    const char *why = "";
    if (path[0] == '\0')
        return true;
    buf_init(&pem, SIGNATURE_PEM_MAX + 1);
    int rc = private_file_read(AT_FDCWD, path, 0, &pem, &why);
    if (rc != 0)
        why = rc == -EPERM ? why : rc == -EISDIR ? "is no regular file" : strerror(-rc);
    else
        rc = signature_trust_create(&p->trust, buf_span(&pem), &why);
    if (rc != 0)
        tell("--signer %s: %s", path, why);
    buf_release(&pem);
    return rc == 0;
}

static bool parse_sensors(struct peers *p)
{
    const struct peers_options *o = p->options;
    p->sensor = calloc(o->sensor_count + 1, sizeof *p->sensor);
    for (size_t i = 0; p->sensor != NULL && i < o->sensor_count; i++) {
        const char *why = "";
        if (roster_parse_sensor(&p->sensor[i], o->sensor[i], &why) != 0) {
            tell("\"%s\" %s; a sensor is named like http://host:%d", o->sensor[i], why,
                 ROSTER_PORT_DEFAULT);
            return false;
        }
    }
    return p->sensor != NULL;
}

static void run_loop(struct peers *p)
{
    const struct resolver_options resolver = {.timeout_ms = LOOKUP_MS};
    int rc = uv_loop_init(&p->loop);
    assert(rc == 0);
    if (resolver_create(&p->resolver, &p->loop, &resolver) == 0)
        p->fetcher = fetcher_create(&p->loop, p->resolver, 1);
    if (p->fetcher != NULL) {
        ask_next(p);
        (void)uv_run(&p->loop, UV_RUN_DEFAULT);
    } else {
        tell("cannot look names up: is /etc/resolv.conf as it should be?");
    }
    if (p->fetcher != NULL)
        fetcher_close(p->fetcher);
    if (p->resolver != NULL)
        resolver_destroy(p->resolver);
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&p->loop);
    assert(rc == 0);
}

int peers_run(const struct peers_options *o)
{
    struct peers p = {.options = o, .status = 1};
    buf_init(&p.out, OUT_MAX);
    if (parse_sensors(&p) && read_signer(&p, o->signer))
        run_loop(&p);
    else
        p.status = 2;
    roster_unref(p.content.roster);
    if (p.rules != NULL)
        rules_destroy(p.rules);
    signature_trust_destroy(p.trust);
    free(p.lookup);
    free(p.sensor);
    buf_release(&p.out);
    return p.status;
}

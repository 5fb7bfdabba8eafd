#include "proxy/check.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/check_answer.h"
#include "proxy/configuration.h"
#include "proxy/net/tls_probe.h"
#include "proxy/snapshot.h"
#include "proxy/wire/classify.h"

enum {
    ANSWER_MS = 20000,
    ANSWER_OCTETS_MAX = 1024 * 1024,
    URL_MAX = CHECK_PATH_MAX + HOSTNAME_MAX + 32,
};

struct check {
    const struct check_options *options;
    bool tls;
    struct target target; /* of the URL, as if it were http:// */
    struct hostname host;
    uint16_t port;
    char *text; /* owned: what `target` points into */
    struct check_question question;
    struct settings *settings;
    struct snapshot *snapshot;
    const struct role *role;     /* NULL: the general rules */
    const struct policy *policy; /* of either */
    const struct parent *parent; /* NULL: direct */
    struct resolved found;       /* those that may be dialled */
    struct addr reached;         /* the address that has answered */
    bool failed;
};

/* ---- telling ---- */

enum verdict { FINE, NOTE, FAIL };

/* A line of a step. Text of others may stand in it: only printable ASCII reaches the terminal. */
__attribute__((format(printf, 5, 6))) static void say(struct check *c, const char *step,
                                                      enum verdict verdict, uint64_t begun_ms,
                                                      const char *format, ...)
{
    static const char *const words[] = {[FINE] = "fine", [NOTE] = "note", [FAIL] = "FAIL"};
    char line[1024], took[32] = "";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *at = line; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            *at = '?';
    }
    if (begun_ms > 0)
        (void)snprintf(took, sizeof took, "%llu ms", (unsigned long long)(clock_ms() - begun_ms));
    (void)printf("%-8s %s %9s  %s\n", step, words[verdict], took, line);
    (void)fflush(stdout);
    c->failed = c->failed || verdict == FAIL;
}

static bool fail_outcome(struct check *c, const char *step, uint64_t begun_ms, enum outcome why)
{
    const struct outcome_info *info = outcome_info(why);
    say(c, step, FAIL, begun_ms, "%s (%s)%s%s", info->phrase, info->token,
        info->remedy != NULL ? ": " : "", info->remedy != NULL ? info->remedy : "");
    return false;
}

/* ---- the URL ---- */

static bool names_port(const struct target *t)
{
    return t->host.ptr[t->host.len] == ':';
}

/* An https:// URL is read as if it were http://: its parts are the same. */
static bool parse_url(struct check *c, const char **why)
{
    const char *url = c->options->url;
    c->tls = strncasecmp(url, "https://", 8) == 0;
    if (!c->tls && strncasecmp(url, "http://", 7) != 0) {
        *why = "it must begin with https:// or http://";
        return false;
    }
    if (asprintf(&c->text, "http://%s", url + (c->tls ? 8 : 7)) < 0) {
        c->text = NULL;
        *why = "out of memory";
        return false;
    }
    if (target_parse(&c->target, SPAN("GET"), span_of(c->text), why) != TARGET_OK ||
        hostname_parse(&c->host, c->target.host, why) != 0)
        return false;
    c->port = c->tls && !names_port(&c->target) ? 443 : c->target.port;
    if (check_question(&c->question, c->target.path) == 0)
        return true;
    *why = "it is too long";
    return false;
}

/* ---- policy ---- */

/* What the proxy will see: the CONNECT of a client, or the plain request. */
static enum protocol protocol_of(const struct check *c)
{
    static const char form[] = "GET %s HTTP/1.1\r\nHost: a\r\n\r\n";
    const struct head_limits limits = {2 * URL_MAX, URL_MAX, 8};
    char text[URL_MAX + sizeof form];
    struct head head;
    size_t scanned = 0;
    if (c->tls)
        return PROTOCOL_TUNNEL;
    int n = snprintf(text, sizeof text, form, c->question.path);
    if (head_parse(&head, HEAD_REQUEST, text, (size_t)n, &limits, &scanned, NULL) != HEAD_OK)
        return PROTOCOL_OTHER;
    struct target asked = {.form = TARGET_ABSOLUTE, .path = span_of(c->question.path)};
    return classify_request(&head, &asked).protocol;
}

/* What the role's rules refuse. Whether it goes on: the role may only report. */
static bool refuse_by_role(struct check *c, enum outcome verdict, bool connect)
{
    char rule[ROLE_RULE_MAX] = "";
    const struct outcome_info *info = outcome_info(verdict);
    bool reports = policy_reports(c->policy);
    (void)role_rule(c->role, verdict, connect, rule);
    say(c, "policy", reports ? NOTE : FAIL, 0, "%s (%s)%s %s", info->phrase, info->token,
        reports ? ", and passes only since the role reports; see" : ": the operator must add it to",
        rule);
    return reports;
}

static bool check_policy(struct check *c)
{
    enum protocol protocol = protocol_of(c);
    enum outcome verdict = policy_request(c->policy, &c->host, c->port, protocol);
    if (verdict != OUTCOME_OK && c->role == NULL)
        return fail_outcome(c, "policy", 0, verdict);
    if (verdict != OUTCOME_OK && !refuse_by_role(c, verdict, protocol == PROTOCOL_TUNNEL))
        return false;
    if (verdict == OUTCOME_OK)
        say(c, "policy", FINE, 0, "%s port %u may be asked for (%s)", c->host.text,
            (unsigned)c->port, protocol_name(protocol));
    const struct parents *list = c->snapshot->parents;
    if (list != NULL && !parents_pass_by(list, &c->host) && parents_count(list) > 0) {
        c->parent = parents_at(list, 0);
        say(c, "way", NOTE, 0, "through the parent proxy %s, which looks up and connects",
            c->parent->label);
    }
    return true;
}

/* ---- DNS and addresses ---- */

struct question {
    uv_loop_t loop;
    struct resolver *resolver;
    struct resolved answer;
};

static void on_found(void *arg, const struct resolved *answer)
{
    struct question *q = arg;
    q->answer = *answer;
    resolver_destroy(q->resolver);
}

static enum outcome look_up(const struct check *c, struct resolved *answer)
{
    struct question q = {.answer = {.outcome = OUTCOME_INTERNAL}};
    int rc = uv_loop_init(&q.loop);
    assert(rc == 0);
    rc = resolver_create(&q.resolver, &q.loop, &c->snapshot->resolver);
    if (rc == 0 && resolver_lookup(q.resolver, c->host.text, on_found, &q) == NULL)
        resolver_destroy(q.resolver);
    (void)uv_run(&q.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&q.loop);
    *answer = q.answer;
    return q.answer.outcome;
}

static bool check_dns(struct check *c, struct resolved *all)
{
    *all = (struct resolved){.outcome = OUTCOME_OK, .count = 1, .address = {c->host.addr}};
    if (c->host.kind != HOST_NAME)
        return true;
    uint64_t begun = clock_ms();
    enum outcome outcome = look_up(c, all);
    if (outcome != OUTCOME_OK)
        return fail_outcome(c, "dns", begun, outcome);
    say(c, "dns", FINE, begun, "%zu address%s", all->count, all->count == 1 ? "" : "es");
    return true;
}

static bool check_addresses(struct check *c, const struct resolved *all)
{
    char text[ADDR_TEXT_MAX];
    for (size_t i = 0; i < all->count; i++) {
        const char *why = "";
        if (policy_address(c->policy, &all->address[i], &why) == OUTCOME_OK)
            c->found.address[c->found.count++] = all->address[i];
        else
            say(c, "address", NOTE, 0, "%s is not dialled: %s; see allowed.networks",
                addr_print(&all->address[i], text), why);
    }
    if (c->found.count == 0)
        return fail_outcome(c, "address", 0, OUTCOME_ADDRESS_DENIED);
    say(c, "address", FINE, 0, "%zu may be dialled", c->found.count);
    return true;
}

/* ---- TCP ---- */

static int bind_source(int fd, const struct check *c, const struct addr *to)
{
    const struct addr *source =
        &c->snapshot->session.dial.source[to->sa.sa_family == AF_INET6 ? 1 : 0];
    if (source->sa.sa_family == 0 || bind(fd, &source->sa, addr_len(source)) == 0)
        return 0;
    return -errno;
}

/* Goes on after EINTR, which comes too when the process was stopped meanwhile (signal(7)). */
static int connect_wholly(int fd, const struct addr *to)
{
    int rc = connect(fd, &to->sa, addr_len(to));
    while (rc != 0 && errno == EINTR) {
        rc = connect(fd, &to->sa, addr_len(to));
        if (rc != 0 && errno == EISCONN)
            return 0;
    }
    return rc;
}

/* A connected descriptor, which then blocks for a bounded time, or a negative errno. */
static int connect_to(const struct check *c, const struct addr *to)
{
    const int ms = (int)c->snapshot->session.dial.timeout_ms;
    const struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = bind_source(fd, c, to);
    /* SO_SNDTIMEO bounds connect(2) as well. */
    if (rc == 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
                    connect_wholly(fd, to) != 0))
        rc = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    if (rc == 0)
        return fd;
    (void)close(fd);
    return rc;
}

/* Every address is tried, since clients will meet each of them. The first that answers is used. */
static int check_tcp(struct check *c)
{
    char text[ADDR_TEXT_MAX];
    int first = -1;
    size_t max = c->snapshot->session.dial.addresses_max;
    for (size_t i = 0; i < c->found.count && i < max; i++) {
        struct addr *to = &c->found.address[i];
        addr_set_port(to, c->port);
        uint64_t begun = clock_ms();
        int fd = connect_to(c, to);
        if (fd < 0)
            say(c, "tcp", NOTE, begun, "%s: %s", addr_print_port(to, text), uv_strerror(fd));
        else
            say(c, "tcp", FINE, begun, "%s", addr_print_port(to, text));
        if (fd >= 0 && first < 0) {
            first = fd;
            c->reached = *to;
        } else if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (first < 0)
        say(c, "tcp", FAIL, 0,
            "no address answers: is the CA up, and does the firewall let this host out?");
    return first;
}

/* ---- TLS ---- */

static bool check_tls(struct check *c, int fd)
{
    struct tls_probe t;
    uint64_t begun = clock_ms();
    const char *name = c->host.kind == HOST_NAME ? c->host.text : NULL;
    tls_probe_run(&t, fd, name, c->host.text, c->options->ca);
    if (t.fault[0] != '\0') {
        say(c, "tls", FAIL, begun, "%s", t.fault);
        return false;
    }
    say(c, "tls", FINE, begun, "%s", t.session);
    for (size_t i = 0; i < t.count; i++)
        say(c, "chain", NOTE, 0, "%s", t.certificate[i]);
    if (t.disbelief[0] != '\0')
        say(c, "chain", FAIL, 0, "not believed: %s; with roots of your own: --ca FILE",
            t.disbelief);
    else
        say(c, "chain", FINE, 0, "believed, for this host");
    return t.disbelief[0] == '\0';
}

/* ---- the answer ---- */

static size_t on_body(char *octets, size_t size, size_t count, void *arg)
{
    return buf_add(arg, octets, size * count) == 0 ? size * count : 0;
}

/* What a request needs besides its options; freed with it. */
struct way {
    struct curl_slist *resolve, *field;
};

static void set_parent(const struct check *c, CURL *curl, struct way *way)
{
    char field[sizeof c->parent->authorization + 32], path[PATH_MAX];
    const char *ca = c->settings->upstream_ca;
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, c->parent->label);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPPROXYTUNNEL, c->tls ? 1L : 0L);
    if (c->parent->authorization[0] != '\0') {
        (void)snprintf(field, sizeof field, "Proxy-Authorization: %s", c->parent->authorization);
        way->field = curl_slist_append(NULL, field);
        explicit_bzero(field, sizeof field);
        (void)curl_easy_setopt(curl, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
        (void)curl_easy_setopt(curl, CURLOPT_PROXYHEADER, way->field);
    }
    (void)snprintf(path, sizeof path, "%s%s%s", ca[0] == '/' ? "" : c->options->conf_dir,
                   ca[0] == '/' ? "" : "/", ca);
    if (ca[0] != '\0')
        (void)curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, path);
}

/* From source.address, as the proxy connects: a firewall may let nothing else out. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct addr address = {0};
    (void)purpose;
    if (to->addrlen > sizeof address)
        return CURL_SOCKET_BAD;
    memcpy(&address, &to->addr, to->addrlen);
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd >= 0 && bind_source(fd, arg, &address) != 0) {
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

/* The address that was judged and has answered; or the parent, and nobody else either: the
 * environment's NO_PROXY would lead past it. */
static void set_way(const struct check *c, CURL *curl, struct way *way)
{
    char line[HOSTNAME_MAX + ADDR_TEXT_MAX + 16], address[ADDR_TEXT_MAX];
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    (void)curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, (void *)c);
    if (c->parent != NULL) {
        set_parent(c, curl, way);
        return;
    }
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (c->host.kind != HOST_NAME)
        return;
    (void)snprintf(line, sizeof line, "%s:%u:%s", c->host.text, (unsigned)c->port,
                   addr_print(&c->reached, address));
    way->resolve = curl_slist_append(NULL, line);
    (void)curl_easy_setopt(curl, CURLOPT_RESOLVE, way->resolve);
}

static void set_request(const struct check *c, CURL *curl, struct buf *body, char *fault)
{
    char url[URL_MAX];
    (void)snprintf(url, sizeof url, c->host.kind == HOST_IPV6 ? "%s://[%s]:%u%s" : "%s://%s:%u%s",
                   c->tls ? "https" : "http", c->host.text, (unsigned)c->port, c->question.path);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "certferry-check/" CERTFERRY_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, fault);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    if (c->options->ca != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, c->options->ca);
}

static void judge(struct check *c, CURL *curl, const struct buf *body, uint64_t begun)
{
    char text[CHECK_TEXT_MAX];
    long status = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    bool good = check_answer(&c->question, (unsigned)status, buf_span(body), text);
    say(c, "answer", good ? FINE : FAIL, begun, "%s", text);
}

static void check_page(struct check *c)
{
    CURL *curl = curl_easy_init();
    char fault[CURL_ERROR_SIZE] = "";
    struct way way = {NULL, NULL};
    struct buf body;
    buf_init(&body, ANSWER_OCTETS_MAX);
    uint64_t begun = clock_ms();
    if (curl == NULL) {
        say(c, "answer", FAIL, 0, "out of memory");
        return;
    }
    set_request(c, curl, &body, fault);
    set_way(c, curl, &way);
    CURLcode rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        judge(c, curl, &body, begun);
    else
        say(c, "answer", FAIL, begun, "%s", fault[0] != '\0' ? fault : curl_easy_strerror(rc));
    curl_easy_cleanup(curl);
    curl_slist_free_all(way.resolve);
    curl_slist_free_all(way.field);
    buf_release(&body);
}

/* ---- the whole ---- */

/* Up to an open connection whose peer is believed. */
static bool check_connection(struct check *c)
{
    struct resolved all;
    if (!check_dns(c, &all) || !check_addresses(c, &all))
        return false;
    int fd = check_tcp(c);
    bool good = fd >= 0 && (!c->tls || check_tls(c, fd));
    if (fd >= 0)
        (void)close(fd);
    return good;
}

static void check_all(struct check *c)
{
    if (check_policy(c) && (c->parent != NULL || check_connection(c)))
        check_page(c);
    (void)printf("%s port %u: %s\n", c->host.text, (unsigned)c->port,
                 c->failed ? "not reachable as it should be" : "fine");
}

/* The exit status if there is no such role. */
static int take_role(struct check *c)
{
    const struct roles *roles = c->snapshot->roles;
    size_t count = roles != NULL ? roles_count(roles) : 0;
    c->policy = c->snapshot->policy;
    if (c->options->role == NULL)
        return 0;
    c->role = roles != NULL ? roles_find(roles, c->options->role) : NULL;
    if (c->role != NULL) {
        c->policy = c->role->policy;
        return 0;
    }
    (void)fprintf(stderr, "certferry check: \"%s\" is no role of roles.properties, which has %s",
                  c->options->role, count > 0 ? "" : "none");
    for (size_t i = 0; i < count; i++)
        (void)fprintf(stderr, "%s%s", i > 0 ? ", " : "", roles_at(roles, i)->name);
    (void)fputc('\n', stderr);
    return 2;
}

static int load(struct check *c)
{
    struct settings_errors errors = {0};
    struct configuration_source from = {.dir = c->options->conf_dir,
                                        .fd = configuration_open(c->options->conf_dir)};
    bool good =
        configuration_load(&from, (struct listen_ports){0}, &c->settings, &c->snapshot, &errors);
    if (from.fd >= 0)
        (void)close(from.fd);
    if (!good)
        configuration_print_errors(&errors);
    return good ? take_role(c) : 1;
}

int check_run(const struct check_options *o)
{
    struct check c = {.options = o};
    const char *why = "";
    int status = 2;
    if (!parse_url(&c, &why))
        (void)fprintf(stderr, "certferry check: the URL cannot be used: %s\n", why);
    else if (o->ca != NULL && access(o->ca, R_OK) != 0)
        (void)fprintf(stderr, "certferry: %s: %s\n", o->ca, strerror(errno));
    else
        status = load(&c);
    if (status == 0) {
        (void)signal(SIGPIPE, SIG_IGN);
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
        check_all(&c);
        curl_global_cleanup();
        status = c.failed ? 1 : 0;
    }
    if (c.snapshot != NULL) {
        snapshot_unref(c.snapshot);
        settings_free(c.settings);
    }
    free(c.text);
    return status;
}

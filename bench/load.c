/*
 * load.c - the load generator: bench_load --help
 *
 * One thread, many connections. First a warm-up, then, if asked, idle tunnels that stay, then the
 * measurement; its result goes to standard output as one JSON object. Processor time and memory are
 * those of the proxy whose first process is given.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/load_client.h"
#include "bench/measure.h"
#include "bench/secure.h"
#include "bench/sockets.h"

enum {
    BATCH = 256,
    HOLDING_AT_ONCE = 64,
    FAILURES_MAX = 1000,
    TICK_MS = 5,
    SETTLE_NS = 500000000,
    REQUEST_MAX = 64 * 1024,
    PATIENCE_S = 20,
    RANDOM_AT = 11 /* of a ClientHello, behind heads of record and message, and a version */
};

struct settings {
    const char *mode, *way, *first_file, *tunnel, *url, *prefix;
    bool tls, resume;
    unsigned long connections, operations, hold, body, rate, looks;
    double seconds, warmup;
    pid_t proxy;
};

struct load {
    struct settings set;
    struct plan plan;
    int epoll_fd;
    struct client *clients;  /* `connections`, then `hold` */
    struct client **waiting; /* rate: clients without an operation */
    size_t waiting_count;
    bool running;   /* operations follow each other */
    bool measuring; /* they are counted */
    size_t busy;    /* operations under way, held ones aside */
    size_t held;
    uint64_t due_ns; /* rate: of the next operation */
    struct latencies latencies;
    unsigned long failures;
    struct pids pids;
    uint64_t memory_before, memory_after;
};

struct result {
    size_t operations;
    double p50_us, p99_us;
};

static char request[REQUEST_MAX];
static char opening[1024];

/* ---- what to do ---- */

static size_t read_first(const char *path)
{
    if (path == NULL) {
        memset(request, 'e', 64);
        return 64;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, request, sizeof request) : -1;
    if (n <= 0)
        give_up("cannot read %s", path);
    (void)close(fd);
    return (size_t)n;
}

/* A gateway is asked in origin form, for paths behind a prefix; a proxy in absolute form. */
static size_t make_http(const struct settings *set, const char *method, const char *path,
                        const char *body_type)
{
    char type[128] = "";
    if (set->body > 0)
        (void)snprintf(type, sizeof type, "Content-Type: %s\r\nContent-Length: %lu\r\n", body_type,
                       set->body);
    int n = snprintf(request, sizeof request,
                     "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s%s\r\n",
                     method, set->prefix != NULL ? set->prefix : set->url, path,
                     strstr(set->url, "//") + 2,
                     strstr(set->mode, "new") != NULL ? "Connection: close\r\n" : "", type);
    if (n < 0 || (size_t)n + set->body > sizeof request)
        give_up("the request is too long");
    memset(request + n, 'b', set->body);
    return (size_t)n + set->body;
}

static void plan_http(struct load *l, const char *method, const char *path, const char *type)
{
    if (l->set.url == NULL || strstr(l->set.url, "//") == NULL)
        give_up("--url http://ADDRESS:PORT is needed");
    l->plan.kind = PLAN_HTTP;
    l->plan.request_len = make_http(&l->set, method, path, type);
    l->plan.reconnect = strstr(l->set.mode, "new") != NULL;
}

static void plan_make(struct load *l)
{
    const struct settings *set = &l->set;
    char path[64];
    l->plan.request = request;
    if (set->tls)
        l->plan.tls = secure_client(set->resume);
    if (set->tunnel != NULL) {
        l->plan.opening = opening;
        l->plan.opening_len = (size_t)snprintf(
            opening, sizeof opening, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n\r\n",
            set->tunnel, set->tunnel);
    }
    if (strncmp(set->mode, "post", 4) == 0) {
        if (set->prefix != NULL)
            plan_http(l, "POST", "/simpleenroll", "application/pkcs10");
        else
            plan_http(l, "POST", "/scep/pkiclient.exe?operation=PKIOperation",
                      "application/x-pki-message");
        return;
    }
    if (strncmp(set->mode, "get", 3) == 0) {
        l->set.body = 0;
        (void)snprintf(path, sizeof path, "/bytes/%s", set->way);
        plan_http(l, "GET", path, "");
        return;
    }
    l->plan.request_len = read_first(set->first_file);
    if (set->first_file != NULL)
        l->plan.serial = (unsigned char *)request + RANDOM_AT;
    l->plan.reconnect = true;
    l->plan.kind = strcmp(set->mode, "stream") == 0 ? PLAN_STREAM : PLAN_ECHO;
    l->plan.sends = strcmp(set->way, "down") != 0;
}

/* ---- doing it ---- */

static void begin(struct load *l, struct client *c, uint64_t at)
{
    if (!c->held)
        l->busy++;
    client_begin(c, &l->plan, l->epoll_fd, at);
}

static void next_operation(struct load *l, struct client *c)
{
    if (!l->running)
        return;
    if (l->set.rate > 0)
        l->waiting[l->waiting_count++] = c;
    else
        begin(l, c, now_ns());
}

static void failure(struct load *l)
{
    if (++l->failures >= FAILURES_MAX)
        give_up("%d operations have failed: does the proxy let them through?", FAILURES_MAX);
}

static void on_event(struct load *l, struct client *c, uint32_t events)
{
    enum client_result result = client_ready(c, &l->plan, l->epoll_fd, events);
    if (result == CLIENT_PENDING)
        return;
    if (result == CLIENT_FAILED)
        failure(l);
    if (c->held) {
        l->held++;
        return;
    }
    l->busy--;
    if (result == CLIENT_DONE && l->measuring)
        latency_add(&l->latencies, now_ns() - c->began_ns);
    next_operation(l, c);
}

/* Begins the operations whose time has come; latency counts from that time, late or not. */
static void begin_due(struct load *l)
{
    uint64_t now = now_ns();
    while (l->running && l->waiting_count > 0 && l->due_ns <= now) {
        begin(l, l->waiting[--l->waiting_count], l->due_ns);
        l->due_ns += 1000000000u / l->set.rate;
    }
}

static void turn(struct load *l)
{
    struct epoll_event events[BATCH];
    bool paced = l->set.rate > 0;
    if (paced)
        begin_due(l);
    int n = epoll_wait(l->epoll_fd, events, BATCH, paced ? 0 : TICK_MS);
    for (int i = 0; i < n; i++)
        on_event(l, events[i].data.ptr, events[i].events);
}

static void turn_for(struct load *l, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end)
        turn(l);
}

static void start(struct load *l)
{
    l->running = true;
    l->due_ns = now_ns();
    l->waiting_count = 0;
    for (size_t i = 0; i < l->set.connections; i++)
        next_operation(l, &l->clients[i]);
}

static void finish(struct load *l)
{
    uint64_t end = now_ns() + (uint64_t)PATIENCE_S * 1000000000u;
    l->running = false;
    while (l->busy > 0) {
        turn(l);
        if (now_ns() > end)
            give_up("%zu operations do not end", l->busy);
    }
}

static void hold(struct load *l)
{
    struct client *first = l->clients + l->set.connections;
    uint64_t end = now_ns() + (uint64_t)PATIENCE_S * 1000000000u;
    turn_for(l, SETTLE_NS / 1e9);
    l->memory_before = pids_memory(&l->pids);
    for (size_t begun = 0; l->held < l->set.hold;) {
        for (; begun < l->set.hold && begun - l->held < HOLDING_AT_ONCE; begun++)
            begin(l, &first[begun], now_ns());
        turn(l);
        if (now_ns() > end)
            give_up("only %zu of %lu tunnels came to be", l->held, l->set.hold);
    }
    turn_for(l, SETTLE_NS / 1e9);
    pids_find(&l->pids, l->set.proxy); /* it may have made more processes for them */
    l->memory_after = pids_memory(&l->pids);
}

static uint64_t stream_octets(const struct load *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->set.connections; i++)
        sum += l->clients[i].octets;
    return sum;
}

/* Its latencies, when they are lower than those of the looks before. */
static void look(struct load *l, struct result *r)
{
    latency_forget(&l->latencies);
    uint64_t end = now_ns() + (uint64_t)(l->set.seconds * 1e9);
    l->measuring = true;
    while (l->set.operations > 0 ? l->latencies.count < l->set.operations : now_ns() < end)
        turn(l);
    l->measuring = false;
    double p50 = latency_percentile_us(&l->latencies, 50);
    double p99 = latency_percentile_us(&l->latencies, 99);
    r->p50_us = r->operations == 0 || p50 < r->p50_us ? p50 : r->p50_us;
    r->p99_us = r->operations == 0 || p99 < r->p99_us ? p99 : r->p99_us;
    r->operations += l->latencies.count;
}

/* A proxy that resumes only now and then would be measured as neither. */
static void check_resumed(const struct load *l, struct secure_count before)
{
    struct secure_count now = secure_counted();
    unsigned long all = now.all - before.all, resumed = now.resumed - before.resumed;
    if (l->set.resume && resumed < all - all / 10)
        give_up("the proxy has resumed only %lu of %lu TLS sessions", resumed, all);
}

static void measure(struct load *l)
{
    struct result r = {0};
    struct secure_count handshakes = secure_counted();
    unsigned long failures = l->failures;
    uint64_t octets = stream_octets(l), cpu = pids_cpu_ns(&l->pids), began = now_ns();
    for (unsigned long i = 0; i < l->set.looks; i++)
        look(l, &r);
    double seconds = (double)(now_ns() - began) / 1e9;
    double cpu_seconds = (double)(pids_cpu_ns(&l->pids) - cpu) / 1e9;
    if (l->plan.kind == PLAN_STREAM && stream_octets(l) == octets)
        give_up("no octet came through in %.1f s", seconds);
    check_resumed(l, handshakes);
    (void)printf("\"seconds\": %.4f, \"operations\": %zu, \"octets\": %llu, \"failures\": %lu, "
                 "\"cpu_seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f",
                 seconds, r.operations, (unsigned long long)(stream_octets(l) - octets),
                 l->failures - failures, cpu_seconds, r.p50_us, r.p99_us);
}

/* One operation alone, so that all others have a ticket. */
static void fetch_ticket(struct load *l)
{
    begin(l, &l->clients[0], now_ns());
    finish(l);
}

static void run(struct load *l)
{
    bool stream = l->plan.kind == PLAN_STREAM;
    (void)printf("{");
    if (l->set.resume)
        fetch_ticket(l);
    start(l);
    turn_for(l, l->set.warmup);
    if (l->set.hold > 0) {
        finish(l);
        hold(l);
        (void)printf("\"tunnels\": %zu, \"memory_before\": %llu, \"memory_after\": %llu, ", l->held,
                     (unsigned long long)l->memory_before, (unsigned long long)l->memory_after);
        start(l);
        turn_for(l, l->set.warmup);
    }
    measure(l);
    (void)printf("}\n");
    if (!stream)
        finish(l);
}

/* ---- command line ---- */

static const char help[] =
    "usage: bench_load --to [ADDRESS:]PORT --mode MODE [OPTION...]\n"
    "  --mode echo        new connection, one echo, close\n"
    "  --mode stream      --way down|up|both, all the time\n"
    "  --mode get|getnew  --way OCTETS of the answer; getnew: a new connection each\n"
    "  --mode post|postnew  --body OCTETS of the request\n"
    "  --tls              speak TLS to the proxy; --resume: by the newest ticket each time\n"
    "  --tunnel HOST:PORT ask for it with CONNECT first\n"
    "  --url http://ADDRESS:PORT   of the HTTP origin\n"
    "  --prefix PATH      ask in origin form for what is behind it, as at a gateway\n"
    "  --first FILE       octets that an echo or stream begins with (a ClientHello)\n"
    "  --connections N    at once (1)\n"
    "  --seconds S, --operations N   what is measured (1 s)\n"
    "  --looks N          so often (1); p50 and p99 are the lowest of them, the rest is of all\n"
    "  --warmup S         before (0.2)\n"
    "  --rate N           operations begin so often each second; otherwise one follows another\n"
    "  --hold N           idle tunnels beside (echo)\n"
    "  --pid PID          first process of the proxy\n";

static const struct option options[] = {
    {"to", 1, NULL, 't'},          {"mode", 1, NULL, 'm'},    {"way", 1, NULL, 'w'},
    {"tunnel", 1, NULL, 'c'},      {"url", 1, NULL, 'u'},     {"first", 1, NULL, 'f'},
    {"connections", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'}, {"operations", 1, NULL, 'o'},
    {"warmup", 1, NULL, 'W'},      {"rate", 1, NULL, 'r'},    {"hold", 1, NULL, 'H'},
    {"looks", 1, NULL, 'l'},       {"body", 1, NULL, 'b'},    {"pid", 1, NULL, 'p'},
    {"tls", 0, NULL, 'T'},         {"resume", 0, NULL, 'R'},  {"prefix", 1, NULL, 'x'},
    {"help", 0, NULL, 'h'},        {NULL, 0, NULL, 0}};

static void set_number(struct settings *set, int option)
{
    switch (option) {
    case 'n':
        set->connections = number_of(optarg, "--connections");
        break;
    case 's':
        set->seconds = strtod(optarg, NULL);
        break;
    case 'W':
        set->warmup = strtod(optarg, NULL);
        break;
    case 'o':
        set->operations = number_of(optarg, "--operations");
        break;
    case 'r':
        set->rate = number_of(optarg, "--rate");
        break;
    case 'H':
        set->hold = number_of(optarg, "--hold");
        break;
    case 'l':
        set->looks = number_of(optarg, "--looks");
        break;
    case 'b':
        set->body = number_of(optarg, "--body");
        break;
    case 'p':
        set->proxy = (pid_t)number_of(optarg, "--pid");
        break;
    default:
        (void)fputs(help, stderr);
        exit(2);
    }
}

static void settings_read(struct load *l, int argc, char **argv)
{
    struct settings *set = &l->set;
    *set =
        (struct settings){.way = "down", .connections = 1, .seconds = 1, .warmup = 0.2, .looks = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't':
            l->plan.to = socket_address(optarg);
            break;
        case 'm':
            set->mode = optarg;
            break;
        case 'w':
            set->way = optarg;
            break;
        case 'c':
            set->tunnel = optarg;
            break;
        case 'u':
            set->url = optarg;
            break;
        case 'f':
            set->first_file = optarg;
            break;
        case 'x':
            set->prefix = optarg;
            break;
        case 'R':
            set->tls = set->resume = true;
            break;
        case 'T':
            set->tls = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            exit(0);
        default:
            set_number(set, option);
        }
    }
    if (optind != argc || set->mode == NULL || l->plan.to.sin_port == 0)
        set_number(set, '?');
}

int main(int argc, char **argv)
{
    static struct load l;
    settings_read(&l, argc, argv);
    plan_make(&l);
    socket_raise_limit();
    pids_find(&l.pids, l.set.proxy);
    size_t count = l.set.connections + l.set.hold;
    l.clients = calloc(count + 1, sizeof *l.clients);
    l.waiting = calloc(count + 1, sizeof(struct client *));
    l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l.clients == NULL || l.waiting == NULL || l.epoll_fd < 0)
        give_up("no memory for %zu connections", count);
    for (size_t i = l.set.connections; i < count; i++)
        l.clients[i].held = true;
    run(&l);
    return 0;
}

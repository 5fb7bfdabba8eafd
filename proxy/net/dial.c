#include "proxy/net/dial.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"

enum { ATTEMPT_DELAY_MS = 250 /* RFC 8305 section 5 */ };

struct attempt {
    struct poll_slot slot;
    struct dial *dial;
    int fd; /* -1: failed or not yet tried */
    struct addr address;
};

struct dial {
    struct netloop net;
    struct dial_options options;
    dial_guard guard;
    dial_cb on_done;
    void *arg;
    uint16_t port;
    struct resolver_ticket *ticket; /* while the look-up runs */
    struct deadline limit;          /* the whole */
    struct deadline stagger;        /* until the next attempt */
    struct poll_slot later;         /* ends the dial on the next round, out of dial_start() */
    uint64_t started_us, resolved_us;
    struct dial_result result; /* of the failure that says most so far */
    struct attempt *attempt;   /* those that passed the guard; `only`, or owned */
    struct attempt only;
    size_t count, next, open;
};

/* Which of two failures tells the operator more. */
static int weight_of(enum outcome o)
{
    switch (o) {
    case OUTCOME_OK:
        return 0;
    case OUTCOME_ADDRESS_DENIED:
        return 1;
    case OUTCOME_CONNECT_UNREACHABLE:
        return 2;
    case OUTCOME_CONNECT_FAILED:
        return 3;
    case OUTCOME_CONNECT_TIMEOUT:
        return 4;
    default:
        return 5;
    }
}

static void note_failure(struct dial *d, enum outcome o, int error, const struct addr *address)
{
    if (weight_of(o) < weight_of(d->result.outcome))
        return;
    d->result.outcome = o;
    d->result.error = error;
    if (address != NULL)
        d->result.address = *address;
}

static enum outcome outcome_of_errno(int error)
{
    switch (error) {
    case -ECONNREFUSED:
    case -ECONNRESET:
        return OUTCOME_CONNECT_REFUSED;
    case -ETIMEDOUT:
        return OUTCOME_CONNECT_TIMEOUT;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -ENETDOWN:
    case -EHOSTDOWN:
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return OUTCOME_CONNECT_UNREACHABLE;
    case -EMFILE:
    case -ENFILE:
        return OUTCOME_NO_DESCRIPTORS;
    case -ENOMEM:
    case -ENOBUFS:
        return OUTCOME_NO_MEMORY;
    default:
        return OUTCOME_CONNECT_FAILED;
    }
}

static void attempt_close(struct attempt *a)
{
    if (a->fd < 0)
        return;
    poller_remove(a->dial->net.poller, &a->slot, a->fd);
    (void)close(a->fd);
    a->fd = -1;
    a->dial->open--;
}

/* The one way out: what is still open is closed, the memory given back. */
static void dial_free(struct dial *d)
{
    for (size_t i = 0; i < d->count; i++)
        attempt_close(&d->attempt[i]);
    if (d->ticket != NULL)
        resolver_cancel(d->ticket);
    deadline_clear(d->net.deadlines, &d->limit);
    deadline_clear(d->net.deadlines, &d->stagger);
    poller_unresume(&d->later);
    if (d->attempt != &d->only)
        free(d->attempt);
    free(d);
}

static void dial_finish(struct dial *d)
{
    assert(d->result.outcome != OUTCOME_OK || d->result.fd >= 0);
    uint64_t now = clock_us();
    if (d->resolved_us > 0)
        d->result.connect_us = now - d->resolved_us;
    else
        d->result.dns_us = now - d->started_us;
    d->on_done(d->arg, &d->result);
    dial_free(d);
}

static int open_socket(struct dial *d, const struct addr *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct addr *source = &d->options.source[address->sa.sa_family == AF_INET6];
    if (source->sa.sa_family == 0)
        return fd;
    /* The port is chosen at connect(): as many as the four-tuple allows, not one per local address.
     */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, &source->sa, addr_len(source)) != 0) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    return fd;
}

/* 0 when the attempt is under way. */
static int attempt_start(struct dial *d, struct attempt *a)
{
    int fd = open_socket(d, &a->address);
    if (fd < 0)
        return fd;
    int rc = connect(fd, &a->address.sa, addr_len(&a->address));
    /* Also when it succeeds at once the poller tells, on the next round. */
    rc = rc != 0 && errno != EINPROGRESS ? -errno : poller_add(d->net.poller, &a->slot, fd);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    a->fd = fd;
    d->open++;
    return 0;
}

/* Starts the next attempt that can be started. False: there is none, and none is under way. */
static bool dial_advance(struct dial *d)
{
    while (d->next < d->count) {
        struct attempt *a = &d->attempt[d->next++];
        int rc = attempt_start(d, a);
        if (rc == 0) {
            if (d->next < d->count)
                deadline_set(d->net.deadlines, &d->stagger, ATTEMPT_DELAY_MS);
            return true;
        }
        note_failure(d, outcome_of_errno(rc), rc, &a->address);
    }
    return d->open > 0;
}

static void on_attempt_ready(struct poll_slot *slot, unsigned events)
{
    struct attempt *a = LIST_ITEM(slot, struct attempt, slot);
    struct dial *d = a->dial;
    int error = 0;
    socklen_t size = sizeof error;
    if (!(events & POLL_WRITABLE))
        return;
    if (events & POLL_BROKEN) {
        (void)getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        error = error != 0 ? -error : -ECONNRESET;
        note_failure(d, outcome_of_errno(error), error, &a->address);
        attempt_close(a);
        if (!dial_advance(d))
            dial_finish(d);
        return;
    }
    d->result = (struct dial_result){.outcome = OUTCOME_OK,
                                     .slot = &a->slot,
                                     .fd = a->fd,
                                     .events = events,
                                     .address = a->address,
                                     .dns_us = d->result.dns_us};
    a->fd = -1; /* the callback takes it */
    d->open--;
    dial_finish(d);
}

static void on_stagger(struct deadline *deadline)
{
    (void)dial_advance(LIST_ITEM(deadline, struct dial, stagger));
}

static void on_limit(struct deadline *deadline)
{
    struct dial *d = LIST_ITEM(deadline, struct dial, limit);
    bool resolving = d->ticket != NULL;
    const struct addr *address = d->next > 0 ? &d->attempt[d->next - 1].address : NULL;
    note_failure(d, resolving ? OUTCOME_DNS_TIMEOUT : OUTCOME_CONNECT_TIMEOUT, -ETIMEDOUT, address);
    dial_finish(d);
}

static void on_later(struct poll_slot *slot, unsigned events)
{
    (void)events;
    dial_finish(LIST_ITEM(slot, struct dial, later));
}

/* Asks the guard about each address and starts with those that pass. False: nothing is under way.
 */
static bool dial_addresses(struct dial *d, const struct addr *addresses, size_t count)
{
    d->resolved_us = clock_us();
    count = count < d->options.addresses_max ? count : d->options.addresses_max;
    d->attempt = count > 1 ? calloc(count, sizeof *d->attempt) : &d->only;
    if (d->attempt == NULL) {
        note_failure(d, OUTCOME_NO_MEMORY, -ENOMEM, NULL);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct attempt *a = &d->attempt[d->count];
        a->address = addresses[i];
        addr_set_port(&a->address, d->port);
        enum outcome verdict = d->guard(d->arg, &a->address);
        if (verdict != OUTCOME_OK) {
            note_failure(d, verdict, 0, &a->address);
            continue;
        }
        a->dial = d;
        a->fd = -1;
        poll_slot_init(&a->slot, on_attempt_ready);
        d->count++;
    }
    return dial_advance(d);
}

static bool dial_answer(struct dial *d, const struct resolved *answer)
{
    if (answer->outcome == OUTCOME_OK)
        return dial_addresses(d, answer->address, answer->count);
    note_failure(d, answer->outcome, 0, NULL);
    return false;
}

static void on_resolved(void *arg, const struct resolved *answer)
{
    struct dial *d = arg;
    d->ticket = NULL;
    d->result.dns_us = clock_us() - d->started_us;
    if (!dial_answer(d, answer))
        dial_finish(d);
}

/* False: it has failed already. */
static bool dial_begin(struct dial *d, const struct dial_request *request)
{
    struct resolved cached;
    if (request->name == NULL)
        return dial_addresses(d, request->literal, 1);
    if (resolver_cached(d->net.resolver, request->name, &cached))
        return dial_answer(d, &cached);
    d->ticket = resolver_lookup(d->net.resolver, request->name, on_resolved, d);
    if (d->ticket == NULL)
        note_failure(d, OUTCOME_NO_MEMORY, -ENOMEM, NULL);
    return d->ticket != NULL;
}

struct dial *dial_start(const struct netloop *net, const struct dial_request *request)
{
    struct dial *d = malloc(sizeof *d);
    if (d == NULL)
        return NULL;
    *d = (struct dial){
        .net = *net,
        .options = *request->options,
        .guard = request->guard,
        .on_done = request->on_done,
        .arg = request->arg,
        .port = request->port,
        .result.fd = -1,
        .started_us = clock_us(),
    };
    deadline_init(&d->limit, on_limit);
    deadline_init(&d->stagger, on_stagger);
    poll_slot_init(&d->later, on_later);
    deadline_set(net->deadlines, &d->limit, d->options.timeout_ms);
    if (!dial_begin(d, request))
        poller_resume(net->poller, &d->later);
    return d;
}

void dial_cancel(struct dial *d)
{
    dial_free(d);
}

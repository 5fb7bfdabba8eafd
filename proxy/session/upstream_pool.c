#include "proxy/session/upstream_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct idle {
    struct list node; /* youngest last */
    struct upstream_pool *pool;
    struct stream stream;
    struct deadline deadline;
    uint16_t port;
    bool gateway;
    uint64_t user;
    struct upstream_idle what;
    char host[];
};

struct upstream_pool {
    struct netloop net;
    struct upstream_pool_options options;
    struct list idle;
    size_t count;
};

/* Nothing waits to be read: neither a FIN nor octets whose event has not been delivered yet. */
static bool is_quiet(const struct stream *s)
{
    char octet;
    return recv(s->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* The same inside TLS, which may hold octets back, or take some that are its own affair. */
static bool is_quiet_inside(struct stream *s)
{
    char octet;
    return stream_receive(s, &octet, 1) == -EAGAIN;
}

static bool is_usable(struct stream *s)
{
    return s->layer != NULL ? is_quiet_inside(s) : is_quiet(s);
}

/* The one way out; the stream is closed here unless it was moved elsewhere. */
static void idle_free(struct idle *i)
{
    stream_close(&i->stream);
    deadline_clear(i->pool->net.deadlines, &i->deadline);
    list_remove(&i->node);
    i->pool->count--;
    free(i);
}

static void on_idle_ready(struct stream *s)
{
    bool told = s->can_read || s->fin_seen || s->broken;
    /* A layer is told of everything, also of room to send. */
    if (told && (s->layer == NULL || !is_quiet_inside(s)))
        idle_free(LIST_ITEM(s, struct idle, stream));
}

static void on_idle_due(struct deadline *d)
{
    idle_free(LIST_ITEM(d, struct idle, deadline));
}

struct upstream_pool *upstream_pool_create(const struct netloop *net)
{
    struct upstream_pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->net = *net;
    list_init(&p->idle);
    return p;
}

static void close_all(struct upstream_pool *p)
{
    while (!list_empty(&p->idle))
        idle_free(LIST_ITEM(p->idle.next, struct idle, node));
}

void upstream_pool_destroy(struct upstream_pool *p)
{
    close_all(p);
    free(p);
}

void upstream_pool_reload(struct upstream_pool *p, const struct upstream_pool_options *options)
{
    close_all(p);
    p->options = *options;
}

static bool leads_to(const struct idle *i, const struct upstream_key *key)
{
    return i->port == key->port && i->gateway == key->gateway && strcmp(i->host, key->host) == 0;
}

/* Makes room for one more to this host. False: none is to be kept. */
static bool make_room(struct upstream_pool *p, const struct upstream_key *key)
{
    if (p->options.most == 0 || p->options.most_per_host == 0)
        return false;
    size_t same = 0;
    struct idle *oldest_same = NULL;
    LIST_EACH (at, &p->idle) {
        struct idle *i = LIST_ITEM(at, struct idle, node);
        if (!leads_to(i, key))
            continue;
        same++;
        if (oldest_same == NULL)
            oldest_same = i;
    }
    if (same >= p->options.most_per_host)
        idle_free(oldest_same);
    else if (p->count >= p->options.most)
        idle_free(LIST_ITEM(p->idle.next, struct idle, node));
    return true;
}

/* An open stream changes hands; `from` is not open afterwards. */
static void move(struct stream *to, struct stream *from, struct poller *poller, unsigned events)
{
    const struct stream_layer *layer = from->layer;
    void *state = from->layer_state;
    stream_adopt(to, poller, &from->slot, from->fd, events);
    to->layer = layer;
    to->layer_state = state;
    from->fd = -1;
    from->layer = NULL;
    from->layer_state = NULL;
}

void upstream_pool_put(struct upstream_pool *p, const struct upstream_key *key,
                       const struct upstream_idle *what, struct stream *stream)
{
    size_t size = strlen(key->host) + 1;
    /* What the stream was told of before, the pool will not hear again. */
    bool quiet = !stream->fin_seen && !stream->broken &&
                 ((stream->layer == NULL && !stream->can_read) || is_usable(stream));
    struct idle *i = quiet && make_room(p, key) ? malloc(sizeof *i + size) : NULL;
    if (i == NULL) {
        stream_close(stream);
        return;
    }
    *i = (struct idle){.pool = p,
                       .stream = {.on_ready = on_idle_ready, .fd = -1},
                       .port = key->port,
                       .gateway = key->gateway,
                       .user = key->user,
                       .what = *what};
    memcpy(i->host, key->host, size);
    move(&i->stream, stream, p->net.poller, 0);
    deadline_init(&i->deadline, on_idle_due);
    deadline_set(p->net.deadlines, &i->deadline, p->options.idle_ms);
    list_append(&p->idle, &i->node);
    p->count++;
}

/* The best candidate, or NULL. */
static struct idle *find(struct upstream_pool *p, const struct upstream_key *key)
{
    struct idle *best = NULL;
    LIST_EACH (at, &p->idle) {
        struct idle *i = LIST_ITEM(at, struct idle, node);
        if (!leads_to(i, key))
            continue;
        if (i->user == key->user)
            return i;
        if (!i->what.bound && !key->own)
            best = i; /* the list ends with the youngest */
    }
    return best;
}

bool upstream_pool_take(struct upstream_pool *p, const struct upstream_key *key,
                        struct stream *stream, struct upstream_idle *what)
{
    struct idle *i;
    while ((i = find(p, key)) != NULL) {
        bool usable = is_usable(&i->stream);
        if (usable) {
            *what = i->what;
            move(stream, &i->stream, p->net.poller, POLL_WRITABLE);
        }
        idle_free(i);
        if (usable)
            return true;
    }
    return false;
}

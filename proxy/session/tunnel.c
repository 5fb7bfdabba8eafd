#include "proxy/session/tunnel.h"

#include <assert.h>
#include <errno.h>

enum {
    TURN_RECEIVES = 16,        /* of one way in one turn: 1 MiB with the default buffer */
    TURN_OCTETS = 1024 * 1024, /* the same when they are spliced */
    RECORD_OCTETS = 16 * 1024, /* of TLS at most (RFC 8446 section 5.1) */
    RUSH_KIB = 16 * 1024,      /* spliced so far: this may be a rush */
    GATHER_OCTETS = 512 * 1024 /* while it lasts, so many are moved at once */
};

void tunnel_init(struct tunnel *t, size_t max, struct pipes *pipes)
{
    *t = (struct tunnel){.pipes = pipes, .receive_max = max};
    buf_init(&t->way[TUNNEL_UP].waiting, max);
    buf_init(&t->way[TUNNEL_DOWN].waiting, max);
}

void tunnel_take_early(struct tunnel *t, unsigned way, struct buf *early)
{
    struct tunnel_way *w = &t->way[way];
    assert(w->waiting.data == NULL);
    if (buf_len(early) == 0) {
        buf_release(early); /* an idle tunnel holds nothing */
        return;
    }
    size_t max = w->waiting.max > early->max ? w->waiting.max : early->max;
    size_t early_max = early->max;
    w->waiting = *early;
    w->waiting.max = max;
    buf_init(early, early_max);
}

static void give_pipe(struct tunnel *t, struct tunnel_way *w)
{
    if (w->pipe != NULL)
        pipes_give(t->pipes, w->pipe);
    w->pipe = NULL;
}

void tunnel_release(struct tunnel *t)
{
    for (unsigned way = TUNNEL_UP; way <= TUNNEL_DOWN; way++) {
        buf_release(&t->way[way].waiting);
        give_pipe(t, &t->way[way]);
    }
}

bool tunnel_half_closed(const struct tunnel *t)
{
    return t->way[TUNNEL_UP].closed != t->way[TUNNEL_DOWN].closed;
}

/* Sends; octets taken are counted. False: the receiver is gone. */
static bool way_send(struct tunnel_way *w, struct stream *to, const char *data, size_t len,
                     size_t *taken)
{
    *taken = 0;
    while (*taken < len && to->can_write) {
        ssize_t n = stream_send(to, data + *taken, len - *taken);
        if (n < 0)
            return n == -EAGAIN;
        *taken += (size_t)n;
    }
    w->octets += *taken;
    return true;
}

/* Brings what is in the pipe on. False: the receiver is gone. */
static bool way_drain(struct tunnel *t, struct tunnel_way *w, struct stream *to)
{
    while (pipe_len(w->pipe) > 0 && to->can_write) {
        ssize_t n = pipe_drain(w->pipe, to);
        if (n < 0)
            return n == -EAGAIN;
        w->octets += (uint64_t)n;
    }
    if (pipe_len(w->pipe) == 0)
        give_pipe(t, w);
    return true;
}

/* Brings waiting octets on. False: the receiver is gone. */
static bool way_flush(struct tunnel *t, struct tunnel_way *w, struct stream *to)
{
    size_t taken;
    if (w->pipe != NULL)
        return way_drain(t, w, to);
    if (buf_len(&w->waiting) == 0)
        return true;
    bool alive = way_send(w, to, buf_head(&w->waiting), buf_len(&w->waiting), &taken);
    buf_consume(&w->waiting, taken);
    if (buf_len(&w->waiting) == 0)
        buf_release(&w->waiting); /* an idle tunnel holds nothing */
    return alive;
}

static bool way_is_clear(const struct tunnel_way *w)
{
    return w->pipe == NULL && buf_len(&w->waiting) == 0;
}

/* What a sender's end means: `n` is 0 at its FIN, or a negative errno. */
static void way_end(struct tunnel_way *w, ssize_t n, bool *from_broke)
{
    w->ended = true;
    w->fin = n == 0;
    *from_broke = n < 0;
}

/* So much at once says that more waits: one TLS record is all that a receive from a layer gives. */
static size_t full_receive(const struct stream *from, size_t size)
{
    return from->layer == NULL || size < RECORD_OCTETS ? size : RECORD_OCTETS;
}

static bool can_splice(const struct tunnel *t, const struct stream *from, const struct stream *to)
{
    return t->pipes != NULL && stream_splices_in(from) && stream_splices_out(to);
}

/*
 * A sender in a rush is looked at less often, which saves a third of the cost. What it pays: when
 * it pauses without its FIN, the last octets wait 10 ms at most. That ends the rush, and RUSH_KIB
 * must pass before the next, so that this can never slow down many short bursts.
 */
static void note_fill(struct tunnel_way *w, struct stream *from, size_t octets)
{
    if (from->gathers || from->layer != NULL) /* a layer's records are no octets of the socket */
        return;
    w->spliced_kib = (uint16_t)(w->spliced_kib + octets / 1024);
    if (w->spliced_kib < RUSH_KIB)
        return;
    w->spliced_kib = 0;
    (void)stream_gather(from, GATHER_OCTETS);
}

/* The end of a turn in a rush. */
static void go_on_gathering(const struct tunnel_way *w, struct stream *from)
{
    if (!w->ended && from->late)
        (void)stream_gather(from, 1);
    else if (!w->ended && way_is_clear(w) && !from->can_read)
        stream_await(from);
    from->late = false;
}

/* One fill of a pipe and its drain. False: nothing more can move now. What cannot be spliced is
 * copied the next time. */
static bool way_splice(struct tunnel *t, struct tunnel_way *w, struct stream *from,
                       struct stream *to, size_t size, bool *from_broke, bool *to_broke)
{
    ssize_t n = pipe_fill(w->pipe, from);
    if (n <= 0) {
        give_pipe(t, w);
        w->bulk = n != -EINVAL;
        if (n != -EAGAIN && n != -EINVAL)
            way_end(w, n, from_broke);
        return n != -EAGAIN;
    }
    w->bulk = (size_t)n >= full_receive(from, size);
    note_fill(w, from, (size_t)n);
    *to_broke = !way_drain(t, w, to);
    return !*to_broke;
}

/* One receive and its send. False: nothing more can move now. `*broke` when an end is gone. */
static bool way_step(struct tunnel *t, struct tunnel_way *w, struct stream *from, struct stream *to,
                     char *scratch, size_t size, bool *from_broke, bool *to_broke)
{
    if (w->bulk && can_splice(t, from, to) && (w->pipe = pipes_take(t->pipes)) != NULL)
        return way_splice(t, w, from, to, size, from_broke, to_broke);
    ssize_t n = stream_receive(from, scratch, size);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        way_end(w, n, from_broke);
        return true;
    }
    w->bulk = (size_t)n >= full_receive(from, size);
    size_t taken;
    if (!way_send(w, to, scratch, (size_t)n, &taken)) {
        *to_broke = true;
        return false;
    }
    /* Memory out: the octets are lost, so the tunnel must not go on as if they were not. */
    if (taken < (size_t)n && buf_add(&w->waiting, scratch + taken, (size_t)n - taken) != 0)
        w->starved = *to_broke = true;
    return true;
}

/* True when anything moved. */
static bool way_pump(struct tunnel *t, struct tunnel_way *w, struct stream *from, struct stream *to,
                     char *scratch, size_t size, bool *from_broke, bool *to_broke)
{
    uint64_t before = w->octets;
    if (!way_flush(t, w, to))
        *to_broke = true;
    unsigned turns = TURN_RECEIVES;
    while (!*to_broke && !w->ended && way_is_clear(w) && from->can_read && to->can_write) {
        if (turns-- == 0 || w->octets - before >= TURN_OCTETS) {
            stream_resume(from);
            break;
        }
        if (!way_step(t, w, from, to, scratch, size, from_broke, to_broke))
            break;
    }
    if (from->gathers)
        go_on_gathering(w, from);
    bool fin = !w->closed && w->ended && way_is_clear(w);
    if (fin) {
        w->closed = true;
        /* Behind the second way's end the sockets are closed, which sends the FIN as well. */
        if (!t->way[TUNNEL_UP].closed || !t->way[TUNNEL_DOWN].closed)
            stream_shutdown(to);
    }
    return w->octets != before || fin;
}

/* Nothing can be delivered to an end that is gone; what it sent before still can, the other way. */
static void give_up_way(struct tunnel *t, struct tunnel_way *w)
{
    buf_release(&w->waiting);
    give_pipe(t, w);
    w->ended = w->closed = true;
}

enum tunnel_status tunnel_pump(struct tunnel *t, struct stream *client, struct stream *origin,
                               char *scratch, size_t size)
{
    struct tunnel_way *up = &t->way[TUNNEL_UP];
    struct tunnel_way *down = &t->way[TUNNEL_DOWN];
    if (size > t->receive_max)
        size = t->receive_max;
    bool client_before = t->client_broke, origin_before = t->origin_broke;
    bool moved = way_pump(t, up, client, origin, scratch, size, &t->client_broke, &t->origin_broke);
    if (way_pump(t, down, origin, client, scratch, size, &t->origin_broke, &t->client_broke))
        moved = true;
    if (up->starved || down->starved)
        return TUNNEL_CLOSED;
    /* An end that broke after its FIN is read no more: only its stream knows. */
    t->client_broke = t->client_broke || (client->broken && up->ended && !down->closed);
    t->origin_broke = t->origin_broke || (origin->broken && down->ended && !up->closed);
    if (t->client_broke && !client_before)
        t->client_reset = !up->fin;
    if (t->origin_broke && !origin_before)
        t->origin_reset = !down->fin;
    if (t->client_broke)
        give_up_way(t, down);
    if (t->origin_broke)
        give_up_way(t, up);
    /* A receiver that is gone may have left octets of its own to read: they go out before the end.
     */
    if (t->client_broke && t->origin_broke)
        return TUNNEL_CLOSED;
    if (up->closed && down->closed)
        return TUNNEL_CLOSED;
    return moved ? TUNNEL_MOVED : TUNNEL_QUIET;
}

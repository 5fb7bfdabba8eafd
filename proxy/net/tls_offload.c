#include "proxy/net/tls_offload.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/tls_provider.h"
#include "proxy/net/tls_step.h"
#include "proxy/net/tls_thread.h"

struct offload {
    struct tls_job job;
    struct stream *stream; /* whose layer we are */
    SSL *ssl;
    struct tls_provider *provider; /* a reference */
    struct tls_mailbox *mailbox;
    bool begun;    /* a step was asked for: it is no newcomer any more */
    bool stepped;  /* one is over */
    bool has_news; /* `rc` and `why` of a step that were not told yet */
    int rc;
    const char *why;
};

static struct offload *offload_of(const struct stream *s)
{
    return s->layer_state;
}

static void destroy(struct offload *o)
{
    SSL_free(o->ssl);
    tls_provider_unref(o->provider);
    free(o);
}

/* ---- the job ---- */

static void run(struct tls_job *job)
{
    struct offload *o = LIST_ITEM(job, struct offload, job);
    o->rc = tls_step(o->ssl, &o->why);
    /* The peer was told already: OpenSSL sends an alert for errors of ours too. */
    if ((o->rc == -EPROTO || o->rc == -EKEYREJECTED) && tls_provider_suspect(o->provider)) {
        o->rc = -ENODEV;
        o->why = "the device of the key is lost";
    }
}

static void on_done(struct tls_job *job)
{
    struct offload *o = LIST_ITEM(job, struct offload, job);
    if (job->rc != 0) {
        o->rc = job->rc;
        o->why = "the device of the key is lost";
    }
    o->has_news = o->stepped = true;
    o->stream->on_ready(o->stream);
}

/* Given up while it ran. */
static void dispose(struct tls_job *job)
{
    struct offload *o = LIST_ITEM(job, struct offload, job);
    int fd = SSL_get_fd(o->ssl);
    destroy(o);
    (void)close(fd);
}

/* ---- the layer ---- */

static ssize_t no_receive(struct stream *s, void *to, size_t size)
{
    (void)to;
    (void)size;
    s->can_read = false;
    return -EAGAIN;
}

static ssize_t no_send(struct stream *s, const void *from, size_t size)
{
    (void)from;
    (void)size;
    s->can_write = false;
    return -EAGAIN;
}

static void no_shutdown(struct stream *s)
{
    (void)s;
}

static bool release(struct stream *s)
{
    struct offload *o = offload_of(s);
    s->layer_state = NULL;
    if (tls_job_is_out(&o->job)) /* the peer need not wait for the device */
        (void)shutdown(s->fd, SHUT_RDWR);
    if (!tls_job_give_up(&o->job))
        return true;
    destroy(o);
    return false;
}

static const struct stream_layer layer = {.receive = no_receive,
                                          .send = no_send,
                                          .shutdown = no_shutdown,
                                          .release = release,
                                          .may_keep = true};

/* ---- for the stream's owner ---- */

int tls_offload_begin(struct stream *s, SSL *ssl, struct tls_provider *p, struct tls_mailbox *m)
{
    if (tls_provider_is_lost(p))
        return -ENODEV;
    struct offload *o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    o->job = (struct tls_job){.run = run, .on_done = on_done, .dispose = dispose};
    o->stream = s;
    o->ssl = ssl;
    o->provider = tls_provider_ref(p);
    o->mailbox = m;
    s->layer = &layer;
    s->layer_state = o;
    s->can_read = s->can_write = true;
    return 0;
}

bool tls_offload_has(const struct stream *s)
{
    return s->layer == &layer;
}

/*
 * Whether a step could get further: a client speaks first, a server is waited for, and what finds
 * no room waits for the edge, whatever there is to read: else we and the thread would go round with
 * a peer that does not read.
 */
static bool may_go_on(const struct offload *o, bool has_room)
{
    char octet;
    if (!o->begun && !SSL_is_server(o->ssl))
        return true;
    if (SSL_want_write(o->ssl))
        return has_room;
    ssize_t n = recv(o->stream->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT);
    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

static int go_on(struct stream *s, struct offload *o, const char **why)
{
    bool has_room = s->can_write;
    s->can_read = s->can_write = false; /* until the next edge */
    if (!may_go_on(o, has_room))
        return -EAGAIN;
    int rc = tls_thread_submit(tls_provider_thread(o->provider), &o->job, o->mailbox, !o->begun);
    o->begun = true;
    *why = rc == -ENOBUFS ? "too many handshakes wait for the device of the key"
                          : "the device of the key is lost";
    return rc == 0 ? -EAGAIN : rc;
}

/* A peer that leaves before our first word gives its place in the queue back; later its FIN may
 * stand behind all it had to say. */
static int wait_on(const struct stream *s, struct offload *o, const char **why)
{
    bool gone = s->broken || (s->fin_seen && !o->stepped);
    if (!gone || !tls_job_withdraw(&o->job))
        return -EAGAIN;
    *why = "the peer has left";
    return -ECONNRESET;
}

int tls_offload_handshake(struct stream *s, SSL **ssl, const char **why)
{
    struct offload *o = offload_of(s);
    if (tls_job_is_out(&o->job))
        return wait_on(s, o, why);
    bool news = o->has_news;
    o->has_news = false;
    if (!news || o->rc == -EAGAIN)
        return go_on(s, o, why);
    *why = o->why;
    if (o->rc != 0)
        return o->rc;
    *ssl = o->ssl;
    o->ssl = NULL;
    destroy(o);
    s->layer = NULL;
    s->layer_state = NULL;
    return 0;
}

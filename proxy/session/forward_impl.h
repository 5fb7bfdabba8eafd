/*
 * forward_impl.h - what the files of a plain-HTTP exchange share: forward.c (life, deadlines),
 * forward_exchange.c (its memory), forward_request.c (up), forward_response.c (down),
 * forward_deliver.c (octets on their way). Private to proxy/session.
 */
#ifndef CERTFERRY_SESSION_FORWARD_IMPL_H
#define CERTFERRY_SESSION_FORWARD_IMPL_H

#include "proxy/session/session_impl.h"
#include "proxy/session/upstream_pool.h"
#include "proxy/wire/body.h"

enum { FORWARD_TURN_RECEIVES = 16 /* from one side in one turn */ };

struct exchange {
    struct exchange *next_spare; /* in the context's; nothing but the buffers counts there */
    struct hostname host;
    struct buf up;    /* to the origin: head, then framed body */
    struct buf down;  /* to the client */
    struct buf reply; /* an incomplete response head */
    struct buf again; /* the request once more, if it is idempotent or goes to a parent proxy, which
                         may fail: its head; to a parent its body too */
    struct body request_body, response_body;
    size_t scanned;          /* of the response head */
    size_t head_octets;      /* of the request head in `again`, when that goes to a parent proxy */
    uint64_t up_head_octets; /* of the same as it is sent, with credentials */
    uint64_t sent;           /* octets the origin's connection took */
    uint64_t head_at;        /* the final response begins behind so many octets to the client */
    unsigned client_minor;
    char *place;                       /* owned; what an upstream's URLs begin with here, or NULL */
    unsigned interim;                  /* 1xx responses so far */
    uint64_t window_ms, window_octets; /* where the present look at limit.body.rate began */
    bool client_persists;              /* the client would like to go on */
    bool idempotent;                   /* and without a body: may be repeated */
    bool pooled;                       /* the connection had been used before */
    bool request_ended;                /* all of it is in `up` or sent */
    bool origin_deaf;                  /* the origin takes no more; its response may still come */
    bool responded;                    /* the final response head has come */
    bool response_ended;
    bool keep_origin;
    bool again_cut; /* the body was too long to be kept in `again` */
    bool of_parent; /* the response is a parent proxy's own, not an origin's */
    bool bound;     /* the origin's connection carries this client's authentication */
    bool close_client;
    bool accounted;
};

/*
 * An exchange of a request whose head came with `head_octets`, and of which the `whole` may have to
 * be kept; NULL when out of memory. To be given back to the same context.
 */
struct exchange *exchange_take(struct session_context *ctx, size_t head_octets, bool whole);
void exchange_give(struct session_context *ctx, struct exchange *ex);

/*
 * Sends `data` behind what waits in `queue`; the rest waits there. `taken` grows by what has gone.
 * 0 or a negative errno.
 */
int forward_deliver(struct buf *queue, struct stream *to, struct span data, uint64_t *taken);
int forward_flush(struct buf *queue, struct stream *to, uint64_t *taken);

/* Payload as one chunk, or as it is; then the end of the body. */
int forward_deliver_payload(struct buf *queue, struct stream *to, bool chunked, struct span payload,
                            uint64_t *taken);
int forward_deliver_end(struct buf *queue, bool chunked, const struct body *body);

/*
 * The exchange cannot go on. As long as nothing of the response has reached the client it is told
 * so; then it must see that the response is cut.
 */
void forward_fail(struct session *s, enum outcome why, struct span detail);

/* Where idle connections for this exchange lead. */
struct upstream_key forward_pool_key(const struct session *s);

/* forward_retry.c: keeps payload of the request's body, or its end (NULL), so that all of it can be
 * sent once more. */
void forward_keep(struct session *s, const struct span *payload);

/*
 * A final response head: true when it is not to be passed on, because another parent is asked or
 * the session has refused.
 */
bool forward_declined(struct session *s, const struct head *head);

/* For how long the response may be awaited. */
uint64_t forward_patience_ms(const struct session *s);

/* Bring request or response on as far as they go. False: the session has ended or moved on. */
bool forward_pump_up(struct session *s);
bool forward_pump_down(struct session *s);

#endif

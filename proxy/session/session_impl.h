/*
 * session_impl.h - the session's struct and moves, for the files that play its parts: session.c
 * (life), preface.c, handshake.c, passthrough.c, request.c, login.c, upstream.c, next_hop.c,
 * trial.c, connect.c, forward*.c, gateway_door.c.
 *
 * Nobody else includes this. Loop thread only.
 */
#ifndef CERTFERRY_SESSION_SESSION_IMPL_H
#define CERTFERRY_SESSION_SESSION_IMPL_H

#include "proxy/net/stream.h"
#include "proxy/session/access_log.h"
#include "proxy/session/route.h"
#include "proxy/session/session.h"
#include "proxy/session/tunnel.h"

enum session_state {
    SESSION_PREFACE,   /* client open; a load balancer's PROXY header awaited */
    SESSION_HANDSHAKE, /* client open; TLS of a door of ours with it is under way */
    SESSION_PEEK,      /* client open; its ClientHello, which names the host, is awaited */
    SESSION_IDLE,      /* client open, between two requests; its next octet awaited */
    SESSION_HEAD,      /* client open; a request head awaited or incomplete */
    SESSION_LOGIN,     /* client open, its head kept; a password is being checked */
    SESSION_QUEUED,    /* client open; a place among the connections to the origin awaited */
    SESSION_CONNECT,   /* client open, dial under way */
    SESSION_PARENT, /* both open; TLS to a parent proxy, then its answer to our CONNECT, is awaited
                     */
    SESSION_HELLO,  /* both open, tunnel promised; the client's first octets are collected, the
                       origin unread */
    SESSION_TRIAL,  /* both open, tunnel promised; the first octet through a parent proxy is
                       awaited, what the client says is kept */
    SESSION_RELAY,  /* both open; octets go both ways */
    SESSION_EXCHANGE, /* both open; one plain-HTTP request and its response */
    SESSION_ANSWER,   /* client open; an answer of ours is being written */
    SESSION_LINGER, /* client open, our FIN sent; what it still sends is dropped so that it can read
                       the answer */
    SESSION_CLOSING, /* nothing open; freed when the last caller has left */
    SESSION_STATE_COUNT
};

struct next_hop; /* next_hop.c */

struct session {
    struct session *next_spare; /* in the context's, after its end */
    struct session_context *ctx;
    struct list node; /* in ctx->sessions */
    enum session_state state;
    enum door_kind door;
    unsigned busy;        /* entries from the loop that have not left yet */
    enum outcome verdict; /* of admission: not OK is told to the client once it speaks */
    bool counted_client;  /* in admission, under its address */
    bool plain;           /* speaks HTTP where TLS was due: hears an answer all the same */
    char *identity;       /* owned; of the client's certificate, "" where that has no such name;
                             NULL: it showed none */
    struct identities_place counted; /* under its role and identity */
    bool keep;                       /* SESSION_ANSWER: go on with the next request afterwards */
    enum outcome login_verdict; /* on the present request's password; OUTCOME_PENDING: none yet */
    uint64_t serial;            /* of this worker's sessions */
    uint64_t exchanges;         /* requests so far */
    struct deadline deadline;
    struct stream client, origin;
    struct authentication_check *login; /* SESSION_LOGIN */
    bool placed;                        /* `place` holds or awaits something */
    struct pacing_ticket place;         /* among the connections to the origin */
    struct hostname *goal;              /* owned; SESSION_QUEUED: where to */
    uint64_t since_ms;                  /* uv_now() when SESSION_QUEUED or SESSION_RELAY began */
    struct next_hop *hop;               /* the way is through a parent proxy, or to an upstream of
                                           the gateway; NULL: direct */
    struct loop_pass *pass;             /* a pass-through's hello is on its way; NULL: none */
    struct dial *dial;
    struct buf in;  /* from the client: a head, then what came behind it */
    struct buf out; /* to the client: our own answers */
    size_t scanned; /* of the head in `in` */
    struct tunnel tunnel;
    struct exchange *exchange; /* while plain HTTP is forwarded */
    struct access_record record;
};

/* What is special where the client came in; of the present snapshot. */
static inline const struct door_options *session_door(const struct session *s)
{
    return &s->ctx->options->door[s->door];
}

/* How long nothing may move: `ms`, unless the door has its own word on that. */
static inline uint64_t session_idle_ms(const struct session *s, uint64_t ms)
{
    uint64_t own = session_door(s)->idle_ms;
    return own > 0 ? own : ms;
}

/* The client is admitted: the state after SESSION_PREFACE. */
enum session_state session_first_state(const struct session *s);

/* The only writer of `state`; sets the new state's deadline. */
void session_go(struct session *s, enum session_state next);

/* The only way to end; the first reason wins. */
void session_close(struct session *s, enum outcome why);

/* The same, but the client gets a reset: it must not take a cut response for a whole one. */
void session_abort(struct session *s, enum outcome why);

/* Answers with the outcome's text, tells the log, and closes once the client has had time to read
 * it. */
void session_refuse(struct session *s, enum outcome why, struct span detail);

/* The same, but the connection stays open for another try; the request, `octets` long, is over. */
void session_refuse_kept(struct session *s, enum outcome why, struct span detail, size_t octets);

/* One receive into `in`. False: nothing came, or the session has ended. */
bool session_receive(struct session *s);

/* Sends what is in `out`. False: the client is gone and so is the session. */
bool session_flush(struct session *s);

/* Sends `out`, then goes to SESSION_LINGER, or to SESSION_IDLE when `keep` is set. */
void session_send_answer(struct session *s);

/* The host asked for, as far as memory sufficed to keep it. */
struct span session_host(const struct session *s);

/* An exchange has ended well or badly: one log line, metrics, and a fresh record. */
void session_tell(struct session *s, enum outcome why);

/* The client will get no more; it may still be sending. */
void session_linger(struct session *s);

/* Ready for the next request on this connection. */
void session_next(struct session *s);

/* preface.c: who the client is, and whether it may come in. */
bool preface_begin(struct session *s); /* the first state; false: to be closed at once */
void preface_ready(struct session *s);
void preface_leave(struct session *s);               /* gives back what admission has counted */
enum outcome preface_judge(const struct session *s); /* its address: X.clients.allow */

/* It may not come in after all. False: as role_enter(). */
bool preface_turn_away(struct session *s, enum outcome why);

/* handshake.c: TLS with the client, at a door that has it; then SESSION_HEAD. */
void handshake_begin(struct session *s);
void handshake_ready(struct session *s);
void handshake_due(struct session *s);

/* Its certificate, which a reload may have made another matter. The detail is told already. */
enum outcome handshake_judge(struct session *s);

/*
 * role.c: NULL: the general rules; and the policy by which requests are judged. Both are of the
 * present snapshot.
 */
const struct role *session_role(const struct session *s);
const struct policy *session_policy(const struct session *s);

/* What the policy's word on a request comes to: OUTCOME_OK where the role only reports, and the
 * record then tells what it would have been. */
enum outcome role_verdict(struct session *s, enum outcome verdict);

/* Before each request: whether the client has a role if it needs one, and a place among those who
 * have it. */
enum outcome role_check(struct session *s);

/* The same once, before the first, as soon as `identity` is known; the client hears of a refusal
 * when it speaks. False: too many hear of one now; this one is to be closed. */
bool role_enter(struct session *s);
void role_count(const struct session *s, enum outcome why); /* an exchange has ended so */
void role_leave(struct session *s);                         /* gives back what is counted */

/*
 * Of a refusal by the role's rules: where that rule stands, in `text`; else NULL. And the same as
 * part of the record's detail.
 */
const char *role_refused_by(const struct session *s, enum outcome why, char text[ROLE_RULE_MAX]);
void role_note_rule(struct session *s, const char *rule);

/* What a refusal of the client itself is about. May point into `text`. */
struct span role_detail(const struct session *s, enum outcome why, char text[ADDR_TEXT_MAX]);

/* passthrough.c: from a ClientHello to the host it names. */
void passthrough_ready(struct session *s);
void passthrough_due(struct session *s);
void passthrough_release(struct session *s); /* harmless when nothing is on its way */

/* request.c: from octets to a head to what is done with it. */
void request_ready(struct session *s); /* IDLE or HEAD */
void request_again(struct session *s); /* the head in `in` once more, its password checked */

/* gateway_door.c: what the gateway adds to a request on its way up, which is written to `up`. 0 or
 * a negative errno. And the redirect to it. */
int gateway_write_head(struct session *s, const struct head *head, const struct route *r);
void gateway_redirect(struct session *s, const struct head *head);

/* False: plain HTTP to an address that is not the machine's own, which a reload has made so. */
bool gateway_is_safe(const struct session *s);

/* Whether another request may follow on this connection (RFC 9112 section 9.3; our own limits). */
bool request_persists(const struct session *s, const struct head *head);

/* login.c: the password of a request. True: it may go on now. */
bool login_check(struct session *s, const struct head *head, const struct route *r);
void login_ready(struct session *s);
void login_release(struct session *s); /* harmless when no check is under way */

/* upstream.c: a place among the connections to the host and the record's port, then upstream_dial()
 * or forward_granted(). */
void upstream_seek(struct session *s, const struct hostname *host);
void upstream_due(struct session *s); /* the deadline of QUEUED */

/* Dials `host`, or the parent proxy of `s->hop`; the end comes to connect_established() or
 * forward_established(). */
void upstream_dial(struct session *s, const struct hostname *host);

/* Gives back all that belongs to the way to an origin: the queue, the place, the connection. */
void upstream_release(struct session *s);

/*
 * next_hop.c: decides whether the request goes through a parent proxy: then `s->hop` is there, with
 * the first parent picked. False: it was refused.
 */
bool next_hop_begin(struct session *s, const struct head *head, const struct route *r);

/* The parent asked now; the dial goes there. `options` is the caller's copy. */
const struct parent *next_hop_parent(const struct session *s);
void next_hop_aim(struct session *s, struct dial_request *request, struct dial_options *options);

/* The end of that dial. */
void next_hop_unreachable(struct session *s, const struct dial_result *result);
void next_hop_connected(struct session *s);

void next_hop_ready(struct session *s); /* a stream is ready in PARENT */
void next_hop_due(struct session *s);

/* The relay begins: what came behind the parent's answer goes to `out`. False: no memory. */
bool next_hop_settle(struct session *s);

/* What the present attempt came to; picks another parent (false: there is none left, or no time);
 * whether there is one that was not asked yet. */
void next_hop_note(struct session *s, enum parent_result result, const char *detail);
bool next_hop_another(struct session *s);
bool next_hop_has_more(const struct session *s);

/* next_hop_origin.c: just before each dial, whether the policy in force lets it: else another is
 * picked. False: there is none, and the session has answered. Then, true: the dial waits for a
 * while; it is made again. Whether the next hop is an upstream of the gateway. */
bool next_hop_may_dial(struct session *s);
bool next_hop_pauses(struct session *s);
bool next_hop_is_origin(const struct session *s);

void next_hop_restart(struct session *s); /* the next attempts have the whole time again */
uint64_t next_hop_attempt_ms(const struct session *s);
void next_hop_release(struct session *s); /* harmless when there is none */

/* Refuses, or closes where the client has had its 200. */
void next_hop_give_up(struct session *s, enum outcome why, struct span detail);

/* trial.c: false when the tunnel needs none. */
bool trial_begin(struct session *s);
void trial_ready(struct session *s);
void trial_due(struct session *s);

/* For the files' own entries from the loop: between the two the session is not freed. */
void session_enter(struct session *s);
void session_leave(struct session *s);

/* connect.c: CONNECT from its route to the end of its tunnel. */
void connect_begin(struct session *s, const struct head *head, const struct route *r);
bool connect_collect(struct session *s); /* what the client sends early; false: it has ended */
void connect_established(struct session *s);
void connect_relay(struct session *s); /* the tunnel may begin: nothing is to be asked any more */
void connect_ready(struct session *s); /* a stream is ready in QUEUED, CONNECT, PARENT, HELLO or
                                          RELAY */
void connect_due(struct session *s);   /* the deadline of HELLO or RELAY */

/* forward.c: one plain-HTTP exchange. */
void forward_begin(struct session *s, const struct head *head, struct route *r);
void forward_granted(struct session *s); /* an idle connection, or a dial */
void forward_established(struct session *s);
void forward_ready(struct session *s);
void forward_due(struct session *s);
bool forward_midway(const struct session *s); /* part of a 1xx response is on its way down */
bool forward_is_cut(const struct session *s); /* the client has a response, but not all of it */
void forward_account(struct session *s);      /* octets into record and metrics, once */
void forward_forget_spares(struct session_context *ctx);
void forward_release(struct session *s); /* frees the exchange; harmless when there is none */

/*
 * forward_retry.c: the same request once more at another parent, if that may be (DESIGN: none of it
 * was sent, or it is idempotent and without a body, or `unforwarded` is proven) and nothing has
 * gone to the client. False: the caller goes on with the failure. The result is noted in any case.
 */
bool forward_retry(struct session *s, enum parent_result result, bool unforwarded,
                   const char *detail);

/* The same: the request anew from what was kept, with the present parent's credentials or the
 * present upstream's Host. 0 or a negative errno. */
int forward_refill(struct session *s);

#endif

/*
 * parents.h - the next hops of an exchange: an ordered, immutable, counted list; what has become of
 * the attempts at each; and each worker's memory of which are broken now.
 *
 * The configuration fills such a list with parent proxies (upstream.proxies), the agent another,
 * from its roster; a third one has the upstreams of the gateway, which are origins and take turns.
 * Knows no socket and no session. Filling: one thread, before the list is shared. The list is then
 * constant and its counts are atomic: any thread. struct parents_use: loop thread only.
 */
#ifndef CERTFERRY_SESSION_PARENTS_H
#define CERTFERRY_SESSION_PARENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allowlist/rules.h"
#include "proxy/base/buf.h"
#include "proxy/net/tls_client.h"
#include "proxy/session/parent.h"

enum { PARENTS_MAX = 64 };

/* What one attempt came to: X(name, "label of the metrics") */
#define PARENT_RESULT_TABLE(X)                                                                     \
    X(OK, "ok")                   /* tunnel promised, or a response has begun */                   \
    X(UNREACHABLE, "unreachable") /* its name or its port */                                       \
    X(SILENT, "silent")           /* connected, and no answer in time */                           \
    X(CLOSED, "closed")           /* it ended the connection instead of an answer */               \
    X(MALFORMED, "malformed")     /* its answer is no HTTP, or passes a limit */                   \
    X(TLS, "tls")                 /* no TLS, or a certificate that is not believed */              \
    X(PASSWORD, "password")       /* 407 */                                                        \
    X(LOST, "lost")               /* an end, or no word, that may be the origin's */               \
    X(DECLINED, "declined")       /* its own 429, 502, 503, 504: another one may do better */      \
    X(REFUSED, "refused")         /* 403 and others: its word counts */

enum parent_result {
#define PARENT_RESULT_ENUM(name, label) PARENT_##name,
    PARENT_RESULT_TABLE(PARENT_RESULT_ENUM)
#undef PARENT_RESULT_ENUM
        PARENT_RESULT_COUNT
};

struct parents;

struct parents_options {
    bool origins;            /* servers, not proxies: each begins where the one before ended */
    unsigned attempts_max;   /* origins: in all for one exchange */
    uint64_t attempt_ms;     /* for one parent: look-up, connection and its answer to CONNECT */
    uint64_t retry_after_ms; /* a broken one is avoided so long; doubled each further time */
    uint64_t retry_max_ms;   /* but not longer than this */
    struct rules *direct;    /* taken; hosts that are reached directly; NULL: none */
    const struct prefix *direct_networks; /* copied; literals in them are reached directly */
    size_t direct_network_count;
    struct tls_client *tls; /* taken; for those of https://; NULL: there are none */
};

/* An empty list with one reference: as long as it is empty nothing can go out but `direct`. NULL
 * when out of memory (then `direct` and `tls` are still the caller's). */
struct parents *parents_create(const struct parents_options *options);
struct parents *parents_ref(struct parents *p);
void parents_unref(struct parents *p);

/* Copies `one` behind all of its priority and below. 0; -EEXIST for the same host, port and
 * protocol once more; -ENOSPC beyond PARENTS_MAX. */
int parents_add(struct parents *p, const struct parent *one);

size_t parents_count(const struct parents *p);
const struct parent *parents_at(const struct parents *p, size_t i);
const struct parents_options *parents_options(const struct parents *p);

/* Whether the host is reached without a parent (no.proxy). */
bool parents_pass_by(const struct parents *p, const struct hostname *host);

/* What has become of all attempts at one parent so far, on all workers. */
struct parent_report {
    uint64_t results[PARENT_RESULT_COUNT];
    uint64_t connect_us; /* of the last connection made, look-up not included; 0: none yet */
    uint64_t answer_us;  /* from there to the last answer that was PARENT_OK; 0: none yet */
    uint64_t good_ms;    /* clock_ms() of the last PARENT_OK; 0: none yet */
    uint64_t bad_ms;     /* of the last result that breaks or is doubtful */
};

void parents_report(const struct parents *p, size_t i, struct parent_report *out);

/*
 * A parent is avoided for a while: at once if nobody else can be to blame (unreachable, tls,
 * malformed, password). No answer, and an end instead of one (silent, closed, lost), may be the
 * fault of the host that was asked for, or of the request: so many in a row, without an answer of
 * that parent to anybody in between, break it.
 */
enum { PARENT_DOUBTS = 3 };

/*
 * The word of somebody who asks each again and again whether it is there: one that is not is asked
 * last. Any thread.
 */
void parents_tell(struct parents *p, size_t i, bool down, const char *detail);

/* Metrics by parent and result; of origins also whether they are up. 0, -ENOBUFS or -ENOMEM. */
int parents_print(struct buf *out, const struct parents *p);

/* One worker's use of the list in force. All zero: none, everything goes direct. */
struct parents_use {
    struct parents *list; /* counted; NULL: none */
    struct {
        uint64_t avoid_until_ms;
        uint64_t due_ms;   /* failures of attempts that began before that count no more */
        unsigned failures; /* in a row */
        unsigned doubts;   /* in a row */
    } memory[PARENTS_MAX];
};

/* From now on `list` (a reference is taken; NULL: none) counts. What is remembered of a parent that
 * is in both lists stays. */
void parents_use_list(struct parents_use *u, struct parents *list);

/*
 * The parent to ask next: the first (of origins: behind the one that was picked last by anybody)
 * that is neither in `tried` (a bit each) nor down nor avoided at `now_ms`; if there is none, the
 * first that is not in `tried`, broken or not. One whose time is over is given to one exchange only
 * until that one's result is known, or an attempt's time has passed. False: all are in `tried`.
 * `list` may be an older one than that in force: then nothing is remembered.
 */
bool parents_pick(struct parents_use *u, struct parents *list, uint64_t tried, uint64_t now_ms,
                  size_t *i);

/* What an attempt came to that began at `begun_ms`, with its times (0: not known), for memory,
 * report and log. `detail` may be "". */
void parents_note(struct parents_use *u, struct parents *list, size_t i, enum parent_result result,
                  uint64_t begun_ms, uint64_t now_ms, const char *detail);
void parents_note_times(struct parents *list, size_t i, uint64_t connect_us, uint64_t answer_us);

#endif

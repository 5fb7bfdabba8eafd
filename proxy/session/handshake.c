/*
 * handshake.c - TLS with the client at a door that has it, before its first request.
 */
#include "proxy/session/session_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/net/stream_tls.h"
#include "proxy/net/tls_server.h"

enum { TLS_RECORD_HANDSHAKE = 22 /* RFC 8446 section 5.1: the first octet of all */ };

static enum metrics_tls version_of(const struct session *s)
{
    const char *version = s->client.layer != NULL ? stream_tls_version(&s->client) : "";
    return strcmp(version, "TLSv1.3") == 0   ? METRICS_TLS_13
           : strcmp(version, "TLSv1.2") == 0 ? METRICS_TLS_12
                                             : METRICS_TLS_NONE;
}

static void count(struct session *s, enum metrics_handshake result, enum metrics_tls version)
{
    metrics_count(&s->ctx->metrics->handshakes[result][version], 1);
}

/* ---- the end ---- */

/* The key's device is lost, or too many wait for it: the alert is ours, before any handshake. */
static void refuse(struct session *s, int error)
{
    count(s, METRICS_HANDSHAKE_FAILED, METRICS_TLS_NONE);
    stream_drop_layer(&s->client);
    session_refuse(s,
                   error == -ENOMEM    ? OUTCOME_NO_MEMORY
                   : error == -ENOBUFS ? OUTCOME_HANDSHAKE_QUEUE_FULL
                                       : OUTCOME_TLS_KEY_LOST,
                   SPAN(""));
}

/*
 * OpenSSL has sent its alert. What the client sends still is dropped, not read by anybody: a close
 * with octets unread would be a reset, which takes the alert away with it.
 */
static void fail(struct session *s, int error, const char *why)
{
    bool certificate = error == -ENOKEY || error == -EKEYREJECTED;
    count(s, certificate ? METRICS_HANDSHAKE_CERTIFICATE : METRICS_HANDSHAKE_FAILED,
          METRICS_TLS_NONE);
    access_record_text(&s->record.detail, span_of(why));
    stream_drop_layer(&s->client);
    session_tell(s, error == -ENOKEY         ? OUTCOME_CLIENT_CERTIFICATE_MISSING
                    : error == -EKEYREJECTED ? OUTCOME_CLIENT_CERTIFICATE_INVALID
                                             : OUTCOME_TLS_HANDSHAKE_FAILED);
    session_linger(s);
}

/* As its certificate says, where the keys of the door look for it now. False: out of memory. */
static bool name_client(struct session *s)
{
    char identity[TLS_IDENTITY_MAX + 1];
    if (!tls_server_identity(&s->client, identity) ||
        (s->identity != NULL && strcmp(s->identity, identity) == 0))
        return true;
    char *name = strdup(identity);
    if (name == NULL)
        return false;
    role_leave(s); /* its place was that of the name before */
    free(s->identity);
    s->record.identity = s->identity = name;
    return true;
}

static void succeed(struct session *s)
{
    if (!name_client(s)) {
        session_close(s, OUTCOME_NO_MEMORY);
        return;
    }
    count(s, stream_tls_resumed(&s->client) ? METRICS_HANDSHAKE_RESUMED : METRICS_HANDSHAKE_FULL,
          version_of(s));
    s->record.active = false; /* a connection without a request is no event */
    if (!role_enter(s)) {
        session_close(s, s->verdict);
        return;
    }
    session_go(s, SESSION_HEAD);
    request_ready(s);
}

/* ---- the beginning ---- */

/* A client that was told http:// for this port gets words that it can show. */
static void answer_plain(struct session *s)
{
    count(s, METRICS_HANDSHAKE_PLAIN, METRICS_TLS_NONE);
    s->plain = true;
    session_refuse(s, s->verdict != OUTCOME_OK ? s->verdict : OUTCOME_PLAIN_TO_TLS_PORT, SPAN(""));
}

static void begin_tls(struct session *s)
{
    char text[ADDR_TEXT_MAX];
    struct tls_server *tls = session_door(s)->tls;
    if (s->verdict != OUTCOME_OK) { /* no computing for strangers */
        session_refuse(s, s->verdict, span_of(addr_print(&s->record.client, text)));
        return;
    }
    /* A reload may just have taken the certificates away, or brought TLS to a client that has been
     * read from already. */
    if (tls == NULL || buf_len(&s->in) > 0) {
        session_refuse(s, OUTCOME_INTERNAL, SPAN(""));
        return;
    }
    int rc = tls_server_begin(tls, &s->client, &s->ctx->net);
    if (rc != 0)
        refuse(s, rc);
}

/* The first octet is looked at before anything is spent on the client. */
static void look_at_first(struct session *s)
{
    unsigned char first;
    ssize_t n = stream_peek(&s->client, &first, sizeof first);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        session_close(s, n == 0 ? OUTCOME_CLIENT_LEFT : OUTCOME_CLIENT_RESET);
        return;
    }
    s->record.active = true;
    s->record.started_us = clock_us();
    if (first == TLS_RECORD_HANDSHAKE) {
        begin_tls(s);
    } else if (first >= 'A' && first <= 'Z') { /* a method */
        answer_plain(s);
    } else {
        count(s, METRICS_HANDSHAKE_FAILED, METRICS_TLS_NONE);
        session_refuse(s, s->verdict != OUTCOME_OK ? s->verdict : OUTCOME_TLS_HANDSHAKE_FAILED,
                       SPAN("the first octet is not TLS"));
    }
}

void handshake_begin(struct session *s)
{
    handshake_ready(s);
}

void handshake_ready(struct session *s)
{
    const char *why = "";
    if (s->client.layer == NULL && s->client.can_read)
        look_at_first(s);
    if (s->state != SESSION_HANDSHAKE || s->client.layer == NULL)
        return;
    int rc = stream_tls_handshake(&s->client, &why);
    if (rc == 0)
        succeed(s);
    else if (rc == -ENODEV || rc == -ENOBUFS)
        refuse(s, rc);
    else if (rc != -EAGAIN)
        fail(s, rc, why);
}

void handshake_due(struct session *s)
{
    if (!s->record.active) { /* a bare TCP probe */
        session_close(s, OUTCOME_CLIENT_LEFT);
        return;
    }
    count(s, METRICS_HANDSHAKE_TIMEOUT, METRICS_TLS_NONE);
    session_close(s, OUTCOME_TLS_HANDSHAKE_TIMEOUT);
}

enum outcome handshake_judge(struct session *s)
{
    const char *why = "";
    struct tls_server *tls = session_door(s)->tls;
    if (s->client.layer == NULL || tls == NULL || tls_server_has_judged(tls, &s->client))
        return OUTCOME_OK;
    if (tls_server_judge(tls, &s->client, &why))
        return name_client(s) ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    s->record.identity = s->identity;
    access_record_text(&s->record.detail, span_of(why));
    return OUTCOME_CLIENT_CERTIFICATE_INVALID;
}

#include "proxy/net/tls_sessions.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/net/tls_pem.h"

struct kept {
    SSL_SESSION *session;    /* our own copy: an SSL changes its own when it ends badly */
    int64_t from_s, until_s; /* Unix time */
};

struct server {
    char *name; /* NULL: the place is free, and all behind it */
    uint16_t port;
    struct kept kept[TLS_SESSIONS_EACH_MAX]; /* the youngest last */
    size_t count;
};

/* The SSL_CTX's, so that it is there for as long as any SSL is, whoever has that. */
struct tls_sessions {
    pthread_mutex_t lock;
    struct server server[TLS_SESSIONS_SERVERS_MAX];
};

/* Places of OpenSSL's objects: the SSL_CTX's table, the SSL's server in it, and the time until
 * which what was verified for a session holds. Set once, by the main thread. */
static int table_index = -1, server_index = -1, end_index = -1;

static struct tls_sessions *table_of(const SSL *ssl)
{
    return table_index >= 0 ? SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), table_index) : NULL;
}

/* ---- until when ---- */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What the whole handshake has verified holds until then; 0: it is not known. */
static int64_t end_of_chain(const SSL *ssl, int64_t now)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int64_t end = now + TLS_SESSIONS_LIFETIME_S;
    if (chain == NULL || sk_X509_num(chain) == 0 || SSL_get_verify_result(ssl) != X509_V_OK)
        return 0;
    for (int i = 0; i < sk_X509_num(chain); i++)
        end = sooner(end, tls_pem_time(X509_get0_notAfter(sk_X509_value(chain, i)), 0));
    return end;
}

/* When it was made, by what 3.0 has not yet and what is deprecated since 3.4. */
static int64_t time_of(const SSL_SESSION *session)
{
#if OPENSSL_VERSION_PREREQ(3, 3)
    return (int64_t)SSL_SESSION_get_time_ex(session);
#else
    return (int64_t)SSL_SESSION_get_time(session);
#endif
}

/* A session's own end; RFC 8446 section 4.6.1: at once where the hint is 0. */
static int64_t end_of_ticket(const SSL *ssl, const SSL_SESSION *session)
{
    int64_t hint = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);
    if (hint == 0 && SSL_version(ssl) < TLS1_3_VERSION)
        hint = SSL_SESSION_get_timeout(session);
    return time_of(session) + hint;
}

/* ---- the table ---- */

/* The lock is held. */
static void drop(struct server *server, size_t at)
{
    SSL_SESSION_free(server->kept[at].session);
    server->count--;
    memmove(&server->kept[at], &server->kept[at + 1], (server->count - at) * sizeof *server->kept);
}

static void put(struct tls_sessions *t, struct server *server, const struct kept *kept)
{
    (void)pthread_mutex_lock(&t->lock);
    if (server->count == TLS_SESSIONS_EACH_MAX)
        drop(server, 0);
    server->kept[server->count++] = *kept;
    (void)pthread_mutex_unlock(&t->lock);
}

/* Returns owned; NULL: none. A clock that was put back makes all of them doubtful. */
static SSL_SESSION *take(struct tls_sessions *t, struct server *server, int64_t now)
{
    SSL_SESSION *session = NULL;
    (void)pthread_mutex_lock(&t->lock);
    while (session == NULL && server->count > 0) {
        const struct kept *last = &server->kept[server->count - 1];
        if (last->from_s <= now && now < last->until_s) {
            session = last->session;
            server->count--;
        } else {
            drop(server, server->count - 1);
        }
    }
    (void)pthread_mutex_unlock(&t->lock);
    return session;
}

/* NULL: there is no place left, or no memory. */
static struct server *find(struct tls_sessions *t, const char *name, uint16_t port)
{
    struct server *found = NULL;
    (void)pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < TLS_SESSIONS_SERVERS_MAX && found == NULL; i++) {
        struct server *at = &t->server[i];
        if (at->name == NULL) {
            at->name = strdup(name);
            at->port = port;
            found = at->name != NULL ? at : NULL;
            break;
        }
        if (at->port == port && strcmp(at->name, name) == 0)
            found = at;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return found;
}

/* ---- OpenSSL's calls, on whatever thread has the SSL ---- */

static void keep(const SSL *ssl, SSL_SESSION *session)
{
    struct tls_sessions *t = table_of(ssl);
    struct server *server = SSL_get_ex_data(ssl, server_index);
    int64_t now = time(NULL), end;
    if (t == NULL || server == NULL || !SSL_SESSION_is_resumable(session))
        return;
    /* Where one was resumed nothing was verified: what was then has the same end. */
    if (SSL_session_reused(ssl))
        end = (int64_t)(intptr_t)SSL_SESSION_get_ex_data(session, end_index);
    else
        end = end_of_chain(ssl, now);
    struct kept kept = {NULL, now, sooner(end, end_of_ticket(ssl, session))};
    if (kept.until_s > now)
        kept.session = SSL_SESSION_dup(session);
    if (kept.session == NULL)
        return;
    void *mark = (void *)(intptr_t)end; // NOLINT(performance-no-int-to-ptr)
    if (SSL_SESSION_set_ex_data(kept.session, end_index, mark) == 1)
        put(t, server, &kept);
    else
        SSL_SESSION_free(kept.session);
}

/* 0: we have no reference to what it gives us. */
static int on_new(SSL *ssl, SSL_SESSION *session)
{
    keep(ssl, session);
    return 0;
}

/* A session of TLS 1.2 that was resumed is not told as a new one. */
static void on_info(const SSL *ssl, int where, int result)
{
    (void)result;
    if ((where & SSL_CB_HANDSHAKE_DONE) != 0 && SSL_version(ssl) < TLS1_3_VERSION &&
        SSL_session_reused(ssl))
        keep(ssl, SSL_get0_session(ssl));
}

static void on_free(void *parent, void *data, CRYPTO_EX_DATA *all, int index, long n, void *arg)
{
    struct tls_sessions *t = data;
    (void)parent, (void)all, (void)index, (void)n, (void)arg;
    if (t == NULL)
        return;
    for (size_t i = 0; i < TLS_SESSIONS_SERVERS_MAX; i++) {
        while (t->server[i].count > 0)
            drop(&t->server[i], t->server[i].count - 1);
        free(t->server[i].name);
    }
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- for tls_client.c ---- */

static bool has_indexes(void)
{
    if (table_index < 0)
        table_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_free);
    if (server_index < 0)
        server_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (end_index < 0)
        end_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return table_index >= 0 && server_index >= 0 && end_index >= 0;
}

bool tls_sessions_add(SSL_CTX *ctx)
{
    struct tls_sessions *t = has_indexes() ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return false;
    (void)pthread_mutex_init(&t->lock, NULL);
    if (SSL_CTX_set_ex_data(ctx, table_index, t) != 1) {
        on_free(NULL, t, NULL, 0, 0, NULL);
        return false;
    }
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_new);
    SSL_CTX_set_info_callback(ctx, on_info);
    return true;
}

void tls_sessions_use(SSL *ssl, const char *name, uint16_t port)
{
    struct tls_sessions *t = table_of(ssl);
    struct server *server = t != NULL ? find(t, name, port) : NULL;
    if (server == NULL || SSL_set_ex_data(ssl, server_index, server) != 1)
        return;
    SSL_SESSION *session = take(t, server, time(NULL));
    if (session != NULL && SSL_set_session(ssl, session) != 1)
        ERR_clear_error(); /* a whole handshake then */
    SSL_SESSION_free(session);
}

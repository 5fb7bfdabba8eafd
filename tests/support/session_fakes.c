#include "tests/support/session_fakes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/net/resolver.h"
#include "proxy/session/authentication.h"

enum { CLIENTS = 16 };

/* ---- the log ---- */

void __wrap_log_line(enum log_level level, const char *format, ...);

/* Written as ever, and shown with what was said: a fuzzer would fill its own log with it. */
void __wrap_log_line(enum log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (getenv("SESSION_PRINT") != NULL)
        fprintf(stderr, "log %d: %s\n", (int)level, line);
}

/* ---- names ---- */

bool __wrap_resolver_cached(struct resolver *r, const char *name, struct resolved *answer);
struct resolver_ticket *__wrap_resolver_lookup(struct resolver *r, const char *name, resolver_cb cb,
                                               void *arg);
void __wrap_resolver_counters(const struct resolver *r, struct resolver_counters *out);

static char resolvers[CLIENTS];
static unsigned asker;
static char asked[256];

struct resolver *session_fakes_resolver(unsigned client)
{
    assert(client < CLIENTS);
    return (void *)&resolvers[client];
}

unsigned session_fakes_asker(void)
{
    return asker;
}

const char *session_fakes_asked(void)
{
    return asked;
}

bool stage_allows(const char *name, size_t n)
{
    static const char suffix[] = ".ca.test";
    size_t s = sizeof suffix - 1;
    for (size_t i = 0; i < n; i++) {
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", name[i]) == NULL || name[i] == '\0')
            return false;
    }
    return (n == s - 1 && memcmp(name, suffix + 1, n) == 0) ||
           (n > s && memcmp(name + n - s, suffix, s) == 0);
}

static bool begins(const char *name, const char *label)
{
    return strncmp(name, label, strlen(label)) == 0;
}

bool __wrap_resolver_cached(struct resolver *r, const char *name, struct resolved *answer)
{
    assert(stage_allows(name, strlen(name)));
    asker = (unsigned)((char *)r - resolvers);
    assert(asker < CLIENTS);
    memcpy(asked, name, strlen(name) + 1);
    bool known = !begins(name, "none.");
    *answer = (struct resolved){.outcome = known ? OUTCOME_OK : OUTCOME_DNS_NOT_FOUND};
    if (!known)
        return true;
    struct span address = begins(name, "inner.") ? SPAN("10.0.0.1") : SPAN("127.0.0.1");
    int rc = addr_parse(&answer->address[0], address, 0);
    assert(rc == 0);
    answer->count = 1;
    return true;
}

struct resolver_ticket *__wrap_resolver_lookup(struct resolver *r, const char *name, resolver_cb cb,
                                               void *arg)
{
    (void)r, (void)name, (void)cb, (void)arg;
    abort(); /* every answer is cached */
}

void __wrap_resolver_counters(const struct resolver *r, struct resolver_counters *out)
{
    (void)r;
    *out = (struct resolver_counters){0};
}

/* ---- passwords ---- */

enum outcome __wrap_authentication_start(struct authentication *a, const struct netloop *net,
                                         const struct authentication_request *request,
                                         struct authentication_check **check);
void __wrap_authentication_cancel(struct authentication_check *check);

struct check {
    struct list node;
    authentication_cb on_done;
    void *arg;
    bool right;
};

static struct list checks = {&checks, &checks};

const struct users *session_fakes_users(void)
{
    static char users;
    return (const void *)&users;
}

enum outcome __wrap_authentication_start(struct authentication *a, const struct netloop *net,
                                         const struct authentication_request *request,
                                         struct authentication_check **check)
{
    const char *password = request->credentials->password;
    (void)a, (void)net;
    assert(request->users == session_fakes_users());
    bool known = strcmp(request->credentials->user, "u") == 0;
    if (known && strcmp(password, "known") == 0)
        return OUTCOME_OK;
    if (strcmp(password, "busy") == 0)
        return OUTCOME_AUTH_BUSY;
    struct check *c = malloc(sizeof *c);
    assert(c != NULL);
    *c = (struct check){.on_done = request->on_done,
                        .arg = request->arg,
                        .right = known && strcmp(password, "right") == 0};
    list_append(&checks, &c->node);
    *check = (void *)c;
    return OUTCOME_PENDING;
}

void __wrap_authentication_cancel(struct authentication_check *check)
{
    struct check *c = (void *)check;
    list_remove(&c->node);
    free(c);
}

bool session_fakes_check(void)
{
    bool any = !list_empty(&checks);
    while (!list_empty(&checks)) {
        struct check *c = LIST_ITEM(checks.next, struct check, node);
        authentication_cb on_done = c->on_done;
        void *arg = c->arg;
        bool right = c->right;
        list_remove(&c->node);
        free(c);
        on_done(arg, right ? OUTCOME_OK : OUTCOME_AUTH_FAILED);
    }
    return any;
}

#include "proxy/server_impl.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/net/tls_provider.h"
#include "proxy/snapshot.h"

/* ---- building, on whatever thread ---- */

/* The settings in force once more: what they name has changed. */
static void build_anew(struct server_build *b)
{
    int fd = configuration_open(b->source.dir);
    /* As the service user we may not be allowed to search the directories above. */
    b->snapshot = snapshot_build(b->in_force, fd >= 0 ? fd : b->source.fd, b->ports, &b->errors);
    if (fd >= 0)
        (void)close(fd);
}

static void run(struct tls_job *job)
{
    struct server_build *b = LIST_ITEM(job, struct server_build, job);
    if (b->wish == SERVER_RELOAD)
        (void)configuration_load_again(&b->source, b->ports, b->in_force, &b->settings,
                                       &b->snapshot, &b->errors);
    else
        build_anew(b);
}

/* Also when it was given up, on the builder's thread. */
static void dispose(struct tls_job *job)
{
    struct server_build *b = LIST_ITEM(job, struct server_build, job);
    if (b->snapshot != NULL)
        snapshot_unref(b->snapshot);
    settings_free(b->settings);
    if (b->has_in_force)
        settings_free(b->in_force);
    settings_errors_free(&b->errors);
    free(b);
}

/* ---- the builder's thread ---- */

struct builder {
    struct tls_thread *thread;
    struct tls_mailbox *mailbox;
    struct tls_job end;
};

static void run_end(struct tls_job *job)
{
    (void)job;
}

static void free_builder(struct tls_job *job)
{
    free(LIST_ITEM(job, struct builder, end));
}

/* Made with the first need. False: none can be made, then the loop has to wait itself. */
static bool has_builder(struct server *sv)
{
    if (sv->builder != NULL)
        return true;
    struct builder *made = calloc(1, sizeof *made);
    if (made == NULL)
        return false;
    made->end = (struct tls_job){.run = run_end, .dispose = free_builder};
    made->thread = tls_thread_create(1);
    made->mailbox = made->thread != NULL ? tls_mailbox_create(&sv->loop) : NULL;
    if (made->mailbox != NULL) {
        sv->builder = made;
        return true;
    }
    if (made->thread != NULL)
        tls_thread_end(made->thread, &made->end);
    else
        free(made);
    return false;
}

/* ---- one after the other ---- */

static void finish(struct server_build *b)
{
    struct server *sv = b->server;
    sv->build = NULL;
    server_built(sv, b);
    dispose(&b->job);
}

static void next(struct server *sv);

static void on_done(struct tls_job *job)
{
    struct server_build *b = LIST_ITEM(job, struct server_build, job);
    struct server *sv = b->server;
    finish(b);
    next(sv);
}

static void begin(struct server *sv, enum server_wish wish)
{
    struct server_build *b = calloc(1, sizeof *b);
    if (b == NULL) {
        log_line(LOG_ERROR, "out of memory: the old configuration stays in force");
        if (wish == SERVER_RECOVERY)
            server_keys_recovered(sv, false);
        return;
    }
    b->job = (struct tls_job){.run = run, .on_done = on_done, .dispose = dispose};
    b->server = sv;
    b->wish = wish;
    b->source = sv->source;
    b->ports = bound_ports(&sv->bound);
    b->in_force = sv->settings;
    b->refused_before = tls_provider_pins_refused();
    (void)clock_gettime(CLOCK_REALTIME, &b->since);
    sv->build = b;
    if (tls_provider_is_any() && has_builder(sv)) {
        tls_thread_ask(sv->builder->thread, &b->job, sv->builder->mailbox);
        return;
    }
    run(&b->job);
    finish(b);
}

/* A reload first: it may mend what the others want. */
static void next(struct server *sv)
{
    static const enum server_wish order[] = {SERVER_RELOAD, SERVER_CHANGED, SERVER_RECOVERY};
    for (size_t i = 0; i < sizeof order / sizeof *order && sv->build == NULL; i++) {
        if ((sv->wishes & order[i]) == 0)
            continue;
        sv->wishes &= ~(unsigned)order[i];
        if (server_may_build(sv, order[i]))
            begin(sv, order[i]);
    }
}

void server_want(struct server *sv, enum server_wish wish)
{
    sv->wishes |= wish;
    if (sv->build != NULL && wish == SERVER_RELOAD)
        log_line(LOG_NOTICE, "reload: begins when the device of a TLS key has answered, or after "
                             "tls.provider.timeout");
    next(sv);
}

void server_build_close(struct server *sv)
{
    struct server_build *b = sv->build;
    struct builder *builder = sv->builder;
    if (b != NULL) {
        b->has_in_force = true; /* whoever disposes of it */
        sv->settings = NULL;
        sv->build = NULL;
        if (tls_job_give_up(&b->job))
            dispose(&b->job);
    }
    if (builder == NULL)
        return;
    sv->builder = NULL;
    tls_mailbox_close(builder->mailbox);
    tls_thread_end(builder->thread, &builder->end);
}

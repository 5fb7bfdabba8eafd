#include "tests/support/passthrough_judge.h"

#include <string.h>
#include <strings.h>

#include "tests/support/session_fakes.h"
#include "tests/support/session_record.h"
#include "tests/support/session_stage.h"
#include "tests/support/strict_hello.h"

static bool is_prefix(const struct stage_text *t, const struct stage_text *whole)
{
    return t->n <= whole->n && (t->n == 0 || memcmp(t->p, whole->p, t->n) == 0);
}

/* alert, fatal (RFC 8446 section 6) */
static bool is_alert(const struct stage_text *t)
{
    return t->n == 7 && memcmp(t->p, "\x15\x03\x03\x00\x02\x02", 6) == 0;
}

/* The client whose tunnel it is has named this host, and only this one. */
static void check_place(const struct stage_end *origin, const struct stage_end *client)
{
    char name[256];
    enum strict_hello hello = strict_server_name(client->sent.p, client->sent.n, name);
    session_must(hello == STRICT_HELLO_NAMED, "a dial without a name in a ClientHello");
    session_must(strcasecmp(name, origin->host) == 0, "a dial to another host than the hello's");
    session_must(stage_allows(origin->host, strlen(origin->host)), "a host that is not allowed");
    session_must(origin->port == 443, "another port than the door's");
}

static void check_octets(const struct stage_end *origin, const struct stage_end *client)
{
    session_must(is_prefix(&origin->got, &client->sent), "octets change on their way up");
    bool refused = origin->got.n == 0 && is_alert(&client->got);
    session_must(refused || is_prefix(&client->got, &origin->sent),
                 "octets change on their way down");
}

static bool is_present(const struct stage_end *e)
{
    return e->near >= 0 && !e->left && !e->deaf && !e->aborted;
}

/* An open tunnel holds nothing back when both ends listen. */
static void check_settled(const struct stage_end *origin, const struct stage_end *client)
{
    if (origin->got.n == 0 || !is_present(origin) || !is_present(client))
        return;
    session_must(origin->got.n == client->sent.n, "octets stay on their way up");
    session_must(client->got.n == origin->sent.n, "octets stay on their way down");
    session_must(origin->ended == client->fin_sent, "the client's FIN stays, or was never sent");
    session_must(client->ended == origin->fin_sent, "the origin's FIN stays, or was never sent");
}

void passthrough_judge(bool settled)
{
    bool dialled[STAGE_CLIENTS] = {false};
    for (unsigned i = 0; stage_origin(i) != NULL; i++) {
        const struct stage_end *origin = stage_origin(i);
        session_must(!dialled[origin->client], "two dials for one hello");
        dialled[origin->client] = true;
        const struct stage_end *client = stage_client(origin->client);
        check_place(origin, client);
        check_octets(origin, client);
        if (settled)
            check_settled(origin, client);
    }
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        if (!stage_has_client(i) || dialled[i])
            continue;
        const struct stage_end *client = stage_client(i);
        session_must(client->got.n == 0 || is_alert(&client->got),
                     "a client without a tunnel hears something else than an alert");
    }
}

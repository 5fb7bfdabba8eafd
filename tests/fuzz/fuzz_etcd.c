/*
 * fuzz_etcd.c - any octets as an answer of etcd, its pairs taken as members; and as one member.
 */
#include "failover/etcd_table.h"

#include <assert.h>
#include <errno.h>

#include "failover/member_json.h"
#include "proxy/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_pair(void *arg, const struct etcd_pair *pair)
{
    assert(pair->key.len > 0);
    etcd_table_take(arg, pair);
}

/* What an answer holds is short, ends, and may stand in a line of ours. */
static void check_answer(const struct etcd_answer *a)
{
    assert(memchr(a->token, '\0', sizeof a->token) != NULL);
    assert(strpbrk(a->token, "\r\n ") == NULL);
    assert(a->id[strspn(a->id, "0123456789")] == '\0');
    assert(memchr(a->message, '\0', sizeof a->message) != NULL);
}

/* What is taken as a member is told in the same words again. */
static void check_member(const struct member *m)
{
    struct member again;
    struct buf text;
    const char *why = NULL;
    buf_init(&text, MEMBER_JSON_MAX);
    assert(member_json_print(&text, m) == 0);
    assert(member_json_parse(&again, buf_span(&text), &why) == 0);
    assert(strcmp(again.host, m->host) == 0 && strcmp(again.zone, m->zone) == 0);
    assert(again.port == m->port && again.load == m->load && again.started == m->started);
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = {(const char *)data, size};
    struct etcd_answer a;
    struct etcd_table t;
    struct member m;
    const char *why = NULL;
    assert(etcd_table_init(&t, "/c/") == 0);
    t.told = true; /* once is enough */
    int rc = etcd_read(&a, text, on_pair, &t, &why);
    assert(rc == 0 || why != NULL);
    if (rc == 0)
        check_answer(&a);
    struct roster *r = etcd_table_roster(&t);
    assert(r != NULL && roster_count(r) <= t.count && t.count <= ROSTER_MEMBERS_MAX);
    for (size_t i = 0; i < t.count; i++)
        check_member(&t.entry[i].member);
    roster_unref(r);
    etcd_table_release(&t);
    if (member_json_parse(&m, text, &why) == 0)
        check_member(&m);
    return 0;
}

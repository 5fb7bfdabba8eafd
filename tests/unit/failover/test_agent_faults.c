/* test_agent_faults.c - no memory for what an agent knows: refused, and what was known before
 * stays. */
#include "failover/select.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "failover/believe.h"

#include "tests/support/faults.h"

enum { MEMBERS = 9 };

static struct roster *roster; /* of px0 to px8.plant7.example */
static struct rules *hosts;

static void world_make(void)
{
    roster = roster_create();
    hosts = rules_create();
    assert_true(roster != NULL && hosts != NULL);
    assert_int_equal(rules_add_domain(hosts, SPAN("plant7.example"), NULL), 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member m = {.port = 48999, .state = MEMBER_UP};
        (void)snprintf(m.host, sizeof m.host, "px%u.plant7.example", i);
        assert_int_equal(roster_add(roster, &m), 0);
    }
}

static void world_end(void)
{
    roster_unref(roster);
    rules_destroy(hosts);
}

static bool selected(void)
{
    static const struct select_options o = {"", 60000, 1000, 120000};
    size_t order[ROSTER_MEMBERS_MAX];
    struct selector *s = selector_create(&o, 7);
    if (s == NULL)
        return false;
    int rc = selector_use(s, roster, 0);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    assert_int_equal(selector_order(s, order), rc == 0 ? MEMBERS : 0);
    assert_true((selector_roster(s) == roster) == (rc == 0));
    int again = selector_use(s, roster, 0);
    assert_int_equal(selector_order(s, order), rc == 0 || again == 0 ? MEMBERS : 0);
    selector_destroy(s);
    return rc == 0 && again == 0;
}

static bool believed(void)
{
    const struct believe_options o = {.seeds = roster, .hosts = hosts, .our_name = ""};
    struct disbelieved left_out;
    struct roster *out = roster;
    int rc = believe_roster(&out, roster, false, &o, &left_out);
    assert_int_equal(rc, faults_struck() ? -ENOMEM : 0);
    if (rc != 0) {
        assert_null(out);
        return false;
    }
    assert_int_equal(roster_count(out), MEMBERS);
    roster_unref(out);
    return true;
}

int main(void)
{
    static const struct faults_scenario scenarios[] = {
        {"selected", selected, false},
        {"believed", believed, false},
    };
    world_make();
    int status = faults_main("agent_faults", scenarios, sizeof scenarios / sizeof *scenarios);
    world_end();
    return status;
}

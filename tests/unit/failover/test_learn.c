#include "failover/learn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failover/member_url.h"
#include "failover/signature.h"
#include "proxy/net/fetch.h"

/* ---- time and requests stand still until the test moves them: these take the place of the real
 * ones ---- */

static uint64_t now_is;
static struct {
    uv_timer_t *timer;
    uv_timer_cb cb;
    uint64_t due_ms;
} clockwork;

uint64_t uv_now(const uv_loop_t *loop)
{
    (void)loop;
    return now_is;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
    assert_int_equal(repeat, 0);
    clockwork.timer = timer;
    clockwork.cb = cb;
    clockwork.due_ms = now_is + ms;
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer)
{
    assert_ptr_equal(timer, clockwork.timer);
    return clockwork.due_ms > now_is ? clockwork.due_ms - now_is : 0;
}

static struct {
    char url[256], condition[256];
    fetch_done_cb on_done;
    void *arg;
    bool open, conditional;
    unsigned count, cancelled;
} asked;

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *request)
{
    (void)f;
    assert_false(asked.open);
    (void)snprintf(asked.url, sizeof asked.url, "%s", request->url);
    asked.condition[0] = '\0';
    asked.conditional = false;
    for (const char *const *field = request->fields; *field != NULL; field++) {
        if (strncmp(*field, "If-None-Match: ", 15) != 0)
            continue;
        asked.conditional = true;
        (void)snprintf(asked.condition, sizeof asked.condition, "%s", *field + 15);
    }
    assert_true(request->timeout_ms > 0 && request->octets_max > 0 && request->fresh);
    asked.on_done = request->on_done;
    asked.arg = request->arg;
    asked.open = true;
    asked.count++;
    return (struct fetch *)&asked;
}

void fetch_cancel(struct fetch *t)
{
    assert_ptr_equal(t, &asked);
    assert_true(asked.open);
    asked.open = false;
    asked.cancelled++;
}

/* Signed is what a sensor whose certificates count has sent with a field. */
static char verified_for[256];

int signature_verify(const struct signature_trust *t, struct span text, struct span field,
                     const char *host, time_t now, const char **why)
{
    assert_true(t != NULL && text.len > 0 && field.len > 0 && now > 0);
    (void)snprintf(verified_for, sizeof verified_for, "%s", host != NULL ? host : "nobody");
    *why = "it is of nobody who is trusted";
    return host != NULL ? 0 : -EPERM;
}

/* ---- the stage ---- */

static struct {
    uv_loop_t loop;
    struct roster *seeds;
    struct rules *hosts;
    struct learner *learner;
    struct roster *kept;
    unsigned rosters;
    size_t members;
    size_t turns;     /* how many sensors there are to be asked */
    bool from_roster; /* those of the roster in use */
} stage;

static bool wants_zones, wants_signer; /* of the next stage */

static const struct member *on_turn(void *arg, size_t n)
{
    assert_ptr_equal(arg, &stage);
    const struct roster *r = stage.from_roster ? learner_roster(stage.learner) : stage.seeds;
    return n < stage.turns ? roster_member(r, n) : NULL;
}

static void on_roster(void *arg, struct roster *r)
{
    assert_ptr_equal(arg, &stage);
    stage.rosters++;
    stage.members = roster_count(r);
}

static struct member made(const char *url)
{
    struct member m;
    const char *why = NULL;
    assert_int_equal(roster_parse_member(&m, url, &why), 0);
    return m;
}

/* Sensors px1 to px9.plant7.example, told of by the command line. */
static void open_stage(struct roster *kept)
{
    struct learn_options o = {.kept = kept, .timeout_ms = 10000, .zoned = wants_zones};
    if (wants_signer) /* never looked into: see signature_verify() */
        o.trust = (const struct signature_trust *)&stage;
    memset(&stage, 0, sizeof stage);
    memset(&asked, 0, sizeof asked);
    now_is = 5000;
    assert_int_equal(uv_loop_init(&stage.loop), 0);
    stage.seeds = roster_create();
    stage.hosts = rules_create();
    for (int i = 1; i <= 9; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "http://px%d.plant7.example:48999", i);
        struct member m = made(url);
        assert_int_equal(roster_add(stage.seeds, &m), 0);
        assert_int_equal(rules_add_host(stage.hosts, span_of(m.host), NULL), 0);
    }
    stage.turns = 3;
    o.believe =
        (struct believe_options){.seeds = stage.seeds, .hosts = stage.hosts, .our_name = "device7"};
    stage.learner = learner_create(&stage.loop, NULL, &o, on_turn, on_roster, &stage);
    assert_non_null(stage.learner);
}

static void close_stage(void)
{
    learner_close(stage.learner);
    (void)uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&stage.loop), 0);
    roster_unref(stage.seeds);
    rules_destroy(stage.hosts);
}

/* Until the learner's timer; how long that was. */
static uint64_t wait_for_turn(void)
{
    uint64_t waited = clockwork.due_ms - now_is;
    assert_false(asked.open);
    now_is = clockwork.due_ms;
    clockwork.cb(clockwork.timer);
    return waited;
}

static void answer(unsigned status, const char *body, const char *etag)
{
    struct fetch_result result = {.status = status, .body = span_of(body)};
    (void)snprintf(result.etag, sizeof result.etag, "%s", etag);
    assert_true(asked.open);
    asked.open = false;
    asked.on_done(asked.arg, &result);
}

static void answer_signed(const char *body)
{
    struct fetch_result result = {.status = 200, .body = span_of(body), .field = SPAN("a..b")};
    assert_true(asked.open);
    asked.open = false;
    asked.on_done(asked.arg, &result);
}

static void answer_fault(void)
{
    struct fetch_result result = {.fault = "connection refused"};
    assert_true(asked.open);
    asked.open = false;
    asked.on_done(asked.arg, &result);
}

/* A document of these hosts (without port) that holds `seconds` more. */
static const char *document(long seconds, const char *first, const char *second)
{
    static char text[2048];
    char date[64];
    struct tm tm;
    time_t when = time(NULL) + seconds;
    assert_non_null(gmtime_r(&when, &tm));
    assert_true(strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
    (void)snprintf(text, sizeof text,
                   "{\"identifier\":\"px\",\"expires\":\"%s\",\"prefixes\":[],\"proxies\":["
                   "{\"protocol\":\"http-connect\",\"proxy\":\"%s:48999\",\"identifier\":\"1\"},"
                   "{\"protocol\":\"http-connect\",\"proxy\":\"%s:48999\",\"identifier\":\"2\"}],"
                   "\"proxy-match\":[]}",
                   date, first, second);
    return text;
}

#define PX1 "px1.plant7.example"
#define PX2 "px2.plant7.example"

/* ---- tests ---- */

static void pauses(void **state)
{
    (void)state;
    static const struct {
        uint64_t life, least, most;
    } cases[] = {
        {600000, 300000, 600000},
        {60000, 30000, 60000},
        {0, LEARN_GAP_MS, 2 * LEARN_GAP_MS},
        {1, LEARN_GAP_MS, 2 * LEARN_GAP_MS},
        {UINT64_MAX, LEARN_LIFE_MAX_MS / 2, LEARN_LIFE_MAX_MS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t least = UINT64_MAX, most = 0;
        for (uint64_t random = 0; random < 1000; random++) {
            uint64_t pause = learn_pause_ms(cases[i].life, random * UINT64_C(0x9e3779b97f4a7c15));
            least = pause < least ? pause : least;
            most = pause > most ? pause : most;
            assert_in_range(pause, cases[i].least, cases[i].most);
        }
        /* and all of that range is used */
        uint64_t range = cases[i].most - cases[i].least;
        assert_true(least < cases[i].least + range / 50 && most > cases[i].most - range / 50);
    }
}

static void learned_and_refreshed(void **state)
{
    (void)state;
    open_stage(NULL);
    assert_int_equal(roster_count(learner_roster(stage.learner)), 9);
    assert_int_equal(learner_learned(stage.learner), 0);
    assert_int_equal(wait_for_turn(), 0);
    assert_string_equal(asked.url, "http://" PX1 ":48999/.well-known/pvd");
    assert_string_equal(asked.condition, "");
    answer(200, document(600, PX1, PX2), "\"a\"");
    assert_int_equal(stage.rosters, 1);
    assert_true(learner_learned(stage.learner) > 0);
    assert_int_equal(stage.members, 9); /* the two, and seven sensors that it does not name */
    assert_string_equal(roster_member(learner_roster(stage.learner), 1)->host, PX2);
    assert_int_equal(roster_member(learner_roster(stage.learner), 2)->priority,
                     ROSTER_PRIORITY_MAX);

    assert_in_range(wait_for_turn(), 290000, 600000);
    assert_string_equal(asked.condition, "\"a\"");
    answer(304, "", "");
    assert_int_equal(stage.rosters, 1);
    assert_in_range(wait_for_turn(), 290000, 600000);
    close_stage();
    assert_int_equal(asked.cancelled, 1);
}

/* The next sensor at once, without the ETag of another; behind the last a pause that grows. */
static void others_are_asked(void **state)
{
    (void)state;
    open_stage(NULL);
    (void)wait_for_turn();
    answer(200, document(600, PX1, PX2), "\"a\"");
    (void)wait_for_turn();
    assert_string_equal(asked.condition, "\"a\"");
    answer_fault();
    assert_string_equal(asked.url, "http://" PX2 ":48999/.well-known/pvd");
    assert_string_equal(asked.condition, "");
    answer(500, "", "");
    assert_string_equal(asked.url, "http://px3.plant7.example:48999/.well-known/pvd");
    answer(200, "no document", "");
    assert_false(asked.open);
    for (uint64_t pause = LEARN_GAP_MS, i = 0; i < 12; i++, pause *= 2) {
        uint64_t least = pause < LEARN_RETRY_MAX_MS ? pause : LEARN_RETRY_MAX_MS;
        assert_in_range(wait_for_turn(), least, least + least / 2);
        for (int k = 0; k < 3; k++)
            answer_fault();
    }
    (void)wait_for_turn();
    answer(200, document(600, PX2, PX1), "\"b\"");
    assert_int_equal(stage.rosters, 2);
    assert_in_range(wait_for_turn(), 290000, 600000);
    close_stage();
}

static void not_all_of_many(void **state)
{
    (void)state;
    open_stage(NULL);
    stage.turns = 9;
    (void)wait_for_turn();
    for (int i = 0; i < LEARN_ASKED_MAX; i++)
        answer_fault();
    assert_false(asked.open);
    assert_int_equal(asked.count, LEARN_ASKED_MAX);
    stage.turns = 0; /* nobody to ask */
    (void)wait_for_turn();
    assert_false(asked.open);
    close_stage();
}

static void lies(void **state)
{
    (void)state;
    open_stage(NULL);
    stage.turns = 1;
    (void)wait_for_turn();
    answer(200, document(600, PX1, PX2), "\"a\"");
    const struct roster *before = learner_roster(stage.learner);
    const struct {
        unsigned status;
        const char *body;
    } cases[] = {
        {200, ""},
        {200, "{}"},
        {200, "[]"},
        {204, ""},
        {302, ""},
        {403, "no"},
        {200, document(-1, PX1, PX2)}, /* the clock may have jumped */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)wait_for_turn();
        answer(cases[i].status, cases[i].body, "\"c\"");
        assert_int_equal(stage.rosters, 1);
        assert_ptr_equal(learner_roster(stage.learner), before);
    }
    (void)wait_for_turn();
    answer(200, document(600, PX1, PX1), "\"c\""); /* the same place twice */
    assert_int_equal(stage.rosters, 1);
    close_stage();
}

/* Who is told of strangers only goes on with its sensors. */
static void strangers(void **state)
{
    (void)state;
    open_stage(NULL);
    (void)wait_for_turn();
    answer(200, document(600, "evil.example", "px1.plant7.example.evil.example"), "");
    assert_int_equal(stage.rosters, 1);
    assert_int_equal(stage.members, 9);
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(strchr(roster_member(learner_roster(stage.learner), i)->host, '.'),
                            ".plant7.example");
    close_stage();
}

/* What a CA has certified counts for the sensors of the command line; they are asked first. */
static void certificates_of_seeds_only(void **state)
{
    (void)state;
    wants_signer = true;
    open_stage(NULL);
    wants_signer = false;
    stage.turns = 3;
    stage.from_roster = true;
    (void)wait_for_turn();
    answer_signed(document(600, "stranger1.example", "stranger2.example"));
    assert_string_equal(verified_for, PX1);
    assert_int_equal(stage.members, 11);
    assert_string_equal(roster_member(learner_roster(stage.learner), 0)->host, "stranger1.example");
    (void)wait_for_turn();
    assert_string_equal(asked.url, "http://" PX1 ":48999/.well-known/pvd");
    answer_fault(); /* only now those whom the roster prefers */
    assert_string_equal(asked.url, "http://stranger1.example:48999/.well-known/pvd");
    answer_signed(document(600, "evil1.example", "evil2.example"));
    assert_string_equal(verified_for, "nobody");
    assert_int_equal(stage.rosters, 1); /* the roster before stays */
    assert_string_equal(asked.url, "http://stranger2.example:48999/.well-known/pvd");
    answer_fault();
    close_stage();
}

static void unchanged_by_nobody(void **state)
{
    (void)state;
    open_stage(NULL);
    stage.turns = 1;
    (void)wait_for_turn();
    answer(304, "", "\"a\"");
    assert_int_equal(stage.rosters, 0);
    assert_in_range(wait_for_turn(), LEARN_GAP_MS, LEARN_GAP_MS * 3 / 2);
    assert_string_equal(asked.condition, "");
    close_stage();
}

static void a_life_of_a_century(void **state)
{
    (void)state;
    open_stage(NULL);
    (void)wait_for_turn();
    answer(200, document(3000000000, PX1, PX2), "");
    assert_int_equal(stage.rosters, 1);
    assert_in_range(wait_for_turn(), LEARN_LIFE_MAX_MS / 2, LEARN_LIFE_MAX_MS);
    assert_false(asked.conditional); /* there was no ETag */
    close_stage();
}

static void hurry(void **state)
{
    (void)state;
    open_stage(NULL);
    (void)wait_for_turn();
    learner_hurry(stage.learner); /* it is being asked already */
    answer(200, document(600, PX1, PX2), "");
    now_is += 1000;
    learner_hurry(stage.learner);
    assert_int_equal(wait_for_turn(), LEARN_GAP_MS - 1000);
    answer(200, document(600, PX1, PX2), "");
    now_is += LEARN_GAP_MS;
    learner_hurry(stage.learner);
    assert_int_equal(wait_for_turn(), 0);
    for (int i = 0; i < 3; i++)
        answer_fault();
    now_is += LEARN_GAP_MS / 2;
    learner_hurry(stage.learner); /* the pause behind a failure is not cut short */
    assert_in_range(wait_for_turn(), LEARN_GAP_MS / 2, LEARN_GAP_MS);
    close_stage();
}

/* What the disk tells is filtered like what a sensor tells. */
static void from_the_disk(void **state)
{
    (void)state;
    struct roster *kept = roster_create();
    struct member m = made("http://px9.plant7.example:1");
    struct member stranger = made("http://evil.example:48999");
    assert_int_equal(roster_add(kept, &stranger), 0);
    assert_int_equal(roster_add(kept, &m), 0);
    open_stage(kept);
    roster_unref(kept);
    const struct roster *r = learner_roster(stage.learner);
    assert_int_equal(roster_count(r), 10);
    assert_int_equal(roster_member(r, 0)->port, 1);
    assert_int_equal(wait_for_turn(), 0); /* it is asked for all the same */
    close_stage();
}

/* A document of PX1 and PX2 in which the `own`-th says of itself where it is. */
static const char *own_document(int own, const char *zone, unsigned weight)
{
    static char text[4096];
    const char *base = document(600, PX1, PX2);
    (void)snprintf(text, sizeof text,
                   "%.*s,\"vendor-certferry\":{\"members\":[{\"identifier\":\"%d\",\"zone\":"
                   "\"%s\",\"state\":\"up\",\"weight\":%u,\"started\":1,\"self\":true}]}}",
                   (int)strlen(base) - 1, base, own, zone, weight);
    return text;
}

/* Where zones matter each sensor is asked for its own, once. */
static void zones_of_each(void **state)
{
    (void)state;
    wants_zones = true;
    open_stage(NULL);
    wants_zones = false;
    stage.turns = 0;
    (void)wait_for_turn();
    assert_false(asked.open);
    stage.turns = 9;
    stage.from_roster = true;
    (void)wait_for_turn();
    answer(200, own_document(1, "plant8", 20), "");
    assert_string_equal(asked.url, "http://" PX2 ":48999/.well-known/pvd");
    assert_string_equal(roster_member(learner_roster(stage.learner), 0)->zone, "plant8");
    assert_string_equal(roster_member(learner_roster(stage.learner), 1)->zone, "");
    answer(200, own_document(2, "plant7", 30), "");
    assert_false(asked.open);
    const struct roster *r = learner_roster(stage.learner);
    assert_string_equal(roster_member(r, 0)->zone, "plant8");
    assert_int_equal(roster_member(r, 0)->weight, 20);
    assert_string_equal(roster_member(r, 1)->zone, "plant7");
    assert_int_equal(roster_member(r, 1)->weight, 30);
    /* the next time one is enough, and the other's facts stay */
    (void)wait_for_turn();
    answer(200, own_document(1, "plant9", 40), "");
    assert_false(asked.open);
    r = learner_roster(stage.learner);
    assert_string_equal(roster_member(r, 0)->zone, "plant9");
    assert_string_equal(roster_member(r, 1)->zone, "plant7");
    close_stage();
}

/* One that does not answer, or does not know its own, is no trouble. */
static void zones_of_nobody(void **state)
{
    (void)state;
    wants_zones = true;
    open_stage(NULL);
    wants_zones = false;
    stage.from_roster = true;
    stage.turns = 9;
    (void)wait_for_turn();
    answer(200, document(600, PX1, PX2), "");
    assert_string_equal(asked.url, "http://" PX2 ":48999/.well-known/pvd");
    answer_fault();
    assert_false(asked.open);
    assert_in_range(wait_for_turn(), 290000, 600000);
    answer(200, document(600, PX1, PX2), "");
    assert_string_equal(asked.url, "http://" PX2 ":48999/.well-known/pvd");
    answer(200, document(600, PX1, PX2), "");
    assert_false(asked.open);
    close_stage();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses),
        cmocka_unit_test(learned_and_refreshed),
        cmocka_unit_test(others_are_asked),
        cmocka_unit_test(not_all_of_many),
        cmocka_unit_test(lies),
        cmocka_unit_test(strangers),
        cmocka_unit_test(certificates_of_seeds_only),
        cmocka_unit_test(unchanged_by_nobody),
        cmocka_unit_test(a_life_of_a_century),
        cmocka_unit_test(hurry),
        cmocka_unit_test(from_the_disk),
        cmocka_unit_test(zones_of_each),
        cmocka_unit_test(zones_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

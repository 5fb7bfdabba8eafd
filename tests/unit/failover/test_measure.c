#include "failover/measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { INTERVAL = 60000, PLACES = 32 };

/* Time and requests stand still until the test moves them: these take the place of the real ones.
 */
static uint64_t now_is;

uint64_t uv_now(const uv_loop_t *loop)
{
    (void)loop;
    return now_is;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
    (void)timer;
    assert_true(cb != NULL && ms > 0 && ms <= INTERVAL && repeat == 0);
    return 0;
}

static struct {
    char url[256];
    fetch_done_cb on_done;
    void *arg;
    bool open;
} asked[PLACES];
static size_t asked_count, cancelled;
static bool no_memory;

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *request)
{
    (void)f;
    assert_true(request->timeout_ms == 2000 && request->octets_max > 0 && request->fresh);
    assert_true(asked_count < PLACES);
    if (no_memory)
        return NULL;
    (void)snprintf(asked[asked_count].url, sizeof asked[0].url, "%s", request->url);
    asked[asked_count].on_done = request->on_done;
    asked[asked_count].arg = request->arg;
    asked[asked_count].open = true;
    return (struct fetch *)&asked[asked_count++];
}

void fetch_cancel(struct fetch *t)
{
    for (size_t i = 0; i < asked_count; i++) {
        if ((struct fetch *)&asked[i] == t) {
            assert_true(asked[i].open);
            asked[i].open = false;
            cancelled++;
        }
    }
}

static struct {
    uv_loop_t loop;
    struct selector *selector;
    struct measurer *measurer;
    unsigned told;
} stage;

static void on_told(void *arg)
{
    assert_ptr_equal(arg, &stage);
    stage.told++;
}

/* px0 ... in a zone of their own each, so that all are watched in order of priority. */
static void open_stage(size_t members)
{
    static const struct select_options o = {"", INTERVAL, 1000, 120000};
    struct roster *r = roster_create();
    memset(&stage, 0, sizeof stage);
    memset(asked, 0, sizeof asked);
    asked_count = cancelled = 0;
    no_memory = false;
    assert_int_equal(uv_loop_init(&stage.loop), 0);
    for (size_t i = 0; i < members; i++) {
        struct member m = {.port = 48999, .state = MEMBER_UP, .priority = (unsigned)i};
        (void)snprintf(m.host, sizeof m.host, i == 0 ? "2001:db8::1" : "px%zu", i);
        assert_int_equal(roster_add(r, &m), 0);
    }
    stage.selector = selector_create(&o, 1);
    assert_int_equal(selector_use(stage.selector, r, uv_now(&stage.loop)), 0);
    roster_unref(r);
    stage.measurer = measurer_create(&stage.loop, NULL, stage.selector, 2000, on_told, &stage);
    assert_non_null(stage.measurer);
}

static void close_stage(void)
{
    measurer_close(stage.measurer);
    (void)uv_run(&stage.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&stage.loop), 0);
    selector_destroy(stage.selector);
}

static void answer(size_t i, const char *fault, unsigned status, const char *body)
{
    struct fetch_result result = {
        .fault = fault, .status = status, .body = span_of(body), .connect_us = 200};
    assert_true(asked[i].open);
    asked[i].open = false;
    asked[i].on_done(asked[i].arg, &result);
}

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        unsigned status;
        const char *body;
        size_t usable; /* of the two, when the first has answered so twice */
    } cases[] = {
        {NULL, 200, "ready\n", 2},        {NULL, 503, "not ready: shutting down\n", 1},
        {NULL, 403, "who are you?", 1},   {NULL, 302, "", 1},
        {"connection refused", 0, "", 1}, {"no answer in time", 200, "", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_stage(2);
        measurer_wake(stage.measurer);
        assert_int_equal(asked_count, 2);
        assert_string_equal(asked[0].url, "http://[2001:db8::1]:48999/readyz");
        assert_string_equal(asked[1].url, "http://px1:48999/readyz");
        answer(0, cases[i].fault, cases[i].status, cases[i].body);
        assert_int_equal(stage.told, 1);
        now_is += 2 * INTERVAL;
        measurer_wake(stage.measurer);
        assert_int_equal(asked_count, 3); /* the second is still under way */
        answer(2, cases[i].fault, cases[i].status, cases[i].body);
        if (selector_usable(stage.selector) != cases[i].usable)
            fail_msg("case %zu: %zu usable", i, selector_usable(stage.selector));
        close_stage();
        assert_int_equal(cancelled, 1);
    }
}

static void bounded(void **state)
{
    (void)state;
    open_stage(20);
    size_t order[20];
    (void)selector_order(stage.selector, order);
    measurer_wake(stage.measurer);
    assert_int_equal(asked_count, SELECT_WATCHED);
    measurer_wake(stage.measurer);
    assert_int_equal(asked_count, SELECT_WATCHED); /* they are under way */
    close_stage();
    assert_int_equal(cancelled, SELECT_WATCHED);
}

/* That we have no memory says nothing of a sensor. */
static void no_memory_to_ask(void **state)
{
    (void)state;
    open_stage(2);
    no_memory = true;
    measurer_wake(stage.measurer);
    assert_int_equal(asked_count, 0);
    assert_int_equal(stage.told, 0);
    assert_int_equal(selector_usable(stage.selector), 2);
    no_memory = false;
    measurer_wake(stage.measurer);
    assert_int_equal(asked_count, 0); /* later */
    close_stage();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(bounded),
        cmocka_unit_test(no_memory_to_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tls_thread.c - jobs on a thread of their own: told on the loop, given up in every state, a
 * full queue, a device that is gone, calls with patience, the end. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/tls_thread.h"

enum { PATIENCE_MS = 20000, QUEUE = 3 };

static uv_loop_t loop;
static struct tls_mailbox *mailbox;
static struct tls_thread *thread;

/* Waits for `gate` while it runs, as for a device that stands still. */
struct work {
    struct tls_job job;
    sem_t gate, running;
    bool waits;
    pthread_t ran_on;
    atomic_uint ran, disposed;
    unsigned done;
};

static void run(struct tls_job *job)
{
    struct work *w = LIST_ITEM(job, struct work, job);
    w->ran_on = pthread_self();
    (void)sem_post(&w->running);
    if (w->waits)
        (void)sem_wait(&w->gate);
    (void)atomic_fetch_add(&w->ran, 1);
}

static void on_done(struct tls_job *job)
{
    LIST_ITEM(job, struct work, job)->done++;
}

static void dispose(struct tls_job *job)
{
    struct work *w = LIST_ITEM(job, struct work, job);
    (void)atomic_fetch_add(&w->disposed, 1);
    (void)sem_post(&w->running); /* seen by wait_disposed() */
}

static void make(struct work *w, bool waits)
{
    memset(w, 0, sizeof *w);
    w->job = (struct tls_job){.run = run, .on_done = on_done, .dispose = dispose};
    w->waits = waits;
    (void)sem_init(&w->gate, 0, 0);
    (void)sem_init(&w->running, 0, 0);
}

static void wait_running(struct work *w)
{
    assert_int_equal(sem_wait(&w->running), 0);
}

static void wait_disposed(struct work *w)
{
    while (atomic_load(&w->disposed) == 0)
        assert_int_equal(sem_wait(&w->running), 0);
}

static void wait_done(struct work *w, unsigned times)
{
    while (w->done < times)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(w->done, times);
}

static int submit(struct work *w, bool newcomer)
{
    return tls_thread_submit(thread, &w->job, mailbox, newcomer);
}

static struct work last;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    mailbox = tls_mailbox_create(&loop);
    thread = tls_thread_create(QUEUE);
    make(&last, false);
    return mailbox == NULL || thread == NULL;
}

/* Whatever a test did: the loop and the thread come to their ends. */
static int teardown(void **state)
{
    (void)state;
    tls_thread_end(thread, &last.job);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    assert_int_equal(last.ran, 1);
    assert_int_equal(last.disposed, 1);
    tls_mailbox_close(mailbox);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void test_told_on_the_loop(void **state)
{
    struct work w;
    (void)state;
    make(&w, false);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(submit(&w, i == 1), 0);
        assert_true(tls_job_is_out(&w.job));
        wait_done(&w, i);
        assert_int_equal(w.job.rc, 0);
        assert_false(tls_job_is_out(&w.job));
    }
    assert_false(pthread_equal(w.ran_on, pthread_self()));
    assert_int_equal(w.ran, 3);
    assert_int_equal(w.disposed, 0);
    assert_true(tls_job_give_up(&w.job)); /* there is nothing to give up */
}

static void test_in_order(void **state)
{
    struct work w[QUEUE];
    (void)state;
    for (size_t i = 0; i < QUEUE; i++) {
        make(&w[i], false);
        assert_int_equal(submit(&w[i], true), 0);
    }
    wait_done(&w[QUEUE - 1], 1);
    for (size_t i = 0; i < QUEUE; i++)
        assert_int_equal(w[i].done, 1);
}

static void test_given_up_while_queued(void **state)
{
    struct work w, other;
    (void)state;
    make(&w, true);
    make(&other, false);
    assert_int_equal(submit(&w, true), 0);
    wait_running(&w);
    assert_int_equal(submit(&other, true), 0);
    assert_true(tls_job_give_up(&other.job));
    assert_false(tls_job_is_out(&other.job));
    (void)sem_post(&w.gate);
    wait_done(&w, 1);
    assert_int_equal(other.ran, 0);
    assert_int_equal(other.done, 0);
    assert_int_equal(other.disposed, 0);
    assert_int_equal(submit(&other, true), 0); /* it is ours again */
    wait_done(&other, 1);
}

static void test_given_up_while_running(void **state)
{
    struct work w, after;
    (void)state;
    make(&w, true);
    make(&after, false);
    assert_int_equal(submit(&w, true), 0);
    wait_running(&w);
    assert_false(tls_job_give_up(&w.job));
    assert_int_equal(w.disposed, 0); /* the thread has it still */
    (void)sem_post(&w.gate);
    wait_disposed(&w);
    assert_int_equal(submit(&after, true), 0);
    wait_done(&after, 1);
    assert_int_equal(w.done, 0);
    assert_int_equal(w.disposed, 1);
}

/* The thread is through, and the loop has not heard of it. */
static void test_given_up_while_the_result_is_on_its_way(void **state)
{
    struct work w, after;
    (void)state;
    make(&w, false);
    make(&after, true);
    assert_int_equal(submit(&w, true), 0);
    assert_int_equal(submit(&after, true), 0);
    wait_running(&after); /* so the first is over */
    assert_true(tls_job_give_up(&w.job));
    (void)sem_post(&after.gate);
    wait_done(&after, 1);
    assert_int_equal(w.ran, 1);
    assert_int_equal(w.done, 0);
    assert_int_equal(w.disposed, 0);
}

static void test_full_queue(void **state)
{
    struct work running, w[QUEUE], newcomer, guest;
    (void)state;
    make(&running, true);
    assert_int_equal(submit(&running, true), 0);
    wait_running(&running);
    for (size_t i = 0; i < QUEUE; i++) {
        make(&w[i], false);
        assert_int_equal(submit(&w[i], true), 0);
    }
    make(&newcomer, false);
    assert_int_equal(submit(&newcomer, true), -ENOBUFS);
    assert_false(tls_job_is_out(&newcomer.job));
    make(&guest, false); /* whose handshake has begun is let to its end */
    assert_int_equal(submit(&guest, false), 0);
    (void)sem_post(&running.gate);
    wait_done(&guest, 1);
    assert_int_equal(submit(&newcomer, true), 0);
    wait_done(&newcomer, 1);
}

static void test_room_of_one_given_up(void **state)
{
    struct work running, w[QUEUE], newcomer;
    (void)state;
    make(&running, true);
    make(&newcomer, false);
    assert_int_equal(submit(&running, true), 0);
    wait_running(&running);
    for (size_t i = 0; i < QUEUE; i++) {
        make(&w[i], false);
        assert_int_equal(submit(&w[i], true), 0);
    }
    assert_int_equal(submit(&newcomer, true), -ENOBUFS);
    assert_true(tls_job_give_up(&w[1].job));
    assert_int_equal(submit(&newcomer, true), 0);
    assert_true(tls_job_withdraw(&w[0].job));
    assert_int_equal(submit(&w[0], true), 0);
    (void)sem_post(&running.gate);
    wait_done(&w[0], 1);
    assert_int_equal(newcomer.done, 1);
}

static void test_device_gone(void **state)
{
    struct work running, queued, later;
    (void)state;
    make(&running, true);
    make(&queued, false);
    make(&later, false);
    assert_int_equal(submit(&running, true), 0);
    wait_running(&running);
    assert_int_equal(submit(&queued, true), 0);
    tls_thread_refuse(thread);
    wait_done(&queued, 1); /* at once, not behind the one that runs */
    assert_int_equal(queued.job.rc, -ENODEV);
    assert_int_equal(queued.ran, 0);
    assert_int_equal(submit(&later, true), -ENODEV);
    assert_int_equal(submit(&later, false), -ENODEV);
    (void)sem_post(&running.gate);
    wait_done(&running, 1);
    assert_int_equal(running.job.rc, 0);
}

static void test_calls(void **state)
{
    struct work slow, call, waiting;
    (void)state;
    make(&call, false);
    assert_int_equal(tls_thread_call(thread, &call.job, PATIENCE_MS), 0);
    assert_int_equal(call.ran, 1);
    assert_int_equal(call.disposed, 0);
    do { /* on a busy machine the thread may not have begun it by then */
        make(&slow, true);
        assert_int_equal(tls_thread_call(thread, &slow.job, 10), -ETIMEDOUT);
    } while (slow.disposed > 0);
    make(&waiting, false);
    assert_int_equal(tls_thread_call(thread, &waiting.job, 10), -ETIMEDOUT);
    assert_int_equal(waiting.disposed, 1); /* the thread has not seen it */
    assert_int_equal(waiting.ran, 0);
    assert_false(tls_threads_wait(10, true));
    (void)sem_post(&slow.gate);
    wait_disposed(&slow);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
}

static void test_calls_go_before_the_queue(void **state)
{
    struct work running, queued, put;
    (void)state;
    make(&running, true);
    make(&queued, true);
    make(&put, false);
    assert_int_equal(submit(&running, true), 0);
    wait_running(&running);
    assert_int_equal(submit(&queued, true), 0);
    tls_thread_put(thread, &put.job);
    (void)sem_post(&running.gate);
    wait_running(&queued);
    assert_int_equal(put.disposed, 1);
    (void)sem_post(&queued.gate);
    wait_done(&queued, 1);
    wait_done(&running, 1);
}

/* What the metrics say of handshakes. */
static void tell_counters(char text[4096])
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(tls_threads_print(&out), 0);
    (void)snprintf(text, 4096, "%.*s", SPAN_ARGS(buf_span(&out)));
    buf_release(&out);
}

/* Asked for by a loop, but no handshake: before those, however many wait, and never counted. */
static void test_asked(void **state)
{
    char before[4096], after[4096];
    struct work running, queued, w, other;
    (void)state;
    make(&running, true);
    make(&queued, true);
    make(&w, false);
    make(&other, true);
    assert_int_equal(submit(&running, true), 0);
    wait_running(&running);
    assert_int_equal(submit(&queued, true), 0);
    tell_counters(before);
    tls_thread_ask(thread, &w.job, mailbox);
    assert_true(tls_job_give_up(&w.job)); /* while it waits */
    tls_thread_ask(thread, &w.job, mailbox);
    tell_counters(after);
    assert_string_equal(before, after);
    (void)sem_post(&running.gate);
    wait_done(&w, 1);
    assert_int_equal(w.ran, 1);
    wait_running(&queued); /* only now */
    (void)sem_post(&queued.gate);
    wait_done(&queued, 1);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    tell_counters(before);
    tls_thread_ask(thread, &other.job, mailbox);
    wait_running(&other);
    assert_false(tls_job_give_up(&other.job));
    (void)sem_post(&other.gate);
    wait_disposed(&other);
    tls_thread_ask(thread, &w.job, mailbox);
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    wait_done(&w, 2);
    tell_counters(after);
    assert_string_equal(before, after);
}

/* Many jobs, a part of them given up at whatever moment it is: each has one end. */
static void test_many(void **state)
{
    enum { COUNT = 200 };
    static struct work w[COUNT];
    unsigned given_back = 0, running = 0;
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        make(&w[i], false);
        assert_int_equal(submit(&w[i], false), 0);
        if (i % 3 != 0)
            continue;
        if (tls_job_give_up(&w[i].job))
            given_back++;
        else
            running++;
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 3 != 0)
            wait_done(&w[i], 1);
    }
    assert_true(tls_threads_wait(PATIENCE_MS, true));
    unsigned disposed = 0;
    for (size_t i = 0; i < COUNT; i += 3) {
        assert_int_equal(w[i].done, 0);
        disposed += atomic_load(&w[i].disposed);
    }
    assert_int_equal(disposed, running);
    assert_int_equal(given_back + running, (COUNT + 2) / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
        TEST(test_told_on_the_loop),
        TEST(test_in_order),
        TEST(test_given_up_while_queued),
        TEST(test_given_up_while_running),
        TEST(test_given_up_while_the_result_is_on_its_way),
        TEST(test_full_queue),
        TEST(test_room_of_one_given_up),
        TEST(test_device_gone),
        TEST(test_calls),
        TEST(test_calls_go_before_the_queue),
        TEST(test_asked),
        TEST(test_many),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_loop.c - tasks of a loop: once a wake, never in two threads at a time, again when woken meanwhile; alarms in order, and taken back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct counted {
    moa_task task;         /* first */
    moa_loop *loop;
    atomic_int inside, runs, most;
    atomic_long heard, said; /* said: wakes; heard: what of them a run has seen */
    double at;             /* of the last run */
    int wakes_itself;
} counted;

static bool count(moa_task *t) {
    counted *c = (counted *)t;
    const int in = atomic_fetch_add(&c->inside, 1) + 1;
    if (in > atomic_load(&c->most)) atomic_store(&c->most, in);
    atomic_store(&c->heard, atomic_load(&c->said));
    atomic_fetch_add(&c->runs, 1);
    c->at = moa_now();
    if (c->wakes_itself > 0) c->wakes_itself--, moa_loop_wake(c->loop, t);
    atomic_fetch_sub(&c->inside, 1);
    return false;
}

static moa_loop *loop_of(int n) {
    moa_loop *l;
    moa_err err = {0};
    if (moa_loop_new(&l, n, &err) < 0) fail_msg("%s", err.text);
    return l;
}

static void test_wakes(void **state) {
    (void)state;
    moa_loop *l = loop_of(0);
    counted c = {.task.run = count, .loop = l};
    moa_loop_turn(l, 0);
    assert_int_equal(c.runs, 0);
    for (int i = 0; i < 5; i++) moa_loop_wake(l, &c.task); /* it waits already: one run */
    moa_loop_turn(l, 0);
    assert_int_equal(c.runs, 1);
    c.wakes_itself = 3; /* woken while it runs: again after that */
    moa_loop_wake(l, &c.task);
    moa_loop_turn(l, 0);
    assert_int_equal(c.runs, 5);
    moa_loop_free(l);
}

/* Many threads, many wakers: no wake is lost, and no task runs twice at a time. */
enum { WAKERS = 4, WAKES = 20000 };
typedef struct waker { moa_loop *l; counted *c; } waker;

static void *wake_often(void *arg) {
    const waker *w = arg;
    for (int i = 0; i < WAKES; i++) {
        atomic_fetch_add(&w->c->said, 1);
        moa_loop_wake(w->l, &w->c->task);
    }
    return NULL;
}

static void test_many_threads(void **state) {
    (void)state;
    moa_loop *l = loop_of(3);
    counted c = {.task.run = count, .loop = l};
    waker w = {l, &c};
    pthread_t t[WAKERS];
    for (int i = 0; i < WAKERS; i++) assert_int_equal(pthread_create(&t[i], NULL, wake_often, &w), 0);
    for (int i = 0; i < WAKERS; i++) pthread_join(t[i], NULL);
    for (const double end = moa_now() + 10; atomic_load(&c.heard) < WAKERS * WAKES && moa_now() < end;) usleep(100);
    assert_int_equal(atomic_load(&c.heard), WAKERS * WAKES);
    moa_loop_free(l);
    assert_int_equal(c.most, 1);
    assert_true(c.runs <= WAKERS * WAKES);
}

static void test_alarms(void **state) {
    (void)state;
    moa_loop *l = loop_of(0);
    counted c[3] = {{.task.run = count}, {.task.run = count}, {.task.run = count}};
    const double t0 = moa_now();
    moa_loop_wake_by(l, &c[0].task, t0 + 0.06);
    moa_loop_wake_by(l, &c[1].task, t0 + 0.03);
    moa_loop_wake_by(l, &c[2].task, t0 + 0.02);
    moa_loop_wake_by(l, &c[1].task, t0 + 5); /* later than it has: it keeps the earlier one */
    moa_loop_calm(l, &c[2].task);
    while (!c[0].runs && moa_now() < t0 + 5) moa_loop_turn(l, 0.01);
    assert_int_equal(c[0].runs, 1);
    assert_int_equal(c[1].runs, 1);
    assert_int_equal(c[2].runs, 0);
    assert_true(c[0].at >= t0 + 0.06 && c[1].at >= t0 + 0.03 && c[1].at <= c[0].at);
    moa_loop_free(l);
}

/* A thread that sleeps for a far alarm wakes for a near one. */
static void test_nearer_alarm(void **state) {
    (void)state;
    moa_loop *l = loop_of(1);
    counted far = {.task.run = count}, near = {.task.run = count};
    const double t0 = moa_now();
    moa_loop_wake_by(l, &far.task, t0 + 3600);
    usleep(10000);
    moa_loop_wake_by(l, &near.task, t0 + 0.03);
    while (!atomic_load(&near.runs) && moa_now() < t0 + 5) usleep(500);
    assert_int_equal(near.runs, 1);
    assert_int_equal(far.runs, 0);
    moa_loop_calm(l, &far.task);
    moa_loop_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wakes), cmocka_unit_test(test_many_threads), cmocka_unit_test(test_alarms), cmocka_unit_test(test_nearer_alarm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

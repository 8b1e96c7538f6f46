/* loop.c - see loop.h. One lock over the queue and the alarms; alarms are a sorted list, since few tasks have one and most are far away.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLEEPS, QUEUED, RUNS, AGAIN /* runs, and was woken since */ };

struct moa_loop {
    pthread_mutex_t lock;
    pthread_cond_t work;
    moa_task *first, *last, *alarm; /* to run; with an alarm, the next one first */
    pthread_t *thread;
    int n_thread, n_idle;
    bool quit;
};

static void enqueue(moa_loop *l, moa_task *t) {
    t->state = QUEUED;
    t->next = NULL;
    *(l->last ? &l->last->next : &l->first) = t;
    l->last = t;
    if (l->n_idle) pthread_cond_signal(&l->work);
}

static void wake(moa_loop *l, moa_task *t) {
    if (t->state == SLEEPS) enqueue(l, t);
    else if (t->state == RUNS) t->state = AGAIN;
}

void moa_loop_wake(moa_loop *l, moa_task *t) {
    pthread_mutex_lock(&l->lock);
    wake(l, t);
    pthread_mutex_unlock(&l->lock);
}

static void unset(moa_loop *l, moa_task *t) {
    moa_task **p = &l->alarm;
    if (!(t->alarm > 0)) return;
    while (*p != t) p = &(*p)->next_alarm;
    *p = t->next_alarm;
    t->alarm = 0;
}

void moa_loop_calm(moa_loop *l, moa_task *t) {
    pthread_mutex_lock(&l->lock);
    unset(l, t);
    pthread_mutex_unlock(&l->lock);
}

void moa_loop_wake_by(moa_loop *l, moa_task *t, double at) {
    pthread_mutex_lock(&l->lock);
    if (!(t->alarm > 0) || at < t->alarm) {
        unset(l, t);
        moa_task **p = &l->alarm;
        while (*p && (*p)->alarm <= at) p = &(*p)->next_alarm;
        t->alarm = at;
        t->next_alarm = *p;
        *p = t;
        if (l->alarm == t && l->n_idle) pthread_cond_signal(&l->work); /* who sleeps, sleeps too long */
    }
    pthread_mutex_unlock(&l->lock);
}

static void ring(moa_loop *l) {
    if (!l->alarm) return;
    const double now = moa_now();
    while (l->alarm && l->alarm->alarm <= now) {
        moa_task *t = l->alarm;
        unset(l, t);
        wake(l, t);
    }
}

/* Under the lock: sleeps until `end` (0: without end), the next alarm, or a signal. */
static void sleep_until(moa_loop *l, double end) {
    const double at = l->alarm && (!(end > 0) || l->alarm->alarm < end) ? l->alarm->alarm : end;
    l->n_idle++;
    if (at > 0) {
        const struct timespec t = {.tv_sec = (time_t)at, .tv_nsec = (long)(1e9 * (at - (double)(time_t)at))};
        pthread_cond_timedwait(&l->work, &l->lock, &t);
    } else {
        pthread_cond_wait(&l->work, &l->lock);
    }
    l->n_idle--;
}

/* Under the lock: runs the first task, if there is one. */
static bool run_first(moa_loop *l) {
    moa_task *t = l->first;
    if (!t) return false;
    if (!(l->first = t->next)) l->last = NULL;
    t->state = RUNS;
    if (l->first && l->n_idle) pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    const bool ended = t->run(t);
    pthread_mutex_lock(&l->lock);
    if (ended) return true;
    const bool again = t->state == AGAIN;
    t->state = SLEEPS;
    if (again) enqueue(l, t);
    return true;
}

static void *live(void *arg) {
    moa_loop *l = arg;
    pthread_mutex_lock(&l->lock);
    while (true) {
        ring(l);
        if (run_first(l)) continue;
        if (l->quit) break;
        sleep_until(l, 0);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

void moa_loop_turn(moa_loop *l, double seconds) {
    const double end = moa_now() + seconds;
    pthread_mutex_lock(&l->lock);
    ring(l);
    if (!l->first && seconds > 0) {
        sleep_until(l, end);
        ring(l);
    }
    while (run_first(l)) ring(l);
    pthread_mutex_unlock(&l->lock);
}

int moa_loop_new(moa_loop **out, int n_thread, moa_err *err) {
    pthread_condattr_t a;
    moa_loop *l = *out = calloc(1, sizeof *l);
    if (!l) return moa_fail(err, MOA_ENOMEM, "a loop");
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC); /* as moa_now */
    pthread_cond_init(&l->work, &a);
    pthread_condattr_destroy(&a);
    l->thread = calloc((size_t)n_thread + 1, sizeof *l->thread);
    int e = l->thread ? 0 : ENOMEM;
    while (!e && l->n_thread < n_thread) {
        e = pthread_create(&l->thread[l->n_thread], NULL, live, l);
        if (!e) l->n_thread++;
    }
    if (!e || l->n_thread) return 0; /* fewer threads than asked for do the same work */
    moa_loop_free(l);
    *out = NULL;
    return moa_fail(err, MOA_ENOMEM, "a loop of %d threads: %s", n_thread, strerror(e));
}

void moa_loop_free(moa_loop *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_thread; i++) pthread_join(l->thread[i], NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    free(l->thread);
    free(l);
}

/* queue.c - see queue.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/queue.h"

#include "base/clock.h"
#include "serve/endpoint.h"
#include "serve/server.h"

#include <stdlib.h>

void moa_queue_init(moa_queue *q, moa_loop *loop, moa_loop *computing, int max_running, int max_waiting) {
    *q = (moa_queue){.loop = loop, .computing = computing, .max_running = max_running, .max_waiting = max_waiting, .mean_s = 1};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->done, NULL);
}

void moa_queue_deinit(moa_queue *q) {
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->done);
}

static bool work(moa_task *t) {
    moa_exchange *x = (moa_exchange *)t;
    pthread_mutex_lock(&x->lock);
    x->started = moa_now();
    pthread_mutex_unlock(&x->lock);
    const bool later = x->endpoint->later;
    if (moa_exchange_gone(x)) {
        moa_queue_done(x);
    } else {
        x->endpoint->handle(x);
        if (!later) moa_queue_done(x);
    }
    return true;
}

/* Under the lock. */
static void begin(moa_queue *q, moa_exchange *x) {
    q->n_running++;
    x->task.run = work;
    moa_loop_wake(x->endpoint->computes ? q->computing : q->loop, &x->task);
}

static void begin_next(moa_queue *q) {
    moa_exchange *x = q->first;
    if (!x || q->n_running >= q->max_running) return;
    if (!(q->first = x->next_waiting)) q->last = NULL;
    q->n_waiting--;
    begin(q, x);
}

int moa_queue_give(moa_queue *q, moa_exchange *x, int *retry_s) {
    pthread_mutex_lock(&q->lock);
    const bool now = q->n_running < q->max_running && !q->first;
    const int rc = q->closed || (!now && q->n_waiting >= q->max_waiting) ? -1 : 0;
    if (rc < 0) {
        const double wait = q->mean_s * (1 + (double)q->n_waiting / q->max_running);
        *retry_s = wait < 1 ? 1 : wait > 60 ? 60 : (int)(wait + 0.5);
    } else {
        moa_exchange_ref(x);
        if (now) {
            begin(q, x);
        } else {
            x->next_waiting = NULL;
            *(q->last ? &q->last->next_waiting : &q->first) = x;
            q->last = x;
            q->n_waiting++;
        }
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

void moa_queue_done(moa_exchange *x) {
    moa_queue *q = &x->server->queue;
    pthread_mutex_lock(&x->lock);
    const bool silent = !x->done && !moa_exchange_gone(x);
    const double seconds = moa_now() - x->started;
    pthread_mutex_unlock(&x->lock);
    if (silent) {
        moa_fault f;
        moa_fault_set(&f, 500, "internal_error", NULL, "%s %s made no reply", x->endpoint->method, x->endpoint->path);
        moa_reply_fault(x, &f);
    }
    moa_exchange_unref(x);
    pthread_mutex_lock(&q->lock);
    q->mean_s += 0.1 * (seconds - q->mean_s);
    q->n_running--;
    begin_next(q);
    pthread_cond_signal(&q->done);
    pthread_mutex_unlock(&q->lock);
}

void *moa_queue_work(moa_exchange *x, size_t bytes) {
    moa_fault f = {0};
    void *work = calloc(1, bytes);
    if (work) return work;
    moa_fault_set(&f, 503, "out_of_memory", NULL, "no memory for a request");
    moa_reply_fault(x, &f);
    moa_queue_done(x);
    return NULL;
}

void moa_queue_forget(moa_queue *q, moa_exchange *x) {
    moa_exchange *before = NULL, *at;
    pthread_mutex_lock(&q->lock);
    for (at = q->first; at && at != x; at = at->next_waiting) before = at;
    if (at) {
        *(before ? &before->next_waiting : &q->first) = x->next_waiting;
        if (q->last == x) q->last = before;
        q->n_waiting--;
    }
    pthread_mutex_unlock(&q->lock);
    if (at) moa_exchange_unref(x);
}

void moa_queue_load(moa_queue *q, int *waiting, int *running) {
    pthread_mutex_lock(&q->lock);
    *waiting = q->n_waiting, *running = q->n_running;
    pthread_mutex_unlock(&q->lock);
}

void moa_queue_close(moa_queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    moa_exchange *x = q->first;
    q->first = q->last = NULL;
    q->n_waiting = 0;
    while (q->n_running) pthread_cond_wait(&q->done, &q->lock);
    pthread_mutex_unlock(&q->lock);
    for (moa_exchange *next; x; x = next) {
        next = x->next_waiting;
        moa_exchange_unref(x);
    }
}

/* workers.c - see workers.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/workers.h"

#include "base/clock.h"
#include "serve/endpoint.h"

#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 20 }; /* bytes; what is not touched costs nothing */

int moa_workers_init(moa_workers *w, int max_running, int max_queue, moa_err *err) {
    *w = (moa_workers){.max_running = max_running, .max_queue = max_queue, .mean_s = 1};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    w->thread = calloc((size_t)max_running, sizeof *w->thread);
    return w->thread ? 0 : moa_fail(err, MOA_ENOMEM, "%d workers", max_running);
}

static void work_on(moa_workers *w, moa_exchange *x) {
    const double t0 = moa_now();
    pthread_mutex_lock(&x->lock);
    x->started = t0;
    pthread_mutex_unlock(&x->lock);
    if (!moa_exchange_gone(x)) {
        moa_fault f;
        x->endpoint->handle(x);
        moa_fault_set(&f, 500, "internal_error", NULL, "%s %s made no reply", x->endpoint->method, x->endpoint->path);
        pthread_mutex_lock(&x->lock);
        const bool done = x->done;
        pthread_mutex_unlock(&x->lock);
        if (!done) moa_reply_fault(x, &f);
    }
    pthread_mutex_lock(&w->lock);
    w->mean_s += 0.1 * (moa_now() - t0 - w->mean_s);
    pthread_mutex_unlock(&w->lock);
    moa_exchange_unref(x);
}

static void *live(void *arg) {
    moa_workers *w = arg;
    pthread_mutex_lock(&w->lock);
    while (true) {
        while (!w->first && !w->quit) {
            w->n_idle++;
            pthread_cond_wait(&w->work, &w->lock);
            w->n_idle--;
        }
        moa_exchange *x = w->first;
        if (!x) break;
        if (!(w->first = x->next_work)) w->last = NULL;
        w->n_queue--;
        w->n_running++;
        pthread_mutex_unlock(&w->lock);
        work_on(w, x);
        pthread_mutex_lock(&w->lock);
        w->n_running--;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* One more thread where all are at work. With none at all the queue would stand still, so the first must come. */
static int grow(moa_workers *w) {
    pthread_attr_t a;
    if (w->n_idle > w->n_queue || w->n_thread == w->max_running) return 0;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, STACK);
    const int e = pthread_create(&w->thread[w->n_thread], &a, live, w);
    pthread_attr_destroy(&a);
    if (e == 0) w->n_thread++;
    return w->n_thread ? 0 : -1;
}

int moa_workers_give(moa_workers *w, moa_exchange *x, int *retry_s) {
    pthread_mutex_lock(&w->lock);
    const int free_now = w->max_running - w->n_running;
    int rc = w->quit || w->n_queue >= w->max_queue + (free_now > 0 ? free_now : 0) ? -1 : grow(w);
    if (rc < 0) {
        const double wait = w->mean_s * (1 + (double)w->n_queue / w->max_running);
        *retry_s = wait < 1 ? 1 : wait > 60 ? 60 : (int)(wait + 0.5);
    } else {
        moa_exchange_ref(x);
        x->next_work = NULL;
        *(w->last ? &w->last->next_work : &w->first) = x;
        w->last = x;
        w->n_queue++;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void moa_workers_load(moa_workers *w, int *queued, int *running) {
    pthread_mutex_lock(&w->lock);
    *queued = w->n_queue, *running = w->n_running;
    pthread_mutex_unlock(&w->lock);
}

void moa_workers_deinit(moa_workers *w) {
    if (!w->thread) return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    moa_exchange *x = w->first;
    w->first = w->last = NULL;
    w->n_queue = 0;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    for (moa_exchange *next; x; x = next) {
        next = x->next_work;
        moa_exchange_unref(x);
    }
    for (int i = 0; i < w->n_thread; i++) pthread_join(w->thread[i], NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->work);
    free(w->thread);
    w->thread = NULL;
}

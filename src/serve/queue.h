/* queue.h - requests at work, and the bounded queue before them. A request at work is a task of the server's loop and holds no thread while its calls
 * run. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_QUEUE_H
#define MOA_SERVE_QUEUE_H

#include "serve/exchange.h"

typedef struct moa_queue {
    pthread_mutex_t lock;
    pthread_cond_t done;         /* one less runs */
    moa_loop *loop, *computing;  /* what computes itself keeps no thread of loop, where all others move on */
    moa_exchange *first, *last;
    int n_waiting, n_running, max_running, max_waiting;
    double mean_s;               /* of requests, lately: what Retry-After is made of */
    bool closed;
} moa_queue;

void moa_queue_init(moa_queue *q, moa_loop *loop, moa_loop *computing, int max_running, int max_waiting);
void moa_queue_close(moa_queue *q); /* what waits is dropped; waits for what runs */
void moa_queue_deinit(moa_queue *q);
/* Takes a reference. Negative: as many wait as may; *retry_s says after how many seconds it may be worth another try. */
int moa_queue_give(moa_queue *q, moa_exchange *x, int *retry_s);
/* The reply of x has been made: the next may come. The last word of a handler that is `later`; others need not say it. */
void moa_queue_done(moa_exchange *x);
void *moa_queue_work(moa_exchange *x, size_t bytes); /* zeroed, for a handler that is `later`; NULL: there is no memory, and x has been told */
void moa_queue_forget(moa_queue *q, moa_exchange *x); /* its client left: it waits no longer, if it did */
void moa_queue_load(moa_queue *q, int *waiting, int *running);

#endif

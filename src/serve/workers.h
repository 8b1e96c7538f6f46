/* workers.h - threads that make replies, and the bounded queue before them. Threads are made as they are needed and stay; each request
 * has one from its first byte of work to its last, so a handler is plain code from top to bottom.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_WORKERS_H
#define MOA_SERVE_WORKERS_H

#include "serve/exchange.h"

typedef struct moa_workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    moa_exchange *first, *last;
    pthread_t *thread;           /* [n_thread], room for max_running */
    int n_thread, n_idle, n_queue, n_running, max_running, max_queue;
    double mean_s;               /* of requests, lately: what Retry-After is made of */
    bool quit;
} moa_workers;

int moa_workers_init(moa_workers *w, int max_running, int max_queue, moa_err *err);
void moa_workers_deinit(moa_workers *w); /* what waits is dropped; waits for what runs */
/* Takes a reference. Negative: as many wait as may; *retry_s says after how many seconds it may be worth another try. */
int moa_workers_give(moa_workers *w, moa_exchange *x, int *retry_s);
void moa_workers_load(moa_workers *w, int *queued, int *running);

#endif

/* loop.h - work that is driven by events: a task is woken, by anybody, and runs soon after in one of the loop's threads; never in two at a
 * time, and again if it was woken while it ran. Alarms wake a task at a time. Nothing that waits holds a thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_LOOP_H
#define MOA_BASE_LOOP_H

#include "base/err.h"

#include <stdbool.h>

typedef struct moa_loop moa_loop;
typedef struct moa_task {
    /* true: it has ended, its memory may be gone, the loop forgets it. Nobody may wake it from the moment that it decides so. */
    bool (*run)(struct moa_task *t);
    /* the loop's; zero before the first wake */
    struct moa_task *next, *next_alarm;
    int state;
    double alarm;          /* by moa_now; 0: none */
} moa_task;

/* n_thread threads that run tasks; 0: only callers of moa_loop_turn do. */
int moa_loop_new(moa_loop **out, int n_thread, moa_err *err);
/* Its threads end when nothing is left to run. Tasks that sleep are forgotten. */
void moa_loop_free(moa_loop *l);
void moa_loop_wake(moa_loop *l, moa_task *t);
/* Wakes t at this time (moa_now), unless it has an earlier alarm; moa_loop_calm: it has none any more, as it must be at its end. */
void moa_loop_wake_by(moa_loop *l, moa_task *t, double at);
void moa_loop_calm(moa_loop *l, moa_task *t);
/* Runs what is to run; sleeps until there is something, at most so many seconds. */
void moa_loop_turn(moa_loop *l, double seconds);

#endif

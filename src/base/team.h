/* team.h - threads that stay: one region of work costs a fraction of a microsecond while they are awake.
 *
 * A team belongs to one session and has one owner thread, as the session has. Sessions that work at the same time have threads of
 * their own, which the system shares out; a lock around one team for all would let the second session wait for, or starve behind,
 * the first. Waiting threads look for work for some microseconds and then sleep, so that a team beside other work takes
 * no core that it does not use, and an idle one takes nothing.
 *
 * Work is handed out in pieces by counters: a thread begins with its own share and then helps the others. The owner never waits for
 * a thread that has not come (it may sleep, or have lost its core), only for pieces that were begun.
 *
 * After fork, the child's team has no threads and works in the thread that calls it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_TEAM_H
#define MOA_BASE_TEAM_H

#include "base/err.h"

#include <stdint.h>

typedef struct moa_team moa_team;

/* Does items [i0, i1); thread is below the number of threads and names scratch: no two calls at a time have the same. */
typedef void (*moa_range_fn)(const void *args, int64_t i0, int64_t i1, int thread);

/* n_threads, the owner's included; the system may grant fewer, with which the team then works. */
int moa_team_new(moa_team **out, int n_threads, moa_err *err);
void moa_team_free(moa_team *p); /* ends and joins the threads; NULL is fine */

/* All of [0, n), in pieces that begin at multiples of `piece`, by at most n_threads threads. fn may do several pieces in one call. What it
 * computes for an item must not depend on the split. No heap call. Within fn, or without threads, it is one call in this thread. */
void moa_team_run(moa_team *p, int n_threads, int64_t n, int64_t piece, moa_range_fn fn, const void *args);

#endif

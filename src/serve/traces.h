/* traces.h - what the last requests did, in memory: MOA_TRACES of them, within MOA_TRACE_BYTES. Who asked may look, nobody else.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_TRACES_H
#define MOA_SERVE_TRACES_H

#include "agent/run.h"

#include <jansson.h>
#include <pthread.h>
#include <time.h>

enum { MOA_TRACES = 256, MOA_TRACE_BYTES = 32 << 20 };
struct moa_exchange;

typedef struct moa_trace {
    char id[40], mix[96], question[160];
    uint64_t caller;
    time_t created;
    double seconds;
    int rc;
    char *text; size_t n;        /* the whole trace as JSON; NULL: none */
} moa_trace;
typedef struct moa_traces {
    pthread_mutex_t lock;
    moa_trace row[MOA_TRACES];   /* a ring */
    size_t n, bytes;             /* n: so many came */
} moa_traces;

void moa_traces_init(moa_traces *t);
void moa_traces_deinit(moa_traces *t);
void moa_traces_add(moa_traces *t, const struct moa_exchange *x, const char *mix, time_t created, const moa_run *r, json_t *trace); /* takes trace, the run's */
json_t *moa_traces_list(moa_traces *t, uint64_t caller); /* the last first */
char *moa_traces_get(moa_traces *t, uint64_t caller, const char *id, size_t *n); /* free it; NULL: no such trace of this caller */

#endif

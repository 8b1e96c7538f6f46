/* ledger.h - what is kept of requests, so that work which was paid for is not paid again, and can be looked at later.
 *
 * Calls. Every finished call is remembered (agent/backend/journal.c) under the scope of its request: a hash of who asked, where and what, byte by
 * byte. Nobody else's request can find it.
 * Requests. One without a seed draws with a new one. When the same request comes again after it did not end (its client left, the server was
 * killed), or the client says that it asks again (an SDK's x-stainless-retry-count; a name of its own: Idempotency-Key, moa.request_id), it draws with the seed it had: its calls are the same, those
 * that finished are found, and those that still run are joined.
 * File (moa serve --journal): one JSON object a line; calls as `moa eval` writes them, {"moa":"request"} when one begins, {"moa":"end"} with the
 * trace when it ends (agent/trace.h): enough to go on after a kill, and for `moa replay`. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_LEDGER_H
#define MOA_SERVE_LEDGER_H

#include "agent/backend.h"
#include "agent/run.h"

#include <pthread.h>

enum { MOA_LEDGER_ROWS = 4096 };
struct moa_exchange;

typedef enum moa_ledger_state { MOA_LEDGER_FREE, MOA_LEDGER_RUNS, MOA_LEDGER_BROKEN /* it did not end */, MOA_LEDGER_ENDED } moa_ledger_state;
typedef struct moa_ledger_row { uint64_t scope, seed; double at; moa_ledger_state state; } moa_ledger_row;
typedef struct moa_ledger {
    pthread_mutex_t lock;
    moa_journal *journal;        /* of calls */
    moa_ledger_row row[MOA_LEDGER_ROWS]; /* a ring */
    size_t n;
    bool redact;                 /* the file tells no texts, so that nothing can go on from it */
} moa_ledger;

/* path NULL: in memory alone. */
int moa_ledger_open(moa_ledger **out, const char *path, bool redact, moa_err *err);
void moa_ledger_close(moa_ledger *l);
/* A turn begins: the scope of its calls, and the seed it shall draw with where the client gave none (seeded false). part: which of several of x.
 * named: its body has a name by which the same is known. */
void moa_ledger_begin(moa_ledger *l, const struct moa_exchange *x, int part, const char *mix, bool named, bool seeded, uint64_t *seed, uint64_t *scope);
void moa_ledger_end(moa_ledger *l, const struct moa_exchange *x, const moa_run *r, json_t *trace); /* takes trace, the run's: without texts where l->redact */

#endif

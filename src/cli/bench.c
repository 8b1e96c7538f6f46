/* bench.c - what the measurements share: the table of them, a model opened as the options say, prefill and steps of decoding.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"

#include "agent/stats.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>

#define BENCH(x) extern const moa_bench moa_bench_##x;
#include "cli/benches.def"
#undef BENCH

static const moa_bench *const table[] = {
#define BENCH(x) &moa_bench_##x,
#include "cli/benches.def"
#undef BENCH
    NULL,
};

const moa_bench *const *moa_benches(int *n) {
    *n = (int)(sizeof table / sizeof *table) - 1;
    return table;
}

int moa_bench_open(moa_backend **out, char path[4096], const moa_bench_opt *o, moa_err *err) {
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = o->threads;
    MOA_TRY(moa_session_kv_type(&cfg, o->kv, err));
    MOA_TRY(moa_repack_parse(&cfg.repack, o->repack, err));
    MOA_TRY(moa_cli_model_path(path, 4096, o->model, err));
    MOA_TRY(moa_backend_local_open(out, path, &cfg, err));
    char draft[4096];
    int rc = o->draft ? moa_cli_model_path(draft, sizeof draft, o->draft, err) : 0;
    if (rc >= 0 && o->draft) rc = moa_backend_local_draft(*out, draft, err);
    if (rc < 0) moa_backend_close(*out), *out = NULL;
    return rc;
}

int moa_steps_init(moa_steps *t, moa_session *s, int max_row, int runs, moa_err *err) {
    *t = (moa_steps){.s = s, .n_vocab = moa_session_model(s)->h.n_vocab, .max_row = max_row, .runs = runs};
    moa_rng_seed(&t->rng, 7);
    t->row = calloc((size_t)max_row, sizeof *t->row);
    return t->row ? 0 : moa_fail(err, MOA_ENOMEM, "rows");
}

void moa_steps_deinit(moa_steps *t) { free(t->row); }

static int32_t some_token(moa_steps *t) { return (int32_t)moa_rng_below(&t->rng, (uint32_t)t->n_vocab); }

int moa_steps_prefill(moa_steps *t, int n, moa_err *err) {
    const int seq = moa_seq_new(t->s, err);
    for (int at = 0; seq >= 0 && at < n; at += t->max_row) {
        const int m = n - at < t->max_row ? n - at : t->max_row;
        for (int i = 0; i < m; i++) t->row[i] = (moa_row){seq, some_token(t), at + i == n - 1};
        const int rc = moa_session_step(t->s, t->row, m, err);
        if (rc < 0) return moa_seq_free(t->s, seq), rc;
    }
    return seq;
}

int moa_steps_decode(double *step_s, moa_steps *t, int parent, int n, moa_err *err) {
    enum { STEPS = 16 };
    double took[MOA_BENCH_RUNS * STEPS];
    int seq[64], rc = 0;
    for (int i = -1; rc >= 0 && i < t->runs; i++) { /* run -1 warms up */
        int have = 0;
        for (; rc >= 0 && have < n; have++)
            if ((seq[have] = moa_seq_fork(t->s, parent, moa_seq_len(t->s, parent), err)) < 0) {
                rc = seq[have];
                break;
            }
        for (int k = 0; rc >= 0 && k < STEPS; k++) {
            for (int j = 0; j < n; j++) t->row[j] = (moa_row){seq[j], some_token(t), true};
            const double t0 = moa_now();
            rc = moa_session_step(t->s, t->row, n, err);
            if (i >= 0) took[i * STEPS + k] = moa_now() - t0;
        }
        for (int j = 0; j < have; j++) moa_seq_free(t->s, seq[j]);
    }
    if (rc >= 0) *step_s = moa_median(took, t->runs * STEPS);
    return rc;
}

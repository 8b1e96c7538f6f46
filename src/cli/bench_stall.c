/* bench_stall.c - moa bench stall [N]: what a request that decodes notices of another one whose prompt of N tokens (1,000) is read beside it.
 *
 *   gap    between two tokens of the one that decodes: median, 95 % and the longest, over all runs. The engine cuts the prompt into chunks
 *          so that a step takes about 0.8 of the bound (model/generate.h, stall_s: 50 ms)
 *   read   tokens a second of the prompt, alone and beside the other
 *
 * The engine is driven turn by turn, as a generator's own thread does it, so that a gap is what it is without the way to a reader.
 * benches.def: BENCH(stall)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/run.h"
#include "agent/stats.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "model/engine.h"

#include <stdlib.h>

enum { SHORT = 16, MAX_GAPS = 1 << 16, MAX_ENDS = 64 };

typedef struct stall {
    int prompt, threads;
    moa_bias end[MAX_ENDS]; /* no reply ends by itself: who decodes is there as long as the other reads */
    int n_end;
    double *gap; /* [MAX_GAPS] seconds */
    int n_gap;
    double alone[MOA_BENCH_RUNS], beside[MOA_BENCH_RUNS], decode[MOA_BENCH_RUNS]; /* tokens a second of a prompt; seconds of a step that only decodes */
} stall;

typedef struct ear { moa_err err; int rc; bool ended; } ear;

static bool hear_text(void *ctx, const char *text, size_t n) {
    (void)ctx, (void)text, (void)n;
    return true;
}

static void hear_end(void *ctx, moa_gen_res *res) {
    ear *e = ctx;
    e->ended = true, e->rc = res->rc, e->err = res->err;
    moa_gen_res_deinit(res);
}

static int add(const stall *o, moa_generator *g, ear *e, moa_rng *r, int32_t *tok, int n, int max_tokens, const _Atomic bool *cancel, moa_err *err) {
    const moa_gen_sink sink = {hear_text, hear_end, e};
    for (int i = 0; i < n; i++) tok[i] = (int32_t)moa_rng_below(r, (uint32_t)g->n_vocab);
    const moa_gen_req q = {.prompt = tok, .n_prompt = n, .sampling = moa_sampling_defaults(), .max_tokens = max_tokens, .bias = o->end, .n_bias = o->n_end, .cancel = cancel};
    moa_job *j;
    *e = (ear){0};
    MOA_TRY(moa_job_new(&j, g->m, moa_session_max_len(g->s), &q, &sink, g->n_submitted++, err));
    g->n_open++;
    const int rc = moa_engine_add(g, j, err);
    if (rc < 0) g->n_open--, moa_job_free(j);
    return rc;
}

/* Turns until e has ended; gaps: NULL, or where they are noted. */
static int finish(stall *o, moa_generator *g, const ear *e, bool note, double *seconds, moa_err *err) {
    const double t0 = moa_now();
    for (double last = t0, now; !e->ended; last = now) {
        moa_engine_turn(g);
        now = moa_now();
        if (note && o->n_gap < MAX_GAPS) o->gap[o->n_gap++] = now - last;
    }
    *seconds = moa_now() - t0;
    if (e->rc < 0) *err = e->err;
    return e->rc;
}

static int one_run(stall *o, moa_generator *g, int32_t *tok, moa_rng *r, int run, moa_err *err) {
    ear writer, reader;
    double s;
    _Atomic bool cancel = false;
    MOA_TRY(add(o, g, &reader, r, tok, o->prompt, 1, NULL, err));
    MOA_TRY(finish(o, g, &reader, false, &s, err));
    if (run >= 0) o->alone[run] = o->prompt / s;
    int rc = add(o, g, &writer, r, tok, SHORT, g->m->h.n_ctx - SHORT, &cancel, err);
    double t0 = 0;
    for (int i = 0; rc >= 0 && !writer.ended && i < 24; i++) { /* what steps cost is known by then */
        if (i == 4) t0 = moa_now();
        moa_engine_turn(g);
    }
    if (run >= 0) o->decode[run] = (moa_now() - t0) / 20;
    if (rc >= 0) rc = add(o, g, &reader, r, tok, o->prompt, 1, NULL, err);
    if (rc >= 0) rc = finish(o, g, &reader, run >= 0, &s, err);
    if (rc >= 0 && writer.ended) rc = moa_fail(err, MOA_ELIMIT, "who decodes came to its end before the prompt was read: its context is too short for %d tokens beside it", o->prompt);
    if (rc >= 0 && run >= 0) o->beside[run] = o->prompt / s;
    atomic_store(&cancel, true);
    while (!moa_engine_idle(g)) moa_engine_turn(g);
    return rc;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static int measure(stall *o, moa_backend *be, const moa_bench_opt *opt, moa_err *err) {
    moa_generator *g = moa_backend_local_generator(be);
    const int runs = opt->runs ? opt->runs : 5, most = (int)moa_session_max_len(g->s) / 2;
    char *end = NULL;
    const long n = opt->arg ? strtol(opt->arg, &end, 10) : most < 1000 ? most : 1000;
    if (n < SHORT || n > most || (end && *end)) return moa_fail(err, MOA_EUSAGE, "'%s': expected a number of tokens, %d to %d (half of the context)", opt->arg ? opt->arg : "", SHORT, most);
    o->prompt = (int)n;
    int32_t *tok = malloc((size_t)n * sizeof *tok);
    int rc = tok && (o->gap = malloc(MAX_GAPS * sizeof *o->gap)) ? 0 : moa_fail(err, MOA_ENOMEM, "%ld tokens", n);
    moa_rng r;
    moa_rng_seed(&r, 11);
    for (int32_t t = 0; t < g->n_vocab && o->n_end < MAX_ENDS; t++)
        if (moa_tokenizer_is_eog(g->m->tok, t)) o->end[o->n_end++] = (moa_bias){t, -100};
    for (int i = -1; rc >= 0 && i < runs; i++) rc = one_run(o, g, tok, &r, i, err); /* run -1 warms up */
    free(tok);
    if (rc < 0) return rc;
    qsort(o->gap, (size_t)o->n_gap, sizeof *o->gap, by_size);
    const double *p = o->gap, ms = 1e3;
    const double bound = g->cfg.stall_s, mid = p[o->n_gap / 2], late = p[o->n_gap - 1 - o->n_gap / 20], worst = p[o->n_gap - 1];
    const double step = moa_median(o->decode, runs), alone = moa_median(o->alone, runs), beside = moa_median(o->beside, runs);
    if (opt->json) {
        printf("{\"prompt_tokens\":%d,\"threads\":%d,\"bound_ms\":%.1f,\"step_ms\":%.3f,\"gaps\":%d,\"gap_ms\":%.3f,\"gap_95_ms\":%.3f,\"gap_most_ms\":%.3f,"
               "\"read_alone_tps\":%.1f,\"read_beside_tps\":%.1f}\n", o->prompt, o->threads, bound * ms, step * ms, o->n_gap, mid * ms, late * ms, worst * ms, alone, beside);
        return 0;
    }
    printf("%s  %d threads: one request decodes, a prompt of %d tokens is read\n", be->id, o->threads, o->prompt);
    printf("  a step that only decodes   %8.1f ms\n  gaps while the other reads %8.1f ms median, %.1f ms 95 %%, %.1f ms at most of %d (bound %.0f ms)\n", step * ms, mid * ms,
           late * ms, worst * ms, o->n_gap, bound * ms);
    printf("  the prompt is read at      %8.1f tokens/s, %.1f alone\n", beside, alone);
    return 0;
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    char path[4096];
    moa_backend *be;
    stall o = {.threads = opt->threads ? opt->threads : moa_cpu_threads()};
    MOA_TRY(moa_bench_open(&be, path, opt, err));
    const int rc = measure(&o, be, opt, err);
    free(o.gap);
    moa_backend_close(be);
    return rc;
}

const moa_bench moa_bench_stall = {.name = "stall", .help = "what who decodes notices of a prompt that is read beside it", .run = run};

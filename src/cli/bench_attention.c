/* bench_attention.c - moa bench attention [TYPE]: what the attention of a step costs, all layers of a model together, without the
 * products around it: decoding n sequences over one shared prefix, and prefill in steps of 512 rows, for every type of cache.
 *
 * The cache is filled with any numbers: time does not depend on them. GB/s counts each block once a step, whoever shares it: what
 * bounds decoding at long contexts is how fast the machine reads. GFLOP/s counts two operations a multiply-add of a position that a
 * row sees, head, and number of keys and values: what bounds prefill. benches.def: BENCH(attention)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/bench.h"
#include "model/attend.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEQ = 16, MAX_ROW = 512 };

typedef struct work { const char *what; int n, at; } work; /* n sequences at a position; n 0: prefill of so many tokens */
static const work works[] = {{"decode", 1, 512},   {"decode", 4, 512},    {"decode", 16, 512}, {"decode", 1, 2048}, {"decode", 4, 2048}, {"decode", 16, 2048},
                             {"decode", 1, 8192},  {"decode", 4, 8192},   {"decode", 16, 8192}, {"prefill", 0, 512}, {"prefill", 0, 2048}};

typedef struct bench {
    const moa_model *m;
    moa_exec x;
    moa_kv kv;
    moa_attend_rows rows;
    int32_t seq[MAX_ROW], pos[MAX_ROW], order[MAX_ROW];
    float *qkv[3];
    int runs;
} bench;

static void close_bench(bench *b) {
    moa_kv_deinit(&b->kv);
    moa_arena_free(b->x.arena);
    for (int i = 0; i < 3; i++) free(b->qkv[i]);
    free(b->rows.scratch), free(b->rows.parts);
}

static int open_bench(bench *b, const moa_model *m, moa_dtype type, const moa_bench_opt *o, moa_err *err) {
    const int n_block = 8192 / MOA_KV_BLOCK + 4 * MAX_SEQ;
    *b = (bench){.m = m, .runs = o->runs ? o->runs : 9};
    b->x = (moa_exec){.n_threads = o->threads ? o->threads : omp_get_max_threads(), .arena = moa_arena_new(0, 0)};
    MOA_TRY(moa_kernels_default(&b->x.k, err));
    MOA_TRY(moa_kv_init(&b->kv, m, type, n_block, MAX_SEQ + 1, n_block, err));
    const moa_kv_shape *s = &b->kv.shape;
    const size_t cols[3] = {(size_t)(m->h.n_head * s->key), (size_t)(s->n_kv * s->key), (size_t)(s->n_kv * s->value)};
    bool ok = b->x.arena != NULL;
    for (int i = 0; i < 3; i++) {
        ok = ok && (b->qkv[i] = malloc(MAX_ROW * cols[i] * sizeof(float)));
        for (size_t k = 0; ok && k < MAX_ROW * cols[i]; k++) b->qkv[i][k] = (float)(k % 13) * 0.01f;
    }
    b->rows = (moa_attend_rows){.kv = &b->kv, .seq = b->seq, .pos = b->pos, .order = b->order, .scratch_floats = moa_attend_scratch(&m->h),
                                .part_floats = moa_attend_parts(&m->h)};
    ok = ok && (b->rows.scratch = aligned_alloc(64, b->rows.scratch_floats * (size_t)b->x.n_threads * sizeof(float)));
    ok = ok && (b->rows.parts = malloc(b->rows.part_floats * sizeof(float)));
    if (!ok) return moa_fail(err, MOA_ENOMEM, "bench: no memory");
    for (int i = 0; i < b->kv.n_store; i++) memset(b->kv.store[i].data, 0x3c, b->kv.store[i].bytes); /* ordinary numbers of every type */
    return 0;
}

/* Seconds of n rows, each at its position, through all layers. */
static double attend(bench *b, int n) {
    const moa_kv_shape *s = &b->kv.shape;
    const int64_t heads = b->m->h.n_head;
    moa_tensor q = moa_view2(MOA_F32, b->qkv[0], n, heads * s->key), k = moa_view2(MOA_F32, b->qkv[1], n, (int64_t)s->n_kv * s->key),
               v = moa_view2(MOA_F32, b->qkv[2], n, (int64_t)s->n_kv * s->value);
    moa_attend_order(b->order, &b->rows, n);
    const double t0 = moa_now();
    for (int i = 0; i < b->m->h.n_layer; i++) {
        moa_arena_reset(b->x.arena);
        moa_attend_paged(&b->x, &b->rows, b->m, i, &q, &k, &v);
    }
    return moa_now() - t0;
}

static double decode(bench *b, int n, int at) {
    moa_kv_reserve(&b->kv, MAX_SEQ, at);
    b->kv.seq[MAX_SEQ].len = at;
    for (int i = 0; i < n; i++) {
        moa_kv_fork(&b->kv, i, MAX_SEQ, at);
        moa_kv_reserve(&b->kv, i, 1);
        b->seq[i] = i, b->pos[i] = at;
    }
    double took[MOA_BENCH_RUNS];
    for (int i = -1; i < b->runs; i++) {
        const double s = attend(b, n);
        if (i >= 0) took[i] = s;
    }
    for (int i = 0; i < n; i++) moa_kv_truncate(&b->kv, i, 0);
    moa_kv_truncate(&b->kv, MAX_SEQ, 0);
    return moa_median(took, b->runs);
}

static double prefill(bench *b, int len) {
    double took[MOA_BENCH_RUNS];
    moa_kv_reserve(&b->kv, 0, len);
    for (int run = -1; run < b->runs; run++) {
        double s = 0;
        for (int at = 0; at < len; at += MAX_ROW) {
            for (int i = 0; i < MAX_ROW; i++) b->seq[i] = 0, b->pos[i] = at + i;
            s += attend(b, MAX_ROW);
        }
        if (run >= 0) took[run] = s;
    }
    moa_kv_truncate(&b->kv, 0, 0);
    return moa_median(took, b->runs);
}

static void measure(bench *b, const work *w, const char *type, bool json, bool first) {
    const double s = w->n ? decode(b, w->n, w->at) : prefill(b, w->at);
    double bytes = 0, seen = 0; /* of blocks read; pairs of a row and a position */
    for (int i = 0; i < b->m->h.n_layer; i++) {
        const int window = b->m->layer[i].window;
        if (w->n) {
            const int len = window && window < w->at ? window : w->at;
            bytes += (double)b->kv.layer_bytes / MOA_KV_BLOCK * (len + w->n);
            seen += (double)w->n * (len + 1);
        } else {
            for (int p = 0; p < w->at; p++) seen += window && window < p + 1 ? window : p + 1;
        }
    }
    const double flop = 2 * seen * b->m->h.n_head * (b->kv.shape.key + b->kv.shape.value);
    if (json)
        printf("%s{\"work\":\"%s\",\"kv\":\"%s\",\"sequences\":%d,\"positions\":%d,\"ms\":%.4f,\"read_gbps\":%.3f,\"gflops\":%.2f}", first ? "" : ",\n",
               w->what, type, w->n ? w->n : 1, w->at, s * 1e3, bytes / s * 1e-9, flop / s * 1e-9);
    else
        printf("%-5s %-8s %4d x %-6d %10.3f ms %9.2f GB/s %9.1f GFLOP/s\n", type, w->what, w->n ? w->n : 1, w->at, s * 1e3, bytes / s * 1e-9,
               flop / s * 1e-9);
    fflush(stdout);
}

static int run(const moa_bench_opt *o, moa_err *err) {
    static const moa_dtype types[] = {MOA_F32, MOA_F16, MOA_BF16, MOA_Q8_0};
    char path[4096];
    moa_model *m;
    int rc = 0, done = 0;
    const moa_type *only = o->arg ? moa_type_find(o->arg) : NULL;
    MOA_TRY(moa_cli_model_path(path, sizeof path, o->model, err));
    MOA_TRY(moa_model_open(&m, path, err));
    if (m->arch->encoder) rc = moa_fail(err, MOA_EUNSUPPORTED, "%s: an encoder has no cache", path);
    if (o->json) printf("{\"attention\":[\n");
    for (size_t t = 0; rc >= 0 && t < sizeof types / sizeof *types; t++) {
        bench b;
        if (o->arg && (!only || only->id != types[t])) continue;
        rc = open_bench(&b, m, types[t], o, err);
        for (size_t i = 0; rc >= 0 && i < sizeof works / sizeof *works; i++) measure(&b, &works[i], moa_type_get(types[t])->name, o->json, !done++);
        close_bench(&b);
    }
    if (o->json) printf("]}\n");
    if (rc >= 0 && !done) rc = moa_fail(err, MOA_EUSAGE, "'%s' is no type of cache: F32, F16, BF16 or Q8_0", o->arg);
    moa_model_close(m);
    return rc;
}

const moa_bench moa_bench_attention = {.name = "attention", .help = "attention of a step alone: decode and prefill by context and type of cache", .run = run};

/* explain_lab.c - see explain_lab.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/explain_lab.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/pages.h"
#include "base/team.h"
#include "mix/experts.h"
#include "model/attend.h"
#include "tensor/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST = 64 << 20, MOST = 1 << 30, MAX_RUNS = 9, PAGE = 4096 };
#define LONG_ENOUGH 3e-3 /* seconds of one timed run */

void moa_lab_close(moa_lab *b) {
    moa_team_free(b->x.team);
    moa_arena_free(b->x.arena);
    free(b->ring), free(b->rows);
    *b = (moa_lab){0};
}

int moa_lab_open(moa_lab *b, const moa_model *m, int threads, bool repack, double step_bytes, int64_t widest, moa_err *err) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    *b = (moa_lab){.m = m, .widest = widest, .size = l3 > LEAST / 4 ? l3 < MOST / 4 ? 4 * (size_t)l3 : MOST : LEAST};
    if (step_bytes < (double)b->size) b->size = ((size_t)step_bytes / PAGE + 1) * PAGE;
    b->x = (moa_exec){.n_threads = threads, .repack = repack, .arena = moa_arena_new(0, 0)};
    int rc = moa_kernels_default(&b->x.k, err);
    if (rc >= 0) rc = moa_team_new(&b->x.team, threads, err);
    const size_t n = (size_t)MOA_LAB_ROWS * (size_t)widest;
    if (rc >= 0 && (!b->x.arena || !(b->ring = aligned_alloc(MOA_HUGE_PAGE, (b->size + MOA_HUGE_PAGE - 1) / MOA_HUGE_PAGE * MOA_HUGE_PAGE)) || !(b->rows = malloc(n * sizeof *b->rows))))
        rc = moa_fail(err, MOA_ENOMEM, "explain: no memory to measure with");
    if (rc < 0) return moa_lab_close(b), rc;
    if (b->x.repack) moa_pages_huge(b->ring, b->size); /* as packed weights lie; a mapped file has small pages */
    memset(b->ring, 0x2a, b->size); /* ordinary weights of every type */
    for (size_t i = 0; i < n; i++) b->rows[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return 0;
}

/* w with data from the ring; *part: of its rows, where it is larger than that. */
static moa_tensor placed(moa_lab *b, const moa_tensor *w, double *part) {
    moa_tensor t = *w;
    const size_t row = moa_row_bytes(w->dtype, moa_cols(w));
    const int64_t rows = moa_rows(w), fit = (int64_t)(b->size / row);
    t = moa_view2(w->dtype, NULL, rows < fit ? rows : fit > 0 ? fit : 1, moa_cols(w));
    *part = (double)moa_rows(&t) / (double)rows;
    const size_t bytes = row * (size_t)moa_rows(&t);
    if (b->at + bytes > b->size) b->at = 0;
    t.data = b->ring + b->at;
    b->at += (bytes + 63) / 64 * 64;
    if (w->pack && b->x.repack && t.shape[0] >= MOA_PACK_ROWS && !moa_pack_as_is(b->x.arena, &t)) moa_fail(&b->x.err, MOA_ENOMEM, "explain: no memory to measure with");
    return t;
}

static double middle(double *t, int n) {
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && t[j] < t[j - 1]; j--) {
            const double swap = t[j];
            t[j] = t[j - 1], t[j - 1] = swap;
        }
    return n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
}

/* A route whose expert j has about profile[j] of the slots; the sums are rounded, so that their last is exact. */
static int made_route(moa_route *r, moa_lab *b, int n, const double *profile) {
    const int k = b->m->h.n_expert_used, e = b->m->h.n_expert;
    *r = (moa_route){moa_new_tensor(&b->x, MOA_I32, 2, (int64_t[]){n, k}), moa_new_tensor(&b->x, MOA_F32, 2, (int64_t[]){n, k}), NULL};
    if (!r->ids || !r->weight) return b->x.err.code;
    double all = 0, sum = 0;
    const int slots = n * k;
    for (int j = 0; j < e; j++) all += profile[j];
    int s = 0;
    for (int j = 0; j < e; j++) {
        sum += profile[j];
        for (const int end = j == e - 1 ? slots : (int)(sum / all * slots + 0.5); s < end; s++) { /* slot s: row s % n */
            const int at = s % n * k + s / n;
            ((int32_t *)r->ids->data)[at] = j;
            ((float *)r->weight->data)[at] = 1.0f / (float)k;
        }
    }
    return 0;
}

typedef struct made_experts { moa_tensor (*w)[3]; } made_experts;
static moa_expert_w expert_at(const void *ctx, int e) {
    const made_experts *m = ctx;
    return (moa_expert_w){.gate = &m->w[e][0], .up = &m->w[e][1], .down = &m->w[e][2]};
}

static const moa_gated_unit *unit_of(const moa_model *m) {
    static const int unit[] = {[MOA_FFN_SILU] = MOA_GATED_SILU, [MOA_FFN_GELU] = MOA_GATED_GELU, [MOA_FFN_CLAMPED] = MOA_GATED_CLAMPED};
    return &moa_gated_units[unit[m->arch->act]];
}

/* Once; seconds. Making the route and the views is not counted. */
static double once(moa_lab *b, const moa_work *w, int n, const double *profile, moa_tensor (*experts)[3]) {
    double part[3] = {1, 1, 1}, t0;
    moa_arena_reset(b->x.arena);
    moa_tensor in = moa_view2(MOA_F32, b->rows, n, moa_cols(&w->w[0]));
    if (w->kind == MOA_WORK_EXPERTS) {
        moa_route r;
        if (made_route(&r, b, n, profile) < 0) return 0;
        for (int e = 0; e < b->m->h.n_expert; e++)
            for (int i = 0; i < 3; i++) experts[e][i] = profile[e] > 0 ? placed(b, &w->w[i], &part[i]) : experts[0][i];
        for (int i = 0; i < 3; i++)
            if (part[i] < 1) return moa_fail(&b->x.err, MOA_ELIMIT, "explain: one expert is larger than the memory to measure with"), 0;
        t0 = moa_now();
        moa_experts_sum(&b->x, &r, &in, expert_at, &(made_experts){experts}, b->m->h.n_expert, unit_of(b->m)->row);
        return moa_now() - t0;
    }
    moa_tensor t[3], *wp[3], *none[3] = {0}, *out[3];
    for (int i = 0; i < w->n_w; i++) t[i] = placed(b, &w->w[i], &part[i]), wp[i] = &t[i];
    t0 = moa_now();
    if (w->kind == MOA_WORK_GATED) moa_gated_linear(&b->x, &in, wp[0], NULL, wp[1], NULL, unit_of(b->m));
    else if (w->n_w == 1) moa_linear(&b->x, &in, wp[0], NULL);
    else moa_linear_many(&b->x, out, &in, wp, none, w->n_w);
    return (moa_now() - t0) / part[0];
}

static int one_profile(double *s, moa_lab *b, const moa_work *w, int n, const double *profile, moa_tensor (*experts)[3], int runs, moa_err *err) {
    double took[MAX_RUNS];
    const double first = once(b, w, n, profile, experts); /* warms up */
    const int inner = first > LONG_ENOUGH ? 1 : first > LONG_ENOUGH / 200 ? (int)(LONG_ENOUGH / first) + 1 : 200;
    for (int i = 0; i < runs && !b->x.err.code; i++) {
        took[i] = 0;
        for (int k = 0; k < inner; k++) took[i] += once(b, w, n, profile, experts);
        took[i] /= inner;
    }
    if (b->x.err.code) {
        if (err) *err = b->x.err;
        return b->x.err.code;
    }
    *s = middle(took, runs);
    return 0;
}

int moa_lab_work(double *s, moa_lab *b, const moa_work *w, int n, const double *profile, int n_profile, int runs, moa_err *err) {
    if (runs > MAX_RUNS) runs = MAX_RUNS;
    if (w->kind != MOA_WORK_EXPERTS) return one_profile(s, b, w, n, NULL, NULL, runs, err);
    moa_tensor(*experts)[3] = calloc((size_t)b->m->h.n_expert, sizeof *experts);
    int rc = experts ? 0 : moa_fail(err, MOA_ENOMEM, "explain: no memory to measure with");
    double sum = 0, t;
    for (int i = 0; rc >= 0 && i < n_profile; i++) {
        rc = one_profile(&t, b, w, n, profile + i * b->m->h.n_expert, experts, runs, err);
        if (rc >= 0) sum += t / n_profile;
    }
    free(experts);
    *s = sum;
    return rc;
}

typedef struct sweep { const char *p; uint64_t *sum; } sweep; /* range: pages */
static void sweep_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const sweep *s = args;
    uint64_t all = 0;
    for (int64_t i = i0 * PAGE; i < i1 * PAGE; i += 64) all += (uint64_t)s->p[i];
    s->sum[thread % 64 * 8] += all; /* used, so it is read */
}

/* What was in the caches gives way to weights, as it does between two layers of a large model. */
static void sweep_caches(moa_lab *b) {
    uint64_t sum[64 * 8] = {0};
    moa_team_run(b->x.team, b->x.n_threads, (int64_t)(b->size / PAGE), 1, sweep_range, &(sweep){b->ring, sum});
}

int moa_lab_attention(double *s, moa_lab *b, int n, int at, int runs, moa_err *err) {
    const moa_model *m = b->m;
    moa_kv kv;
    moa_attend_rows rows = {.kv = &kv, .scratch_floats = moa_attend_scratch(&m->h), .part_floats = moa_attend_parts(&m->h)};
    const bool prefill = !at;
    const int len = prefill ? n : at, n_seq = prefill ? 1 : n, n_block = len / MOA_KV_BLOCK + 2 * n_seq + 2;
    const moa_kv_shape kvs = moa_kv_shape_of(&m->h);
    const int64_t cols[3] = {(int64_t)m->h.n_head * kvs.key, (int64_t)kvs.n_kv * kvs.key, (int64_t)kvs.n_kv * kvs.value};
    int32_t *seq = calloc(3 * (size_t)n, sizeof *seq), *pos = seq + n, *order = pos + n;
    float *in = calloc((size_t)n * (size_t)(cols[0] + cols[1] + cols[2]), sizeof *in);
    double took[MAX_RUNS];
    if (runs > MAX_RUNS) runs = MAX_RUNS;
    rows.scratch = aligned_alloc(64, (rows.scratch_floats * (size_t)b->x.n_threads * sizeof(float) + 63) / 64 * 64);
    rows.parts = malloc(rows.part_floats * sizeof(float));
    int rc = moa_kv_init(&kv, m, moa_kv_usual(&m->h), n_block, n_seq + 1, n_block, err);
    if (rc >= 0 && (!seq || !in || !rows.scratch || !rows.parts)) rc = moa_fail(err, MOA_ENOMEM, "explain: no memory to measure with");
    if (rc >= 0) {
        moa_kv_reserve(&kv, n_seq, at);
        kv.seq[n_seq].len = at;
        for (int i = 0; i < n_seq; i++) {
            if (at) moa_kv_fork(&kv, i, n_seq, at);
            moa_kv_reserve(&kv, i, prefill ? n : 1);
        }
        for (int i = 0; i < n; i++) seq[i] = prefill ? 0 : i, pos[i] = prefill ? i : at;
        rows.seq = seq, rows.pos = pos, rows.order = order;
        moa_attend_order(order, &rows, n);
        moa_tensor q = moa_view2(MOA_F32, in, n, cols[0]), k = moa_view2(MOA_F32, in + n * cols[0], n, cols[1]),
                   v = moa_view2(MOA_F32, in + n * (cols[0] + cols[1]), n, cols[2]);
        for (int i = -1; i < runs; i++) {
            if (!prefill) sweep_caches(b);
            const double t0 = moa_now();
            for (int l = 0; l < m->h.n_layer; l++) {
                moa_arena_reset(b->x.arena);
                moa_attend_paged(&b->x, &rows, m, l, &q, &k, &v);
            }
            if (i >= 0) took[i] = moa_now() - t0;
        }
        *s = middle(took, runs);
    }
    moa_kv_deinit(&kv);
    free(rows.scratch), free(rows.parts), free(in), free(seq);
    return rc;
}

typedef struct copy { char *to; const char *from; } copy; /* range: bytes */
static void copy_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const copy *p = args;
    (void)thread;
    memcpy(p->to + i0, p->from + i0, (size_t)(i1 - i0));
}

int moa_lab_small(double *s, moa_lab *b, int n, int runs, moa_err *err) {
    const moa_hparams *h = &b->m->h;
    moa_exec *x = &b->x;
    double took[MAX_RUNS];
    if (runs > MAX_RUNS) runs = MAX_RUNS;
    for (int i = -1; i < runs && !x->err.code; i++) {
        double t = 0;
        for (int k = 0; k < 8; k++) {
            moa_arena_reset(x->arena);
            moa_tensor in = moa_view2(MOA_F32, b->rows, n, h->d_model), *pos = moa_new_tensor(x, MOA_I32, 1, &(int64_t){n});
            moa_tensor *to = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){n, h->d_model});
            if (!pos || !to) break;
            for (int r = 0; r < n; r++) ((int32_t *)pos->data)[r] = r;
            const double t0 = moa_now();
            moa_add(x, moa_rms_norm(x, &in, NULL, 1e-5f), &in);
            moa_add(x, moa_rms_norm(x, &in, NULL, 1e-5f), &in);
            if (h->n_rot > 0 && !h->kv_rank)
                for (int q = 0; q < 2; q++) {
                    moa_tensor heads = moa_view2(MOA_F32, b->rows, n, (int64_t)(q ? h->n_kv : h->n_head) * h->head_dim);
                    moa_tensor *y = b->m->layer[0].q_norm ? moa_rms_norm(x, &heads, NULL, 1e-5f) : &heads;
                    moa_rope_heads(x, b->m, &b->m->rope[MOA_ROPE_GLOBAL], y, h->head_dim, 0, pos, NULL);
                }
            moa_parallel(x, (int64_t)moa_tensor_bytes(&in), 4096, 0.1, copy_range, &(copy){to->data, in.data});
            t += moa_now() - t0;
        }
        if (i >= 0) took[i] = t / 8;
    }
    if (x->err.code) {
        if (err) *err = x->err;
        return x->err.code;
    }
    *s = middle(took, runs);
    return 0;
}

/* test_kernels.c - conformance of the whole kernel registry: plain C against sums in double, and each other row against plain C, bit
 * by bit, over odd sizes, unaligned pointers, nothing at all; and the contract of products: an output depends on its row of
 * x and its row of w only, not on how many rows there are nor on how they are split.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "support/amx_emulated.h"
#include "tensor/kernel.h"
#include "tensor/pack.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const moa_kernel *const *list;
static int n_list;

/* The registry, and the kernels for AMX with its tiles in plain C behind it: they are tested on machines without AMX too. */
static const moa_kernel *const *with_emulation(int *n) {
    static const moa_kernel *all[1024];
    int n_emulated;
    const moa_kernel *const *real = moa_kernel_list(n), *const *emulated = amx_emulated(&n_emulated);
    if (moa_isa_best() < MOA_ISA_AVX512) n_emulated = 0, printf("no AVX-512 here: the kernels for AMX are not tested\n");
    assert_true(*n + n_emulated <= 1024);
    memcpy(all, real, (size_t)*n * sizeof *all);
    memcpy(all + *n, emulated, (size_t)n_emulated * sizeof *all);
    *n += n_emulated;
    return all;
}

static bool runs_here(const moa_kernel *k) { return k->isa <= moa_isa_best() && (!k->usable || k->usable()); }
static const moa_kernel *ref_of(const moa_kernel *k) {
    for (int i = 0; i < n_list; i++)
        if (list[i]->op == k->op && list[i]->dtype == k->dtype && list[i]->isa == MOA_ISA_REF) return list[i];
    return NULL;
}

static void normals(float *x, int64_t n, uint64_t seed) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++) x[i] = (float)moa_rng_normal(&r);
}

/* Scales that are not 16 bits at one place. */
static void odd_scales(uint8_t *block, moa_dtype dtype, moa_rng *r) {
    if (dtype == MOA_MXFP4) block[0] = (uint8_t)(120 + moa_rng_below(r, 8));
    for (int j = 0; j < 4 && dtype == MOA_NVFP4; j++) block[j] = (uint8_t)(8 + moa_rng_below(r, 40));
    const uint16_t h = moa_f32_to_f16((float)moa_rng_normal(r) * 0.01f);
    for (int j = 0; j < 4 && dtype == MOA_IQ1_M; j++) block[49 + 2 * j] = (uint8_t)((block[49 + 2 * j] & 15) | (h >> (4 * j) & 15) << 4);
}

/* Random bytes are weights of any block type, once the 16-bit scales are made ordinary numbers. */
static void random_weights(uint8_t *w, moa_dtype dtype, int64_t n, uint64_t seed) {
    const moa_type *t = moa_type_get(dtype);
    moa_rng r;
    moa_rng_seed(&r, seed);
    if (t->block == 1) {
        float *x = malloc((size_t)n * sizeof *x);
        normals(x, n, seed);
        t->quantize(w, x, NULL, n);
        free(x);
        return;
    }
    static const struct {
        moa_dtype id;
        int at[2];
    } scale_at[] = {{MOA_Q4_0, {0, -1}}, {MOA_Q4_1, {0, 2}},    {MOA_Q5_0, {0, -1}},   {MOA_Q5_1, {0, 2}},
                    {MOA_Q8_0, {0, -1}}, {MOA_Q2_K, {80, 82}},  {MOA_Q3_K, {108, -1}}, {MOA_Q4_K, {0, 2}},
                    {MOA_Q5_K, {0, 2}},  {MOA_Q6_K, {208, -1}}, {MOA_IQ4_NL, {0, -1}}, {MOA_IQ4_XS, {0, -1}},
                    {MOA_IQ2_XXS, {0, -1}}, {MOA_IQ2_XS, {0, -1}}, {MOA_IQ2_S, {0, -1}}, {MOA_IQ3_XXS, {0, -1}},
                    {MOA_IQ3_S, {0, -1}}, {MOA_IQ1_S, {0, -1}}, {MOA_TQ1_0, {52, -1}}, {MOA_TQ2_0, {64, -1}},
                    {MOA_Q1_0, {0, -1}}, {MOA_Q2_0, {0, -1}}};
    for (int64_t i = 0; i < n / t->block * t->bytes; i++) w[i] = (uint8_t)moa_rng_u64(&r);
    for (size_t s = 0; s < sizeof scale_at / sizeof *scale_at; s++)
        for (int64_t b = 0; scale_at[s].id == dtype && b < n / t->block; b++)
            for (int j = 0; j < 2 && scale_at[s].at[j] >= 0; j++) {
                const uint16_t h = moa_f32_to_f16((float)moa_rng_normal(&r) * 0.01f);
                memcpy(w + b * t->bytes + scale_at[s].at[j], &h, 2);
            }
    for (int64_t b = 0; b < n / t->block; b++) odd_scales(w + b * t->bytes, dtype, &r);
}

typedef struct problem { /* y [n_tok, n_out] = x [n_tok, n_in] w [n_out, n_in]^T, everything at odd addresses */
    int64_t n_tok, n_out, n_in, ldx, ldy;
    float *x, *y;
    uint8_t *w, *packed; /* packed: for kernels of MOA_K_GEMM_PACKED, whole groups of rows */
    size_t stride;
    moa_q8_act act;
    void *mem[7];
} problem;

/* The kernels of one product: from what the weights' rows are, in a file or packed. */
static bool is_product(const moa_kernel *k) { return k->op == MOA_K_GEMM || moa_kernel_by_rows(k->op); }
static int64_t whole_groups(int64_t n_out) { return n_out / MOA_PACK_ROWS * MOA_PACK_ROWS; }

/* Once the weights are as they shall be. */
static void pack_weights(problem *p, moa_dtype dtype) {
    const int64_t groups = p->n_out / MOA_PACK_ROWS;
    if (!moa_type_packs(moa_type_get(dtype)) || p->n_in % 32) return;
    p->packed = realloc(p->mem[6], (size_t)groups * MOA_PACK_ROWS * moa_row_bytes(dtype, p->n_in) + 1);
    p->mem[6] = p->packed;
    moa_pack_rows(p->packed, p->w, p->stride, moa_type_get(dtype), groups, p->n_in);
}
static void make_problem(problem *p, moa_dtype dtype, int64_t n_tok, int64_t n_out, int64_t n_in) {
    *p = (problem){.n_tok = n_tok, .n_out = n_out, .n_in = n_in, .ldx = n_in + 3, .ldy = n_out + 5};
    p->stride = moa_row_bytes(dtype, n_in) + (moa_type_get(dtype)->block == 1 ? 8 : 6);
    const size_t odd = moa_type_get(dtype)->block == 1 ? 4 : 1; /* plain types: aligned to their element */
    p->mem[0] = malloc((size_t)(n_tok * p->ldx + 1) * 4), p->x = (float *)p->mem[0] + 1;
    p->mem[1] = malloc((size_t)(n_tok * p->ldy + 1) * 4), p->y = (float *)p->mem[1] + 1;
    p->mem[2] = malloc((size_t)n_out * p->stride + odd), p->w = (uint8_t *)p->mem[2] + odd;
    static float pool[1 << 17]; /* drawing them for each problem anew took half the test's time */
    if (pool[0] == 0) normals(pool, sizeof pool / sizeof *pool, 1);
    assert_true((size_t)(n_tok * p->ldx) <= sizeof pool / sizeof *pool);
    memcpy(p->x, pool, (size_t)(n_tok * p->ldx) * sizeof *pool);
    for (int64_t i = 0; i < n_tok * p->ldy; i++) p->y[i] = 77;
    for (int64_t o = 0; o < n_out; o++) random_weights(p->w + (size_t)o * p->stride, dtype, n_in, 100 + (uint64_t)o);
    p->act = (moa_q8_act){.n_tok = n_tok, .n = n_in};
    p->mem[3] = p->act.q = malloc((size_t)(n_tok * n_in + 1));
    p->mem[4] = p->act.scale = malloc((size_t)(n_tok * n_in / 32 + 1) * 4);
    p->mem[5] = p->act.sum = malloc((size_t)(n_tok * n_in / 16 + 1) * 2);
    pack_weights(p, dtype);
}
static void free_problem(problem *p) {
    for (int i = 0; i < 7; i++) free(p->mem[i]);
}
static void quantise(problem *p) {
    if (p->n_in % 32) return;
    for (int i = 0; i < n_list; i++)
        if (list[i]->op == MOA_K_QUANT_Q8 && list[i]->isa == MOA_ISA_REF)
            list[i]->fn.quant_q8(&p->act, p->x, p->ldx, 0, p->n_tok);
}
static moa_q8_act act_rows(const moa_q8_act *a, int64_t i, int64_t n) {
    return (moa_q8_act){
        .n_tok = n, .n = a->n, .q = a->q + i * a->n, .scale = a->scale + i * a->n / 32, .sum = a->sum + i * a->n / 16};
}
static const moa_kernel *of_rows(moa_dtype dtype) { /* plain C */
    for (int i = 0; i < n_list; i++)
        if (list[i]->op == MOA_K_GEMM_Q8 && list[i]->dtype == dtype && list[i]->isa == MOA_ISA_REF) return list[i];
    return NULL;
}
static void multiply(const moa_kernel *k, const problem *p, float *y, int64_t i, int64_t n, int64_t o0, int64_t o1) {
    if (k->op == MOA_K_GEMM)
        k->fn.gemm_f32(y + i * p->ldy, p->ldy, p->x + i * p->ldx, p->ldx, p->w, p->stride, n, o0, o1, p->n_in);
    else if (k->op == MOA_K_GEMM_Q8) {
        const moa_q8_act a = act_rows(&p->act, i, n);
        k->fn.gemm_q8(y + i * p->ldy, p->ldy, &a, p->w, p->stride, o0, o1);
    } else { /* as linear does it: whole groups, and what is left over from the rows themselves */
        const moa_q8_act a = act_rows(&p->act, i, n);
        const int64_t whole = whole_groups(p->n_out), end = o1 < whole ? o1 : whole, from = o0 / MOA_PACK_ROWS * MOA_PACK_ROWS;
        float *group = malloc((size_t)(n * MOA_PACK_ROWS + 1) * sizeof *group);
        for (int64_t o = from; o < end; o += MOA_PACK_ROWS) {
            const bool all = o >= o0 && o + MOA_PACK_ROWS <= o1;
            if (all && o + 2 * MOA_PACK_ROWS <= end) { /* as many groups as there are in one call */
                const int64_t many = (end - o) / MOA_PACK_ROWS * MOA_PACK_ROWS;
                k->fn.gemm_q8(y + i * p->ldy, p->ldy, &a, p->packed, moa_row_bytes(k->dtype, p->n_in), o, o + many);
                o += many - MOA_PACK_ROWS;
                continue;
            }
            k->fn.gemm_q8(group - o, MOA_PACK_ROWS, &a, p->packed, moa_row_bytes(k->dtype, p->n_in), o, o + MOA_PACK_ROWS);
            for (int64_t t = 0; t < n; t++)
                for (int64_t c = o > o0 ? o : o0; c < o + MOA_PACK_ROWS && c < o1; c++)
                    y[(i + t) * p->ldy + c] = group[t * MOA_PACK_ROWS + c - o];
        }
        free(group);
        const moa_kernel *rest = of_rows(k->dtype);
        if (o1 > whole) rest->fn.gemm_q8(y + i * p->ldy, p->ldy, &a, p->w, p->stride, o0 > whole ? o0 : whole, o1);
    }
}

static const struct {
    int64_t tok, out, in;
} shapes[] = {{1, 1, 256}, {1, 17, 512},  {3, 5, 768}, {6, 33, 256}, {7, 16, 1024}, {17, 9, 256}, {70, 19, 512}, {1, 3, 32}, {515, 3, 32},
              {2, 40, 96}, {13, 18, 288}, {5, 7, 1},   {4, 6, 15},   {26, 4, 33},   {1, 9, 17},   {3, 4, 0}};

static bool fits(const moa_kernel *k, int64_t n_in) {
    return n_in % moa_type_get(k->dtype)->block == 0 && (k->op == MOA_K_GEMM || n_in % 32 == 0);
}

/* The definition of gemm_f32 is near the true sums: 16 chains of n / 16 roundings each, in units of the sum of the terms' sizes. */
static void plain_products_are_right(void **state) {
    (void)state;
    enum { N_TOK = 3, N_OUT = 5 };
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (k->op != MOA_K_GEMM || k->isa != MOA_ISA_REF) continue;
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const int64_t n = shapes[s].in;
            if (!fits(k, n)) continue;
            problem p;
            make_problem(&p, k->dtype, N_TOK, N_OUT, n);
            multiply(k, &p, p.y, 0, N_TOK, 0, N_OUT);
            float *row = malloc((size_t)(n + 1) * sizeof *row);
            for (int64_t o = 0; o < N_OUT; o++) {
                moa_type_get(k->dtype)->dequantize(row, p.w + (size_t)o * p.stride, n);
                for (int64_t t = 0; t < N_TOK; t++) {
                    double want = 0, size = 0;
                    for (int64_t j = 0; j < n; j++) want += (double)p.x[t * p.ldx + j] * (double)row[j], size += fabs((double)p.x[t * p.ldx + j] * (double)row[j]);
                    const double bound = size * (double)(n / 16 + 6) * 0x1p-24;
                    const double d = fabs((double)p.y[t * p.ldy + o] - want);
                    if (!(d <= bound)) fail_msg("%s, %d numbers: %g off, at most %g", k->name, (int)n, d, bound);
                }
            }
            free(row);
            free_problem(&p);
        }
    }
}

static void products_are_the_bits_of_ref(void **state) {
    (void)state;
    int done = 0;
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i], *r;
        if (!is_product(k) || (k->isa == MOA_ISA_REF && k->op != MOA_K_GEMM_PACKED) || !runs_here(k)) continue;
        assert_non_null(r = moa_kernel_by_rows(k->op) ? of_rows(k->dtype) : ref_of(k)); /* packed or not */
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            if (!fits(k, shapes[s].in)) continue;
            problem p;
            make_problem(&p, k->dtype, shapes[s].tok, shapes[s].out, shapes[s].in);
            quantise(&p);
            const size_t bytes = (size_t)(p.n_tok * p.ldy) * 4;
            float *want = malloc(bytes);
            memcpy(want, p.y, bytes); /* the padding must stay as it was */
            multiply(r, &p, want, 0, p.n_tok, 0, p.n_out);
            multiply(k, &p, p.y, 0, p.n_tok, 0, p.n_out);
            for (int64_t t = 0; t < p.n_tok; t++)
                for (int64_t o = p.n_out; o < p.ldy; o++) assert_true(p.y[t * p.ldy + o] == 77);
            if (memcmp(p.y, want, bytes))
                fail_msg("%s: %d x %d x %d differs from plain C", k->name, (int)p.n_tok, (int)p.n_out, (int)p.n_in);
            free(want);
            free_problem(&p);
        }
        done++;
    }
    printf("%d product kernels have the bits of plain C\n", done);
}

/* Every row count from 1 to 17 and random splits of the columns give the bits of one row, one column at a time. */
static void products_do_not_depend_on_the_batch(void **state) {
    (void)state;
    moa_rng rng;
    moa_rng_seed(&rng, 5);
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (!is_product(k) || !runs_here(k)) continue;
        for (int shape = 0; shape < 2; shape++) {
            const int64_t n_in = shape                                                       ? 1280
                                 : moa_type_get(k->dtype)->block > 32                        ? 256
                                 : k->op == MOA_K_GEMM && moa_type_get(k->dtype)->block == 1 ? 77
                                                                                             : 96;
            problem p;
            make_problem(&p, k->dtype, 70, 37, n_in);
            quantise(&p);
            float *want = malloc((size_t)(p.n_tok * p.ldy) * 4);
            memcpy(want, p.y, (size_t)(p.n_tok * p.ldy) * 4);
            /* Emulated tiles take a minute for single elements: plain C has the same bits. */
            const moa_kernel *one = k->isa == MOA_ISA_AMX ? of_rows(k->dtype) : k;
            for (int64_t t = 0; t < p.n_tok; t++)
                for (int64_t o = 0; o < p.n_out; o++) multiply(one, &p, want, t, 1, o, o + 1);
            for (int round = 0; round < 20; round++) {
                const int64_t n = round < 17 ? round + 1 : round == 17 ? 70 : round == 18 ? 67 : 29;
                const int64_t from = moa_rng_below(&rng, (uint32_t)(p.n_tok - n) + 1);
                const int64_t cut = moa_rng_below(&rng, (uint32_t)p.n_out + 1);
                for (int64_t t = 0; t < p.n_tok * p.ldy; t++) p.y[t] = 77;
                multiply(k, &p, p.y, from, n, 0, cut); /* may be empty */
                multiply(k, &p, p.y, from, n, cut, p.n_out);
                if (memcmp(p.y + from * p.ldy, want + from * p.ldy, (size_t)(n * p.ldy) * 4))
                    printf("%s: %d rows\n", k->name, (int)n);
                assert_memory_equal(p.y + from * p.ldy, want + from * p.ldy, (size_t)(n * p.ldy) * 4);
            }
            free(want);
            free_problem(&p);
        }
    }
}

/* Does byte j of a block belong to what multiplies all of it? */
static bool is_scale(moa_dtype id, int j) {
    switch ((int)id) {
    case MOA_Q2_K: return j >= 80;
    case MOA_Q3_K: return j >= 108;
    case MOA_Q6_K: return j >= 208;
    case MOA_TQ1_0: return j >= 52;
    case MOA_TQ2_0: return j >= 64;
    case MOA_IQ1_M: return false;
    case MOA_MXFP4: return j < 1;
    case MOA_Q4_1: case MOA_Q5_1: case MOA_Q4_K: case MOA_Q5_K: case MOA_NVFP4: return j < 4;
    default: return j < 2;
    }
}

/* The largest integers there are: nothing may saturate. */
static void no_product_saturates(void **state) {
    (void)state;
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (!moa_kernel_by_rows(k->op) || k->isa == MOA_ISA_REF || !runs_here(k)) continue;
        for (int pattern = 0; pattern < 4; pattern++) {
            problem p;
            make_problem(&p, k->dtype, 2, 16, 256);
            for (int64_t b = 0; b < p.n_tok * p.n_in; b++) p.x[b / 256 * p.ldx + b % 256] = pattern & 1 && b % 2 ? -5 : 5;
            const moa_type *t = moa_type_get(k->dtype);
            for (int64_t o = 0; o < p.n_out; o++)
                for (int b = 0; b < 256 / t->block; b++) { /* keep the scales, fill the rest */
                    uint8_t *at = p.w + (size_t)o * p.stride + b * t->bytes;
                    uint8_t keep[210];
                    memcpy(keep, at, (size_t)t->bytes);
                    memset(at, pattern & 2 ? 0x80 : 0xff, (size_t)t->bytes);
                    for (int j = 0; j < t->bytes; j++)
                        if (is_scale(k->dtype, j)) at[j] = keep[j];
                    if (k->dtype == MOA_IQ1_M)
                        for (int j = 49; j < 56; j += 2) at[j] = (uint8_t)((at[j] & 15) | (keep[j] & 0xf0));
                }
            quantise(&p);
            pack_weights(&p, k->dtype);
            float want[2 * 21];
            multiply(of_rows(k->dtype), &p, want, 0, 2, 0, 16);
            multiply(k, &p, p.y, 0, 2, 0, 16);
            for (int t2 = 0; t2 < 2; t2++)
                for (int o = 0; o < 16; o++) assert_true(p.y[t2 * p.ldy + o] == want[t2 * p.ldy + o]);
            free_problem(&p);
        }
    }
}

/* Scales of 8 bits have 256 values, denormal ones and the largest among them; here none hides another. */
static void every_small_scale(void **state) {
    (void)state;
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        const bool mx = k->dtype == MOA_MXFP4;
        if (!moa_kernel_by_rows(k->op) || !(mx || k->dtype == MOA_NVFP4) || k->isa == MOA_ISA_REF || !runs_here(k)) continue;
        problem p;
        make_problem(&p, k->dtype, 3, 256, mx ? 32 : 64);
        for (int e = 0; e < 256; e++) memset(p.w + (size_t)e * p.stride, e, mx ? 1 : 4);
        quantise(&p);
        pack_weights(&p, k->dtype);
        float *want = malloc((size_t)(p.n_tok * p.ldy) * 4);
        multiply(of_rows(k->dtype), &p, want, 0, 3, 0, 256);
        multiply(k, &p, p.y, 0, 3, 0, 256);
        for (int t = 0; t < 3; t++) assert_memory_equal(p.y + t * p.ldy, want + t * p.ldy, 256 * sizeof(float));
        free(want);
        free_problem(&p);
    }
}

/* A broken activation reaches every output; the other rows stay clean. */
static void broken_rows_stay_alone(void **state) {
    (void)state;
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (!is_product(k) || !runs_here(k)) continue;
        problem p;
        make_problem(&p, k->dtype, 6, 20, 256);
        p.x[2 * p.ldx + 100] = NAN;
        p.x[4 * p.ldx + 100] = INFINITY;
        quantise(&p);
        multiply(k, &p, p.y, 0, 6, 0, 20);
        for (int t = 0; t < 6; t++)
            for (int o = 0; o < 20; o++) {
                const float v = p.y[t * p.ldy + o];
                if (t == 2 || (t == 4 && moa_kernel_by_rows(k->op)))
                    assert_true(isnan(v));
                else if (t != 4)
                    assert_true(isfinite(v));
            }
        free_problem(&p);
    }
}

enum { LONGEST = 1100 };
static const int lengths[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 255, 512, 777, LONGEST};

/* Runs a vector kernel from buffer b (2 inputs of LONGEST + 1) into out; returns how many floats it gave. */
static int run_vector(const moa_kernel *k, float *out, const float *b, int n) {
    const float *x = b + 1, *y = b + LONGEST + 2;
    memcpy(out, x, (size_t)n * 4);
    switch (k->op) {
    case MOA_K_AXPY: k->fn.axpy(out, 0.37f, y, n); return n;
    case MOA_K_SOFTMAX: k->fn.softmax(out, n); return n;
    case MOA_K_EXP: k->fn.expv(out, x, n); return n;
    default: return -1;
    }
}

static void plain_vectors_are_right(void **state) {
    (void)state;
    static float in[2 * (LONGEST + 1) + 1], a[LONGEST + 16];
    for (int scale = 0; scale < 3; scale++) {
        normals(in, 2 * (LONGEST + 1) + 1, 9);
        const float f = scale == 0 ? 1.0f : scale == 1 ? 20.0f : 1e-20f;
        for (size_t i = 0; i < sizeof in / sizeof *in; i++) in[i] *= f;
        for (int i = 0; i < n_list; i++) {
            const moa_kernel *k = list[i];
            if (k->isa != MOA_ISA_REF || run_vector(k, a, in, 0) < 0) continue;
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                const int n = lengths[l];
                const float *x = in + 1, *y = in + LONGEST + 2;
                run_vector(k, a, in, n);
                double top = -INFINITY, sum = 0;
                for (int j = 0; j < n; j++) top = fmax(top, (double)x[j]);
                for (int j = 0; j < n; j++) sum += exp((double)x[j] - top);
                for (int j = 0; j < n; j++) {
                    const double xj = (double)x[j], step = (double)0.37f * (double)y[j];
                    const double want = k->op == MOA_K_EXP ? exp(xj) : k->op == MOA_K_SOFTMAX ? exp(xj - top) / sum : xj + step;
                    /* A difference to the largest is rounded before exp: that is its relative error. */
                    const double bound = k->op == MOA_K_EXP       ? 3e-7 * want
                                         : k->op == MOA_K_SOFTMAX ? (2e-6 + 0x1p-24 * fabs(xj - top)) * want
                                                                  : 0x1p-23 * (fabs(xj) + fabs(step));
                    const double d = fabs((double)a[j] - want);
                    if (!(d <= bound + 1e-38)) fail_msg("%s, %d numbers: %g, expected %g within %g", k->name, n, (double)a[j], want, bound);
                }
            }
        }
    }
}

/* Activations are rounded to integers after norms and softmaxes: where the last bit differed between two instruction sets, so would integers. */
static void vectors_are_the_bits_of_ref(void **state) {
    (void)state;
    static float in[2 * (LONGEST + 1) + 1], a[LONGEST + 16], b[LONGEST + 16];
    for (int scale = 0; scale < 3; scale++) {
        normals(in, 2 * (LONGEST + 1) + 1, 11);
        const float f = scale == 0 ? 1.0f : scale == 1 ? 30.0f : 1e-20f;
        for (size_t i = 0; i < sizeof in / sizeof *in; i++) in[i] *= f;
        for (int i = 0; i < n_list; i++) {
            const moa_kernel *k = list[i];
            if (k->isa == MOA_ISA_REF || !runs_here(k) || run_vector(k, a, in, 0) < 0) continue;
            for (int n = 0; n <= LONGEST; n += n < 140 ? 1 : 37) {
                for (int j = 0; j < LONGEST + 16; j++) a[j] = b[j] = 5;
                run_vector(k, a, in, n);
                run_vector(ref_of(k), b, in, n);
                if (memcmp(a, b, (size_t)n * sizeof *a)) fail_msg("%s differs from plain C at n = %d", k->name, n);
                for (int j = n; j < LONGEST + 16; j++) assert_true(a[j] == 5); /* nothing past the end */
            }
        }
    }
}

static void vectors_at_the_limits(void **state) {
    (void)state;
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (!runs_here(k)) continue;
        float x[19], y[19];
        for (int j = 0; j < 19; j++) x[j] = -INFINITY;
        if (k->op == MOA_K_SOFTMAX) { /* masked entries; one that is far above; a NaN shows */
            x[3] = 1, x[17] = 1;
            k->fn.softmax(x, 19);
            for (int j = 0; j < 19; j++) assert_true(x[j] == (j == 3 || j == 17 ? 0.5f : 0.0f));
            for (int j = 0; j < 19; j++) x[j] = j == 5 ? 3e38f : -3e38f;
            k->fn.softmax(x, 19);
            for (int j = 0; j < 19; j++) assert_true(x[j] == (j == 5 ? 1.0f : 0.0f));
            for (int at = 0; at < 19; at++) {
                for (int j = 0; j < 19; j++) x[j] = j == at ? NAN : 0;
                k->fn.softmax(x, 19);
                for (int j = 0; j < 19; j++) assert_true(isnan(x[j]));
            }
        }
        if (k->op == MOA_K_EXP) {
            for (int j = 0; j < 19; j++) x[j] = j % 3 == 0 ? INFINITY : j % 3 == 1 ? -INFINITY : NAN;
            k->fn.expv(y, x, 19);
            for (int j = 0; j < 19; j++) assert_true(j % 3 == 0 ? y[j] == INFINITY : j % 3 == 1 ? y[j] == 0 : isnan(y[j]));
        }
    }
}

static void quantised_activations(void **state) {
    (void)state;
    enum { ROWS = 5, N = 160 };
    for (int i = 0; i < n_list; i++) {
        const moa_kernel *k = list[i];
        if (k->op != MOA_K_QUANT_Q8 || !runs_here(k)) continue;
        float x[ROWS * N + 1];
        normals(x, ROWS * N + 1, 3);
        for (int j = 0; j < 32; j++) x[1 + N + j] = 0, x[1 + N + 32 + j] *= 1e-36f, x[1 + N + 64 + j] *= 1e37f;
        x[1 + 2 * N + 40] = NAN, x[1 + 3 * N + 70] = -INFINITY;
        for (int j = 0; j < 32; j++) x[1 + 4 * N + j] = (float)j + 0.5f; /* halves: ties */
        x[1 + 4 * N] = 127;
        int8_t q[2][ROWS * N];
        float s[2][ROWS * N / 32];
        int16_t sum[2][ROWS * N / 16];
        for (int v = 0; v < 2; v++) {
            moa_q8_act a = {.n_tok = ROWS, .n = N, .q = q[v], .scale = s[v], .sum = sum[v]};
            (v ? ref_of(k) : k)->fn.quant_q8(&a, x + 1, N, 0, 2);
            (v ? ref_of(k) : k)->fn.quant_q8(&a, x + 1, N, 2, ROWS);
        }
        assert_memory_equal(q[0], q[1], sizeof q[0]);
        assert_memory_equal(s[0], s[1], sizeof s[0]);
        assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
        for (int b = 0; b < ROWS * N / 32; b++) {
            const bool broken = b == 2 * N / 32 + 1 || b == 3 * N / 32 + 2;
            assert_true(isnan(s[0][b]) == broken);
            for (int j = 0; j < 32 && !broken; j++) {
                const float v = x[1 + b * 32 + j], back = s[0][b] * (float)q[0][b * 32 + j];
                assert_true(fabsf(v - back) <= s[0][b] * 0.501f + 1e-30f);
            }
        }
    }
}

static void tables(void **state) {
    (void)state;
    moa_err err = {0};
    const moa_kernels *t;
    for (int isa = 0; isa <= (int)moa_isa_best(); isa++) {
        assert_int_equal(moa_kernels_get(&t, (moa_isa)isa, &err), MOA_OK);
        for (int op = 0; op < MOA_K_COUNT; op++)
            for (int d = 0; d < MOA_DTYPE_MAX; d++) assert_true(!t->slot[op][d] || (int)t->slot[op][d]->isa <= isa);
        assert_non_null(t->slot[MOA_K_GEMM][MOA_F32]);
        assert_non_null(t->slot[MOA_K_GEMM_Q8][MOA_IQ4_XS]);
        assert_null(t->slot[MOA_K_GEMM_Q8][MOA_F32]);
        for (int c = 0; c < MOA_ROW_CLASSES; c++)
            for (int d = 0; d < MOA_DTYPE_MAX; d++) {
                const moa_kernel *k = t->gemm_q8[c][d];
                assert_true(!k == !t->slot[MOA_K_GEMM_Q8][d]);
                assert_true(!k || (k->op == MOA_K_GEMM_Q8 && (int)k->dtype == d && (int)k->isa <= isa));
            }
    }
    for (int i = 0; i < n_list; i++) { /* plain C is complete */
        assert_non_null(ref_of(list[i]));
        assert_true(strlen(list[i]->name) > 0 && strlen(list[i]->help) > 0);
    }
    if (moa_isa_best() < MOA_ISA_AMX) {
        assert_int_equal(moa_kernels_get(&t, MOA_ISA_AMX, &err), MOA_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "lacks"));
    }
    moa_isa isa;
    assert_int_equal(moa_isa_parse(&isa, "AVX2", &err), MOA_OK);
    assert_int_equal(isa, MOA_ISA_AVX2);
    assert_int_equal(moa_isa_parse(&isa, "sse9", &err), MOA_EUSAGE);
    assert_non_null(strstr(err.hint, "avx2"));
    setenv("MOA_ISA", "ref", 1);
    assert_int_equal(moa_kernels_default(&t, &err), MOA_OK);
    assert_int_equal(t->isa, MOA_ISA_REF);
    setenv("MOA_ISA", "quick", 1);
    assert_int_equal(moa_kernels_default(&t, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "MOA_ISA"));
    unsetenv("MOA_ISA");
}

int main(void) {
    list = with_emulation(&n_list);
    printf("instruction set of this machine: %s\n", moa_isa_name(moa_isa_best()));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(plain_products_are_right),
        cmocka_unit_test(products_are_the_bits_of_ref),
        cmocka_unit_test(products_do_not_depend_on_the_batch),
        cmocka_unit_test(no_product_saturates),
        cmocka_unit_test(every_small_scale),
        cmocka_unit_test(broken_rows_stay_alone),
        cmocka_unit_test(plain_vectors_are_right),
        cmocka_unit_test(vectors_are_the_bits_of_ref),
        cmocka_unit_test(vectors_at_the_limits),
        cmocka_unit_test(quantised_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

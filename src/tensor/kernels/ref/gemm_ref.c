/* gemm_ref.c - matrix products in plain C, for every weight type: the definition.
 *
 * gemm_f32 adds in the order of sum.h, fused. gemm_q8 is exact integer arithmetic inside a run of 32 elements
 * (16 where the format has scales for 16) and then, in the order of k, one fused multiply-add a run:
 *     y = fma(sum of w.q * x.q,  w.d * x.scale,  y)
 *     y = fma(x.scale * (sum of x.q),  w.m,  y)              formats with a minimum only
 * The kernels of every ISA keep these orders: the same bits everywhere, for any batch and any split.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/sum.h"
#include "tensor/kernels/types.h"
#include "tensor/pack.h"
#include "tensor/quant/block.h"

#include <math.h>

enum { CHUNK = MOA_QK, TOKENS = 16 };

/* One output column for at most TOKENS rows of x. */
static void column(const moa_type *type, float *y, int64_t ldy, const float *x, int64_t ldx, const uint8_t *w, int64_t n_tok,
                   int64_t n_in) {
    float lane[TOKENS][SUM_LANES] = {0}, row[CHUNK];
    for (int64_t k = 0; k < n_in; k += CHUNK) {
        const int64_t len = n_in - k < CHUNK ? n_in - k : CHUNK;
        type->dequantize(row, w + k / type->block * type->bytes, len);
        for (int64_t i = 0; i < n_tok; i++)
            for (int64_t j = 0; j < len; j += SUM_LANES) {
                const float *a = x + i * ldx + k + j, *b = row + j;
                const int n = len - j < SUM_LANES ? (int)(len - j) : SUM_LANES;
                for (int l = 0; l < n; l++) lane[i][l] = fmaf(a[l], b[l], lane[i][l]);
                for (int l = n; l < SUM_LANES; l++) lane[i][l] += 0.0f; /* a -0 becomes 0 */
            }
    }
    for (int64_t i = 0; i < n_tok; i++) y[i * ldy] = sum_fold(lane[i]);
}

static void gemm_f32(const moa_type *type, float *y, int64_t ldy, const float *x, int64_t ldx, const void *w, size_t w_stride,
                     int64_t n_tok, int64_t o0, int64_t o1, int64_t n_in) {
    for (int64_t i = 0; i < n_tok; i += TOKENS)
        for (int64_t o = o0; o < o1; o++)
            column(type, y + i * ldy + o, ldy, x + i * ldx, ldx, (const uint8_t *)w + (size_t)o * w_stride,
                   n_tok - i < TOKENS ? n_tok - i : TOKENS, n_in);
}

static int32_t dot_int(const int8_t *a, const int8_t *b, int n) {
    int32_t s = 0;
    for (int i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* Continue the chain of one output over up to 256 elements from k on. per: 32, or 16. */
static float chain(float y, const moa_ints *u, const moa_q8_act *x, int64_t i, int64_t k, int len, int per, bool has_min) {
    const int8_t *q = x->q + i * x->n + k;
    const float *scale = x->scale + (i * x->n + k) / MOA_QB;
    const int16_t *sum = x->sum + (i * x->n + k) / 16;
    for (int j = 0; j < len; j += per) {
        const float s = scale[j / MOA_QB];
        y = fmaf((float)dot_int(u->q + j, q + j, per), u->d[j / 16] * s, y);
        if (!has_min) continue;
        const int total = per == 16 ? sum[j / 16] : sum[j / 16] + sum[j / 16 + 1];
        y = fmaf(s * (float)total, u->m[j / 16], y);
    }
    return y;
}

static void gemm_q8(const moa_type *type, float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0,
                    int64_t o1) {
    moa_ints u;
    for (int64_t o = o0; o < o1; o++) {
        for (int64_t i = 0; i < x->n_tok; i++) y[i * ldy + o] = 0;
        for (int64_t k = 0; k < x->n; k += CHUNK) {
            const int len = x->n - k < CHUNK ? (int)(x->n - k) : CHUNK;
            type->unpack(&u, (const uint8_t *)w + (size_t)o * w_stride + k / type->block * type->bytes, len);
            for (int64_t i = 0; i < x->n_tok; i++)
                y[i * ldy + o] = chain(y[i * ldy + o], &u, x, i, k, len, type->run, type->has_min);
        }
    }
}

#define GEMM_F32(NAME, type)                                                                                                     \
    static void gemm_f32_##type(float *y, int64_t ldy, const float *x, int64_t ldx, const void *w, size_t w_stride,              \
                                int64_t n_tok, int64_t o0, int64_t o1, int64_t n_in) {                                           \
        gemm_f32(&moa_type_##type, y, ldy, x, ldx, w, w_stride, n_tok, o0, o1, n_in);                                            \
    }                                                                                                                            \
    const moa_kernel moa_kernel_gemm_f32_##type##_ref = {.name = "gemm_f32_" #type "_ref",                                       \
                                                         .help = "plain C, fused, 16 lanes",                                     \
                                                         .op = MOA_K_GEMM,                                                       \
                                                         .dtype = MOA_##NAME,                                                    \
                                                         .isa = MOA_ISA_REF,                                                     \
                                                         .fn.gemm_f32 = gemm_f32_##type};
MOA_GEMM_TYPES(GEMM_F32)

#define GEMM_Q8(NAME, type)                                                                                                      \
    static void gemm_q8_##type(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0,           \
                               int64_t o1) {                                                                                     \
        gemm_q8(&moa_type_##type, y, ldy, x, w, w_stride, o0, o1);                                                               \
    }                                                                                                                            \
    const moa_kernel moa_kernel_gemm_q8_##type##_ref = {.name = "gemm_q8_" #type "_ref",                                         \
                                                        .help = "plain C, exact integers, one chain",                            \
                                                        .op = MOA_K_GEMM_Q8,                                                     \
                                                        .dtype = MOA_##NAME,                                                     \
                                                        .isa = MOA_ISA_REF,                                                      \
                                                        .fn.gemm_q8 = gemm_q8_##type};
MOA_BLOCK_TYPES(GEMM_Q8)

/* Packed rows, put back together block by block. */
static void gemm_packed(const moa_type *type, float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0,
                        int64_t o1) {
    moa_ints u;
    uint8_t block[MOA_QK / MOA_QB * 34];
    for (int64_t o = o0; o < o1; o++) {
        const uint8_t *group = (const uint8_t *)w + (size_t)(o / MOA_PACK_ROWS * MOA_PACK_ROWS) * w_stride;
        for (int64_t i = 0; i < x->n_tok; i++) y[i * ldy + o] = 0;
        for (int64_t k = 0; k < x->n; k += CHUNK) {
            const int len = x->n - k < CHUNK ? (int)(x->n - k) : CHUNK;
            for (int b = 0; b < len / type->block; b++)
                moa_unpack_block(block + b * type->bytes, group + (k / type->block + b) * type->bytes * MOA_PACK_ROWS, type,
                                 (int)(o % MOA_PACK_ROWS));
            type->unpack(&u, block, len);
            for (int64_t i = 0; i < x->n_tok; i++)
                y[i * ldy + o] = chain(y[i * ldy + o], &u, x, i, k, len, type->run, type->has_min);
        }
    }
}

#define GEMM_PACKED(NAME, type)                                                                                                  \
    static void gemm_packed_##type(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0,       \
                                   int64_t o1) {                                                                                 \
        gemm_packed(&moa_type_##type, y, ldy, x, w, w_stride, o0, o1);                                                           \
    }                                                                                                                            \
    const moa_kernel moa_kernel_gemm_packed_##type##_ref = {.name = "gemm_packed_" #type "_ref",                                 \
                                                            .help = "plain C, packed rows",                                      \
                                                            .op = MOA_K_GEMM_PACKED,                                             \
                                                            .dtype = MOA_##NAME,                                                 \
                                                            .isa = MOA_ISA_REF,                                                  \
                                                            .fn.gemm_q8 = gemm_packed_##type};
MOA_PACKED_TYPES(GEMM_PACKED)

/* attn_avx2.c - attention over one block of 32 cached positions: 4 registers hold 32 scores of one head.
 *
 * Heads that share a key head go 2 at a time (8 accumulators); one FMA chain a score, in order of hd, whatever the
 * group. See kernels/ref/attn_ref.c for the layout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"

#include <immintrin.h>
#include <math.h>

enum { BLOCK = 32, W = 8 };

static inline __m256 load_f32(const void *p, int64_t i) { return _mm256_loadu_ps((const float *)p + i); }
static inline __m256 load_f16(const void *p, int64_t i) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)((const uint16_t *)p + i)));
}
static inline float one_f32(const void *p, int64_t i) { return ((const float *)p)[i]; }
static inline float one_f16(const void *p, int64_t i) { return _cvtsh_ss(((const uint16_t *)p)[i]); }

/* n is a constant at each call, so the loops over heads unroll into registers. */
#define SCORE(NAME, LOAD)                                                                                              \
    static inline __attribute__((always_inline)) void NAME##_n(float *s, const float *q, const void *k, int n, int hd, \
                                                               float scale) {                                          \
        __m256 a[2][4];                                                                                                \
        for (int j = 0; j < n; j++)                                                                                    \
            for (int h = 0; h < 4; h++) a[j][h] = _mm256_setzero_ps();                                                 \
        for (int d = 0; d < hd; d++)                                                                                   \
            for (int j = 0; j < n; j++) {                                                                              \
                const __m256 qd = _mm256_set1_ps(q[j * hd + d]);                                                       \
                for (int h = 0; h < 4; h++) a[j][h] = _mm256_fmadd_ps(qd, LOAD(k, d * BLOCK + h * W), a[j][h]);        \
            }                                                                                                          \
        for (int j = 0; j < n; j++)                                                                                    \
            for (int h = 0; h < 4; h++)                                                                                \
                _mm256_storeu_ps(s + j * BLOCK + h * W, _mm256_mul_ps(a[j][h], _mm256_set1_ps(scale)));                \
    }                                                                                                                  \
    static void NAME(float *s, const float *q, const void *k, int n_q, int hd, float scale) {                          \
        int j = 0;                                                                                                     \
        for (; j + 2 <= n_q; j += 2) NAME##_n(s + j * BLOCK, q + j * hd, k, 2, hd, scale);                             \
        if (j < n_q) NAME##_n(s + j * BLOCK, q + j * hd, k, 1, hd, scale);                                             \
    }

/* A strip of 8 columns of o for up to 4 heads stays in registers over the positions. */
#define MIX(NAME, LOAD, ONE)                                                                                           \
    static inline __attribute__((always_inline)) void NAME##_n(float *o, const float *p, const void *v, int n,         \
                                                               int n_pos, int hd, int d) {                             \
        __m256 a[4];                                                                                                   \
        for (int j = 0; j < n; j++) a[j] = _mm256_loadu_ps(o + j * hd + d);                                            \
        for (int t = 0; t < n_pos; t++) {                                                                              \
            const __m256 vt = LOAD(v, (int64_t)t * hd + d);                                                            \
            for (int j = 0; j < n; j++) a[j] = _mm256_fmadd_ps(_mm256_set1_ps(p[j * BLOCK + t]), vt, a[j]);            \
        }                                                                                                              \
        for (int j = 0; j < n; j++) _mm256_storeu_ps(o + j * hd + d, a[j]);                                            \
    }                                                                                                                  \
    static void NAME(float *o, const float *p, const void *v, int n_q, int n_pos, int hd) {                            \
        int d = 0;                                                                                                     \
        for (; d + W <= hd; d += W) {                                                                                  \
            int j = 0;                                                                                                 \
            for (; j + 4 <= n_q; j += 4) NAME##_n(o + j * hd, p + j * BLOCK, v, 4, n_pos, hd, d);                      \
            for (; j < n_q; j++) NAME##_n(o + j * hd, p + j * BLOCK, v, 1, n_pos, hd, d);                              \
        }                                                                                                              \
        for (; d < hd; d++)                                                                                            \
            for (int j = 0; j < n_q; j++)                                                                              \
                for (int t = 0; t < n_pos; t++)                                                                        \
                    o[j * hd + d] = fmaf(p[j * BLOCK + t], ONE(v, (int64_t)t * hd + d), o[j * hd + d]);                \
    }

SCORE(score_f32, load_f32)
SCORE(score_f16, load_f16)
MIX(mix_f32, load_f32, one_f32)
MIX(mix_f16, load_f16, one_f16)

#define ROW(NAME, OP, TYPE, FIELD, FN, HELP)                                                                           \
    const moa_kernel moa_kernel_##NAME = {.name = #NAME, .help = HELP, .op = OP, .dtype = TYPE, .isa = MOA_ISA_AVX2,   \
                                          .tol = 1e-4f, .fn.FIELD = FN}
ROW(attn_score_f32_avx2, MOA_K_ATTN_SCORE, MOA_F32, attn_score, score_f32, "scores of 32 cached keys, f32");
ROW(attn_score_f16_avx2, MOA_K_ATTN_SCORE, MOA_F16, attn_score, score_f16, "scores of 32 cached keys, f16");
ROW(attn_mix_f32_avx2, MOA_K_ATTN_MIX, MOA_F32, attn_mix, mix_f32, "weighted sum of cached values, f32");
ROW(attn_mix_f16_avx2, MOA_K_ATTN_MIX, MOA_F16, attn_mix, mix_f16, "weighted sum of cached values, f16");

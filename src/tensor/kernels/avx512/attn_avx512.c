/* attn_avx512.c - attention over one block of 32 cached positions: 2 registers hold 32 scores of one head.
 *
 * Heads that share a key head (grouped-query attention) go 4 at a time, so a key is loaded once for four; one FMA
 * chain a score, in order of hd, whatever the group. See kernels/ref/attn_ref.c for the layout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"

#include <immintrin.h>

enum { BLOCK = 32, W = 16 };

static inline __m512 load_f32(const void *p, int64_t i) { return _mm512_loadu_ps((const float *)p + i); }
static inline __m512 load_f16(const void *p, int64_t i) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)p + i)));
}
static inline __m512 tail_f32(const void *p, int64_t i, __mmask16 m) { return _mm512_maskz_loadu_ps(m, (const float *)p + i); }
static inline __m512 tail_f16(const void *p, int64_t i, __mmask16 m) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, (const uint16_t *)p + i));
}

/* n is a constant at each call, so the loops over heads unroll into registers. */
#define SCORE(NAME, LOAD)                                                                                              \
    static inline __attribute__((always_inline)) void NAME##_n(float *s, const float *q, const void *k, int n, int hd, \
                                                               float scale) {                                          \
        __m512 a[4][2];                                                                                                \
        for (int j = 0; j < n; j++) a[j][0] = a[j][1] = _mm512_setzero_ps();                                           \
        for (int d = 0; d < hd; d++) {                                                                                 \
            const __m512 k0 = LOAD(k, d * BLOCK), k1 = LOAD(k, d * BLOCK + W);                                         \
            for (int j = 0; j < n; j++) {                                                                              \
                const __m512 qd = _mm512_set1_ps(q[j * hd + d]);                                                       \
                a[j][0] = _mm512_fmadd_ps(qd, k0, a[j][0]);                                                            \
                a[j][1] = _mm512_fmadd_ps(qd, k1, a[j][1]);                                                            \
            }                                                                                                          \
        }                                                                                                              \
        for (int j = 0; j < n; j++)                                                                                    \
            for (int h = 0; h < 2; h++)                                                                                \
                _mm512_storeu_ps(s + j * BLOCK + h * W, _mm512_mul_ps(a[j][h], _mm512_set1_ps(scale)));                \
    }                                                                                                                  \
    static void NAME(float *s, const float *q, const void *k, int n_q, int hd, float scale) {                          \
        int j = 0;                                                                                                     \
        for (; j + 4 <= n_q; j += 4) NAME##_n(s + j * BLOCK, q + j * hd, k, 4, hd, scale);                             \
        if (j + 2 <= n_q) NAME##_n(s + j * BLOCK, q + j * hd, k, 2, hd, scale), j += 2;                                \
        if (j < n_q) NAME##_n(s + j * BLOCK, q + j * hd, k, 1, hd, scale);                                             \
    }

/* A strip of up to 16 columns of o for up to 4 heads stays in registers over the positions. */
#define MIX(NAME, TAIL)                                                                                                \
    static inline __attribute__((always_inline)) void NAME##_n(float *o, const float *p, const void *v, int n,         \
                                                               int n_pos, int hd, int d, __mmask16 m) {                \
        __m512 a[4];                                                                                                   \
        for (int j = 0; j < n; j++) a[j] = _mm512_maskz_loadu_ps(m, o + j * hd + d);                                   \
        for (int t = 0; t < n_pos; t++) {                                                                              \
            const __m512 vt = TAIL(v, (int64_t)t * hd + d, m);                                                         \
            for (int j = 0; j < n; j++) a[j] = _mm512_fmadd_ps(_mm512_set1_ps(p[j * BLOCK + t]), vt, a[j]);            \
        }                                                                                                              \
        for (int j = 0; j < n; j++) _mm512_mask_storeu_ps(o + j * hd + d, m, a[j]);                                    \
    }                                                                                                                  \
    static void NAME(float *o, const float *p, const void *v, int n_q, int n_pos, int hd) {                            \
        for (int d = 0; d < hd; d += W) {                                                                              \
            const __mmask16 m = (__mmask16)(hd - d >= W ? 0xffffu : (1u << (hd - d)) - 1);                             \
            int j = 0;                                                                                                 \
            for (; j + 4 <= n_q; j += 4) NAME##_n(o + j * hd, p + j * BLOCK, v, 4, n_pos, hd, d, m);                   \
            if (j + 2 <= n_q) NAME##_n(o + j * hd, p + j * BLOCK, v, 2, n_pos, hd, d, m), j += 2;                      \
            if (j < n_q) NAME##_n(o + j * hd, p + j * BLOCK, v, 1, n_pos, hd, d, m);                                   \
        }                                                                                                              \
    }

SCORE(score_f32, load_f32)
SCORE(score_f16, load_f16)
MIX(mix_f32, tail_f32)
MIX(mix_f16, tail_f16)

#define ROW(NAME, OP, TYPE, FIELD, FN, HELP)                                                                           \
    const moa_kernel moa_kernel_##NAME = {.name = #NAME, .help = HELP, .op = OP, .dtype = TYPE, .isa = MOA_ISA_AVX512, \
                                          .tol = 1e-4f, .fn.FIELD = FN}
ROW(attn_score_f32_avx512, MOA_K_ATTN_SCORE, MOA_F32, attn_score, score_f32, "scores of 32 cached keys, f32");
ROW(attn_score_f16_avx512, MOA_K_ATTN_SCORE, MOA_F16, attn_score, score_f16, "scores of 32 cached keys, f16");
ROW(attn_mix_f32_avx512, MOA_K_ATTN_MIX, MOA_F32, attn_mix, mix_f32, "weighted sum of cached values, f32");
ROW(attn_mix_f16_avx512, MOA_K_ATTN_MIX, MOA_F16, attn_mix, mix_f16, "weighted sum of cached values, f16");

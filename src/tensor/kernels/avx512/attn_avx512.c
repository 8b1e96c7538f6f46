/* attn_avx512.c - kernels/attn.h with vectors of 16: tiles of 12 columns x 2 vectors. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx512/simd.h"

enum { SCORE_COLS = 12, MIX_COLS = 12 };

MOA_INLINE int vf_above(VF v, float x) { return _mm512_cmp_ps_mask(v, _mm512_set1_ps(x), _CMP_GT_OQ) != 0; }
MOA_INLINE VF vf_from_i8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p))); }
MOA_INLINE void vf_from_half32(float *dst, const uint16_t *h) {
    vf_store(dst, vf_load_f16(h));
    vf_store(dst + VN, vf_load_f16(h + VN));
}

/* The cached vectors first, then a broadcast a column: 24 sums and 3 more registers. */
#define TILE_STEP(a, n, Q, K)                                                                                                    \
    {                                                                                                                            \
        VF kd[NV];                                                                                                               \
        for (int h = 0; h < NV; h++) kd[h] = K;                                                                                  \
        for (int j = 0; j < n; j++) {                                                                                            \
            const VF qd = vf_set1(Q);                                                                                            \
            for (int h = 0; h < NV; h++) a[j][h] = vf_fma(qd, kd[h], a[j][h]);                                                   \
        }                                                                                                                        \
    }
#define SPLIT(j, n, c, CALL)                                                                                                     \
    for (; j + c <= n; j += c) {                                                                                                 \
        enum { C = c };                                                                                                          \
        CALL;                                                                                                                    \
    }
#define SPLIT_SCORE(j, n, CALL) SPLIT(j, n, 12, CALL) SPLIT(j, n, 8, CALL) SPLIT(j, n, 4, CALL) SPLIT(j, n, 2, CALL) SPLIT(j, n, 1, CALL)
#define SPLIT_V(j, n, c, v, CALL)                                                                                                \
    for (; j + c <= n; j += c) {                                                                                                 \
        enum { C = c, V = v };                                                                                                   \
        CALL;                                                                                                                    \
    }
#define SPLIT_MIX(j, n, CALL)                                                                                                    \
    SPLIT_V(j, n, 12, 2, CALL) SPLIT_V(j, n, 8, 2, CALL) SPLIT_V(j, n, 4, 4, CALL) SPLIT_V(j, n, 2, 4, CALL) SPLIT_V(j, n, 1, 4, CALL)

#include "tensor/kernels/attn.h"

/* Bytes of keys are unsigned by 128 too much: the sum begins at -128 times the sum of the query's. */
MOA_INLINE void score_q8_0_n(float *s, const int8_t *q, const uint8_t *k, const uint16_t *kd, int n, int hd) {
    const int wide = moa_attn_padded(hd), n_g = wide / 32;
    const size_t each = moa_attn_query_bytes(MOA_Q8_0, hd);
    VF a[6][2];
    for (int j = 0; j < n; j++) a[j][0] = a[j][1] = vf_zero();
    for (int g = 0; g < n_g; g++) {
        __m512i i[6][2];
        for (int j = 0; j < n; j++)
            i[j][0] = i[j][1] = _mm512_set1_epi32(-128 * ((const int32_t *)(const void *)(q + (size_t)j * each + wide + 4 * n_g))[g]);
        for (int c = 0; c < 8; c++) {
            const __m512i k0 = _mm512_loadu_si512(k + (g * 8 + c) * 128), k1 = _mm512_loadu_si512(k + (g * 8 + c) * 128 + 64);
            for (int j = 0; j < n; j++) {
                int32_t four;
                memcpy(&four, q + (size_t)j * each + g * 32 + c * 4, 4);
                const __m512i qc = _mm512_set1_epi32(four);
                i[j][0] = _mm512_dpbusd_epi32(i[j][0], k0, qc);
                i[j][1] = _mm512_dpbusd_epi32(i[j][1], k1, qc);
            }
        }
        const VF d0 = vf_load_f16(kd + g * BLOCK), d1 = vf_load_f16(kd + g * BLOCK + VN);
        for (int j = 0; j < n; j++) {
            const VF qd = vf_set1(((const float *)(const void *)(q + (size_t)j * each + wide))[g]);
            a[j][0] = vf_fma(_mm512_cvtepi32_ps(i[j][0]), vf_mul(d0, qd), a[j][0]);
            a[j][1] = vf_fma(_mm512_cvtepi32_ps(i[j][1]), vf_mul(d1, qd), a[j][1]);
        }
    }
    for (int j = 0; j < n; j++) vf_store(s + j * BLOCK, a[j][0]), vf_store(s + j * BLOCK + VN, a[j][1]);
}

static void score_q8_0(float *s, const void *q, const void *k, int n, int hd) {
    const size_t each = moa_attn_query_bytes(MOA_Q8_0, hd);
    int j = 0;
#define SCORE_Q8 score_q8_0_n(s + j * BLOCK, (const int8_t *)q + (size_t)j * each, k, scales_of(k, hd), C, hd)
    SPLIT(j, n, 6, SCORE_Q8) SPLIT(j, n, 4, SCORE_Q8) SPLIT(j, n, 2, SCORE_Q8) SPLIT(j, n, 1, SCORE_Q8)
}

ATTN_ROW(q8_0, MOA_Q8_0, query_q8_0, "attention over an int8 cache with a scale for 32 numbers")

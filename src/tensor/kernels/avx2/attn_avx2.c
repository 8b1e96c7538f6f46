/* attn_avx2.c - kernels/attn.h with vectors of 8: tiles of 3 columns x 4 vectors. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx2/simd.h"

enum { SCORE_COLS = 3, MIX_COLS = 6 };

MOA_INLINE int vf_above(VF v, float x) { return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(x), _CMP_GT_OQ)) != 0; }
MOA_INLINE VF vf_from_i8(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))); }
MOA_INLINE void vf_from_half32(float *dst, const uint16_t *h) {
    for (int i = 0; i < 32; i += VN) vf_store(dst + i, vf_load_f16(h + i));
}

/* The broadcasts first, then one cached vector after the other: 12 sums and 4 more registers. */
#define TILE_STEP(a, n, Q, K)                                                                                                    \
    {                                                                                                                            \
        VF qd[SCORE_COLS];                                                                                                       \
        for (int j = 0; j < n; j++) qd[j] = vf_set1(Q);                                                                          \
        for (int h = 0; h < NV; h++) {                                                                                           \
            const VF kd = K;                                                                                                     \
            for (int j = 0; j < n; j++) a[j][h] = vf_fma(qd[j], kd, a[j][h]);                                                    \
        }                                                                                                                        \
    }
#define SPLIT(j, n, c, CALL)                                                                                                     \
    for (; j + c <= n; j += c) {                                                                                                 \
        enum { C = c };                                                                                                          \
        CALL;                                                                                                                    \
    }
#define SPLIT_SCORE(j, n, CALL)                                                                                                  \
    for (; n - j == 3 || n - j > 4; j += 3) { /* 4 go as 2 and 2 */                                                              \
        enum { C = 3 };                                                                                                          \
        CALL;                                                                                                                    \
    }                                                                                                                            \
    SPLIT(j, n, 2, CALL) SPLIT(j, n, 1, CALL)
#define SPLIT_V(j, n, c, v, CALL)                                                                                                \
    for (; j + c <= n; j += c) {                                                                                                 \
        enum { C = c, V = v };                                                                                                   \
        CALL;                                                                                                                    \
    }
#define SPLIT_MIX(j, n, CALL) SPLIT_V(j, n, 6, 2, CALL) SPLIT_V(j, n, 4, 2, CALL) SPLIT_V(j, n, 2, 4, CALL) SPLIT_V(j, n, 1, 4, CALL)

#include "tensor/kernels/attn.h"

/* Signed times signed without saturation: |k| <= 127 is the unsigned side, its sign goes to q, and 2 products of 127^2 fit 16 bits. */
MOA_INLINE void score_q8_0_n(float *s, const int8_t *q, const uint8_t *k, const uint16_t *kd, int n, int hd) {
    const int wide = moa_attn_padded(hd), n_g = wide / 32;
    const size_t each = moa_attn_query_bytes(MOA_Q8_0, hd);
    const __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    for (int h = 0; h < NV; h++) {
        VF a[4];
        for (int j = 0; j < n; j++) a[j] = vf_zero();
        for (int g = 0; g < n_g; g++) {
            __m256i i[4];
            for (int j = 0; j < n; j++) i[j] = _mm256_setzero_si256();
            for (int c = 0; c < 8; c++) {
                const __m256i key = _mm256_xor_si256(_mm256_loadu_si256((const void *)(k + (g * 8 + c) * 128 + h * 32)), flip);
                const __m256i size = _mm256_abs_epi8(key);
                for (int j = 0; j < n; j++) {
                    int32_t four;
                    memcpy(&four, q + (size_t)j * each + g * 32 + c * 4, 4);
                    const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(four), key));
                    i[j] = _mm256_add_epi32(i[j], _mm256_madd_epi16(pairs, ones));
                }
            }
            const VF d = vf_load_f16(kd + g * BLOCK + h * VN);
            for (int j = 0; j < n; j++) {
                const VF qd = vf_set1(((const float *)(const void *)(q + (size_t)j * each + wide))[g]);
                a[j] = vf_fma(_mm256_cvtepi32_ps(i[j]), vf_mul(d, qd), a[j]);
            }
        }
        for (int j = 0; j < n; j++) vf_store(s + j * BLOCK + h * VN, a[j]);
    }
}

static void score_q8_0(float *s, const void *q, const void *k, int n, int hd) {
    const size_t each = moa_attn_query_bytes(MOA_Q8_0, hd);
    int j = 0;
#define SCORE_Q8 score_q8_0_n(s + j * BLOCK, (const int8_t *)q + (size_t)j * each, k, scales_of(k, hd), C, hd)
    SPLIT(j, n, 4, SCORE_Q8) SPLIT(j, n, 2, SCORE_Q8) SPLIT(j, n, 1, SCORE_Q8)
}

ATTN_ROW(q8_0, MOA_Q8_0, query_q8_0, "attention over an int8 cache with a scale for 32 numbers")

/* vector.h - kernels on single rows for the vectors of avx2/simd.h or avx512/simd.h, with the bits of ref/vector_ref.c: sums are
 * those of sum.h, exp is vmath.h's.
 *
 * The including file includes simd.h of its ISA first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/sum.h"
#include "tensor/kernels/vmath.h"

#include <math.h>

MOA_INLINE float vf_sum(VF v) {
    const __m128 a = vf_fold4(v), b = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    const VF va = vf_set1(a);
    int64_t i = 0;
    for (; i + VN <= n; i += VN) vf_store(y + i, vf_fma(va, vf_load(x + i), vf_load(y + i)));
    const int rest = (int)(n - i);
    if (rest > 0) vf_store_first(y + i, vf_fma(va, vf_load_first(x + i, rest), vf_load_first(y + i, rest)), rest);
}

static void expv(float *y, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = moa_vexpf(x[i]);
}

static float largest(const float *x, int64_t n) {
    VF m = vf_set1(-INFINITY);
    int64_t i = 0;
    for (; i + VN <= n; i += VN) m = vf_max(vf_load(x + i), m); /* max(NaN, m) is m: a NaN shows in the sum */
    float lane[VN], top = -INFINITY;
    vf_store(lane, m);
    for (int l = 0; l < VN; l++) top = lane[l] > top ? lane[l] : top;
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

static float sum(const float *x, int64_t n) {
    VF s[SUM_PARTS];
    int64_t i = 0;
    for (int p = 0; p < SUM_PARTS; p++) s[p] = vf_zero();
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (int p = 0; p < SUM_PARTS; p++) s[p] = vf_add(s[p], vf_load(x + i + p * VN));
    for (int p = 0; p < SUM_PARTS && i < n; p++) s[p] = vf_add(s[p], vf_load_first(x + i + p * VN, sum_rest(n - i, p)));
    return vf_sum(sum_join(s));
}

static void softmax(float *x, int64_t n) {
    const float top = largest(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] = moa_vexpf(x[i] - top);
    const float inv = 1.0f / sum(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] *= inv;
}

/* 32 floats to int8, the bits of quant_q8 in ref/vector_ref.c. */
MOA_INLINE void quant_block(int8_t *q, float *scale, int16_t *total, const float *x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff), low = _mm256_set1_epi16(1);
    __m256 v[4];
    __m256i m = _mm256_setzero_si256();
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_loadu_ps(x + 8 * j);
        m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(v[j]), magnitude));
    }
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    const float big = _mm_cvtss_f32(_mm_castsi128_ps(t));
    const int broken = (uint32_t)_mm_cvtsi128_si32(t) >= 0x7f800000u, empty = broken || big < 1e-30f;
    *scale = broken ? NAN : empty ? 0.0f : big / 127.0f;
    if (empty) {
        _mm256_storeu_si256((__m256i *)(void *)q, _mm256_setzero_si256());
        total[0] = total[1] = 0;
        return;
    }
    const __m256 inv = _mm256_set1_ps(127.0f / big);
    __m256i i[4];
    for (int j = 0; j < 4; j++) i[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], inv));
    /* Packing works on 128-bit parts: put the 4-byte groups back in order. */
    const __m256i a = _mm256_packs_epi32(i[0], i[1]), b = _mm256_packs_epi32(i[2], i[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)(void *)q, _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
    const __m256i sa = _mm256_madd_epi16(a, low), sb = _mm256_madd_epi16(b, low);
    __m256i h = _mm256_hadd_epi32(sa, sb); /* per 128-bit part: 2 words of a, 2 of b */
    h = _mm256_hadd_epi32(h, h);           /* a, b, a, b */
    const __m128i s = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    total[0] = (int16_t)_mm_cvtsi128_si32(s), total[1] = (int16_t)_mm_extract_epi32(s, 1);
}

static void quant_q8(moa_q8_act *dst, const float *x, int64_t ldx, int64_t row0, int64_t row1) {
    for (int64_t i = row0; i < row1; i++)
        for (int64_t k = 0; k < dst->n; k += 32) {
            const int64_t at = i * dst->n + k;
            quant_block(dst->q + at, dst->scale + at / 32, dst->sum + at / 16, x + i * ldx + k);
        }
}

#define VECTOR_ROW(kernel, slot, text)                                                                                           \
    const moa_kernel MOA_ROW(kernel) = {.name = MOA_NAME(kernel), .help = text, .op = slot, .isa = ISA_LEVEL, .fn.kernel = kernel};
VECTOR_ROW(quant_q8, MOA_K_QUANT_Q8, "integers, eight at a time")
VECTOR_ROW(axpy, MOA_K_AXPY, "fused")
VECTOR_ROW(softmax, MOA_K_SOFTMAX, "polynomial exp, sums in 16 lanes")
VECTOR_ROW(expv, MOA_K_EXP, "polynomial exp")

/* vector.h - kernels on single rows for the vectors of avx2/simd.h or avx512/simd.h. Sums run in 4 times 16
 * lanes side by side, whatever the width of a vector, and end in one fixed tree: a result depends on n alone, and AVX2 and AVX-512 give
 * the same bits. exp and its kin come from vmath.h.
 *
 * The including file includes simd.h of its ISA first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/vmath.h"

#include <math.h>

MOA_INLINE float vf_sum(VF v) {
    const __m128 a = vf_fold4(v), b = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

/* 16 lanes in every ISA: HALF vectors of VN. */
enum { WIDE = 16, HALF = WIDE / VN };
MOA_INLINE VF join_halves(const VF *v) { return HALF == 2 ? vf_add(v[0], v[HALF - 1]) : v[0]; }
MOA_INLINE int rest_of(int64_t n, int half) { return n < half * VN ? 0 : n - half * VN < VN ? (int)(n - half * VN) : VN; }

static float dot(const float *a, const float *b, int64_t n) {
    VF s[4][HALF];
    int64_t i = 0;
    for (int j = 0; j < 4; j++)
        for (int h = 0; h < HALF; h++) s[j][h] = vf_zero();
    for (; i + 4 * WIDE <= n; i += 4 * WIDE)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
#pragma GCC unroll 2
            for (int h = 0; h < HALF; h++) s[j][h] = vf_fma(vf_load(a + i + j * WIDE + h * VN), vf_load(b + i + j * WIDE + h * VN), s[j][h]);
    for (; i + WIDE <= n; i += WIDE)
        for (int h = 0; h < HALF; h++) s[0][h] = vf_fma(vf_load(a + i + h * VN), vf_load(b + i + h * VN), s[0][h]);
    for (int h = 0; h < HALF && i < n; h++) {
        const int rest = rest_of(n - i, h);
        if (rest) s[1][h] = vf_fma(vf_load_first(a + i + h * VN, rest), vf_load_first(b + i + h * VN, rest), s[1][h]);
    }
    for (int h = 0; h < HALF; h++) s[0][h] = vf_add(vf_add(s[0][h], s[1][h]), vf_add(s[2][h], s[3][h]));
    return vf_sum(join_halves(s[0]));
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    const VF va = vf_set1(a);
    int64_t i = 0;
    for (; i + VN <= n; i += VN) vf_store(y + i, vf_fma(va, vf_load(x + i), vf_load(y + i)));
    const int rest = (int)(n - i);
    if (rest > 0) vf_store_first(y + i, vf_fma(va, vf_load_first(x + i, rest), vf_load_first(y + i, rest)), rest);
}

static void rms_norm(float *y, const float *x, const float *w, int64_t n, float eps) {
    const float r = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
    const VF vr = vf_set1(r);
    int64_t i = 0;
    for (; i + VN <= n; i += VN) {
        const VF v = vf_mul(vf_load(x + i), vr);
        vf_store(y + i, w ? vf_mul(v, vf_load(w + i)) : v);
    }
    for (; i < n; i++) y[i] = x[i] * r * (w ? w[i] : 1.0f);
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
    VF s[2][HALF];
    int64_t i = 0;
    for (int h = 0; h < HALF; h++) s[0][h] = s[1][h] = vf_zero();
    for (; i + 2 * WIDE <= n; i += 2 * WIDE)
#pragma GCC unroll 2
        for (int h = 0; h < HALF; h++) s[0][h] = vf_add(s[0][h], vf_load(x + i + h * VN)), s[1][h] = vf_add(s[1][h], vf_load(x + i + WIDE + h * VN));
    for (; i + WIDE <= n; i += WIDE)
        for (int h = 0; h < HALF; h++) s[0][h] = vf_add(s[0][h], vf_load(x + i + h * VN));
    for (int h = 0; h < HALF && i < n; h++) {
        const int rest = rest_of(n - i, h);
        if (rest) s[1][h] = vf_add(s[1][h], vf_load_first(x + i + h * VN, rest));
    }
    for (int h = 0; h < HALF; h++) s[0][h] = vf_add(s[0][h], s[1][h]);
    return vf_sum(join_halves(s[0]));
}

static void softmax(float *x, int64_t n) {
    const float top = largest(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] = moa_vexpf(x[i] - top);
    const float inv = 1.0f / sum(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] *= inv;
}

static void silu_mul(float *y, const float *a, const float *b, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a[i] * moa_vsigmoidf(a[i]) * b[i];
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

#define VECTOR_ROW(kernel, slot, bound, text)                                                                                    \
    const moa_kernel MOA_ROW(kernel) = {                                                                                         \
        .name = MOA_NAME(kernel), .help = text, .op = slot, .isa = ISA_LEVEL, .tol = bound, .fn.kernel = kernel};
VECTOR_ROW(quant_q8, MOA_K_QUANT_Q8, 0, "bits of ref")
VECTOR_ROW(dot, MOA_K_DOT, 1e-5f, "4 vectors of partial sums")
VECTOR_ROW(axpy, MOA_K_AXPY, 0, "bits of ref")
VECTOR_ROW(rms_norm, MOA_K_RMS_NORM, 2e-6f, "4 vectors of partial sums")
VECTOR_ROW(softmax, MOA_K_SOFTMAX, 2e-6f, "polynomial exp")
VECTOR_ROW(silu_mul, MOA_K_SILU_MUL, 2e-6f, "polynomial exp")
VECTOR_ROW(expv, MOA_K_EXP, 3e-7f, "polynomial exp")

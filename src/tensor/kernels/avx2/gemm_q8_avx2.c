/* gemm_q8_avx2.c - gemm_q8.h for 8 lanes. vpmaddubsw multiplies unsigned by signed bytes and adds pairs into 16 bits
 * with saturation, which must never happen:
 *   - formats of up to 6 bits: a pair is at most 2 * 63 * 127 = 16002, so two products are added in 16 bits;
 *   - formats of 8 bits: signed, magnitudes times activations that carry the sign of the weight; a pair is at most
 *     2 * 128 * 127 = 32512.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define ISA_LEVEL MOA_ISA_AVX2
#define MOA_ROW(name) moa_kernel_##name##_avx2
#define MOA_NAME(name) #name "_avx2"
typedef __m256i VI;
typedef __m256 VF;
#define STEP 2
#define SIGNED_BYTES 1
#define vi_flip_signs(v) (v)
#define vi_low4(v) _mm256_and_si256(v, _mm256_set1_epi8(15))
#define vi_shift4(v) _mm256_srli_epi16(v, 4)
#define vi_levels(v) level_bytes(v)
#define vi_fp4(v) fp4_bytes(v)
#define vf_from_half(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vi_set1 _mm256_set1_epi32
#define vi_to_float _mm256_cvtepi32_ps
#define vf_set1 _mm256_set1_ps
#define vf_mul _mm256_mul_ps
#define vf_fma _mm256_fmadd_ps

static inline void vf_store_first(float *y, VF v, int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(y, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane), v);
}

/* moa_e8m0_half of 8. */
static inline VF vf_from_e8m0_half(const uint16_t *e) {
    const VI v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)e));
    const VI small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), v), big = _mm256_slli_epi32(_mm256_sub_epi32(v, _mm256_set1_epi32(1)), 23);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(big, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), v)));
}

static inline VI broadcast_quad(const int8_t *x) {
    int32_t quad;
    memcpy(&quad, x, 4);
    return _mm256_set1_epi32(quad);
}

static inline VI dot_quads(VI s, const VI *w, const int8_t *x, int top) {
    const VI x0 = broadcast_quad(x), x1 = broadcast_quad(x + 4), one = _mm256_set1_epi16(1);
    if (top <= 63) {
        const VI p = _mm256_add_epi16(_mm256_maddubs_epi16(w[0], x0), _mm256_maddubs_epi16(w[1], x1));
        return _mm256_add_epi32(s, _mm256_madd_epi16(p, one));
    }
    /* These bytes are signed in the panel. */
    const VI p0 = _mm256_maddubs_epi16(_mm256_abs_epi8(w[0]), _mm256_sign_epi8(x0, w[0]));
    const VI p1 = _mm256_maddubs_epi16(_mm256_abs_epi8(w[1]), _mm256_sign_epi8(x1, w[1]));
    return _mm256_add_epi32(s, _mm256_add_epi32(_mm256_madd_epi16(p0, one), _mm256_madd_epi16(p1, one)));
}

/* 8 rows of 8 words, stride bytes apart, to 8 vectors: out[j] lane r = word j of row r. */
static inline __attribute__((always_inline)) VI row_of(const uint8_t *p, size_t stride, int r) {
    return _mm256_loadu_si256((const __m256i *)(const void *)(p + (size_t)r * stride));
}
static inline __attribute__((always_inline)) void to_lanes(VI out[8], const uint8_t *p, size_t stride) {
    VI a[8], b[8], c[8];
    for (int r = 0; r < 8; r++) a[r] = row_of(p, stride, r);
    for (int r = 0; r < 8; r += 2) {
        b[r] = _mm256_unpacklo_epi32(a[r], a[r + 1]);
        b[r + 1] = _mm256_unpackhi_epi32(a[r], a[r + 1]);
    }
    for (int r = 0; r < 8; r += 4) { /* c[r + j]: words j and j + 4 of rows r .. r + 3 */
        c[r] = _mm256_unpacklo_epi64(b[r], b[r + 2]), c[r + 1] = _mm256_unpackhi_epi64(b[r], b[r + 2]);
        c[r + 2] = _mm256_unpacklo_epi64(b[r + 1], b[r + 3]), c[r + 3] = _mm256_unpackhi_epi64(b[r + 1], b[r + 3]);
    }
    for (int j = 0; j < 4; j++) {
        out[j] = _mm256_permute2x128_si256(c[j], c[j + 4], 0x20);
        out[j + 4] = _mm256_permute2x128_si256(c[j], c[j + 4], 0x31);
    }
}

/* The same for 4 words: out[j] lane r = word j of row r. Each register starts as rows r, r + 4. */
static inline __attribute__((always_inline)) VI two_rows(const uint8_t *p, size_t stride, int r) {
    const VI a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)r * stride)));
    return _mm256_inserti128_si256(a, _mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)(r + 4) * stride)), 1);
}
static inline __attribute__((always_inline)) void to_lanes4(VI out[4], const uint8_t *p, size_t stride) {
    const VI a0 = two_rows(p, stride, 0), a1 = two_rows(p, stride, 1), a2 = two_rows(p, stride, 2), a3 = two_rows(p, stride, 3);
    const VI b0 = _mm256_unpacklo_epi32(a0, a1), b1 = _mm256_unpackhi_epi32(a0, a1), b2 = _mm256_unpacklo_epi32(a2, a3),
             b3 = _mm256_unpackhi_epi32(a2, a3);
    out[0] = _mm256_unpacklo_epi64(b0, b2), out[1] = _mm256_unpackhi_epi64(b0, b2);
    out[2] = _mm256_unpacklo_epi64(b1, b3), out[3] = _mm256_unpackhi_epi64(b1, b3);
}

#include "tensor/kernels/gemm_q8.h"

/* lanes8.h - vectors of 8 rows for gemm_q8.h: what gemm_q8_avx2.c and gemm_q8_avxvnni.c have in common.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
typedef __m256i VI;
typedef __m256 VF;
#define vi_flip_signs(v) (SIGNED_BYTES ? (v) : _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)))
#define vi_low4(v) _mm256_and_si256(v, _mm256_set1_epi8(15))
#define vi_shift4(v) _mm256_srli_epi16(v, 4)
#define vi_levels(v) level_bytes(v)
#define vi_fp4(v) fp4_bytes(v)
#define vf_from_half(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vi_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define vi_from_u8(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define vi_from_u16(p) _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vi_set1 _mm256_set1_epi32
#define vi_add _mm256_add_epi32
#define vi_or _mm256_or_si256
#define vi_and1(v, i) _mm256_and_si256(v, vi_set1(i))
#define vi_srl32(v, n) _mm256_srl_epi32(v, _mm_cvtsi32_si128(n))
#define vi_sll32(v, n) _mm256_sll_epi32(v, _mm_cvtsi32_si128(n))
#define vi_sra32(v, n) _mm256_sra_epi32(v, _mm_cvtsi32_si128(n))
#define vi_mul32 _mm256_mullo_epi32
#define vi_to_float _mm256_cvtepi32_ps
#define vf_set1 _mm256_set1_ps
#define vf_mul _mm256_mul_ps
#define vf_fma _mm256_fmadd_ps
#define vf_store(p, v) _mm256_storeu_ps(p, v)
#define vf_neg(v) _mm256_xor_ps(v, _mm256_set1_ps(-0.0f))

/* `bits` of every byte from bit `at` on, moved to bit `to`; shifts of 16 bits, what they carry over is masked away. */
static inline __attribute__((always_inline)) VI vi_bits(VI v, int at, int bits, int to) {
    const VI moved = at > to ? _mm256_srl_epi16(v, _mm_cvtsi32_si128(at - to)) : _mm256_sll_epi16(v, _mm_cvtsi32_si128(to - at));
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(((1 << bits) - 1) << to)));
}

static inline void vf_store_first(float *y, VF v, int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(y, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane), v);
}

/* moa_e8m0_half of 8. */
static inline VF vf_from_e8m0_half(VI v) {
    const VI small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), v),
             big = _mm256_slli_epi32(_mm256_sub_epi32(v, _mm256_set1_epi32(1)), 23);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(big, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), v)));
}

/* 8 rows of 8 words, stride bytes apart, to 8 vectors: out[j] lane r = word j of row r. */
static inline __attribute__((always_inline)) VI row_of(const uint8_t *p, size_t stride, int r) {
    return _mm256_loadu_si256((const __m256i *)(const void *)(p + (size_t)r * stride));
}
static inline __attribute__((always_inline)) void to_lanes(VI out[8], const uint8_t *p, size_t stride) {
    const VI a0 = row_of(p, stride, 0), a1 = row_of(p, stride, 1), a2 = row_of(p, stride, 2), a3 = row_of(p, stride, 3);
    const VI a4 = row_of(p, stride, 4), a5 = row_of(p, stride, 5), a6 = row_of(p, stride, 6), a7 = row_of(p, stride, 7);
    const VI b0 = _mm256_unpacklo_epi32(a0, a1), b1 = _mm256_unpackhi_epi32(a0, a1), b2 = _mm256_unpacklo_epi32(a2, a3),
             b3 = _mm256_unpackhi_epi32(a2, a3), b4 = _mm256_unpacklo_epi32(a4, a5), b5 = _mm256_unpackhi_epi32(a4, a5),
             b6 = _mm256_unpacklo_epi32(a6, a7), b7 = _mm256_unpackhi_epi32(a6, a7);
    /* c: words j and j + 4 of rows 0 to 3; d: of rows 4 to 7 */
    const VI c0 = _mm256_unpacklo_epi64(b0, b2), c1 = _mm256_unpackhi_epi64(b0, b2), c2 = _mm256_unpacklo_epi64(b1, b3),
             c3 = _mm256_unpackhi_epi64(b1, b3);
    const VI d0 = _mm256_unpacklo_epi64(b4, b6), d1 = _mm256_unpackhi_epi64(b4, b6), d2 = _mm256_unpacklo_epi64(b5, b7),
             d3 = _mm256_unpackhi_epi64(b5, b7);
    out[0] = _mm256_permute2x128_si256(c0, d0, 0x20), out[4] = _mm256_permute2x128_si256(c0, d0, 0x31);
    out[1] = _mm256_permute2x128_si256(c1, d1, 0x20), out[5] = _mm256_permute2x128_si256(c1, d1, 0x31);
    out[2] = _mm256_permute2x128_si256(c2, d2, 0x20), out[6] = _mm256_permute2x128_si256(c2, d2, 0x31);
    out[3] = _mm256_permute2x128_si256(c3, d3, 0x20), out[7] = _mm256_permute2x128_si256(c3, d3, 0x31);
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

static inline __attribute__((always_inline)) __m128i eight_words(const uint8_t *p, int bytes) {
    uint16_t h[8];
#pragma GCC unroll 8
    for (int b = 0; b < 8; b++) memcpy(&h[b], p + b * bytes, 2);
    return _mm_setr_epi16((short)h[0], (short)h[1], (short)h[2], (short)h[3], (short)h[4], (short)h[5], (short)h[6], (short)h[7]);
}
static inline __attribute__((always_inline)) void halves_to_lanes(VF out[8], const __m128i h[8]) {
    VF v[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) v[r] = _mm256_cvtph_ps(h[r]);
    to_lanes((VI *)(void *)out, (const uint8_t *)v, sizeof *v);
}
/* The 16-bit scales at the beginning of 8 blocks (and the minima behind them) of 8 rows, with a gap of `bytes` from one to the
 * next. */
static inline __attribute__((always_inline)) void eight_scales(VF d[8], VF m[8], const uint8_t *base, size_t stride, int bytes,
                                                               bool has_min) {
    __m128i hd[8], hm[8];
    for (int r = 0; r < 8; r++) {
        const uint8_t *p = base + (size_t)r * stride;
        hd[r] = eight_words(p, bytes);
        if (has_min) hm[r] = eight_words(p + 2, bytes);
    }
    halves_to_lanes(d, hd);
    if (has_min) halves_to_lanes(m, hm);
}

static inline VI vi_quad(const int8_t *x) {
    int32_t quad;
    memcpy(&quad, x, 4);
    return _mm256_set1_epi32(quad);
}

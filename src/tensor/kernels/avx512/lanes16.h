/* lanes16.h - vectors of 16 rows for gemm_q8.h: what gemm_q8_avx512.c and amx/gemm_q8_amx.c have in common.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
typedef __m512i VI;
typedef __m512 VF;
#define SIGNED_BYTES 0
#define vi_flip_signs(v) _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80))
#define vi_low4(v) _mm512_and_si512(v, _mm512_set1_epi8(15))
#define vi_shift4(v) _mm512_srli_epi16(v, 4)
#define vi_levels(v)                                                                                                             \
    vi_flip_signs(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)moa_iq4_levels)), v))
#define vi_fp4(v)                                                                                                                \
    _mm512_shuffle_epi8(                                                                                                         \
        _mm512_broadcast_i32x4(_mm_add_epi8(_mm_loadu_si128((const __m128i *)(const void *)moa_fp4_levels), _mm_set1_epi8(12))), \
        v)
#define vf_from_half(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define vi_load(p) _mm512_loadu_si512(p)
#define vi_from_u8(p) _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vi_from_u16(p) _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define vi_set1 _mm512_set1_epi32
#define vi_add _mm512_add_epi32
#define vi_or _mm512_or_si512
#define vi_and1(v, i) _mm512_and_si512(v, vi_set1(i))
#define vi_srl32(v, n) _mm512_srl_epi32(v, _mm_cvtsi32_si128(n))
#define vi_sll32(v, n) _mm512_sll_epi32(v, _mm_cvtsi32_si128(n))
#define vi_sra32(v, n) _mm512_sra_epi32(v, _mm_cvtsi32_si128(n))
#define vi_mul32 _mm512_mullo_epi32
#define vi_to_float _mm512_cvtepi32_ps
#define vf_set1 _mm512_set1_ps
#define vf_mul _mm512_mul_ps
#define vf_fma _mm512_fmadd_ps
#define vf_store(p, v) _mm512_storeu_ps(p, v)
#define vf_neg(v) _mm512_xor_ps(v, _mm512_set1_ps(-0.0f))

/* `bits` of every byte from bit `at` on, moved to bit `to`; shifts of 16 bits, what they carry over is masked away. */
static inline __attribute__((always_inline)) VI vi_bits(VI v, int at, int bits, int to) {
    const VI moved = at > to ? _mm512_srl_epi16(v, _mm_cvtsi32_si128(at - to)) : _mm512_sll_epi16(v, _mm_cvtsi32_si128(to - at));
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)(((1 << bits) - 1) << to)));
}

static inline void vf_store_first(float *y, VF v, int n) { _mm512_mask_storeu_ps(y, (__mmask16)((1u << n) - 1), v); }

/* moa_e8m0_half of 16. */
static inline VF vf_from_e8m0_half(VI v) {
    const VI small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), v),
             big = _mm512_slli_epi32(_mm512_sub_epi32(v, _mm512_set1_epi32(1)), 23);
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(v, _mm512_set1_epi32(2)), big, small));
}

static inline VI vi_quad(const int8_t *x) {
    int32_t quad;
    memcpy(&quad, x, 4);
    return _mm512_set1_epi32(quad);
}
/* 16 rows of 8 words, stride bytes apart, to 8 vectors: out[j] lane r = word j of row r.
 * Pairs of rows 4 apart share a register; two rounds of unpacking turn 4 x 4 words inside each 128-bit part, and one
 * round of 128-bit moves brings the parts together. */
static inline __attribute__((always_inline)) VI two_rows(const uint8_t *p, size_t stride, int r) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(p + (size_t)r * stride));
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + (size_t)(r + 4) * stride));
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
static inline __attribute__((always_inline)) void to_lanes(VI out[8], const uint8_t *p, size_t stride) {
    const VI a0 = two_rows(p, stride, 0), a1 = two_rows(p, stride, 1), a2 = two_rows(p, stride, 2), a3 = two_rows(p, stride, 3);
    const VI b0 = two_rows(p, stride, 8), b1 = two_rows(p, stride, 9), b2 = two_rows(p, stride, 10), b3 = two_rows(p, stride, 11);
    const VI c0 = _mm512_unpacklo_epi32(a0, a1), c1 = _mm512_unpackhi_epi32(a0, a1), c2 = _mm512_unpacklo_epi32(a2, a3),
             c3 = _mm512_unpackhi_epi32(a2, a3);
    const VI d0 = _mm512_unpacklo_epi32(b0, b1), d1 = _mm512_unpackhi_epi32(b0, b1), d2 = _mm512_unpacklo_epi32(b2, b3),
             d3 = _mm512_unpackhi_epi32(b2, b3);
    /* e: words 0..3 (parts 0 and 2) and 4..7 (parts 1 and 3) of rows 0-3 and 4-7; f: of rows 8-11 and 12-15 */
    const VI e0 = _mm512_unpacklo_epi64(c0, c2), e1 = _mm512_unpackhi_epi64(c0, c2), e2 = _mm512_unpacklo_epi64(c1, c3),
             e3 = _mm512_unpackhi_epi64(c1, c3);
    const VI f0 = _mm512_unpacklo_epi64(d0, d2), f1 = _mm512_unpackhi_epi64(d0, d2), f2 = _mm512_unpacklo_epi64(d1, d3),
             f3 = _mm512_unpackhi_epi64(d1, d3);
    out[0] = _mm512_shuffle_i64x2(e0, f0, 0x88), out[4] = _mm512_shuffle_i64x2(e0, f0, 0xdd);
    out[1] = _mm512_shuffle_i64x2(e1, f1, 0x88), out[5] = _mm512_shuffle_i64x2(e1, f1, 0xdd);
    out[2] = _mm512_shuffle_i64x2(e2, f2, 0x88), out[6] = _mm512_shuffle_i64x2(e2, f2, 0xdd);
    out[3] = _mm512_shuffle_i64x2(e3, f3, 0x88), out[7] = _mm512_shuffle_i64x2(e3, f3, 0xdd);
}

/* The same for 4 words: out[j] lane r = word j of row r. Each register starts as rows r, r + 4, r + 8, r + 12. */
static inline __attribute__((always_inline)) VI four_rows(const uint8_t *p, size_t stride, int r) {
    const VI a = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)r * stride)));
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)(r + 4) * stride));
    const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)(r + 8) * stride));
    const __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(p + (size_t)(r + 12) * stride));
    return _mm512_mask_broadcast_i32x4(_mm512_mask_broadcast_i32x4(_mm512_mask_broadcast_i32x4(a, 0x00f0, b), 0x0f00, c), 0xf000,
                                       d);
}
static inline __attribute__((always_inline)) void to_lanes4(VI out[4], const uint8_t *p, size_t stride) {
    const VI a0 = four_rows(p, stride, 0), a1 = four_rows(p, stride, 1), a2 = four_rows(p, stride, 2),
             a3 = four_rows(p, stride, 3);
    const VI b0 = _mm512_unpacklo_epi32(a0, a1), b1 = _mm512_unpackhi_epi32(a0, a1), b2 = _mm512_unpacklo_epi32(a2, a3),
             b3 = _mm512_unpackhi_epi32(a2, a3);
    out[0] = _mm512_unpacklo_epi64(b0, b2), out[1] = _mm512_unpackhi_epi64(b0, b2);
    out[2] = _mm512_unpacklo_epi64(b1, b3), out[3] = _mm512_unpackhi_epi64(b1, b3);
}

/* The 16-bit scales at the beginning of 8 blocks (and the minima behind them) of 16 rows, with a gap of `bytes` from one to the
 * next: words picked out of whole registers, in place of 256 small loads and stores. */
static inline __attribute__((always_inline)) __m128i eight_words(const uint8_t *p, int bytes, int first) {
    enum { REG = 64 };
    const __m128i at = _mm_add_epi16(_mm_mullo_epi16(_mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7), _mm_set1_epi16((short)(bytes / 2))),
                                     _mm_set1_epi16((short)first));
    const VI a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + REG);
    const __m128i low = _mm512_castsi512_si128(_mm512_permutex2var_epi16(a, _mm512_castsi128_si512(at), b));
    if (7 * bytes / 2 + first < 64) return low;
    /* The words from 64 on lie in the last 128 bytes of the 8 blocks, at most. */
    const int from = 8 * bytes - 2 * REG > 2 * REG ? 2 * REG : 8 * bytes - 2 * REG;
    const VI c = _mm512_loadu_si512(p + from), d = _mm512_loadu_si512(p + from + REG);
    const __m128i there = _mm_sub_epi16(at, _mm_set1_epi16((short)(from / 2)));
    const __m128i high = _mm512_castsi512_si128(_mm512_permutex2var_epi16(c, _mm512_castsi128_si512(there), d));
    return _mm_mask_blend_epi16(_mm_cmpge_epi16_mask(at, _mm_set1_epi16(64)), low, high);
}
static inline __attribute__((always_inline)) void halves_to_lanes(VF out[8], const __m128i h[16]) {
    VI v[4];
    to_lanes4(v, (const uint8_t *)h, sizeof *h);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        out[2 * j] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[j]));
        out[2 * j + 1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v[j], 16)));
    }
}
static inline __attribute__((always_inline)) void eight_scales(VF d[8], VF m[8], const uint8_t *base, size_t stride, int bytes,
                                                               bool has_min) {
    __m128i hd[16], hm[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        hd[r] = eight_words(base + (size_t)r * stride, bytes, 0);
        if (has_min) hm[r] = eight_words(base + (size_t)r * stride, bytes, 1);
    }
    halves_to_lanes(d, hd);
    if (has_min) halves_to_lanes(m, hm);
}

static inline void mul_quad(VI *s, VI *p, VI w, VI x, int group) {
    (void)p, (void)group;
    *s = _mm512_dpbusd_epi32(*s, w, x);
}
static inline void fold(VI *s, VI *p, int group) { (void)s, (void)p, (void)group; }
#define group_of(f) 0

/* unpack.h - rows of every block format to unsigned bytes and scales, with 256-bit vectors: the first half of
 * gemm_q8 on x86 (gemm_q8.h), built for AVX2 and again for AVX-512.
 *
 * unpack_<type>(u, src, n_block): at most 8 runs of 32 elements become
 *     u->q  bytes, the value plus the OFFSET of the type, so that the product instructions get their unsigned side
 *     u->d  scale of each run of 32, or of 16 (Q2_K, Q3_K, Q6_K); u->m the minimum with its sign, where there is one.
 * The numbers are those of moa_type.unpack bit for bit; the layouts are described in quant/.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_UNPACK_H
#define MOA_TENSOR_KERNELS_UNPACK_H

#include "tensor/quant/block.h"

#include <immintrin.h>
#include <string.h>

typedef struct unpacked {
    _Alignas(64) uint8_t q[MOA_QK];
    float d[16], m[16];
} unpacked;

/* 128 makes signed bytes unsigned; where the products want them signed (SIGNED_BYTES) nothing is added. */
#if SIGNED_BYTES
#define SIGN_FLIP 0
#else
#define SIGN_FLIP 0x80
#endif

#define MOA_INLINE static inline __attribute__((always_inline))

MOA_INLINE float half(uint16_t h) { return _cvtsh_ss(h); }
MOA_INLINE __m256i load32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
MOA_INLINE void store32(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

/* 16 bytes of nibbles -> 32 bytes: low nibbles, then high ones. */
MOA_INLINE __m256i nibbles16(const uint8_t *s) {
    const __m128i v = _mm_loadu_si128((const __m128i *)s);
    const __m256i w = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(w, _mm256_set1_epi8(15));
}
MOA_INLINE __m256i low4(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
MOA_INLINE __m256i high4(__m256i v) { return low4(_mm256_srli_epi16(v, 4)); }

/* v where bit number `bit` of each byte of h is set, else 0. */
MOA_INLINE __m256i where_bit(__m256i h, int bit, int v) {
    const __m256i b = _mm256_set1_epi8((char)(1 << bit));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(h, b), b), _mm256_set1_epi8((char)v));
}

/* 32 bits -> 32 bytes of 0xff or 0. */
MOA_INLINE __m256i bit_mask(uint32_t bits) {
    const __m256i spread =
        _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ULL);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread), bit), bit);
}

/* 32 bits -> 32 bytes of 16 or 0. */
MOA_INLINE __m256i fifth_bits(const uint8_t *h) {
    uint32_t word;
    memcpy(&word, h, 4);
    return _mm256_and_si256(bit_mask(word), _mm256_set1_epi8(16));
}

MOA_INLINE __m256i level_bytes(__m256i nibble) {
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)moa_iq4_levels));
    return _mm256_xor_si256(_mm256_shuffle_epi8(table, nibble), _mm256_set1_epi8((char)SIGN_FLIP));
}

/* The loop over small blocks: BODY sees b (block), i (its number). */
#define SMALL(type, BODY)                                                                                                        \
    MOA_INLINE void unpack_##type(unpacked *u, const void *src, int n_run) {                                                     \
        const moa_block_##type *b = src;                                                                                         \
        for (int i = 0; i < n_run; i++, b++) {                                                                                   \
            __m256i v;                                                                                                           \
            BODY;                                                                                                                \
            store32(u->q + 32 * i, v);                                                                                           \
            u->d[i] = half(b->d);                                                                                                \
        }                                                                                                                        \
    }
SMALL(q4_0, v = nibbles16(b->q))
SMALL(q4_1, (v = nibbles16(b->q), u->m[i] = half(b->m)))
SMALL(q5_0, v = _mm256_or_si256(nibbles16(b->q), fifth_bits(b->h)))
SMALL(q5_1, (v = _mm256_or_si256(nibbles16(b->q), fifth_bits(b->h)), u->m[i] = half(b->m)))
SMALL(q8_0, v = _mm256_xor_si256(load32(b->q), _mm256_set1_epi8((char)SIGN_FLIP)))
SMALL(iq4_nl, v = level_bytes(nibbles16(b->q)))

MOA_INLINE __m256 scale8(uint64_t bytes, float unit) { /* 8 unsigned levels times a unit */
    const __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes)));
    return _mm256_mul_ps(_mm256_set1_ps(unit), f);
}

/* Scales and minima of Q4_K and Q5_K, four at a time in 32-bit words (block.h has them one by one). */
MOA_INLINE void k4_scales(unpacked *u, const uint8_t s[12], uint16_t d, uint16_t dmin) {
    uint32_t a, b, c;
    memcpy(&a, s, 4), memcpy(&b, s + 4, 4), memcpy(&c, s + 8, 4);
    const uint32_t sc_hi = (c & 0x0f0f0f0fu) | ((a >> 6 & 0x03030303u) << 4);
    const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0fu) | ((b >> 6 & 0x03030303u) << 4);
    _mm256_storeu_ps(u->d, scale8((a & 0x3f3f3f3fu) | (uint64_t)sc_hi << 32, half(d)));
    const __m256 m = scale8((b & 0x3f3f3f3fu) | (uint64_t)mn_hi << 32, half(dmin));
    _mm256_storeu_ps(u->m, _mm256_xor_ps(m, _mm256_set1_ps(-0.0f)));
}

MOA_INLINE void unpack_q4_k(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_q4_k *b = src;
    k4_scales(u, b->scale, b->d, b->dmin);
    for (int p = 0; p < 4; p++) {
        const __m256i v = load32(b->q + 32 * p);
        store32(u->q + 64 * p, low4(v));
        store32(u->q + 64 * p + 32, high4(v));
    }
}

MOA_INLINE void unpack_q5_k(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_q5_k *b = src;
    k4_scales(u, b->scale, b->d, b->dmin);
    const __m256i h = load32(b->h);
    for (int p = 0; p < 4; p++) {
        const __m256i v = load32(b->q + 32 * p);
        store32(u->q + 64 * p, _mm256_or_si256(low4(v), where_bit(h, 2 * p, 16)));
        store32(u->q + 64 * p + 32, _mm256_or_si256(high4(v), where_bit(h, 2 * p + 1, 16)));
    }
}

/* The two bits at 2 s of every byte, moved to bits 0 and 1. */
MOA_INLINE __m256i two_bits(__m256i v, int s) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(2 * s)), _mm256_set1_epi8(3));
}

MOA_INLINE void signed_scales(float *d, const int8_t s[16], float unit) {
    for (int j = 0; j < 16; j += 8) {
        const __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(s + j)));
        _mm256_storeu_ps(d + j, _mm256_mul_ps(_mm256_set1_ps(unit), _mm256_cvtepi32_ps(v)));
    }
}

MOA_INLINE void unpack_q6_k(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_q6_k *b = src;
    signed_scales(u->d, b->scale, half(b->d));
    for (int h = 0; h < 2; h++) {
        const __m256i a = load32(b->lo + 64 * h), c = load32(b->lo + 64 * h + 32), hi = load32(b->hi + 32 * h);
        uint8_t *q = u->q + 128 * h;
        store32(q, _mm256_or_si256(low4(a), _mm256_slli_epi16(two_bits(hi, 0), 4)));
        store32(q + 32, _mm256_or_si256(low4(c), _mm256_slli_epi16(two_bits(hi, 1), 4)));
        store32(q + 64, _mm256_or_si256(high4(a), _mm256_slli_epi16(two_bits(hi, 2), 4)));
        store32(q + 96, _mm256_or_si256(high4(c), _mm256_slli_epi16(two_bits(hi, 3), 4)));
    }
}

MOA_INLINE void q2_k_scales(unpacked *u, const moa_block_q2_k *b) {
    const __m128i s = _mm_loadu_si128((const __m128i *)(const void *)b->scale), low = _mm_set1_epi8(15);
    uint64_t sc[2], mn[2];
    _mm_storeu_si128((__m128i *)(void *)sc, _mm_and_si128(s, low));
    _mm_storeu_si128((__m128i *)(void *)mn, _mm_and_si128(_mm_srli_epi16(s, 4), low));
    for (int j = 0; j < 2; j++) {
        _mm256_storeu_ps(u->d + 8 * j, scale8(sc[j], half(b->d)));
        _mm256_storeu_ps(u->m + 8 * j, _mm256_xor_ps(scale8(mn[j], half(b->dmin)), _mm256_set1_ps(-0.0f)));
    }
}
MOA_INLINE void unpack_q2_k(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_q2_k *b = src;
    q2_k_scales(u, b);
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++) store32(u->q + 128 * h + 32 * k, two_bits(load32(b->q + 32 * h), k));
}

/* Scale j: 4 bits from byte j % 8, the lower half of them first; 2 more from byte 8 + j % 4; minus 32. */
MOA_INLINE void q3_k_scales(unpacked *u, const moa_block_q3_k *b) {
    int8_t s[16];
    int32_t high;
    memcpy(&high, b->scale + 8, 4);
    const __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)b->scale);
    const __m128i lo = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), _mm_set1_epi8(15));
    const __m128i hi = _mm_and_si128(_mm_srlv_epi32(_mm_set1_epi32(high), _mm_setr_epi32(0, 2, 4, 6)), _mm_set1_epi8(3));
    _mm_storeu_si128((__m128i *)(void *)s, _mm_sub_epi8(_mm_or_si128(lo, _mm_slli_epi16(hi, 4)), _mm_set1_epi8(32)));
    signed_scales(u->d, s, half(b->d));
}
MOA_INLINE void unpack_q3_k(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_q3_k *b = src;
    q3_k_scales(u, b);
    const __m256i bits = load32(b->h);
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            store32(u->q + 128 * h + 32 * k, _mm256_or_si256(two_bits(load32(b->q + 32 * h), k), where_bit(bits, 4 * h + k, 4)));
}

/* Scale j: 4 bits of nibble j, 2 more from bit 2 j of a word; minus 32. */
MOA_INLINE void iq4_xs_scales(float d[8], const moa_block_iq4_xs *b) {
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    int32_t low;
    memcpy(&low, b->scale_lo, 4);
    const __m256i lo = _mm256_srlv_epi32(_mm256_set1_epi32(low), _mm256_slli_epi32(at, 2));
    const __m256i hi = _mm256_srlv_epi32(_mm256_set1_epi32(b->scale_hi), _mm256_slli_epi32(at, 1));
    const __m256i six = _mm256_or_si256(_mm256_and_si256(lo, _mm256_set1_epi32(15)), _mm256_slli_epi32(_mm256_and_si256(hi, _mm256_set1_epi32(3)), 4));
    _mm256_storeu_ps(d, _mm256_mul_ps(_mm256_set1_ps(half(b->d)), _mm256_cvtepi32_ps(_mm256_sub_epi32(six, _mm256_set1_epi32(32)))));
}
MOA_INLINE void unpack_iq4_xs(unpacked *u, const void *src, int n_run) {
    (void)n_run;
    const moa_block_iq4_xs *b = src;
    iq4_xs_scales(u->d, b);
    for (int j = 0; j < 8; j++) store32(u->q + 32 * j, level_bytes(nibbles16(b->q + 16 * j)));
}

MOA_INLINE void tq2_0_scales(unpacked *u, const moa_block_tq2_0 *b) { _mm256_storeu_ps(u->d, _mm256_set1_ps(half(b->d))); }
MOA_INLINE void unpack_tq2_0(unpacked *u, const void *src, int n_run) {
    const moa_block_tq2_0 *b = src;
    (void)n_run;
    tq2_0_scales(u, b);
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++) store32(u->q + 128 * h + 32 * k, two_bits(load32(b->q + 32 * h), k));
}

/* 4-bit floats, doubled, plus their OFFSET of 12. */
MOA_INLINE __m256i fp4_bytes(__m256i nibble) {
    const __m128i plus12 = _mm_add_epi8(_mm_loadu_si128((const __m128i *)(const void *)moa_fp4_levels), _mm_set1_epi8(12));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(plus12), nibble);
}

MOA_INLINE void unpack_mxfp4(unpacked *u, const void *src, int n_run) {
    const moa_block_mxfp4 *b = src;
    for (int i = 0; i < n_run; i++) {
        store32(u->q + 32 * i, fp4_bytes(nibbles16(b[i].q)));
        u->d[i] = moa_e8m0_half(b[i].e);
    }
}

/* moa_ue4m3_half of 8: four bits of exponent and three below become those of a float; denormal ones are multiples of 2^-10. */
MOA_INLINE __m256 from_ue4m3_half(const uint8_t x[8]) {
    const __m256i all = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x)), v = _mm256_and_si256(all, _mm256_set1_epi32(0x7f));
    const __m256i normal = _mm256_add_epi32(_mm256_slli_epi32(v, 20), _mm256_set1_epi32((127 - 7 - 1) << 23));
    const __m256 tiny = _mm256_mul_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(0x1p-10f));
    const __m256i is_normal = _mm256_cmpgt_epi32(v, _mm256_set1_epi32(7)), is_nan = _mm256_cmpeq_epi32(all, _mm256_set1_epi32(0x7f));
    return _mm256_andnot_ps(_mm256_castsi256_ps(is_nan), _mm256_blendv_ps(tiny, _mm256_castsi256_ps(normal), _mm256_castsi256_ps(is_normal)));
}

MOA_INLINE void unpack_nvfp4(unpacked *u, const void *src, int n_run) {
    const moa_block_nvfp4 *b = src;
    uint8_t d[16] = {0};
    for (int i = 0; i < n_run; i += 2, b++) { /* 8 bytes hold 8 low nibbles and then 8 high ones: weave by eights */
        const __m256i v = load32(b->q), lo = fp4_bytes(low4(v)), hi = fp4_bytes(high4(v));
        const __m256i a = _mm256_unpacklo_epi64(lo, hi), c = _mm256_unpackhi_epi64(lo, hi);
        store32(u->q + 32 * i, _mm256_permute2x128_si256(a, c, 0x20));
        store32(u->q + 32 * i + 32, _mm256_permute2x128_si256(a, c, 0x31));
        memcpy(d + 2 * i, b->d, 4);
    }
    _mm256_storeu_ps(u->d, from_ue4m3_half(d));
    _mm256_storeu_ps(u->d + 8, from_ue4m3_half(d + 8));
}

#endif

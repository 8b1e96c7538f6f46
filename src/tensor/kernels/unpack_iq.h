/* unpack_iq.h - rows of the codebook types and of the smallest ones to bytes and scales: the rest of unpack.h.
 *
 * An entry of a codebook is eight digits of 2 bits or four of 4 bits (quant/grid.h). Four or eight entries are read one by one and
 * put side by side; then shifts spread all their digits over the bytes of one vector, a table turns digits into values, and a mask of
 * 32 signs turns values round. The numbers are those of moa_type.unpack bit for bit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_UNPACK_IQ_H
#define MOA_TENSOR_KERNELS_UNPACK_IQ_H

#include "tensor/kernels/unpack.h"
#include "tensor/quant/grid.h"

MOA_INLINE void put_run(unpacked *u, int run, __m256i v) { store32(u->q + 32 * run, _mm256_xor_si256(v, _mm256_set1_epi8((char)SIGN_FLIP))); }

/* The value of each digit from 0 to 7. */
MOA_INLINE __m256i values(__m256i digit, const int8_t table[8]) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadl_epi64((const __m128i *)(const void *)table)), digit);
}

/* Eight digits of 2 bits at the bottom of each 64-bit lane to its bytes; four of 4 bits in each 32-bit lane. */
MOA_INLINE __m256i spread_pairs(__m256i x) {
    x = _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi64(x, 24)), _mm256_set1_epi64x(0x000000ff000000ff));
    x = _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi64(x, 12)), _mm256_set1_epi64x(0x000f000f000f000f));
    return _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi64(x, 6)), _mm256_set1_epi8(3));
}
MOA_INLINE __m256i spread_nibbles(__m256i x) {
    x = _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 8)), _mm256_set1_epi32(0x00ff00ff));
    return _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 4)), _mm256_set1_epi8(15));
}

/* v with the signs of 32 bits: 1 is minus. */
MOA_INLINE __m256i with_signs(__m256i v, uint32_t bits) {
    const __m256i m = bit_mask(bits);
    return _mm256_sub_epi8(_mm256_xor_si256(v, m), m);
}
/* Four times seven stored signs to 32: an eighth makes the number of minus signs of a byte even, its parity folded into bit 0. */
MOA_INLINE uint32_t all_signs(uint32_t s) {
    s = (s & 0x7fu) | (s & 0x7fu << 7) << 1 | (s & 0x7fu << 14) << 2 | (s & 0x7fu << 21) << 3;
    uint32_t p = s ^ s >> 4;
    p ^= p >> 2;
    p ^= p >> 1;
    return s | (p & 0x01010101u) << 7;
}

/* ---- eight elements an entry ---- */

MOA_INLINE __m256i four_entries(const uint16_t *grid, const int e[4]) {
    return spread_pairs(_mm256_cvtepu16_epi64(
        _mm_setr_epi16((short)grid[e[0]], (short)grid[e[1]], (short)grid[e[2]], (short)grid[e[3]], 0, 0, 0, 0)));
}

static const int8_t iq2_values[8] = {8, 25, 43};

static void unpack_iq2_xxs(unpacked *u, const void *src, int n_run) {
    const moa_block_iq2_xxs *b = src;
    const float d = half(b->d);
    for (int j = 0; j < n_run; j++) {
        const uint8_t *q = b->run[j].q;
        const uint32_t s = b->run[j].sign_scale;
        put_run(u, j, with_signs(values(four_entries(moa_grid_iq2_xxs, (const int[]){q[0], q[1], q[2], q[3]}), iq2_values), all_signs(s)));
        u->d[j] = d * (0.5f + (float)(s >> 28)) * 0.25f;
    }
}

/* Scales of 16 elements in nibbles. */
MOA_INLINE void iq2_scales(float *d, uint16_t hd, const uint8_t scale[8]) {
    const float f = half(hd);
    for (int j = 0; j < 16; j++) d[j] = f * (0.5f + (float)(scale[j / 2] >> (j % 2 * 4) & 15)) * 0.25f;
}

static void unpack_iq2_xs(unpacked *u, const void *src, int n_run) {
    const moa_block_iq2_xs *b = src;
    iq2_scales(u->d, b->d, b->scale);
    for (int j = 0; j < n_run; j++) {
        const unsigned e[4] = {b->q[4 * j], b->q[4 * j + 1], b->q[4 * j + 2], b->q[4 * j + 3]};
        const uint32_t s = e[0] >> 9 | e[1] >> 9 << 7 | e[2] >> 9 << 14 | e[3] >> 9 << 21;
        const __m256i digit = four_entries(moa_grid_iq2_xs, (const int[]){e[0] & 511, e[1] & 511, e[2] & 511, e[3] & 511});
        put_run(u, j, with_signs(values(digit, iq2_values), all_signs(s)));
    }
}

static void unpack_iq2_s(unpacked *u, const void *src, int n_run) {
    const moa_block_iq2_s *b = src;
    iq2_scales(u->d, b->d, b->scale);
    for (int j = 0; j < n_run; j++) {
        const uint8_t *q = b->q + 4 * j;
        const int h = b->h[j];
        uint32_t s;
        memcpy(&s, b->sign + 4 * j, 4);
        const int e[4] = {q[0] | (h & 3) << 8, q[1] | (h >> 2 & 3) << 8, q[2] | (h >> 4 & 3) << 8, q[3] | h >> 6 << 8};
        put_run(u, j, with_signs(values(four_entries(moa_grid_iq2_s, e), iq2_values), s));
    }
}

/* Eight times (-1, 0 or 1), to which an entry's own 1 or -1 is added. */
static const int8_t iq1_values[8] = {-8, 0, 8};

static void unpack_iq1_s(unpacked *u, const void *src, int n_run) {
    const moa_block_iq1_s *b = src;
    const float d = half(b->d);
    for (int j = 0; j < n_run; j++) {
        const uint8_t *q = b->q + 4 * j;
        const int h = b->h[j];
        const int e[4] = {q[0] | (h & 7) << 8, q[1] | (h >> 3 & 7) << 8, q[2] | (h >> 6 & 7) << 8, q[3] | (h >> 9 & 7) << 8};
        put_run(u, j, _mm256_add_epi8(values(four_entries(moa_grid_iq1, e), iq1_values), _mm256_set1_epi8(h >> 15 ? -1 : 1)));
        u->d[j] = d * (float)(2 * (h >> 12 & 7) + 1) * 0.125f;
    }
}

static void unpack_iq1_m(unpacked *u, const void *src, int n_run) {
    const moa_block_iq1_m *b = src;
    unsigned bits = 0;
    for (int k = 0; k < 4; k++) bits |= (unsigned)(b->scale[k] >> 12) << (4 * k);
    const float d = half((uint16_t)bits);
    for (int j = 0; j < n_run; j++) {
        const uint8_t *q = b->q + 4 * j;
        const int h = b->h[2 * j] | b->h[2 * j + 1] << 8; /* a nibble an entry */
        const int e[4] = {q[0] | (h & 7) << 8, q[1] | (h >> 4 & 7) << 8, q[2] | (h >> 8 & 7) << 8, q[3] | (h >> 12 & 7) << 8};
        /* 0xff or 0 an entry; or 1: -1 or 1 */
        const __m256i minus = _mm256_set_epi64x(-(h >> 15 & 1), -(h >> 11 & 1), -(h >> 7 & 1), -(h >> 3 & 1));
        put_run(u, j, _mm256_add_epi8(values(four_entries(moa_grid_iq1, e), iq1_values), _mm256_or_si256(minus, _mm256_set1_epi8(1))));
    }
    for (int j = 0; j < 16; j++) u->d[j] = d * (float)(2 * (b->scale[j / 4] >> (j % 4 * 3) & 7) + 1) * 0.125f;
}

/* ---- four elements an entry ---- */

static const int8_t iq3_xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62}, iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};

#define EIGHT_ENTRIES(grid, e)                                                                                                   \
    spread_nibbles(_mm256_cvtepu16_epi32(                                                                                        \
        _mm_setr_epi16((short)(grid)[(e)[0]], (short)(grid)[(e)[1]], (short)(grid)[(e)[2]], (short)(grid)[(e)[3]],               \
                       (short)(grid)[(e)[4]], (short)(grid)[(e)[5]], (short)(grid)[(e)[6]], (short)(grid)[(e)[7]])))

/* Low bytes and, from the bits of h, high bits of eight entries. */
MOA_INLINE void wide_entries(uint16_t e[8], const uint8_t q[8], int h) {
    const __m128i bit = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
    const __m128i high = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16((short)h), bit), bit);
    const __m128i low = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)q));
    _mm_storeu_si128((__m128i *)(void *)e, _mm_or_si128(low, _mm_and_si128(high, _mm_set1_epi16(256))));
}

static void unpack_iq3_xxs(unpacked *u, const void *src, int n_run) {
    const moa_block_iq3_xxs *b = src;
    const float d = half(b->d);
    for (int j = 0; j < n_run; j++) {
        const uint32_t s = b->sign_scale[j];
        put_run(u, j, with_signs(values(EIGHT_ENTRIES(moa_grid_iq3_xxs, b->q + 8 * j), iq3_xxs_values), all_signs(s)));
        u->d[j] = d * (0.5f + (float)(s >> 28)) * 0.5f;
    }
}

static void unpack_iq3_s(unpacked *u, const void *src, int n_run) {
    const moa_block_iq3_s *b = src;
    const float d = half(b->d);
    for (int j = 0; j < n_run; j++) {
        uint32_t s;
        uint16_t e[8];
        memcpy(&s, b->sign + 4 * j, 4);
        wide_entries(e, b->q + 8 * j, b->h[j]);
        put_run(u, j, with_signs(values(EIGHT_ENTRIES(moa_grid_iq3_s, e), iq3_s_values), s));
        u->d[j] = d * (float)(1 + 2 * (b->scale[j / 2] >> (j % 2 * 4) & 15));
    }
}

/* ---- no codebook ---- */

/* A digit of base 3 is the whole part of 3 v / 256: how many of 86 and 171 the byte reaches. */
MOA_INLINE __m256i first_digit(__m256i v) {
    const __m256i one = _mm256_set1_epi8((char)86), two = _mm256_set1_epi8((char)171), none = _mm256_set1_epi8(-1);
    const __m256i reach1 = _mm256_cmpeq_epi8(_mm256_max_epu8(v, one), v), reach2 = _mm256_cmpeq_epi8(_mm256_max_epu8(v, two), v);
    return _mm256_sub_epi8(_mm256_sub_epi8(none, reach1), reach2); /* -1 + (0, 1 or 2) */
}
MOA_INLINE __m256i next_digit(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }

static void unpack_tq1_0(unpacked *u, const void *src, int n_run) {
    const moa_block_tq1_0 *b = src;
    _Alignas(32) uint8_t last[32] = {0};
    __m256i v = load32(b->q), w = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(b->q + 32)));
    for (int p = 0; p < 5; p++, v = next_digit(v)) put_run(u, p, first_digit(v));
    for (int p = 0; p < 5; p++, w = next_digit(w))
        _mm_storeu_si128((__m128i *)(void *)(u->q + 160 + 16 * p), _mm256_castsi256_si128(_mm256_xor_si256(first_digit(w), _mm256_set1_epi8((char)SIGN_FLIP))));
    memcpy(last, b->h, 4);
    v = load32(last);
    for (int p = 0; p < 4; p++, v = next_digit(v)) {
        const int32_t four = _mm256_extract_epi32(_mm256_xor_si256(first_digit(v), _mm256_set1_epi8((char)SIGN_FLIP)), 0);
        memcpy(u->q + 240 + 4 * p, &four, 4);
    }
    for (int j = 0; j < n_run; j++) u->d[j] = half(b->d);
}

static void unpack_q1_0(unpacked *u, const void *src, int n_run) {
    for (int j = 0; j < n_run; j++) {
        const moa_block_q1_0 *b = (const moa_block_q1_0 *)src + j / 4;
        uint32_t bits;
        memcpy(&bits, b->q + j % 4 * 4, 4);
        put_run(u, j, _mm256_or_si256(bit_mask(~bits), _mm256_set1_epi8(1))); /* a bit: 1, none: -1 */
        u->d[j] = half(b->d);
    }
}

/* Two bits an element, four elements a byte: which of the three values that are not 0 stands in an element's place. */
static void unpack_q2_0(unpacked *u, const void *src, int n_run) {
    const __m256i spread =
        _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    const __m256i one = _mm256_set1_epi32(0x40100401), two = _mm256_add_epi8(one, one), three = _mm256_or_si256(one, two);
    for (int j = 0; j < n_run; j++) {
        const moa_block_q2_0 *b = (const moa_block_q2_0 *)src + j / 2;
        int64_t bits;
        memcpy(&bits, b->q + j % 2 * 8, 8);
        const __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi64x(bits), spread), three);
        const __m256i is1 = _mm256_cmpeq_epi8(v, one), is2 = _mm256_cmpeq_epi8(v, two), is3 = _mm256_cmpeq_epi8(v, three);
        /* -1 + is1 + 2 is2 + 3 is3, where true is -1 */
        const __m256i odd = _mm256_add_epi8(is1, is3), even = _mm256_add_epi8(is2, is3);
        put_run(u, j, _mm256_sub_epi8(_mm256_set1_epi8(-1), _mm256_add_epi8(odd, _mm256_add_epi8(even, even))));
        u->d[j] = half(b->d);
    }
}

#endif

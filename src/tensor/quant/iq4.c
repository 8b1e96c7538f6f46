/* iq4.c - IQ4_NL and IQ4_XS: 4 bits that select one of 16 levels, closer together near zero where weights are
 * frequent. Read only.
 *
 *   IQ4_NL, 18 bytes, 32 elements        IQ4_XS, 136 bytes, 256 elements
 *   0   2  d   f16                       0    2  d         f16
 *   2  16  q   nibbles                   2    2  scale_hi  bits 2j, 2j+1: high bits of scale j (little-endian)
 *                                        4    4  scale_lo  nibble j: low bits of scale j
 *                                        8  128  q         nibbles, 16 bytes for each run of 32
 *   in each run of 32: low nibble of byte j is element j, high nibble is element j + 16
 *   x = d * level[q]                     x = (d * (scale - 32)) * level[q]
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

const int8_t moa_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void levels(int8_t *restrict q, const uint8_t *restrict s) {
    for (int j = 0; j < 16; j++) {
        q[j] = moa_iq4_levels[s[j] & 15];
        q[j + 16] = moa_iq4_levels[s[j] >> 4];
    }
}

static void unpack_nl(moa_ints *u, const void *src, int n) {
    const moa_block_iq4_nl *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        levels(u->q + i * MOA_QB, b[i].q);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void unpack_xs(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq4_xs *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const int lo = (b->scale_lo[j / 2] >> (j % 2 * 4)) & 15, hi = (b->scale_hi >> (2 * j)) & 3;
        levels(u->q + j * MOA_QB, b->q + j * 16);
        u->d[2 * j] = u->d[2 * j + 1] = d * (float)((lo | hi << 4) - 32);
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

static void dequantize_nl(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_iq4_nl, dst, src, n); }
static void dequantize_xs(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_iq4_xs, dst, src, n); }

const moa_type moa_type_iq4_nl = {.id = MOA_IQ4_NL,
                                  .name = "IQ4_NL",
                                  .help = "4.5 bits: 32 x 16 uneven levels (read only)",
                                  .block = MOA_QB,
                                  .bytes = sizeof(moa_block_iq4_nl),
                                  .dequantize = dequantize_nl,
                                  .unpack = unpack_nl,
                                  .run = 32};
const moa_type moa_type_iq4_xs = {.id = MOA_IQ4_XS,
                                  .name = "IQ4_XS",
                                  .help = "4.25 bits: 256 x 16 uneven levels, 8 scales (read only)",
                                  .block = MOA_QK,
                                  .bytes = sizeof(moa_block_iq4_xs),
                                  .dequantize = dequantize_xs,
                                  .unpack = unpack_xs,
                                  .run = 32};

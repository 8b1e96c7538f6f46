/* iq2.c - IQ2_XXS, IQ2_XS and IQ2_S: 256 elements in groups of 8; a group is an entry of a codebook (grid_iq2.c) and eight
 * signs. Read only: without an importance matrix these types are not worth writing, and their search is a project of its own.
 *
 *   IQ2_XXS, 66 bytes                      IQ2_XS, 74 bytes                     IQ2_S, 82 bytes
 *    0   2  d   f16                         0   2  d   f16                       0   2  d   f16
 *    2  64  8 runs of 32:                   2  64  u16 of each group:            2  32  low 8 bits of the entry of each group
 *           4 bytes: entries of 4 groups           bits 0-8 entry, 9-15 signs   34  32  signs of each group
 *           u32: bits 7g .. 7g + 6 signs   66   8  scales of 16, nibbles        66   8  bits 2g, 2g + 1: high bits of group g
 *                of group g; 28-31 scale                                        74   8  scales of 16, nibbles
 *   7 signs and an eighth that makes the number of minus signs even; in IQ2_S all 8 are stored.
 *   x = d * (0.5 + scale) * 0.25 * sign * entry
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"
#include "tensor/quant/grid.h"

#include <string.h>

static void group(int8_t *q, uint16_t code, unsigned signs) {
    const uint64_t v = moa_grid_signed(moa_grid_iq2(code), signs);
    memcpy(q, &v, 8);
}

static void unpack_iq2_xxs(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq2_xxs *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const uint32_t s = b->run[j].sign_scale;
        for (int g = 0; g < 4; g++)
            group(u->q + 32 * j + 8 * g, moa_grid_iq2_xxs[b->run[j].q[g]], moa_grid_eight_signs(s >> (7 * g) & 127));
        u->d[2 * j] = u->d[2 * j + 1] = d * (0.5f + (float)(s >> 28)) * 0.25f;
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

static void scales(moa_ints *u, uint16_t hd, const uint8_t scale[8]) {
    const float d = moa_f16_to_f32(hd);
    for (int j = 0; j < 16; j++) {
        u->d[j] = d * (0.5f + (float)(scale[j / 2] >> (j % 2 * 4) & 15)) * 0.25f;
        u->m[j] = 0;
    }
}

static void unpack_iq2_xs(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq2_xs *b = src;
    scales(u, b->d, b->scale);
    for (int g = 0; g < 32; g++) group(u->q + 8 * g, moa_grid_iq2_xs[b->q[g] & 511], moa_grid_eight_signs(b->q[g] >> 9));
}

static void unpack_iq2_s(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq2_s *b = src;
    scales(u, b->d, b->scale);
    for (int g = 0; g < 32; g++)
        group(u->q + 8 * g, moa_grid_iq2_s[b->q[g] | (b->h[g / 4] >> (g % 4 * 2) & 3) << 8], b->sign[g]);
}

MOA_DEQUANTIZE(iq2_xxs)
const moa_type moa_type_iq2_xxs = MOA_READ_ONLY(IQ2_XXS, iq2_xxs, MOA_QK, 32, "2.0625 bits: codebook of 256 for 8, signs, 8 scales");
MOA_DEQUANTIZE(iq2_xs)
const moa_type moa_type_iq2_xs = MOA_READ_ONLY(IQ2_XS, iq2_xs, MOA_QK, 16, "2.3125 bits: codebook of 512 for 8, signs, 16 scales");
MOA_DEQUANTIZE(iq2_s)
const moa_type moa_type_iq2_s = MOA_READ_ONLY(IQ2_S, iq2_s, MOA_QK, 16, "2.5625 bits: codebook of 1024 for 8, signs, 16 scales");

/* iq3.c - IQ3_XXS and IQ3_S: 256 elements in groups of 4; a group is an entry of a codebook (grid_iq3.c) and signs. Read only.
 *
 *   IQ3_XXS, 98 bytes                          IQ3_S, 110 bytes
 *    0   2  d   f16                             0    2  d   f16
 *    2  64  entry of each group                 2   64  low 8 bits of the entry of each group
 *   66  32  u32 of each run of 32:             66    8  bit i of byte j: bit 8 of group 8 j + i
 *           bits 7p .. 7p + 6: signs of the    74   32  signs, bit i of byte j: element 8 j + i
 *           pair p of groups, the eighth makes 106   4  scales of 32, nibbles
 *           the minus signs even; 28-31 scale
 *   x = d * (0.5 + scale) * 0.5 * sign * entry  x = d * (1 + 2 scale) * sign * entry
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"
#include "tensor/quant/grid.h"

#include <string.h>

static void pair(int8_t *q, uint32_t first, uint32_t second, unsigned signs) {
    const uint64_t v = moa_grid_signed(first | (uint64_t)second << 32, signs);
    memcpy(q, &v, 8);
}

static void unpack_iq3_xxs(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq3_xxs *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const uint32_t s = b->sign_scale[j];
        for (int p = 0; p < 4; p++) {
            const uint8_t *q = b->q + 8 * j + 2 * p;
            pair(u->q + 32 * j + 8 * p, moa_grid_iq3_x(moa_grid_iq3_xxs[q[0]]), moa_grid_iq3_x(moa_grid_iq3_xxs[q[1]]),
                 moa_grid_eight_signs(s >> (7 * p) & 127));
        }
        u->d[2 * j] = u->d[2 * j + 1] = d * (0.5f + (float)(s >> 28)) * 0.5f;
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

static uint32_t entry_s(const moa_block_iq3_s *b, int g) {
    return moa_grid_iq3_odd(moa_grid_iq3_s[b->q[g] | (b->h[g / 8] >> (g % 8) & 1) << 8]);
}

static void unpack_iq3_s(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq3_s *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int p = 0; p < 32; p++) pair(u->q + 8 * p, entry_s(b, 2 * p), entry_s(b, 2 * p + 1), b->sign[p]);
    for (int j = 0; j < 8; j++) {
        u->d[2 * j] = u->d[2 * j + 1] = d * (float)(1 + 2 * (b->scale[j / 2] >> (j % 2 * 4) & 15));
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

MOA_DEQUANTIZE(iq3_xxs)
const moa_type moa_type_iq3_xxs = MOA_READ_ONLY(IQ3_XXS, iq3_xxs, MOA_QK, 32, "3.0625 bits: codebook of 256 for 4, signs, 8 scales");
MOA_DEQUANTIZE(iq3_s)
const moa_type moa_type_iq3_s = MOA_READ_ONLY(IQ3_S, iq3_s, MOA_QK, 32, "3.4375 bits: codebook of 512 for 4, signs, 8 scales");

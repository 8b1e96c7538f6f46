/* iq1.c - IQ1_S and IQ1_M: 256 elements in groups of 8; a group is an entry of a codebook of -1, 0, 1 (grid_iq1.c), to which
 * 1/8 is added or from which it is taken. Read only.
 *
 *   IQ1_S, 50 bytes                                 IQ1_M, 56 bytes
 *    0   2  d   f16                                  0  32  low 8 bits of the entry of each group
 *    2  32  low 8 bits of the entry of each group   32  16  a nibble a group: bits 0-2 high bits of the entry,
 *   34  16  u16 of each run of 32:                          bit 3: minus 1/8
 *           bits 3g .. 3g + 2: high bits of group g  48  8  4 u16: bits 3k .. 3k + 2 scale k of 16, four each; the top
 *           12-14 scale, 15: minus 1/8                      nibbles together are d as f16, the first one lowest
 *   x = d * (1 + 2 scale) * (entry + or - 1/8); in integers: (d * (1 + 2 scale) / 8) * (8 entry + or - 1), the same float
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"
#include "tensor/quant/grid.h"

#include <string.h>

static void group(int8_t *q, int entry, bool minus) {
    const uint64_t v = moa_grid_iq1_plus(moa_grid_iq1[entry], minus ? -1 : 1);
    memcpy(q, &v, 8);
}

static void unpack_iq1_s(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq1_s *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const unsigned h = b->h[j];
        for (int g = 0; g < 4; g++)
            group(u->q + 32 * j + 8 * g, (int)(b->q[4 * j + g] | (h >> (3 * g) & 7) << 8), h >> 15);
        u->d[2 * j] = u->d[2 * j + 1] = d * (float)(2 * (h >> 12 & 7) + 1) * 0.125f;
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

static void unpack_iq1_m(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq1_m *b = src;
    unsigned bits = 0;
    for (int k = 0; k < 4; k++) bits |= (unsigned)(b->scale[k] >> 12) << (4 * k);
    const float d = moa_f16_to_f32((uint16_t)bits);
    for (int g = 0; g < 32; g++) {
        const int h = b->h[g / 2] >> (g % 2 * 4);
        group(u->q + 8 * g, b->q[g] | (h & 7) << 8, h & 8);
    }
    for (int j = 0; j < 16; j++) {
        u->d[j] = d * (float)(2 * (b->scale[j / 4] >> (j % 4 * 3) & 7) + 1) * 0.125f;
        u->m[j] = 0;
    }
}

MOA_DEQUANTIZE(iq1_s)
const moa_type moa_type_iq1_s = MOA_READ_ONLY(IQ1_S, iq1_s, MOA_QK, 32, "1.5625 bits: codebook of 2048 for 8, 8 scales");
MOA_DEQUANTIZE(iq1_m)
const moa_type moa_type_iq1_m = MOA_READ_ONLY(IQ1_M, iq1_m, MOA_QK, 16, "1.75 bits: codebook of 2048 for 8, 16 scales");

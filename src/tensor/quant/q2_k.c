/* q2_k.c - Q2_K: 256 elements of 2 bits; 16 runs of 16, each with a 4-bit scale and a 4-bit minimum. Read only.
 *
 *    0  16  scale  low nibble: scale, high nibble: minimum, of run i
 *   16  64  q      2 halves of 32 bytes; bits 2s, 2s+1 of byte l of half h: element 128 h + 32 s + l
 *   80   2  d      f16
 *   82   2  dmin   f16
 *   x = (d * scale) * q - (dmin * minimum)
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

static void unpack(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_q2_k *b = src;
    const float d = moa_f16_to_f32(b->d), dmin = moa_f16_to_f32(b->dmin);
    for (int j = 0; j < 16; j++) {
        u->d[j] = d * (float)(b->scale[j] & 15);
        u->m[j] = -(dmin * (float)(b->scale[j] >> 4));
    }
    for (int i = 0; i < MOA_QK; i++) u->q[i] = (b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}

static void dequantize(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q2_k, dst, src, n); }

const moa_type moa_type_q2_k = {.id = MOA_Q2_K,
                                .name = "Q2_K",
                                .help = "2.625 bits: 256 x 2 bits, 16 scales and minima (read only)",
                                .block = MOA_QK,
                                .bytes = sizeof(moa_block_q2_k),
                                .dequantize = dequantize,
                                .unpack = unpack,
                                .run = 16,
                                .has_min = true};

/* q3_k.c - Q3_K: 256 elements of 3 bits; 16 runs of 16 with 6-bit scales. Read only.
 *
 *     0  32  h      bit k of byte l: third bit of element 32 k + l
 *    32  64  q      2 halves of 32 bytes; bits 2s, 2s+1 of byte l of half h: element 128 h + 32 s + l
 *    96  12  scale  of run j: low 4 bits in nibble j/8 of byte j%8, high 2 bits at bit 2(j/4) of byte 8 + j%4
 *   108   2  d      f16
 *   x = (d * (scale - 32)) * (q - (third bit ? 0 : 4))
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

static void unpack_q3_k(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_q3_k *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 16; j++) {
        const int lo = (b->scale[j % 8] >> (j / 8 * 4)) & 15, hi = (b->scale[8 + j % 4] >> (j / 4 * 2)) & 3;
        u->d[j] = d * (float)((lo | hi << 4) - 32);
        u->m[j] = 0;
    }
    for (int i = 0; i < MOA_QK; i++) {
        const int low = (b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3, high = (b->h[i % 32] >> (i / 32)) & 1;
        u->q[i] = (int8_t)(low - 4 + 4 * high);
    }
}

MOA_DEQUANTIZE(q3_k)
const moa_type moa_type_q3_k = MOA_READ_ONLY(Q3_K, q3_k, MOA_QK, 16, "3.4375 bits: 256 x 3 bits, 16 scales");

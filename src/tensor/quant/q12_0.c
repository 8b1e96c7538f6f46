/* q12_0.c - Q1_0 and Q2_0: one or two bits, for models that were trained so. Read only.
 *
 *   Q1_0, 18 bytes, 128 elements                      Q2_0, 18 bytes, 64 elements
 *    0   2  d  f16                                     0   2  d  f16
 *    2  16  q  bit i of byte j: element 8 j + i        2  16  q  bits 2i, 2i + 1 of byte j: element 4 j + i
 *   x = d where the bit is 1, else -d                 x = d * (q - 1)
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

enum { BLOCK_1 = 128, BLOCK_2 = 64 };

static void scales(moa_ints *u, int from, int to, uint16_t d) {
    for (int j = from / 16; j < to / 16; j++) u->d[j] = moa_f16_to_f32(d), u->m[j] = 0;
}

static void unpack_q1_0(moa_ints *u, const void *src, int n) {
    const moa_block_q1_0 *b = src;
    for (int i = 0; i < n; i += BLOCK_1, b++) {
        scales(u, i, i + BLOCK_1, b->d);
        for (int k = 0; k < BLOCK_1; k++) u->q[i + k] = (int8_t)((b->q[k / 8] >> (k % 8) & 1) * 2 - 1);
    }
}

static void unpack_q2_0(moa_ints *u, const void *src, int n) {
    const moa_block_q2_0 *b = src;
    for (int i = 0; i < n; i += BLOCK_2, b++) {
        scales(u, i, i + BLOCK_2, b->d);
        for (int k = 0; k < BLOCK_2; k++) u->q[i + k] = (int8_t)((b->q[k / 4] >> (k % 4 * 2) & 3) - 1);
    }
}

MOA_DEQUANTIZE(q1_0)
const moa_type moa_type_q1_0 = MOA_READ_ONLY(Q1_0, q1_0, BLOCK_1, 32, "1.125 bits: 128 signs, scale");
MOA_DEQUANTIZE(q2_0)
const moa_type moa_type_q2_0 = MOA_READ_ONLY(Q2_0, q2_0, BLOCK_2, 32, "2.25 bits: 64 x 2 bits around zero, scale");

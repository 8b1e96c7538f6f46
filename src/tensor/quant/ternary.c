/* ternary.c - TQ1_0 and TQ2_0: 256 elements -1, 0, 1 with one scale, for models that were trained so (BitNet b1.58, TriLM).
 * Read only: rounding other models to three values ruins them.
 *
 *   TQ1_0, 54 bytes: five digits of base 3 a byte                  TQ2_0, 66 bytes
 *    0  48  q: digit p of byte i < 32 is element 32 p + i,          0  64  q: 2 halves of 32 bytes; bits 2s, 2s + 1 of
 *           of byte 32 + i (i < 16) element 160 + 16 p + i                 byte l of half h: element 128 h + 32 s + l
 *   48   4  h: digit p < 4 of byte i is element 240 + 4 p + i      64   2  d   f16
 *   52   2  d   f16
 *   A byte is the number of its digits as a fraction of 256, rounded up: digit 0 is the whole part of 3 byte / 256, and
 *   multiplying the byte by 3 (modulo 256) brings the next digit to the front.
 *   x = d * (digit - 1)                                            x = d * (q - 1)
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

static void one_scale(moa_ints *u, uint16_t d) {
    for (int j = 0; j < 16; j++) u->d[j] = moa_f16_to_f32(d), u->m[j] = 0;
}

/* n_digit digits of n bytes; digit p of byte i goes to q[p * n + i]. */
static void digits(int8_t *q, const uint8_t *src, int n, int n_digit) {
    for (int i = 0; i < n; i++) {
        uint8_t v = src[i];
        for (int p = 0; p < n_digit; p++, v = (uint8_t)(v * 3)) q[p * n + i] = (int8_t)((v * 3 >> 8) - 1);
    }
}

static void unpack_tq1_0(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_tq1_0 *b = src;
    one_scale(u, b->d);
    digits(u->q, b->q, 32, 5);
    digits(u->q + 160, b->q + 32, 16, 5);
    digits(u->q + 240, b->h, 4, 4);
}

static void unpack_tq2_0(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_tq2_0 *b = src;
    one_scale(u, b->d);
    for (int i = 0; i < MOA_QK; i++) u->q[i] = (int8_t)((b->q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
}

MOA_DEQUANTIZE(tq1_0)
const moa_type moa_type_tq1_0 = MOA_READ_ONLY(TQ1_0, tq1_0, MOA_QK, 32, "1.6875 bits: 256 x three values, scale");
MOA_DEQUANTIZE(tq2_0)
const moa_type moa_type_tq2_0 = MOA_READ_ONLY(TQ2_0, tq2_0, MOA_QK, 32, "2.0625 bits: 256 x 2 bits around zero, scale");

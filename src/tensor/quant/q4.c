/* q4.c - Q4_0 and Q4_1: 32 elements of 4 bits with one scale, or scale and offset.
 *
 *   Q4_0, 18 bytes                        Q4_1, 20 bytes
 *   0   2  d   f16                        0   2  d   f16
 *   2  16  q   nibbles                    2   2  m   f16
 *                                         4  16  q   nibbles
 *   low nibble of q[j] is element j, high nibble is element j + 16
 *   x = d * (q - 8)                       x = d * q + m
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

static void nibbles(int8_t *restrict q, const uint8_t *restrict s, int offset) {
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((s[j] & 15) - offset);
        q[j + 16] = (int8_t)((s[j] >> 4) - offset);
    }
}

static void unpack_0(moa_ints *u, const void *src, int n) {
    const moa_block_q4_0 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        nibbles(u->q + i * MOA_QB, b[i].q, 8);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void unpack_1(moa_ints *u, const void *src, int n) {
    const moa_block_q4_1 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        nibbles(u->q + i * MOA_QB, b[i].q, 0);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = moa_f16_to_f32(b[i].m);
    }
}

static void pack(uint8_t *q, const float *x, float d, float m, int lo, int hi) {
    for (int j = 0; j < 16; j++) {
        const int a = moa_fit_round(x[j], d, m, lo, hi) - lo, b = moa_fit_round(x[j + 16], d, m, lo, hi) - lo;
        q[j] = (uint8_t)(a | b << 4);
    }
}

static void quantize_0(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q4_0 *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB];
        moa_fit_clean(x, w, src + i * MOA_QB, importance ? importance + i * MOA_QB : NULL, MOA_QB);
        b[i].d = moa_f16_clamped(moa_fit_scale(x, w, MOA_QB, -8, 7));
        pack(b[i].q, x, moa_f16_to_f32(b[i].d), 0, -8, 7);
    }
}

static void quantize_1(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q4_1 *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB], d, m;
        moa_fit_clean(x, w, src + i * MOA_QB, importance ? importance + i * MOA_QB : NULL, MOA_QB);
        moa_fit_affine(&d, &m, x, w, MOA_QB, 15, false);
        b[i].d = moa_f16_clamped(d), b[i].m = moa_f16_clamped(m);
        pack(b[i].q, x, moa_f16_to_f32(b[i].d), moa_f16_to_f32(b[i].m), 0, 15);
    }
}

static void dequantize_0(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q4_0, dst, src, n); }
static void dequantize_1(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q4_1, dst, src, n); }

const moa_type moa_type_q4_0 = {.id = MOA_Q4_0,
                                .name = "Q4_0",
                                .help = "4.5 bits: 32 x 4 bits, scale",
                                .block = MOA_QB,
                                .bytes = sizeof(moa_block_q4_0),
                                .dequantize = dequantize_0,
                                .quantize = quantize_0,
                                .unpack = unpack_0,
                                .run = 32};
const moa_type moa_type_q4_1 = {.id = MOA_Q4_1,
                                .name = "Q4_1",
                                .help = "5 bits: 32 x 4 bits, scale and offset",
                                .block = MOA_QB,
                                .bytes = sizeof(moa_block_q4_1),
                                .dequantize = dequantize_1,
                                .quantize = quantize_1,
                                .unpack = unpack_1,
                                .run = 32,
                                .has_min = true};

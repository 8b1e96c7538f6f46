/* q5.c - Q5_0 and Q5_1: 32 elements of 5 bits; the fifth bits of all lie together.
 *
 *   Q5_0, 22 bytes                        Q5_1, 24 bytes
 *   0   2  d   f16                        0   2  d   f16
 *   2   4  h   bit i: element i           2   2  m   f16
 *   6  16  q   nibbles                    4   4  h   bit i: element i
 *                                         8  16  q   nibbles
 *   low nibble of q[j] is element j, high nibble is element j + 16; h adds 16
 *   x = d * (q - 16)                      x = d * q + m
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <string.h>

static void fives(int8_t *restrict q, const uint8_t *restrict s, const uint8_t *restrict high, int offset) {
    const uint32_t h = high[0] | (uint32_t)high[1] << 8 | (uint32_t)high[2] << 16 | (uint32_t)high[3] << 24;
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)(((s[j] & 15) | (int)((h >> j) & 1) << 4) - offset);
        q[j + 16] = (int8_t)(((s[j] >> 4) | (int)((h >> (j + 16)) & 1) << 4) - offset);
    }
}

static void unpack_0(moa_ints *u, const void *src, int n) {
    const moa_block_q5_0 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        fives(u->q + i * MOA_QB, b[i].q, b[i].h, 16);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void unpack_1(moa_ints *u, const void *src, int n) {
    const moa_block_q5_1 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        fives(u->q + i * MOA_QB, b[i].q, b[i].h, 0);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = moa_f16_to_f32(b[i].m);
    }
}

static void pack(uint8_t *q, uint8_t *h, const float *x, float d, float m, int lo, int hi) {
    memset(q, 0, 16);
    memset(h, 0, 4);
    for (int j = 0; j < MOA_QB; j++) {
        const int v = moa_fit_round(x[j], d, m, lo, hi) - lo;
        q[j % 16] |= (uint8_t)((v & 15) << (j < 16 ? 0 : 4));
        h[j / 8] |= (uint8_t)((v >> 4) << (j % 8));
    }
}

static void quantize_0(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q5_0 *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB];
        moa_fit_clean(x, w, src + i * MOA_QB, importance ? importance + i * MOA_QB : NULL, MOA_QB);
        b[i].d = moa_f16_clamped(moa_fit_scale(x, w, MOA_QB, -16, 15));
        pack(b[i].q, b[i].h, x, moa_f16_to_f32(b[i].d), 0, -16, 15);
    }
}

static void quantize_1(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q5_1 *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB], d, m;
        moa_fit_clean(x, w, src + i * MOA_QB, importance ? importance + i * MOA_QB : NULL, MOA_QB);
        moa_fit_affine(&d, &m, x, w, MOA_QB, 31, false);
        b[i].d = moa_f16_clamped(d), b[i].m = moa_f16_clamped(m);
        pack(b[i].q, b[i].h, x, moa_f16_to_f32(b[i].d), moa_f16_to_f32(b[i].m), 0, 31);
    }
}

static void dequantize_0(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q5_0, dst, src, n); }
static void dequantize_1(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q5_1, dst, src, n); }

const moa_type moa_type_q5_0 = {.id = MOA_Q5_0,
                                .name = "Q5_0",
                                .help = "5.5 bits: 32 x 5 bits, scale",
                                .block = MOA_QB,
                                .bytes = sizeof(moa_block_q5_0),
                                .dequantize = dequantize_0,
                                .quantize = quantize_0,
                                .unpack = unpack_0,
                                .run = 32};
const moa_type moa_type_q5_1 = {.id = MOA_Q5_1,
                                .name = "Q5_1",
                                .help = "6 bits: 32 x 5 bits, scale and offset",
                                .block = MOA_QB,
                                .bytes = sizeof(moa_block_q5_1),
                                .dequantize = dequantize_1,
                                .quantize = quantize_1,
                                .unpack = unpack_1,
                                .run = 32,
                                .has_min = true};

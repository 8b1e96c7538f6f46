/* q8_0.c - Q8_0: 32 signed bytes with one scale. The scale maps the largest magnitude to 127: with 8 bits a
 * search gains nothing that can be measured in a model.
 *
 *   0   2  d   f16
 *   2  32  q   int8, element order
 *   x = d * q
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>
#include <string.h>

static void unpack(moa_ints *u, const void *src, int n) {
    const moa_block_q8_0 *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        memcpy(u->q + i * MOA_QB, b[i].q, MOA_QB);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void quantize(void *dst, const float *src, const float *importance, int64_t n) {
    (void)importance;
    moa_block_q8_0 *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB], big = 0;
        moa_fit_clean(x, w, src + i * MOA_QB, NULL, MOA_QB);
        for (int j = 0; j < MOA_QB; j++) big = fmaxf(big, fabsf(x[j]));
        b[i].d = moa_f16_clamped(big / 127.0f);
        const float d = moa_f16_to_f32(b[i].d);
        for (int j = 0; j < MOA_QB; j++) b[i].q[j] = (int8_t)moa_fit_round(x[j], d, 0, -127, 127);
    }
}

static void dequantize(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q8_0, dst, src, n); }

const moa_type moa_type_q8_0 = {.id = MOA_Q8_0,
                                .name = "Q8_0",
                                .help = "8.5 bits: 32 x 8 bits, scale",
                                .block = MOA_QB,
                                .bytes = sizeof(moa_block_q8_0),
                                .dequantize = dequantize,
                                .quantize = quantize,
                                .unpack = unpack,
                                .run = 32};

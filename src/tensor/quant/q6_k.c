/* q6_k.c - Q6_K: 256 elements of 6 bits; 16 runs of 16 with signed 8-bit scales.
 *
 *     0  128  lo     2 halves of 64 bytes: low 4 bits
 *   128   64  hi     2 halves of 32 bytes: high 2 bits
 *   192   16  scale  int8, of run i
 *   208    2  d      f16
 *   element 128 h + 32 s + l (s < 4, l < 32): low 4 bits in nibble s/2 of lo[64 h + 32 (s%2) + l],
 *   high 2 bits at bit 2 s of hi[32 h + l]
 *   x = (d * scale) * (q - 32)
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>
#include <string.h>

enum { RUNS = 16, RUN = 16 };

static int lo_at(int i) { return i / 128 * 64 + i % 64; }
static int hi_at(int i) { return i / 128 * 32 + i % 32; }

static void unpack(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_q6_k *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < RUNS; j++) {
        u->d[j] = d * (float)b->scale[j];
        u->m[j] = 0;
    }
    for (int i = 0; i < MOA_QK; i++) {
        const int s = i % 128 / 32;
        u->q[i] = (int8_t)((((b->lo[lo_at(i)] >> (s / 2 * 4)) & 15) | ((b->hi[hi_at(i)] >> (2 * s)) & 3) << 4) - 32);
    }
}

/* The 8-bit level near v / unit that fits the run best. */
static int best_level(const float *x, const float *w, float v, float unit) {
    const int s0 = moa_fit_round(v, unit, 0, -128, 127);
    int best_s = s0;
    double best = INFINITY;
    for (int s = s0 - 1; s <= s0 + 1; s++) {
        if (s < -128 || s > 127) continue;
        const double e = moa_fit_error(x, w, RUN, unit * (float)s, 0, -32, 31);
        if (e < best) best = e, best_s = s;
    }
    return best_s;
}

static void quantize_block(moa_block_q6_k *b, const float *src, const float *importance) {
    float x[MOA_QK], w[MOA_QK], d[RUNS], big = 0;
    for (int j = 0; j < RUNS; j++) {
        const int at = j * RUN;
        moa_fit_clean(x + at, w + at, src + at, importance ? importance + at : NULL, RUN);
        d[j] = moa_fit_scale(x + at, w + at, RUN, -32, 31);
        if (fabsf(d[j]) > fabsf(big)) big = d[j];
    }
    b->d = moa_f16_clamped(big / -128.0f);
    const float unit = moa_f16_to_f32(b->d);
    memset(b->lo, 0, sizeof b->lo);
    memset(b->hi, 0, sizeof b->hi);
    for (int i = 0; i < MOA_QK; i++) {
        const int j = i / RUN, s = i % 128 / 32;
        if (i % RUN == 0) b->scale[j] = (int8_t)best_level(x + i, w + i, d[j], unit);
        const int q = moa_fit_round(x[i], unit * (float)b->scale[j], 0, -32, 31) + 32;
        b->lo[lo_at(i)] |= (uint8_t)((q & 15) << (s / 2 * 4));
        b->hi[hi_at(i)] |= (uint8_t)((q >> 4) << (2 * s));
    }
}

static void quantize(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q6_k *b = dst;
    for (int64_t i = 0; i < n / MOA_QK; i++) quantize_block(b + i, src + i * MOA_QK, importance ? importance + i * MOA_QK : NULL);
}

static void dequantize(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q6_k, dst, src, n); }

const moa_type moa_type_q6_k = {.id = MOA_Q6_K,
                                .name = "Q6_K",
                                .help = "6.5625 bits: 256 x 6 bits, 16 scales",
                                .block = MOA_QK,
                                .bytes = sizeof(moa_block_q6_k),
                                .dequantize = dequantize,
                                .quantize = quantize,
                                .unpack = unpack,
                                .run = 16};

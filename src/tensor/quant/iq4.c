/* iq4.c - IQ4_NL and IQ4_XS: 4 bits that select one of 16 levels, closer together near zero where weights are
 * frequent.
 *
 *   IQ4_NL, 18 bytes, 32 elements        IQ4_XS, 136 bytes, 256 elements
 *   0   2  d   f16                       0    2  d         f16
 *   2  16  q   nibbles                   2    2  scale_hi  bits 2j, 2j+1: high bits of scale j (little-endian)
 *                                        4    4  scale_lo  nibble j: low bits of scale j
 *                                        8  128  q         nibbles, 16 bytes for each run of 32
 *   in each run of 32: low nibble of byte j is element j, high nibble is element j + 16
 *   x = d * level[q]                     x = (d * (scale - 32)) * level[q]
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>

const int8_t moa_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void levels(int8_t *restrict q, const uint8_t *restrict s) {
    for (int j = 0; j < 16; j++) {
        q[j] = moa_iq4_levels[s[j] & 15];
        q[j + 16] = moa_iq4_levels[s[j] >> 4];
    }
}

static void unpack_nl(moa_ints *u, const void *src, int n) {
    const moa_block_iq4_nl *b = src;
    for (int i = 0; i < n / MOA_QB; i++) {
        levels(u->q + i * MOA_QB, b[i].q);
        u->d[2 * i] = u->d[2 * i + 1] = moa_f16_to_f32(b[i].d);
        u->m[2 * i] = u->m[2 * i + 1] = 0;
    }
}

static void unpack_xs(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_iq4_xs *b = src;
    const float d = moa_f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const int lo = (b->scale_lo[j / 2] >> (j % 2 * 4)) & 15, hi = (b->scale_hi >> (2 * j)) & 3;
        levels(u->q + j * MOA_QB, b->q + j * 16);
        u->d[2 * j] = u->d[2 * j + 1] = d * (float)((lo | hi << 4) - 32);
        u->m[2 * j] = u->m[2 * j + 1] = 0;
    }
}

static void pack(uint8_t q[16], const float *x, float d) {
    for (int j = 0; j < 16; j++)
        q[j] = (uint8_t)(moa_fit_level(x[j], d, moa_iq4_levels) | moa_fit_level(x[j + 16], d, moa_iq4_levels) << 4);
}

static void quantize_nl(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_iq4_nl *b = dst;
    for (int64_t i = 0; i < n / MOA_QB; i++) {
        float x[MOA_QB], w[MOA_QB];
        moa_fit_clean(x, w, src + i * MOA_QB, importance ? importance + i * MOA_QB : NULL, MOA_QB);
        b[i].d = moa_f16_clamped(moa_fit_levels(x, w, MOA_QB, moa_iq4_levels));
        pack(b[i].q, x, moa_f16_to_f32(b[i].d));
    }
}

static double run_error(const float *x, const float *w, float d) {
    double e = 0;
    for (int i = 0; i < MOA_QB; i++) {
        const double r = (double)x[i] - (double)d * moa_iq4_levels[moa_fit_level(x[i], d, moa_iq4_levels)];
        e += (double)w[i] * r * r;
    }
    return e;
}

/* The multiple of unit near d that fits the run best. */
static int best_multiple(const float *x, const float *w, float d, float unit, double *error) {
    const int near = moa_fit_round(d, unit, 0, -32, 31);
    int best = near;
    *error = INFINITY;
    for (int k = near - 1; k <= near + 1; k++) {
        const double e = k < -32 || k > 31 ? (double)INFINITY : run_error(x, w, unit * (float)k);
        if (e < *error) *error = e, best = k;
    }
    return best;
}

/* Scales of the eight runs as multiples of one unit. The largest meets -32, 31 or something near: each is tried, since it
 * decides how well the others can be said. */
static void quantize_block_xs(moa_block_iq4_xs *b, const float *x, const float *w) {
    float d[8], big = 0;
    int mult[8] = {0};
    double best = INFINITY;
    for (int j = 0; j < 8; j++) {
        d[j] = moa_fit_levels(x + j * MOA_QB, w + j * MOA_QB, MOA_QB, moa_iq4_levels);
        if (fabsf(d[j]) > fabsf(big)) big = d[j];
    }
    *b = (moa_block_iq4_xs){0};
    for (int top = -32; top <= 31 && big != 0; top += top == -29 ? 58 : 1) { /* -32 .. -29, 29 .. 31 */
        const uint16_t h = moa_f16_clamped(big / (float)top);
        int m[8];
        double e = 0;
        for (int j = 0; j < 8; j++) {
            double run;
            m[j] = best_multiple(x + j * MOA_QB, w + j * MOA_QB, d[j], moa_f16_to_f32(h), &run);
            e += run;
        }
        if (e >= best) continue;
        best = e, b->d = h;
        for (int j = 0; j < 8; j++) mult[j] = m[j];
    }
    for (int j = 0; j < 8; j++) {
        const int s = mult[j] + 32;
        b->scale_lo[j / 2] |= (uint8_t)((s & 15) << (j % 2 * 4));
        b->scale_hi |= (uint16_t)((s >> 4) << (2 * j));
        pack(b->q + 16 * j, x + j * MOA_QB, moa_f16_to_f32(b->d) * (float)mult[j]);
    }
}

static void quantize_xs(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_iq4_xs *b = dst;
    for (int64_t i = 0; i < n / MOA_QK; i++) {
        float x[MOA_QK], w[MOA_QK];
        moa_fit_clean(x, w, src + i * MOA_QK, importance ? importance + i * MOA_QK : NULL, MOA_QK);
        quantize_block_xs(&b[i], x, w);
    }
}

static void dequantize_nl(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_iq4_nl, dst, src, n); }
static void dequantize_xs(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_iq4_xs, dst, src, n); }

const moa_type moa_type_iq4_nl = {.id = MOA_IQ4_NL,
                                  .name = "IQ4_NL",
                                  .help = "4.5 bits: 32 x 16 uneven levels",
                                  .block = MOA_QB,
                                  .bytes = sizeof(moa_block_iq4_nl),
                                  .dequantize = dequantize_nl,
                                  .quantize = quantize_nl,
                                  .unpack = unpack_nl,
                                  .run = 32};
const moa_type moa_type_iq4_xs = {.id = MOA_IQ4_XS,
                                  .name = "IQ4_XS",
                                  .help = "4.25 bits: 256 x 16 uneven levels, 8 scales",
                                  .block = MOA_QK,
                                  .bytes = sizeof(moa_block_iq4_xs),
                                  .dequantize = dequantize_xs,
                                  .quantize = quantize_xs,
                                  .unpack = unpack_xs,
                                  .run = 32};

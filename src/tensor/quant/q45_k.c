/* q45_k.c - Q4_K and Q5_K: 256 elements of 4 or 5 bits; 8 runs of 32 with a 6-bit scale and a 6-bit minimum.
 *
 *   Q4_K, 144 bytes               Q5_K, 176 bytes
 *    0    2  d      f16            0    2  d      f16
 *    2    2  dmin   f16            2    2  dmin   f16
 *    4   12  scale  (block.h)      4   12  scale  (block.h)
 *   16  128  q      nibbles       16   32  h      bit k of byte l: fifth bit of element 32 k + l
 *                                 48  128  q      nibbles
 *   byte 32 p + l of q: low nibble is element 64 p + l, high nibble is element 64 p + 32 + l
 *   x = (d * scale) * q - (dmin * minimum)
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>
#include <string.h>

enum { RUNS = 8 };

static void unpack_scales(moa_ints *u, const uint8_t scale[12], uint16_t hd, uint16_t hmin) {
    const float d = moa_f16_to_f32(hd), dmin = moa_f16_to_f32(hmin);
    for (int j = 0; j < RUNS; j++) {
        int sc, mn;
        moa_k4_scale(scale, j, &sc, &mn);
        u->d[2 * j] = u->d[2 * j + 1] = d * (float)sc;
        u->m[2 * j] = u->m[2 * j + 1] = -(dmin * (float)mn);
    }
}

static void unpack_4(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_q4_k *b = src;
    unpack_scales(u, b->scale, b->d, b->dmin);
    for (int i = 0; i < MOA_QK; i++) u->q[i] = (b->q[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15;
}

static void unpack_5(moa_ints *u, const void *src, int n) {
    (void)n;
    const moa_block_q5_k *b = src;
    unpack_scales(u, b->scale, b->d, b->dmin);
    for (int i = 0; i < MOA_QK; i++) {
        const int low = (b->q[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15, high = (b->h[i % 32] >> (i / 32)) & 1;
        u->q[i] = (int8_t)(low | high << 4);
    }
}

static void pack_scales(uint8_t out[12], const int sc[RUNS], const int mn[RUNS]) {
    memset(out, 0, 12);
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(sc[j] | (sc[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(mn[j] | (mn[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((sc[j + 4] & 15) | (mn[j + 4] & 15) << 4);
    }
}

static int to_level(float v, float unit) { return moa_fit_round(v, unit, 0, 0, 63); }

/* The pair of 6-bit levels near (sc, mn) that fits the run best. */
static void refine(int *sc, int *mn, const float *x, const float *w, float d, float dmin, int hi) {
    const int s0 = *sc, m0 = *mn;
    double best = INFINITY;
    for (int s = s0 - 1; s <= s0 + 1; s++)
        for (int m = m0 - 1; m <= m0 + 1; m++) {
            if (s < 0 || s > 63 || m < 0 || m > 63) continue;
            const double e = moa_fit_error(x, w, MOA_QB, d * (float)s, -(dmin * (float)m), 0, hi);
            if (e < best) best = e, *sc = s, *mn = m;
        }
}

/* What a block says, before it is packed: units as f16, multiples of them for each run, integers. */
typedef struct choice {
    uint16_t hd, hmin;
    int sc[RUNS], mn[RUNS];
    uint8_t q[MOA_QK];
    double error;
} choice;

/* Integers and error for c's scales. */
static void assign(choice *c, const float *x, const float *w, int hi) {
    const float unit_d = moa_f16_to_f32(c->hd), unit_m = moa_f16_to_f32(c->hmin);
    c->error = 0;
    for (int i = 0; i < MOA_QK; i++) {
        const float d = unit_d * (float)c->sc[i / MOA_QB], m = -(unit_m * (float)c->mn[i / MOA_QB]);
        c->q[i] = (uint8_t)moa_fit_round(x[i], d, m, 0, hi);
        const double r = (double)x[i] - (double)d * c->q[i] - (double)m;
        c->error += (double)w[i] * r * r;
    }
}

/* The two units that fit best when all else stays: x ~ D (sc q) - M mn, two normal equations. False: none that is any use. */
static bool solve_units(choice *c, const float *x, const float *w) {
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < MOA_QK; i++) {
        const double wi = w[i], a = c->sc[i / MOA_QB] * c->q[i], b = c->mn[i / MOA_QB];
        aa += wi * a * a, ab += wi * a * b, bb += wi * b * b, xa += wi * a * (double)x[i], xb += wi * b * (double)x[i];
    }
    const double det = aa * bb - ab * ab;
    double d = aa > 0 ? xa / aa : 0, m = 0;
    if (det > 1e-12 * aa * bb) d = (bb * xa - ab * xb) / det, m = (ab * xa - aa * xb) / det;
    if (!(d > 0 && m >= 0)) return false;
    c->hd = moa_f16_clamped((float)d), c->hmin = moa_f16_clamped((float)m);
    return c->hd != 0;
}

/* Shared by both: each run is fitted alone, its scale and minimum become multiples of the block's units; then units, multiples
 * and integers are improved in turn as long as the error falls. */
static void fit_block(uint8_t scale[12], uint16_t *hd, uint16_t *hmin, uint8_t q[MOA_QK], const float *src,
                      const float *importance, int hi) {
    float x[MOA_QK], w[MOA_QK], d[RUNS], m[RUNS], d_max = 0, m_max = 0;
    choice best = {.error = INFINITY}, c;
    for (int j = 0; j < RUNS; j++) {
        const int at = j * MOA_QB;
        moa_fit_clean(x + at, w + at, src + at, importance ? importance + at : NULL, MOA_QB);
        moa_fit_affine(&d[j], &m[j], x + at, w + at, MOA_QB, hi, true);
        d_max = fmaxf(d_max, d[j]), m_max = fmaxf(m_max, -m[j]);
    }
    best.hd = moa_f16_clamped(d_max / 63.0f), best.hmin = moa_f16_clamped(m_max / 63.0f);
    for (int round = 0; round < 4; round++) {
        c = best;
        if (round && !solve_units(&c, x, w)) break;
        const float unit_d = moa_f16_to_f32(c.hd), unit_m = moa_f16_to_f32(c.hmin);
        for (int j = 0; j < RUNS; j++) {
            if (!round) c.sc[j] = to_level(d[j], unit_d), c.mn[j] = to_level(-m[j], unit_m);
            refine(&c.sc[j], &c.mn[j], x + j * MOA_QB, w + j * MOA_QB, unit_d, unit_m, hi);
        }
        assign(&c, x, w, hi);
        if (!(c.error < best.error)) break;
        best = c;
    }
    *hd = best.hd, *hmin = best.hmin;
    memcpy(q, best.q, MOA_QK);
    pack_scales(scale, best.sc, best.mn);
}

static void pack_nibbles(uint8_t out[128], const uint8_t q[MOA_QK]) {
    for (int i = 0; i < 128; i++) {
        const int at = i / 32 * 64 + i % 32;
        out[i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
    }
}

static void quantize_4(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q4_k *b = dst;
    uint8_t q[MOA_QK];
    for (int64_t i = 0; i < n / MOA_QK; i++) {
        uint16_t d, dmin;
        fit_block(b[i].scale, &d, &dmin, q, src + i * MOA_QK, importance ? importance + i * MOA_QK : NULL, 15);
        b[i].d = d, b[i].dmin = dmin;
        pack_nibbles(b[i].q, q);
    }
}

static void quantize_5(void *dst, const float *src, const float *importance, int64_t n) {
    moa_block_q5_k *b = dst;
    uint8_t q[MOA_QK];
    for (int64_t i = 0; i < n / MOA_QK; i++) {
        uint16_t d, dmin;
        fit_block(b[i].scale, &d, &dmin, q, src + i * MOA_QK, importance ? importance + i * MOA_QK : NULL, 31);
        b[i].d = d, b[i].dmin = dmin;
        pack_nibbles(b[i].q, q);
        memset(b[i].h, 0, sizeof b[i].h);
        for (int k = 0; k < MOA_QK; k++) b[i].h[k % 32] |= (uint8_t)((q[k] >> 4) << (k / 32));
    }
}

static void dequantize_4(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q4_k, dst, src, n); }
static void dequantize_5(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_q5_k, dst, src, n); }

const moa_type moa_type_q4_k = {.id = MOA_Q4_K,
                                .name = "Q4_K",
                                .help = "4.5 bits: 256 x 4 bits, 8 scales and minima",
                                .block = MOA_QK,
                                .bytes = sizeof(moa_block_q4_k),
                                .dequantize = dequantize_4,
                                .quantize = quantize_4,
                                .unpack = unpack_4,
                                .run = 32,
                                .has_min = true};
const moa_type moa_type_q5_k = {.id = MOA_Q5_K,
                                .name = "Q5_K",
                                .help = "5.5 bits: 256 x 5 bits, 8 scales and minima",
                                .block = MOA_QK,
                                .bytes = sizeof(moa_block_q5_k),
                                .dequantize = dequantize_5,
                                .quantize = quantize_5,
                                .unpack = unpack_5,
                                .run = 32,
                                .has_min = true};

/* attn.h - the inner loops of attention over one block of 32 cached positions, one table a type of the cache and ISA.
 *
 * What attends together are columns: pairs of a row and a query head that share a key head and the block. A column's chain of sums
 * does not depend on its neighbours: scores add up in order of the head's numbers, outputs in order of positions, and the sum of
 * the softmax is kept as 16 lanes (lane i: positions i and i + 16 of every block).
 *
 * Layout of one head of a block:
 *     f32, f16, bf16   keys [hd][32] (transposed: 32 scores are 32 independent sums and no ISA needs a horizontal one), values [32][hd]
 *     q8_0             H = hd rounded up to 32 numbers; one f16 scale for 32 numbers of a position.
 *                      keys: u8 [H / 4][32][4], 4 numbers of a position side by side as the int8 products want them, each + 128;
 *                            then f16 [H / 32][32] scales
 *                      values: i8 [32][H], then f16 [H / 32][32] scales
 *                      Queries are quantised the same way, once a step, so that scores are sums of integers; mixes stay in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_ATTN_H
#define MOA_TENSOR_ATTN_H

#include "tensor/tensor.h"

enum { MOA_ATTN_BLOCK = 32, MOA_ATTN_LANES = 16 };

typedef struct moa_attn_kernels {
    /* q [n, hd] f32, n columns, times scale, in the form that score reads: n * moa_attn_query_bytes at dst. */
    void (*query)(void *dst, const float *q, int n, int hd, float scale);
    /* s[c][t] = q[c] . k[t]: s [n, 32] */
    void (*score)(float *s, const void *q, const void *k, int n, int hd);
    /* Scores of positions [t0, t1) of a block, the others masked, become numerators of the softmax, in place. Where a column's maximum
     * grows, its sum [n, 16] and outputs o [n, hd] shrink by e^(old - new). Begin with max -inf, sum and o 0. */
    void (*soft)(float *s, float *max, float *sum, float *o, int n, int t0, int t1, int hd);
    /* o[c] += sum over t in [t0, t1), in order, of p[c][t] v[t]: p [n, 32], o [n, hd] */
    void (*mix)(float *o, const float *p, const void *v, int n, int t0, int t1, int hd);
    /* Positions [t0, t0 + n) of a block from rows [n, hd] that lie ld floats apart. */
    void (*put_key)(void *k, const float *src, int64_t ld, int t0, int n, int hd);
    void (*put_value)(void *v, const float *src, int64_t ld, int t0, int n, int hd);
    /* f32 values [32][n] that are the first n numbers of keys of hd numbers (absorbed latent attention). */
    void (*turn)(float *v, const void *k, int n, int hd);
    /* State a (max [n], sum [n, 16], o [n, hd]) of earlier positions takes in state b of later ones. */
    void (*merge)(float *max, float *sum, float *o, const float *max_b, const float *sum_b, const float *o_b, int n, int hd);
} moa_attn_kernels;

static inline int moa_attn_padded(int hd) { return (hd + 31) / 32 * 32; }
/* Bytes of a head's keys or values in a block, a multiple of 64. */
static inline size_t moa_attn_head_bytes(moa_dtype type, int hd) {
    const size_t n = (size_t)hd * MOA_ATTN_BLOCK, padded = (size_t)moa_attn_padded(hd) * MOA_ATTN_BLOCK;
    return type == MOA_F32 ? n * 4 : type == MOA_Q8_0 ? padded + padded / 16 : n * 2;
}
/* Bytes of a column's query: f32 [hd]; q8_0: i8 [H], f32 scales [H / 32], i32 [H / 32] sums of the integers. */
static inline size_t moa_attn_query_bytes(moa_dtype type, int hd) {
    return type == MOA_Q8_0 ? (size_t)moa_attn_padded(hd) / 32 * (32 + 4 + 4) : (size_t)hd * 4;
}

#endif

/* vector_ref.c - the kernels on single rows in plain C: the definition. Sums are those of sum.h, exp is vmath.h's: the same bits on
 * every instruction set.
 *
 * quant_q8: scale = max|x| / 127 over 32 elements, q = round to nearest even of x * (127 / max|x|). All in f32
 * and in this order, so that every ISA gives the same bits. A block that holds a NaN or an infinity gets the
 * scale NaN, so that a broken activation shows in every output it reaches; one below 1e-30 counts as zero.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/sum.h"
#include "tensor/kernels/vmath.h"
#include "tensor/quant/block.h"

#include <math.h>
#include <string.h>

static void quant_block(int8_t *q, float *scale, int16_t *sum, const float *x) {
    uint32_t top = 0; /* bits of max|x|: as integers, magnitudes order like floats, and NaN above infinity */
    for (int j = 0; j < MOA_QB; j++) {
        uint32_t u;
        memcpy(&u, x + j, sizeof u);
        u &= 0x7fffffffu;
        top = u > top ? u : top;
    }
    float big;
    memcpy(&big, &top, sizeof big);
    const bool broken = top >= 0x7f800000u, empty = broken || big < 1e-30f;
    const float inv = empty ? 0.0f : 127.0f / big;
    *scale = broken ? NAN : empty ? 0.0f : big / 127.0f;
    sum[0] = sum[1] = 0;
    for (int j = 0; j < MOA_QB; j++) {
        q[j] = empty ? 0 : (int8_t)rintf(x[j] * inv);
        sum[j / 16] = (int16_t)(sum[j / 16] + q[j]);
    }
}

static void quant_q8(moa_q8_act *dst, const float *x, int64_t ldx, int64_t row0, int64_t row1) {
    for (int64_t i = row0; i < row1; i++)
        for (int64_t k = 0; k < dst->n; k += MOA_QB) {
            const int64_t at = i * dst->n + k;
            quant_block(dst->q + at, dst->scale + at / MOA_QB, dst->sum + at / 16, x + i * ldx + k);
        }
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

static float sum(const float *x, int64_t n) {
    float lane[SUM_LANES] = {0};
    for (int64_t i = 0; i < n; i += SUM_LANES)
        for (int l = 0; l < SUM_LANES; l++) lane[l] += i + l < n ? x[i + l] : 0;
    return sum_fold(lane);
}

static void softmax(float *x, int64_t n) {
    float top = -INFINITY;
    for (int64_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top; /* a NaN is never the largest: it shows in the sum */
    for (int64_t i = 0; i < n; i++) x[i] = moa_vexpf(x[i] - top);
    const float inv = 1.0f / sum(x, n);
    for (int64_t i = 0; i < n; i++) x[i] *= inv;
}

static void expv(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = moa_vexpf(x[i]);
}

#define ROW(kernel, slot, text)                                                                                                  \
    const moa_kernel moa_kernel_##kernel##_ref = {                                                                               \
        .name = #kernel "_ref", .help = text, .op = slot, .isa = MOA_ISA_REF, .fn.kernel = kernel};
ROW(quant_q8, MOA_K_QUANT_Q8, "plain C")
ROW(axpy, MOA_K_AXPY, "plain C, fused")
ROW(softmax, MOA_K_SOFTMAX, "plain C, polynomial exp, sums in 16 lanes")
ROW(expv, MOA_K_EXP, "plain C, polynomial exp")

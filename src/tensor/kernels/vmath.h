/* vmath.h - expf, logf, tanhf and the logistic function without branches and without calls, so that
 * gcc and clang turn a loop over them into vector code for whatever ISA the including file is built for.
 *
 * Write the loop as
 *     #pragma omp simd
 *     for (int64_t i = 0; i < n; i++) y[i] = moa_vexpf(x[i]);
 * The pragma is needed: gcc at -O2 vectorises no loop of unknown length without it.
 *
 * Method: range reduction by Cody and Waite ("Software Manual for the Elementary Functions", 1980), then
 * polynomials fitted for this file by iteratively reweighted least squares (close to minimax). Multiply-adds
 * are fused, by a call of fmaf where the ISA has no instruction for it: the same bits on every ISA and in every place of a
 * vector. Largest relative errors, from a walk over the range
 * in tests/tensor/test_kernels_vmath.c: exp 1.2e-7, log 1.5e-7, tanh 3e-7, sigmoid 2.5e-7 (x > -87).
 *
 * Choices are made with bit masks (moa_vsel), not with `c ? a : b`: gcc would turn some of those into branches,
 * because a skipped operation cannot raise a floating-point flag, and then refuse to vectorise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_VMATH_H
#define MOA_TENSOR_KERNELS_VMATH_H

#include <stdint.h>
#include <string.h>

/* a * b + c in one rounding. */
#define MOA_FMA(a, b, c) __builtin_fmaf((a), (b), (c))

static inline float moa_vbits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint32_t moa_vword(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float moa_vsel(int c, float a, float b) { /* c ? a : b */
    const uint32_t m = -(uint32_t)c;
    return moa_vbits((moa_vword(a) & m) | (moa_vword(b) & ~m));
}

/* e^x. +inf and x > 88.73 give +inf, -inf and x < -103.98 give 0, results below 2^-126 are denormal, NaN stays NaN.
 * e^x = 2^k e^r with k = round(x / ln 2), |r| <= ln(2) / 2; e^r = 1 + r + r^2 P(r). */
static inline float moa_vexpf(float x) {
    const float round_magic = 0x1.8p23f; /* adding it rounds to an integer, which is then in the low bits */
    x = moa_vsel(x > 89.0f, 89.0f, x);
    x = moa_vsel(x < -104.0f, -104.0f, x);
    const float t = MOA_FMA(x, 0x1.715476p0f, round_magic);
    const float k = t - round_magic;
    float r = MOA_FMA(k, -0x1.62e4p-1f, x); /* high part of ln 2: k times it is exact */
    r = MOA_FMA(k, -0x1.7f7d1cp-20f, r);    /* low part */
    float p = 0x1.6a234ep-10f;
    p = MOA_FMA(p, r, 0x1.123a6cp-7f);
    p = MOA_FMA(p, r, 0x1.5558f4p-5f);
    p = MOA_FMA(p, r, 0x1.555490p-3f);
    p = MOA_FMA(p, r, 0x1.fffffcp-2f);
    p = MOA_FMA(p * r, r, r) + 1.0f;
    /* 2^k in two factors, since k reaches 128 and -150. */
    const int32_t n = (int32_t)(moa_vword(t) - moa_vword(round_magic));
    const int32_t n1 = n >> 1;
    const float s1 = moa_vbits((uint32_t)(n1 + 127) << 23), s2 = moa_vbits((uint32_t)(n - n1 + 127) << 23);
    return p * s1 * s2;
}

/* ln x. 0 gives -inf, x < 0 gives NaN, +inf and NaN stay.
 * x = 2^e m, m in [sqrt(1/2), sqrt(2)); f = m - 1; ln m = f - f^2/2 + f^3 P(f). */
static inline float moa_vlogf(float x) {
    const int32_t tiny = x < 0x1p-126f; /* denormal: scale up */
    const uint32_t u = moa_vword(moa_vsel(tiny, x * 0x1p23f, x));
    const int32_t e0 = (int32_t)(u - 0x3f3504f3u) >> 23; /* 0x3f3504f3 is sqrt(1/2) */
    const float f = moa_vbits(u - ((uint32_t)e0 << 23)) - 1.0f;
    const float e = (float)(e0 - 23 * tiny);
    float p = 0x1.14573ep-4f;
    p = MOA_FMA(p, f, -0x1.de3bfap-4f);
    p = MOA_FMA(p, f, 0x1.e6f08cp-4f);
    p = MOA_FMA(p, f, -0x1.fc220ep-4f);
    p = MOA_FMA(p, f, 0x1.233766p-3f);
    p = MOA_FMA(p, f, -0x1.555c4ep-3f);
    p = MOA_FMA(p, f, 0x1.99a4b6p-3f);
    p = MOA_FMA(p, f, -0x1.000006p-2f);
    p = MOA_FMA(p, f, 0x1.555548p-2f);
    const float f2 = f * f;
    float y = MOA_FMA(e, 0x1.7f7d1cp-20f, p * f * f2); /* low part of ln 2 */
    y = MOA_FMA(-0.5f, f2, y) + f;
    y = MOA_FMA(e, 0x1.62e4p-1f, y);
    const float inf = __builtin_inff();
    y = moa_vsel(x == inf, inf, y);
    y = moa_vsel(x == 0.0f, -inf, y);
    return moa_vsel(x >= 0.0f, y, __builtin_nanf(""));
}

/* 1 / (1 + e^-x), in [0, 1]; 0 below -89. */
static inline float moa_vsigmoidf(float x) { return 1.0f / (1.0f + moa_vexpf(-x)); }

/* tanh x, odd, in [-1, 1]. A polynomial below 0.625, where 1 - e^-2|x| would cancel. */
static inline float moa_vtanhf(float x) {
    const float a = __builtin_fabsf(x), z = x * x;
    float p = -0x1.75e1a8p-8f;
    p = MOA_FMA(p, z, 0x1.522692p-6f);
    p = MOA_FMA(p, z, -0x1.b83c58p-5f);
    p = MOA_FMA(p, z, 0x1.110726p-3f);
    p = MOA_FMA(p, z, -0x1.555532p-2f);
    const float small = MOA_FMA(p * z, x, x);
    const float e = moa_vexpf(-2.0f * a);
    const float big = __builtin_copysignf((1.0f - e) / (1.0f + e), x);
    return moa_vsel(a < 0.625f, small, big);
}

#endif

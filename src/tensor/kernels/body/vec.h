/* vec.h - the widest float vector of the ISA that the including file is built for, and a small matrix product on it.
 *
 * GCC's vector extension (clang has it too) gives arithmetic; only the fused multiply-add and the choice of width need
 * the ISA. tile() keeps a block of C in registers: MOA_MR rows by 2 vectors, so that each step of k loads two
 * vectors of B and broadcasts MOA_MR elements of A for 2 * MOA_MR fused multiply-adds: bound by arithmetic, not by
 * loads (AVX-512: 16 accumulators of 32 registers; AVX2: 12 of 16).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_BODY_VEC_H
#define MOA_TENSOR_KERNELS_BODY_VEC_H

#include "tensor/kernels/vmath.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { MOA_VL = 16, MOA_MR = 8 };
typedef float moa_vf __attribute__((vector_size(64), aligned(4), may_alias));
static inline moa_vf moa_vfma(moa_vf a, moa_vf b, moa_vf c) {
    return (moa_vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline moa_vf moa_vmax(moa_vf a, moa_vf b) { return (moa_vf)_mm512_max_ps((__m512)a, (__m512)b); }
static inline moa_vf moa_vset(float a) { return (moa_vf)_mm512_set1_ps(a); }
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { MOA_VL = 8, MOA_MR = 6 };
typedef float moa_vf __attribute__((vector_size(32), aligned(4), may_alias));
static inline moa_vf moa_vfma(moa_vf a, moa_vf b, moa_vf c) {
    return (moa_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline moa_vf moa_vmax(moa_vf a, moa_vf b) { return (moa_vf)_mm256_max_ps((__m256)a, (__m256)b); }
static inline moa_vf moa_vset(float a) { return (moa_vf)_mm256_set1_ps(a); }
#else
enum { MOA_VL = 4, MOA_MR = 4 };
typedef float moa_vf __attribute__((vector_size(16), aligned(4), may_alias));
static inline moa_vf moa_vfma(moa_vf a, moa_vf b, moa_vf c) { return a * b + c; }
static inline moa_vf moa_vmax(moa_vf a, moa_vf b) {
    for (int i = 0; i < MOA_VL; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}
static inline moa_vf moa_vset(float a) { return (moa_vf){a, a, a, a}; }
#endif

#ifdef __clang__
#define MOA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MOA_UNROLL _Pragma("GCC unroll 16")
#endif

static inline int64_t moa_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* C[mr][nv vectors] (+)= sum over k of A[m][k] * B[k][...]; A[m][k] is a[m * rs + k * cs]. */
static inline __attribute__((always_inline)) void moa_tile(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                                                           const float *b, int64_t ldb, int64_t k, const int mr,
                                                           const int nv, bool add) {
    moa_vf acc[MOA_MR][2];
    const float *a3 = a + 3 * rs, *a6 = a + 6 * rs; /* x86 adds 0, 1 or 2 strides for free; eight pointers would not fit */
    MOA_UNROLL
    for (int m = 0; m < mr; m++) {
        MOA_UNROLL
        for (int v = 0; v < nv; v++) acc[m][v] = add ? *(const moa_vf *)(c + m * ldc + v * MOA_VL) : (moa_vf){0};
    }
    for (int64_t i = 0; i < k; i++) {
        moa_vf bv[2];
        MOA_UNROLL
        for (int v = 0; v < nv; v++) bv[v] = *(const moa_vf *)(b + i * ldb + v * MOA_VL);
        MOA_UNROLL
        for (int m = 0; m < mr; m++) {
            const moa_vf am = moa_vset((m < 3 ? a : m < 6 ? a3 : a6)[m % 3 * rs + i * cs]);
            MOA_UNROLL
            for (int v = 0; v < nv; v++) acc[m][v] = moa_vfma(am, bv[v], acc[m][v]);
        }
    }
    MOA_UNROLL
    for (int m = 0; m < mr; m++) {
        MOA_UNROLL
        for (int v = 0; v < nv; v++) *(moa_vf *)(c + m * ldc + v * MOA_VL) = acc[m][v];
    }
}

/* One row of tiles: n columns, a multiple of MOA_VL. */
static inline __attribute__((always_inline)) void moa_tile_row(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                                                               const float *b, int64_t ldb, int64_t n, int64_t k,
                                                               const int mr, bool add) {
    int64_t j = 0;
    for (; j + 2 * MOA_VL <= n; j += 2 * MOA_VL) moa_tile(c + j, ldc, a, rs, cs, b + j, ldb, k, mr, 2, add);
    if (j < n) moa_tile(c + j, ldc, a, rs, cs, b + j, ldb, k, mr, 1, add);
}

/* C[m][n] (+)= A[m][k] B[k][n] for m <= MOA_MR; n a multiple of MOA_VL. */
static inline __attribute__((always_inline)) void moa_gemm_rows(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                                                                const float *b, int64_t ldb, int64_t m, int64_t n, int64_t k,
                                                                bool add) {
    if (m == MOA_MR) {
        moa_tile_row(c, ldc, a, rs, cs, b, ldb, n, k, MOA_MR, add);
        return;
    }
    for (; m >= 2; m -= 2, c += 2 * ldc, a += 2 * rs) moa_tile_row(c, ldc, a, rs, cs, b, ldb, n, k, 2, add);
    if (m) moa_tile_row(c, ldc, a, rs, cs, b, ldb, n, k, 1, add);
}

/* The two uses, apart, so that the stride of 1 is known: C = A B with rows of A, and C += A^T B with A stored [k][m]. */
static __attribute__((noinline)) void moa_gemm_nn(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb,
                                                  int64_t m, int64_t n, int64_t k) {
    moa_gemm_rows(c, ldc, a, lda, 1, b, ldb, m, n, k, false);
}
static __attribute__((noinline)) void moa_gemm_tn_add(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb,
                                                      int64_t m, int64_t n, int64_t k) {
    moa_gemm_rows(c, ldc, a, 1, lda, b, ldb, m, n, k, true);
}

/* By hand, since clang takes a loop with a comparison for no reduction as long as NaNs are honoured. n > 0. */
static inline float moa_row_max(const float *x, int64_t n) {
    float m = x[0];
    int64_t j = 0;
    if (n >= 2 * MOA_VL) {
        moa_vf a = *(const moa_vf *)x, b = *(const moa_vf *)(x + MOA_VL);
        for (j = 2 * MOA_VL; j + 2 * MOA_VL <= n; j += 2 * MOA_VL) {
            a = moa_vmax(a, *(const moa_vf *)(x + j));
            b = moa_vmax(b, *(const moa_vf *)(x + j + MOA_VL));
        }
        a = moa_vmax(a, b);
        for (int i = 0; i < MOA_VL; i++) m = a[i] > m ? a[i] : m;
    }
    for (; j < n; j++) m = x[j] > m ? x[j] : m;
    return m;
}

/* Round to nearest even, as moa_f32_to_bf16, without a branch. */
static inline uint16_t moa_vbf16(float f) {
    const uint32_t u = moa_vword(f);
    const uint32_t nan = -(uint32_t)((u & 0x7fffffffu) > 0x7f800000u);
    const uint32_t r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, q = (u >> 16) | 64u;
    return (uint16_t)((r & ~nan) | (q & nan));
}

#endif

/* gemm_f32.h - products with f32 activations, for the vectors of avx2/simd.h or avx512/simd.h.
 *
 * One output is the 16 lanes of sum.h, each one chain of fused adds in the order of k. Tiles of T rows of x times R rows
 * of w differ only in how many such chains run side by side, so y[i][o] has the same bits in all of them. T = 1 takes 8
 * rows of w to hide the latency of the add; a larger T reuses each loaded weight T times.
 *
 * Where a vector has 8 lanes, larger tiles are done twice, for lanes 0 to 7 and for 8 to 15: their registers hold one half at
 * a time. So that the second time finds everything in the nearest cache, rows are cut into chunks.
 *
 * 16-bit weights are widened while they are loaded (exact), or, from WIDEN rows of x on, once per 4 rows of w into a
 * scratch tile. Block formats are dequantised into the same tile, CHUNK elements at a time: this is the exact path
 * ("reference mode"), the fast one is gemm_q8.h.
 *
 * The including file includes simd.h of its ISA first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/sum.h"
#include "tensor/kernels/types.h"
#include "tensor/quant/block.h"

enum { CHUNK = VN == 16 ? 512 : 1024, ROWS = 4, WIDEN = 12, BATCH = 48 }; /* BATCH: rows of x that one scratch tile serves */
_Static_assert(CHUNK % MOA_QK == 0 && CHUNK % SUM_LANES == 0, "chunks end where blocks and lanes end");

typedef struct lanes { VF part[SUM_PARTS]; } lanes; /* of one output */

/* y[0..3] = sums of a[0..3]. */
MOA_INLINE __m128 sum4(const lanes *a) {
    const __m128 p = vf_fold4(sum_join(a[0].part)), q = vf_fold4(sum_join(a[1].part)), r = vf_fold4(sum_join(a[2].part)),
                 s = vf_fold4(sum_join(a[3].part));
    const __m128 pq = _mm_add_ps(_mm_unpacklo_ps(p, q), _mm_unpackhi_ps(p, q)); /* p0+p2 q0+q2 p1+p3 q1+q3 */
    const __m128 rs = _mm_add_ps(_mm_unpacklo_ps(r, s), _mm_unpackhi_ps(r, s));
    return _mm_add_ps(_mm_movelh_ps(pq, rs), _mm_movehl_ps(rs, pq));
}
MOA_INLINE void store_sums(float *y, const lanes *a, int n) {
    float v[4];
    _mm_storeu_ps(v, sum4(a));
    for (int r = 0; r < n; r++) y[r] = v[r];
}
MOA_INLINE void clear(lanes *a, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < SUM_PARTS; p++) a[i].part[p] = vf_zero();
}

/* Weights: pointers to 4 (or 8) rows and how to read them. */
#define LOAD_f32(p, k) vf_load((const float *)(p) + (k))
#define LOAD_f32_first(p, k, n) vf_load_first((const float *)(p) + (k), n)
#define LOAD_bf16(p, k) vf_load_bf16((const uint16_t *)(p) + (k))
#define LOAD_bf16_first(p, k, n) vf_load_bf16_first((const uint16_t *)(p) + (k), n)
#define LOAD_f16(p, k) vf_load_f16((const uint16_t *)(p) + (k))
#define LOAD_f16_first(p, k, n) vf_load_f16_first((const uint16_t *)(p) + (k), n)

/* acc[t * ROWS + r] += x[t] . w[r] over elements [k0, k1); k0 is a multiple of 16. Named variables stay in registers where
 * arrays do not. The rows of x are loaded first, then each weight meets all of them: 6 x 4 chains of one vector and their
 * operands fit 32 registers, 3 x 4 fit 16. NP: parts of the lanes at once, from p0 on. */
#define P1(M, ...) M(0, __VA_ARGS__)
#define P2(M, ...) P1(M, __VA_ARGS__) M(1, __VA_ARGS__)
#define R4(M, ...) M(0, __VA_ARGS__) M(1, __VA_ARGS__) M(2, __VA_ARGS__) M(3, __VA_ARGS__)
#define R8(M, ...) R4(M, __VA_ARGS__) M(4, __VA_ARGS__) M(5, __VA_ARGS__) M(6, __VA_ARGS__) M(7, __VA_ARGS__)
#define T1(M, ...) M(0, __VA_ARGS__)
#define T2(M, ...) T1(M, __VA_ARGS__) M(1, __VA_ARGS__)
#define T3(M, ...) T2(M, __VA_ARGS__) M(2, __VA_ARGS__)
#define T4(M, ...) T3(M, __VA_ARGS__) M(3, __VA_ARGS__)
#define T6(M, ...) T4(M, __VA_ARGS__) M(4, __VA_ARGS__) M(5, __VA_ARGS__)

#define ACC_IN(t, p, r) VF a##t##_##r##_##p = acc[t * ROWS + r].part[p0 + p];
#define ACC_OUT(t, p, r) acc[t * ROWS + r].part[p0 + p] = a##t##_##r##_##p;
#define FMA(t, p, r) a##t##_##r##_##p = vf_fma(x##t, v, a##t##_##r##_##p);
#define X_LOAD(t, p) const VF x##t = vf_load(x + t * ldx + k + (p0 + p) * VN);
#define X_LOAD_FIRST(t, p) const VF x##t = vf_load_first(x + t * ldx + k + (p0 + p) * VN, sum_rest(k1 - k, p0 + p));
#define W_PTR(r, ...) const char *const w##r = w[r];
#define W_IN(r, TS, p) TS(ACC_IN, p, r)
#define W_OUT(r, TS, p) TS(ACC_OUT, p, r)
#define P_IN(p, TS, RS) RS(W_IN, TS, p)
#define P_OUT(p, TS, RS) RS(W_OUT, TS, p)
#define W_FMA(r, TS, LOAD, p)                                                                                                    \
    {                                                                                                                            \
        const VF v = LOAD(w##r, k + (p0 + p) * VN);                                                                              \
        TS(FMA, p, r)                                                                                                            \
    }
#define W_FMA_FIRST(r, TS, LOAD, p)                                                                                              \
    {                                                                                                                            \
        const VF v = LOAD##_first(w##r, k + (p0 + p) * VN, sum_rest(k1 - k, p0 + p));                                            \
        TS(FMA, p, r)                                                                                                            \
    }
#define P_STEP(p, TS, RS, LOAD)                                                                                                  \
    {                                                                                                                            \
        TS(X_LOAD, p) RS(W_FMA, TS, LOAD, p)                                                                                     \
    }
#define P_LAST(p, TS, RS, LOAD)                                                                                                  \
    {                                                                                                                            \
        TS(X_LOAD_FIRST, p) RS(W_FMA_FIRST, TS, LOAD, p)                                                                         \
    }

#define TILE(NT, NR, NP, type)                                                                                                   \
    static void tile_##NT##x##NR##_##type(lanes *acc, const float *x, int64_t ldx, const char *const *w, int64_t k0, int64_t k1) { \
        R##NR(W_PTR, 0)                                                                                                          \
        for (int p0 = 0; p0 < SUM_PARTS; p0 += NP) {                                                                             \
            P##NP(P_IN, T##NT, R##NR)                                                                                            \
            int64_t k = k0;                                                                                                      \
            for (; k + SUM_LANES <= k1; k += SUM_LANES) {                                                                        \
                P##NP(P_STEP, T##NT, R##NR, LOAD_##type)                                                                         \
            }                                                                                                                    \
            if (k < k1) {                                                                                                        \
                P##NP(P_LAST, T##NT, R##NR, LOAD_##type)                                                                         \
            }                                                                                                                    \
            P##NP(P_OUT, T##NT, R##NR)                                                                                           \
        }                                                                                                                        \
    }
#if VN == 16 /* 32 registers */
enum { ONE = 8 }; /* rows of w that one row of x takes: 8 chains in both cases */
#define ONE_TILE(type) tile_1x8_##type
#define TILES(type) TILE(1, 8, 1, type) TILE(1, 4, 1, type) TILE(2, 4, 1, type) TILE(4, 4, 1, type) TILE(6, 4, 1, type)
#else /* 16 registers */
enum { ONE = 4 };
#define ONE_TILE(type) tile_1x4_##type
#define TILES(type) TILE(1, 4, 2, type) TILE(2, 4, 1, type) TILE(3, 4, 1, type)
#endif
TILES(f32)
TILES(bf16)
TILES(f16)

/* acc[n_tok][4] += x . w for any n_tok. */
#if VN == 16
#define ALL_TOKENS(type)                                                                                                         \
    MOA_INLINE void all_tokens_##type(lanes *acc, const float *x, int64_t ldx, const char *const *w, int64_t n_tok, int64_t k0,  \
                                      int64_t k1) {                                                                              \
        int64_t i = 0;                                                                                                           \
        for (; n_tok - i >= 6 && n_tok - i != 8; i += 6) tile_6x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);              \
        for (; n_tok - i >= 4; i += 4) tile_4x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);                                \
        if (n_tok - i >= 2) tile_2x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1), i += 2;                                   \
        if (n_tok - i >= 1) tile_1x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);                                           \
    }
#else
#define ALL_TOKENS(type)                                                                                                         \
    MOA_INLINE void all_tokens_##type(lanes *acc, const float *x, int64_t ldx, const char *const *w, int64_t n_tok, int64_t k0,  \
                                      int64_t k1) {                                                                              \
        int64_t i = 0;                                                                                                           \
        for (; n_tok - i >= 3 && n_tok - i != 4; i += 3) tile_3x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);              \
        for (; n_tok - i >= 2; i += 2) tile_2x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);                                \
        if (n_tok - i >= 1) tile_1x4_##type(acc + 4 * i, x + i * ldx, ldx, w, k0, k1);                                           \
    }
#endif
ALL_TOKENS(f32)
ALL_TOKENS(bf16)
ALL_TOKENS(f16)

/* Rows o .. o + n_row - 1 of w; pointers past the end repeat the last row, whose sums are dropped. */
MOA_INLINE void row_pointers(const char **row, int n, const void *w, size_t stride, int64_t o, int64_t o1) {
    for (int r = 0; r < n; r++) row[r] = (const char *)w + (size_t)(o + r < o1 ? o + r : o1 - 1) * stride;
}

/* Elements that a tile takes at once: a whole row where lanes are one vector. */
MOA_INLINE int64_t end_of(int64_t k, int64_t n) { return SUM_PARTS == 1 || n - k < CHUNK ? n : k + CHUNK; }

#define DIRECT(type)                                                                                                             \
    static void direct_##type(float *y, int64_t ldy, const float *x, int64_t ldx, const void *w, size_t stride, int64_t n_tok,   \
                              int64_t o0, int64_t o1, int64_t n) {                                                               \
        const char *row[8];                                                                                                      \
        lanes acc[BATCH * ROWS];                                                                                                 \
        for (int64_t o = o0; o < o1 && n_tok == 1; o += ONE) {                                                                   \
            row_pointers(row, ONE, w, stride, o, o1);                                                                            \
            clear(acc, ONE);                                                                                                     \
            ONE_TILE(type)(acc, x, ldx, row, 0, n);                                                                              \
            store_sums(y + o, acc, o1 - o < 4 ? (int)(o1 - o) : 4);                                                              \
            if (o1 - o > 4 && ONE > 4) store_sums(y + o + 4, acc + 4, o1 - o < 8 ? (int)(o1 - o) - 4 : 4);                       \
        }                                                                                                                        \
        for (int64_t i = 0; i < n_tok && n_tok != 1; i += BATCH) { /* this many rows of x stay in the second cache */            \
            const int64_t nt = n_tok - i < BATCH ? n_tok - i : BATCH;                                                            \
            for (int64_t o = o0; o < o1; o += ROWS) {                                                                            \
                const int n_row = o1 - o < ROWS ? (int)(o1 - o) : ROWS;                                                          \
                row_pointers(row, ROWS, w, stride, o, o1);                                                                       \
                clear(acc, nt * ROWS);                                                                                           \
                for (int64_t k = 0; k < n; k = end_of(k, n)) all_tokens_##type(acc, x + i * ldx, ldx, row, nt, k, end_of(k, n)); \
                for (int64_t t = 0; t < nt; t++) store_sums(y + (i + t) * ldy + o, acc + ROWS * t, n_row);                       \
            }                                                                                                                    \
        }                                                                                                                        \
    }
DIRECT(f32)
DIRECT(bf16)
DIRECT(f16)

/* Elements [k, k + n) of a row to f32; k is a multiple of CHUNK. */
typedef void widen_fn(float *dst, const char *row, int64_t k, int64_t n);
#define WIDEN_ROW(type)                                                                                                          \
    static void widen_##type(float *dst, const char *row, int64_t k, int64_t n) {                                                \
        int64_t j = 0;                                                                                                           \
        for (; j + VN <= n; j += VN) vf_store(dst + j, LOAD_##type(row, k + j));                                                 \
        if (j < n) vf_store_first(dst + j, LOAD_##type##_first(row, k + j, (int)(n - j)), (int)(n - j));                         \
    }
WIDEN_ROW(bf16)
WIDEN_ROW(f16)

/* One instance for all types: a call for CHUNK elements costs nothing, 27 copies of the tiles would. */
static __attribute__((noinline)) void through_tile(widen_fn *widen, float *y, int64_t ldy, const float *x, int64_t ldx, const void *w,
                                                   size_t stride, int64_t n_tok, int64_t o0, int64_t o1, int64_t n_in) {
    _Alignas(64) float tile[ROWS][CHUNK];
    const char *row[ROWS], *tile_row[ROWS];
    lanes acc[BATCH * ROWS];
    for (int r = 0; r < ROWS; r++) tile_row[r] = (const char *)tile[r];
    for (int64_t i = 0; i < n_tok; i += BATCH) {
        const int64_t nt = n_tok - i < BATCH ? n_tok - i : BATCH;
        for (int64_t o = o0; o < o1; o += ROWS) {
            const int n_row = o1 - o < ROWS ? (int)(o1 - o) : ROWS;
            row_pointers(row, ROWS, w, stride, o, o1);
            clear(acc, nt * ROWS);
            for (int64_t k = 0; k < n_in; k += CHUNK) {
                const int64_t n = n_in - k < CHUNK ? n_in - k : CHUNK;
                for (int r = 0; r < ROWS; r++) widen(tile[r], row[r], k, n);
                all_tokens_f32(acc, x + i * ldx + k, ldx, tile_row, nt, 0, n);
            }
            for (int64_t t = 0; t < nt; t++) store_sums(y + (i + t) * ldy + o, acc + ROWS * t, n_row);
        }
    }
}

#define GEMM_ROW(NAME, type, text)                                                                                               \
    const moa_kernel MOA_ROW(gemm_f32_##type) = {.name = MOA_NAME(gemm_f32_##type),                                              \
                                                 .help = text,                                                                   \
                                                 .op = MOA_K_GEMM,                                                               \
                                                 .dtype = MOA_##NAME,                                                            \
                                                 .isa = ISA_LEVEL,                                                               \
                                                 .fn.gemm_f32 = gemm_f32_##type};
#define ARGS                                                                                                                     \
    float *y, int64_t ldy, const float *x, int64_t ldx, const void *w, size_t w_stride, int64_t n_tok, int64_t o0, int64_t o1,   \
        int64_t n_in
static void gemm_f32_f32(ARGS) { direct_f32(y, ldy, x, ldx, w, w_stride, n_tok, o0, o1, n_in); }
#define GEMM_16(type)                                                                                                            \
    static void gemm_f32_##type(ARGS) {                                                                                          \
        if (n_tok < WIDEN)                                                                                                       \
            direct_##type(y, ldy, x, ldx, w, w_stride, n_tok, o0, o1, n_in);                                                     \
        else                                                                                                                     \
            through_tile(widen_##type, y, ldy, x, ldx, w, w_stride, n_tok, o0, o1, n_in);                                        \
    }
GEMM_16(bf16)
GEMM_16(f16)
GEMM_ROW(F32, f32, "tiles of rows of x and w")
GEMM_ROW(BF16, bf16, "tiles of rows of x and w, weights widened")
GEMM_ROW(F16, f16, "tiles of rows of x and w, weights widened")

#define GEMM_BLOCK(NAME, type)                                                                                                   \
    static void widen_##type(float *dst, const char *row, int64_t k, int64_t n) {                                                \
        moa_type_##type.dequantize(dst, row + k / moa_type_##type.block * moa_type_##type.bytes, n);                             \
    }                                                                                                                            \
    static void gemm_f32_##type(ARGS) { through_tile(widen_##type, y, ldy, x, ldx, w, w_stride, n_tok, o0, o1, n_in); }          \
    GEMM_ROW(NAME, type, "weights dequantised into a tile, exact path")
MOA_BLOCK_TYPES(GEMM_BLOCK)

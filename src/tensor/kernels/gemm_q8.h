/* gemm_q8.h - products of block formats with int8 activations, for x86 with vectors of LANES 32-bit integers.
 *
 * One lane is one row of w. LANES rows are unpacked together (unpack.h) into a panel in which a vector holds the
 * same 4 elements of all rows; an instruction multiplies them with 4 activations that are broadcast, so a run of
 * 32 elements is 8 products and then one conversion, one scaling and one fused add for all rows. Nothing is ever
 * added across lanes. What that gives:
 *   - y[i][o] is one chain in the order of k whatever the tile: the result cannot depend on n_tok or on [o0, o1),
 *     and it is the chain of gemm_ref.c, so that every ISA gives the same bits.
 *   - the cost of unpacking and of turning rows into lanes is paid once for all rows of the batch: decoding 6
 *     sequences together costs about as much as 2 alone.
 * The idea of rows in lanes is that of the repacked types of llama.cpp and ik_llama.cpp; here the weights stay as
 * they are in the file, and the panel (4 KiB for 16 rows) lives in the first-level cache.
 * Rejected: lanes along k (half the work for one row, but three times as much for a batch, and a different order
 * of the sums for every tile shape).
 *
 * The including file defines LANES, VI, VF and operations on them, see gemm_q8_avx512.c. SIGNED_BYTES: bytes that need
 * all 8 bits go into the panel signed, without an offset (AVX2 has no product that could take them unsigned).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/types.h"
#include "tensor/kernels/unpack_iq.h"

enum { TOKENS = 64 }; /* rows of x for which one panel is used: their accumulators take 4 KiB */

/* How a panel is filled when there are LANES rows: in general row by row through unpack.h; where bytes or nibbles lie
 * plainly in the file, words go to their lanes first and are taken apart there, for all rows at once. */
typedef enum fill { FILL_ROWS, FILL_BYTES, FILL_NIBBLES, FILL_LEVELS, FILL_FP4, FILL_NIBBLES_K, FILL_LEVELS_XS } fill;

/* What differs between formats, constant in every instance (but for unpack in shared ones). */
typedef void unpack_fn(unpacked *u, const void *src, int n_run);
typedef struct format {
    unpack_fn *unpack;
    int block, bytes; /* elements and bytes of a block */
    int offset;       /* unsigned byte = value + offset */
    int top;          /* largest unsigned byte */
    bool has_min, run16;
    fill fill;
    int q_at; /* not FILL_ROWS: where the elements begin in a block; d is at 0 (a byte in FILL_FP4), m at 2 */
} format;

typedef struct panel {
    VI q[8][8];      /* [run of 32][quad]: lane r holds elements 4 quad .. 4 quad + 3 of row r */
    VF d[16], m[16]; /* of each run of 32, or of 16: lane r is row r */
} panel;

MOA_INLINE void fill_by_rows(panel *p, const uint8_t *const row[LANES], size_t at, int n_run, const format f) {
    unpacked u[LANES];
    for (int r = 0; r < LANES; r++) f.unpack(&u[r], row[r] + at, n_run);
    for (int b = 0; b < n_run; b++) to_lanes(p->q[b], u[0].q + 32 * b, sizeof u[0]);
    to_lanes((VI *)(void *)p->d, (const uint8_t *)u[0].d, sizeof u[0]);
    if (f.has_min) to_lanes((VI *)(void *)p->m, (const uint8_t *)u[0].m, sizeof u[0]);
    if (!f.run16) return;
    to_lanes((VI *)(void *)(p->d + 8), (const uint8_t *)(u[0].d + 8), sizeof u[0]);
    if (f.has_min) to_lanes((VI *)(void *)(p->m + 8), (const uint8_t *)(u[0].m + 8), sizeof u[0]);
}

/* 32 elements in 16 bytes of nibbles, of all rows. */
MOA_INLINE void fill_nibbles(VI q[8], const uint8_t *base, size_t stride, const format f) {
    VI v[4];
    to_lanes4(v, base, stride);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const VI low = vi_low4(v[j]), high = vi_low4(vi_shift4(v[j]));
        q[j] = f.fill == FILL_NIBBLES ? low : f.fill == FILL_FP4 ? vi_fp4(low) : vi_levels(low);
        q[j + 4] = f.fill == FILL_NIBBLES ? high : f.fill == FILL_FP4 ? vi_fp4(high) : vi_levels(high);
    }
}

/* Small blocks. The 16-bit scales are collected first and widened last: wide loads of fresh narrow stores stall. */
MOA_INLINE void fill_small(panel *p, const uint8_t *base, size_t stride, int n_run, const format f) {
    uint16_t d[8][LANES], m[8][LANES];
    for (int r = 0; r < LANES; r++)
        for (int b = 0; b < n_run; b++) {
            const uint8_t *block = base + (size_t)r * stride + b * f.bytes;
            if (f.fill == FILL_FP4) d[b][r] = *block;
            else memcpy(&d[b][r], block, 2);
            if (f.has_min) memcpy(&m[b][r], block + 2, 2);
        }
    for (int b = 0; b < n_run; b++) {
        const uint8_t *q = base + b * f.bytes + f.q_at;
        if (f.fill == FILL_BYTES) {
            VI v[8];
            to_lanes(v, q, stride);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) p->q[b][j] = SIGNED_BYTES ? v[j] : vi_flip_signs(v[j]);
        } else {
            fill_nibbles(p->q[b], q, stride, f);
        }
    }
    for (int b = 0; b < n_run; b++) {
        p->d[b] = f.fill == FILL_FP4 ? vf_from_e8m0_half(d[b]) : vf_from_half(d[b]);
        if (f.has_min) p->m[b] = vf_from_half(m[b]);
    }
}

MOA_INLINE void fill_q4_k(panel *p, const uint8_t *base, size_t stride, const format f) {
    unpacked u[LANES];
    for (int r = 0; r < LANES; r++) {
        const moa_block_q4_k *b = (const void *)(base + (size_t)r * stride);
        k4_scales(&u[r], b->scale, b->d, b->dmin);
    }
    for (int j = 0; j < 4; j++) {
        VI v[8];
        to_lanes(v, base + f.q_at + 32 * j, stride);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) p->q[2 * j][k] = vi_low4(v[k]), p->q[2 * j + 1][k] = vi_low4(vi_shift4(v[k]));
    }
    to_lanes((VI *)(void *)p->d, (const uint8_t *)u[0].d, sizeof u[0]);
    to_lanes((VI *)(void *)p->m, (const uint8_t *)u[0].m, sizeof u[0]);
}

MOA_INLINE void fill_iq4_xs(panel *p, const uint8_t *base, size_t stride, const format f) {
    float d[LANES][8];
    for (int r = 0; r < LANES; r++) iq4_xs_scales(d[r], (const void *)(base + (size_t)r * stride));
    for (int b = 0; b < 8; b++) fill_nibbles(p->q[b], base + f.q_at + 16 * b, stride, f);
    to_lanes((VI *)(void *)p->d, (const uint8_t *)d[0], sizeof d[0]);
}

MOA_INLINE void fill_panel(panel *p, const uint8_t *const row[LANES], size_t stride, int n_row, size_t at, int n_run,
                           const format f) {
    if (f.fill == FILL_ROWS || n_row < LANES)
        fill_by_rows(p, row, at, n_run, f);
    else if (f.fill == FILL_NIBBLES_K)
        fill_q4_k(p, row[0] + at, stride, f);
    else if (f.fill == FILL_LEVELS_XS)
        fill_iq4_xs(p, row[0] + at, stride, f);
    else
        fill_small(p, row[0] + at, stride, n_run, f);
}

/* One row of x at one run of 32. */
typedef struct cursor {
    const int8_t *q;
    const float *scale;
    const int16_t *sum;
} cursor;
MOA_INLINE cursor cursor_at(const moa_q8_act *x, int64_t i, int64_t k) {
    const int64_t at = i * x->n + k;
    return (cursor){x->q + at, x->scale + at / MOA_QB, x->sum + at / 16};
}

/* The end of a run: integer sums to the chain. */
MOA_INLINE VF add_run(VF y, VI s, VF d, VF m, float scale, int total, const format f) {
    y = vf_fma(vi_to_float(s), vf_mul(d, vf_set1(scale)), y);
    if (f.has_min) y = vf_fma(vf_set1(scale * (float)total), m, y);
    return y;
}

/* EACH(M) applies M to the token numbers of a tile; accumulators are named variables, which compilers keep in
 * registers where they leave arrays in memory. */
#define EACH1(M) M(0)
#define EACH2(M) M(0) M(1)
#define EACH4(M) M(0) M(1) M(2) M(3)

#define DECLARE(t)                                                                                                               \
    cursor x##t = cursor_at(x, i + t, k);                                                                                        \
    VF y##t = acc[t];
#define BEGIN32(t)                                                                                                               \
    const int n##t = x##t.sum[0] + x##t.sum[1];                                                                                  \
    VI s##t = vi_set1(-f.offset * n##t);
#define BEGIN16(t)                                                                                                               \
    const int n##t = x##t.sum[half16];                                                                                           \
    VI s##t = vi_set1(-f.offset * n##t);
#define QUADS(t) s##t = dot_quads(s##t, w, x##t.q + 4 * j, f.top);
#define END32(t)                                                                                                                 \
    y##t = add_run(y##t, s##t, p->d[b], p->m[b], *x##t.scale, n##t, f);                                                          \
    x##t.q += 32, x##t.scale++, x##t.sum += 2;
#define END16(t) y##t = add_run(y##t, s##t, p->d[2 * b + half16], p->m[2 * b + half16], *x##t.scale, n##t, f);
#define NEXT16(t) x##t.q += 32, x##t.scale++, x##t.sum += 2;
#define KEEP(t) acc[t] = y##t;

#define TILE(T, EACH)                                                                                                            \
    MOA_INLINE void tile##T(VF *acc, const panel *p, const moa_q8_act *x, int64_t i, int64_t k, int n_run, const format f) {     \
        EACH(DECLARE)                                                                                                            \
        for (int b = 0; b < n_run; b++) {                                                                                        \
            if (!f.run16) {                                                                                                      \
                EACH(BEGIN32)                                                                                                    \
                _Pragma("GCC unroll 8") for (int j = 0; j < 8; j += STEP) {                                                      \
                    const VI *w = &p->q[b][j];                                                                                   \
                    EACH(QUADS)                                                                                                  \
                }                                                                                                                \
                EACH(END32)                                                                                                      \
            } else {                                                                                                             \
                _Pragma("GCC unroll 2") for (int half16 = 0; half16 < 2; half16++) {                                             \
                    EACH(BEGIN16)                                                                                                \
                    _Pragma("GCC unroll 4") for (int j = 4 * half16; j < 4 * half16 + 4; j += STEP) {                            \
                        const VI *w = &p->q[b][j];                                                                               \
                        EACH(QUADS)                                                                                              \
                    }                                                                                                            \
                    EACH(END16)                                                                                                  \
                }                                                                                                                \
                EACH(NEXT16)                                                                                                     \
            }                                                                                                                    \
        }                                                                                                                        \
        EACH(KEEP)                                                                                                               \
    }
TILE(1, EACH1)
TILE(2, EACH2)
TILE(4, EACH4)

/* LANES columns of y for at most TOKENS rows of x from i0 on. */
MOA_INLINE void block_of_rows(float *y, int64_t ldy, const moa_q8_act *x, int64_t i0, int64_t n_tok,
                              const uint8_t *const row[LANES], size_t stride, int n_row, const format f) {
    VF acc[TOKENS];
    panel p;
    for (int64_t i = 0; i < n_tok; i++) acc[i] = vf_set1(0);
    for (int64_t k = 0; k < x->n; k += MOA_QK) {
        const int n_run = x->n - k < MOA_QK ? (int)(x->n - k) / MOA_QB : MOA_QK / MOA_QB;
        fill_panel(&p, row, stride, n_row, (size_t)(k / f.block) * (size_t)f.bytes, n_run, f);
        int64_t i = 0;
        for (; i + 4 <= n_tok; i += 4) tile4(acc + i, &p, x, i0 + i, k, n_run, f);
        if (i + 2 <= n_tok) tile2(acc + i, &p, x, i0 + i, k, n_run, f), i += 2;
        if (i < n_tok) tile1(acc + i, &p, x, i0 + i, k, n_run, f);
    }
    for (int64_t i = 0; i < n_tok; i++) vf_store_first(y + (i0 + i) * ldy, acc[i], n_row);
}

MOA_INLINE void gemm_q8(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0, int64_t o1,
                        const format f) {
    for (int64_t o = o0; o < o1; o += LANES) {
        const int n_row = o1 - o < LANES ? (int)(o1 - o) : LANES;
        const uint8_t *row[LANES]; /* lanes without a row repeat the last one; their sums are dropped */
        for (int r = 0; r < LANES; r++) row[r] = (const uint8_t *)w + (size_t)(o + (r < n_row ? r : n_row - 1)) * w_stride;
        for (int64_t i = 0; i < x->n_tok; i += TOKENS)
            block_of_rows(y + o, ldy, x, i, x->n_tok - i < TOKENS ? x->n_tok - i : TOKENS, row, w_stride, n_row, f);
    }
}

/* A kernel's row; its function's body follows. */
#define GEMM_Q8(NAME, type)                                                                                                      \
    static void gemm_q8_##type(float *, int64_t, const moa_q8_act *, const void *, size_t, int64_t, int64_t);                    \
    const moa_kernel MOA_ROW(gemm_q8_##type) = {.name = MOA_NAME(gemm_q8_##type),                                                \
                                                .help = "rows in lanes, exact, bits of ref",                                     \
                                                .op = MOA_K_GEMM_Q8,                                                             \
                                                .dtype = MOA_##NAME,                                                             \
                                                .isa = ISA_LEVEL,                                                                \
                                                .fn.gemm_q8 = gemm_q8_##type};                                                   \
    static void gemm_q8_##type(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0, int64_t o1)

#define FORMAT(NAME, type, block_, offset_, top_, min_, run16_, fill_, q_at_)                                                    \
    GEMM_Q8(NAME, type) {                                                                                                        \
        const format f = {.unpack = unpack_##type,                                                                               \
                          .block = block_,                                                                                       \
                          .bytes = sizeof(moa_block_##type),                                                                     \
                          .offset = SIGNED_BYTES && top_ > 127 ? 0 : offset_,                                                    \
                          .top = top_,                                                                                           \
                          .has_min = min_,                                                                                       \
                          .run16 = run16_,                                                                                       \
                          .fill = fill_,                                                                                         \
                          .q_at = q_at_};                                                                                        \
        gemm_q8(y, ldy, x, w, w_stride, o0, o1, f);                                                                              \
    }
FORMAT(Q4_0, q4_0, 32, 8, 15, false, false, FILL_NIBBLES, 2)
FORMAT(Q4_1, q4_1, 32, 0, 15, true, false, FILL_NIBBLES, 4)
FORMAT(Q5_0, q5_0, 32, 16, 31, false, false, FILL_ROWS, 0)
FORMAT(Q5_1, q5_1, 32, 0, 31, true, false, FILL_ROWS, 0)
FORMAT(Q8_0, q8_0, 32, 128, 255, false, false, FILL_BYTES, 2)
FORMAT(Q2_K, q2_k, 256, 0, 3, true, true, FILL_ROWS, 0)
FORMAT(Q3_K, q3_k, 256, 4, 7, false, true, FILL_ROWS, 0)
FORMAT(Q4_K, q4_k, 256, 0, 15, true, false, FILL_NIBBLES_K, 16)
FORMAT(Q5_K, q5_k, 256, 0, 31, true, false, FILL_ROWS, 0)
FORMAT(Q6_K, q6_k, 256, 32, 63, false, true, FILL_ROWS, 0)
FORMAT(IQ4_NL, iq4_nl, 32, 128, 255, false, false, FILL_LEVELS, 2)
FORMAT(IQ4_XS, iq4_xs, 256, 128, 255, false, false, FILL_LEVELS_XS, 8)
FORMAT(TQ2_0, tq2_0, 256, 1, 3, false, false, FILL_ROWS, 0)
FORMAT(MXFP4, mxfp4, 32, 12, 24, false, false, FILL_FP4, 1)
FORMAT(NVFP4, nvfp4, 64, 12, 24, false, true, FILL_ROWS, 0)

/* Types whose unpack costs much more than a call share two instances, with scales for 16 and for 32 elements; their bytes are signed. */
static __attribute__((noinline)) void gemm_q8_shared(const moa_type *type, unpack_fn *unpack, float *y, int64_t ldy, const moa_q8_act *x,
                                                     const void *w, size_t w_stride, int64_t o0, int64_t o1) {
    format f = {.unpack = unpack, .block = type->block, .bytes = type->bytes, .offset = SIGNED_BYTES ? 0 : 128, .top = 255};
    if (type->run == 16) {
        f.run16 = true;
        gemm_q8(y, ldy, x, w, w_stride, o0, o1, f);
    } else {
        f.run16 = false;
        gemm_q8(y, ldy, x, w, w_stride, o0, o1, f);
    }
}

#define SHARED(NAME, type)                                                                                                       \
    GEMM_Q8(NAME, type) { gemm_q8_shared(&moa_type_##type, unpack_##type, y, ldy, x, w, w_stride, o0, o1); }
SHARED(IQ2_XXS, iq2_xxs)
SHARED(IQ2_XS, iq2_xs)
SHARED(IQ2_S, iq2_s)
SHARED(IQ3_XXS, iq3_xxs)
SHARED(IQ3_S, iq3_s)
SHARED(IQ1_S, iq1_s)
SHARED(IQ1_M, iq1_m)
SHARED(TQ1_0, tq1_0)
SHARED(Q1_0, q1_0)
SHARED(Q2_0, q2_0)

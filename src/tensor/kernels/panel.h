/* panel.h - LANES rows of w, 256 elements of each, from a file's layout to lanes: the first half of gemm_q8.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/types.h"
#include "tensor/kernels/unpack_iq.h"

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

/* Weights that will be wanted after these: while a panel is filled, `lines` cache lines are asked for, a few at a time. LANES
 * rows or more are more streams than a core's own prefetcher follows, one stream in the order of memory it helps along; all of a
 * panel's lines at once would wait for each other. */
typedef struct ahead {
    const uint8_t *at;
    size_t lines;
} ahead;
MOA_INLINE void ask_ahead(const ahead *a, size_t part, size_t parts) {
    for (size_t l = a->lines * part / parts; l < a->lines * (part + 1) / parts; l++) __builtin_prefetch(a->at + 64 * l);
}

MOA_INLINE void fill_by_rows(panel *p, const uint8_t *const row[LANES], size_t at, int n_run, const ahead *next, const format f) {
    unpacked u[LANES];
    for (int r = 0; r < LANES; r++) ask_ahead(next, r, LANES), f.unpack(&u[r], row[r] + at, n_run);
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

/* The scales of small blocks, one by one. The 16-bit numbers are collected first and widened last: wide loads of fresh
 * narrow stores stall. */
MOA_INLINE void small_scales(panel *p, const uint8_t *base, size_t stride, int n_run, const format f) {
    uint16_t d[8][LANES], m[8][LANES];
    for (int r = 0; r < LANES; r++)
        for (int b = 0; b < n_run; b++) {
            const uint8_t *block = base + (size_t)r * stride + b * f.bytes;
            if (f.fill == FILL_FP4)
                d[b][r] = *block;
            else
                memcpy(&d[b][r], block, 2);
            if (f.has_min) memcpy(&m[b][r], block + 2, 2);
        }
    for (int b = 0; b < n_run; b++) {
        p->d[b] = f.fill == FILL_FP4 ? vf_from_e8m0_half(d[b]) : vf_from_half(d[b]);
        if (f.has_min) p->m[b] = vf_from_half(m[b]);
    }
}

MOA_INLINE void fill_small(panel *p, const uint8_t *base, size_t stride, int n_run, const ahead *next, const format f) {
    if (f.fill == FILL_FP4 || n_run < 8)
        small_scales(p, base, stride, n_run, f);
    else
        eight_scales(p->d, p->m, base, stride, f.bytes, f.has_min);
    for (int b = 0; b < n_run; b++) {
        const uint8_t *q = base + b * f.bytes + f.q_at;
        ask_ahead(next, b, 8);
        if (f.fill == FILL_BYTES) {
            VI v[8];
            to_lanes(v, q, stride);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) p->q[b][j] = SIGNED_BYTES ? v[j] : vi_flip_signs(v[j]);
        } else {
            fill_nibbles(p->q[b], q, stride, f);
        }
    }
}

MOA_INLINE void fill_q4_k(panel *p, const uint8_t *base, size_t stride, const ahead *next, const format f) {
    unpacked u[LANES];
    for (int r = 0; r < LANES; r++) {
        const moa_block_q4_k *b = (const void *)(base + (size_t)r * stride);
        ask_ahead(next, r, 2 * LANES);
        k4_scales(&u[r], b->scale, b->d, b->dmin);
    }
    for (int j = 0; j < 4; j++) {
        VI v[8];
        ask_ahead(next, 4 + j, 8);
        to_lanes(v, base + f.q_at + 32 * j, stride);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) p->q[2 * j][k] = vi_low4(v[k]), p->q[2 * j + 1][k] = vi_low4(vi_shift4(v[k]));
    }
    to_lanes((VI *)(void *)p->d, (const uint8_t *)u[0].d, sizeof u[0]);
    to_lanes((VI *)(void *)p->m, (const uint8_t *)u[0].m, sizeof u[0]);
}

MOA_INLINE void fill_iq4_xs(panel *p, const uint8_t *base, size_t stride, const ahead *next, const format f) {
    float d[LANES][8];
    for (int r = 0; r < LANES; r++) iq4_xs_scales(d[r], (const void *)(base + (size_t)r * stride));
    for (int b = 0; b < 8; b++) ask_ahead(next, b, 8), fill_nibbles(p->q[b], base + f.q_at + 16 * b, stride, f);
    to_lanes((VI *)(void *)p->d, (const uint8_t *)d[0], sizeof d[0]);
}

MOA_INLINE void fill_panel(panel *p, const uint8_t *const row[LANES], size_t stride, int n_row, size_t at, int n_run, ahead *next,
                           const format f) {
    if (f.fill == FILL_ROWS || n_row < LANES)
        fill_by_rows(p, row, at, n_run, next, f);
    else if (f.fill == FILL_NIBBLES_K)
        fill_q4_k(p, row[0] + at, stride, next, f);
    else if (f.fill == FILL_LEVELS_XS)
        fill_iq4_xs(p, row[0] + at, stride, next, f);
    else
        fill_small(p, row[0] + at, stride, n_run, next, f);
    next->at += 64 * next->lines;
}

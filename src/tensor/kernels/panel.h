/* panel.h - LANES rows of w, 256 elements of each, from a file's layout to lanes: the first half of gemm_q8.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/types.h"
#include "tensor/kernels/format.h"
#include "tensor/kernels/unpack_iq.h"
#include "tensor/kernels/terms.h"

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

/* Where unpacked runs go: into a panel, or, when x has one row only (then `row` is set), into sums at once, which spares the way
 * through memory. Scales and minima go into the panel in both cases. */
typedef struct target {
    panel *p;
    const int8_t *row;      /* 256 elements of x */
    const run_terms *terms; /* of it */
    VI *sum;                /* [16] one of each run */
} target;

/* s + 4 quads of w times 16 elements of x. */
MOA_INLINE VI dot16(VI s, const VI *w, const int8_t *x, const int group) {
    VI part = vi_set1(0);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        mul_quad(&s, &part, w[j], vi_quad(x + 4 * j), group);
        if (group && (j + 1) % group == 0) fold(&s, &part, group);
    }
    return s;
}

MOA_INLINE void put(const target *to, int b, const VI q[8], const format f) {
    if (!to->row) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) to->p->q[b][j] = q[j];
        return;
    }
    const int8_t *x = to->row + 32 * b;
    const int32_t *start = to->terms->start;
    const VI s = dot16(vi_set1(start[f.run16 ? 2 * b : b]), q, x, group_of(f));
    const VI t =
        dot16(vi_set1(f.run16 ? start[2 * b + 1] : 0), q + 4, x + 16, group_of(f)); /* else two chains: one waits for itself */
    if (f.run16)
        to->sum[2 * b] = s, to->sum[2 * b + 1] = t;
    else
        to->sum[b] = vi_add(s, t);
}

/* Scales and minima of all rows, from one struct a row. */
MOA_INLINE void put_scales(panel *p, const unpacked u[LANES], const format f) {
    to_lanes((VI *)(void *)p->d, (const uint8_t *)u[0].d, sizeof u[0]);
    if (f.has_min) to_lanes((VI *)(void *)p->m, (const uint8_t *)u[0].m, sizeof u[0]);
    if (!f.run16) return;
    to_lanes((VI *)(void *)(p->d + 8), (const uint8_t *)(u[0].d + 8), sizeof u[0]);
    if (f.has_min) to_lanes((VI *)(void *)(p->m + 8), (const uint8_t *)(u[0].m + 8), sizeof u[0]);
}

MOA_INLINE void fill_by_rows(const target *to, const uint8_t *const row[LANES], size_t at, int n_run, const ahead *next,
                             const format f) {
    unpacked u[LANES];
    for (int r = 0; r < LANES; r++) ask_ahead(next, r, LANES), f.unpack(&u[r], row[r] + at, n_run);
    for (int b = 0; b < n_run; b++) {
        VI q[8];
        to_lanes(q, u[0].q + 32 * b, sizeof u[0]);
        put(to, b, q, f);
    }
    put_scales(to->p, u, f);
}

/* 32 elements in 16 bytes of nibbles, of all rows. */
MOA_INLINE void put_nibbles(const target *to, int b, const uint8_t *base, size_t stride, const format f) {
    VI v[4], q[8];
    to_lanes4(v, base, stride);
    const bool plain = f.fill == FILL_NIBBLES || f.fill == FILL_NIBBLES_1;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const VI low = vi_low4(v[j]), high = vi_low4(vi_shift4(v[j]));
        q[j] = plain ? low : f.fill == FILL_FP4 ? vi_fp4(low) : vi_levels(low);
        q[j + 4] = plain ? high : f.fill == FILL_FP4 ? vi_fp4(high) : vi_levels(high);
    }
    if (f.fill == FILL_NIBBLES_1) { /* and a fifth bit each, 32 of them before the nibbles: bits i to 8 i + 4 */
        to_lanes4(v, base - 4, stride);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            const VI four = vi_and1(vi_srl32(v[0], 4 * j), 15);
            q[j] = vi_or(q[j], vi_and1(vi_mul32(four, vi_set1(1 << 4 | 1 << 11 | 1 << 18 | 1 << 25)), 0x10101010));
        }
    }
    put(to, b, q, f);
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
        p->d[b] = f.fill == FILL_FP4 ? vf_from_e8m0_half(vi_from_u16(d[b])) : vf_from_half(d[b]);
        if (f.has_min) p->m[b] = vf_from_half(m[b]);
    }
}

MOA_INLINE void fill_small(const target *to, const uint8_t *base, size_t stride, int n_run, const ahead *next, const format f) {
    if (f.fill == FILL_FP4 || n_run < 8)
        small_scales(to->p, base, stride, n_run, f);
    else
        eight_scales(to->p->d, to->p->m, base, stride, f.bytes, f.has_min);
    for (int b = 0; b < n_run; b++) {
        const uint8_t *q = base + b * f.bytes + f.q_at;
        ask_ahead(next, b, 8);
        if (f.fill == FILL_BYTES) {
            VI v[8];
            to_lanes(v, q, stride);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) v[j] = SIGNED_BYTES ? v[j] : vi_flip_signs(v[j]);
            put(to, b, v, f);
        } else {
            put_nibbles(to, b, q, stride, f);
        }
    }
}

MOA_INLINE void fill_iq4_xs(const target *to, const uint8_t *base, size_t stride, const ahead *next, const format f) {
    float d[LANES][8];
    for (int r = 0; r < LANES; r++) iq4_xs_scales(d[r], (const void *)(base + (size_t)r * stride));
    for (int b = 0; b < 8; b++) ask_ahead(next, b, 8), put_nibbles(to, b, base + f.q_at + 16 * b, stride, f);
    to_lanes((VI *)(void *)to->p->d, (const uint8_t *)d[0], sizeof d[0]);
}

/* Scales of 256 elements, row by row. */
MOA_INLINE void k_scales(unpacked *u, const void *block, const fill of) {
    const moa_block_q4_k *q4 = block;
    const moa_block_q5_k *q5 = block;
    const moa_block_q6_k *q6 = block;
    if (of == FILL_TQ2_0) tq2_0_scales(u, block);
    if (of == FILL_Q2_K) q2_k_scales(u, block);
    if (of == FILL_Q3_K) q3_k_scales(u, block);
    if (of == FILL_Q4_K) k4_scales(u, q4->scale, q4->d, q4->dmin);
    if (of == FILL_Q5_K) k4_scales(u, q5->scale, q5->d, q5->dmin);
    if (of == FILL_Q6_K) signed_scales(u->d, q6->scale, half(q6->d));
}

/* One run out of words of bits: `bits` of each byte of v from bit `at` on, and above them `high_bits` of h from bit high_at on.
 */
MOA_INLINE void put_bits(const target *to, int b, const VI v[8], int at, int bits, const VI h[8], int high_at, int high_bits,
                         const format f) {
    VI q[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        q[j] = vi_bits(v[j], at, bits, 0);
        if (high_bits) q[j] = vi_or(q[j], vi_bits(h[j], high_at, high_bits, bits));
    }
    put(to, b, q, f);
}

/* K-quants. Bits of several runs share a byte, so words go to their lanes once and are taken apart there. */
MOA_INLINE void fill_k(const target *to, const uint8_t *base, size_t stride, const ahead *next, const format f) {
    unpacked u[LANES];
    VI v[8], w[8], h[8] = {vi_set1(0)};
    for (int r = 0; r < LANES; r++) ask_ahead(next, r, 2 * LANES), k_scales(&u[r], base + (size_t)r * stride, f.fill);
    put_scales(to->p, u, f);
    if (f.fill == FILL_Q3_K || f.fill == FILL_Q5_K) to_lanes(h, base + f.high_at, stride);
    if (f.fill == FILL_Q4_K || f.fill == FILL_Q5_K) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            ask_ahead(next, 4 + p, 8);
            to_lanes(v, base + f.q_at + 32 * p, stride);
            put_bits(to, 2 * p, v, 0, 4, h, 2 * p, f.fill == FILL_Q5_K, f);
            put_bits(to, 2 * p + 1, v, 4, 4, h, 2 * p + 1, f.fill == FILL_Q5_K, f);
        }
        return;
    }
#pragma GCC unroll 2
    for (int p = 0; p < 2; p++) {
        ask_ahead(next, 2 + p, 4);
        if (f.fill == FILL_Q6_K) {
            to_lanes(v, base + f.q_at + 64 * p, stride);
            to_lanes(w, base + f.q_at + 64 * p + 32, stride);
            to_lanes(h, base + f.high_at + 32 * p, stride);
            put_bits(to, 4 * p, v, 0, 4, h, 0, 2, f);
            put_bits(to, 4 * p + 1, w, 0, 4, h, 2, 2, f);
            put_bits(to, 4 * p + 2, v, 4, 4, h, 4, 2, f);
            put_bits(to, 4 * p + 3, w, 4, 4, h, 6, 2, f);
        } else {
            to_lanes(v, base + f.q_at + 32 * p, stride);
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++) put_bits(to, 4 * p + b, v, 2 * b, 2, h, 4 * p + b, f.fill == FILL_Q3_K, f);
        }
    }
}

MOA_INLINE void fill_panel(const target *to, const uint8_t *const row[LANES], size_t stride, int n_row, size_t at, int n_run,
                           ahead *next, const format f) {
    if (f.fill == FILL_ROWS || n_row < LANES)
        fill_by_rows(to, row, at, n_run, next, f);
    else if (f.fill >= FILL_TQ2_0)
        fill_k(to, row[0] + at, stride, next, f);
    else if (f.fill == FILL_LEVELS_XS)
        fill_iq4_xs(to, row[0] + at, stride, next, f);
    else
        fill_small(to, row[0] + at, stride, n_run, next, f);
    next->at += 64 * next->lines;
}

/* The chain of one row of x from the sums of its runs. */
MOA_INLINE VF chain(VF y, const target *to, int n_run, const format f) {
    for (int r = 0; r < (f.run16 ? 2 * n_run : n_run); r++) {
        y = vf_fma(vi_to_float(to->sum[r]), vf_mul(to->p->d[r], vf_set1(to->terms->scale[f.run16 ? r / 2 : r])), y);
        if (f.has_min) y = vf_fma(vf_set1(to->terms->min[r]), to->p->m[r], y);
    }
    return y;
}

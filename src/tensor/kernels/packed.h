/* packed.h - weights packed by 16 rows (tensor/pack.h), taken apart in lanes: what panel.h does for rows as they lie in a file.
 *
 * Byte b of a row's block, where a number of 1, 2 or 4 bytes begins, is byte 16 b of the group's block: the same number of all 16 rows
 * side by side. So a vector of weights is one load and a few operations in registers, and nothing is turned from rows into lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_PACKED_H
#define MOA_TENSOR_KERNELS_PACKED_H

#include "tensor/kernels/format.h"
#include "tensor/kernels/terms.h"
#include "tensor/pack.h"

/* LANES of the 16 rows of a group's block, from row `from` on. */
typedef struct lanes {
    const uint8_t *p;
    int from;
} lanes;
MOA_INLINE VI words(lanes a, int at) { return vi_load(a.p + MOA_PACK_ROWS * at + 4 * a.from); }
MOA_INLINE VF halves(lanes a, int at) { return vf_from_half(a.p + MOA_PACK_ROWS * at + 2 * a.from); }
MOA_INLINE lanes block_at(lanes a, int b, const format f) { return (lanes){a.p + (size_t)(b * f.bytes) * MOA_PACK_ROWS, a.from}; }

/* Runs of 32 elements whose bits share words: the runs of a chunk are n_run / runs_a_word(f) times so many. */
MOA_INLINE int runs_a_word(const format f) {
    if (f.fill < FILL_TQ2_0) return 1;
    return f.fill == FILL_Q4_K || f.fill == FILL_Q5_K ? 2 : 4;
}

/* Elements 4 j to 4 j + 3 of run b = p * runs_a_word + r of a chunk of 256: bytes, offset by f.offset. */
MOA_INLINE VI quad(lanes a, int p, int r, int j, const format f) {
    const int four = 4 * (j % 4); /* 16 bytes of nibbles are a run: low ones, then high ones */
    switch (f.fill) {
    case FILL_BYTES: {
        const VI v = words(block_at(a, p, f), f.q_at + 4 * j);
        return SIGNED_BYTES ? v : vi_flip_signs(v);
    }
    case FILL_NIBBLES:
    case FILL_NIBBLES_1:
    case FILL_LEVELS:
    case FILL_LEVELS_XS:
    case FILL_FP4: {
        const lanes block = f.fill == FILL_LEVELS_XS ? a : block_at(a, p, f);
        const VI v = words(block, f.q_at + four + (f.fill == FILL_LEVELS_XS ? 16 * p : 0)), n = vi_low4(j < 4 ? v : vi_shift4(v));
        if (f.fill == FILL_LEVELS || f.fill == FILL_LEVELS_XS) return vi_levels(n);
        if (f.fill == FILL_FP4) return vi_fp4(n);
        if (f.fill == FILL_NIBBLES) return n;
        /* Bits 4 j to 4 j + 3 of a word are the fifth ones: bit i goes to 8 i + 4. */
        const VI fifth = vi_and1(vi_srl32(words(block, f.high_at), 4 * j), 15);
        return vi_or(n, vi_and1(vi_mul32(fifth, vi_set1(1 << 4 | 1 << 11 | 1 << 18 | 1 << 25)), 0x10101010));
    }
    case FILL_Q4_K:
    case FILL_Q5_K: {
        const VI v = words(a, f.q_at + 32 * p + 4 * j), n = vi_bits(v, 4 * r, 4, 0);
        if (f.fill == FILL_Q4_K) return n;
        return vi_or(n, vi_and1(vi_sll32(vi_srl32(words(a, f.high_at + 4 * j), 2 * p + r), 4), 0x10101010));
    }
    case FILL_Q6_K: {
        const VI v = words(a, f.q_at + 64 * p + 32 * (r % 2) + 4 * j), h = words(a, f.high_at + 32 * p + 4 * j);
        return vi_or(vi_bits(v, r / 2 * 4, 4, 0), vi_and1(vi_sll32(vi_srl32(h, 2 * r), 4), 0x30303030));
    }
    case FILL_Q2_K:
    case FILL_TQ2_0: return vi_bits(words(a, f.q_at + 32 * p + 4 * j), 2 * r, 2, 0);
    case FILL_Q3_K: {
        const VI h = vi_sll32(vi_srl32(words(a, f.high_at + 4 * j), 4 * p + r), 2);
        return vi_or(vi_bits(words(a, f.q_at + 32 * p + 4 * j), 2 * r, 2, 0), vi_and1(h, 0x04040404));
    }
    default: return vi_set1(0);
    }
}

/* Scales and minima of a chunk of 256, of each run. */

MOA_INLINE VF times(VF unit, VI n) { return vf_mul(unit, vi_to_float(n)); }
MOA_INLINE VI bits_of(VI word, int at, int n) { return vi_and1(vi_srl32(word, at), (1 << n) - 1); }

MOA_INLINE void small_scales_of(VF sd[16], VF sm[16], lanes a, int n_run, const format f) {
    for (int b = 0; b < n_run; b++) {
        const lanes block = block_at(a, b, f);
        sd[b] = f.fill == FILL_FP4 ? vf_from_e8m0_half(vi_from_u8(block.p + block.from)) : halves(block, 0);
        if (f.has_min) sm[b] = halves(block, 2);
    }
}

/* Q4_K, Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes (quant/q45_k.c), the units before them. */
MOA_INLINE void k4_scales_of(VF sd[16], VF sm[16], lanes a) {
    const VF d = halves(a, 0), m = halves(a, 2);
    const VI w0 = words(a, 4), w1 = words(a, 8), w2 = words(a, 12);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        sd[j] = times(d, bits_of(w0, 8 * j, 6));
        sm[j] = vf_neg(times(m, bits_of(w1, 8 * j, 6)));
        sd[j + 4] = times(d, vi_or(bits_of(w2, 8 * j, 4), vi_sll32(bits_of(w0, 8 * j + 6, 2), 4)));
        sm[j + 4] = vf_neg(times(m, vi_or(bits_of(w2, 8 * j + 4, 4), vi_sll32(bits_of(w1, 8 * j + 6, 2), 4))));
    }
}

MOA_INLINE void scales_of(VF sd[16], VF sm[16], lanes a, int n_run, const format f) {
    switch (f.fill) {
    case FILL_Q4_K:
    case FILL_Q5_K: k4_scales_of(sd, sm, a); return;
    case FILL_Q2_K: {
        const VF d = halves(a, 80), m = halves(a, 82);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const VI w = words(a, j / 4 * 4);
            sd[j] = times(d, bits_of(w, 8 * (j % 4), 4));
            sm[j] = vf_neg(times(m, bits_of(w, 8 * (j % 4) + 4, 4)));
        }
        return;
    }
    case FILL_Q3_K: { /* 4 bits of byte j % 8 of 12, 2 more of byte 8 + j % 4; minus 32 */
        const VF d = halves(a, 108);
        const VI high = words(a, 104);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const VI low = words(a, 96 + j % 8 / 4 * 4);
            const VI six = vi_or(bits_of(low, 8 * (j % 4) + j / 8 * 4, 4), vi_sll32(bits_of(high, 8 * (j % 4) + j / 4 * 2, 2), 4));
            sd[j] = times(d, vi_add(six, vi_set1(-32)));
        }
        return;
    }
    case FILL_Q6_K: {
        const VF d = halves(a, 208);
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) sd[j] = times(d, vi_sra32(vi_sll32(words(a, 192 + j / 4 * 4), 24 - 8 * (j % 4)), 24));
        return;
    }
    case FILL_LEVELS_XS: {
        const VF d = halves(a, 0);
        const VI high = vi_from_u16(a.p + MOA_PACK_ROWS * 2 + 2 * a.from), low = words(a, 4);
#pragma GCC unroll 8
        for (int b = 0; b < 8; b++)
            sd[b] = times(d, vi_add(vi_or(bits_of(low, 4 * b, 4), vi_sll32(bits_of(high, 2 * b, 2), 4)), vi_set1(-32)));
        return;
    }
    case FILL_TQ2_0: {
        const VF d = halves(a, 64);
        for (int b = 0; b < 8; b++) sd[b] = d;
        return;
    }
    default: small_scales_of(sd, sm, a, n_run, f);
    }
}

#endif

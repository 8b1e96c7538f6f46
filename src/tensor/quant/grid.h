/* grid.h - codebooks of the IQ types: their tables (grid_*.c), and entries turned into elements, all of an entry at once in
 * one integer register: element i is byte i.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_QUANT_GRID_H
#define MOA_TENSOR_QUANT_GRID_H

#include <stdint.h>

extern const uint16_t moa_grid_iq1[2048], moa_grid_iq2_xxs[256], moa_grid_iq2_xs[512], moa_grid_iq2_s[1024];
extern const uint16_t moa_grid_iq3_xxs[256], moa_grid_iq3_s[512];

#define MOA_EACH_BYTE 0x0101010101010101u

/* Eight digits of 2 bits, or four of 4 bits, to bytes. */
static inline uint64_t moa_grid_pairs(uint16_t code) {
    uint64_t x = code;
    x = (x | x << 24) & 0x000000ff000000ffu;
    x = (x | x << 12) & 0x000f000f000f000fu;
    return (x | x << 6) & 0x0303030303030303u;
}
static inline uint32_t moa_grid_nibbles(uint16_t code) {
    uint32_t x = code;
    x = (x | x << 8) & 0x00ff00ffu;
    return (x | x << 4) & 0x0f0f0f0fu;
}

/* 8, 25 or 43: 8 + 17 digit, and 1 more for digit 2. */
static inline uint64_t moa_grid_iq2(uint16_t code) {
    const uint64_t x = moa_grid_pairs(code);
    return 8 * MOA_EACH_BYTE + 17 * x + ((x >> 1) & MOA_EACH_BYTE);
}

/* Eight times (-1, 0 or 1) plus delta, which is 1 or -1: the 1/8 that IQ1 adds to every value is one unit.
 * The top bit of each byte lends what the subtraction borrows. */
static inline uint64_t moa_grid_iq1_plus(uint16_t code, int delta) {
    const uint64_t x = 8 * moa_grid_pairs(code) | 0x80 * MOA_EACH_BYTE;
    return (x - (uint64_t)(8 - delta) * MOA_EACH_BYTE) ^ 0x80 * MOA_EACH_BYTE;
}

/* 4 + 8 digit, and 2 more than that for digit 7. */
static inline uint32_t moa_grid_iq3_x(uint16_t code) {
    const uint32_t x = moa_grid_nibbles(code), seven = x & x >> 1 & x >> 2 & 0x01010101u;
    return 0x04040404u + 8 * x + 2 * seven;
}
static inline uint32_t moa_grid_iq3_odd(uint16_t code) { return 0x01010101u + 2 * moa_grid_nibbles(code); }

/* Bytes of v, none of them 0, with the signs of 8 bits: 1 is minus. */
static inline uint64_t moa_grid_signed(uint64_t v, unsigned bits) {
    const uint64_t own = (bits * MOA_EACH_BYTE) & 0x8040201008040201u; /* bit i stays in byte i only */
    const uint64_t minus = ((own + 0x7f * MOA_EACH_BYTE) >> 7) & MOA_EACH_BYTE;
    return (v ^ minus * 0xff) + minus;
}

/* Seven stored signs; the eighth makes the number of minus signs even. */
static inline unsigned moa_grid_eight_signs(unsigned seven) { return seven | (unsigned)__builtin_parity(seven) << 7; }

#endif

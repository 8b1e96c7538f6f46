/* tiles.h - the tile instructions of AMX (Intel SDM volume 1, chapter 18), one macro each, so that a test can put plain C in
 * their place on machines without them. Tile numbers are constants.
 *   tile registers: 16 rows of 64 bytes at most
 *   tile_dot_su(c, a, b): c[m][n] += sum over k < 4 K of a[m][k] (signed) * b[k / 4][4 n + k % 4] (unsigned), 32-bit sums
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_AMX_TILES_H
#define MOA_TENSOR_KERNELS_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>

/* The operand of LDTILECFG. */
typedef struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;
_Static_assert(sizeof(tile_config) == 64, "LDTILECFG reads 64 bytes");

#ifndef TILE_EMULATION
/* gcc 12 does not know that loads of a configuration or of a tile read memory and drops or moves the stores before them. */
static inline void tile_configure(const tile_config *c) {
    __asm__ volatile("" : : "r"(c) : "memory");
    _tile_loadconfig(c);
}
#define tile_release _tile_release
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, p, stride)                                                                                                  \
    do {                                                                                                                         \
        __asm__ volatile("" : : : "memory");                                                                                     \
        _tile_loadd(t, p, stride);                                                                                               \
    } while (0)
#define tile_store(t, p, stride) _tile_stored(t, p, stride)
#define tile_dot_su(c, a, b) _tile_dpbsud(c, a, b)
#endif

#endif

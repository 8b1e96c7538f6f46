/* probe_amx.c - limits of the tile registers: 16 x 16 sums, of bytes 64 deep and of bf16 32 deep. Four sums under way, of two tiles of x
 * and two of w, as in a product. Not run on a machine with AMX yet. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/amx/tiles.h"
#include "tensor/probe.h"

#include <string.h>

static void enter(void) {
    tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) c.rows[t] = 16, c.row_bytes[t] = 64;
    tile_configure(&c);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

static uint64_t leave(void) {
    _Alignas(64) int32_t sum[16][16];
    memset(sum, 0, sizeof sum);
    _tile_stored(0, sum, 64);
    __asm__ volatile("" : : "r"(sum) : "memory");
    _tile_release();
    return (uint64_t)sum[0][0];
}

static uint64_t int8(const void *p, int64_t n) {
    (void)p;
    enter();
    for (int64_t t = 0; t < n; t++) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    return leave();
}

static uint64_t bf16(const void *p, int64_t n) {
    (void)p;
    enter();
    for (int64_t t = 0; t < n; t++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    return leave();
}

const moa_probe moa_probe_int8_amx = {.name = "int8_amx", .help = "tiles of bytes (tdpbsud)", .kind = MOA_LIMIT_INT8, .isa = MOA_ISA_AMX, .per_turn = 4 * 16 * 16 * 64 * 2, .run = int8};
const moa_probe moa_probe_bf16_amx = {.name = "bf16_amx", .help = "tiles of bf16 (tdpbf16ps)", .kind = MOA_LIMIT_BF16, .isa = MOA_ISA_AMX, .per_turn = 4 * 16 * 16 * 32 * 2, .run = bf16};

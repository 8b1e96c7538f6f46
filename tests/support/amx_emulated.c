/* amx_emulated.c - kernels/amx/ once more, its tiles in plain C after the descriptions of LDTILECFG, TILEZERO,
 * TILELOADD, TILESTORED and TDPBSUD in the Intel SDM, volume 2. One thread at a time. SPDX-License-Identifier: Apache-2.0 */
#include "support/amx_emulated.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TILE_EMULATION
#include "tensor/kernels/amx/tiles.h"

static struct {
    uint8_t byte[8][16][64];
    tile_config is;
    bool on;
} cpu;

static void need(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "tile emulation: %s\n", what);
    abort();
}

static void tile_configure(const tile_config *c) {
    need(c->palette == 1 && !c->start_row, "palette 1 and start row 0 are the only ones");
    for (int i = 0; i < 14; i++) need(!c->zero[i], "reserved bytes are 0");
    for (int t = 0; t < 16; t++) {
        need(t < 8 ? c->rows[t] <= 16 && c->row_bytes[t] <= 64 : !c->rows[t] && !c->row_bytes[t],
             "8 tiles of 16 rows of 64 bytes at most");
        need(!c->rows[t] == !c->row_bytes[t], "a tile has rows and columns, or neither");
    }
    memset(&cpu, 0, sizeof cpu);
    cpu.is = *c, cpu.on = true;
}
static void tile_release(void) { memset(&cpu, 0, sizeof cpu); }
static void tile_zero(int t) {
    need(cpu.on && cpu.is.rows[t], "TILEZERO of a tile that is not configured");
    memset(cpu.byte[t], 0, sizeof cpu.byte[t]);
}
static void tile_load(int t, const void *p, size_t stride) {
    need(cpu.on && cpu.is.rows[t], "TILELOADD to a tile that is not configured");
    memset(cpu.byte[t], 0, sizeof cpu.byte[t]);
    for (int r = 0; r < cpu.is.rows[t]; r++) memcpy(cpu.byte[t][r], (const char *)p + (ptrdiff_t)stride * r, cpu.is.row_bytes[t]);
}
static void tile_store(int t, void *p, size_t stride) {
    need(cpu.on && cpu.is.rows[t], "TILESTORED of a tile that is not configured");
    for (int r = 0; r < cpu.is.rows[t]; r++) memcpy((char *)p + (ptrdiff_t)stride * r, cpu.byte[t][r], cpu.is.row_bytes[t]);
}
static void tile_dot_su(int c, int a, int b) {
    need(cpu.on && cpu.is.rows[c] == cpu.is.rows[a] && cpu.is.row_bytes[c] == cpu.is.row_bytes[b] &&
             cpu.is.row_bytes[a] == 4 * cpu.is.rows[b] && c != a && c != b && a != b,
         "TDPBSUD: tiles that do not fit each other");
    for (int m = 0; m < cpu.is.rows[c]; m++) {
        int32_t s[16]; /* columns beyond the tile's are worked out too, and dropped */
        memcpy(s, cpu.byte[c][m], sizeof s);
        for (int k = 0; k < cpu.is.rows[b]; k++) {
            const int8_t *x = (const int8_t *)&cpu.byte[a][m][4 * k];
            const uint8_t *w = cpu.byte[b][k];
            for (int n = 0; n < 16; n++) s[n] += x[0] * w[4 * n] + x[1] * w[4 * n + 1] + x[2] * w[4 * n + 2] + x[3] * w[4 * n + 3];
        }
        memcpy(cpu.byte[c][m], s, (size_t)cpu.is.row_bytes[c]);
    }
}

#define ISA_LEVEL MOA_ISA_AVX512
#define MOA_ROW(name) moa_kernel_##name##_amx_emulated
#define MOA_NAME(name) #name "_amx_emulated"
#include "tensor/kernels/amx/gemm_q8_amx.c"
#include "tensor/kernels/amx/gemm_packed_amx.c"

const moa_kernel *const *amx_emulated(int *n) {
#define ROW(NAME, type) &moa_kernel_gemm_q8_##type##_amx_emulated,
#define PACKED_ROW(NAME, type) &moa_kernel_gemm_packed_##type##_amx_emulated,
    static const moa_kernel *const rows[] = {MOA_BLOCK_TYPES(ROW) MOA_PACKED_TYPES(PACKED_ROW)};
    *n = sizeof rows / sizeof *rows;
    return rows;
}

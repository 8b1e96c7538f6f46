/* multiply_tile.h - panels with the tile registers of AMX: 32 rows of x times 2 panels at a time.
 *
 * A panel's run is a B operand as it lies: 8 (or 4) rows of 16 lanes, 4 elements in a lane. Rows of x are the A operand as they
 * lie. The chain scales every run of 32 (or 16), so a tile's sums go through memory once a run, where vectors of AVX-512 take
 * them to the chain, while the tiles do the next run into a second buffer: 4 tiles of sums = 2 tiles of x times 2 of w:
 * c[32 rows of x][2 panels][16 lanes]. A run fills half of a tile's depth of 64: that is the price of the exact chain. Few rows
 * leave a tile empty, so that they go to AVX-512 by default (min_rows); the bits are the same. Not measured on a machine with AMX
 * yet: `moa bench kernels --tune` finds where it pays. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_AMX_MULTIPLY_TILE_H
#define MOA_TENSOR_KERNELS_AMX_MULTIPLY_TILE_H

enum { TILE_TOKENS = 32, HALF = 16 };
typedef int32_t sums[TILE_TOKENS][PANELS][LANES];

/* Tiles 0 to 3: sums; 4, 5: rows of x; 6, 7: panels. depth: elements of a run. */
static inline void enter_tiles(int depth) {
    tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.rows[t] = (uint8_t)(t < 6 ? HALF : depth / 4);
        c.row_bytes[t] = (uint16_t)(t == 4 || t == 5 ? depth : 64);
    }
    tile_configure(&c);
}

/* One run: x at a, rows `stride` bytes apart (two: more than 16 of them), w at pa and pb. */
static inline __attribute__((always_inline)) void dot_run(sums c, const int8_t *a, int64_t stride, bool two, const VI *pa,
                                                          const VI *pb) {
    const size_t row = sizeof c[0];
    tile_load(6, pa, sizeof *pa);
    tile_load(7, pb, sizeof *pb);
    tile_load(4, a, stride);
    tile_zero(0);
    tile_zero(1);
    tile_dot_su(0, 4, 6);
    tile_dot_su(1, 4, 7);
    if (two) {
        tile_load(5, a + HALF * stride, stride);
        tile_zero(2);
        tile_zero(3);
        tile_dot_su(2, 5, 6);
        tile_dot_su(3, 5, 7);
        tile_store(2, c[HALF][0], row);
        tile_store(3, c[HALF][1], row);
    }
    tile_store(0, c[0][0], row);
    tile_store(1, c[0][1], row);
}

/* The sums of run r (its scales of x: b) to the chains of n rows. */
static inline __attribute__((always_inline)) void chain_run(VF *acc, sums c, const run_terms *u, int n, const panel *pa,
                                                            const panel *pb, int r, int b, bool has_min) {
    const VF da = pa->d[r], db = pb->d[r];
    for (int t = 0; t < n; t++) {
        const VI start = vi_set1(u[t].start[r]);
        const VF e = vf_set1(u[t].scale[b]);
        VF y = vf_fma(vi_to_float(vi_add(_mm512_loadu_si512(c[t][0]), start)), vf_mul(da, e), acc[2 * t]);
        VF z = vf_fma(vi_to_float(vi_add(_mm512_loadu_si512(c[t][1]), start)), vf_mul(db, e), acc[2 * t + 1]);
        if (has_min) {
            const VF m = vf_set1(u[t].min[r]);
            y = vf_fma(m, pa->m[r], y), z = vf_fma(m, pb->m[r], z);
        }
        acc[2 * t] = y, acc[2 * t + 1] = z;
    }
}

static __attribute__((noinline)) void multiply_tile(VF *acc, const panel *pa, const panel *pb, const moa_q8_act *x, int64_t i,
                                                    int n, int64_t k, int n_run, const format f) {
    const int64_t at = i * x->n + k;
    const int per = f.run16 ? 2 : 1, depth = MOA_QB / per, all = n_run * per;
    _Alignas(64) int8_t part[TILE_TOKENS][MOA_QK]; /* tiles are always whole: fewer rows of x are made up to 16 or 32 */
    _Alignas(64) sums c[2];
    run_terms u[TILE_TOKENS];
    const int8_t *a = x->q + at;
    int64_t stride = x->n;
    const bool two = n > HALF;
    for (int t = 0; t < n; t++) {
        const int64_t row = at + t * x->n;
        set_terms(&u[t], x->scale + row / MOA_QB, x->sum + row / 16, n_run, f.offset, f.has_min, f.run16);
    }
    if (n % HALF) {
        memset(part, 0, sizeof part[0] * (size_t)(two ? TILE_TOKENS : HALF));
        for (int t = 0; t < n; t++) memcpy(part[t], a + t * stride, (size_t)(n_run * MOA_QB));
        a = part[0], stride = MOA_QK;
    }
    for (int r = 0; r <= all; r++) {
        const int q = r * depth / 4; /* vectors of the panel before this run */
        if (r < all) dot_run(c[r & 1], a + r * depth, stride, two, pa->q[0] + q, pb->q[0] + q);
        if (r && f.has_min) chain_run(acc, c[(r - 1) & 1], u, n, pa, pb, r - 1, (r - 1) / per, true);
        if (r && !f.has_min) chain_run(acc, c[(r - 1) & 1], u, n, pa, pb, r - 1, (r - 1) / per, false);
    }
}

#define ENTER(f) enter_tiles((f).run16 ? 16 : 32);
#define LEAVE tile_release();

#endif

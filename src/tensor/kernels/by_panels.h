/* by_panels.h - what gemm_q8.h and gemm_packed.h share: the loop of products through panels, and the rows of the registry.
 *
 * Blocks: PANELS panels of 256 elements (8 KiB for 32 rows) stay in the first-level cache while up to TOKENS rows of x
 * pass by in tiles (multiply_tile); a tile's sums wait in acc (second-level cache) for the next 256 elements.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_BY_PANELS_H
#define MOA_TENSOR_KERNELS_BY_PANELS_H

#ifndef USABLE
#define USABLE NULL
#endif
#ifndef MIN_ROWS
#define MIN_ROWS 0
#endif
#ifndef ENTER /* what a product needs before and after */
#define ENTER(f)
#define LEAVE
#endif

enum { TOKENS = 512 }; /* rows of x for which a panel is filled once */

typedef void fill_fn(panel *p, void *from, int j, int64_t k, int n_run); /* panel j of n_run runs from element k on */

MOA_INLINE void store_rows(float *y, int64_t ldy, const VF *acc, int64_t n_tok, int n_row) {
    for (int64_t i = 0; i < n_tok; i++)
        for (int j = 0; j < PANELS && j * LANES < n_row; j++)
            vf_store_first(y + i * ldy + j * LANES, acc[i * PANELS + j], n_row - j * LANES < LANES ? n_row - j * LANES : LANES);
}

/* PANELS * LANES columns of y (n_row of them wanted) for at most TOKENS rows of x from i0 on. */
static __attribute__((noinline)) void by_panels(float *y, int64_t ldy, const moa_q8_act *x, int64_t i0, int64_t n_tok, int n_row,
                                                fill_fn *one_panel, void *from, const format f) {
    VF acc[TOKENS * PANELS];
    panel p[PANELS];
    const int64_t n_tile = (n_tok + TILE_TOKENS - 1) / TILE_TOKENS;
    for (int64_t i = 0; i < n_tok * PANELS; i++) acc[i] = vf_set1(0);
    for (int64_t k = 0; k < x->n; k += MOA_QK) {
        const int n_run = x->n - k < MOA_QK ? (int)(x->n - k) / MOA_QB : MOA_QK / MOA_QB;
        for (int j = 0; j < PANELS && j * LANES < n_row; j++) one_panel(&p[j], from, j, k, n_run);
        const panel *last = n_row > LANES ? &p[1] : p;
        for (int64_t t = 0, i = 0; t < n_tile; t++) { /* tiles as equal as they can be */
            const int64_t end = n_tok * (t + 1) / n_tile;
            multiply_tile(acc + i * PANELS, p, last, x, i0 + i, (int)(end - i), k, n_run, f);
            i = end;
        }
    }
    store_rows(y + i0 * ldy, ldy, acc, n_tok, n_row);
}

/* A kernel's row; its function's body follows. */
#define PRODUCT(OP, NAME, function, HELP)                                                                                        \
    static void function(float *, int64_t, const moa_q8_act *, const void *, size_t, int64_t, int64_t);                          \
    const moa_kernel MOA_ROW(function) = {.name = MOA_NAME(function),                                                            \
                                          .help = HELP,                                                                          \
                                          .op = OP,                                                                              \
                                          .dtype = MOA_##NAME,                                                                   \
                                          .isa = ISA_LEVEL,                                                                      \
                                          .usable = USABLE,                                                                      \
                                          .min_rows = MIN_ROWS,                                                                  \
                                          .fn.gemm_q8 = function};                                                               \
    static void function(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0, int64_t o1)

#endif

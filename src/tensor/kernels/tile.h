/* tile.h - up to TILE_TOKENS rows of x times two panels; KINDS lists which tiles there are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/tile_run.h"

#define DECLARE(t)                                                                                                               \
    const int8_t *q##t = x->q + at + t * x->n;                                                                                   \
    set_terms(&u[t], x->scale + (at + t * x->n) / MOA_QB, x->sum + (at + t * x->n) / 16, n_run, offset, has_min, run16);         \
    VF y##t = acc[2 * t], z##t = acc[2 * t + 1];
#define KEEP(t) acc[2 * t] = y##t, acc[2 * t + 1] = z##t;

#define RUN(EACH, FIRST, N)                                                                                                      \
    EACH(BEGIN)                                                                                                                  \
    _Pragma("GCC unroll 8") for (int j = FIRST; j < FIRST + N; j++) {                                                            \
        const VI w0 = pa->q[b][j], w1 = pb->q[b][j];                                                                             \
        EACH(QUAD)                                                                                                               \
        if (group > 0 && (j + 1) % group == 0) {                                                                                 \
            EACH(FOLD)                                                                                                           \
        }                                                                                                                        \
    }                                                                                                                            \
    EACH(END)

/* acc[2 t], acc[2 t + 1]: the sums of row i + t of x with the rows of pa and pb. */
typedef void tile_fn(VF *acc, const panel *pa, const panel *pb, const moa_q8_act *x, int64_t i, int64_t k, int n_run, int offset);

#define TILE(NAME, EACH, MIN, RUN16, GROUP)                                                                                      \
    static __attribute__((noinline)) void NAME(VF *acc, const panel *pa, const panel *pb, const moa_q8_act *x, int64_t i,        \
                                               int64_t k, int n_run, int offset) {                                               \
        const bool has_min = MIN, run16 = RUN16;                                                                                 \
        enum { group = GROUP, two = true };                                                                                      \
        const int64_t at = i * x->n + k;                                                                                         \
        run_terms u[6];                                                                                                          \
        EACH(DECLARE)                                                                                                            \
        for (int b = 0; b < n_run; b++) {                                                                                        \
            if (!run16) {                                                                                                        \
                const int r = b;                                                                                                 \
                RUN(EACH, 0, 8)                                                                                                  \
            } else {                                                                                                             \
                {                                                                                                                \
                    const int r = 2 * b;                                                                                         \
                    RUN(EACH, 0, 4)                                                                                              \
                }                                                                                                                \
                const int r = 2 * b + 1;                                                                                         \
                RUN(EACH, 4, 4)                                                                                                  \
            }                                                                                                                    \
        }                                                                                                                        \
        EACH(KEEP)                                                                                                               \
    }

#define multiply_tile(acc, pa, pb, x, i, n, k, n_run, f) tiles_for(f)[n](acc, pa, pb, x, i, k, n_run, (f).offset)

/* tile.h - up to TILE_TOKENS rows of x times two panels.
 *
 * 2 panels: a broadcast of 4 activations serves two products, a vector of weights as many as the tile has rows of x.
 * With 2 x 6 there are 8 loads to 12 products, and 12 sums under way hide the latency.
 *
 * The including file defines how bytes are multiplied: vi_quad broadcasts 4 activations; mul_quad adds their products with
 * 4 weights a lane to s, or to p, whose parts of 16 bits go into s when fold is told to; KINDS lists which tiles there are.
 * SPDX-License-Identifier: Apache-2.0 */

/* EACH(M) applies M to the row numbers of a tile; sums are named variables, which compilers keep in
 * registers where they leave arrays in memory. */
#define EACH1(M) M(0)
#define EACH2(M) M(0) M(1)
#define EACH3(M) M(0) M(1) M(2)
#define EACH4(M) M(0) M(1) M(2) M(3)
#define EACH5(M) M(0) M(1) M(2) M(3) M(4)
#define EACH6(M) M(0) M(1) M(2) M(3) M(4) M(5)

#define DECLARE(t)                                                                                                               \
    const int8_t *q##t = x->q + at + t * x->n;                                                                                   \
    set_terms(&u[t], x->scale + (at + t * x->n) / MOA_QB, x->sum + (at + t * x->n) / 16, n_run, offset, has_min, run16);         \
    VF y##t = acc[2 * t], z##t = acc[2 * t + 1];
#define BEGIN(t) VI s##t = vi_set1(group ? 0 : u[t].start[r]), c##t = s##t, g##t = vi_set1(0), h##t = g##t;
#define QUAD(t)                                                                                                                  \
    {                                                                                                                            \
        const VI v = vi_quad(q##t + 32 * b + 4 * j);                                                                             \
        mul_quad(&s##t, &g##t, w0, v, group), mul_quad(&c##t, &h##t, w1, v, group);                                              \
    }
#define FOLD(t) fold(&s##t, &g##t, group), fold(&c##t, &h##t, group);
/* With groups the start comes last: until then the sum of 16-bit parts needs the register. */
#define START(t)                                                                                                                 \
    if (group) {                                                                                                                 \
        const VI start = vi_set1(u[t].start[r]);                                                                                 \
        s##t = vi_add(s##t, start), c##t = vi_add(c##t, start);                                                                  \
    }
#define END(t)                                                                                                                   \
    {                                                                                                                            \
        START(t)                                                                                                                 \
        const VF e = vf_set1(u[t].scale[b]);                                                                                     \
        y##t = vf_fma(vi_to_float(s##t), vf_mul(pa->d[r], e), y##t);                                                             \
        z##t = vf_fma(vi_to_float(c##t), vf_mul(pb->d[r], e), z##t);                                                             \
        if (has_min) {                                                                                                           \
            const VF m = vf_set1(u[t].min[r]);                                                                                   \
            y##t = vf_fma(m, pa->m[r], y##t), z##t = vf_fma(m, pb->m[r], z##t);                                                  \
        }                                                                                                                        \
    }
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
        enum { group = GROUP };                                                                                                  \
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

/* tile_run.h - one run of 32 (or 16) elements of a tile: up to 6 rows of x times two vectors of rows of w, or, where the constant `two` is
 * false, times one.
 *
 * 2 vectors of w: a broadcast of 4 activations serves two products, a vector of weights as many as the tile has rows of x.
 * With 2 x 6 there are 8 loads to 12 products, and 12 sums under way hide the latency.
 *
 * The including file defines how bytes are multiplied: vi_quad broadcasts 4 activations; mul_quad adds their products with
 * 4 weights a lane to s, or to p, whose parts of 16 bits go into s when fold is told to. tile.h takes weights from panels,
 * gemm_packed.h from packed rows. SPDX-License-Identifier: Apache-2.0 */

/* EACH(M) applies M to the row numbers of a tile; sums are named variables, which compilers keep in
 * registers where they leave arrays in memory. */
#define EACH1(M) M(0)
#define EACH2(M) M(0) M(1)
#define EACH3(M) M(0) M(1) M(2)
#define EACH4(M) M(0) M(1) M(2) M(3)
#define EACH5(M) M(0) M(1) M(2) M(3) M(4)
#define EACH6(M) M(0) M(1) M(2) M(3) M(4) M(5)

/* s and c: integer sums of row t of x with both vectors, g and h their parts of 16 bits; y and z: the chains. */
#define BEGIN(t) VI s##t = vi_set1(group ? 0 : u[t].start[r]), c##t = s##t, g##t = vi_set1(0), h##t = g##t;
#define QUAD(t)                                                                                                                  \
    {                                                                                                                            \
        const VI v = vi_quad(q##t + 32 * b + 4 * j);                                                                             \
        mul_quad(&s##t, &g##t, w0, v, group);                                                                                    \
        if (two) mul_quad(&c##t, &h##t, w1, v, group);                                                                           \
    }
#define FOLD(t)                                                                                                                  \
    fold(&s##t, &g##t, group);                                                                                                   \
    if (two) fold(&c##t, &h##t, group);
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
        if (two) z##t = vf_fma(vi_to_float(c##t), vf_mul(pb->d[r], e), z##t);                                                    \
        if (has_min) {                                                                                                           \
            const VF m = vf_set1(u[t].min[r]);                                                                                   \
            y##t = vf_fma(m, pa->m[r], y##t);                                                                                    \
            if (two) z##t = vf_fma(m, pb->m[r], z##t);                                                                           \
        }                                                                                                                        \
    }

/* gemm_packed.h - products of packed weights (tensor/pack.h) with int8 activations.
 *
 * Few rows of x: what a panel would hold is read from the packed rows and taken apart in registers, at every use. A tile of up to
 * TILE_TOKENS rows of x times one or two vectors of rows of w goes through all of k with its sums in registers. A vector of weights serves
 * as many products as the tile has rows; their units leave others idle, which do the taking apart. Several tiles read the packed
 * rows again, from the second-level cache. Where types take much apart and rows are many, panels (by_panels.h) pay: from
 * PANELS_FROM(f) rows on. The chains are those of gemm_ref.c: the same bits.
 *
 * How many vectors: one group lies in one place of memory, two in two, and with two a core reads 26 to 33 GB/s where it reads 36 with
 * one. So up to ONE_GROUP_TO(f) rows, where memory is what they wait for, a tile has one group; beyond, arithmetic bounds it, and two
 * vectors of 16 lanes spare it loads. Two vectors of 8 lanes are one group anyway.
 *
 * o0 is a multiple of 16, [o0, o1) whole groups. The including file has lanes*.h, packed.h, multiply_tile of panels, PANELS_FROM,
 * ONE_GROUP_TO and TILES_OF, which makes the tiles of a type. SPDX-License-Identifier: Apache-2.0 */

#include "tensor/kernels/by_panels.h"

enum { AHEAD = 8192 }; /* bytes */

/* Rows of w that a tile has: one vector of LANES or two, of one group or of two. */
typedef struct pair {
    lanes a, b;
    const uint8_t *next; /* what is asked for next, in the order of memory; NULL: nothing */
} pair;

/* Asks for the next bytes, a few lines at a time (panel.h says why). */
MOA_INLINE void ask_next(pair *w, int bytes) {
    for (int l = 0; w->next && l < bytes; l += 64) __builtin_prefetch(w->next + l);
    if (w->next) w->next += bytes;
}

/* Bytes of those runs of n rows that share words. */
MOA_INLINE int span_of(int n, const format f) { return n * (MOA_QK / f.block * f.bytes) / (MOA_QK / MOA_QB) * runs_a_word(f); }

/* A tile's scales of a chunk of 256: what tile_run.h takes out of a panel. */
typedef struct scales {
    VF d[16], m[16];
} scales;

#define P_DECLARE(t)                                                                                                             \
    const int8_t *q##t = x->q + (i + t) * x->n;                                                                                  \
    VF y##t = vf_set1(0), z##t = y##t;
#define P_TERMS(t)                                                                                                               \
    set_terms(&u[t], x->scale + ((i + t) * x->n + k) / MOA_QB, x->sum + ((i + t) * x->n + k) / 16, n_run, f.offset, f.has_min,   \
              f.run16);
#define P_NEXT(t) q##t += MOA_QK;
#define P_STORE(t)                                                                                                               \
    vf_store(y + (i + t) * ldy, y##t);                                                                                           \
    if (two) vf_store(y + (i + t) * ldy + LANES, z##t);
#define P_RUN(EACH, FIRST, N)                                                                                                    \
    EACH(BEGIN)                                                                                                                  \
    _Pragma("GCC unroll 8") for (int j = FIRST; j < FIRST + N; j++) {                                                            \
        const VI w0 = quad(w.a, p, c, j, f), w1 = two ? quad(w.b, p, c, j, f) : w0;                                              \
        EACH(QUAD)                                                                                                               \
        if (group > 0 && (j + 1) % (group + !group) == 0) {                                                                      \
            EACH(FOLD)                                                                                                           \
        }                                                                                                                        \
    }                                                                                                                            \
    EACH(END)

/* Columns [0, 2 LANES) of y, or [0, LANES) if not TWO, rows i to i + N of x. */
#define PACKED_TILE(NAME, EACH, N, TWO, SCALES, ...)                                                                                 \
    static __attribute__((noinline)) void NAME(float *y, int64_t ldy, const moa_q8_act *x, int64_t i, pair w) {                  \
        const format f = FORMAT_OF(__VA_ARGS__);                                                                                 \
        const bool has_min = f.has_min;                                                                                          \
        enum { two = TWO };                                                                                                      \
        const int group = group_of(f), share = runs_a_word(f), chunk = MOA_QK / f.block * f.bytes * MOA_PACK_ROWS;               \
        run_terms u[N];                                                                                                          \
        scales sa, sb, *const pa = &sa, *const pb = &sb;                                                                         \
        EACH(P_DECLARE)                                                                                                          \
        for (int64_t k = 0; k < x->n; k += MOA_QK) {                                                                             \
            const int n_run = x->n - k < MOA_QK ? (int)(x->n - k) / MOA_QB : MOA_QK / MOA_QB;                                    \
            EACH(P_TERMS)                                                                                                        \
            SCALES(sa.d, sa.m, w.a, n_run);                                                                                      \
            if (two) SCALES(sb.d, sb.m, w.b, n_run);                                                                             \
            for (int p = 0; p < n_run / share; p++) {                                                                            \
                ask_next(&w, span_of(two ? 2 * LANES : LANES, f));                                                               \
                _Pragma("GCC unroll 2") for (int c = 0; c < share; c++) {                                                        \
                    const int b = p * share + c;                                                                                 \
                    if (!f.run16) {                                                                                              \
                        const int r = b;                                                                                         \
                        P_RUN(EACH, 0, 8)                                                                                        \
                    } else {                                                                                                     \
                        {                                                                                                        \
                            const int r = 2 * b;                                                                                 \
                            P_RUN(EACH, 0, 4)                                                                                    \
                        }                                                                                                        \
                        const int r = 2 * b + 1;                                                                                 \
                        P_RUN(EACH, 4, 4)                                                                                        \
                    }                                                                                                            \
                }                                                                                                                \
            }                                                                                                                    \
            EACH(P_NEXT)                                                                                                         \
            w.a.p += chunk, w.b.p += chunk;                                                                                      \
        }                                                                                                                        \
        EACH(P_STORE)                                                                                                            \
    }
typedef void packed_tile_fn(float *y, int64_t ldy, const moa_q8_act *x, int64_t i, pair w);
typedef struct packed_tiles { packed_tile_fn *one[TILE_TOKENS + 1], *two[TILE_TOKENS + 1]; } packed_tiles; /* by rows of x */

/* The rows of w of one tile from o on, of one group or, with LANES like its rows, of two. Of one group lines are asked for AHEAD of their use:
 * by then they have come, and the first-level cache still has them. Of two it is the next two, whole, since asking in two places at once is
 * slower again. Behind the last row nothing is read: a prefetch may point anywhere. */
MOA_INLINE pair pair_at(const uint8_t *w, size_t w_stride, int64_t o, bool two_groups) {
    const uint8_t *group = w + (size_t)o * w_stride;
    const size_t bytes = MOA_PACK_ROWS * w_stride;
    if (two_groups) return (pair){{group, 0}, {group + bytes, 0}, group + 2 * bytes};
    return (pair){{group, 0}, {group, LANES < MOA_PACK_ROWS ? LANES : 0}, group + AHEAD};
}

/* Panel j from packed rows. */
typedef void scales_fn(VF d[16], VF m[16], lanes a, int n_run);
MOA_INLINE void fill_packed(panel *p, void *from, int j, int64_t k, int n_run, scales_fn *take_scales, const format f) {
    pair *w = from;
    lanes a = j ? w->b : w->a;
    const int share = runs_a_word(f);
    a.p += (size_t)(k / f.block) * (size_t)f.bytes * MOA_PACK_ROWS;
    take_scales(p->d, p->m, a, n_run);
    for (int b = 0; b < n_run / share; b++) {
        ask_next(w, span_of(LANES, f));
        for (int c = 0; c < share; c++)
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) p->q[b * share + c][q] = quad(a, b, c, q, f);
    }
}

static void packed_by_tiles(float *y, int64_t ldy, const moa_q8_act *x, pair w, packed_tile_fn *const *tile) {
    const int64_t n_tile = (x->n_tok + TILE_TOKENS - 1) / TILE_TOKENS;
    for (int64_t t = 0, i = 0; t < n_tile; t++, w.next = NULL) { /* tiles as equal as they can be */
        const int64_t end = x->n_tok * (t + 1) / n_tile;
        tile[end - i](y, ldy, x, i, w);
        i = end;
    }
}

static __attribute__((noinline)) void gemm_packed(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride,
                                                  int64_t o0, int64_t o1, const packed_tiles *tiles, fill_fn *fill_one, const format f) {
    const bool panels = x->n_tok >= PANELS_FROM(f), pairs = panels || x->n_tok > ONE_GROUP_TO(f);
    int n_row;
    ENTER(f)
    for (int64_t o = o0; o < o1; o += n_row) {
        const bool two_groups = LANES == MOA_PACK_ROWS && pairs && o1 - o > MOA_PACK_ROWS;
        pair at = pair_at(w, w_stride, o, two_groups);
        n_row = two_groups ? 2 * MOA_PACK_ROWS : MOA_PACK_ROWS;
        if (!panels) {
            packed_by_tiles(y + o, ldy, x, at, n_row > LANES ? tiles->two : tiles->one);
            continue;
        }
        for (int64_t i = 0; i < x->n_tok; i += TOKENS, at.next = NULL)
            by_panels(y + o, ldy, x, i, x->n_tok - i < TOKENS ? x->n_tok - i : TOKENS, n_row, fill_one, &at, f);
    }
    LEAVE
}

#define GEMM_PACKED(NAME, type) PRODUCT(MOA_K_GEMM_PACKED, NAME, gemm_packed_##type, "packed rows, exact, bits of ref")

#define PACKED(NAME, type, ...)                                                                                                  \
    static __attribute__((noinline)) void scales_##type(VF d[16], VF m[16], lanes a, int n_run) {                                \
        scales_of(d, m, a, n_run, (const format)FORMAT_OF(type, __VA_ARGS__));                                                   \
    }                                                                                                                            \
    static void fill_packed_##type(panel *p, void *from, int j, int64_t k, int n_run) {                                                 \
        fill_packed(p, from, j, k, n_run, scales_##type, (const format)FORMAT_OF(type, __VA_ARGS__));                            \
    }                                                                                                                            \
    TILES_OF(packed_##type, scales_##type, type, __VA_ARGS__)                                                                    \
    GEMM_PACKED(NAME, type) {                                                                                                    \
        gemm_packed(y, ldy, x, w, w_stride, o0, o1, &packed_##type, fill_packed_##type, (const format)FORMAT_OF(type, __VA_ARGS__));     \
    }
FORMATS(PACKED)

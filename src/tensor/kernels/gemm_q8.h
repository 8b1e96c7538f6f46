/* gemm_q8.h - products of block formats with int8 activations, for x86 with vectors of LANES 32-bit integers.
 *
 * One lane is one row of w. LANES rows are unpacked together (panel.h) into a panel (by_panels.h) in which a vector holds the
 * same 4 elements of all rows; an instruction multiplies them with 4 activations that are broadcast, so a run of
 * 32 elements is 8 products and then one conversion, one scaling and one fused add for all rows. Nothing is ever
 * added across lanes. What that gives:
 *   - y[i][o] is one chain in the order of k whatever the tile: the result cannot depend on n_tok or on [o0, o1),
 *     and it is the chain of gemm_ref.c, so that every ISA gives the same bits.
 *   - the cost of unpacking and of turning rows into lanes is paid once for all rows of the batch.
 * The idea of rows in lanes is that of the repacked types of llama.cpp and ik_llama.cpp; here the weights are as
 * they are in the file, gemm_packed.h has them interleaved.
 * Rejected: lanes along k (half the work for one row, but three times as much for a batch, and a different order
 * of the sums for every tile shape).
 *
 * The including file defines LANES, VI, VF and operations on them and includes panel.h and its tile.h, see
 * gemm_q8_avx512.c; multiply_tile does up to TILE_TOKENS rows of x. SIGNED_BYTES: bytes that need all 8 bits go into the panel
 * signed, without an offset (AVX2 has no product that could take them unsigned). SPDX-License-Identifier: Apache-2.0 */

#include "tensor/kernels/by_panels.h"

/* Where PANELS * LANES rows of a file are. */
typedef struct file_rows {
    const uint8_t *row[PANELS * LANES]; /* lanes without a row repeat the last one; their sums are dropped */
    size_t stride;
    int n_row;
    ahead next;
    const format *f;
} file_rows;

static inline __attribute__((always_inline)) void fill_from_file(panel *p, void *from, int j, int64_t k, int n_run, const format f) {
    file_rows *r = from;
    const size_t at = (size_t)(k / f.block) * (size_t)f.bytes;
    fill_panel(&(const target){.p = p}, r->row + j * LANES, r->stride, r->n_row - j * LANES, at, n_run, &r->next, f);
}

/* One copy for all formats; tiles, which do it for every row of x, have their own. */
static __attribute__((noinline)) void set_terms_once(run_terms *t, const moa_q8_act *x, int64_t at, int n_run, const format f) {
    set_terms(t, x->scale + at / MOA_QB, x->sum + at / 16, n_run, f.offset, f.has_min, f.run16);
}

/* One row of x: what the panels would hold goes into sums at once. */
MOA_INLINE void one_row(float *y, const moa_q8_act *x, int64_t i, file_rows *from, const format f) {
    VF acc[PANELS];
    panel p;
    for (int j = 0; j < PANELS; j++) acc[j] = vf_set1(0);
    for (int64_t k = 0; k < x->n; k += MOA_QK) {
        const int n_run = x->n - k < MOA_QK ? (int)(x->n - k) / MOA_QB : MOA_QK / MOA_QB;
        const int64_t at = i * x->n + k;
        const size_t byte = (size_t)(k / f.block) * (size_t)f.bytes;
        run_terms terms;
        VI sum[16];
        const target to = {&p, x->q + at, &terms, sum};
        set_terms_once(&terms, x, at, n_run, f);
        for (int j = 0; j < PANELS && j * LANES < from->n_row; j++) {
            fill_panel(&to, from->row + j * LANES, from->stride, from->n_row - j * LANES, byte, n_run, &from->next, f);
            acc[j] = chain(acc[j], &to, n_run, f);
        }
    }
    store_rows(y, 0, acc, 1, from->n_row);
}

typedef void one_row_fn(float *y, const moa_q8_act *x, int64_t i, file_rows *from);

static __attribute__((noinline)) void gemm_q8(float *y, int64_t ldy, const moa_q8_act *x, const void *w, size_t w_stride, int64_t o0,
                                              int64_t o1, const format *f, fill_fn *fill_one, one_row_fn *one) {
    enum { ROWS = PANELS * LANES };
    const int64_t n_panel = PANELS * ((x->n + MOA_QK - 1) / MOA_QK) + !x->n;
    ENTER(*f)
    for (int64_t o = o0; o < o1; o += ROWS) {
        file_rows from = {.stride = w_stride, .n_row = o1 - o < ROWS ? (int)(o1 - o) : ROWS, .f = f};
        for (int r = 0; r < ROWS; r++)
            from.row[r] = (const uint8_t *)w + (size_t)(o + (r < from.n_row ? r : from.n_row - 1)) * w_stride;
        for (int64_t i = 0; i < x->n_tok; i += TOKENS) {
            const int64_t after = i ? 0 : o1 - o - from.n_row < ROWS ? o1 - o - from.n_row : ROWS; /* rows that will be wanted next */
            from.next = (ahead){from.row[0] + ROWS * w_stride, ((size_t)after * w_stride / 64 + (size_t)n_panel - 1) / (size_t)n_panel};
            const int64_t n_tok = x->n_tok - i < TOKENS ? x->n_tok - i : TOKENS;
            if (n_tok == 1)
                one(y + i * ldy + o, x, i, &from);
            else
                by_panels(y + o, ldy, x, i, n_tok, from.n_row, fill_one, &from, *f);
        }
    }
    LEAVE
}

#define GEMM_Q8(NAME, type) PRODUCT(MOA_K_GEMM_Q8, NAME, gemm_q8_##type, "rows in lanes, exact, bits of ref")

/* What differs between formats f, as functions. */
#define PARTS(type, f)                                                                                                           \
    static void panel_##type(panel *p, void *from, int j, int64_t k, int n_run) { fill_from_file(p, from, j, k, n_run, f); }      \
    static void one_##type(float *y, const moa_q8_act *x, int64_t i, file_rows *from) { one_row(y, x, i, from, f); }

#define FORMAT(NAME, type, ...)                                                                                                  \
    PARTS(type, ((const format)FORMAT_OF(type, __VA_ARGS__)))                                                                    \
    GEMM_Q8(NAME, type) {                                                                                                        \
        const format f = FORMAT_OF(type, __VA_ARGS__);                                                                           \
        gemm_q8(y, ldy, x, w, w_stride, o0, o1, &f, panel_##type, one_##type);                                                    \
    }
FORMATS(FORMAT)
FORMAT(NVFP4, nvfp4, 64, 12, 24, false, true, FILL_ROWS, 0, 0)

/* Types whose unpack costs much more than a call share two instances, with scales for 16 and for 32 elements; their bytes are
 * signed. */
MOA_INLINE format shared_format(const format *of, bool run16) {
    return (format){.unpack = of->unpack, .block = of->block, .bytes = of->bytes, .offset = SIGNED_BYTES ? 0 : 128, .top = 255, .run16 = run16, .fill = FILL_ROWS};
}
PARTS(shared16, shared_format(((file_rows *)from)->f, true))
PARTS(shared32, shared_format(((file_rows *)from)->f, false))

static void gemm_q8_shared(const moa_type *type, unpack_fn *unpack, float *y, int64_t ldy, const moa_q8_act *x, const void *w,
                           size_t w_stride, int64_t o0, int64_t o1) {
    const bool run16 = type->run == 16;
    const format of = {.unpack = unpack, .block = type->block, .bytes = type->bytes}, f = shared_format(&of, run16);
    gemm_q8(y, ldy, x, w, w_stride, o0, o1, &f, run16 ? panel_shared16 : panel_shared32, run16 ? one_shared16 : one_shared32);
}

#define SHARED(NAME, type)                                                                                                       \
    GEMM_Q8(NAME, type) { gemm_q8_shared(&moa_type_##type, unpack_##type, y, ldy, x, w, w_stride, o0, o1); }
SHARED(IQ2_XXS, iq2_xxs)
SHARED(IQ2_XS, iq2_xs)
SHARED(IQ2_S, iq2_s)
SHARED(IQ3_XXS, iq3_xxs)
SHARED(IQ3_S, iq3_s)
SHARED(IQ1_S, iq1_s)
SHARED(IQ1_M, iq1_m)
SHARED(TQ1_0, tq1_0)
SHARED(Q1_0, q1_0)
SHARED(Q2_0, q2_0)

/* together.c - products of one input that are one region of work at inference: queries, keys and values; gate and up with their unit.
 * A region costs its start and its end, 11 of them a layer a tenth of a small model's step, and what lies between gate and down need not
 * go to memory and back. The bits are those of the ops one by one; those are what a tape records and a watcher sees.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"
#include "tensor/op/product.h"

enum { UNIT = 32, ROWS = 256, TILE = 64 };

/* Would linear take them? If not, it is called and says why. */
static bool fits(const moa_tensor *in, const moa_tensor *w, const moa_tensor *b) {
    return w && w->n_dim == 2 && moa_cols(w) == moa_cols(in) && (!b || (b->dtype == MOA_F32 && moa_tensor_count(b) == w->shape[0]));
}
static bool one_by_one(const moa_exec *x, const moa_tensor *in) {
    return x->tape || x->watch || x->err.code || !in || in->dtype != MOA_F32 || in->n_dim != 2 || !moa_rows(in);
}

/* The input in the forms that n products want. */
static int make_rows(moa_exec *x, moa_act_rows *a, moa_tensor *in, const moa_product *p, int n) {
    bool int8 = false;
    *a = (moa_act_rows){.x = in->data, .n_in = moa_cols(in)};
    for (int i = 0; i < n; i++) int8 |= p[i].int8 != NULL;
    const moa_q8_act *q = int8 ? moa_act_of(x, in) : NULL;
    if (q) a->q = *q;
    return int8 && !q ? -1 : 0;
}

/* ---- several products ---- */

typedef struct many { /* range: units of UNIT outputs of one product after the other */
    moa_product p[MOA_LINEAR_MANY];
    float *y[MOA_LINEAR_MANY];     /* [n, n_out] each */
    int64_t first[MOA_LINEAR_MANY + 1]; /* units before it */
    moa_act_rows a;
    int64_t n;
} many;

static void many_range(const void *args, int64_t u0, int64_t u1, int thread) {
    const many *j = args;
    (void)thread;
    for (int i = 0; j->first[i] < u1; i++) {
        if (j->first[i + 1] <= u0) continue;
        const int64_t n_out = j->p[i].w->shape[0], from = u0 > j->first[i] ? u0 - j->first[i] : 0;
        const int64_t to = (u1 < j->first[i + 1] ? u1 : j->first[i + 1]) - j->first[i], o0 = from * UNIT, o1 = to * UNIT < n_out ? to * UNIT : n_out;
        moa_product_tile(&j->p[i], j->y[i] + o0, n_out, &j->a, 0, j->n, o0, o1);
        if (j->first[i + 1] >= u1) return;
    }
}

void moa_linear_many(moa_exec *x, moa_tensor **out, moa_tensor *in, moa_tensor *const *w, moa_tensor *const *b, int n) {
    many j;
    double cost = 0;
    bool plain = one_by_one(x, in);
    for (int i = 0; i < n; i++) plain = plain || !fits(in, w[i], b[i]);
    for (int i = 0; plain && i < n; i++) out[i] = moa_linear(x, in, w[i], b[i]);
    if (plain) return;
    j.n = moa_rows(in);
    j.first[0] = 0;
    for (int i = 0; i < n; i++) {
        out[i] = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){j.n, w[i]->shape[0]});
        if (!out[i] || moa_product_pick(x, &j.p[i], w[i], b[i]) < 0) break;
        j.y[i] = out[i]->data;
        j.first[i + 1] = j.first[i] + (w[i]->shape[0] + UNIT - 1) / UNIT;
        cost += (double)w[i]->shape[0] * moa_product_cost(&j.p[i], (double)j.n);
    }
    if (!x->err.code && make_rows(x, &j.a, in, j.p, n) == 0) moa_parallel(x, j.first[n], 1, cost / (double)j.first[n], many_range, &j);
    for (int i = 0; x->err.code && i < n; i++) out[i] = NULL;
}

/* ---- gate, up and their unit ---- */

typedef struct gated { /* range: outputs */
    moa_exec *x;
    moa_product p[2];    /* gate, up */
    moa_act_rows a;
    moa_gated_fn act;
    float *y, *scratch;  /* [n, f]; [n_threads, 2, rows, tile] */
    int64_t n, f, tile, rows; /* rows of the input; of a tile */
} gated;

static void gated_range(const void *args, int64_t o0, int64_t o1, int thread) {
    const gated *j = args;
    float *g = j->scratch + thread * 2 * j->rows * j->tile, *u = g + j->rows * j->tile;
    for (int64_t o = o0; o < o1; o += j->tile) {
        const int64_t end = o + j->tile < o1 ? o + j->tile : o1;
        for (int64_t r = 0; r < j->n; r += j->rows) {
            const int64_t n = j->n - r < j->rows ? j->n - r : j->rows;
            moa_product_tile(&j->p[0], g, j->tile, &j->a, r, n, o, end);
            moa_product_tile(&j->p[1], u, j->tile, &j->a, r, n, o, end);
            for (int64_t i = 0; i < n; i++) j->act(j->x, j->y + (r + i) * j->f + o, g + i * j->tile, u + i * j->tile, end - o);
        }
    }
}

moa_tensor *moa_gated_linear(moa_exec *x, moa_tensor *in, moa_tensor *gate, moa_tensor *gate_b, moa_tensor *up, moa_tensor *up_b,
                             const moa_gated_unit *unit) {
    if (one_by_one(x, in) || !fits(in, gate, gate_b) || !fits(in, up, up_b) || gate->shape[0] != up->shape[0]) {
        moa_tensor *g = moa_linear(x, in, gate, gate_b);
        return unit->op(x, g, moa_linear(x, in, up, up_b));
    }
    gated j = {.x = x, .act = unit->row, .n = moa_rows(in), .f = gate->shape[0], .tile = TILE};
    while (j.tile > UNIT / 2 && j.f / j.tile < 4 * x->n_threads) j.tile /= 2;
    j.rows = j.n < ROWS ? j.n : ROWS;
    moa_tensor *y = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){j.n, j.f});
    if (!y || moa_product_pick(x, &j.p[0], gate, gate_b) < 0 || moa_product_pick(x, &j.p[1], up, up_b) < 0 || make_rows(x, &j.a, in, j.p, 2) < 0)
        return NULL;
    j.y = y->data;
    j.scratch = moa_arena_alloc(x->arena, (size_t)(x->n_threads > 1 ? x->n_threads : 1) * 2 * (size_t)(j.rows * j.tile) * sizeof *j.scratch);
    if (!j.scratch) return moa_fail(&x->err, MOA_ENOMEM, "linear: no memory for %lld rows", (long long)j.n), NULL;
    moa_parallel(x, j.f, j.tile, moa_product_cost(&j.p[0], (double)j.n) + moa_product_cost(&j.p[1], (double)j.n) + (double)j.n, gated_range, &j);
    return y;
}

const moa_gated_unit moa_gated_units[] = {[MOA_GATED_SILU] = {moa_silu_mul, moa_silu_mul_row}, [MOA_GATED_GELU] = {moa_gelu_mul, moa_gelu_mul_row},
                                          [MOA_GATED_CLAMPED] = {moa_clamped_mul, moa_clamped_mul_row}};

/* experts.c - see experts.h. With the slots of all rows sorted by expert, S of them, and f the width of an expert:
 *
 *   gather   the rows of each expert, next to each other, as its products want them (int8, made once a row)
 *   gate     items are blocks of one expert's rows times FF_TILE of its f outputs: gate and up into scratch that stays in the
 *            cache, act of both to h [S, f]
 *   quantise h
 *   down     items are pieces of the d outputs: all experts in order of their id, each product weighted and added to its rows. So a
 *            result is summed in the order of combiner "sum" and S x d numbers are never stored.
 *
 * Experts of one layer may have weights of different types, gate and up too.
 * Looping over experts with one region of work for each of their products, as combiner "sum" does, costs a layer of 128 experts some
 * thousand regions, most of them of one row.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mix/experts.h"
#include "base/err.h"
#include "mix/groups.h"
#include "tensor/op/product.h"

#include <string.h>

enum { GATE, UP, DOWN, N_W };
enum { ROWS = 256, FF_TILE = 64, OUT_TILE = 64, LEAST_TILE = 16 };

typedef struct block { int expert; int64_t row; int n; } block; /* rows [row, row + n) of the sorted slots; expert: among the active */

typedef struct job {
    moa_exec *x;
    const moa_route *r;
    moa_groups g;
    moa_product (*w)[N_W];  /* [active] */
    block *block;
    int n_active, n_block;
    int64_t n, k, d, f, tile; /* rows, experts a row, widths; outputs of an item */
    bool int8[2], plain[2];   /* forms that some product wants: of the input, of h */
    const float *in;          /* [n, d] */
    const moa_q8_act *in8;
    moa_act_rows a, h;        /* [S, d], [S, f] */
    moa_gated_fn act;
    moa_kernel_fn quant, axpy;
    float *scratch;           /* [n_threads, 2, ROWS, tile] */
    float *y;                 /* [n, d] */
} job;

/* ---- set up ---- */

static int check_shape(job *j, const char *name, const moa_tensor *w, int e, int64_t n_out, int64_t n_in) {
    if (w && w->n_dim == 2 && w->shape[0] == n_out && w->shape[1] == n_in) return 0;
    return moa_fail(&j->x->err, MOA_EINVAL, "experts: %s of expert %d does not fit [%lld, %lld]", name, e, (long long)n_out, (long long)n_in), -1;
}

static void *room(job *j, int64_t n, size_t size) {
    void *p = moa_arena_alloc(j->x->arena, (size_t)n * size);
    if (!p) moa_fail(&j->x->err, MOA_ENOMEM, "experts: no memory for %lld numbers", (long long)n);
    return p;
}

/* Experts that have rows, and blocks of those. */
static int list_blocks(job *j, moa_expert_at at, const void *ctx, int n_expert) {
    for (int e = 0; e < n_expert; e++) {
        const int64_t m = j->g.first[e + 1] - j->g.first[e];
        j->n_active += m > 0;
        j->n_block += (int)((m + ROWS - 1) / ROWS);
    }
    if (!(j->w = room(j, j->n_active, sizeof *j->w)) || !(j->block = room(j, j->n_block, sizeof *j->block))) return -1;
    for (int e = 0, a = 0, b = 0; e < n_expert; e++) {
        const int64_t end = j->g.first[e + 1];
        if (end == j->g.first[e]) continue;
        const moa_expert_w w = at(ctx, e);
        if (!a) j->f = w.gate ? w.gate->shape[0] : 0;
        if (check_shape(j, "gate", w.gate, e, j->f, j->d) < 0 || check_shape(j, "up", w.up, e, j->f, j->d) < 0 ||
            check_shape(j, "down", w.down, e, j->d, j->f) < 0)
            return -1;
        if (moa_product_pick(j->x, &j->w[a][GATE], w.gate, w.gate_b) < 0 || moa_product_pick(j->x, &j->w[a][UP], w.up, w.up_b) < 0 ||
            moa_product_pick(j->x, &j->w[a][DOWN], w.down, w.down_b) < 0)
            return -1;
        for (int i = 0; i < N_W; i++) *(j->w[a][i].int8 ? &j->int8[i == DOWN] : &j->plain[i == DOWN]) = true;
        for (int64_t s = j->g.first[e]; s < end; s += ROWS) j->block[b++] = (block){a, s, (int)(end - s < ROWS ? end - s : ROWS)};
        a++;
    }
    return 0;
}

static int make_room(job *j, int64_t slots) {
    moa_exec *x = j->x;
    j->a.n_in = j->d, j->h.n_in = j->f;
    if (j->int8[0] && (!(j->a.q = moa_act_new(x, slots, j->d)).q)) return -1;
    if (j->plain[0] && !(j->a.x = room(j, slots * j->d, sizeof(float)))) return -1;
    if (j->int8[1] && (!(j->h.q = moa_act_new(x, slots, j->f)).q)) return -1;
    if (!(j->h.x = room(j, slots * j->f, sizeof(float)))) return -1;
    j->scratch = room(j, (int64_t)(x->n_threads > 1 ? x->n_threads : 1) * 2 * ROWS * FF_TILE, sizeof(float));
    return j->scratch ? 0 : -1;
}

static float *scratch_of(const job *j, int thread) { return j->scratch + (int64_t)thread * 2 * ROWS * FF_TILE; }

/* ---- regions ---- */

static void gather_range(const void *args, int64_t s0, int64_t s1, int thread) { /* range: sorted slots */
    job *j = (job *)(uintptr_t)args;
    (void)thread;
    for (int64_t s = s0; s < s1; s++) {
        const int64_t row = j->g.slot[s] / j->k;
        if (j->int8[0]) moa_act_copy_row(&j->a.q, s, j->in8, row);
        if (j->plain[0]) memcpy((float *)(uintptr_t)j->a.x + s * j->d, j->in + row * j->d, (size_t)j->d * sizeof(float));
    }
}

static int64_t ff_tiles(const job *j) { return (j->f + FF_TILE - 1) / FF_TILE; }

static void gate_range(const void *args, int64_t i0, int64_t i1, int thread) { /* range: (block, tile of f) */
    const job *j = args;
    float *g = scratch_of(j, thread), *u = g + ROWS * FF_TILE;
    for (int64_t i = i0; i < i1; i++) {
        const block *b = &j->block[i / ff_tiles(j)];
        const int64_t o0 = i % ff_tiles(j) * FF_TILE, o1 = o0 + FF_TILE < j->f ? o0 + FF_TILE : j->f;
        moa_product_tile(&j->w[b->expert][GATE], g, FF_TILE, &j->a, b->row, b->n, o0, o1);
        moa_product_tile(&j->w[b->expert][UP], u, FF_TILE, &j->a, b->row, b->n, o0, o1);
        for (int r = 0; r < b->n; r++)
            j->act(j->x, (float *)(uintptr_t)j->h.x + (b->row + r) * j->f + o0, g + r * FF_TILE, u + r * FF_TILE, o1 - o0);
    }
}

static void quantise_range(const void *args, int64_t s0, int64_t s1, int thread) { /* range: sorted slots */
    job *j = (job *)(uintptr_t)args;
    (void)thread;
    j->quant.quant_q8(&j->h.q, j->h.x, j->f, s0, s1);
}

static void down_range(const void *args, int64_t o0, int64_t o1, int thread) { /* range: outputs, at most a few tiles */
    const job *j = args;
    const float *weight = j->r->weight->data;
    float *part = scratch_of(j, thread);
    for (int64_t o = o0; o < o1; o += j->tile) {
        const int64_t end = o + j->tile < o1 ? o + j->tile : o1;
        for (int64_t i = 0; i < j->n; i++) memset(j->y + i * j->d + o, 0, (size_t)(end - o) * sizeof *j->y);
        for (int i = 0; i < j->n_block; i++) {
            const block *b = &j->block[i];
            moa_product_tile(&j->w[b->expert][DOWN], part, j->tile, &j->h, b->row, b->n, o, end);
            for (int r = 0; r < b->n; r++) {
                const int32_t slot = j->g.slot[b->row + r];
                j->axpy.axpy(j->y + slot / j->k * j->d + o, weight[slot], part + r * j->tile, end - o);
            }
        }
    }
}

static void run(job *j, int64_t slots) {
    moa_exec *x = j->x;
    const double mean = (double)slots / j->n_block;
    const moa_product *w = j->w[0];
    moa_parallel(x, slots, 1, 0.15 * (double)j->d, gather_range, j);
    moa_parallel_each(x, j->n_block * ff_tiles(j), FF_TILE * (moa_product_cost(&w[GATE], mean) + moa_product_cost(&w[UP], mean) + mean), gate_range, j);
    if (j->int8[1]) moa_parallel(x, slots, 1, 0.3 * (double)j->f, quantise_range, j);
    /* Enough pieces for every thread to have some, and whole tiles in each. */
    for (j->tile = OUT_TILE; j->tile > LEAST_TILE && j->d / j->tile < 4 * x->n_threads;) j->tile /= 2;
    moa_parallel(x, j->d, j->tile, j->n_block * (moa_product_cost(&w[DOWN], mean) + 0.2 * mean), down_range, j);
}

moa_tensor *moa_experts_sum(moa_exec *x, const moa_route *r, moa_tensor *in, moa_expert_at at, const void *ctx, int n_expert, moa_gated_fn act) {
    if (x->err.code || !in || !r->ids || !r->weight) return NULL;
    const int64_t n = moa_rows(in), d = moa_cols(in), slots = moa_tensor_count(r->ids);
    job j = {.x = x, .r = r, .n = n, .k = moa_cols(r->ids), .d = d, .in = in->data, .act = act, .quant = x->k->slot[MOA_K_QUANT_Q8][MOA_F32]->fn,
             .axpy = x->k->slot[MOA_K_AXPY][MOA_F32]->fn};
    moa_tensor *y = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){n, d});
    if (!y || moa_groups_make(x, &j.g, r, n_expert) < 0) return NULL;
    j.y = y->data;
    if (!slots) return memset(y->data, 0, moa_tensor_bytes(y)), y;
    int rc = list_blocks(&j, at, ctx, n_expert);
    if (rc >= 0) rc = make_room(&j, slots);
    if (rc >= 0 && j.int8[0] && !(j.in8 = moa_act_of(x, in))) rc = -1;
    if (rc >= 0) run(&j, slots);
    return rc < 0 ? NULL : y;
}

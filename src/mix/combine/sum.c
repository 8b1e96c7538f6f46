/* sum.c - y_i = sum over the experts e chosen by row i of w_ie * expert_e(x_i), in order of expert id.
 *
 * Rows are sorted by expert (a counting sort), each expert works once on its rows, and its results are added to
 * the rows they came from. The order of the sum depends on a row's own experts only, so a row's result is bit-equal
 * whatever the other rows are. With a tape the same is said in recorded ops; without one the sum goes in place. A sum of
 * no experts is zero: also for a batch without rows, and for routes without columns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "mix/groups.h"

#include <string.h>

static moa_tensor *index_tensor(moa_exec *x, const int32_t *slot, int64_t m, int64_t divisor) {
    moa_tensor *t = moa_new_tensor(x, MOA_I32, 1, &m);
    if (!t) return NULL;
    for (int64_t i = 0; i < m; i++) ((int32_t *)t->data)[i] = (int32_t)(slot[i] / divisor);
    return t;
}

static moa_tensor *add_recorded(moa_exec *x, moa_tensor *acc, moa_tensor *y, moa_tensor *rows, const moa_route *r,
                                const int32_t *slot, int64_t n_tok) {
    moa_tensor *flat = moa_reshape(x, r->weight, 2, (int64_t[]){moa_tensor_count(r->weight), 1});
    moa_tensor *w = moa_gather_rows(x, flat, index_tensor(x, slot, moa_rows(y), 1)); /* [m, 1] */
    moa_tensor *part = moa_scatter_rows(x, moa_mul(x, y, w), rows, n_tok);
    return acc ? moa_add(x, acc, part) : part;
}

static void add_in_place(moa_exec *x, moa_tensor *acc, const moa_tensor *y, const moa_route *r, const int32_t *slot) {
    const int64_t d = moa_cols(acc), k = moa_cols(r->ids), m = moa_rows(y);
    const float *w = r->weight->data, *from = y->data;
    const moa_kernel *axpy = x->k->slot[MOA_K_AXPY][MOA_F32];
    for (int64_t i = 0; i < m; i++)
        axpy->fn.axpy((float *)acc->data + slot[i] / k * d, w[slot[i]], from + i * d, d);
}

static moa_tensor *combine(moa_exec *x, const moa_route *r, moa_tensor *in, moa_expert_fn expert, void *ctx, int n_expert) {
    if (x->err.code || !in || !r->ids || !r->weight) return NULL;
    const int64_t n = moa_rows(in), k = moa_cols(r->ids);
    const bool recorded = x->tape && moa_tensor_count(r->ids) > 0;
    moa_groups g;
    moa_tensor *acc = NULL;
    if (moa_groups_make(x, &g, r, n_expert) < 0) return NULL;
    if (!recorded) {
        if (!(acc = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){n, moa_cols(in)}))) return NULL;
        memset(acc->data, 0, moa_tensor_bytes(acc));
    }
    for (int e = 0; e < n_expert; e++) {
        const int64_t m = g.first[e + 1] - g.first[e];
        const int32_t *slot = g.slot + g.first[e];
        if (!m) continue;
        moa_tensor *rows = index_tensor(x, slot, m, k);
        moa_tensor *y = expert(x, ctx, e, moa_gather_rows(x, in, rows));
        if (!y) return NULL;
        if (moa_rows(y) != m || moa_cols(y) != moa_cols(in)) {
            moa_fail(&x->err, MOA_EINVAL, "combine: expert %d made [%lld, %lld] of its rows, expected [%lld, %lld]", e, (long long)moa_rows(y),
                     (long long)moa_cols(y), (long long)m, (long long)moa_cols(in));
            return NULL;
        }
        if (recorded) acc = add_recorded(x, acc, y, rows, r, slot, n);
        else add_in_place(x, acc, y, r, slot);
    }
    return acc;
}

const moa_combiner moa_combiner_sum = {
    .name = "sum", .help = "weighted sum of the chosen experts' results, in order of expert id", .combine = combine};

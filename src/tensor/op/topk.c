/* topk.c - ids of the k largest of each row, best first; ties go to the lower id, NaN ranks last. An insertion into k kept ids:
 * rows are router scores, so k is small. No gradient: a choice has none. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

typedef struct param { int k; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    const int k = PARAM(param, n)->k;
    if (k < 1 || k > moa_cols(n->in[0])) return moa_fail(err, MOA_EINVAL, "topk: k is %d for input %s", k, SHAPE(n->in[0]));
    moa_op_like(out, n->in[0]);
    out->dtype = MOA_I32;
    out->shape[out->n_dim - 1] = k;
    return MOA_OK;
}

typedef struct pick { int32_t *id; const float *x; int64_t d, k; } pick; /* range: rows */
static void pick_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const pick *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float *x = p->x + i * p->d;
        int32_t *id = p->id + i * p->k;
        for (int64_t j = 0; j < p->d; j++) {
            int64_t at = j < p->k ? j : p->k; /* kept so far */
            /* Later ids go in front of strictly smaller ones only. */
            while (at > 0 && (x[j] > x[id[at - 1]] || (x[id[at - 1]] != x[id[at - 1]] && x[j] == x[j]))) {
                if (at < p->k) id[at] = id[at - 1];
                at--;
            }
            if (at < p->k) id[at] = (int32_t)j;
        }
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const pick p = {n->out->data, n->in[0]->data, moa_cols(n->in[0]), PARAM(param, n)->k};
    moa_parallel(x, moa_rows(n->in[0]), 1, 2.0 * (double)p.d, pick_range, &p);
}

const moa_op moa_op_topk = {.name = "topk", .help = "ids of the k largest of each row", .shape = shape, .forward = forward};

moa_tensor *moa_topk(moa_exec *x, moa_tensor *in, int k) { return moa_apply(x, &moa_op_topk, &in, 1, &(param){k}, sizeof(param)); }

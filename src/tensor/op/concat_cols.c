/* concat_cols.c - [a b]: columns of two matrices side by side. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/cols.h"

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "a", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "b", MOA_F32, err));
    const moa_tensor *a = n->in[0], *b = n->in[1];
    if (a->n_dim != b->n_dim || memcmp(a->shape, b->shape, (size_t)(a->n_dim - 1) * sizeof *a->shape))
        return moa_fail(err, MOA_EINVAL, "concat_cols: %s and %s differ in more than their columns", SHAPE(a), SHAPE(b));
    moa_op_like(out, a);
    out->shape[a->n_dim - 1] += moa_cols(b);
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    float *y = n->out->data;
    for (int i = 0; i < 2; i++) {
        const moa_cols_move p = {y, n->in[i]->data, moa_cols(n->out), moa_cols(n->in[i]), moa_cols(n->in[i]), false};
        moa_cols_move_all(x, &p, moa_rows(n->out));
        y += p.n;
    }
}

static void backward(moa_exec *x, moa_node *n) {
    const float *dy = moa_grad_out(x, n);
    for (int i = 0; i < 2 && dy; i++) {
        moa_cols_move p = {.src = dy, .ld_dst = moa_cols(n->in[i]), .ld_src = moa_cols(n->out), .n = moa_cols(n->in[i])};
        dy += p.n;
        if (!moa_grad_wanted(n, i) || !(p.dst = moa_grad_in(x, n, i, &p.add))) continue;
        moa_cols_move_all(x, &p, moa_rows(n->out));
    }
}

const moa_op moa_op_concat_cols = {.name = "concat_cols", .help = "columns of two matrices side by side", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_concat_cols(moa_exec *x, moa_tensor *a, moa_tensor *b) {
    return moa_apply(x, &moa_op_concat_cols, (moa_tensor *[]){a, b}, 2, NULL, 0);
}

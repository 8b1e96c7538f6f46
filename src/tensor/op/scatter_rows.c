/* scatter_rows.c - out[ids[j]] += in[j], out starts as zeros: an expert's rows go back to their places.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/rows.h"

typedef struct param { int64_t n_rows; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "ids", MOA_I32, err));
    if (n->in[0]->n_dim != 2 || n->in[0]->shape[0] != moa_tensor_count(n->in[1]))
        return moa_fail(err, MOA_EINVAL, "scatter_rows: input %s and ids %s, expected [m, d] and [m]", SHAPE(n->in[0]), SHAPE(n->in[1]));
    out->n_dim = 2;
    out->shape[0] = PARAM(param, n)->n_rows;
    out->shape[1] = n->in[0]->shape[1];
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    const moa_rows_move p = {n->out->data, n->in[0]->data, n->in[1]->data, moa_rows(n->in[0]), moa_cols(n->out), true};
    if (!moa_op_ids_ok(x, n, n->in[1], n->out->shape[0])) return;
    memset(n->out->data, 0, (size_t)moa_tensor_count(n->out) * sizeof(float));
    moa_rows_put_all(x, &p);
}

static void backward(moa_exec *x, moa_node *n) {
    moa_rows_move p = {.id = n->in[1]->data, .m = moa_rows(n->in[0]), .d = moa_cols(n->out)};
    p.dst = moa_grad_in(x, n, 0, &p.add);
    p.src = moa_grad_out(x, n);
    if (p.dst && p.src) moa_rows_take_all(x, &p);
}

const moa_op moa_op_scatter_rows = {.name = "scatter_rows", .help = "out[ids[j]] += in[j]", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_scatter_rows(moa_exec *x, moa_tensor *in, moa_tensor *ids, int64_t n_rows) {
    return moa_apply(x, &moa_op_scatter_rows, (moa_tensor *[]){in, ids}, 2, &(param){n_rows}, sizeof(param));
}

/* gather_rows.c - out[j] = in[ids[j]]: dispatch of rows to an expert. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/rows.h"

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "ids", MOA_I32, err));
    if (n->in[0]->n_dim != 2) return moa_fail(err, MOA_EINVAL, "gather_rows: input is %s, expected [n, d]", SHAPE(n->in[0]));
    out->n_dim = 2;
    out->shape[0] = moa_tensor_count(n->in[1]);
    out->shape[1] = n->in[0]->shape[1];
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    const moa_rows_move p = {n->out->data, n->in[0]->data, n->in[1]->data, moa_rows(n->out), moa_cols(n->out), false};
    if (moa_op_ids_ok(x, n, n->in[1], n->in[0]->shape[0])) moa_rows_take_all(x, &p);
}

static void backward(moa_exec *x, moa_node *n) {
    const moa_rows_move p = {moa_grad_in_zeroed(x, n, 0), moa_grad_out(x, n), n->in[1]->data, moa_rows(n->out), moa_cols(n->out), true};
    if (p.dst && p.src) moa_rows_put_all(x, &p);
}

const moa_op moa_op_gather_rows = {.name = "gather_rows", .help = "out[j] = in[ids[j]]", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_gather_rows(moa_exec *x, moa_tensor *in, moa_tensor *ids) {
    return moa_apply(x, &moa_op_gather_rows, (moa_tensor *[]){in, ids}, 2, NULL, 0);
}
